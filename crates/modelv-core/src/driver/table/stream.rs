//! Two tables of any size, compared in bounded memory. Both are read once, side by side: what stands
//! in both at the same place is passed over as bytes; rows that do not are kept, or put aside in
//! parts by their key, and compared part by part.
//!
//! Rows that are equal in both at the same place are not looked into: whether their keys are
//! different from all others is not checked. Everything else holds as for small tables.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;

use super::super::{Change, Refusal, Source};
use super::reader::{Rows, Span, common};
use super::rows::{self, Sheet};
use super::{ROWS_LISTED_MAX, columns, keyed_by};

/// Rows that differ are kept in memory up to so many bytes on both sides together.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Parts that rows are put aside in.
const PARTS: usize = 256;

/// So many rows are looked at for the next one that stands in both.
const AHEAD: usize = 64;

/// Why two tables could not be compared by row.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// One is not what its name claims.
    #[error("{0}")]
    Refused(Refusal),
    /// One can't be read, or rows can't be put aside.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Refusal> for TableError {
    fn from(from: Refusal) -> Self {
        Self::Refused(from)
    }
}

/// Where rows are put aside.
pub trait Spill {
    /// Appends bytes to a part of the old (`0`) or new (`1`) side.
    ///
    /// # Errors
    /// There is no room.
    fn put(&mut self, side: usize, part: usize, bytes: &[u8]) -> io::Result<()>;

    /// Gives all bytes of a part back.
    ///
    /// # Errors
    /// They can't be read.
    fn take(&mut self, side: usize, part: usize) -> io::Result<Vec<u8>>;
}

/// Rows that are not in both at the same place.
struct Kept<'s> {
    texts: [Vec<u8>; 2],
    spill: &'s mut dyn Spill,
    spilled: bool,
    buffers: Vec<[Vec<u8>; 2]>,
    separator: Option<char>,
    heads: [Vec<u8>; 2],
    key: Option<String>,
}

impl Kept<'_> {
    fn add(&mut self, side: usize, row: &[u8]) -> Result<(), TableError> {
        self.texts[side].extend_from_slice(row);
        self.texts[side].push(b'\n');
        if self.texts[0].len() + self.texts[1].len() > KEPT_BYTES_MAX {
            self.put_aside()?;
        }
        Ok(())
    }

    /// The rows of a side with its header, as a table of their own.
    fn sheet<'t>(&self, text: &'t [u8]) -> Result<Sheet<'t>, Refusal> {
        Sheet::read(text, self.separator).map_err(|refusal| match refusal {
            // Its number would be that among the rows that differ.
            Refusal::Invalid(_) => Refusal::Invalid("a row does not fit the first line".into()),
            other => other,
        })
    }

    fn table(&self, side: usize, rows: &[u8]) -> Vec<u8> {
        [self.heads[side].as_slice(), rows].concat()
    }

    /// Sorts what is kept into parts: rows of one key come to one part.
    fn put_aside(&mut self) -> Result<(), TableError> {
        self.spilled = true;
        self.buffers.resize_with(PARTS, Default::default);
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        for side in 0..2 {
            let rows = std::mem::take(&mut self.texts[side]);
            let text = self.table(side, &rows);
            let sheet = self.sheet(&text)?;
            for at in 0..sheet.rows.len() {
                let raw = sheet.raw(at);
                let key = self.key.as_deref().and_then(|key| sheet.value(at, key));
                let hash = hasher.hash_one(key.as_deref().unwrap_or(raw).as_bytes());
                let part = usize::try_from(hash % PARTS as u64).unwrap_or(0);
                let buffer = &mut self.buffers[part][side];
                buffer.extend_from_slice(raw.as_bytes());
                buffer.push(b'\n');
                if buffer.len() > 64 << 10 {
                    self.spill.put(side, part, buffer)?;
                    buffer.clear();
                }
            }
        }
        Ok(())
    }

    /// What became of the rows, part by part.
    fn finish(mut self) -> Result<Vec<Change>, TableError> {
        if !self.spilled {
            let [old, new] = std::mem::take(&mut self.texts);
            let (old, new) = (self.table(0, &old), self.table(1, &new));
            let (x, y) = (self.sheet(&old)?, self.sheet(&new)?);
            let mut sum = Sum::default();
            sum.add(&x, &y, self.key.as_deref());
            return Ok(sum.finish(self.key));
        }
        self.put_aside()?;
        let mut sum = Sum::default();
        for part in 0..PARTS {
            let mut texts = [Vec::new(), Vec::new()];
            for (side, text) in texts.iter_mut().enumerate() {
                let mut rows = self.spill.take(side, part)?;
                rows.extend_from_slice(&self.buffers[part][side]);
                *text = self.table(side, &rows);
            }
            let (x, y) = (self.sheet(&texts[0])?, self.sheet(&texts[1])?);
            sum.add(&x, &y, self.key.as_deref());
        }
        Ok(sum.finish(self.key))
    }
}

/// What became of the rows of all parts.
#[derive(Default)]
struct Sum {
    added: u64,
    removed: u64,
    changed: u64,
    lines: [u64; 2],
    listed: Vec<Change>,
    /// A part in which the key names two rows, or none.
    unnamed: bool,
}

impl Sum {
    fn add(&mut self, old: &Sheet<'_>, new: &Sheet<'_>, key: Option<&str>) {
        let (gone, come) = apart(old, new);
        self.lines[0] += gone;
        self.lines[1] += come;
        let Some(changes) = key.and_then(|key| keyed_by(old, new, key)) else {
            self.unnamed = true;
            return;
        };
        for change in changes {
            match change {
                Change::Keyed {
                    added,
                    removed,
                    changed,
                    ..
                } => {
                    self.added += added;
                    self.removed += removed;
                    self.changed += changed;
                }
                row if self.listed.len() < ROWS_LISTED_MAX => self.listed.push(row),
                _ => {}
            }
        }
    }

    fn finish(self, key: Option<String>) -> Vec<Change> {
        let mut out = Vec::new();
        if let Some(key) = key.filter(|_| !self.unnamed) {
            out.push(Change::Keyed {
                key,
                added: self.added,
                removed: self.removed,
                changed: self.changed,
            });
            out.extend(self.listed);
        }
        let [removed, added] = self.lines;
        out.push(Change::Lines { added, removed });
        out
    }
}

/// Rows only in the one, and only in the other, wherever they stand.
fn apart(old: &Sheet<'_>, new: &Sheet<'_>) -> (u64, u64) {
    let mut counts: std::collections::HashMap<&str, i64> = std::collections::HashMap::new();
    for at in 0..new.rows.len() {
        *counts.entry(new.raw(at)).or_default() += 1;
    }
    for at in 0..old.rows.len() {
        *counts.entry(old.raw(at)).or_default() -= 1;
    }
    let (mut gone, mut come) = (0, 0);
    for n in counts.into_values() {
        gone += u64::try_from(-n).unwrap_or(0);
        come += u64::try_from(n).unwrap_or(0);
    }
    (gone, come)
}

/// Compares two tables row by row; `None` is absent. `key` is the declared one.
///
/// # Errors
/// One can't be read, or is not what its name claims.
pub(super) fn diff(
    separator: Option<char>,
    key: Option<&str>,
    [old, new]: [Option<&mut dyn Source>; 2],
    spill: &mut dyn Spill,
) -> Result<Vec<Change>, TableError> {
    let quotes = separator == Some(',');
    let mut sides = [Rows::new(old, quotes), Rows::new(new, quotes)];
    let mut heads = [Vec::new(), Vec::new()];
    for (side, head) in sides.iter_mut().zip(&mut heads) {
        side.fill()?;
        if side.rest().starts_with("\u{feff}".as_bytes()) {
            side.at += 3;
        }
        if separator.is_some()
            && let Some(first) = side.ahead(1).first().copied()
        {
            *head = [&side.rest()[first.start..first.text], b"\n"].concat();
            side.at += first.end;
        }
    }
    let key = match key {
        Some(key) => Some(key.to_owned()),
        None => likely_key(&sides, &heads, separator)?,
    };
    let mut kept = Kept {
        texts: Default::default(),
        spill,
        spilled: false,
        buffers: Vec::new(),
        separator,
        heads,
        key,
    };
    walk(&mut sides, &mut kept)?;
    let mut out = {
        let (x, y) = (kept.sheet(&kept.heads[0])?, kept.sheet(&kept.heads[1])?);
        columns(&x, &y)
    };
    let [old, new] = sides.map(|s| s.rows);
    out.push(Change::Rows { old, new });
    out.extend(kept.finish()?);
    Ok(out)
}

/// The column that names rows by what it is called; of JSON Lines, by the first row.
fn likely_key(
    sides: &[Rows<'_>; 2],
    heads: &[Vec<u8>; 2],
    separator: Option<char>,
) -> Result<Option<String>, TableError> {
    let mut names: Vec<Vec<String>> = Vec::new();
    for (side, head) in sides.iter().zip(heads) {
        let first = side
            .ahead(1)
            .first()
            .map(|s| side.rest()[s.start..s.text].to_vec());
        let text = if separator.is_some() {
            head.clone()
        } else {
            first.unwrap_or_default()
        };
        let header = Sheet::read(&text, separator)?.header;
        if !header.is_empty() {
            names.push(header);
        }
    }
    let common = |c: &&String| names.iter().all(|n| n.contains(c));
    let first = names.first().map_or(&[][..], Vec::as_slice);
    Ok(rows::named(first)
        .into_iter()
        .chain(first.first())
        .find(common)
        .cloned())
}

/// Reads both tables side by side.
fn walk(sides: &mut [Rows<'_>; 2], kept: &mut Kept<'_>) -> Result<(), TableError> {
    loop {
        for side in &mut *sides {
            if side.is_low() {
                side.fill()?;
            }
        }
        let [a, b] = &mut *sides;
        let same = common(a.rest(), b.rest());
        let passed = a.pass(same);
        b.pass(same);
        if passed > 0 {
            continue;
        }
        let (x, y) = (a.ahead(AHEAD), b.ahead(AHEAD));
        for (side, spans) in [(&*a, &x), (&*b, &y)] {
            if spans.is_empty() && side.source.is_some() {
                return Err(Refusal::Beyond("a row is longer than 8 MiB".into()).into());
            }
            if spans.is_empty() && !side.rest().trim_ascii().is_empty() {
                return Err(Refusal::Invalid("a quote does not end".into()).into());
            }
        }
        if x.is_empty() && y.is_empty() {
            return Ok(());
        }
        let (m, n) = meet(a.rest(), &x, b.rest(), &y);
        for (i, (side, spans, count)) in [(a, &x, m), (b, &y, n)].into_iter().enumerate() {
            for span in &spans[..count] {
                kept.add(i, &side.buffer[side.at + span.start..side.at + span.text])?;
            }
            side.rows += count as u64;
            side.at += count.checked_sub(1).map_or(0, |last| spans[last].end);
        }
        // What meets is the same but for its line end, or it would have been passed over.
        let [a, b] = &mut *sides;
        if let (Some(p), Some(q)) = (x.get(m), y.get(n)) {
            let skip = |side: &mut Rows<'_>, span: &Span, spans: &[Span], count: usize| {
                let begun = count.checked_sub(1).map_or(0, |last| spans[last].end);
                side.at += span.end - begun;
                side.rows += 1;
            };
            skip(a, p, &x, m);
            skip(b, q, &y, n);
        }
    }
}

/// How many rows of each stand before the next that is in both; all, if there is none.
fn meet(a: &[u8], x: &[Span], b: &[u8], y: &[Span]) -> (usize, usize) {
    let text = |side: &'_ [u8], span: &Span| side[span.start..span.text].to_vec();
    let xs: Vec<Vec<u8>> = x.iter().map(|s| text(a, s)).collect();
    let ys: Vec<Vec<u8>> = y.iter().map(|s| text(b, s)).collect();
    for sum in 0..xs.len() + ys.len() {
        for m in
            sum.saturating_sub(ys.len().saturating_sub(1))..=sum.min(xs.len().saturating_sub(1))
        {
            let n = sum - m;
            if m < xs.len() && n < ys.len() && xs[m] == ys[n] {
                // Two rows that follow say that it is no accident.
                let next = xs.get(m + 1).zip(ys.get(n + 1));
                if next.is_none_or(|(p, q)| p == q) || sum == 0 {
                    return (m, n);
                }
            }
        }
    }
    (xs.len(), ys.len())
}

#[cfg(test)]
mod tests;
