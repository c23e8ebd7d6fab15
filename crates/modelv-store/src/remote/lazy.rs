//! Content that is read and not here: of a clone that holds a part, brought from a remote when somebody
//! reads it, chunk by chunk.
//!
//! What comes lies in a store of its own, a cache that may be deleted at any time. It must never
//! become part of the repository's store: there, whoever has the record of how a content is cut has all
//! of its chunks.

use std::path::PathBuf;
use std::sync::Mutex;

use modelv_core::canon;
use modelv_core::id::{BlobId, ChunkId, to_hex};

use super::catalog::{Catalog, chunk_key, cuts_key, lock};
use super::receive::Incoming;
use super::{Remote, RemoteError, RemoteOptions, Result, Unwatched};
use crate::store::Store;
use crate::{Cuts, Error, Key, Tag, fs};

/// Bytes of chunks behind the one that is read that come along with it.
const AHEAD_BYTES: u64 = 8 << 20;
/// So many packs make a cache slow: it is emptied then.
const CACHE_PACKS_MAX: usize = 256;

/// Where a remote is.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, for people.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Settings beside the address.
    pub options: RemoteOptions,
}

/// Brings what is read. Nothing is opened or asked before something is missing.
#[derive(Debug)]
pub struct Lazy {
    sources: Vec<Source>,
    /// What is known of remotes.
    known: PathBuf,
    /// What has come.
    cache: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cache: Option<Store>,
    /// Of each source, once it was asked.
    open: Vec<Option<(Remote, Catalog)>>,
}

/// A content that came.
pub(crate) enum Found {
    Whole(Vec<u8>),
    Cut(Cuts),
}

impl Lazy {
    /// Reads from these remotes, the first one first. `cache` is the cache folder of the repository.
    #[must_use]
    pub fn new(sources: Vec<Source>, cache: &std::path::Path) -> Self {
        Self {
            sources,
            known: cache.join("remote"),
            cache: cache.join("lazy"),
            state: Mutex::default(),
        }
    }

    /// The content of a small file, or how a large one is cut.
    pub(crate) fn open(&self, id: &BlobId) -> crate::Result<Found> {
        let keys = [chunk_key(*id), cuts_key(*id)];
        let mut state = lock(&self.state);
        let bytes = self.bring(&mut state, &keys, 1)?;
        match bytes {
            (key, bytes) if key == keys[0] => Ok(Found::Whole(bytes)),
            (_, bytes) => Ok(Found::Cut(canon::decode(&bytes)?)),
        }
    }

    /// The chunks of a content.
    pub(crate) fn chunks_of(&self, id: &BlobId) -> crate::Result<Vec<(ChunkId, u32)>> {
        Ok(match self.open(id)? {
            Found::Whole(bytes) => {
                let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                vec![(ChunkId(id.0), size)]
            }
            Found::Cut(cuts) => cuts.chunks,
        })
    }

    /// The first of these chunks; those behind it will be asked for next.
    pub(crate) fn chunk(&self, chunks: &[(ChunkId, u32)]) -> crate::Result<Vec<u8>> {
        let mut bytes = 0;
        let near = chunks.iter().take_while(|(_, len)| {
            let fits = bytes < AHEAD_BYTES;
            bytes += u64::from(*len);
            fits
        });
        let keys: Vec<Key> = near.map(|(id, _)| (Tag::Chunk.byte(), id.0)).collect();
        let mut state = lock(&self.state);
        Ok(self.bring(&mut state, &keys, keys.len())?.1)
    }

    /// The first of `keys` that is to be had. Where it is not in the cache it comes from a remote, and with
    /// it what of the first `want` of them is there.
    fn bring(&self, state: &mut State, keys: &[Key], want: usize) -> crate::Result<(Key, Vec<u8>)> {
        let State { cache, open } = state;
        let store = match cache {
            Some(store) => store,
            None => cache.insert(self.open_cache()?),
        };
        let store: &Store = store;
        if let Some(found) = read_first(store, keys, want)? {
            return Ok(found);
        }
        open.resize_with(self.sources.len(), || None);
        let mut failed = None;
        for (source, slot) in self.sources.iter().zip(open) {
            // A remote that was looked at before may have got more since.
            for _ in 0..2 {
                let was_open = slot.is_some();
                match self.ask(source, slot, store, keys, want) {
                    Ok(true) => {}
                    Ok(false) if was_open => {
                        *slot = None;
                        continue;
                    }
                    Ok(false) => break,
                    Err(e) => {
                        failed.get_or_insert(e);
                        break;
                    }
                }
                if let Some(found) = read_first(store, keys, want)? {
                    return Ok(found);
                }
            }
        }
        let id = keys.first().map_or([0; 32], |k| k.1);
        Err(Error::Elsewhere {
            id: to_hex(&id),
            remotes: self
                .sources
                .iter()
                .map(|s| format!("{} ({})", s.name, s.url))
                .collect(),
            source: failed.map(|e| Box::new(Error::from(e))),
        })
    }

    /// Brings what of `keys` a remote has; `false`: nothing. One of the first `want` is what is read now.
    fn ask(
        &self,
        source: &Source,
        slot: &mut Option<(Remote, Catalog)>,
        store: &Store,
        keys: &[Key],
        want: usize,
    ) -> Result<bool> {
        let root_of = |remote: &Remote| remote.root()?.ok_or_else(|| gone(&source.url));
        let (remote, catalog) = match slot {
            Some(open) => open,
            None => {
                let remote = Remote::open(&source.url, &source.options, &self.known)?;
                let catalog = remote.likely(&root_of(&remote)?, store, &Unwatched)?;
                slot.insert((remote, catalog))
            }
        };
        if !catalog.is_complete() && !read_now(keys, want).iter().any(|k| catalog.has_key(k)) {
            *catalog = remote.catalog(&root_of(remote)?, store, &Unwatched)?;
        }
        let there = keys.iter().filter(|k| catalog.has_key(k));
        let there: Vec<Key> = there.copied().collect();
        if there.is_empty() {
            return Ok(false);
        }
        let mut incoming = Incoming::new(remote, store, catalog)?;
        incoming.load_keys(&there, &Unwatched)?;
        incoming.finish()?;
        Ok(true)
    }

    fn open_cache(&self) -> crate::Result<Store> {
        let store = Store::init(&self.cache)?;
        if store.packs().len() <= CACHE_PACKS_MAX {
            return Ok(store);
        }
        drop(store);
        let packs = self.cache.join("packs");
        fs::remove_flat_dir(&packs).map_err(Error::io("empty", &packs))?;
        Store::init(&self.cache)
    }
}

/// Those of several entries of which one is read now: the first of many chunks, or any name of one content.
fn read_now(keys: &[Key], want: usize) -> &[Key] {
    if want > 1 { &keys[..1] } else { keys }
}

/// The first of several entries that a store has, if it is among the first `want` or `want` is one.
fn read_first(store: &Store, keys: &[Key], want: usize) -> crate::Result<Option<(Key, Vec<u8>)>> {
    for key in read_now(keys, want) {
        if let Some(bytes) = store.read(key)? {
            return Ok(Some((*key, bytes)));
        }
    }
    Ok(None)
}

impl Remote {
    /// Brings whole contents into a store, as far as the remote has them: what it does not have is given
    /// back.
    ///
    /// # Errors
    /// The remote can't be reached, or something is damaged.
    pub fn bring_contents(
        &self,
        store: &Store,
        contents: Vec<(BlobId, u64)>,
        watch: &dyn super::Watch,
    ) -> Result<(super::Received, Vec<(BlobId, u64)>)> {
        let root = self.root()?.ok_or_else(|| gone(&self.url))?;
        let mut catalog = self.likely(&root, store, watch)?;
        let is_known = |(id, _): &(BlobId, u64)| catalog.has(super::Item::Blob(*id));
        if !catalog.is_complete() && !contents.iter().all(is_known) {
            catalog = self.catalog(&root, store, watch)?;
        }
        let (there, left): (Vec<_>, Vec<_>) = contents
            .into_iter()
            .partition(|(id, _)| catalog.has(super::Item::Blob(*id)));
        let bytes = there.iter().map(|(_, size)| size).sum();
        let items: Vec<_> = there.iter().map(|(id, _)| super::Item::Blob(*id)).collect();
        let mut incoming = self.receive(store, &catalog)?;
        incoming.load_watched(&items, bytes, watch)?;
        Ok((incoming.finish()?, left))
    }
}

/// What a clone was made of is not there.
fn gone(url: &str) -> RemoteError {
    RemoteError::access(url, super::Trouble::Gone, None)
}

/// Errors of a remote that are the store's own.
impl From<RemoteError> for Error {
    fn from(e: RemoteError) -> Self {
        match e {
            RemoteError::Store(inner) => inner,
            other => Self::Remote(Box::new(other)),
        }
    }
}
