//! The values drivers speak in: what differs, what merged, what is left to decide. No rules here.

use std::fmt;

use crate::value::Value;

/// How conflict markers name the three versions.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Our side, for example the branch.
    pub ours: &'a str,
    /// The merge base.
    pub base: &'a str,
    /// Their side.
    pub theirs: &'a str,
}

/// What a conflict inside a file is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// The file as a whole.
    File,
    /// Its text: so many places carry markers.
    Lines {
        /// Number of places.
        hunks: u32,
    },
    /// A dotted key; an element of a list is `key[0]`.
    Key(String),
    /// A package, by its PEP 503 name.
    Package(String),
}

/// A conflict inside a file, with the three versions as they stand in it; `None` is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What it is about.
    pub item: Item,
    /// In the merge base.
    pub base: Option<String>,
    /// On our side.
    pub ours: Option<String>,
    /// On their side.
    pub theirs: Option<String>,
}

impl Conflict {
    /// A conflict whose three versions are not shown.
    pub(super) fn bare(item: Item) -> Self {
        Self {
            item,
            base: None,
            ours: None,
            theirs: None,
        }
    }
}

/// A merged file. Text carries markers at its conflicts; a configuration or requirements file has
/// our value there and still parses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The content.
    pub bytes: Vec<u8>,
    /// What is left to decide.
    pub conflicts: Vec<Conflict>,
}

impl Merged {
    pub(super) fn clean(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            conflicts: Vec::new(),
        }
    }

    /// Ours, and the file as a whole to decide.
    pub(super) fn undecided(ours: &[u8]) -> Self {
        Self {
            bytes: ours.to_vec(),
            conflicts: vec![Conflict::bare(Item::File)],
        }
    }
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Only the new version has it.
    Added,
    /// Only the old version has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        })
    }
}

/// One difference inside a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Lines came and went.
    Lines {
        /// Lines only in the new version.
        added: u64,
        /// Lines only in the old version.
        removed: u64,
    },
    /// A key's value differs; `None` is absent.
    Key {
        /// Dotted key; an element of a list is `key[0]`.
        key: String,
        /// Old value.
        old: Option<Value>,
        /// New value.
        new: Option<Value>,
    },
    /// The demand on a package differs; `None` is absent.
    Package {
        /// PEP 503 name.
        name: String,
        /// Old demand.
        old: Option<String>,
        /// New demand.
        new: Option<String>,
    },
    /// Rows of a table, its header not counted.
    Rows {
        /// Rows in the old version.
        old: u64,
        /// Rows in the new version.
        new: u64,
    },
    /// A column that only one version has.
    Column {
        /// Its name.
        name: String,
        /// Whether the new version has it.
        added: bool,
    },
    /// A cell of a notebook.
    Cell {
        /// Its id, or `#` and its place.
        name: String,
        /// `code`, `markdown` or `raw`.
        kind: String,
        /// What became of it.
        state: State,
        /// Lines only in its new source.
        added: u64,
        /// Lines only in its old source.
        removed: u64,
        /// Whether its outputs differ.
        outputs: bool,
        /// Whether its type, metadata or attachments differ.
        metadata: bool,
        /// Whether it stands elsewhere among the others.
        moved: bool,
    },
    /// Rows of a table by key.
    Keyed {
        /// The columns whose values name a row.
        key: String,
        /// Rows only in the new version.
        added: u64,
        /// Rows only in the old version.
        removed: u64,
        /// Rows with other values.
        changed: u64,
    },
    /// A row of a table, by its key.
    Row {
        /// The value of the key.
        key: String,
        /// What became of it.
        state: State,
        /// Cells that differ: column, old, new.
        cells: Vec<(String, String, String)>,
    },
    /// A tensor.
    Tensor(Box<TensorChange>),
    /// An image.
    Image(Box<super::ImageChange>),
    /// Bytes of a file without an inside for us.
    Bytes {
        /// In the old version.
        old: u64,
        /// In the new version.
        new: u64,
    },
}

/// Why content is not taken apart as the format its name claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not that format.
    Invalid(String),
    /// It is, and uses what we do not take apart.
    Beyond(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) | Self::Beyond(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

/// A decision that can't be put into a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the decision does not fit: {0}")]
pub struct SettleError(pub String);

impl From<Refusal> for SettleError {
    fn from(from: Refusal) -> Self {
        Self(from.to_string())
    }
}

/// Type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorKind {
    /// Its type, as its file writes it.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
}

impl fmt::Display for TensorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

/// How a tensor differs.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorChange {
    /// Its name.
    pub name: String,
    /// Its old type and shape; `None`: it is new.
    pub old: Option<TensorKind>,
    /// Its new type and shape; `None`: it is gone.
    pub new: Option<TensorKind>,
    /// How its numbers differ, where shapes are equal and types are known.
    pub numbers: Option<Numbers>,
    /// Blocks that differ, and blocks, of a quantised type.
    pub blocks: Option<(u64, u64)>,
}

/// How the numbers of two tensors differ. Pairs in which either is no finite number count as
/// changed when they are not the same, and in no mean, maximum or cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// Numbers of each.
    pub count: u64,
    /// Pairs that differ.
    pub changed: u64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Mean absolute difference.
    pub mean_abs: f64,
    /// Square root of the mean of the squared differences.
    pub rms: f64,
    /// Square root of the mean of the squared old numbers.
    pub old_rms: f64,
    /// Cosine between the two as vectors; 1 when both are zero, 0 when one is.
    pub cosine: f64,
    /// Pairs in which either is NaN or infinite.
    pub not_finite: u64,
    /// NaN in the old and in the new one.
    pub nan: [u64; 2],
    /// Infinities in the old and in the new one.
    pub infinite: [u64; 2],
}

impl Numbers {
    /// The change beside what was there before; `None`: there were only zeros.
    #[must_use]
    pub fn relative_rms(&self) -> Option<f64> {
        (self.old_rms > 0.0).then(|| self.rms / self.old_rms)
    }
}
