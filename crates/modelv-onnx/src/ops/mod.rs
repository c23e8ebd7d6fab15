//! The operators of classical models, and the few standard ones that stand between them.
//!
//! All that a node says is read and checked once, when the model is loaded.

mod attributes;
mod encode;
mod linear;
mod scores;
mod shape;
mod table;
mod trees;

use crate::error::{Error, Result};
use crate::proto::NodeProto;
use crate::tensor::Tensor;
use attributes::Attributes;

/// A node that is run here.
pub(crate) trait Operator: Send + Sync {
    /// What it makes of its inputs.
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;
}

type Boxed = Box<dyn Operator>;

/// A node as an operator; `None`: none of those here.
pub(crate) fn read(node: &NodeProto) -> Result<Option<Boxed>> {
    let of = Attributes::of(node);
    let found: Boxed = match (node.is_classical(), node.operator()) {
        (true, "Scaler") => Box::new(table::Scaler::read(&of)?),
        (true, "Normalizer") => Box::new(table::Normalizer::read(&of)?),
        (true, "Binarizer") => Box::new(table::Binarizer::read(&of)),
        (true, "Imputer") => Box::new(table::Imputer::read(&of)?),
        (true, "FeatureVectorizer") => Box::new(table::FeatureVectorizer),
        (true, "LinearClassifier") => Box::new(linear::Classifier::read(&of)?),
        (true, "LinearRegressor") => Box::new(linear::Regressor::read(&of)?),
        (true, "TreeEnsembleClassifier") => Box::new(trees::Classifier::read(&of)?),
        (true, "TreeEnsembleRegressor") => Box::new(trees::Regressor::read(&of)?),
        (true, "LabelEncoder") => Box::new(encode::LabelEncoder::read(&of)?),
        (true, "OneHotEncoder") => Box::new(encode::OneHotEncoder::read(&of)?),
        (true, "ArrayFeatureExtractor") => Box::new(shape::ArrayFeatureExtractor),
        (true, "ZipMap") => Box::new(shape::Same),
        (false, _) if !node.is_standard() => return Ok(None),
        (false, "Identity") => Box::new(shape::Same),
        (false, "Gather") => Box::new(shape::Gather::read(&of)),
        (false, "Cast") => Box::new(shape::Cast::read(&of)?),
        (false, "Reshape") => Box::new(shape::Reshape::read(&of)?),
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// The classes of the table of probabilities that a node gives, if it gives one.
pub(crate) fn classes(node: &NodeProto) -> Vec<String> {
    let of = Attributes::of(node);
    let texts = of.texts("classlabels_strings");
    let numbers = ["classlabels_int64s", "classlabels_ints"].map(|name| of.ints(name));
    let numbers = numbers.into_iter().flatten().map(i64::to_string);
    texts.into_iter().chain(numbers).collect()
}

/// An operator that is here, and asks for what is not.
fn not_so(of: &Attributes<'_>, what: &str) -> Error {
    let (operator, at) = of.named();
    Error::Operator {
        operator,
        at: format!("{at} with {what}"),
    }
}
