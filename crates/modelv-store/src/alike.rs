//! Finding, for a chunk that was cut by its content, an old chunk that has much of the same: where
//! something was inserted, removed or changed, only the pieces at that place are new, and they are
//! nearly those that lay there before.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use memchr::memmem;
use modelv_core::id::ChunkId;

use crate::codec::{BASES_MAX, Base};
use crate::session::Session;
use crate::store::DEPTH_MAX;

/// Smaller chunks are cheap to store again, and many.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// Bytes that are looked for in an old chunk.
const PROBE_BYTES: usize = 32;
/// How many of them, spread over the new chunk.
const PROBES: usize = 12;
/// Chunks that are tried before it is asked whether trying is any use.
const TRIES_MIN: u32 = 16;

/// The chunks of the file before, and whether looking for pieces in them pays.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Begin, id and length of each, ascending.
    chunks: Vec<(u64, ChunkId, u32)>,
    /// Bytes of the file before, and of the new one.
    sizes: (u64, u64),
    tried: AtomicU32,
    found: AtomicU32,
}

impl Before {
    pub(crate) fn new(chunks: Vec<(u64, ChunkId, u32)>, old: u64, new: u64) -> Self {
        Self {
            chunks,
            sizes: (old, new),
            ..Self::default()
        }
    }

    /// Old chunks with content of `bytes`, which lie at `offset` of the new file; read.
    pub(crate) fn find(
        &self,
        session: &Session<'_>,
        offset: u64,
        bytes: &[u8],
    ) -> Option<Vec<Base>> {
        if bytes.len() < CHUNK_BYTES_MIN || self.chunks.is_empty() || !self.pays() {
            return None;
        }
        let mut probes: Vec<_> = probes(bytes).map(memmem::Finder::new).collect();
        let mut bases: Vec<(usize, Base)> = Vec::new();
        let mut chunks = self.candidates(offset, bytes.len());
        while bases.len() < BASES_MAX && !probes.is_empty() {
            let Some((number, plain)) = best(session, &mut chunks, &probes) else {
                break;
            };
            // The next one is for what this one does not have.
            probes.retain(|p| p.find(&plain).is_none());
            let base = Base {
                id: self.chunks[number].1.0,
                plain,
                // What it is over does not matter to a patch.
                is_whole: false,
            };
            bases.push((number, base));
        }
        if bases.is_empty() {
            return None;
        }
        self.found.fetch_add(1, Ordering::Relaxed);
        bases.sort_unstable_by_key(|(number, _)| *number);
        Some(bases.into_iter().map(|(_, base)| base).collect())
    }

    /// Whether to look at all: in a file of which nothing is left, reading the old one for nothing
    /// would cost as much as writing the new one.
    fn pays(&self) -> bool {
        let tried = self.tried.fetch_add(1, Ordering::Relaxed);
        let found = self.found.load(Ordering::Relaxed);
        tried < TRIES_MIN || found.saturating_mul(8) >= tried || tried.is_multiple_of(TRIES_MIN)
    }

    /// Numbers of the old chunks that lie where the new one does, counted from the begin of the
    /// files and from their ends: the place of a single change is known so exactly, that of one among
    /// several nearly.
    fn candidates(&self, offset: u64, len: usize) -> Vec<Candidate> {
        let (old, new) = self.sizes;
        let end = offset + len as u64;
        let shifted = |at: u64| (at + old).saturating_sub(new);
        let mut numbers = BTreeSet::new();
        for (first, last) in [(offset, end), (shifted(offset), shifted(end))] {
            // The one at the begin and the one at the end say most.
            numbers.extend(self.at(first));
            numbers.extend(self.at(last.saturating_sub(1)));
        }
        let candidate = |number| Candidate {
            number,
            id: self.chunks[number].1,
            plain: None,
        };
        numbers.into_iter().map(candidate).collect()
    }

    fn at(&self, offset: u64) -> Option<usize> {
        let behind = self.chunks.partition_point(|(start, ..)| *start <= offset);
        let number = behind.checked_sub(1)?;
        let (start, _, len) = self.chunks[number];
        (offset < start + u64::from(len)).then_some(number)
    }
}

/// An old chunk that may have what is looked for.
struct Candidate {
    number: usize,
    id: ChunkId,
    plain: Option<Vec<u8>>,
}

/// Takes the chunk with most of the probes, if any has one; its number and bytes.
fn best(
    session: &Session<'_>,
    chunks: &mut Vec<Candidate>,
    probes: &[memmem::Finder<'_>],
) -> Option<(usize, Vec<u8>)> {
    let mut best = (0, 0);
    for (place, chunk) in chunks.iter_mut().enumerate() {
        let read = || session.read_kept(&chunk.id.0, DEPTH_MAX - 1);
        // One that can't be read is none; whoever asks for it will be told.
        let plain = chunk
            .plain
            .take()
            .unwrap_or_else(|| read().unwrap_or_default());
        let hits = probes.iter().filter(|p| p.find(&plain).is_some()).count();
        chunk.plain = Some(plain);
        if hits > best.0 {
            best = (hits, place);
        }
        if hits == probes.len() {
            break;
        }
    }
    if best.0 == 0 {
        return None;
    }
    let chunk = chunks.swap_remove(best.1);
    Some((chunk.number, chunk.plain?))
}

/// Short pieces of a chunk from its begin to its end, without those that could be anywhere.
fn probes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let room = bytes.len() - PROBE_BYTES;
    (0..PROBES)
        .map(move |n| &bytes[room * n / (PROBES - 1)..][..PROBE_BYTES])
        .filter(|probe| {
            let mut seen = [false; 256];
            let news = probe
                .iter()
                .filter(|b| !std::mem::replace(&mut seen[usize::from(**b)], true));
            news.count() >= 4
        })
}

#[cfg(test)]
#[path = "alike_tests.rs"]
mod tests;
