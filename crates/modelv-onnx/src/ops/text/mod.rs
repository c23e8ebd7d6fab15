//! From texts to columns: what a vectorizer of scikit-learn becomes.
//!
//! Where ONNX leaves something open it is done as its reference runtime does it.

mod grams;
mod locale;
mod normalizer;
mod pattern;
mod syntax;
mod tfidf;
mod tokenizer;

pub(super) use normalizer::StringNormalizer;
pub(super) use tfidf::TfIdfVectorizer;
pub(super) use tokenizer::Tokenizer;

use crate::error::{Error, Result, failed};
use crate::tensor::{Data, Tensor};

/// Most texts that an operator makes of others: each takes some dozens of bytes besides its letters.
const TEXTS_MAX: usize = 1 << 22;

fn texts(input: &Tensor) -> Result<&[String]> {
    match &input.data {
        Data::Text(all) => Ok(all),
        _ => Err(failed("numbers where texts are needed")),
    }
}

/// A request for more than one run may make.
fn too_many(what: &str) -> Error {
    Error::Unfit(format!(
        "so many texts make too many {what} for one request"
    ))
}

#[cfg(test)]
mod tests;
