//! How much room things take in packs.

use std::path::Path;

use modelv_core::canon::Kind;
use modelv_core::id::{BlobId, ChunkId};

use crate::error::{Error, Result};
use crate::store::Store;
use crate::{Tag, listing};

/// What all packs take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packs that are kept.
    pub packs: u64,
    /// Their entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of their indexes.
    pub index_bytes: u64,
    /// Packs that are condemned.
    pub condemned: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
}

/// What a content is stored as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of its cuts record in packs; 0 for a content of one chunk.
    pub record: u64,
    /// Its chunks in order, with their bytes and their bytes in packs.
    pub chunks: Vec<(ChunkId, u32, u32)>,
}

impl Store {
    /// Counts packs and their bytes.
    ///
    /// # Errors
    /// A folder or an index can't be read.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        let size = |path: &Path| std::fs::metadata(path).map(|m| m.len());
        for found in listing::list(self.dir())? {
            let bytes = size(&found.path).map_err(Error::io("read", &found.path))?;
            if found.since.is_some() {
                usage.condemned += 1;
                usage.condemned_bytes += bytes;
                continue;
            }
            usage.packs += 1;
            usage.bytes += bytes;
            usage.index_bytes += size(&found.path.with_extension("idx")).unwrap_or(0);
            usage.entries += crate::index::rows_of(&found.path, &found.name)?.len() as u64;
        }
        Ok(usage)
    }

    /// Bytes of an object in its pack; `None` when it is not here.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn object_stored(&self, kind: Kind, id: &[u8; 32]) -> Result<Option<u64>> {
        let found = self.find(&(Tag::Object(kind).byte(), *id))?;
        Ok(found.map(|(_, row)| u64::from(row.stored)))
    }

    /// What a content is stored as; `None` when it is not here, or not all of it.
    ///
    /// # Errors
    /// An index or the cuts record can't be read.
    pub fn parts(&self, id: &BlobId) -> Result<Option<Parts>> {
        let chunk = |id: [u8; 32]| -> Result<Option<(ChunkId, u32, u32)>> {
            let found = self.find(&(Tag::Chunk.byte(), id))?;
            Ok(found.map(|(_, row)| (ChunkId(id), row.plain, row.stored)))
        };
        if let Some(one) = chunk(id.0)? {
            let chunks = vec![one];
            return Ok(Some(Parts { record: 0, chunks }));
        }
        let Some(cuts) = self.cuts(id)? else {
            return Ok(None);
        };
        let record = self.object_stored(Kind::Cuts, &id.0)?.unwrap_or(0);
        let found: Result<Option<Vec<_>>> = cuts.chunks.iter().map(|(id, _)| chunk(id.0)).collect();
        Ok(found?.map(|chunks| Parts { record, chunks }))
    }
}
