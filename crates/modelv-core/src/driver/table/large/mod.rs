//! Three tables of any size, merged in bounded memory as small ones are (`table/merge.rs`): by line
//! where that is enough, by key where a column names the rows, else appended. Rows that have to wait
//! are put aside; what is kept in memory is a few numbers a row.
//!
//! What differs from small tables: where neither key nor line decides, there are no markers, and
//! nothing is merged; so too where both sides changed so many rows that they would fill the memory,
//! and for tables of more rows than `ROWS_MAX`.

mod crossed;
mod keyed;
mod lines;
mod output;
mod scan;
mod settle;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::super::{Conflict, Labels, Refusal, Source};
use super::columns::{self, Fit};
use super::{Spill, Table, TableError, rows};

use keyed::Plan;
use scan::Facts;
pub(super) use settle::settle;

/// More rows are not merged: so many numbers would be kept.
const ROWS_MAX: usize = 1 << 25;

/// Something to write into, and to read again.
pub trait Scratch: Read + Write + Seek {}

impl<T: Read + Write + Seek> Scratch for T {}

/// Where rows and results are put.
pub trait Room: Spill {
    /// An empty file that nobody else sees.
    ///
    /// # Errors
    /// There is no room.
    fn file(&mut self) -> io::Result<Box<dyn Scratch>>;
}

/// What large files were merged to.
pub struct Joined {
    /// The content; ours stands where it can't be decided.
    pub content: Box<dyn Scratch>,
    /// What is left to decide.
    pub conflicts: Vec<Conflict>,
}

/// Base, ours and theirs; `None` is absent.
pub(in super::super) type Sides<'a> = [Option<&'a mut (dyn Source + 'a)>; 3];

/// One of them for a while.
fn lend<'b>(side: &'b mut Option<&mut dyn Source>) -> Option<&'b mut dyn Source> {
    match side {
        Some(source) => Some(&mut **source),
        None => None,
    }
}

/// Which of the three is ours and which theirs, in the order of their content: what merges cleanly
/// does not depend on who calls it ours.
pub(super) fn merge(
    table: &Table,
    mut sides: Sides<'_>,
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    let swap = {
        let [_, ours, theirs] = &mut sides;
        is_less(lend(theirs), lend(ours))?
    };
    if swap {
        sides.swap(1, 2);
        let turned = one_way(table, &mut sides, labels, room)?;
        if turned.conflicts.is_empty() {
            return Ok(turned);
        }
        sides.swap(1, 2);
    }
    one_way(table, &mut sides, labels, room)
}

/// The rows that a version begins with, behind its head; the last may be cut off.
fn first_rows(side: Option<&mut dyn Source>, head: usize) -> Result<String, TableError> {
    let Some(source) = side else {
        return Ok(String::new());
    };
    source.seek(SeekFrom::Start(head as u64))?;
    let mut bytes = Vec::new();
    // One more than is looked at: then the last is known to be cut off.
    source
        .take(columns::SAMPLE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn one_way(
    table: &Table,
    sides: &mut Sides<'_>,
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    let separator = table.separator;
    let mut heads = Vec::with_capacity(3);
    for side in &mut *sides {
        heads.push(scan::begin(lend(side), separator)?);
    }
    let key = find_key(table, &heads, sides, room)?;
    let fit = match separator {
        Some(separator) => {
            let has_base = sides[0].is_some();
            let mut rows = [String::new(), String::new(), String::new()];
            for (side, (rows, facts)) in sides.iter_mut().zip(rows.iter_mut().zip(&heads)) {
                *rows = first_rows(lend(side), facts.head.len())?;
            }
            let rows = rows.each_ref().map(String::as_str);
            let heads =
                [0, 1, 2].map(|i: usize| (heads[i].head.as_str(), heads[i].header.as_slice()));
            Fit::of(separator, heads, rows, has_base)
        }
        None => Fit::Alike,
    };
    // Of a file that both added, no line is common by birth.
    let by_lines = match sides[0].is_some() && fit.keeps_lines() {
        true => lines::merge(sides, labels, room)?,
        false => None,
    };
    if let Some(mut content) = by_lines
        && is_table(separator, &mut *content, key.as_ref(), room)?
    {
        return Ok(Joined {
            content,
            conflicts: Vec::new(),
        });
    }
    let merged = match (fit, key) {
        (Fit::Apart(why), _) => return Err(beyond(why)),
        (Fit::Crossed(_), None) => {
            return Err(beyond("the columns differ, and none names every row once"));
        }
        (Fit::Crossed(columns), Some((column, _))) => {
            return crossed::merge(columns, &column, sides, labels, room);
        }
        (Fit::Alike, Some((column, plan))) => {
            return keyed::write((separator, &column, None), plan, sides, labels, room);
        }
        (Fit::Alike, None) => tail::merge(separator, sides, room)?,
    };
    let content = merged.ok_or_else(|| {
        beyond("both sides changed it at one place, and no column names every row once")
    })?;
    Ok(Joined {
        content,
        conflicts: Vec::new(),
    })
}

/// Reads a table, batch by batch, each a small table of its own.
pub(super) fn each(
    separator: Option<char>,
    source: &mut dyn Source,
    work: &mut dyn FnMut(&rows::Sheet<'_>) -> Result<(), TableError>,
) -> Result<(), TableError> {
    scan::batches(Some(source), separator, &mut |sheet| {
        work(sheet).map(|()| true)
    })
    .map(drop)
}

fn beyond(text: &str) -> TableError {
    Refusal::Beyond(text.into()).into()
}

/// Whether the content of the one stands before that of the other.
fn is_less(a: Option<&mut dyn Source>, b: Option<&mut dyn Source>) -> io::Result<bool> {
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(false);
    };
    a.seek(SeekFrom::Start(0))?;
    b.seek(SeekFrom::Start(0))?;
    let (mut x, mut y) = (Vec::new(), Vec::new());
    loop {
        x.clear();
        y.clear();
        (&mut *a).take(1 << 20).read_to_end(&mut x)?;
        (&mut *b).take(1 << 20).read_to_end(&mut y)?;
        if x != y || x.is_empty() {
            return Ok(x < y);
        }
    }
}

/// The column that names every row of all three once, and where the rows of each key stand.
fn find_key(
    table: &Table,
    heads: &[Facts],
    sides: &mut Sides<'_>,
    room: &mut dyn Room,
) -> Result<Option<(String, Plan)>, TableError> {
    let Some(first) = heads.iter().find(|f| !f.header.is_empty()) else {
        return Ok(None);
    };
    let candidates = match &table.key {
        Some(key) => vec![key],
        None => rows::named(&first.header),
    };
    for column in candidates {
        let once = |f: &Facts| {
            let mut seen = HashSet::new();
            let has = |name: &str| f.header.iter().any(|c| c == name);
            f.header.iter().all(|c| seen.insert(c))
                && (f.rows == 0 || has(column) || column.split(',').all(has))
        };
        if !heads.iter().all(once) {
            continue;
        }
        if let Some(plan) = keyed::plan(table.separator, column, sides, room)? {
            return Ok(Some((column.clone(), plan)));
        }
    }
    Ok(None)
}

/// Whether what lines met to is a table whose rows the key still names. Lines can meet to two rows
/// of one key, or to half a row.
fn is_table(
    separator: Option<char>,
    content: &mut dyn Scratch,
    key: Option<&(String, Plan)>,
    room: &mut dyn Room,
) -> Result<bool, TableError> {
    /// What is put aside here is not mixed with the rows of the three.
    const RESULT: usize = 3;
    let mut content = AsSource(content);
    let found = match key {
        Some((column, _)) => keyed::is_key(separator, column, &mut content, RESULT, room),
        None => scan::batches(Some(&mut content), separator, &mut |_| Ok(true)).map(|_| true),
    };
    match found {
        Err(TableError::Refused(_)) => Ok(false),
        other => other,
    }
}

/// A result, read as one side.
pub(in super::super) struct AsSource<'a>(pub(in super::super) &'a mut dyn Scratch);

impl Read for AsSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for AsSource<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
