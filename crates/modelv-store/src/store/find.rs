//! Finding entries in packs, and reading them through what they are stored over. A pack may be collected
//! while it is read: then the packs are listed again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use modelv_core::id::to_hex;

use super::{DEPTH_MAX, Pack, Store};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::pack::{self, Row};
use crate::{Key, Tag};

/// So often packs may be collected while something is looked for.
const LOOKS_MAX: u32 = 16;

/// Whether a row of a pack is one that is looked for.
type Fits<'a> = &'a dyn Fn(&Pack, &Row) -> bool;

impl Store {
    pub(crate) fn find(&self, key: &Key) -> Result<Option<(Arc<Index>, Row)>> {
        self.find_where(key, &|_, _| true)
    }

    /// The first row that fits: an entry may be in several packs, whole in one and over a base in
    /// another. A pack that was collected since it was listed has left what is alive to another.
    pub(super) fn find_where(
        &self,
        key: &Key,
        fits: Fits<'_>,
    ) -> Result<Option<(Arc<Index>, Row)>> {
        self.again_if_gone(|| self.search(key, fits))
    }

    fn search(&self, key: &Key, fits: Fits<'_>) -> Result<Option<(Arc<Index>, Row)>> {
        let packs = self.packs();
        let first = self.last_hit.load(Ordering::Relaxed).min(packs.len());
        // First quickly in all; a miss is believed only after the indexes were checked.
        for i in (first..packs.len()).chain(0..first) {
            let index = packs[i].index()?;
            if let Some(row) = index.find_unchecked(key).filter(|r| fits(&packs[i], r)) {
                self.last_hit.store(i, Ordering::Relaxed);
                return Ok(Some((index, row)));
            }
        }
        for pack in &packs {
            let index = pack.index()?;
            if let Some(row) = index.find(key, &pack.name)?.filter(|r| fits(pack, r)) {
                return Ok(Some((index, row)));
            }
        }
        Ok(None)
    }

    pub(crate) fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.find(key)?.is_some())
    }

    /// Whether an entry is in a pack that stays. Whoever writes must not rely on any other.
    pub(crate) fn keeps(&self, key: &Key) -> Result<bool> {
        let found = self.find_where(key, &|pack, _| {
            !pack.condemned || crate::gc::omit("absence")
        })?;
        Ok(found.is_some())
    }

    /// Decoded bytes of an entry, checked against its id.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let mut plain = Vec::new();
        Ok(self.read_into(key, &mut plain)?.then_some(plain))
    }

    /// The same into a buffer; `false` when it is not there.
    pub(crate) fn read_into(&self, key: &Key, plain: &mut Vec<u8>) -> Result<bool> {
        self.again_if_gone(|| {
            let Some((index, row)) = self.find(key)? else {
                return Ok(false);
            };
            self.read_copy(&index, row, &|_, _| true, DEPTH_MAX, plain)?;
            Ok(true)
        })
    }

    /// Does something that reads packs; lists them and does it again when one of them was collected
    /// meanwhile.
    pub(super) fn again_if_gone<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..LOOKS_MAX {
            match read() {
                Err(e) if e.is_gone() => self.refresh()?,
                done => return done,
            }
        }
        read()
    }

    /// Reads one copy of an entry that may be so deep; when it is damaged, any other one.
    fn read_copy(
        &self,
        index: &Index,
        row: Row,
        fits: Fits<'_>,
        depth: u8,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let Err(e) = self.read_row(index, row, depth, plain) else {
            return Ok(());
        };
        for pack in self.packs().iter().filter(|p| p.path != index.pack_path) {
            let Ok(other) = pack.index() else { continue };
            if let Ok(Some(row)) = other.find(&row.key, &pack.name)
                && fits(pack, &row)
                && self.read_row(&other, row, depth, plain).is_ok()
            {
                return Ok(());
            }
        }
        Err(e)
    }

    /// Decoded bytes of a row that may be so deep, checked against its id.
    fn read_row(&self, index: &Index, row: Row, depth: u8, plain: &mut Vec<u8>) -> Result<()> {
        let key = &row.key;
        let bases = |id: &[u8; 32], most: u8| self.read_below(id, depth, most);
        let pack = index.pack()?;
        let (file, path) = (&*pack, &index.pack_path);
        if pack::read_entry(file, path, &row, &bases, plain).is_ok() && pack::check_hash(key, plain)
        {
            return Ok(());
        }
        // The row may be what is damaged: the pack's own table decides.
        let row = index.table()?.into_iter().find(|r| r.key == *key);
        if let Some(row) = row {
            pack::read_entry(file, path, &row, &bases, plain)?;
            if pack::check_hash(key, plain) {
                return Ok(());
            }
        }
        let word = Tag::from_byte(key.0).map_or("entry", Tag::word);
        Err(Error::corrupt(
            format!(
                "{word} `{}` in pack `{}`",
                to_hex(&key.1),
                index.pack_path.display()
            ),
            "its bytes do not match its id",
        ))
    }

    /// Bytes of a chunk that another one of a depth is over, and that itself may be `most` deep.
    pub(crate) fn read_below(&self, id: &[u8; 32], depth: u8, most: u8) -> Result<Vec<u8>> {
        match depth.checked_sub(1) {
            Some(depth) => self.read_within(id, depth.min(most)),
            None => Err(Error::corrupt(
                format!("chunk `{}`", to_hex(id)),
                "too many chunks are over one another",
            )),
        }
    }

    /// Bytes of a chunk that is at most so deep: 0 for one that is over no other chunk.
    pub(crate) fn read_within(&self, id: &[u8; 32], depth: u8) -> Result<Vec<u8>> {
        self.again_if_gone(|| self.read_within_once(id, depth))
    }

    fn read_within_once(&self, id: &[u8; 32], depth: u8) -> Result<Vec<u8>> {
        let key = (Tag::Chunk.byte(), *id);
        let is_whole = |_: &Pack, row: &Row| !row.is_over_others();
        let mut fits: Fits<'_> = &is_whole;
        let mut found = self.find_where(&key, fits)?;
        if found.is_none() && depth > 0 {
            fits = &|_, _| true;
            found = self.find(&key)?;
        }
        let (index, row) = found.ok_or_else(|| Error::NotFound {
            what: "base of a chunk",
            id: to_hex(id),
        })?;
        let mut plain = Vec::new();
        self.read_copy(&index, row, fits, depth, &mut plain)?;
        Ok(plain)
    }
}
