//! Remotes of a size that no measurement could make: packs that are listed and have an index, and are not there.
//! For benchmarks alone, never in what is shipped.

use super::root::{Change, PackInfo};
use super::{Remote, RemoteError, Result, Sent, swap};
use crate::pack::Row;
use crate::{Tag, codec::Codec, index};

impl Remote {
    /// Lists `packs` packs more, of so many chunks each, as one push.
    ///
    /// # Errors
    /// There is no repository yet, or it can't be written.
    pub fn simulate(&self, seed: u64, packs: u64, entries: u64, chunk_bytes: u32) -> Result<()> {
        let missing = || RemoteError::corrupt(&self.url, "the root", "it is missing");
        let root = self.root()?.ok_or_else(missing)?;
        let mut sent = Sent::default();
        sent.relied.seq = Some(root.seq);
        for pack in 0..packs {
            let mut ids = blake3::Hasher::new()
                .update(&seed.to_le_bytes())
                .update(&pack.to_le_bytes())
                .finalize_xof();
            let rows: Vec<Row> = (0..entries)
                .map(|n| {
                    let mut id = [0; 32];
                    ids.fill(&mut id);
                    Row {
                        key: (Tag::Chunk.byte(), id),
                        codec: Codec::Raw as u8,
                        offset: 8 + n * u64::from(chunk_bytes),
                        stored: chunk_bytes,
                        plain: chunk_bytes,
                    }
                })
                .collect();
            let mut name = [0; 32];
            ids.fill(&mut name);
            let info = PackInfo {
                name,
                bytes: 8 + entries * u64::from(chunk_bytes) + entries * 50 + 40,
                entries,
            };
            let bytes = index::to_bytes(&name, &rows);
            self.backend.put(&info.index_key(), &bytes)?;
            sent.packs.push(info);
        }
        swap::swap(self, &sent, swap::PATIENCE, &mut |root| {
            let root = root.ok_or_else(missing)?;
            Ok::<_, RemoteError>(Some(Change {
                head: root.head.clone(),
                refs: root.refs.clone(),
            }))
        })?;
        Ok(())
    }
}
