//! Drivers: the rules by which one kind of content is compared and merged. Pure functions of bytes.
//!
//! A driver is chosen by name and checked against the content: a file that claims a format and is
//! not one is text, or binary. Every driver first tries the lines; it looks deeper only where lines
//! alone would conflict or mean something else.

mod config;
mod json;
mod packages;
mod table;
mod text;

use std::collections::BTreeMap;
use std::fmt;

pub use config::{Format, config_values};
pub use text::{has_markers, unified};

use crate::value::Value;

/// Kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Lines.
    Text,
    /// Keys with typed values.
    Config(Format),
    /// Requirement lines by package name.
    Packages,
    /// Rows under a header.
    Table(char),
    /// One JSON value a line.
    JsonLines,
    /// A notebook: merged as a whole.
    Notebook,
    /// Anything else: as a whole.
    Binary,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Config(_) => "config",
            Self::Packages => "packages",
            Self::Table(_) | Self::JsonLines => "table",
            Self::Notebook => "notebook",
            Self::Binary => "binary",
        })
    }
}

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
    /// A dotted key.
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
    fn clean(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            conflicts: Vec::new(),
        }
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
        /// Dotted key.
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
    /// Bytes of a file without an inside for us.
    Bytes {
        /// In the old version.
        old: u64,
        /// In the new version.
        new: u64,
    },
}

/// A decision that can't be put into a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the decision does not fit: {0}")]
pub struct SettleError(pub String);

/// Chooses the driver of a file by its name, then by its content.
#[must_use]
pub fn choose(path: &[u8], content: &[u8]) -> Driver {
    let name = path
        .rsplit(|b| *b == b'/')
        .next()
        .unwrap_or(path)
        .to_ascii_lowercase();
    let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
    if !text::is_text(content) {
        return Driver::Binary;
    }
    let claimed = if ends(".toml") {
        Driver::Config(Format::Toml)
    } else if ends(".json") {
        Driver::Config(Format::Json)
    } else if ends(".ipynb") {
        Driver::Notebook
    } else if ends(".csv") {
        Driver::Table(',')
    } else if ends(".tsv") {
        Driver::Table('\t')
    } else if ends(".jsonl") {
        Driver::JsonLines
    } else if name.starts_with(b"requirements") && ends(".txt") {
        Driver::Packages
    } else {
        Driver::Text
    };
    match claimed {
        Driver::Config(format) if config_values(format, content).is_err() => Driver::Text,
        other => other,
    }
}

/// Merges two versions of a file over their base (`None`: both added it).
#[must_use]
pub fn merge(
    driver: Driver,
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    labels: &Labels<'_>,
) -> Merged {
    if ours == theirs || base == Some(theirs) {
        return Merged::clean(ours);
    }
    if base == Some(ours) {
        return Merged::clean(theirs);
    }
    let old = base.unwrap_or(b"");
    match driver {
        Driver::Binary | Driver::Notebook => Merged {
            bytes: ours.to_vec(),
            conflicts: vec![Conflict {
                item: Item::File,
                base: None,
                ours: None,
                theirs: None,
            }],
        },
        Driver::Config(Format::Toml) => config::merge_toml(old, ours, theirs, labels),
        Driver::Packages => packages::merge(old, ours, theirs, labels),
        Driver::Config(Format::Json) => {
            let merged = text::merge(old, ours, theirs, labels);
            let sides = [old, ours, theirs];
            if !merged.conflicts.is_empty()
                || config::agrees(Format::Json, sides, &merged.bytes, base.is_none())
            {
                return merged;
            }
            // Lines that meet to something else than the two sides mean: nobody wrote that.
            text::whole_conflict(old, ours, theirs, labels)
        }
        Driver::Text | Driver::Table(_) | Driver::JsonLines => {
            text::merge(old, ours, theirs, labels)
        }
    }
}

/// Puts a decision into a file: the value of a key or the demand on a package, as text; `None`
/// removes it.
///
/// # Errors
/// The file does not parse, or the value does not.
pub fn settle(
    driver: Driver,
    current: &[u8],
    item: &Item,
    value: Option<&str>,
) -> Result<Vec<u8>, SettleError> {
    match (driver, item) {
        (Driver::Config(Format::Toml), Item::Key(key)) => config::set_toml(current, key, value),
        (Driver::Packages, Item::Package(name)) => packages::set(current, name, value),
        _ => Err(SettleError(format!("a {driver} file has no such part"))),
    }
}

/// Lists what differs between two versions of a file; `None` is absent.
#[must_use]
pub fn diff(driver: Driver, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
    let (a, b) = (old.unwrap_or(b""), new.unwrap_or(b""));
    if old == new {
        return Vec::new();
    }
    let lines = || {
        let (added, removed) = text::count(a, b);
        vec![Change::Lines { added, removed }]
    };
    match driver {
        Driver::Binary => vec![Change::Bytes {
            old: a.len() as u64,
            new: b.len() as u64,
        }],
        Driver::Text | Driver::Notebook => lines(),
        Driver::Table(separator) => table::diff(a, b, Some(separator)),
        Driver::JsonLines => table::diff(a, b, None),
        Driver::Config(format) => match (read(format, old), read(format, new)) {
            (Some(a), Some(b)) => {
                let changes = config::diff(&a, &b);
                if changes.is_empty() { lines() } else { changes }
            }
            _ => lines(),
        },
        Driver::Packages => {
            let changes = packages::diff(a, b);
            if changes.is_empty() { lines() } else { changes }
        }
    }
}

fn read(format: Format, bytes: Option<&[u8]>) -> Option<BTreeMap<String, Value>> {
    match bytes {
        None => Some(BTreeMap::new()),
        Some(bytes) => config_values(format, bytes).ok(),
    }
}

#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod tests;
