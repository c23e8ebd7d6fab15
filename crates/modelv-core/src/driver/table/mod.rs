//! Tables: CSV, TSV and JSON Lines. Rows differ and merge by key where a column names them; else by
//! line. What no key names is never counted as one: two equal rows stay two rows.
//!
//! Without a declared key (`[tables]` of `modelv.toml`), a key is a column called `id`, `key`, `uuid`, `index` or `…_id` that is filled and different in
//! every row of every version. A difference may also go by the first column; a merge may not, for
//! a value that somebody corrected would make two rows of one.
//!
//! Columns go by their names (`columns.rs`): one side may add, drop or move some while the other edits rows.

mod columns;
mod large;
mod memory;
mod merge;
mod reader;
mod rows;
mod stream;

use std::collections::HashMap;

pub(super) use large::AsSource;
pub use large::{Joined, Room, Scratch};
pub use memory::InMemory;
pub use stream::{Spill, TableError};

use rows::Sheet;

use super::{Change, Item, Labels, Merged, Refusal, Rules, SettleError, Source, State, text};

/// Rows of one layout.
pub(super) struct Table {
    /// Between the cells; `None`: one JSON object a line.
    pub(super) separator: Option<char>,
    /// The declared key: columns with commas between them.
    pub(super) key: Option<String>,
}

impl Table {
    /// Compares tables of any size.
    pub(super) fn stream(
        &self,
        sides: [Option<&mut dyn Source>; 2],
        spill: &mut dyn Spill,
    ) -> Result<Vec<Change>, TableError> {
        stream::diff(self.separator, self.key.as_deref(), sides, spill)
    }

    /// Merges tables of any size.
    pub(super) fn join(
        &self,
        sides: large::Sides<'_>,
        labels: &Labels<'_>,
        room: &mut dyn Room,
    ) -> Result<Joined, TableError> {
        large::merge(self, sides, labels, room)
    }

    /// Puts decisions into a table of any size.
    pub(super) fn settle_large(
        &self,
        current: &mut dyn Source,
        decisions: &[(&str, Option<&str>)],
        room: &mut dyn Room,
    ) -> Result<Box<dyn Scratch>, TableError> {
        large::settle(self.separator, current, decisions, room)
    }

    /// The column that a reader would take for the key: by what it is called, else the first.
    pub(super) fn likely_key(&self, versions: [&[u8]; 2]) -> Option<String> {
        let sheets = versions.map(|v| Sheet::read(v, self.separator).ok());
        let header = sheets.iter().flatten().map(|s| &s.header);
        let header = header.into_iter().find(|h| !h.is_empty())?;
        let named = rows::named(header);
        named.first().copied().or(header.first()).cloned()
    }

    /// Whether the declared key names every row of all versions once.
    pub(super) fn key_fits(&self, versions: &[&[u8]]) -> bool {
        let sheets: Result<Vec<_>, _> = versions
            .iter()
            .map(|v| Sheet::read(v, self.separator))
            .collect();
        let Ok(sheets) = sheets else {
            return true;
        };
        let sheets: Vec<&Sheet<'_>> = sheets.iter().filter(|s| !s.rows.is_empty()).collect();
        let key = self.key.as_deref();
        sheets.is_empty() || key.is_none() || rows::find_key(&sheets, key, true).is_some()
    }
}

/// Compares rows that are lines of JSON, of any number.
pub(super) fn stream_lines(
    key: Option<&str>,
    sides: [Option<&mut dyn Source>; 2],
    spill: &mut dyn Spill,
) -> Result<Vec<Change>, TableError> {
    stream::diff(None, key, sides, spill)
}

/// So many rows are listed one by one; all are counted.
const ROWS_LISTED_MAX: usize = 100;

impl Rules for Table {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        Sheet::read(content, self.separator).map(drop)
    }

    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        merge::merge(
            self.separator,
            self.key.as_deref(),
            [base, Some(ours), Some(theirs)],
            labels,
        )
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let read = |bytes: Option<&'_ [u8]>| -> Option<usize> {
            bytes.map_or(Some(0), |b| {
                Sheet::read(b, self.separator).ok().map(|s| s.rows.len())
            })
        };
        let (Some(a), Some(b)) = (read(old), read(new)) else {
            return text::diff(old, new);
        };
        let sheet = |bytes| Sheet::read(bytes, self.separator).ok();
        let mut out = Vec::new();
        let both = old.and_then(sheet).zip(new.and_then(sheet));
        if let Some((x, y)) = &both {
            out.extend(columns(x, y));
        }
        out.push(Change::Rows {
            old: a as u64,
            new: b as u64,
        });
        if let Some((x, y)) = &both {
            out.extend(keyed(x, y, self.key.as_deref()));
        }
        out.extend(text::diff(old, new));
        out
    }

    fn settle(
        &self,
        current: &[u8],
        item: &Item,
        value: Option<&str>,
    ) -> Result<Vec<u8>, SettleError> {
        match item {
            Item::Key(key) => merge::settle(self.separator, current, key, value),
            _ => Err(SettleError("a table has no such part".into())),
        }
    }
}

fn columns(old: &Sheet<'_>, new: &Sheet<'_>) -> Vec<Change> {
    let (a, b) = (&old.header, &new.header);
    // Without a name in common, the first lines are rows and not names.
    if a.is_empty() || b.is_empty() || !a.iter().any(|c| b.contains(c)) {
        return Vec::new();
    }
    let gone = a.iter().filter(|c| !b.contains(c)).map(|c| (c, false));
    let come = b.iter().filter(|c| !a.contains(c)).map(|c| (c, true));
    let named = |(name, added): (&String, bool)| Change::Column {
        name: name.clone(),
        added,
    };
    gone.chain(come).map(named).collect()
}

/// What became of the rows, by key.
fn keyed(old: &Sheet<'_>, new: &Sheet<'_>, declared: Option<&str>) -> Vec<Change> {
    let column = rows::find_key(&[old, new], declared, false);
    let changes = column.and_then(|column| keyed_by(old, new, &column));
    changes.unwrap_or_default()
}

/// The same by a given key; `None` where it does not name the rows.
fn keyed_by(old: &Sheet<'_>, new: &Sheet<'_>, column: &str) -> Option<Vec<Change>> {
    let named = |s: &Sheet<'_>| s.rows.is_empty() || s.has(column);
    if !named(old) || !named(new) {
        return None;
    }
    let (a, b) = (old.by_key(column)?, new.by_key(column)?);
    let (mut added, mut removed, mut changed) = (0, 0, 0);
    let mut listed = Vec::new();
    let mut list = |key: &str, state, cells| {
        if listed.len() < ROWS_LISTED_MAX {
            listed.push(Change::Row {
                key: key.to_owned(),
                state,
                cells,
            });
        }
    };
    for (key, at) in new.keys(column) {
        let Some(was) = a.get(&*key) else {
            added += 1;
            list(&key, State::Added, Vec::new());
            continue;
        };
        if old.raw(*was) == new.raw(at) {
            continue;
        }
        let cells = cells(&old.cells(*was), &new.cells(at));
        if !cells.is_empty() {
            changed += 1;
            list(&key, State::Changed, cells);
        }
    }
    for (key, _) in old.keys(column).filter(|(key, _)| !b.contains_key(&**key)) {
        removed += 1;
        list(&key, State::Removed, Vec::new());
    }
    let mut out = vec![Change::Keyed {
        key: column.to_owned(),
        added,
        removed,
        changed,
    }];
    out.extend(listed);
    Some(out)
}

/// Rows by the column that names them, which is given or found; in the order of the file.
pub(super) fn keyed_rows(
    separator: Option<char>,
    content: &[u8],
    column: Option<&str>,
) -> Option<(String, Vec<(String, String)>)> {
    let sheet = Sheet::read(content, separator).ok()?;
    let column = match column {
        Some(column) => column.to_owned(),
        None => rows::find_key(&[&sheet], None, true)?,
    };
    sheet.by_key(&column)?;
    let rows = sheet
        .keys(&column)
        .map(|(key, at)| (key.into_owned(), sheet.raw(at).to_owned()));
    let rows = rows.collect();
    Some((column, rows))
}

type Cells = Vec<(String, String)>;

/// Cells that differ; one that a version does not have is empty in it.
fn cells(old: &Cells, new: &Cells) -> Vec<(String, String, String)> {
    let was: HashMap<&str, &str> = old.iter().map(|(c, v)| (c.as_str(), v.as_str())).collect();
    let is: HashMap<&str, &str> = new.iter().map(|(c, v)| (c.as_str(), v.as_str())).collect();
    let names = new
        .iter()
        .chain(old.iter().filter(|(c, _)| !is.contains_key(c.as_str())));
    names
        .map(|(name, _)| {
            let of =
                |side: &HashMap<&str, &str>| side.get(name.as_str()).unwrap_or(&"").to_string();
            (name.clone(), of(&was), of(&is))
        })
        .filter(|(_, a, b)| a != b)
        .collect()
}

#[cfg(test)]
mod tests;
