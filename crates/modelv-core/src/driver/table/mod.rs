//! Tables: CSV, TSV and JSON Lines. Rows differ and merge by key where a column names them; else by
//! line. What no key names is never counted as one: two equal rows stay two rows.
//!
//! A key is a column called `id`, `key`, `uuid`, `index` or `…_id` that is filled and different in
//! every row of every version. A difference may also go by the first column; a merge may not, for
//! a value that somebody corrected would make two rows of one.

mod merge;
mod rows;

use std::collections::HashMap;

use rows::Sheet;

use super::{Change, Item, Labels, Merged, Refusal, Rules, SettleError, State, text};

/// Rows by separator; `None`: one JSON object a line.
pub(super) struct Table(pub(super) Option<char>);

/// So many rows are listed one by one; all are counted.
const ROWS_LISTED_MAX: usize = 100;

impl Rules for Table {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        Sheet::read(content, self.0).map(drop)
    }

    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        merge::merge(self.0, base, ours, theirs, labels)
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let read = |bytes: Option<&'_ [u8]>| -> Option<usize> {
            bytes.map_or(Some(0), |b| {
                Sheet::read(b, self.0).ok().map(|s| s.rows.len())
            })
        };
        let (Some(a), Some(b)) = (read(old), read(new)) else {
            return text::diff(old, new);
        };
        let sheet = |bytes| Sheet::read(bytes, self.0).ok();
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
            out.extend(keyed(x, y));
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
            Item::Key(key) => merge::settle(self.0, current, key, value),
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
fn keyed(old: &Sheet<'_>, new: &Sheet<'_>) -> Vec<Change> {
    let Some(column) = rows::find_key(&[old, new], false) else {
        return Vec::new();
    };
    let (Some(a), Some(b)) = (old.by_key(&column), new.by_key(&column)) else {
        return Vec::new();
    };
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
    for (key, at) in new.keys(&column) {
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
    for (key, _) in old.keys(&column).filter(|(key, _)| !b.contains_key(&**key)) {
        removed += 1;
        list(&key, State::Removed, Vec::new());
    }
    let mut out = vec![Change::Keyed {
        key: column,
        added,
        removed,
        changed,
    }];
    out.extend(listed);
    out
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
        None => rows::find_key(&[&sheet], true)?,
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
