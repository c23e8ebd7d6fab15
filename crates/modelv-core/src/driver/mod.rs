//! Drivers: the rules by which one kind of content is compared and merged. Pure functions of bytes.
//!
//! A driver is chosen by name and checked against the content: a file that claims a format and is
//! not one is text, or binary, and whoever asks is told so. Every driver first tries the lines; it
//! looks deeper only where lines alone would conflict or mean something else.

mod binary;
mod config;
mod lines;
mod notebook;
mod packages;
mod table;
mod tensor;
mod text;
mod types;

use std::fmt;

pub use config::{Format, config_values, is_secret, without_secrets};
pub use lines::{Block, Hunk, In, LineDiff, LineOps, Piece, opposite, words};
pub use tensor::{Source, TensorError, TensorFile};
pub use text::{has_markers, unified};
pub use types::{
    Change, Conflict, Item, Labels, Merged, Numbers, Refusal, SettleError, State, TensorChange,
    TensorKind,
};

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
    /// A notebook.
    Notebook,
    /// Tensors.
    Tensors(TensorFile),
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
            Self::Tensors(_) => "tensors",
            Self::Binary => "binary",
        })
    }
}

/// What every driver can do.
trait Rules {
    /// Why content is not taken apart by these rules.
    fn check(&self, _content: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Merges two different versions over their base (`None`: both added the file).
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], labels: &Labels<'_>)
    -> Merged;

    /// Lists what differs between two different versions; `None` is absent.
    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change>;

    /// Puts a decision into a file.
    fn settle(
        &self,
        _current: &[u8],
        _item: &Item,
        _value: Option<&str>,
    ) -> Result<Vec<u8>, SettleError> {
        Err(SettleError("such a file has no parts".into()))
    }
}

impl Driver {
    fn rules(self) -> Box<dyn Rules> {
        match self {
            Self::Text => Box::new(text::Text),
            Self::Config(format) => Box::new(format),
            Self::Packages => Box::new(packages::Packages),
            Self::Table(separator) => Box::new(table::Table(Some(separator))),
            Self::JsonLines => Box::new(table::Table(None)),
            Self::Notebook => Box::new(notebook::Notebook),
            Self::Tensors(format) => Box::new(format),
            Self::Binary => Box::new(binary::Binary),
        }
    }
}

/// The driver of a file, and a word where it is not the one that the name claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// By which rules to go.
    pub driver: Driver,
    /// Why not by those of the format that the name claims.
    pub note: Option<String>,
}

/// The last part of a path, in lower case.
fn file_name(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    name.to_ascii_lowercase()
}

/// The driver a name claims, and what people call the format.
fn claimed(path: &[u8]) -> Option<(Driver, String)> {
    let name = file_name(path);
    let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
    if let Some(format) = Format::claimed(&name) {
        return Some((Driver::Config(format), format.to_string()));
    }
    if let Some(format) = TensorFile::claimed(&name) {
        return Some((Driver::Tensors(format), format.to_string()));
    }
    let (driver, called) = match () {
        () if ends(".ipynb") => (Driver::Notebook, "a notebook"),
        () if ends(".csv") => (Driver::Table(','), "CSV"),
        () if ends(".tsv") => (Driver::Table('\t'), "TSV"),
        () if ends(".jsonl") => (Driver::JsonLines, "JSON Lines"),
        () if name.starts_with(b"requirements") && ends(".txt") => {
            (Driver::Packages, "a requirements file")
        }
        () => return None,
    };
    Some((driver, called.to_owned()))
}

fn note(path: &str, called: &str, refusal: &Refusal, fallback: Driver) -> String {
    let is = match refusal {
        Refusal::Invalid(_) => "is not valid",
        Refusal::Beyond(_) => "is not taken apart as",
    };
    format!("{path} {is} {called} ({refusal}): compared as {fallback}")
}

/// What people should know of a file of tensors that could not be compared by tensor.
#[must_use]
pub fn tensor_note(path: &str, format: TensorFile, refusal: &Refusal) -> String {
    note(path, &format.to_string(), refusal, Driver::Binary)
}

/// Chooses the driver of a file by its name, then by its content.
#[must_use]
pub fn examine(path: &[u8], content: &[u8]) -> Chosen {
    let is_text = text::is_text(content);
    let claimed = claimed(path);
    let binary = matches!(claimed, Some((Driver::Tensors(_), _)));
    let fallback = if is_text && !binary {
        Driver::Text
    } else {
        Driver::Binary
    };
    let Some((driver, called)) = claimed else {
        return Chosen {
            driver: fallback,
            note: None,
        };
    };
    let refusal = if is_text || binary {
        driver.rules().check(content).err()
    } else {
        Some(Refusal::Invalid("it is no UTF-8 text".into()))
    };
    let Some(refusal) = refusal else {
        return Chosen { driver, note: None };
    };
    let note = note(&String::from_utf8_lossy(path), &called, &refusal, fallback);
    Chosen {
        driver: fallback,
        note: Some(note),
    }
}

/// Whether a name claims a format that is taken apart, be it one or not.
#[must_use]
pub fn claims_format(path: &[u8]) -> bool {
    claimed(path).is_some()
}

/// Chooses the driver of a file by its name, then by its content.
#[must_use]
pub fn choose(path: &[u8], content: &[u8]) -> Driver {
    examine(path, content).driver
}

/// The driver all given versions of a file agree on, with their notes; text or binary where they
/// do not agree.
#[must_use]
pub fn examine_all(path: &[u8], versions: &[&[u8]]) -> (Driver, Vec<String>) {
    let all: Vec<Chosen> = versions.iter().map(|v| examine(path, v)).collect();
    let mut notes: Vec<String> = all.iter().filter_map(|c| c.note.clone()).collect();
    notes.sort();
    notes.dedup();
    let Some(first) = all.first() else {
        return (Driver::Text, notes);
    };
    if all.iter().all(|c| c.driver == first.driver) {
        return (first.driver, notes);
    }
    let driver = if versions.iter().all(|v| text::is_text(v)) {
        Driver::Text
    } else {
        Driver::Binary
    };
    (driver, notes)
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
    driver.rules().merge(base, ours, theirs, labels)
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
    driver.rules().settle(current, item, value)
}

/// Lists what differs between two versions of a file; `None` is absent.
#[must_use]
pub fn diff(driver: Driver, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
    if old == new {
        return Vec::new();
    }
    driver.rules().diff(old, new)
}

#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod tests;
