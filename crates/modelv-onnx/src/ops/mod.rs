//! The operators of classical models, and the few standard ones that stand between them.
//!
//! All that a node says is read and checked once, when the model is loaded.

mod attributes;
mod distances;
mod encode;
mod linear;
mod scores;
mod shape;
mod svm;
mod table;
mod text;
mod trees;

use crate::error::{Error, Result};
use crate::proto::{NodeProto, element};
use crate::tensor::Tensor;
use attributes::Attributes;

/// A node that is run here.
pub(crate) trait Operator: Send + Sync {
    /// What it makes of its inputs.
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;
}

type Boxed = Box<dyn Operator>;

/// Whether nobody but these operators runs a node.
pub(crate) fn is_own(node: &NodeProto) -> bool {
    let name = node.operator();
    match node.domain.as_deref() {
        Some("ai.onnx.ml") => true,
        Some("com.microsoft") => ["CDist", "Tokenizer"].contains(&name),
        _ => {
            let all = ["Scan", "StringNormalizer", "TfIdfVectorizer"];
            node.is_standard() && all.contains(&name)
        }
    }
}

/// A node as an operator; `None`: none of those here. Some are only `on_texts`, which rten does not know.
pub(crate) fn read(node: &NodeProto, on_texts: bool) -> Result<Option<Boxed>> {
    let of = Attributes::of(node);
    if node.domain.as_deref() == Some("com.microsoft") {
        return Ok(match node.operator() {
            "CDist" => Some(Box::new(distances::CDist::read(&of)?)),
            "Tokenizer" => Some(Box::new(text::Tokenizer::read(&of)?)),
            _ => None,
        });
    }
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
        (true, "TreeEnsemble") => Box::new(trees::Regressor::read_ensemble(&of)?),
        (true, "SVMClassifier") => Box::new(svm::Classifier::read(&of)?),
        (true, "SVMRegressor") => Box::new(svm::Regressor::read(&of)?),
        (true, "LabelEncoder") => Box::new(encode::LabelEncoder::read(&of)?),
        (true, "OneHotEncoder") => Box::new(encode::OneHotEncoder::read(&of)?),
        (true, "ArrayFeatureExtractor") => Box::new(shape::ArrayFeatureExtractor),
        (true, "ZipMap") => Box::new(shape::Same),
        (false, _) if !node.is_standard() => return Ok(None),
        (false, "Identity") => Box::new(shape::Same),
        (false, "Gather") => Box::new(shape::Gather::read(&of)),
        (false, "Cast") => Box::new(shape::Cast::read(&of)?),
        (false, "Reshape") => Box::new(shape::Reshape::read(&of)?),
        (false, "StringNormalizer") => Box::new(text::StringNormalizer::read(&of)?),
        (false, "TfIdfVectorizer") => Box::new(text::TfIdfVectorizer::read(&of)?),
        (false, "Scan") => match distances::Rounds::read(node) {
            Some(rounds) => Box::new(rounds),
            None => return Ok(None),
        },
        (false, "Flatten") if on_texts => Box::new(shape::Flatten::read(&of)),
        (false, "Concat") if on_texts => Box::new(shape::Concat::read(&of)?),
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// Whether the first output of a node is of texts. `takes`: whether its first input is.
pub(crate) fn gives_texts(node: &NodeProto, takes: bool) -> bool {
    let of = Attributes::of(node);
    match node.operator() {
        "StringNormalizer" | "Tokenizer" => true,
        "Identity" | "Reshape" | "ArrayFeatureExtractor" | "Gather" | "Flatten" | "Concat" => takes,
        "Cast" => of.int("to", 0) == i64::from(element::STRING),
        "LabelEncoder" => of.has("values_strings"),
        "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier" => {
            of.has("classlabels_strings")
        }
        _ => false,
    }
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

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
