//! Taking away what nothing leads to, beside running writers and readers. See `spec/gc.md`.
//!
//! The caller marks what is alive; [`Collector`] copies that out of packs that hold anything else,
//! moves those packs to `condemned/`, and a day later deletes them. Two things make that safe:
//!
//! - Writers don't rely on condemned packs, and whoever began before packs were moved or deleted
//!   looks again before the operation log names what it found (see [`State::epoch`]).
//! - Everything that is alive is in packs that stay before anything is moved or deleted, which
//!   happens under the lock of the operation log, so that nothing can come alive meanwhile.
//!
//! Must never delete a pack that it has not condemned before, or anything when it can't read all.

mod copy;
mod state;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use modelv_core::canon::Kind;
use modelv_core::id::{BlobId, to_hex};

pub use state::State;
pub use sweep::{Done, empty_trash};

use crate::error::{Error, Result};
use crate::listing::{self, Found};
use crate::pack::{self, PACK_BYTES, Row};
use crate::remote::Item;
use crate::store::Store;
use crate::{Key, Tag, index};

/// A pack below this many bytes is small.
const SMALL_BYTES: u64 = PACK_BYTES / 4;
/// So many small packs are put together without being asked.
const SMALL_PACKS_MAX: usize = 16;

#[cfg(test)]
thread_local! {
    static OMITTED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Whether a test leaves a part of the protocol out, to see that it is needed.
#[cfg(test)]
pub(crate) fn omit(part: &str) -> bool {
    OMITTED.get() == part
}

/// Whether a test leaves a part of the protocol out.
#[cfg(not(test))]
pub(crate) const fn omit(_: &str) -> bool {
    false
}

/// Which packs are written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Those that hold something dead, and small ones when there are many.
    Needed,
    /// All, each entry with the best of the codecs there are now.
    All,
}

/// What is dead, and what would happen to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Entries that are alive.
    pub live: u64,
    /// Bytes of them in packs.
    pub live_bytes: u64,
    /// Entries of packs that stay so far and that nothing leads to.
    pub dead: u64,
    /// Their bytes in packs.
    pub dead_bytes: u64,
    /// Packs that are to be condemned.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Entries that are copied before.
    pub copies: u64,
    /// Their bytes.
    pub copy_bytes: u64,
    /// Packs that were condemned before.
    pub condemned: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
}

struct Listed {
    found: Found,
    bytes: u64,
    /// Whether it is to be condemned.
    dirty: bool,
}

impl Listed {
    fn is_condemned(&self) -> bool {
        self.found.since.is_some()
    }

    /// Whether its entries stay where they are.
    fn stays(&self) -> bool {
        !self.dirty && !self.is_condemned()
    }
}

struct Entry {
    pack: u32,
    row: Row,
    live: bool,
}

/// One collection. Only one at a time per repository.
pub struct Collector<'a> {
    store: &'a Store,
    packs: Vec<Listed>,
    /// All entries, by key.
    entries: Vec<Entry>,
    /// What was copied to new packs.
    copied: HashSet<Key>,
    /// The new packs.
    made: Vec<[u8; 32]>,
    rewrite: Rewrite,
    /// The pack that was read last.
    open: Option<(u32, File)>,
    _lock: File,
}

impl std::fmt::Debug for Collector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

impl<'a> Collector<'a> {
    /// Lists everything there is.
    ///
    /// # Errors
    /// [`Error::Busy`] when another collection is at work; a pack can't be read.
    pub fn begin(store: &'a Store) -> Result<Self> {
        let mut collector = Self {
            store,
            packs: Vec::new(),
            entries: Vec::new(),
            copied: HashSet::new(),
            made: Vec::new(),
            rewrite: Rewrite::Needed,
            open: None,
            _lock: lock_alone(store)?,
        };
        collector.look_again()?;
        Ok(collector)
    }

    /// Lists what writers have added since. Nothing of it is alive until it is marked.
    ///
    /// # Errors
    /// A pack can't be read.
    pub fn look_again(&mut self) -> Result<()> {
        self.store.refresh()?;
        let mut late = Vec::new();
        for found in listing::list(self.store.dir())? {
            if self.knows(&found) {
                continue;
            }
            let number = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
            let rows = index::rows_of(&found.path, &found.name)?;
            for row in rows {
                // What is known to be alive is so wherever it is.
                let live = self.entries[self.range(&row.key)]
                    .first()
                    .is_some_and(|e| e.live);
                late.push(Entry {
                    pack: number,
                    row,
                    live,
                });
            }
            let bytes = file_bytes(&found.path)?;
            self.packs.push(Listed {
                found,
                bytes,
                dirty: false,
            });
        }
        self.entries.append(&mut late);
        self.entries.sort_by_key(|e| (e.row.key, e.pack));
        Ok(())
    }

    fn knows(&self, found: &Found) -> bool {
        self.made.contains(&found.name) || self.packs.iter().any(|p| p.found.path == found.path)
    }

    fn range(&self, key: &Key) -> std::ops::Range<usize> {
        let start = self.entries.partition_point(|e| e.row.key < *key);
        let len = self.entries[start..]
            .iter()
            .take_while(|e| e.row.key == *key);
        start..start + len.count()
    }

    /// Marks something as alive with all it is stored as: a content with its chunks and their bases.
    /// `true` the first time, so that the caller goes on with what it leads to.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not there; it can't be read.
    pub fn mark(&mut self, item: Item) -> Result<bool> {
        match item {
            Item::Object(kind, id) => {
                let tag = Tag::Object(kind);
                Ok(self.mark_key((tag.byte(), id), tag.word())?.is_some())
            }
            Item::Blob(id) => self.mark_blob(id),
        }
    }

    /// The entries of a key; `None` when they were marked before.
    fn mark_key(&mut self, key: Key, what: &'static str) -> Result<Option<std::ops::Range<usize>>> {
        let range = self.range(&key);
        let Some(first) = self.entries[range.clone()].first() else {
            let id = to_hex(&key.1);
            return Err(Error::NotFound { what, id });
        };
        if first.live {
            return Ok(None);
        }
        self.entries[range.clone()]
            .iter_mut()
            .for_each(|e| e.live = true);
        Ok(Some(range))
    }

    fn mark_blob(&mut self, id: BlobId) -> Result<bool> {
        if !self.range(&(Tag::Chunk.byte(), id.0)).is_empty() {
            return self.mark_chunk(id.0);
        }
        let cuts_key = (Tag::Object(Kind::Cuts).byte(), id.0);
        if self.mark_key(cuts_key, "file content")?.is_none() {
            return Ok(false);
        }
        let Some(cuts) = self.store.cuts(&id)? else {
            return Ok(true);
        };
        for (chunk, _) in cuts.chunks {
            self.mark_chunk(chunk.0)?;
        }
        Ok(true)
    }

    /// Marks a chunk, and what every copy of it is over: any of them may be the one that stays.
    fn mark_chunk(&mut self, id: [u8; 32]) -> Result<bool> {
        let key = (Tag::Chunk.byte(), id);
        let Some(range) = self.mark_key(key, "chunk")? else {
            return Ok(false);
        };
        for at in range {
            let (number, row) = (self.entries[at].pack, self.entries[at].row);
            if row.is_over_others() && !omit("bases") {
                let path = self.packs[number as usize].found.path.clone();
                let (names, _) = pack::read_names(self.file(number)?, &path, &row)?;
                for below in names {
                    self.mark_chunk(below)?;
                }
            }
        }
        Ok(true)
    }

    fn file(&mut self, number: u32) -> Result<&File> {
        if self.open.as_ref().is_none_or(|(n, _)| *n != number) {
            let path = &self.packs[number as usize].found.path;
            let file = File::open(path).map_err(Error::io("open", path))?;
            self.open = Some((number, file));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Err(Error::Input(std::io::Error::other("no pack is open"))),
        }
    }

    /// Chooses the packs that are to go, when everything is marked, and says what that means.
    pub fn plan(&mut self, rewrite: Rewrite) -> Plan {
        self.rewrite = rewrite;
        for entry in self.entries.iter().filter(|e| !e.live) {
            self.packs[entry.pack as usize].dirty = true;
        }
        let is_small = |p: &&mut Listed| p.stays() && p.bytes < SMALL_BYTES;
        let small = self.packs.iter_mut().filter(is_small).count();
        for pack in &mut self.packs {
            let merge = small >= SMALL_PACKS_MAX && pack.bytes < SMALL_BYTES;
            pack.dirty |= merge || rewrite == Rewrite::All;
            pack.dirty &= !pack.is_condemned();
        }
        let mut plan = Plan::default();
        for entry in &self.entries {
            let bytes = u64::from(entry.row.stored);
            if entry.live {
                plan.live += 1;
                plan.live_bytes += bytes;
            } else if !self.packs[entry.pack as usize].is_condemned() {
                plan.dead += 1;
                plan.dead_bytes += bytes;
            }
        }
        for pack in &self.packs {
            if pack.dirty {
                plan.packs += 1;
                plan.pack_bytes += pack.bytes;
            }
            if pack.is_condemned() {
                plan.condemned += 1;
                plan.condemned_bytes += pack.bytes;
            }
        }
        for at in self.wanted() {
            plan.copies += 1;
            plan.copy_bytes += u64::from(self.entries[at].row.stored);
        }
        plan
    }

    /// The entries that are alive and not in a pack that stays, one copy of each. Where there is a
    /// whole copy, that one: something may be stored over it.
    fn wanted(&self) -> Vec<usize> {
        let mut out = Vec::new();
        let mut start = 0;
        while let Some(first) = self.entries.get(start) {
            let key = first.row.key;
            let group = self.entries[start..]
                .iter()
                .take_while(|e| e.row.key == key);
            let group: Vec<usize> = (start..start + group.count()).collect();
            start += group.len();
            if !first.live || self.copied.contains(&key) {
                continue;
            }
            let is_whole = |at: &&usize| !self.entries[**at].row.is_over_others();
            let stays = |at: &&usize| self.packs[self.entries[**at].pack as usize].stays();
            let whole: Vec<usize> = group.iter().filter(is_whole).copied().collect();
            let choice = if whole.is_empty() { group } else { whole };
            if !choice.iter().any(|at| stays(&at)) {
                out.extend(choice.first());
            }
        }
        out
    }
}

/// The lock that one collection or repair holds at a time.
pub(crate) fn lock_alone(store: &Store) -> Result<File> {
    let dir = store.dir();
    let lock = listing::open_lock(dir, "gc.lock").map_err(Error::io("open", dir))?;
    let what = "another `gc` or repair is at work on this repository";
    lock.try_lock().map_err(|_| Error::Busy { what })?;
    Ok(lock)
}

fn file_bytes(path: &PathBuf) -> Result<u64> {
    Ok(std::fs::metadata(path)
        .map_err(Error::io("read", path))?
        .len())
}
