//! Writing: entries go into packs under temporary names; `finish` makes them durable and visible.
//!
//! Hashing and encoding run on the caller's threads and outside the lock; only appending is
//! serial. Dropping a session leaves nothing behind.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use modelv_core::canon::{self, Kind, Object, Source};
use modelv_core::id::to_hex;

use crate::codec::{self, Codec, Content, Origin};
use crate::error::{Error, Result};
use crate::pack::{self, Row, Writer};
use crate::store::{DEPTH_MAX, Store};
use crate::{Key, Tag, fs, index};

/// Packs that may wait for the disk at a time; more, and writing waits too.
const SYNCING_MAX: usize = 4;

/// What a session wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries that were new.
    pub entries: u64,
    /// Their bytes before encoding.
    pub plain_bytes: u64,
    /// Their bytes in packs.
    pub stored_bytes: u64,
}

/// A set of writes that becomes visible at once. Usable from many threads.
pub struct Session<'a> {
    store: &'a Store,
    inner: Mutex<Inner>,
    /// Tells `gc --now` that somebody writes.
    _writing: Option<std::fs::File>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

#[derive(Default)]
struct Inner {
    open: Option<Writer>,
    closed: Vec<Closed>,
    /// Entries of this session: the number of their pack (closed ones first), and the row.
    known: HashMap<Key, (usize, Row)>,
    stats: Stats,
}

/// A pack that is complete, and on its way to the disk while the next one is filled.
struct Closed {
    writer: Writer,
    name: [u8; 32],
    syncing: Option<JoinHandle<Result<()>>>,
}

impl Closed {
    /// Waits until the pack is on the disk.
    fn wait(&mut self) -> Result<()> {
        match self.syncing.take() {
            Some(thread) => thread.join().map_err(|_| thread_died())?,
            None => Ok(()),
        }
    }
}

pub(crate) fn thread_died() -> Error {
    Error::Input(std::io::Error::other("a worker thread ended early"))
}

impl<'a> Session<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            inner: Mutex::default(),
            _writing: store.join_writers(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.store
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has(&self, key: &Key) -> Result<bool> {
        if self.lock().known.contains_key(key) {
            return Ok(true);
        }
        self.store.keeps(key)
    }

    /// Encodes and appends an entry unless it is there.
    pub(crate) fn put(&self, key: Key, plain: &[u8], content: Content) -> Result<()> {
        self.put_over(key, plain, content, &|| None)
    }

    /// The same, over other chunks if that is smaller; `origin` is asked only for what is new.
    pub(crate) fn put_over(
        &self,
        key: Key,
        plain: &[u8],
        content: Content,
        origin: &dyn Fn() -> Option<Origin>,
    ) -> Result<()> {
        if self.has(&key)? {
            return Ok(());
        }
        let origin = origin();
        codec::with_scratch(|scratch| {
            let (codec, stored) = codec::encode_in(plain, content, origin.as_ref(), scratch)
                .unwrap_or((Codec::Raw, plain));
            self.append(key, codec, stored, plain.len())
        })
    }

    fn append(&self, key: Key, codec: Codec, stored: &[u8], plain_len: usize) -> Result<()> {
        let mut inner = self.lock();
        // Another thread may have been faster.
        if inner.known.contains_key(&key) {
            return Ok(());
        }
        if inner.open.is_none() {
            inner.open = Some(Writer::create(temp_path(self.store))?);
        }
        let number = inner.closed.len();
        let Some(writer) = inner.open.as_mut() else {
            return Ok(());
        };
        let row = writer.append(key, codec, stored, plain_len)?;
        let full = writer.len() >= self.store.pack_bytes();
        inner.known.insert(key, (number, row));
        inner.stats.entries += 1;
        inner.stats.plain_bytes += plain_len as u64;
        inner.stats.stored_bytes += stored.len() as u64;
        if full {
            inner.close_open()?;
        }
        Ok(())
    }

    /// Stores canonical bytes under their id.
    ///
    /// # Errors
    /// They can't be written.
    pub fn put_object_bytes(&self, kind: Kind, bytes: &[u8]) -> Result<[u8; 32]> {
        let id = canon::hash(kind, bytes);
        self.put((Tag::Object(kind).byte(), id), bytes, Content::Bytes)?;
        Ok(id)
    }

    /// Stores an object.
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_object<T: Object>(&self, object: &T) -> Result<[u8; 32]> {
        self.put_object_bytes(T::KIND, &canon::encode(object)?)
    }

    /// Makes everything durable and visible: packs synced, renamed, their folder synced.
    ///
    /// # Errors
    /// Nothing of this session is visible then.
    pub fn finish(self) -> Result<Stats> {
        let mut inner = self
            .inner
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        inner.close_open()?;
        inner.closed.iter_mut().try_for_each(Closed::wait)?;
        if inner.closed.is_empty() {
            return Ok(inner.stats);
        }
        let dir = self.store.packs_dir();
        let mut indexes = Vec::new();
        for Closed { writer, name, .. } in inner.closed.drain(..) {
            let path = dir.join(to_hex(&name)).with_extension("pack");
            indexes.push((
                path.with_extension("idx"),
                index::to_bytes(&name, &writer.rows),
            ));
            writer.publish(&path)?;
        }
        fs::sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        for (path, bytes) in indexes {
            // Derived from the pack: rebuilt when it is missing, so it is not waited for.
            let _ = fs::write_unsynced(&path, &bytes);
        }
        self.store.refresh()?;
        Ok(inner.stats)
    }

    pub(crate) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        match self.stored(key)? {
            Some(entry) => self.decode(&entry, DEPTH_MAX).map(Some),
            None => self.store.read(key),
        }
    }

    /// Bytes of a chunk that is at most so deep: 0 for one that is over no other chunk.
    pub(crate) fn read_within(&self, id: &[u8; 32], depth: u8) -> Result<Vec<u8>> {
        match self.stored(&(Tag::Chunk.byte(), *id))? {
            Some(entry) if depth > 0 || !entry.0.is_over_others() => self.decode(&entry, depth),
            _ => self.store.read_within(id, depth),
        }
    }

    /// The same of a chunk that stays: one that another may be stored over.
    pub(crate) fn read_kept(&self, id: &[u8; 32], depth: u8) -> Result<Vec<u8>> {
        if self.has(&(Tag::Chunk.byte(), *id))? {
            return self.read_within(id, depth);
        }
        Err(Error::NotFound {
            what: "base of a chunk",
            id: to_hex(id),
        })
    }

    /// An entry of this session as it is written, and the pack it is in.
    fn stored(&self, key: &Key) -> Result<Option<(Row, Vec<u8>, PathBuf)>> {
        let inner = self.lock();
        let Some((number, row)) = inner.known.get(key) else {
            return Ok(None);
        };
        let writer = match inner.closed.get(*number) {
            Some(closed) => Some(&closed.writer),
            None => inner.open.as_ref(),
        };
        let read = |writer: &Writer| Ok((*row, writer.read_stored(row)?, writer.path().to_owned()));
        writer.map(read).transpose()
    }

    /// Decodes an entry of this session that is at most so deep.
    fn decode(&self, (row, stored, path): &(Row, Vec<u8>, PathBuf), depth: u8) -> Result<Vec<u8>> {
        pack::decode_over(path, row, stored, &|id, most| match depth.checked_sub(1) {
            Some(depth) => self.read_within(id, depth.min(most)),
            None => self.store.read_below(id, 0, 0),
        })
    }
}

/// A name for a pack that is being written.
pub(crate) fn temp_path(store: &Store) -> PathBuf {
    let dir = store.tmp_dir();
    let random = tempfile::Builder::new()
        .prefix("tmp-")
        .suffix(".pack")
        .make_in(&dir, |path| Ok(path.to_owned()));
    random.map_or_else(
        |_| dir.join(format!("tmp-{}.pack", std::process::id())),
        |named| named.into_parts().0,
    )
}

impl Inner {
    /// Completes the open pack and lets a thread of its own bring it to the disk.
    fn close_open(&mut self) -> Result<()> {
        let Some(mut writer) = self.open.take() else {
            return Ok(());
        };
        let name = writer.seal()?;
        let sync = writer.syncer()?;
        let syncing = Some(std::thread::spawn(sync));
        self.closed.push(Closed {
            writer,
            name,
            syncing,
        });
        match self.closed.len().checked_sub(1 + SYNCING_MAX) {
            Some(oldest) => self.closed[oldest].wait(),
            None => Ok(()),
        }
    }
}

impl Source for Session<'_> {
    type Error = Error;

    fn load_bytes(&self, kind: Kind, id: &[u8; 32]) -> Result<Vec<u8>> {
        let tag = Tag::Object(kind);
        self.read(&(tag.byte(), *id))?
            .ok_or_else(|| Error::NotFound {
                what: tag.word(),
                id: to_hex(id),
            })
    }
}
