//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use modelv_core::canon::{DecodeError, EncodeError};

/// Why the store can't do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No pack holds it.
    #[error("{what} `{id}` is not in the store")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its id, in hexadecimal.
        id: String,
    },
    /// Stored bytes are not what their hash says.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// File or object.
        what: String,
        /// What is wrong.
        detail: String,
    },
    /// Written by a newer program.
    #[error(
        "{what} was written by a newer modelv: it has format version {found}, this program reads up to {known}"
    )]
    Newer {
        /// File.
        what: String,
        /// Its version.
        found: u8,
        /// Newest version known.
        known: u8,
    },
    /// An entry of a pack that is written in a way this program does not know.
    #[error("{what} was written by a newer modelv: its {part} {found} is not known")]
    UnknownEntry {
        /// Pack.
        what: String,
        /// `codec` or `kind`.
        part: &'static str,
        /// Its number.
        found: u8,
    },
    /// Larger than the caller or the format allows.
    #[error("{what} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A value that no object can hold.
    #[error("this can't be stored: {0}")]
    Unstorable(#[from] EncodeError),
    /// The operating system refused.
    #[error("cannot {op} `{}`", .path.display())]
    Io {
        /// Verb.
        op: &'static str,
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process holds what only one may hold.
    #[error("{what}")]
    Busy {
        /// Who is at work.
        what: &'static str,
    },
    /// A clone that holds a part does not hold it, and no remote gave it.
    #[error("file content `{id}` is not in this clone, and could not be brought from {}", .remotes.join(", "))]
    Elsewhere {
        /// Its id, or that of a chunk of it, in hexadecimal.
        id: String,
        /// The remotes that were asked: names and addresses.
        remotes: Vec<String>,
        /// What the first of them that failed said; `None`: they don't have it either.
        #[source]
        source: Option<Box<Self>>,
    },
    /// A remote's own error, where content is brought from it.
    #[error(transparent)]
    Remote(Box<crate::remote::RemoteError>),
    /// The file that was being stored can't be read.
    #[error("cannot read the content")]
    Input(#[source] io::Error),
    /// Who asked for content can't take it.
    #[error("cannot write the content")]
    Output(#[source] io::Error),
}

impl Error {
    /// Whether stored bytes are damaged.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Remote(e) => e.is_corrupt(),
            Self::Elsewhere { source, .. } => source.as_ref().is_some_and(|e| e.is_corrupt()),
            _ => false,
        }
    }

    /// Whether a newer program can read it.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::UnknownEntry { .. })
    }

    /// Whether a file is not there any more: it may have been collected since it was listed.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { op, path, source }
    }

    pub(crate) fn corrupt(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            what: what.into(),
            detail: detail.into(),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(e: DecodeError) -> Self {
        match e {
            DecodeError::Version { found, known } => Self::Newer {
                what: "stored object".into(),
                found,
                known,
            },
            e => Self::corrupt("stored object", e.to_string()),
        }
    }
}

/// Result with the store's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
