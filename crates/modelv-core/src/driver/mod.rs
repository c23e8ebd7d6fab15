//! Drivers: the rules by which one kind of content is compared and merged. Pure functions of bytes.
//!
//! A driver is chosen by name and checked against the content: a file that claims a format and is
//! not one is text, or binary, and whoever asks is told so. Every driver first tries the lines; it
//! looks deeper only where lines alone would conflict or mean something else.

mod binary;
mod config;
mod image;
mod large;
mod lines;
mod notebook;
mod order;
mod packages;
mod parquet;
mod table;
pub(crate) mod tensor;
mod text;
mod types;
mod units;

use std::fmt;

use crate::path::name_of;

pub use config::{Format, config_tree, config_values, is_secret, without_secrets};
pub use image::{ImageChange, ImageFormat, ImageKind, Look, image_kind};
pub use large::{merge_large, settle_large};
pub use lines::{Block, Hunk, In, LineDiff, LineOps, Piece, opposite, words};
pub use packages::{Asking, PackageFile, clashes, is_asking};
pub use table::{InMemory, Joined, Room, Scratch, Spill, TableError};
pub use tensor::{Source, TensorError, TensorFile};
pub use text::{has_markers, unified};
pub use types::{
    Change, Conflict, Item, Labels, Merged, Numbers, Refusal, SettleError, State, TensorChange,
    TensorKind,
};
pub use units::{Unit, Units};

/// Kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Lines.
    Text,
    /// Keys with typed values.
    Config(Format),
    /// Requirement lines by package name.
    Packages,
    /// Packages by name, in a lock file or an environment of conda.
    PackageFile(PackageFile),
    /// Rows under a header.
    Table(char),
    /// One JSON value a line.
    JsonLines,
    /// Rows in columns.
    Parquet,
    /// A notebook.
    Notebook,
    /// Tensors.
    Tensors(TensorFile),
    /// A picture.
    Image,
    /// Anything else: as a whole.
    Binary,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Config(_) => "config",
            Self::Packages | Self::PackageFile(_) => "packages",
            Self::Table(_) | Self::JsonLines | Self::Parquet => "table",
            Self::Notebook => "notebook",
            Self::Tensors(_) => "tensors",
            Self::Image => "image",
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

    /// Merges two different versions over their base (`None`: both added the file). Without rules of its
    /// own, what both changed is for somebody to decide.
    fn merge(&self, _base: Option<&[u8]>, ours: &[u8], _theirs: &[u8], _: &Labels<'_>) -> Merged {
        Merged::undecided(ours)
    }

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
        self.rules_by(None)
    }

    /// The table of a driver, with its declared key.
    fn table(self, key: Option<&str>) -> Option<table::Table> {
        let separator = match self {
            Self::Table(separator) => Some(separator),
            Self::JsonLines => None,
            _ => return None,
        };
        let key = key.map(str::to_owned);
        Some(table::Table { separator, key })
    }

    fn rules_by(self, key: Option<&str>) -> Box<dyn Rules> {
        if let Some(table) = self.table(key) {
            return Box::new(table);
        }
        match self {
            Self::Text => Box::new(text::Text),
            Self::Config(format) => Box::new(format),
            Self::Packages => Box::new(packages::Packages),
            Self::PackageFile(kind) => Box::new(kind),
            Self::Notebook => Box::new(notebook::Notebook),
            Self::Tensors(format) => Box::new(format),
            Self::Image => Box::new(image::Image),
            Self::Parquet => Box::new(parquet::Parquet {
                key: key.map(str::to_owned),
            }),
            // Tables are above.
            Self::Binary | Self::Table(_) | Self::JsonLines => Box::new(binary::Binary),
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
    name_of(path).to_ascii_lowercase()
}

/// The driver a name claims, and what people call the format.
fn claimed(path: &[u8]) -> Option<(Driver, String)> {
    let name = file_name(path);
    let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
    if let Some(kind) = PackageFile::claimed(&name) {
        let called = match kind {
            PackageFile::Lock => "a lock file",
            PackageFile::Conda => "YAML",
        };
        return Some((Driver::PackageFile(kind), called.to_owned()));
    }
    if let Some(format) = Format::claimed(&name) {
        return Some((Driver::Config(format), format.to_string()));
    }
    if let Some(format) = TensorFile::claimed(&name) {
        return Some((Driver::Tensors(format), format.to_string()));
    }
    if let Some(called) = image::claimed(&name) {
        return Some((Driver::Image, called.to_owned()));
    }
    let (driver, called) = match () {
        () if ends(".ipynb") => (Driver::Notebook, "a notebook"),
        () if ends(".csv") => (Driver::Table(','), "CSV"),
        () if ends(".tsv") => (Driver::Table('\t'), "TSV"),
        () if ends(".parquet") => (Driver::Parquet, "Parquet"),
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
    let tensors = matches!(claimed, Some((Driver::Tensors(_), _)));
    let binary = tensors || matches!(claimed, Some((Driver::Image | Driver::Parquet, _)));
    let fallback = if is_text && !tensors {
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

/// Merges two versions of a file; rows of tables go by what they are called.
#[must_use]
pub fn merge(
    driver: Driver,
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    labels: &Labels<'_>,
) -> Merged {
    merge_by(driver, None, [base, Some(ours), Some(theirs)], labels)
}

/// Whether a declared key names every row of all versions once; yes where there are no rows.
#[must_use]
pub fn key_fits(driver: Driver, key: &str, versions: &[&[u8]]) -> bool {
    driver.table(Some(key)).is_none_or(|t| t.key_fits(versions))
}

/// What people should know of two tables whose rows nothing names once; `key` is the declared one.
#[must_use]
pub fn unkeyed_note(
    path: &str,
    driver: Driver,
    key: Option<&str>,
    old: &[u8],
    new: &[u8],
) -> String {
    let column = key.map(str::to_owned);
    let column = column.or_else(|| driver.table(None)?.likely_key([old, new]));
    let column = column.map_or_else(|| "no column".into(), |c| format!("`{c}`"));
    let does = if column == "no column" {
        "names"
    } else {
        "does not name"
    };
    format!("{path}: {column} {does} every row once: compared as lines")
}

/// The table that the name of a file claims.
#[must_use]
pub fn table_of_path(path: &[u8]) -> Option<Driver> {
    let (driver, _) = claimed(path)?;
    let is_table = driver == Driver::Parquet || driver.table(None).is_some();
    is_table.then_some(driver)
}

/// Compares two tables of any size, in bounded memory; `None` is absent.
///
/// # Errors
/// One can't be read, or is not what its name claims.
pub fn diff_tables(
    driver: Driver,
    key: Option<&str>,
    sides: [Option<&mut dyn Source>; 2],
    spill: &mut dyn Spill,
) -> Result<Vec<Change>, TableError> {
    if driver == Driver::Parquet {
        return parquet::diff(key, sides, spill);
    }
    match driver.table(key) {
        Some(table) => table.stream(sides, spill),
        None => Err(Refusal::Invalid("it is no table".into()).into()),
    }
}

/// What people should know of a table that could not be compared by row.
#[must_use]
pub fn table_note(path: &str, refusal: &Refusal) -> String {
    let called = claimed(path.as_bytes()).map_or_else(|| "a table".into(), |(_, called)| called);
    note(path, &called, refusal, Driver::Binary)
}

/// Merges two versions of a file over their base (`None`: both added it); rows of tables go by a
/// declared key. What merges cleanly is the
/// same bytes whichever side is called ours; in a conflict ours stays where it can't be decided.
#[must_use]
pub fn merge_by(
    driver: Driver,
    key: Option<&str>,
    [base, ours, theirs]: [Option<&[u8]>; 3],
    labels: &Labels<'_>,
) -> Merged {
    let (ours, theirs) = (ours.unwrap_or(b""), theirs.unwrap_or(b""));
    if ours == theirs || base == Some(theirs) {
        return Merged::clean(ours);
    }
    if base == Some(ours) {
        return Merged::clean(theirs);
    }
    let rules = driver.rules_by(key);
    let turned = |theirs_first| match theirs_first {
        false => rules.merge(base, ours, theirs, labels),
        true => rules.merge(base, theirs, ours, labels),
    };
    let swap = theirs < ours;
    let first = turned(swap);
    if first.conflicts.is_empty() {
        return first;
    }
    let second = turned(!swap);
    if second.conflicts.is_empty() {
        return second;
    }
    let same = first.conflicts.len() == second.conflicts.len()
        && first
            .conflicts
            .iter()
            .zip(&second.conflicts)
            .all(|(a, b)| a.item == b.item);
    if same {
        return if swap { second } else { first };
    }
    // From one side it can be taken apart, from the other it can't.
    if !text::is_text(ours) || !text::is_text(theirs) {
        return Merged::undecided(ours);
    }
    let base = base.unwrap_or(b"");
    let lines = text::merge(base, ours, theirs, labels);
    if lines.conflicts.is_empty() {
        return text::whole_conflict(base, ours, theirs, labels);
    }
    lines
}

/// Merges lines; what both sides changed in different ways is as in ours. `None`: they are no text.
#[must_use]
pub fn merge_lines_as_ours(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let is_text = [base, ours, theirs].into_iter().all(text::is_text);
    is_text.then(|| text::merge_as_ours(base, ours, theirs))
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
    diff_by(driver, None, old, new)
}

/// The same; rows of tables go by a declared key.
#[must_use]
pub fn diff_by(
    driver: Driver,
    key: Option<&str>,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Vec<Change> {
    if old == new {
        return Vec::new();
    }
    driver.rules_by(key).diff(old, new)
}

#[cfg(test)]
pub(crate) use parquet::testing as parquet_testing;

#[cfg(test)]
mod bad_input_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod tests;
