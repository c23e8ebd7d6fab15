//! Writing: entries go into packs under temporary names; `finish` makes them durable and visible.
//!
//! Hashing and encoding run on the caller's threads and outside the lock; only appending is
//! serial. Dropping a session leaves nothing behind.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modelv_core::canon::{self, Kind, Object, Source};
use modelv_core::id::{BlobId, ChunkId, to_hex};

use crate::codec::{self, Codec};
use crate::cut::{Cutter, sizes_for};
use crate::error::{Error, Result};
use crate::pack::{PACK_BYTES, Row, Writer};
use crate::store::Store;
use crate::{Cuts, Key, Tag, fs, index};

/// Files up to this size are read, cut and hashed on the calling thread, in bytes.
const INLINE_BYTES_MAX: u64 = 4 << 20;
/// Chunks that may wait between two stages of the pipeline.
const QUEUE_CHUNKS: usize = 8;

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
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

#[derive(Default)]
struct Inner {
    open: Option<Writer>,
    closed: Vec<(Writer, [u8; 32])>,
    /// Entries of this session: the number of their pack (closed ones first), and the row.
    known: HashMap<Key, (usize, Row)>,
    stats: Stats,
}

impl<'a> Session<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has(&self, key: &Key) -> Result<bool> {
        if self.lock().known.contains_key(key) {
            return Ok(true);
        }
        self.store.has(key)
    }

    /// Encodes and appends an entry unless it is there.
    pub(crate) fn put(&self, key: Key, plain: &[u8]) -> Result<()> {
        if self.has(&key)? {
            return Ok(());
        }
        let encoded = codec::encode(plain);
        let (codec, stored) = match &encoded {
            Some(bytes) => (Codec::Zstd, bytes.as_slice()),
            None => (Codec::Raw, plain),
        };
        let mut inner = self.lock();
        // Another thread may have been faster.
        if inner.known.contains_key(&key) {
            return Ok(());
        }
        if inner.open.is_none() {
            inner.open = Some(Writer::create(self.temp_path())?);
        }
        let number = inner.closed.len();
        let Some(writer) = inner.open.as_mut() else {
            return Ok(());
        };
        let row = writer.append(key, codec, stored, plain.len())?;
        let full = writer.len() >= PACK_BYTES;
        inner.known.insert(key, (number, row));
        inner.stats.entries += 1;
        inner.stats.plain_bytes += plain.len() as u64;
        inner.stats.stored_bytes += stored.len() as u64;
        if full {
            inner.close_open()?;
        }
        Ok(())
    }

    fn temp_path(&self) -> PathBuf {
        let random = tempfile::Builder::new()
            .prefix("tmp-")
            .suffix(".pack")
            .make_in(self.store.tmp_dir(), |path| Ok(path.to_owned()));
        random.map_or_else(
            |_| {
                self.store
                    .tmp_dir()
                    .join(format!("tmp-{}.pack", std::process::id()))
            },
            |named| named.into_parts().0,
        )
    }

    /// Stores canonical bytes under their id.
    ///
    /// # Errors
    /// They can't be written.
    pub fn put_object_bytes(&self, kind: Kind, bytes: &[u8]) -> Result<[u8; 32]> {
        let id = canon::hash(kind, bytes);
        self.put((Tag::Object(kind).byte(), id), bytes)?;
        Ok(id)
    }

    /// Stores an object.
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_object<T: Object>(&self, object: &T) -> Result<[u8; 32]> {
        self.put_object_bytes(T::KIND, &canon::encode(object))
    }

    /// Stores a file's content; returns its id and its size. `size_hint` chooses how it is cut and
    /// must be the file's size for two machines to cut alike.
    ///
    /// # Errors
    /// The content can't be read ([`Error::Input`]) or written.
    pub fn put_blob(&self, input: &mut dyn Read, size_hint: u64) -> Result<(BlobId, u64)> {
        let mut cutter = Cutter::new(input, sizes_for(size_hint));
        let (id, cuts) = if size_hint <= INLINE_BYTES_MAX {
            self.put_inline(&mut cutter)?
        } else {
            self.put_parallel(&mut cutter)?
        };
        let size = cuts.size;
        if cuts.chunks.len() > 1 {
            let bytes = canon::encode(&cuts);
            if bytes.len() > canon::OBJECT_BYTES_MAX {
                return Err(Error::TooLarge {
                    what: "file".into(),
                    size,
                    limit: size / bytes.len() as u64 * canon::OBJECT_BYTES_MAX as u64,
                });
            }
            self.put((Tag::Object(Kind::Cuts).byte(), id.0), &bytes)?;
        }
        Ok((id, size))
    }

    fn put_chunk(&self, bytes: &[u8]) -> Result<(ChunkId, u32)> {
        let id = ChunkId::of(bytes);
        self.put((Tag::Chunk.byte(), id.0), bytes)?;
        Ok((id, u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
    }

    fn put_inline<R: Read>(&self, cutter: &mut Cutter<R>) -> Result<(BlobId, Cuts)> {
        let mut whole = blake3::Hasher::new();
        let mut cuts = Cuts {
            size: 0,
            chunks: Vec::new(),
        };
        while let Some(chunk) = cutter.next_chunk().map_err(Error::Input)? {
            whole.update(&chunk);
            cuts.size += chunk.len() as u64;
            cuts.chunks.push(self.put_chunk(&chunk)?);
        }
        if cuts.chunks.is_empty() {
            cuts.chunks.push(self.put_chunk(&[])?);
        }
        Ok((BlobId(*whole.finalize().as_bytes()), cuts))
    }

    /// Reads and cuts on this thread, hashes the whole on a second one, and hashes, encodes and
    /// appends chunks on as many as there are cores. Queues are short, so memory stays bounded.
    fn put_parallel<R: Read>(&self, cutter: &mut Cutter<R>) -> Result<(BlobId, Cuts)> {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (send_chunk, take_chunk) =
            crossbeam_channel::bounded::<(usize, Arc<Vec<u8>>)>(QUEUE_CHUNKS);
        let (send_whole, take_whole) = crossbeam_channel::bounded::<Arc<Vec<u8>>>(QUEUE_CHUNKS);
        std::thread::scope(|scope| {
            let whole = scope.spawn(move || {
                let mut hasher = blake3::Hasher::new();
                for chunk in take_whole {
                    hasher.update(&chunk);
                }
                BlobId(*hasher.finalize().as_bytes())
            });
            let hands: Vec<_> = (0..workers)
                .map(|_| {
                    let queue = take_chunk.clone();
                    scope.spawn(move || -> Result<Vec<(usize, ChunkId, u32)>> {
                        let mut done = Vec::new();
                        for (number, chunk) in queue {
                            let (id, len) = self.put_chunk(&chunk)?;
                            done.push((number, id, len));
                        }
                        Ok(done)
                    })
                })
                .collect();
            drop(take_chunk);
            let read = feed(cutter, &send_chunk, &send_whole);
            drop((send_chunk, send_whole));
            let id = whole.join().map_err(|_| thread_died())?;
            let mut chunks = Vec::new();
            for hand in hands {
                chunks.extend(hand.join().map_err(|_| thread_died())??);
            }
            let size = read?;
            chunks.sort_unstable_by_key(|c| c.0);
            let mut chunks: Vec<_> = chunks.into_iter().map(|(_, id, len)| (id, len)).collect();
            if chunks.is_empty() {
                chunks.push(self.put_chunk(&[])?);
            }
            Ok((id, Cuts { size, chunks }))
        })
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
        if inner.closed.is_empty() {
            return Ok(inner.stats);
        }
        let dir = self.store.packs_dir();
        let mut indexes = Vec::new();
        for (writer, name) in inner.closed.drain(..) {
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
            let temp = path.with_extension(format!("idx-{}", std::process::id()));
            let _ = fs::create_new(&temp)
                .and_then(|mut f| fs::write_all(&mut f, &bytes))
                .and_then(|()| std::fs::rename(&temp, &path));
        }
        self.store.refresh()?;
        Ok(inner.stats)
    }

    pub(crate) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let inner = self.lock();
        if let Some((number, row)) = inner.known.get(key) {
            let writer = match inner.closed.get(*number) {
                Some((writer, _)) => Some(writer),
                None => inner.open.as_ref(),
            };
            return writer.map(|w| w.read(row)).transpose();
        }
        drop(inner);
        self.store.read(key)
    }
}

impl Inner {
    fn close_open(&mut self) -> Result<()> {
        if let Some(mut writer) = self.open.take() {
            let name = writer.close()?;
            self.closed.push((writer, name));
        }
        Ok(())
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

/// Cuts the input and hands every chunk to both queues; returns the number of bytes.
fn feed<R: Read>(
    cutter: &mut Cutter<R>,
    chunks: &crossbeam_channel::Sender<(usize, Arc<Vec<u8>>)>,
    whole: &crossbeam_channel::Sender<Arc<Vec<u8>>>,
) -> Result<u64> {
    let (mut number, mut size) = (0, 0);
    while let Some(chunk) = cutter.next_chunk().map_err(Error::Input)? {
        size += chunk.len() as u64;
        let chunk = Arc::new(chunk);
        // A queue closes early only when a worker failed; its error is reported by the caller.
        if whole.send(chunk.clone()).is_err() || chunks.send((number, chunk)).is_err() {
            break;
        }
        number += 1;
    }
    Ok(size)
}

fn thread_died() -> Error {
    Error::Input(std::io::Error::other("a worker thread ended early"))
}
