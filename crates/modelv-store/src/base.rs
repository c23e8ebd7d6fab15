//! Finding, for the blocks of a new file, what they may come from: the same blocks of the file
//! before, and updates that an adapter holds.

use std::collections::HashMap;

use modelv_core::id::{BlobId, ChunkId};

use crate::alike::Before;
use crate::codec::{Base, Origin};
use crate::cut::BLOCK_BYTES;
use crate::error::Result;
use crate::factors::{Adapter, Found};
use crate::fetch::places;
use crate::layout::{self, Part, Within};
use crate::session::Session;
use crate::store::{DEPTH_MAX, Store};

/// Most adapters whose updates are tried on a chunk.
const ADAPTERS_MAX: usize = 8;

/// What the blocks of a new file may come from.
#[derive(Debug, Default)]
pub(crate) struct Origins<'a> {
    /// Chunks of a base file by (number of the new file's part, offset in it).
    chunks: HashMap<(usize, u64), ChunkId>,
    /// Updates by the number of the part, and its bytes.
    updates: HashMap<usize, (u64, Vec<Found<'a>>)>,
    /// All chunks of the base file, for what is cut by its content.
    before: Before,
}

impl<'a> Origins<'a> {
    /// Adds what adapters hold for the parts of a file.
    pub(crate) fn add_updates(&mut self, parts: &[Part], adapters: &'a [Adapter]) {
        if adapters.is_empty() || self.chunks.is_empty() {
            return;
        }
        for (number, part) in parts.iter().enumerate() {
            let found = adapters.iter().filter_map(|a| a.find(&part.name, part.len));
            let found: Vec<_> = found.take(ADAPTERS_MAX).collect();
            if !found.is_empty() {
                self.updates.insert(number, (part.len, found));
            }
        }
    }

    /// What a chunk may come from, read; `at` is its offset in the file.
    pub(crate) fn load(
        &self,
        session: &Session<'_>,
        place: Option<(usize, u64)>,
        at: u64,
        bytes: &[u8],
    ) -> Option<Origin> {
        let mut origin = Origin {
            bases: Vec::new(),
            alike: Vec::new(),
            pairs: Vec::new(),
            first: 0,
        };
        let Some((part, offset)) = place else {
            origin.alike = self.before.find(session, at, bytes)?;
            return Some(origin);
        };
        let id = self.chunks.get(&(part, offset))?;
        let len = bytes.len();
        let Some((bytes, found)) = self.updates.get(&part) else {
            origin.bases.extend(base_behind(session, id));
            return Some(origin);
        };
        for found in found {
            let size = found.number_bytes(*bytes);
            let (first, count) = (offset / size, len as u64 / size);
            origin.first = found.column(first);
            origin.pairs.extend(found.pair(session, first, count));
        }
        origin.bases = all_bases(session, id);
        Some(origin)
    }

    /// Looks for parts of the same name and length in a base file, for a new one of `size` bytes.
    /// None when it is not there, is another kind of file, or was cut in another way.
    pub(crate) fn find(store: &Store, base: &BlobId, size: u64, parts: &[Part]) -> Result<Self> {
        let Some(cuts) = store.cuts(base)? else {
            return Self::of_one_chunk(store, base, size);
        };
        let places = places(&cuts);
        let mut found = HashMap::new();
        if parts.is_empty() {
            return Ok(Self::of_chunks(found, places, cuts.size, size));
        }
        let chunks: HashMap<u64, (ChunkId, u32)> = places
            .iter()
            .map(|(start, id, len)| (*start, (*id, *len)))
            .collect();
        let mut reader = store.open_blob(base)?;
        // A base that can't be read is none; whoever asks for the file itself will be told.
        let old = layout::read(&mut reader, cuts.size).unwrap_or_default();
        let old: HashMap<&[u8], &Part> = old.iter().map(|p| (p.name.as_slice(), p)).collect();
        // What is cut by its content has no blocks that lie where they lay.
        let in_blocks = |(_, part): &(usize, &Part)| part.within == Within::Blocks;
        for (number, part) in parts.iter().enumerate().filter(in_blocks) {
            let Some(old) = old.get(part.name.as_slice()).filter(|o| o.len == part.len) else {
                continue;
            };
            for offset in (0..part.len).step_by(BLOCK_BYTES) {
                let want = (part.len - offset).min(BLOCK_BYTES as u64);
                if let Some((id, len)) = chunks.get(&(old.start + offset))
                    && u64::from(*len) == want
                {
                    found.insert((number, offset), *id);
                }
            }
        }
        Ok(Self::of_chunks(found, places, cuts.size, size))
    }

    /// A base that was small enough for one chunk, which has its id.
    fn of_one_chunk(store: &Store, base: &BlobId, size: u64) -> Result<Self> {
        let Some(old) = store.blob_size(base)? else {
            return Ok(Self::default());
        };
        let len = u32::try_from(old).unwrap_or(u32::MAX);
        let only = vec![(0, ChunkId(base.0), len)];
        Ok(Self::of_chunks(HashMap::new(), only, old, size))
    }

    fn of_chunks(
        chunks: HashMap<(usize, u64), ChunkId>,
        before: Vec<(u64, ChunkId, u32)>,
        old: u64,
        new: u64,
    ) -> Self {
        Self {
            chunks,
            updates: HashMap::new(),
            before: Before::new(before, old, new),
        }
    }
}

/// Reads a chunk that another one is to be stored over; None when it is too deep, or damaged: then
/// the new one is stored without it.
fn read_base(session: &Session<'_>, id: ChunkId, is_whole: bool) -> Option<Base> {
    let plain = session.read_kept(&id.0, DEPTH_MAX - 1).ok()?;
    Some(Base {
        id: id.0,
        plain,
        is_whole,
    })
}

/// The chunk to store another one over: behind one that only differs a little from its base, that
/// base, so that reading takes as few chunks as possible.
fn base_behind(session: &Session<'_>, id: &ChunkId) -> Option<Base> {
    let mut id = *id;
    for _ in 0..DEPTH_MAX {
        match session.store().names_of(&id).ok()? {
            (names, false) => match names.first() {
                Some(base) => id = ChunkId(*base),
                None => return read_base(session, id, true),
            },
            (_, true) => return read_base(session, id, false),
        }
    }
    None
}

/// The chunks that updates may have been added to: the one before, and all that it is over. An
/// adapter that was trained again is merged into what the last one was merged into.
fn all_bases(session: &Session<'_>, id: &ChunkId) -> Vec<Base> {
    let Some(first) = base_behind(session, id) else {
        return Vec::new();
    };
    let mut bases = vec![first];
    let mut next = Some(*id);
    while let Some(id) = next.filter(|_| bases.len() <= usize::from(DEPTH_MAX)) {
        let Ok((names, _)) = session.store().names_of(&id) else {
            break;
        };
        if bases.iter().all(|b| b.id != id.0) {
            bases.extend(read_base(session, id, names.is_empty()));
        }
        next = names.first().map(|base| ChunkId(*base));
    }
    bases
}
