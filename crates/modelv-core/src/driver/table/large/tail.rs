//! Large tables without a key to which both sides only added rows at the end: all of them stand
//! there, in an order that does not depend on the sides.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use super::super::TableError;
use super::scan::{Facts, Writer, batches};
use super::{Room, Scratch, Sides, lend};

/// One side: its begin, and the rows behind it, each with its length before it.
struct Side {
    begin: blake3::Hash,
    facts: Facts,
    tail: Box<dyn Scratch>,
}

/// The rows of the base, then those of both; `None`: a side did more than append.
pub(super) fn merge(
    separator: Option<char>,
    sides: &mut Sides<'_>,
    room: &mut dyn Room,
) -> Result<Option<Box<dyn Scratch>>, TableError> {
    let [base, ours, theirs] = sides;
    let old = read(separator, lend(base), usize::MAX, room)?;
    let count = old.facts.rows;
    let mut a = read(separator, lend(ours), count, room)?;
    let mut b = read(separator, lend(theirs), count, room)?;
    if count == 0 || a.begin != old.begin || b.begin != old.begin {
        return Ok(None);
    }
    let is_after = is_after(&mut *a.tail, &mut *b.tail)?;
    let mut content = room.file()?;
    let mut out = Writer::new(&mut *content, &a.facts)?;
    let mut left = count;
    batches(lend(ours), separator, &mut |sheet| {
        for at in 0..sheet.rows.len().min(left) {
            out.row(sheet.raw(at))?;
        }
        left = left.saturating_sub(sheet.rows.len());
        Ok(left > 0)
    })?;
    let (first, second) = if is_after { (b, a) } else { (a, b) };
    for mut side in [first, second] {
        side.tail.seek(SeekFrom::Start(0))?;
        let mut tail = BufReader::new(&mut side.tail);
        while let Some(row) = next(&mut tail)? {
            out.row(&row)?;
        }
    }
    out.finish()?;
    Ok(Some(content))
}

/// Hashes the first rows, and puts the others aside.
fn read(
    separator: Option<char>,
    source: Option<&mut dyn super::Source>,
    count: usize,
    room: &mut dyn Room,
) -> Result<Side, TableError> {
    let mut tail = room.file()?;
    let mut out = BufWriter::with_capacity(1 << 18, &mut tail);
    let mut begin = blake3::Hasher::new();
    let mut number = 0;
    let facts = batches(source, separator, &mut |sheet| {
        for at in 0..sheet.rows.len() {
            let row = sheet.raw(at);
            let length = (row.len() as u64).to_le_bytes();
            if number < count {
                begin.update(&length).update(row.as_bytes());
            } else {
                out.write_all(&length)?;
                out.write_all(row.as_bytes())?;
            }
            number += 1;
        }
        Ok(true)
    })?;
    out.flush()?;
    drop(out);
    let begin = begin.finalize();
    Ok(Side { begin, facts, tail })
}

/// The next row that was put aside.
fn next(from: &mut dyn Read) -> io::Result<Option<String>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut row = String::new();
    from.take(u64::from_le_bytes(length))
        .read_to_string(&mut row)?;
    Ok(Some(row))
}

/// Whether the rows of the one stand behind those of the other.
fn is_after(a: &mut dyn Scratch, b: &mut dyn Scratch) -> io::Result<bool> {
    a.seek(SeekFrom::Start(0))?;
    b.seek(SeekFrom::Start(0))?;
    let (mut a, mut b) = (BufReader::new(a), BufReader::new(b));
    loop {
        let (x, y) = (next(&mut a)?, next(&mut b)?);
        if x != y || x.is_none() {
            return Ok(x > y);
        }
    }
}
