//! Finding, for the blocks of a new file, the same blocks of the file it came from.

use std::collections::HashMap;

use modelv_core::id::{BlobId, ChunkId};

use crate::cut::BLOCK_BYTES;
use crate::error::Result;
use crate::fetch::places;
use crate::layout::{self, Part, Within};
use crate::store::Store;

/// Chunks of a base file by (number of the new file's part, offset in it).
#[derive(Debug, Default)]
pub(crate) struct BaseChunks(HashMap<(usize, u64), ChunkId>);

impl BaseChunks {
    /// The chunk to encode a block over.
    pub(crate) fn get(&self, place: Option<(usize, u64)>) -> Option<&ChunkId> {
        self.0.get(&place?)
    }

    /// Looks for parts of the same name and length in a base file. None when it is not there, is
    /// another kind of file, or was cut in another way.
    pub(crate) fn find(store: &Store, base: &BlobId, parts: &[Part]) -> Result<Self> {
        let mut found = HashMap::new();
        if parts.is_empty() {
            return Ok(Self(found));
        }
        let Some(cuts) = store.cuts(base)? else {
            return Ok(Self(found));
        };
        let chunks: HashMap<u64, (ChunkId, u32)> = places(&cuts)
            .into_iter()
            .map(|(start, id, len)| (start, (id, len)))
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
        Ok(Self(found))
    }
}
