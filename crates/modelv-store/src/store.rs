//! The store: finds, reads and checks what packs hold.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use modelv_core::canon::{self, Kind, OBJECT_BYTES_MAX, Source};
use modelv_core::id::{BlobId, ChunkId, from_hex, to_hex};

use crate::error::{Error, Result};
use crate::gc::State;
use crate::index::Index;
use crate::listing::{self, Found};
use crate::pack::{self, PACK_BYTES};
use crate::reader::BlobReader;
use crate::session::Session;
use crate::{Cuts, Tag, fs};

mod find;
mod verify;

pub use verify::Report;

/// Most steps from a chunk to those that are stored whole.
pub(crate) const DEPTH_MAX: u8 = 4;

/// An open store. Sees the packs that were there when it was opened or last refreshed.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Those that are kept first, then the condemned ones.
    packs: RwLock<Vec<Arc<Pack>>>,
    /// How often packs had been taken away when they were listed.
    listed_at: Mutex<Option<u64>>,
    /// Position of the pack that answered last: neighbours are asked for together.
    last_hit: AtomicUsize,
    /// Where content comes from that a clone of a part does not hold.
    lazy: std::sync::OnceLock<Box<crate::remote::Lazy>>,
    /// Packs are closed at this size; smaller in tests.
    pub(crate) pack_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) name: [u8; 32],
    pub(crate) path: PathBuf,
    /// Whether it is on its way out: it is read, and nothing new relies on it.
    pub(crate) condemned: bool,
    index: std::sync::OnceLock<Arc<Index>>,
}

impl Pack {
    pub(crate) fn index(&self) -> Result<Arc<Index>> {
        if let Some(index) = self.index.get() {
            return Ok(index.clone());
        }
        let opened = Arc::new(Index::open(self.path.clone(), self.name)?);
        Ok(self.index.get_or_init(|| opened).clone())
    }
}

impl Store {
    /// Makes the folders of a store in `dir`, durably, and opens it.
    ///
    /// # Errors
    /// A folder can't be made.
    pub fn init(dir: &Path) -> Result<Self> {
        fs::create_dirs_synced(dir).map_err(Error::io("create", dir))?;
        for name in ["packs", "tmp", "quarantine", "leases"] {
            let path = dir.join(name);
            fs::create_dirs(&path).map_err(Error::io("create", &path))?;
        }
        // Before anything else is put there: a power cut must not leave that without the folders.
        fs::sync_dir(dir).map_err(Error::io("sync", dir))?;
        Self::open(dir)
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// Its folder of packs can't be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Self {
            dir: dir.to_owned(),
            packs: RwLock::new(Vec::new()),
            listed_at: Mutex::new(None),
            last_hit: AtomicUsize::new(0),
            lazy: std::sync::OnceLock::new(),
            pack_bytes: PACK_BYTES,
        };
        store.refresh()?;
        Ok(store)
    }

    /// Says where content comes from that is read and not here. Whether something is here is not changed
    /// by that, and what comes does not become part of this store.
    pub fn set_lazy(&self, lazy: crate::remote::Lazy) {
        // The first one stays: it has asked its remotes already.
        let _ = self.lazy.set(Box::new(lazy));
    }

    pub(crate) fn lazy(&self) -> Option<&crate::remote::Lazy> {
        self.lazy.get().map(|lazy| &**lazy)
    }

    /// Bytes of the first of these chunks, brought from a remote if it is not here. Those behind it are
    /// what is read next.
    pub(crate) fn read_first_chunk(
        &self,
        chunks: &[(ChunkId, u32)],
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let Some((id, len)) = chunks.first() else {
            return Err(Error::corrupt(
                "file content",
                "a chunk is missing from its record",
            ));
        };
        match (self.read_chunk(id, *len, plain), self.lazy()) {
            (Err(Error::NotFound { .. }), Some(lazy)) => {
                *plain = lazy.chunk(chunks)?;
                if plain.len() == *len as usize {
                    return Ok(());
                }
                let what = format!("chunk `{}`", id.to_hex());
                Err(Error::corrupt(
                    what,
                    "it has another length than its record says",
                ))
            }
            (done, _) => done,
        }
    }

    pub(crate) fn pack_bytes(&self) -> u64 {
        self.pack_bytes
    }

    /// The repository's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn packs_dir(&self) -> PathBuf {
        self.dir.join("packs")
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Looks for packs that other processes have added, moved or taken away.
    ///
    /// # Errors
    /// A folder can't be read.
    pub fn refresh(&self) -> Result<()> {
        let (found, epoch) = listing::list_steady(&self.dir)?;
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        let mut known: HashMap<PathBuf, Arc<Pack>> =
            packs.drain(..).map(|p| (p.path.clone(), p)).collect();
        packs.extend(found.into_iter().map(|Found { name, path, since }| {
            known.remove(&path).unwrap_or_else(|| {
                Arc::new(Pack {
                    name,
                    path,
                    condemned: since.is_some(),
                    index: std::sync::OnceLock::new(),
                })
            })
        }));
        *self
            .listed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = epoch;
        Ok(())
    }

    /// Lists the packs again if some were taken away since they were listed.
    fn refresh_if_collected(&self) -> Result<()> {
        let epoch = Some(State::read(&self.dir)?.epoch);
        let listed = *self
            .listed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if epoch == listed {
            Ok(())
        } else {
            self.refresh()
        }
    }

    /// A shared kernel lock that lasts as long as a session. It keeps `gc --now` away, for the comfort of
    /// writers; where there are no locks, the check before the operation log grows is enough.
    pub(crate) fn join_writers(&self) -> Option<std::fs::File> {
        let file = listing::open_lock(&self.dir.join("leases"), "writers").ok()?;
        file.lock_shared().ok()?;
        Some(file)
    }

    /// Keeps everybody from writing through sessions, as long as it is held.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody is writing.
    pub fn lock_writers_out(&self) -> Result<std::fs::File> {
        let dir = self.dir.join("leases");
        let file = listing::open_lock(&dir, "writers").map_err(Error::io("open", &dir))?;
        let what = "another process is writing to this repository";
        file.try_lock().map_err(|_| Error::Busy { what })?;
        Ok(file)
    }

    pub(crate) fn packs(&self) -> Vec<Arc<Pack>> {
        self.packs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts writing.
    ///
    /// # Errors
    /// What `gc` has done can't be read. Files are made when the first entry comes.
    pub fn begin(&self) -> Result<Session<'_>> {
        self.refresh_if_collected()?;
        Ok(Session::new(self))
    }

    /// The chunks that another one is stored over: its base first, then those with factors of
    /// updates; none when it is stored whole in some pack. They may be over others themselves.
    /// Whoever keeps or sends the one must keep or send all of these, and what these are over.
    ///
    /// # Errors
    /// An index or the pack can't be read.
    pub fn bases_of(&self, id: &ChunkId) -> Result<Vec<ChunkId>> {
        Ok(self.names_of(id)?.0.into_iter().map(ChunkId).collect())
    }

    /// The same, and whether more than the base is predicted.
    pub(crate) fn names_of(&self, id: &ChunkId) -> Result<(Vec<[u8; 32]>, bool)> {
        let key = (Tag::Chunk.byte(), id.0);
        if self
            .find_where(&key, &|_, row| !row.is_over_others())?
            .is_some()
        {
            return Ok((Vec::new(), false));
        }
        self.again_if_gone(|| match self.find(&key)? {
            Some((index, row)) => {
                let file = index.pack()?;
                pack::read_names(&file, &index.pack_path, &row)
            }
            None => Ok((Vec::new(), false)),
        })
    }

    /// The canonical bytes of an object, checked against its id.
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn object_bytes(&self, kind: Kind, id: &[u8; 32]) -> Result<Vec<u8>> {
        let tag = Tag::Object(kind);
        self.read(&(tag.byte(), *id))?
            .ok_or_else(|| Error::NotFound {
                what: tag.word(),
                id: to_hex(id),
            })
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn has_object(&self, kind: Kind, id: &[u8; 32]) -> Result<bool> {
        self.has(&(Tag::Object(kind).byte(), *id))
    }

    /// Whether a file's content is there.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn has_blob(&self, id: &BlobId) -> Result<bool> {
        Ok(self.has(&(Tag::Chunk.byte(), id.0))?
            || self.has(&(Tag::Object(Kind::Cuts).byte(), id.0))?)
    }

    /// Whether an object is there to stay: in a pack that is not condemned.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn keeps_object(&self, kind: Kind, id: &[u8; 32]) -> Result<bool> {
        self.keeps(&(Tag::Object(kind).byte(), *id))
    }

    /// Whether a file's content is there to stay: in packs that are not condemned.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn keeps_blob(&self, id: &BlobId) -> Result<bool> {
        Ok(self.keeps(&(Tag::Chunk.byte(), id.0))?
            || self.keeps(&(Tag::Object(Kind::Cuts).byte(), id.0))?)
    }

    /// Checks that a file's content is there with every chunk and every base, without reading it.
    ///
    /// # Errors
    /// [`Error::NotFound`], or an index or cuts record can't be read.
    pub fn check_blob(&self, id: &BlobId) -> Result<()> {
        if self.has(&(Tag::Chunk.byte(), id.0))? {
            return self.check_chunk(&ChunkId(id.0), DEPTH_MAX);
        }
        let cuts = self.cuts(id)?.ok_or_else(|| Error::NotFound {
            what: "file content",
            id: id.to_hex(),
        })?;
        cuts.chunks
            .iter()
            .try_for_each(|(chunk, _)| self.check_chunk(chunk, DEPTH_MAX))
    }

    fn check_chunk(&self, id: &ChunkId, depth: u8) -> Result<()> {
        match self.missing_below(id, depth)?.first() {
            None => Ok(()),
            Some(missing) => Err(Error::NotFound {
                what: if missing == id {
                    "chunk"
                } else {
                    "base of a chunk"
                },
                id: missing.to_hex(),
            }),
        }
    }

    /// What is not here of a chunk that may be so deep, and of all that it is over.
    pub(crate) fn missing_below(&self, id: &ChunkId, depth: u8) -> Result<Vec<ChunkId>> {
        if !self.has(&(Tag::Chunk.byte(), id.0))? {
            return Ok(vec![*id]);
        }
        let mut missing = Vec::new();
        if let Some(depth) = depth.checked_sub(1) {
            for below in self.bases_of(id)? {
                missing.extend(self.missing_below(&below, depth)?);
            }
        }
        Ok(missing)
    }

    /// Bytes of a file's content without reading it; `None` when it is not there.
    ///
    /// # Errors
    /// An index can't be read, or the content's cuts are damaged.
    pub fn blob_size(&self, id: &BlobId) -> Result<Option<u64>> {
        if let Some((_, row)) = self.find(&(Tag::Chunk.byte(), id.0))? {
            return Ok(Some(u64::from(row.plain)));
        }
        Ok(self.cuts(id)?.map(|cuts| cuts.size))
    }

    /// Ids of a kind that start with `prefix`, at most `limit`, sorted.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn find_prefix(&self, kind: Kind, prefix: &str, limit: usize) -> Result<Vec<[u8; 32]>> {
        let tag = Tag::Object(kind).byte();
        let padded = format!("{prefix:0<64}");
        let Ok(low) = from_hex(&padded) else {
            return Ok(Vec::new());
        };
        let mut out = std::collections::BTreeSet::new();
        for pack in self.packs() {
            let found = pack.index()?.with_rows(&pack.name, |rows| {
                let start = rows.partition_point(|r| r.key.1 < low);
                rows[start..]
                    .iter()
                    .take_while(|r| to_hex(&r.key.1).starts_with(prefix))
                    .filter(|r| r.key.0 == tag)
                    .take(limit)
                    .map(|r| r.key.1)
                    .collect::<Vec<_>>()
            })?;
            out.extend(found);
        }
        Ok(out.into_iter().take(limit).collect())
    }

    /// How a blob is cut; `None` when it is one chunk.
    pub(crate) fn cuts(&self, id: &BlobId) -> Result<Option<Cuts>> {
        let Some(bytes) = self.read(&(Tag::Object(Kind::Cuts).byte(), id.0))? else {
            return Ok(None);
        };
        Ok(Some(canon::decode(&bytes)?))
    }

    /// Opens a file's content for reading and seeking; every chunk is checked when it is read.
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn open_blob(&self, id: &BlobId) -> Result<BlobReader<'_>> {
        BlobReader::open(self, id)
    }

    /// A file's content, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// Missing, damaged or larger.
    pub fn read_blob(&self, id: &BlobId, limit: u64) -> Result<Vec<u8>> {
        let mut reader = self.open_blob(id)?;
        let size = reader.size();
        if size > limit {
            let what = format!("file content `{}`", id.short());
            return Err(Error::TooLarge { what, size, limit });
        }
        let mut out = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        std::io::Read::read_to_end(&mut reader, &mut out).map_err(unwrap_io)?;
        Ok(out)
    }
}

impl Source for Store {
    type Error = Error;

    fn load_bytes(&self, kind: Kind, id: &[u8; 32]) -> Result<Vec<u8>> {
        debug_assert!(kind != Kind::Cuts && OBJECT_BYTES_MAX > 0);
        self.object_bytes(kind, id)
    }
}

/// An I/O error of a [`BlobReader`] as the store error it was made from.
#[must_use]
pub fn unwrap_io(e: std::io::Error) -> Error {
    match e.downcast::<Error>() {
        Ok(inner) => inner,
        Err(e) => Error::Input(e),
    }
}
