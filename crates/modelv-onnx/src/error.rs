//! Why a model is not run.

/// What the file of a model is refused for, or a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be read.
    #[error("cannot read `{path}`: {detail}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        detail: String,
    },
    /// The bytes are no model that makes sense.
    #[error("it is no ONNX model: {0}")]
    Malformed(String),
    /// An operator that nobody here runs.
    #[error("the operator `{operator}`{at} is not one that the server runs")]
    Operator {
        /// Its name, with its domain unless that is the standard one.
        operator: String,
        /// Which node, as words behind the name.
        at: String,
    },
    /// Something else of the model that can't be run here.
    #[error("{0}")]
    Unsupported(String),
    /// The inputs are not what the model takes.
    #[error("{0}")]
    Unfit(String),
    /// A run failed.
    #[error("{0}")]
    Run(String),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

pub(crate) fn malformed(text: impl Into<String>) -> Error {
    Error::Malformed(text.into())
}

pub(crate) fn failed(text: impl Into<String>) -> Error {
    Error::Run(text.into())
}
