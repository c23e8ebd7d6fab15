//! What is to be sent: everything that is asked for and not on the remote.

use std::collections::HashSet;

use modelv_core::id::{BlobId, to_hex};

use super::catalog::{chunk_key, cuts_key};
use super::{Catalog, Item, Result, Sent};
use crate::store::Store;
use crate::{Error, Key, Tag};

/// What is to be sent: everything that was added and the remote does not have.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub(super) store: &'a Store,
    pub(super) catalog: &'a Catalog,
    pub(super) keys: Vec<Key>,
    pub(super) known: HashSet<Key>,
    /// What the remote has for certain, whether the catalog says so or not.
    held: HashSet<Key>,
    /// Contents among it whose chunks were not looked up yet.
    held_blobs: Vec<BlobId>,
}

impl<'a> Outgoing<'a> {
    /// Starts with nothing.
    #[must_use]
    pub fn new(store: &'a Store, catalog: &'a Catalog) -> Self {
        Self {
            store,
            catalog,
            keys: Vec::new(),
            known: HashSet::new(),
            held: HashSet::new(),
            held_blobs: Vec::new(),
        }
    }

    /// Notes something that the remote has for certain, with all it leads to: its refs lead to it.
    pub fn hold(&mut self, item: Item) {
        match item {
            Item::Object(kind, id) => {
                self.held.insert((Tag::Object(kind).byte(), id));
            }
            Item::Blob(id) => {
                self.held.extend([chunk_key(id), cuts_key(id)]);
                self.held_blobs.push(id);
            }
        }
    }

    /// Looks up the chunks of contents that the remote has, as far as they are known here.
    fn hold_chunks(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.held_blobs) {
            let chunks = self.store.cuts(&id)?.map(|cuts| cuts.chunks);
            let keys = chunks.into_iter().flatten();
            self.held
                .extend(keys.map(|(id, _)| (Tag::Chunk.byte(), id.0)));
        }
        Ok(())
    }

    fn is_there(&self, key: &Key) -> bool {
        self.catalog.has_key(key) || self.held.contains(key)
    }

    /// Adds something; `true` when the remote does not have it and it was not added before, so
    /// that the caller goes on with what it leads to.
    ///
    /// # Errors
    /// The local store does not have it either.
    pub fn add(&mut self, item: Item) -> Result<bool> {
        match item {
            Item::Object(kind, id) => self.add_key((Tag::Object(kind).byte(), id)),
            Item::Blob(id) if self.is_there(&chunk_key(id)) => Ok(false),
            Item::Blob(id) if self.is_there(&cuts_key(id)) => Ok(false),
            Item::Blob(id) => self.add_blob(id),
        }
    }

    pub(super) fn add_key(&mut self, key: Key) -> Result<bool> {
        if self.is_there(&key) || self.known.contains(&key) {
            return Ok(false);
        }
        if !self.store.has(&key)? {
            let what = Tag::from_byte(key.0).map_or("entry", Tag::word);
            let id = to_hex(&key.1);
            return Err(Error::NotFound { what, id }.into());
        }
        self.known.insert(key);
        self.keys.push(key);
        Ok(true)
    }

    fn add_blob(&mut self, id: BlobId) -> Result<bool> {
        if self.known.contains(&chunk_key(id)) || self.known.contains(&cuts_key(id)) {
            return Ok(false);
        }
        if self.store.has(&chunk_key(id))? {
            return self.add_key(chunk_key(id));
        }
        let Some(cuts) = self.store.cuts(&id)? else {
            let what = "file content";
            let id = id.to_hex();
            return Err(Error::NotFound { what, id }.into());
        };
        self.hold_chunks()?;
        for (chunk, _) in &cuts.chunks {
            self.add_key((Tag::Chunk.byte(), chunk.0))?;
        }
        self.add_key(cuts_key(id))
    }

    /// What is known when there is nothing to send: everything is there already.
    #[must_use]
    pub fn nothing(&self) -> Sent {
        Sent {
            relied: self.catalog.relied.clone(),
            ..Sent::default()
        }
    }

    /// Bytes to send, about.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn bytes(&self) -> Result<u64> {
        let stored = |key| {
            Ok(self
                .store
                .find(key)?
                .map_or(0, |(_, r)| u64::from(r.stored)))
        };
        self.keys.iter().map(stored).sum()
    }

    /// Entries to send.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the remote has everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
