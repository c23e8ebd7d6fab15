//! Taking files in: read, cut, hash, look up, encode and append as one pass with bounded memory.
//!
//! Small files are done on the calling thread, large ones on all cores. A file is never read twice
//! and never held whole; buffers go round.

use std::io::{Read, SeekFrom};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use modelv_core::canon::{self, Kind};
use modelv_core::id::{BlobId, ChunkId};

use crate::base::Origins;
use crate::codec::Content;
use crate::cut::{Chunk, Cutter, sizes_for};
use crate::error::{Error, Result};
use crate::factors::Adapter;
use crate::layout::{self, Input};
use crate::session::{Session, thread_died};
use crate::{Cuts, Tag, fs};

/// Files up to this size are read, cut and hashed on the calling thread, in bytes.
const INLINE_BYTES_MAX: u64 = 4 << 20;
/// Chunks that may wait between two stages of the pipeline.
const QUEUE_CHUNKS: usize = 8;

/// A chunk on its way through the pipeline; the last one to drop it gives its buffer back.
struct Job {
    number: usize,
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
        let mut cutter = Cutter::new(input, sizes_for(size));
        self.put_cut(&mut cutter, size, &Origins::default())
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
        let parts = layout::read(input, size).map_err(Error::Input)?;
        input.seek(SeekFrom::Start(0)).map_err(Error::Input)?;
        let mut origins = match base {
            Some(base) => Origins::find(self.store(), base, &parts)?,
            None => Origins::default(),
        };
        origins.add_updates(&parts, adapters);
        let mut cutter = Cutter::with_layout(input, sizes_for(size), &parts);
        self.put_cut(&mut cutter, size, &origins)
    }

    fn put_cut<R: Read>(
        &self,
        cutter: &mut Cutter<R>,
        size: u64,
        origins: &Origins<'_>,
    ) -> Result<(BlobId, u64)> {
        let (id, cuts) = if size <= INLINE_BYTES_MAX {
            self.put_inline(cutter, origins)?
        } else {
            self.put_parallel(cutter, origins)?
        };
        let size = cuts.size;
        if cuts.chunks.len() > 1 {
            let key = (Tag::Object(Kind::Cuts).byte(), id.0);
            self.put(key, &canon::encode(&cuts)?, Content::Bytes)?;
        }
        Ok((id, size))
    }

    fn put_chunk(&self, chunk: &Chunk, origins: &Origins<'_>) -> Result<(ChunkId, u32)> {
        let id = ChunkId::of(&chunk.bytes);
        let key = (Tag::Chunk.byte(), id.0);
        let origin = || origins.load(self, chunk.place, chunk.bytes.len());
        self.put_over(key, &chunk.bytes, chunk.content, &origin)?;
        Ok((id, u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX)))
    }

    fn put_inline<R: Read>(
        &self,
        cutter: &mut Cutter<R>,
        origins: &Origins<'_>,
    ) -> Result<(BlobId, Cuts)> {
        let mut whole = blake3::Hasher::new();
        let mut cuts = Cuts {
            size: 0,
            chunks: Vec::new(),
        };
        let mut buffer = Vec::new();
        while let Some(chunk) = cutter.next_chunk(buffer).map_err(Error::Input)? {
            whole.update(&chunk.bytes);
            cuts.size += chunk.bytes.len() as u64;
            cuts.chunks.push(self.put_chunk(&chunk, origins)?);
            buffer = chunk.bytes;
        }
        if cuts.chunks.is_empty() {
            cuts.chunks
                .push(self.put_chunk(&Chunk::default(), origins)?);
        }
        Ok((BlobId(*whole.finalize().as_bytes()), cuts))
    }

    /// Reads and cuts on this thread, hashes the whole on a second one, and hashes, encodes and
    /// appends chunks on as many as there are cores. Queues are short, so memory stays bounded.
    fn put_parallel<R: Read>(
        &self,
        cutter: &mut Cutter<R>,
        origins: &Origins<'_>,
    ) -> Result<(BlobId, Cuts)> {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (send_chunk, take_chunk) = bounded::<Arc<Job>>(QUEUE_CHUNKS);
        let (send_whole, take_whole) = bounded::<Arc<Job>>(QUEUE_CHUNKS);
        let gate = fs::gate();
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
                    let (queue, gate) = (take_chunk.clone(), gate.clone());
                    scope.spawn(move || {
                        fs::enter(gate);
                        self.work(&queue, origins)
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
            let mut chunks: Vec<_> = chunks.into_iter().map(|(_, chunk)| chunk).collect();
            if chunks.is_empty() {
                chunks.push(self.put_chunk(&Chunk::default(), origins)?);
            }
            Ok((id, Cuts { size, chunks }))
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
            done.push((job.number, self.put_chunk(&job.chunk, origins)?));
        }
        Ok(done)
    }
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
        size += chunk.bytes.len() as u64;
        let used = used.clone();
        let job = Arc::new(Job {
            number,
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
