//! Tables merged row by row where a key names the rows, or where both sides only appended; else by
//! line. A row both sides changed merges cell by cell.

use std::collections::HashMap;

use super::super::config::Format;
use super::super::{Conflict, Item, Labels, Merged, Rules, SettleError, order, text};
use super::columns::{Columns, Decision, Fit, named_row};
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
    let fit = separator.map_or(Fit::Alike, |separator| {
        let heads = [&b, &o, &t].map(|s| (s.head(), s.header.as_slice()));
        let bodies = [&b, &o, &t].map(Sheet::body);
        Fit::of(separator, heads, bodies, base.is_some())
    });
    let keeps_lines = fit.keeps_lines();
    if by_lines.conflicts.is_empty() && keeps_lines {
        // Lines can meet to two rows of one key, or to half a row.
        let sheet = read(&by_lines.bytes);
        let is_one = |s: &Sheet<'_>| key.as_ref().is_none_or(|k| s.by_key(k).is_some());
        if sheet.is_some_and(|s| is_one(&s)) {
            return by_lines;
        }
    }
    let merged = match (fit, key) {
        (Fit::Alike, Some(key)) => keyed((separator, &key, None), [&b, &o, &t], labels),
        (Fit::Alike, None) => appended([&b, &o, &t]),
        (Fit::Crossed(columns), Some(key)) => crossed(columns, &key, [&b, &o, &t], labels),
        (Fit::Crossed(_), None) | (Fit::Apart(_), _) => None,
    };
    match merged {
        Some(merged) if read(&merged.bytes).is_some() => merged,
        _ if by_lines.conflicts.is_empty() || !keeps_lines => {
            text::whole_conflict(old, ours, theirs, labels)
        }
        _ => by_lines,
    }
}

/// Rows of tables with different columns, laid out by those of all.
fn crossed(
    mut columns: Columns,
    key: &str,
    sheets: [&Sheet<'_>; 3],
    labels: &Labels<'_>,
) -> Option<Merged> {
    let old: HashMap<_, _> = sheets[0].keys(key).collect();
    let is_contested = |(name, keeper): &(String, usize)| {
        let side = sheets[*keeper];
        side.keys(key).any(|(key, at)| {
            let was = old.get(&key).and_then(|at| sheets[0].value(*at, name));
            was.unwrap_or_default() != side.value(at, name).unwrap_or_default()
        })
    };
    let dropped = columns.dropped().into_iter().filter(is_contested);
    let contested: Vec<String> = dropped.map(|(name, _)| name).collect();
    columns.drop_but(&contested);
    let lay = |side: usize| {
        let sheet = sheets[side];
        let mut out = Writer::under(columns.head(), sheet);
        for at in 0..sheet.rows.len() {
            out.row(&columns.lay(side, sheet.raw(at)).ok()?);
        }
        Some(out.finish(Vec::new()).bytes)
    };
    let [b, o, t] = [lay(0)?, lay(1)?, lay(2)?];
    let read = |bytes| Sheet::read(bytes, columns.separator()).ok();
    let [b, o, t] = [read(&b)?, read(&o)?, read(&t)?];
    keyed(
        (columns.separator(), key, Some(&columns)),
        [&b, &o, &t],
        labels,
    )
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
    (separator, column, columns): (Option<char>, &str, Option<&Columns>),
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
    let mut done = Done {
        column,
        columns,
        conflicts: Vec::new(),
        contests: Vec::new(),
    };
    for n in list {
        let (ours, theirs) = (in_ours[n], in_theirs[n]);
        let base = (n < b.rows.len()).then(|| b.raw(n));
        let key = match ours {
            Some(at) => o.value(at, column),
            None => t.value(theirs?, column),
        };
        let rows = [base, ours.map(|at| o.raw(at)), theirs.map(|at| t.raw(at))];
        let row = match columns {
            Some(columns) => columns.decide(rows),
            None => decide(separator, rows, labels),
        };
        if let Some(row) = done.row(&key?, rows, row) {
            out.row(&row);
        }
    }
    Some(out.finish(done.finish()))
}

/// What is left to decide about rows and columns, while rows are written.
pub(super) struct Done<'a> {
    pub(super) column: &'a str,
    pub(super) columns: Option<&'a Columns>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) contests: Vec<(String, super::columns::Contest)>,
}

impl Done<'_> {
    /// The row to write, if there is one; `Err`: both sides changed it.
    pub(super) fn row(
        &mut self,
        key: &str,
        rows: [Option<&str>; 3],
        row: Result<Option<String>, ()>,
    ) -> Option<String> {
        let named = || format!("{}={key}", self.column);
        let contests = self.columns.map(|c| c.contests(rows)).unwrap_or_default();
        self.contests
            .extend(contests.into_iter().map(|c| (named(), c)));
        let Err(()) = row else {
            return row.ok()?;
        };
        let [base, ours, theirs] = match self.columns {
            Some(columns) => columns.filled(rows),
            None => rows.map(|r| r.map(str::to_owned)),
        };
        let shown = |row: Option<String>| match self.columns {
            Some(columns) => row.map(|r| columns.shown(r)),
            None => row,
        };
        self.conflicts.push(Conflict {
            item: Item::Key(format!("row {}", named())),
            base: shown(base),
            ours: shown(ours.clone()),
            theirs: shown(theirs),
        });
        ours
    }

    /// All that is left to decide.
    pub(super) fn finish(mut self) -> Vec<Conflict> {
        let columns = self.columns.map(|c| c.conflicts(&self.contests));
        self.conflicts.extend(columns.unwrap_or_default());
        self.conflicts.sort_by(|a, b| a.item.cmp(&b.item));
        self.conflicts
    }
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
        Self::under(like.head().to_owned(), like)
    }

    /// In the layout of a file, under another head.
    fn under(mut out: String, like: &Sheet<'_>) -> Self {
        let end = if like.text.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        };
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
    if let Some(decision) = Decision::read(separator, &sheet.header, item, value) {
        let decision = decision?;
        let mut out = Writer::under(decision.head(sheet.head()), &sheet);
        (0..sheet.rows.len()).for_each(|at| out.row(&decision.row(&sheet, at)));
        decision.is_used_up()?;
        return Ok(out.finish(Vec::new()).bytes);
    }
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
    let there = at.map(|at| sheet.raw(at));
    let named = value.and_then(|v| named_row(v, &sheet.header, there, separator));
    let value = named.as_deref().or(value);
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
