//! Copying what is alive into new packs, as it is stored or with a better codec. Every entry is
//! decoded and checked on the way: damage must not travel.

use modelv_core::id::to_hex;

use super::{Collector, Rewrite};
use crate::codec::{self, Codec, Content};
use crate::error::{Error, Result};
use crate::pack::{self, Writer};
use crate::store::DEPTH_MAX;
use crate::{Tag, fs, index};

impl Collector<'_> {
    /// Copies everything that is alive and in no pack that stays; durable and visible when it
    /// returns. `tick` gets the bytes of each entry and may stop.
    ///
    /// # Errors
    /// An entry is damaged, or can't be written; nothing else has changed then.
    pub fn copy<E: From<Error>>(
        &mut self,
        tick: &mut dyn FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut wanted = self.wanted();
        // History lies together, contents as they lay before.
        wanted.sort_by_key(|at| {
            let e = &self.entries[*at];
            (e.row.key.0 == Tag::Chunk.byte(), e.pack, e.row.offset)
        });
        let mut closed = Vec::new();
        let mut open: Option<Writer> = None;
        for at in wanted {
            let mut writer = match open.take() {
                Some(writer) => writer,
                None => Writer::create(crate::session::temp_path(self.store))?,
            };
            let stored = self.copy_entry(at, &mut writer)?;
            tick(stored)?;
            if writer.len() < self.store.pack_bytes() {
                open = Some(writer);
            } else {
                closed.push(close(writer)?);
            }
        }
        if let Some(writer) = open {
            closed.push(close(writer)?);
        }
        self.publish(closed)?;
        Ok(())
    }

    fn copy_entry(&mut self, at: usize, writer: &mut Writer) -> Result<u64> {
        let (number, row) = (self.entries[at].pack, self.entries[at].row);
        let path = self.packs[number as usize].found.path.clone();
        let (store, rewrite) = (self.store, self.rewrite);
        let file = self.file(number)?;
        let mut plain = Vec::new();
        let bases = |id: &[u8; 32], most: u8| store.read_below(id, DEPTH_MAX, most);
        pack::read_entry(file, &path, &row, &bases, &mut plain)?;
        let codec = Codec::from_byte(row.codec).filter(|_| pack::check_hash(&row.key, &plain));
        let Some(codec) = codec else {
            let word = Tag::from_byte(row.key.0).map_or("entry", Tag::word);
            let what = format!(
                "{word} `{}` in pack `{}`",
                to_hex(&row.key.1),
                path.display()
            );
            return Err(Error::corrupt(what, "its bytes do not match its id"));
        };
        let stored = pack::read_stored(file, &path, &row)?;
        if codec.is_over_others() && self.has_several(at) {
            // Other copies may be over other chunks, and not as deep: a whole one suits everybody.
            let whole = codec::encode(&plain, Content::Unknown);
            let (codec, stored) = whole.unwrap_or_else(|| (Codec::Raw, plain.clone()));
            writer.append(row.key, codec, &stored, plain.len())?;
            self.copied.insert(row.key);
            return Ok(u64::from(row.stored));
        }
        let better = (rewrite == Rewrite::All && !codec.is_over_others())
            .then(|| codec::encode(&plain, Content::Unknown))
            .flatten()
            .filter(|(_, bytes)| bytes.len() < stored.len());
        let (codec, stored) = better.unwrap_or((codec, stored));
        writer.append(row.key, codec, &stored, plain.len())?;
        self.copied.insert(row.key);
        Ok(u64::from(row.stored))
    }

    /// Whether an entry has copies in other packs.
    fn has_several(&self, at: usize) -> bool {
        let key = self.entries[at].row.key;
        let beside = [at.checked_sub(1), at.checked_add(1)].into_iter().flatten();
        beside
            .filter_map(|i| self.entries.get(i))
            .any(|e| e.row.key == key)
    }

    fn publish(&mut self, closed: Vec<(Writer, [u8; 32])>) -> Result<()> {
        if closed.is_empty() {
            return Ok(());
        }
        let dir = self.store.packs_dir();
        let mut indexes = Vec::new();
        for (writer, name) in closed {
            let path = dir.join(to_hex(&name)).with_extension("pack");
            indexes.push((
                path.with_extension("idx"),
                index::to_bytes(&name, &writer.rows),
            ));
            writer.publish(&path)?;
            self.made.push(name);
        }
        fs::sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        for (path, bytes) in indexes {
            let _ = fs::write_unsynced(&path, &bytes);
        }
        self.store.refresh()
    }
}

fn close(mut writer: Writer) -> Result<(Writer, [u8; 32])> {
    let name = writer.seal()?;
    writer.syncer()?()?;
    Ok((writer, name))
}
