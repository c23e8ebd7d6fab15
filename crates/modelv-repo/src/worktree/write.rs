//! Writing files into the working tree, on all cores: read and check, write under a temporary name
//! beside the place, rename.
//!
//! Nothing is synced: what is in the working tree is in the store as well. Must never give a file
//! its name before its whole content was checked, nor reach it other than through its directory's
//! handle ([`super::beneath`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::path::{RepoPath, parent_of};
use modelv_core::tree::Mode;
use modelv_store::{Store, fs};

use super::SnapFile;
use super::beneath::{Folder, Missing, Root};
use super::checkout::Origin;
use super::statcache::Stamp;
use crate::ctx::Ctx;
use crate::error::{Error, Result};

/// A file to write.
pub(super) type Item = (RepoPath, SnapFile);

/// Begin of the names of files that are not complete.
pub(super) const TEMP_PREFIX: &[u8] = b".mv-tmp-";

/// Larger files are written by all cores, smaller ones each by one, in bytes.
const SMALL_BYTES_MAX: u64 = 4 << 20;
/// Most files that a worker takes at a time.
const TURN_FILES: usize = 512;

/// Writes files from a store.
pub(super) struct Writing<'a> {
    pub(super) root: &'a Root,
    pub(super) store: &'a Store,
    pub(super) ctx: &'a Ctx<'a>,
    /// Files whose content may be elsewhere.
    externals: &'a BTreeMap<RepoPath, Origin>,
    /// Keeps the temporary names of two processes apart.
    nonce: String,
    /// Keeps those of this one apart.
    count: AtomicUsize,
}

impl<'a> Writing<'a> {
    pub(super) fn new(
        root: &'a Root,
        store: &'a Store,
        externals: &'a BTreeMap<RepoPath, Origin>,
        ctx: &'a Ctx<'a>,
    ) -> Self {
        Self {
            root,
            store,
            ctx,
            externals,
            nonce: modelv_core::id::to_hex(&crate::oplog::nonce()),
            count: AtomicUsize::new(0),
        }
    }

    /// Writes all of them, links last: no file is ever written through one of ours. Returns the
    /// stamps of what is there now.
    ///
    /// # Errors
    /// Content is missing or damaged, or can't be written. What was complete stays.
    pub(super) fn all<'i>(&self, items: &'i [Item]) -> Result<Vec<(&'i Item, Stamp)>> {
        let mut small = Vec::new();
        let mut links = Vec::new();
        let mut done = Vec::with_capacity(items.len());
        for item in items {
            match item.1.mode {
                Mode::Symlink => links.push(item),
                _ if item.1.size <= SMALL_BYTES_MAX => small.push(item),
                _ => {
                    let folder = self.root.parent(&item.0, Missing::Make)?;
                    done.push((item, self.one(&folder, item)?));
                }
            }
        }
        done.extend(self.side_by_side(&small)?);
        for link in links {
            let folder = self.root.parent(&link.0, Missing::Make)?;
            done.push((link, self.one(&folder, link)?));
        }
        Ok(done)
    }

    fn side_by_side<'i>(&self, items: &[&'i Item]) -> Result<Vec<(&'i Item, Stamp)>> {
        // Two workers in one directory would wait for each other.
        let is_near = |a: &&Item, b: &&Item| dir_of(a) == dir_of(b);
        let turns: Vec<&[&Item]> = items
            .chunk_by(is_near)
            .flat_map(|near| near.chunks(TURN_FILES))
            .collect();
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut done = Vec::new();
            while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(e) = self.turn(turn, &mut done) {
                    // The others stop at their next turn.
                    next.store(turns.len(), Ordering::Relaxed);
                    return Err(e);
                }
            }
            Ok(done)
        };
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let parts: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
            let hands: Vec<_> = (0..threads.min(turns.len()))
                .map(|_| scope.spawn(worker))
                .collect();
            let join = |hand: std::thread::ScopedJoinHandle<'_, _>| {
                hand.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
            };
            hands.into_iter().map(join).collect()
        });
        let mut all = Vec::with_capacity(items.len());
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }

    /// Writes files of one directory.
    fn turn<'i>(&self, turn: &[&'i Item], done: &mut Vec<(&'i Item, Stamp)>) -> Result<()> {
        let Some(first) = turn.first() else {
            return Ok(());
        };
        let folder = self.root.parent(&first.0, Missing::Make)?;
        for item in turn {
            done.push((item, self.one(&folder, item)?));
        }
        Ok(())
    }

    /// Writes one file; the stamp of what is there now.
    fn one(&self, folder: &Folder, item: &Item) -> Result<Stamp> {
        self.ctx.cancel.check()?;
        let (path, file) = item;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let suffix = format!("{}-{number}", self.nonce);
        let temp = [TEMP_PREFIX, suffix.as_bytes()].concat();
        let written = self
            .content(folder, &temp, path, file)
            .map_err(|e| named(e, path))
            .and_then(|()| folder.replace(&temp, path.name()));
        if written.is_err() {
            let _ = folder.delete(&temp);
        }
        written?;
        folder.stamp(path.name()).ok_or(Error::ChangedWhileRead {
            path: folder.full(path.name()),
        })
    }

    fn content(
        &self,
        folder: &Folder,
        temp: &[u8],
        path: &RepoPath,
        file: &SnapFile,
    ) -> Result<()> {
        let full = folder.full(path.name());
        let advance = |n: usize| self.ctx.progress.advance(n as u64);
        if file.mode == Mode::Symlink {
            let target = self.store.read_blob(&file.blob, LINK_BYTES_MAX)?;
            advance(target.len());
            return folder.link(&target, temp);
        }
        let out = folder.create(temp, file.mode == Mode::Executable)?;
        if let Some(Origin::File(from)) = self.externals.get(path) {
            return self.copy(from, &out, &full);
        }
        if file.size > SMALL_BYTES_MAX {
            return self.large(&out, &full, file);
        }
        let content = self.store.read_blob(&file.blob, SMALL_BYTES_MAX)?;
        advance(content.len());
        fs::write_all_at(&out, &content, 0).map_err(Error::io("write", &full))
    }

    /// Copies a file that was checked when it came.
    fn copy(&self, from: &Path, out: &File, full: &Path) -> Result<()> {
        let read = |e| Error::io("read", from)(e);
        let mut input = File::open(from).map_err(read)?;
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            self.ctx.cancel.check()?;
            let n = input.read(&mut piece).map_err(read)?;
            if n == 0 {
                return Ok(());
            }
            fs::write_all_at(out, &piece[..n], at).map_err(Error::io("write", full))?;
            self.ctx.progress.advance(n as u64);
            at += n as u64;
        }
    }

    fn large(&self, out: &File, full: &Path, file: &SnapFile) -> Result<()> {
        let cancel = self.ctx.cancel;
        let fetched = self.store.fetch_blob(&file.blob, &|at, bytes| {
            if cancel.is_cancelled() {
                return Err(std::io::Error::other("interrupted"));
            }
            fs::write_all_at(out, bytes, at)?;
            self.ctx.progress.advance(bytes.len() as u64);
            Ok(())
        });
        match fetched {
            Ok(_) => Ok(()),
            Err(modelv_store::Error::Output(_)) if cancel.is_cancelled() => Err(Error::Cancelled),
            Err(modelv_store::Error::Output(e)) => Err(Error::io("write", full)(e)),
            Err(e) => Err(e.into()),
        }
    }
}

/// Damage is found by a chunk's id; people know the file.
fn named(e: Error, path: &RepoPath) -> Error {
    match e {
        Error::Store(e) if e.is_corrupt() => Error::Corrupt {
            what: format!("content of `{path}`"),
            detail: e.to_string(),
        },
        e => e,
    }
}

fn dir_of(item: &Item) -> &[u8] {
    parent_of(item.0.as_bytes())
}

/// Longest target of a link that the kernel takes.
const LINK_BYTES_MAX: u64 = 4096;
