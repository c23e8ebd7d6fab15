//! Tables merged row by row where a key names the rows, or where both sides only appended; else by
//! line. A row both sides changed merges cell by cell.

use std::collections::HashMap;

use super::super::config::Format;
use super::super::{Conflict, Item, Labels, Merged, Rules, SettleError, order, text};
use super::rows::{Sheet, find_key};

pub(super) fn merge(
    separator: Option<char>,
    declared: Option<&str>,
    [base, ours, theirs]: [Option<&[u8]>; 3],
    labels: &Labels<'_>,
) -> Merged {
    let (ours, theirs) = (ours.unwrap_or(b""), theirs.unwrap_or(b""));
    let old = base.unwrap_or(b"");
    let by_lines = text::merge(old, ours, theirs, labels);
    let read = |bytes| Sheet::read(bytes, separator).ok();
    let (Some(b), Some(o), Some(t)) = (read(old), read(ours), read(theirs)) else {
        return by_lines;
    };
    let key = find_key(&[&b, &o, &t], declared, true);
    if by_lines.conflicts.is_empty() {
        // Lines can meet to two rows of one key, or to half a row.
        let sheet = read(&by_lines.bytes);
        let is_one = |s: &Sheet<'_>| key.as_ref().is_none_or(|k| s.by_key(k).is_some());
        if sheet.is_some_and(|s| is_one(&s)) {
            return by_lines;
        }
    }
    let same_columns = o.head().trim_end() == t.head().trim_end()
        && (base.is_none() || separator.is_none() || b.head().trim_end() == o.head().trim_end());
    let merged = match key {
        _ if !same_columns => None,
        Some(key) => keyed(separator, &key, [&b, &o, &t], labels),
        None => appended([&b, &o, &t]),
    };
    match merged {
        Some(merged) if read(&merged.bytes).is_some() => merged,
        _ if by_lines.conflicts.is_empty() => text::whole_conflict(old, ours, theirs, labels),
        _ => by_lines,
    }
}

/// Both sides only added rows at the end: all of them stand there, in an order that does not
/// depend on the sides.
fn appended([base, ours, theirs]: [&Sheet<'_>; 3]) -> Option<Merged> {
    let n = base.rows.len();
    let starts =
        |side: &Sheet<'_>| side.rows.len() >= n && (0..n).all(|i| side.raw(i) == base.raw(i));
    if n == 0 || !starts(ours) || !starts(theirs) {
        return None;
    }
    let tail = |side: &Sheet<'_>| {
        (n..side.rows.len())
            .map(|i| side.raw(i).to_owned())
            .collect::<Vec<_>>()
    };
    let (a, b) = (tail(ours), tail(theirs));
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    let mut out = Writer::new(ours);
    for at in 0..n {
        out.row(ours.raw(at));
    }
    first.iter().chain(&second).for_each(|row| out.row(row));
    Some(out.finish(Vec::new()))
}

/// Rows in the order of the side that moved some; `None`: both did, in different ways.
fn keyed(
    separator: Option<char>,
    column: &str,
    [b, o, t]: [&Sheet<'_>; 3],
    labels: &Labels<'_>,
) -> Option<Merged> {
    let maps = [b, o, t].map(|s| {
        if s.rows.is_empty() {
            Some(HashMap::new())
        } else {
            s.by_key(column)
        }
    });
    let [Some(in_base), Some(in_ours), Some(in_theirs)] = maps else {
        return None;
    };
    // Rows by number: those of the base by their place, added ones behind; one key is one number.
    let mut free = b.rows.len();
    let mut number = |known: Option<usize>| {
        free += usize::from(known.is_none());
        known.unwrap_or(free - 1)
    };
    let ours: Vec<usize> = (o.keys(column))
        .map(|(key, _)| number(in_base.get(&*key).copied()))
        .collect();
    let in_ours = |key: &str| in_ours.get(key).map(|at| ours[*at]);
    let theirs: Vec<usize> = (t.keys(column))
        .map(|(key, _)| number(in_base.get(&*key).copied().or_else(|| in_ours(&key))))
        .collect();
    drop((in_base, in_theirs));
    let list = order::merged(b.rows.len(), &ours, &theirs)?;
    let [in_ours, in_theirs] = [&ours, &theirs].map(|side| {
        let mut places = vec![None; free];
        for (at, n) in side.iter().enumerate() {
            places[*n] = Some(at);
        }
        places
    });
    let mut out = Writer::new(o);
    let mut conflicts = Vec::new();
    let mut put = |out: &mut Writer, key: &str, rows: [Option<&str>; 3]| match decide(
        separator, rows, labels,
    ) {
        Ok(Some(row)) => out.row(&row),
        Ok(None) => {}
        Err(()) => {
            let [base, ours, theirs] = rows.map(|r| r.map(str::to_owned));
            if let Some(ours) = &ours {
                out.row(ours);
            }
            let item = Item::Key(format!("row {column}={key}"));
            conflicts.push(Conflict {
                item,
                base,
                ours,
                theirs,
            });
        }
    };
    for n in list {
        let (ours, theirs) = (in_ours[n], in_theirs[n]);
        let base = (n < b.rows.len()).then(|| b.raw(n));
        let key = match ours {
            Some(at) => o.value(at, column),
            None => t.value(theirs?, column),
        };
        let rows = [base, ours.map(|at| o.raw(at)), theirs.map(|at| t.raw(at))];
        put(&mut out, &key?, rows);
    }
    conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    Some(out.finish(conflicts))
}

/// One row of the result; `Err`: both sides changed it in different ways.
pub(super) fn decide(
    separator: Option<char>,
    [base, ours, theirs]: [Option<&str>; 3],
    labels: &Labels<'_>,
) -> Result<Option<String>, ()> {
    let owned = |row: Option<&str>| Ok(row.map(str::to_owned));
    if ours == theirs || theirs == base {
        return owned(ours);
    }
    if ours == base {
        return owned(theirs);
    }
    let (Some(b), Some(o), Some(t)) = (base, ours, theirs) else {
        return Err(());
    };
    let Some(separator) = separator else {
        let merged = Format::Json.merge(Some(b.as_bytes()), o.as_bytes(), t.as_bytes(), labels);
        let text = String::from_utf8(merged.bytes).map_err(|_| ())?;
        return if merged.conflicts.is_empty() {
            Ok(Some(text))
        } else {
            Err(())
        };
    };
    let parts = |row| super::rows::parts_of(row, separator);
    let (b, o, t) = (parts(b), parts(o), parts(t));
    if b.len() != o.len() || o.len() != t.len() {
        return Err(());
    }
    let mut cells = Vec::with_capacity(o.len());
    for ((b, o), t) in b.iter().zip(&o).zip(&t) {
        cells.push(match () {
            () if o == t || t == b => *o,
            () if o == b => *t,
            () => return Err(()),
        });
    }
    let mut gap = [0; 4];
    Ok(Some(cells.join(separator.encode_utf8(&mut gap))))
}

/// Puts rows together in the layout of one file.
struct Writer {
    out: String,
    end: &'static str,
    final_end: bool,
}

impl Writer {
    fn new(like: &Sheet<'_>) -> Self {
        let end = if like.text.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        };
        let mut out = like.head().to_owned();
        if !out.trim_start_matches('\u{feff}').is_empty() && !out.ends_with('\n') {
            out.push_str(end);
        }
        Self {
            out,
            end,
            final_end: like.text.is_empty() || like.text.ends_with('\n'),
        }
    }

    fn row(&mut self, row: &str) {
        self.out.push_str(row);
        self.out.push_str(self.end);
    }

    fn finish(mut self, conflicts: Vec<Conflict>) -> Merged {
        if !self.final_end && self.out.ends_with(self.end) {
            self.out.truncate(self.out.len() - self.end.len());
        }
        Merged {
            bytes: self.out.into_bytes(),
            conflicts,
        }
    }
}

/// Puts a whole row in place of the one with its key, behind all others, or away.
pub(super) fn settle(
    separator: Option<char>,
    current: &[u8],
    item: &str,
    value: Option<&str>,
) -> Result<Vec<u8>, SettleError> {
    let sheet = Sheet::read(current, separator)?;
    let bad = || SettleError(format!("the table has no `{item}`"));
    let (column, key) = item
        .strip_prefix("row ")
        .and_then(|i| i.split_once('='))
        .ok_or_else(bad)?;
    let by_key = if sheet.rows.is_empty() {
        HashMap::new()
    } else {
        sheet.by_key(column).ok_or_else(bad)?
    };
    let at = by_key.get(key).copied();
    let mut out = Writer::new(&sheet);
    for i in 0..sheet.rows.len() {
        match value {
            Some(row) if at == Some(i) => out.row(row),
            None if at == Some(i) => {}
            _ => out.row(sheet.raw(i)),
        }
    }
    if let (Some(row), None) = (value, at) {
        out.row(row);
    }
    let bytes = out.finish(Vec::new()).bytes;
    let now = Sheet::read(&bytes, separator).map_err(|e| SettleError(e.to_string()))?;
    let rows = by_key.len() + usize::from(at.is_none() && value.is_some())
        - usize::from(at.is_some() && value.is_none());
    let found = now
        .by_key(column)
        .map_or(0, |m| usize::from(m.contains_key(key)));
    if now.rows.len() != rows || found != usize::from(value.is_some()) {
        let text = format!("`{}` is no row of key `{key}`", value.unwrap_or(""));
        return Err(SettleError(text));
    }
    Ok(bytes)
}
