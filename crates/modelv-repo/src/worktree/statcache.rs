//! The stat cache: content ids of files that have not changed since they were last hashed.
//!
//! Derived; may be deleted at any time. A file is believed unchanged when size, times, inode and
//! mode are as recorded **and** its times are older than the cache itself: a file written in the
//! same clock tick as the cache could change again without a trace (Git's "racy clean" rule).
//!
//! Rows are kept in the order in which the walk finds files, so that both are read side by side.
//! The cache may also carry a mark: the trees, and the rules, that all its rows together are. A
//! walk that finds just these rows has then found those trees, and nothing needs to be compared.
//! See `spec/statcache.md`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_store::fs;

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"MVSTAT\x00\x02";
const MARK_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
/// Five numbers, the content's id, lengths of the directory's path and of the name.
const ROW_BYTES: usize = 8 * 5 + 32 + 2 + 2;

/// What `lstat` says of a file, as far as it tells contents apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
    mode: u32,
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

impl Stamp {
    /// The stamp of what lies at a place now; `None`: nothing does.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        Some(Self::of(&meta))
    }

    /// The stamp of a file.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        Self {
            size: meta.size(),
            mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            mode: meta.mode(),
        }
    }

    /// The stamp of a file that was looked up in its directory.
    pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        let ns = |n| i64::try_from(n).unwrap_or(0);
        Self {
            size: stat.st_size.cast_unsigned(),
            mtime_ns: nanoseconds(stat.st_mtime, ns(stat.st_mtime_nsec)),
            ctime_ns: nanoseconds(stat.st_ctime, ns(stat.st_ctime_nsec)),
            inode: stat.st_ino,
            mode: stat.st_mode,
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Type and permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// What tells two states of a path apart, as text; `-` when there is nothing.
    #[must_use]
    pub fn text(path: &Path) -> String {
        std::fs::metadata(path).map_or_else(|_| "-".into(), |m| format!("{:?}", Self::of(&m)))
    }
}

/// Where one row stands in the bytes of the cache.
#[derive(Debug, Clone, Copy)]
struct Row {
    dir: (u32, u16),
    name: (u32, u16),
    stamp: Stamp,
    blob: BlobId,
}

/// Content ids by path.
#[derive(Debug, Default)]
pub struct StatCache {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// Rows that came or changed since it was read.
    added: BTreeMap<(Vec<u8>, Vec<u8>), (Stamp, BlobId)>,
    mark: Option<[u8; MARK_BYTES]>,
    /// When it was written: the modification time of its own file.
    written_ns: i64,
}

/// One file with its content, as the cache keeps it.
pub(super) struct Known<'a> {
    pub(super) dir: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) stamp: Stamp,
    pub(super) blob: BlobId,
}

impl StatCache {
    /// Reads a cache; missing, damaged and unknown ones are empty.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let read = || -> Option<Self> {
            let written_ns = Stamp::of(&std::fs::metadata(path).ok()?).mtime_ns;
            Self::parse(std::fs::read(path).ok()?, written_ns)
        };
        read().unwrap_or_default()
    }

    fn parse(bytes: Vec<u8>, written_ns: i64) -> Option<Self> {
        let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
        if blake3::hash(body).as_bytes() != hash {
            return None;
        }
        let mark: [u8; MARK_BYTES] = body
            .strip_prefix(MAGIC)?
            .first_chunk::<MARK_BYTES>()
            .copied()?;
        let rows = decode(body, MAGIC.len() + MARK_BYTES)?;
        Some(Self {
            bytes,
            rows,
            added: BTreeMap::new(),
            mark: (mark != [0; MARK_BYTES]).then_some(mark),
            written_ns,
        })
    }

    /// Whether the bytes are those of a cache that would be believed.
    pub(crate) fn is_sound(bytes: &[u8]) -> bool {
        Self::parse(bytes.to_vec(), 0).is_some()
    }

    fn slice(&self, (start, len): (u32, u16)) -> &[u8] {
        let start = start as usize;
        self.bytes
            .get(start..start + usize::from(len))
            .unwrap_or_default()
    }

    /// The trees and rules that all rows together are, if that is known.
    pub(super) fn mark(&self) -> Option<[u8; MARK_BYTES]> {
        self.mark
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A reader that goes through the rows once, asked for names in the order of the walk.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            cache: self,
            at: 0,
            other: Vec::new(),
        }
    }

    /// A row, as it was written.
    pub(super) fn known(&self, number: usize) -> Option<Known<'_>> {
        self.rows.get(number).map(|row| self.known_row(row))
    }

    fn known_row(&self, row: &Row) -> Known<'_> {
        Known {
            dir: self.slice(row.dir),
            name: self.slice(row.name),
            stamp: row.stamp,
            blob: row.blob,
        }
    }

    /// What a file holds, if the cache knows this state of it.
    pub(crate) fn content(&self, path: &RepoPath, stamp: &Stamp) -> Option<BlobId> {
        let name = path.name();
        let dir = modelv_core::path::parent_of(path.as_bytes());
        let found = self
            .rows
            .binary_search_by(|row| (self.slice(row.dir), self.slice(row.name)).cmp(&(dir, name)));
        let row = self.rows.get(found.ok()?)?;
        let old = stamp.mtime_ns.max(stamp.ctime_ns) < self.written_ns;
        (row.stamp == *stamp && old).then_some(row.blob)
    }

    /// Remembers the content of a file, for the next [`StatCache::save`].
    pub fn insert(&mut self, path: &RepoPath, stamp: Stamp, blob: BlobId) {
        let bytes = path.as_bytes();
        let name = path.name();
        let dir = &bytes[..bytes.len().saturating_sub(name.len() + 1)];
        self.added
            .insert((dir.to_vec(), name.to_vec()), (stamp, blob));
    }

    /// Writes the cache with what was inserted, if anything was.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if self.added.is_empty() {
            return Ok(());
        }
        let kept = self.rows.iter().map(|row| self.known_row(row));
        let added = self.added.iter().map(|((dir, name), known)| Known {
            dir,
            name,
            stamp: known.0,
            blob: known.1,
        });
        // A row that was inserted comes behind the old one of the same name and wins.
        let mut all: Vec<Known<'_>> = kept.chain(added).collect();
        all.sort_by(|a, b| (a.dir, a.name).cmp(&(b.dir, b.name)));
        let mut last: Vec<Known<'_>> = Vec::with_capacity(all.len());
        for row in all {
            if last
                .last()
                .is_some_and(|l| (l.dir, l.name) == (row.dir, row.name))
            {
                last.pop();
            }
            last.push(row);
        }
        write(path, None, last)
    }
}

/// Writes a cache from rows in the order of the walk.
///
/// # Errors
/// The file can't be written.
pub(super) fn write<'a>(
    path: &Path,
    mark: Option<[u8; MARK_BYTES]>,
    rows: impl IntoIterator<Item = Known<'a>>,
) -> Result<()> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&mark.unwrap_or([0; MARK_BYTES]));
    let mut dir: Option<&[u8]> = None;
    for row in rows {
        let (Ok(dir_len), Ok(name_len)) =
            (u16::try_from(row.dir.len()), u16::try_from(row.name.len()))
        else {
            continue;
        };
        for number in [
            row.stamp.size,
            row.stamp.mtime_ns.cast_unsigned(),
            row.stamp.ctime_ns.cast_unsigned(),
            row.stamp.inode,
            u64::from(row.stamp.mode),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&row.blob.0);
        // The directory's path stands once, before the first of its files.
        let same = dir == Some(row.dir);
        let dir_len = if same { u16::MAX } else { dir_len };
        out.extend_from_slice(&dir_len.to_le_bytes());
        out.extend_from_slice(&name_len.to_le_bytes());
        if !same {
            out.extend_from_slice(row.dir);
            dir = Some(row.dir);
        }
        out.extend_from_slice(row.name);
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    fs::write_unsynced(path, &out).map_err(Error::io("write", path))
}

/// Reads the rows that begin at `start` of `bytes`.
fn decode(bytes: &[u8], start: usize) -> Option<Vec<Row>> {
    let mut rows = Vec::with_capacity(bytes.len() / (ROW_BYTES + 8));
    let mut at = start;
    let mut dir: Option<(u32, u16)> = None;
    while at < bytes.len() {
        let row = bytes.get(at..at + ROW_BYTES)?;
        at += ROW_BYTES;
        let word = |i: usize| row[i * 8..].first_chunk().copied().map(u64::from_le_bytes);
        let short = |i: usize| row[i..].first_chunk().copied().map(u16::from_le_bytes);
        let stamp = Stamp {
            size: word(0)?,
            mtime_ns: word(1)?.cast_signed(),
            ctime_ns: word(2)?.cast_signed(),
            inode: word(3)?,
            mode: u32::try_from(word(4)?).ok()?,
        };
        let blob = BlobId(row[40..].first_chunk().copied()?);
        let mut take = |len: u16| {
            let place = (u32::try_from(at).ok()?, len);
            at += usize::from(len);
            (at <= bytes.len()).then_some(place)
        };
        let here = match (short(72)?, dir) {
            (u16::MAX, Some(same)) => same,
            (u16::MAX, None) => return None,
            (len, _) => take(len)?,
        };
        dir = Some(here);
        rows.push(Row {
            dir: here,
            name: take(short(74)?)?,
            stamp,
            blob,
        });
    }
    Some(rows)
}

/// Goes through a cache in step with a walk.
pub(super) struct Cursor<'a> {
    cache: &'a StatCache,
    at: usize,
    /// Rows that were passed and not believed: their file is gone, or may be another one.
    other: Vec<usize>,
}

impl Cursor<'_> {
    /// The content of a file that surely has not changed. Names must come in ascending order.
    pub(super) fn find(&mut self, dir: &[u8], name: &[u8], stamp: &Stamp) -> Option<BlobId> {
        let cache = self.cache;
        while let Some(row) = cache.rows.get(self.at) {
            match (cache.slice(row.dir), cache.slice(row.name)).cmp(&(dir, name)) {
                Ordering::Less => self.pass(),
                Ordering::Greater => return None,
                Ordering::Equal => {
                    let old = stamp.mtime_ns.max(stamp.ctime_ns) < cache.written_ns;
                    if row.stamp == *stamp && old {
                        self.at += 1;
                        return Some(row.blob);
                    }
                    self.pass();
                    return None;
                }
            }
        }
        None
    }

    fn pass(&mut self) {
        self.other.push(self.at);
        self.at += 1;
    }

    /// Numbers of the rows that no file was believed to be, at the end of the walk.
    pub(super) fn others(mut self) -> Vec<usize> {
        self.other.extend(self.at..self.cache.rows.len());
        self.other
    }
}
