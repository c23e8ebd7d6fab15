//! Taking files in: read, cut, hash, look up, encode and append as one pass with bounded memory.
//!
//! Small files are done on the calling thread, large ones on all cores. A file is never read twice
//! and never held whole; buffers go round.

use std::cell::RefCell;
use std::io::{Cursor, Read, SeekFrom};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use modelv_core::canon::{self, Kind};
use modelv_core::id::{BlobId, ChunkId};

use crate::base::Origins;
use crate::codec::Content;
use crate::cut::{Chunk, Cutter, Piece, pieces, read_full, sizes_for};
use crate::error::{Error, Result};
use crate::factors::Adapter;
use crate::layout::{self, Input, Part};
use crate::session::{Session, thread_died};
use crate::{Cuts, Tag};

/// Files up to this size are read, cut and hashed on the calling thread, in bytes.
const INLINE_BYTES_MAX: usize = 4 << 20;
/// Chunks that may wait between two stages of the pipeline.
const QUEUE_CHUNKS: usize = 8;

/// A chunk on its way through the pipeline; the last one to drop it gives its buffer back.
struct Job {
    number: usize,
    /// Where it begins in the file.
    at: u64,
    chunk: Chunk,
    used: Sender<Vec<u8>>,
}

impl Drop for Job {
    fn drop(&mut self) {
        // Full or closed: the buffer is freed instead.
        let _ = self.used.try_send(std::mem::take(&mut self.chunk.bytes));
    }
}

impl Session<'_> {
    /// Stores a file's content; returns its id and its size. `size` chooses how it is cut and must
    /// be the file's size for two machines to cut alike. For a stream: it is cut by content alone.
    ///
    /// # Errors
    /// The content can't be read ([`Error::Input`]) or written.
    pub fn put_blob(&self, input: &mut dyn Read, size: u64) -> Result<(BlobId, u64)> {
        let none = Origins::default();
        with_small(input, size, |input, start, is_all| {
            if is_all {
                return self.put_slice(start, size, &[], &none);
            }
            let input = Cursor::new(start).chain(input);
            self.put_parallel(&mut Cutter::new(input, sizes_for(size)), &none)
        })
    }

    /// The same for a file, from its start: one that holds tensors is cut at their borders, and
    /// what changed little since `base`, the same file in an earlier commit, is stored over that.
    ///
    /// # Errors
    /// The content can't be read ([`Error::Input`]) or written.
    pub fn put_file(
        &self,
        input: &mut dyn Input,
        size: u64,
        base: Option<&BlobId>,
    ) -> Result<(BlobId, u64)> {
        self.put_file_over(input, size, base, &[])
    }

    /// The same for a file whose tensors may be those of `base` with the updates of `adapters`
    /// added: what they explain is not stored again.
    ///
    /// # Errors
    /// The content can't be read ([`Error::Input`]) or written.
    pub fn put_file_over(
        &self,
        input: &mut dyn Input,
        size: u64,
        base: Option<&BlobId>,
        adapters: &[Adapter],
    ) -> Result<(BlobId, u64)> {
        let origins = |parts: &[Part]| -> Result<Origins<'_>> {
            let mut origins = match base {
                Some(base) => Origins::find(self.store(), base, size, parts)?,
                None => Origins::default(),
            };
            origins.add_updates(parts, adapters);
            Ok(origins)
        };
        with_small(input, size, |input, start, is_all| {
            if is_all {
                let mut whole = Cursor::new(start);
                let parts = layout::read(&mut whole, start.len() as u64).map_err(Error::Input)?;
                return self.put_slice(start, size, &parts, &origins(&parts)?);
            }
            let parts = layout::read(input, size).map_err(Error::Input)?;
            input.seek(SeekFrom::Start(0)).map_err(Error::Input)?;
            let mut cutter = Cutter::with_layout(input, sizes_for(size), &parts);
            self.put_parallel(&mut cutter, &origins(&parts)?)
        })
    }

    fn put_cuts(&self, id: BlobId, cuts: &Cuts) -> Result<(BlobId, u64)> {
        if cuts.chunks.len() > 1 {
            let key = (Tag::Object(Kind::Cuts).byte(), id.0);
            self.put(key, &canon::encode(cuts)?, Content::Bytes)?;
        }
        Ok((id, cuts.size))
    }

    /// Stores the chunk that begins at `at` of its file.
    fn put_chunk(
        &self,
        at: u64,
        Piece {
            bytes,
            content,
            place,
        }: Piece<'_>,
        origins: &Origins<'_>,
    ) -> Result<(ChunkId, u32)> {
        let id = ChunkId::of(bytes);
        let origin = || origins.load(self, place, at, bytes);
        self.put_over((Tag::Chunk.byte(), id.0), bytes, content, &origin)?;
        Ok((id, u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
    }

    /// Stores a file that is in memory, on this thread.
    fn put_slice(
        &self,
        whole: &[u8],
        size: u64,
        parts: &[Part],
        origins: &Origins<'_>,
    ) -> Result<(BlobId, u64)> {
        let mut at = 0;
        let put = |piece: Piece<'_>| {
            let start = at;
            at += piece.bytes.len() as u64;
            self.put_chunk(start, piece, origins)
        };
        let mut chunks = pieces(whole, sizes_for(size), parts)
            .map(put)
            .collect::<Result<Vec<_>>>()?;
        if chunks.is_empty() {
            chunks.push(self.put_chunk(0, Piece::default(), origins)?);
        }
        // A single chunk is the whole, and has its id.
        let id = match chunks.as_slice() {
            [(id, _)] => BlobId(id.0),
            _ => BlobId::of(whole),
        };
        let size = whole.len() as u64;
        self.put_cuts(id, &Cuts { size, chunks })
    }

    /// Reads and cuts on this thread, hashes the whole on a second one, and hashes, encodes and
    /// appends chunks on as many as there are cores. Queues are short, so memory stays bounded.
    fn put_parallel<R: Read>(
        &self,
        cutter: &mut Cutter<R>,
        origins: &Origins<'_>,
    ) -> Result<(BlobId, u64)> {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (send_chunk, take_chunk) = bounded::<Arc<Job>>(QUEUE_CHUNKS);
        let (send_whole, take_whole) = bounded::<Arc<Job>>(QUEUE_CHUNKS);
        std::thread::scope(|scope| {
            let whole = scope.spawn(move || {
                let mut hasher = blake3::Hasher::new();
                for job in take_whole {
                    hasher.update(&job.chunk.bytes);
                }
                BlobId(*hasher.finalize().as_bytes())
            });
            let hands: Vec<_> = (0..workers)
                .map(|_| {
                    let queue = take_chunk.clone();
                    scope.spawn(move || self.work(&queue, origins))
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
            let mut chunks: Vec<_> = chunks.into_iter().map(|(_, chunk)| chunk).collect();
            if chunks.is_empty() {
                chunks.push(self.put_chunk(0, Piece::default(), origins)?);
            }
            self.put_cuts(id, &Cuts { size, chunks })
        })
    }

    /// Stores the chunks of a queue; their numbers, ids and lengths.
    fn work(
        &self,
        queue: &Receiver<Arc<Job>>,
        origins: &Origins<'_>,
    ) -> Result<Vec<(usize, (ChunkId, u32))>> {
        let mut done = Vec::new();
        for job in queue {
            let put = self.put_chunk(job.at, job.chunk.as_piece(), origins)?;
            done.push((job.number, put));
        }
        Ok(done)
    }
}

thread_local! {
    /// The small file that this thread stores.
    static SMALL_FILE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hands the content of a small file to `work` as a whole; or an empty start of a large one; or, of
/// one that has grown, what was read, and the rest is still in the input.
fn with_small<I: Read + ?Sized, T>(
    input: &mut I,
    size: u64,
    work: impl FnOnce(&mut I, &[u8], bool) -> Result<T>,
) -> Result<T> {
    let room = match usize::try_from(size) {
        // One more, to see the end.
        Ok(size) if size <= INLINE_BYTES_MAX => size + 1,
        _ => return work(input, &[], false),
    };
    let mut buffer = SMALL_FILE.take();
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    let done = read_full(input, &mut buffer[..room])
        .map_err(Error::Input)
        .and_then(|len| work(input, &buffer[..len], len < room));
    SMALL_FILE.set(buffer);
    done
}

/// Cuts the input and hands every chunk to both queues; returns the number of bytes.
fn feed<R: Read>(
    cutter: &mut Cutter<R>,
    chunks: &Sender<Arc<Job>>,
    whole: &Sender<Arc<Job>>,
) -> Result<u64> {
    let (used, again) = bounded(2 * QUEUE_CHUNKS);
    let (mut number, mut size) = (0, 0);
    loop {
        let buffer = again.try_recv().unwrap_or_default();
        let Some(chunk) = cutter.next_chunk(buffer).map_err(Error::Input)? else {
            return Ok(size);
        };
        let at = size;
        size += chunk.bytes.len() as u64;
        let used = used.clone();
        let job = Arc::new(Job {
            number,
            at,
            chunk,
            used,
        });
        // A queue closes early only when a worker failed; its error is reported by the caller.
        if whole.send(job.clone()).is_err() || chunks.send(job).is_err() {
            return Ok(size);
        }
        number += 1;
    }
}
