//! The stat cache: content ids of files that have not changed since they were last hashed.
//!
//! Derived; may be deleted at any time. A file is believed unchanged when size, times, inode and
//! mode are as recorded **and** its modification time is older than the cache itself: a file
//! written in the same clock tick as the cache could change again without a trace (Git's "racy
//! clean" rule).

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"MVSTAT\x00\x01";
const ROW_BYTES: usize = 8 * 5 + 4 + 32 + 2;

/// What `lstat` says of a file, as far as it tells contents apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
    mode: u32,
}

impl Stamp {
    /// The stamp of a file.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        let ns = |s: i64, n: i64| s.saturating_mul(1_000_000_000).saturating_add(n);
        Self {
            size: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            mode: meta.mode(),
        }
    }
}

impl Stamp {
    /// What tells two states of a path apart, as text; `-` when there is nothing.
    #[must_use]
    pub fn text(path: &Path) -> String {
        std::fs::metadata(path).map_or_else(|_| "-".into(), |m| format!("{:?}", Self::of(&m)))
    }
}

/// Content ids by path.
#[derive(Debug, Default)]
pub struct StatCache {
    entries: HashMap<RepoPath, (Stamp, BlobId)>,
    /// When it was written: the modification time of its own file.
    written_ns: i64,
    changed: bool,
}

impl StatCache {
    /// Reads a cache; missing, damaged and unknown ones are empty.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let read = || -> Option<Self> {
            let written_ns = Stamp::of(&std::fs::metadata(path).ok()?).mtime_ns;
            let bytes = std::fs::read(path).ok()?;
            let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
            if blake3::hash(body).as_bytes() != hash {
                return None;
            }
            let entries = decode(body.strip_prefix(MAGIC)?)?;
            Some(Self {
                entries,
                written_ns,
                changed: false,
            })
        };
        read().unwrap_or_default()
    }

    /// The content of a file that surely has not changed.
    #[must_use]
    pub fn find(&self, path: &RepoPath, stamp: &Stamp) -> Option<BlobId> {
        let (known, blob) = self.entries.get(path)?;
        (known == stamp && stamp.mtime_ns < self.written_ns && stamp.ctime_ns < self.written_ns)
            .then_some(*blob)
    }

    /// Remembers the content of a file.
    pub fn insert(&mut self, path: RepoPath, stamp: Stamp, blob: BlobId) {
        self.entries.insert(path, (stamp, blob));
        self.changed = true;
    }

    /// Forgets what is not in `keep`.
    pub(super) fn retain(&mut self, keep: impl Fn(&RepoPath) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|path, _| keep(path));
        self.changed |= self.entries.len() != before;
    }

    /// Writes the cache, if it changed.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut out = MAGIC.to_vec();
        for (path, (stamp, blob)) in &self.entries {
            let name = path.as_bytes();
            let Ok(len) = u16::try_from(name.len()) else {
                continue;
            };
            out.extend_from_slice(&stamp.size.to_le_bytes());
            out.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
            out.extend_from_slice(&stamp.ctime_ns.to_le_bytes());
            out.extend_from_slice(&stamp.inode.to_le_bytes());
            out.extend_from_slice(&u64::from(stamp.mode).to_le_bytes());
            out.extend_from_slice(&0u32.to_le_bytes());
            out.extend_from_slice(&blob.0);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(name);
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        let temp = path.with_extension(format!("tmp-{}", std::process::id()));
        std::fs::write(&temp, &out).map_err(Error::io("write", &temp))?;
        std::fs::rename(&temp, path).map_err(Error::io("write", path))
    }
}

fn decode(mut rest: &[u8]) -> Option<HashMap<RepoPath, (Stamp, BlobId)>> {
    let mut entries = HashMap::new();
    while !rest.is_empty() {
        let (row, tail) = rest.split_at_checked(ROW_BYTES)?;
        let word = |i: usize| {
            row.get(i * 8..i * 8 + 8)?
                .try_into()
                .ok()
                .map(u64::from_le_bytes)
        };
        let stamp = Stamp {
            size: word(0)?,
            mtime_ns: word(1)?.cast_signed(),
            ctime_ns: word(2)?.cast_signed(),
            inode: word(3)?,
            mode: u32::try_from(word(4)?).ok()?,
        };
        let blob = BlobId(row.get(44..76)?.try_into().ok()?);
        let len = u16::from_le_bytes(row.get(76..78)?.try_into().ok()?);
        let (name, tail) = tail.split_at_checked(usize::from(len))?;
        entries.insert(RepoPath::new(name).ok()?, (stamp, blob));
        rest = tail;
    }
    Some(entries)
}
