//! Pack indexes: a pack's rows, sorted, with a fan-out by the first byte of the id, read with
//! `pread`. Derived: rebuilt from the pack when missing or damaged. See `spec/pack-index.md`.
//!
//! ```text
//! magic 8 | pack name 32 | fan-out 256 x u32 | row*, sorted by (id, tag) | BLAKE3 of all before
//! ```
//! A hit needs no check: what it leads to is checked by its hash. A miss is believed only after the
//! whole index has been checked once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::handles::Handle;
use crate::pack::{self, ROW_BYTES, Row};
use crate::{Key, fs};

const MAGIC: &[u8; 8] = b"MVPIDX\x00\x01";
const FAN_OFFSET: usize = 8 + 32;
const ROWS_OFFSET: usize = FAN_OFFSET + 256 * 4;
const HASH_BYTES: usize = 32;
/// An index of at most this many bytes is read whole: that costs no more than its fan-out alone.
const SMALL_BYTES: u64 = 16 << 10;
/// Once one row of so many was asked for, the rest is read too: that costs less than many small reads.
const ROWS_PER_LOOKUP: usize = 64;
/// One with more rows is never kept in memory to save reads.
const ROWS_KEPT_MAX: usize = 1 << 20;

/// Rows of one pack, searchable.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) pack_path: PathBuf,
    name: [u8; 32],
    pack: Handle,
    source: Mutex<Source>,
}

#[derive(Debug)]
enum Source {
    /// On disk, not checked as a whole yet.
    File {
        file: Handle,
        fan: Vec<u32>,
        /// How often rows were looked for.
        lookups: usize,
    },
    /// Checked or rebuilt, in memory, sorted by (id, tag).
    Rows(Vec<Row>),
}

fn by_id(row: &Row) -> ([u8; 32], u8) {
    (row.key.1, row.key.0)
}

/// The bytes of an index file.
pub(crate) fn to_bytes(pack_name: &[u8; 32], rows: &[Row]) -> Vec<u8> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|r| by_id(r));
    let mut fan = [0u32; 256];
    for row in &sorted {
        for slot in &mut fan[usize::from(row.key.1[0])..] {
            *slot += 1;
        }
    }
    let mut out = Vec::with_capacity(ROWS_OFFSET + sorted.len() * ROW_BYTES + HASH_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(pack_name);
    for slot in fan {
        out.extend_from_slice(&slot.to_le_bytes());
    }
    for row in sorted {
        out.extend_from_slice(&row.to_bytes());
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

/// Bytes of an index of so many rows.
pub(crate) fn bytes_of(rows: u64) -> u64 {
    (ROWS_OFFSET + HASH_BYTES) as u64 + rows.saturating_mul(ROW_BYTES as u64)
}

/// Reads a whole index file, checking it; `None` when it is damaged in any way.
pub(crate) fn from_bytes(bytes: &[u8], pack_name: &[u8; 32]) -> Option<Vec<Row>> {
    let body = bytes.len().checked_sub(HASH_BYTES)?;
    let (body, hash) = bytes.split_at(body);
    if blake3::hash(body).as_bytes() != hash || body.get(..8)? != MAGIC {
        return None;
    }
    if body.get(8..40)? != pack_name {
        return None;
    }
    let (rows, rest) = body.get(ROWS_OFFSET..)?.as_chunks::<ROW_BYTES>();
    let rows: Vec<Row> = rows.iter().map(Row::from_bytes).collect();
    let sorted = rows.windows(2).all(|w| by_id(&w[0]) < by_id(&w[1]));
    (rest.is_empty() && sorted).then_some(rows)
}

impl Index {
    /// Opens the index beside a pack, or rebuilds it in memory (and on disk, if that can be written).
    pub(crate) fn open(pack_path: PathBuf, name: [u8; 32]) -> Result<Self> {
        let pack = Handle::open(pack_path.clone()).map_err(Error::io("open", &pack_path))?;
        let source = open_fan(&pack_path.with_extension("idx"), &name);
        let is_missing = source.is_none();
        let index = Self {
            pack_path,
            name,
            pack,
            source: Mutex::new(source.unwrap_or_else(|| Source::Rows(Vec::new()))),
        };
        if is_missing {
            let rows = index.rebuild(&name)?;
            *index.lock() = Source::Rows(rows);
        }
        Ok(index)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Source> {
        self.source
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The open pack.
    pub(crate) fn pack(&self) -> Result<Arc<File>> {
        let opened = self.pack.file();
        opened.map_err(Error::io("open", &self.pack_path))
    }

    fn rebuild(&self, name: &[u8; 32]) -> Result<Vec<Row>> {
        let mut rows = self.table()?;
        let path = self.pack_path.with_extension("idx");
        let bytes = to_bytes(name, &rows);
        // Derived: when it can't be written, the next process rebuilds it again.
        let _ = fs::write_unsynced(&path, &bytes);
        rows.sort_by_key(by_id);
        Ok(rows)
    }

    fn read_whole(&self) -> Option<Vec<Row>> {
        let bytes = std::fs::read(self.pack_path.with_extension("idx")).ok()?;
        from_bytes(&bytes, &self.name)
    }

    /// Finds an entry with few reads; a miss proves nothing.
    pub(crate) fn find_unchecked(&self, key: &Key) -> Option<Row> {
        let mut source = self.lock();
        if let Source::File { fan, lookups, .. } = &mut *source {
            *lookups += 1;
            let rows = fan.last().map_or(0, |n| *n as usize);
            let pays = *lookups > rows / ROWS_PER_LOOKUP && rows <= ROWS_KEPT_MAX;
            // A damaged one is left to whoever checks it.
            if pays && let Some(rows) = self.read_whole() {
                *source = Source::Rows(rows);
            }
        }
        match &*source {
            Source::File { file, fan, .. } => {
                let file = file.file().ok()?;
                find_in_file(&file, fan, key)
            }
            Source::Rows(rows) => search(rows, key),
        }
    }

    /// Finds an entry in the checked index.
    pub(crate) fn find(&self, key: &Key, name: &[u8; 32]) -> Result<Option<Row>> {
        self.with_rows(name, |rows| search(rows, key))
    }

    /// Runs `f` on all rows, sorted by (id, tag), after checking the index as a whole.
    pub(crate) fn with_rows<T>(&self, name: &[u8; 32], f: impl Fn(&[Row]) -> T) -> Result<T> {
        let mut source = self.lock();
        if matches!(*source, Source::File { .. }) {
            *source = Source::Rows(match self.read_whole() {
                Some(rows) => rows,
                None => self.rebuild(name)?,
            });
        }
        match &*source {
            Source::Rows(rows) => Ok(f(rows)),
            Source::File { .. } => Ok(f(&[])),
        }
    }

    /// All rows straight from the pack's own table.
    pub(crate) fn table(&self) -> Result<Vec<Row>> {
        let file = self.pack()?;
        pack::read_table(&file, &self.pack_path)
    }
}

/// Finds a row among sorted ones. Ids are hashes, so their first bytes tell about where they stand:
/// most rows are found in a handful of looks, each of which would otherwise wait for memory.
fn search(rows: &[Row], key: &Key) -> Option<Row> {
    const GUESSES: usize = 6;
    let head = |id: &[u8; 32]| id[..8].iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let wanted = (key.1, key.0);
    let (mut low, mut high) = (0, rows.len());
    // Heads of the ids below `low`, and from `high` on.
    let (mut least, mut most) = (0, u64::MAX);
    for _ in 0..GUESSES {
        let (span, room) = (high - low, u128::from(most - least) + 1);
        if span == 0 {
            return None;
        }
        let share = u128::from(head(&key.1).clamp(least, most) - least) * span as u128 / room;
        let at = low + usize::try_from(share).unwrap_or(0).min(span - 1);
        match by_id(&rows[at]).cmp(&wanted) {
            std::cmp::Ordering::Equal => return Some(rows[at]),
            std::cmp::Ordering::Less => (low, least) = (at + 1, head(&rows[at].key.1)),
            std::cmp::Ordering::Greater => (high, most) = (at, head(&rows[at].key.1)),
        }
    }
    let rest = &rows[low..high];
    let found = rest.binary_search_by_key(&wanted, by_id).ok()?;
    Some(rest[found])
}

/// The rows of a pack without keeping a file open: from its index, or from its own table.
pub(crate) fn rows_of(pack_path: &Path, name: &[u8; 32]) -> Result<Vec<Row>> {
    let index = std::fs::read(pack_path.with_extension("idx")).ok();
    if let Some(rows) = index.and_then(|bytes| from_bytes(&bytes, name)) {
        return Ok(rows);
    }
    let file = File::open(pack_path).map_err(Error::io("open", pack_path))?;
    pack::read_table(&file, pack_path)
}

/// Whether an index file is exactly what the rows of its pack make.
pub(crate) fn is_sound(path: &Path, pack_name: &[u8; 32], rows: &[Row]) -> bool {
    let wanted = to_bytes(pack_name, rows);
    let len = std::fs::metadata(path).map(|m| m.len());
    len.is_ok_and(|len| len == wanted.len() as u64)
        && std::fs::read(path).is_ok_and(|bytes| bytes == wanted)
}

fn open_fan(path: &Path, pack_name: &[u8; 32]) -> Option<Source> {
    let handle = Handle::open(path.to_owned()).ok()?;
    let file = handle.file().ok()?;
    if file.metadata().ok()?.len() <= SMALL_BYTES {
        let whole = std::fs::read(path).ok()?;
        return from_bytes(&whole, pack_name).map(Source::Rows);
    }
    let mut head = [0; ROWS_OFFSET];
    file.read_exact_at(&mut head, 0).ok()?;
    // The index of another pack would give rows that are not in this one.
    if head[..8] != *MAGIC || head[8..40] != *pack_name {
        return None;
    }
    let (slots, _) = head[FAN_OFFSET..].as_chunks::<4>();
    let fan = slots.iter().map(|s| u32::from_le_bytes(*s)).collect();
    Some(Source::File {
        file: handle,
        fan,
        lookups: 0,
    })
}

/// Looks a key up with few reads. Anything odd is a miss, which the caller does not believe.
fn find_in_file(file: &File, fan: &[u32], key: &Key) -> Option<Row> {
    let first = usize::from(key.1[0]);
    let start = if first == 0 { 0 } else { fan[first - 1] };
    let end = fan[first];
    if start >= end {
        return None;
    }
    let (mut low, mut high) = (start as usize, end as usize);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut bytes = [0u8; ROW_BYTES];
        let at = (ROWS_OFFSET + middle * ROW_BYTES) as u64;
        file.read_exact_at(&mut bytes, at).ok()?;
        let row = Row::from_bytes(&bytes);
        match by_id(&row).cmp(&(key.1, key.0)) {
            std::cmp::Ordering::Equal => return Some(row),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: [u8; 32], tag: u8) -> Row {
        let mut bytes = [0; ROW_BYTES];
        bytes[0] = tag;
        bytes[2..34].copy_from_slice(&id);
        Row::from_bytes(&bytes)
    }

    /// Ids that are spread evenly, all alike, or crowded at either end.
    #[test]
    fn every_row_is_found_however_ids_are_spread() {
        let hash = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
        let near = |first: u8, n: u32| {
            let mut id = [first; 32];
            id[28..].copy_from_slice(&n.to_le_bytes());
            id
        };
        let spreads: [&dyn Fn(u32) -> [u8; 32]; 4] =
            [&hash, &|n| near(0, n), &|n| near(255, n), &|n| {
                near(if n % 2 == 0 { 0 } else { 255 }, n)
            }];
        for (spread, id) in spreads.into_iter().enumerate() {
            for count in [0, 1, 2, 9, 3000] {
                // Two of a tag each, as a blob and its cuts have one id.
                let mut rows: Vec<Row> = (0..count)
                    .flat_map(|n| [row(id(n), 0), row(id(n), 6)])
                    .collect();
                rows.sort_by_key(by_id);
                for n in 0..count {
                    for tag in [0, 6] {
                        let found = search(&rows, &(tag, id(n)));
                        assert_eq!(found.map(|r| r.key), Some((tag, id(n))), "{spread} {n}");
                    }
                    assert!(search(&rows, &(3, id(n))).is_none());
                }
                for id in [[0; 32], [7; 32], [255; 32], hash(count + 1), id(count + 1)] {
                    assert!(search(&rows, &(9, id)).is_none());
                }
            }
        }
    }
}
