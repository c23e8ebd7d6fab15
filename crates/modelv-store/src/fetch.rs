//! Giving files out: read, decode and check on all cores, each chunk to its place.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::id::{BlobId, ChunkId};

use crate::error::{Error, Result};
use crate::session::thread_died;
use crate::store::Store;
use crate::{Cuts, Tag};

/// Takes bytes and their offset in the file.
pub type Sink<'a> = &'a (dyn Fn(u64, &[u8]) -> io::Result<()> + Sync);

impl Store {
    /// Gives a file's content to `sink`, in any order and from several threads at a time, every
    /// chunk checked against its id first; returns the size. On an error part of it was given.
    ///
    /// # Errors
    /// Missing or damaged; [`Error::Output`] when the sink fails.
    pub fn fetch_blob(&self, id: &BlobId, sink: Sink<'_>) -> Result<u64> {
        let mut plain = Vec::new();
        if self.read_into(&(Tag::Chunk.byte(), id.0), &mut plain)? {
            sink(0, &plain).map_err(Error::Output)?;
            return Ok(plain.len() as u64);
        }
        let cuts = self.cuts(id)?.ok_or_else(|| Error::NotFound {
            what: "file content",
            id: id.to_hex(),
        })?;
        let work = places(&cuts);
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let hands: Vec<_> = (0..threads.min(work.len()))
                .map(|_| scope.spawn(|| self.give_out(&work, &next, sink)))
                .collect();
            hands
                .into_iter()
                .try_for_each(|hand| hand.join().map_err(|_| thread_died())?)
        })?;
        Ok(cuts.size)
    }

    fn give_out(&self, work: &[Place], next: &AtomicUsize, sink: Sink<'_>) -> Result<()> {
        let mut plain = Vec::new();
        while let Some((offset, id, len)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let given = self
                .read_chunk(id, *len, &mut plain)
                .and_then(|()| sink(*offset, &plain).map_err(Error::Output));
            if let Err(e) = given {
                // The others stop at their next chunk.
                next.store(work.len(), Ordering::Relaxed);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Reads a chunk of a cut blob.
    pub(crate) fn read_chunk(&self, id: &ChunkId, len: u32, plain: &mut Vec<u8>) -> Result<()> {
        if !self.read_into(&(Tag::Chunk.byte(), id.0), plain)? {
            return Err(Error::NotFound {
                what: "chunk",
                id: id.to_hex(),
            });
        }
        if plain.len() != len as usize {
            let what = format!("chunk `{id}`");
            return Err(Error::corrupt(what, "its length is not the recorded one"));
        }
        Ok(())
    }
}

type Place = (u64, ChunkId, u32);

/// Chunks with their offsets in the file.
pub(crate) fn places(cuts: &Cuts) -> Vec<Place> {
    let mut at = 0;
    let place = |(id, len): &(ChunkId, u32)| {
        let start = at;
        at += u64::from(*len);
        (start, *id, *len)
    };
    cuts.chunks.iter().map(place).collect()
}
