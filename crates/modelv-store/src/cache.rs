//! Reading at random from many contents at once, by several threads: the chunks that were decoded
//! last are kept, up to a number of bytes, and a chunk that several threads want is decoded once.
//!
//! Must never give out a byte of a chunk that was not checked against its id.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modelv_core::id::{BlobId, ChunkId};

use crate::error::{Error, Result};
use crate::store::Store;

/// What a chunk costs beside its bytes: its rows in the tables here.
const ROW_BYTES: u64 = 256;

/// Where the bytes of one content are. Costs 44 bytes a chunk.
#[derive(Debug)]
pub struct Places {
    chunks: Vec<(ChunkId, u32)>,
    /// Offset of each chunk.
    starts: Vec<u64>,
    size: u64,
}

impl Places {
    /// Finds a content without reading it.
    ///
    /// # Errors
    /// It is missing, or its record is damaged.
    pub fn find(store: &Store, id: &BlobId) -> Result<Self> {
        let chunks = match store.cuts(id)? {
            Some(cuts) => cuts.chunks,
            None => {
                let size = store.blob_size(id)?.and_then(|n| u32::try_from(n).ok());
                match (size, store.lazy()) {
                    (Some(size), _) => vec![(ChunkId(id.0), size)],
                    (None, Some(lazy)) => lazy.chunks_of(id)?,
                    (None, None) => {
                        let (what, id) = ("file content", id.to_hex());
                        return Err(Error::NotFound { what, id });
                    }
                }
            }
        };
        let mut size = 0;
        let starts = chunks
            .iter()
            .map(|(_, len)| {
                let start = size;
                size += u64::from(*len);
                start
            })
            .collect();
        Ok(Self {
            chunks,
            starts,
            size,
        })
    }

    /// Bytes of the whole content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A chunk, or the place where one thread is putting it while others wait.
type Slot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<ChunkId, Row>,
    /// The same by turn, the one that was not used for longest first.
    turns: BTreeMap<u64, ChunkId>,
    turn: u64,
    /// What all rows cost.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Row {
    /// The turn in which it was used last.
    turn: u64,
    /// What it was counted with; nothing until its chunk was read.
    cost: u64,
    slot: Slot,
}

/// Chunks that were decoded last.
#[derive(Debug)]
pub struct ChunkCache {
    limit: u64,
    kept: Mutex<Kept>,
    decoded: AtomicU64,
}

impl ChunkCache {
    /// An empty one that keeps at most `limit` bytes. What threads are reading at the moment comes on
    /// top of it: one chunk each.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            kept: Mutex::default(),
            decoded: AtomicU64::new(0),
        }
    }

    /// Chunks that were read and decoded so far, those again that had been dropped.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Bytes that are kept now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        lock(&self.kept).bytes
    }

    /// Fills `buf` from `position` on, as far as the content reaches, and says how far that was.
    /// Decodes the chunks that hold these bytes, and no others.
    ///
    /// # Errors
    /// A chunk is missing or damaged: nothing is given out then.
    pub fn read_at(
        &self,
        store: &Store,
        places: &Places,
        position: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let rest = places.size.saturating_sub(position);
        let wanted = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let mut filled = 0;
        while filled < wanted {
            let at = position + filled as u64;
            let number = places.starts.partition_point(|s| *s <= at) - 1;
            let (id, len) = places.chunks[number];
            let chunk = self.chunk(store, id, len)?;
            let from = usize::try_from(at - places.starts[number]).unwrap_or(usize::MAX);
            let part = chunk.get(from..).unwrap_or_default();
            let n = part.len().min(wanted - filled);
            buf[filled..filled + n].copy_from_slice(&part[..n]);
            filled += n;
        }
        Ok(filled)
    }

    fn chunk(&self, store: &Store, id: ChunkId, len: u32) -> Result<Arc<Vec<u8>>> {
        let slot = self.slot(id);
        let mut inside = lock(&slot);
        if let Some(bytes) = &*inside {
            return Ok(Arc::clone(bytes));
        }
        let mut bytes = Vec::new();
        let read = store.read_first_chunk(&[(id, len)], &mut bytes);
        self.decoded.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = read {
            drop(inside);
            self.forget(id, &slot);
            return Err(e);
        }
        let bytes = Arc::new(bytes);
        *inside = Some(Arc::clone(&bytes));
        drop(inside);
        self.make_room(id, &slot, u64::from(len));
        Ok(bytes)
    }

    /// The slot of a chunk, used last from now on.
    fn slot(&self, id: ChunkId) -> Slot {
        let mut kept = lock(&self.kept);
        kept.turn += 1;
        let turn = kept.turn;
        let row = kept.slots.entry(id).or_default();
        let before = std::mem::replace(&mut row.turn, turn);
        let slot = Arc::clone(&row.slot);
        kept.turns.remove(&before);
        kept.turns.insert(turn, id);
        slot
    }

    /// Counts a chunk that was put into its slot, and drops those that were not used for longest.
    fn make_room(&self, id: ChunkId, slot: &Slot, len: u64) {
        let mut kept = lock(&self.kept);
        let row = kept.slots.get_mut(&id);
        // Dropped while it was read: it is its readers' alone.
        let Some(row) = row.filter(|row| Arc::ptr_eq(&row.slot, slot)) else {
            return;
        };
        row.cost = len + ROW_BYTES;
        kept.bytes += len + ROW_BYTES;
        while kept.bytes > self.limit {
            let Some((_, oldest)) = kept.turns.pop_first() else {
                return;
            };
            let cost = kept.slots.remove(&oldest).map_or(0, |row| row.cost);
            kept.bytes -= cost;
        }
    }

    /// Takes an empty slot away again, so that the next reader tries anew.
    fn forget(&self, id: ChunkId, slot: &Slot) {
        let mut kept = lock(&self.kept);
        let row = kept.slots.get(&id);
        let Some(turn) = row.filter(|r| Arc::ptr_eq(&r.slot, slot)).map(|r| r.turn) else {
            return;
        };
        kept.slots.remove(&id);
        kept.turns.remove(&turn);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
