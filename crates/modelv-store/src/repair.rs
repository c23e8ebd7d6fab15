//! Mending a store: indexes are made again, damaged packs go to `quarantine/` and what is good of them
//! into new packs, and things come from other stores. See `fsck --repair`.
//!
//! Must never delete a pack, and never keep an entry that it could not check.

use std::fs::File;
use std::path::{Path, PathBuf};

use modelv_core::canon::{self, Kind};
use modelv_core::id::{BlobId, ChunkId, to_hex};

use crate::codec::{Codec, Content};
use crate::error::{Error, Result};
use crate::gc::{State, lock_alone};
use crate::listing::{self, Found};
use crate::pack::{self, Row, Writer};
use crate::reader::BlobReader;
use crate::remote::Item;
use crate::session::{Session, temp_path};
use crate::store::{DEPTH_MAX, Store};
use crate::{Cuts, Key, Tag, fs, index};

/// What mending did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Indexes that were made again.
    pub indexes: u64,
    /// Damaged packs that lie in `quarantine/` now.
    pub packs: Vec<PathBuf>,
    /// Entries of them that are good.
    pub saved: u64,
    /// Entries of them that are not; as far as anybody can tell, when the table is damaged.
    pub lost: u64,
    /// Whether the record of collections was damaged.
    pub state: bool,
}

/// How closely packs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Whether a pack is what its name says: all that happens to a file is found.
    Files,
    /// Whether each entry can be read too, with what it needs of other packs.
    Entries,
}

/// The one repair at a time of a store.
#[derive(Debug)]
pub struct Mender<'a> {
    store: &'a Store,
    /// What was done so far.
    pub mended: Mended,
    _lock: File,
}

impl<'a> Mender<'a> {
    /// Begins a repair.
    ///
    /// # Errors
    /// [`Error::Busy`] when another one, or a collection, is at work.
    pub fn begin(store: &'a Store) -> Result<Self> {
        Ok(Self {
            store,
            mended: Mended::default(),
            _lock: lock_alone(store)?,
        })
    }

    /// Looks at all packs and mends those that are damaged. The caller holds the lock of the operation
    /// log, which has `operations` operations.
    ///
    /// # Errors
    /// A folder can't be read, or something can't be written.
    pub fn mend(&mut self, look: Look, operations: u64) -> Result<()> {
        self.mend_state(operations)?;
        self.store.refresh()?;
        let mut damaged = Vec::new();
        for found in listing::list(self.store.dir())? {
            let name = found.name;
            match sound_rows(&found)? {
                None => damaged.push(found),
                Some(rows) => {
                    self.mend_index(&found.path, &name, &rows)?;
                    let deep = look == Look::Entries && found.since.is_none();
                    if deep && !self.reads_all(&found.path, &rows)? {
                        damaged.push(found);
                    }
                }
            }
        }
        if damaged.is_empty() {
            return Ok(());
        }
        // Whoever looked at these packs before must look again.
        let state = State::read(self.store.dir())?;
        State {
            epoch: state.epoch + 1,
            ..state
        }
        .write(self.store.dir())?;
        damaged
            .iter()
            .try_for_each(|found| self.quarantine(found))?;
        self.store.refresh()
    }

    /// A damaged record of collections: nobody knows any more what older operations may lack.
    fn mend_state(&mut self, operations: u64) -> Result<()> {
        let dir = self.store.dir();
        match State::read(dir) {
            Err(Error::Corrupt { .. }) => {}
            other => return other.map(drop),
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // Above every epoch that was ever counted to.
        let epoch = now.map_or(1 << 62, |d| u64::try_from(d.as_nanos()).unwrap_or(1 << 62));
        let (from, to) = (dir.join("gc"), unused(&dir.join("quarantine"), "gc"));
        fs::replace(&from, &to).map_err(Error::io("rename", &from))?;
        self.mended.state = true;
        State {
            epoch,
            horizon: operations,
        }
        .write(dir)
    }

    fn mend_index(&mut self, path: &Path, name: &[u8; 32], rows: &[Row]) -> Result<()> {
        let path = path.with_extension("idx");
        if index::is_sound(&path, name, rows) {
            return Ok(());
        }
        fs::write_unsynced(&path, &index::to_bytes(name, rows))
            .map_err(Error::io("write", &path))?;
        self.mended.indexes += 1;
        Ok(())
    }

    fn reads_all(&self, path: &Path, rows: &[Row]) -> Result<bool> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        for row in rows {
            match self.look_at(&file, path, row) {
                // Whoever can't read it must not take it away.
                Err(e) if e.is_newer() => return Err(e),
                Err(_) => return Ok(false),
                Ok(_) => {}
            }
        }
        Ok(true)
    }

    /// The decoded bytes of an entry that is right, with all it needs.
    fn good(&self, file: &File, path: &Path, row: &Row) -> Option<Vec<u8>> {
        self.look_at(file, path, row).ok()
    }

    fn look_at(&self, file: &File, path: &Path, row: &Row) -> Result<Vec<u8>> {
        let bases = |id: &[u8; 32], most: u8| self.store.read_below(id, DEPTH_MAX, most);
        let mut plain = Vec::new();
        pack::read_entry(file, path, row, &bases, &mut plain)?;
        let is_right = pack::check_hash(&row.key, &plain);
        if is_right {
            pack::check_form(&row.key, &plain)?;
        }
        if is_right && (!is_cuts(&row.key) || self.reads_as(&row.key, &plain)) {
            return Ok(plain);
        }
        let name = format!("pack `{}`", path.display());
        Err(Error::corrupt(name, "an entry does not match its id"))
    }

    /// Whether a cuts record gives the content that it stands under.
    fn reads_as(&self, key: &Key, record: &[u8]) -> bool {
        let Ok(cuts) = canon::decode::<Cuts>(record) else {
            return false;
        };
        let mut hasher = blake3::Hasher::new();
        let mut reader = BlobReader::cut(self.store, cuts);
        std::io::copy(&mut reader, &mut hasher).is_ok() && *hasher.finalize().as_bytes() == key.1
    }

    /// Puts what stands alone into a new pack, moves the damaged one, then saves what needs others.
    fn quarantine(&mut self, found: &Found) -> Result<()> {
        let dir = self.store.dir().join("quarantine");
        fs::create_dirs(&dir).map_err(Error::io("create", &dir))?;
        let name = format!("{}.pack", to_hex(&found.name));
        let to = unused(&dir, &name);
        let rows = probable_rows(found);
        let needs = |row: &Row| is_cuts(&row.key) || row.is_over_others();
        let (late, early): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(needs);
        let home = found.path.parent().unwrap_or(&dir).to_owned();
        self.save(&found.path, &early, &home)?;
        fs::replace(&found.path, &to).map_err(Error::io("rename", &found.path))?;
        // Derived from a pack that is not there any more.
        let _ = fs::remove(&found.path.with_extension("idx"));
        for synced in [&dir, &home] {
            fs::sync_dir(synced).map_err(Error::io("sync", synced))?;
        }
        self.store.refresh()?;
        let (cuts, over): (Vec<Row>, Vec<Row>) = late.into_iter().partition(|r| is_cuts(&r.key));
        // One may be over another one of them.
        let mut over = over;
        for _ in 0..DEPTH_MAX {
            let file = File::open(&to).map_err(Error::io("open", &to))?;
            let (ready, later): (Vec<Row>, Vec<Row>) = over
                .into_iter()
                .partition(|row| self.good(&file, &to, row).is_some());
            over = later;
            if ready.is_empty() || over.is_empty() {
                self.save(&to, &ready, &home)?;
                break;
            }
            self.save(&to, &ready, &home)?;
        }
        self.save(&to, &over, &home)?;
        self.save(&to, &cuts, &home)?;
        self.mended.packs.push(to);
        Ok(())
    }

    /// Copies the good ones of these entries to a new pack in `home`.
    fn save(&mut self, path: &Path, rows: &[Row], home: &Path) -> Result<()> {
        let Ok(file) = File::open(path) else {
            self.mended.lost += rows.len() as u64;
            return Ok(());
        };
        let mut writer = None;
        for row in rows {
            let plain = self.good(&file, path, row);
            let stored = plain.and_then(|p| Some((p, pack::read_stored(&file, path, row).ok()?)));
            let (Some((plain, stored)), Some(codec)) = (stored, Codec::from_byte(row.codec)) else {
                self.mended.lost += 1;
                continue;
            };
            let out = match &mut writer {
                Some(out) => out,
                None => writer.insert(Writer::create(temp_path(self.store))?),
            };
            out.append(row.key, codec, &stored, plain.len())?;
            self.mended.saved += 1;
        }
        let Some(mut writer) = writer else {
            return Ok(());
        };
        let name = writer.seal()?;
        writer.syncer()?()?;
        let to = home.join(to_hex(&name)).with_extension("pack");
        let bytes = index::to_bytes(&name, &writer.rows);
        writer.publish(&to)?;
        fs::sync_dir(home).map_err(Error::io("sync", home))?;
        let _ = fs::write_unsynced(&to.with_extension("idx"), &bytes);
        self.store.refresh()
    }
}

fn is_cuts(key: &Key) -> bool {
    key.0 == Tag::Object(Kind::Cuts).byte()
}

/// A name that nothing has yet in a folder.
fn unused(dir: &Path, name: &str) -> PathBuf {
    let numbered = (1..).map(|n| dir.join(format!("{name}-{n}")));
    let mut names = std::iter::once(dir.join(name)).chain(numbered);
    names
        .find(|p| !p.exists())
        .unwrap_or_else(|| dir.join(name))
}

/// The rows of a pack that is what its name says; `None` when it is not.
fn sound_rows(found: &Found) -> Result<Option<Vec<Row>>> {
    let path = &found.path;
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let is_whole = pack::is_named(&mut file, &found.name).unwrap_or(false);
    let rows = match pack::read_table(&file, path) {
        Err(e) if is_whole && e.is_newer() => return Err(e),
        Err(_) => return Ok(None),
        Ok(rows) => rows,
    };
    Ok((is_whole && pack::is_filled(&rows, &file)).then_some(rows))
}

/// The rows of a damaged pack: from its index, if that is sound, else from what can be read of its
/// table.
fn probable_rows(found: &Found) -> Vec<Row> {
    let index = std::fs::read(found.path.with_extension("idx")).ok();
    if let Some(rows) = index.and_then(|bytes| index::from_bytes(&bytes, &found.name)) {
        return rows;
    }
    let file = File::open(&found.path).ok();
    let rows = file.and_then(|f| pack::read_table(&f, &found.path).ok());
    rows.unwrap_or_default()
}

impl Store {
    /// Whether something is here at all, condemned or not.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn has_item(&self, item: Item) -> Result<bool> {
        match item {
            Item::Object(kind, id) => self.has_object(kind, &id),
            Item::Blob(id) => self.has_blob(&id),
        }
    }

    /// What of a content is missing: itself, or chunks and bases, each to be had as a content of its
    /// own.
    ///
    /// # Errors
    /// An index or a cuts record can't be read.
    pub fn missing_of(&self, id: &BlobId) -> Result<Vec<Item>> {
        let chunks = if self.has(&(Tag::Chunk.byte(), id.0))? {
            vec![id.0]
        } else {
            match self.cuts(id)? {
                None => return Ok(vec![Item::Blob(*id)]),
                Some(cuts) => cuts.chunks.iter().map(|(chunk, _)| chunk.0).collect(),
            }
        };
        let mut missing = Vec::new();
        for chunk in chunks {
            let below = self.missing_below(&ChunkId(chunk), DEPTH_MAX)?;
            missing.extend(below.into_iter().map(|id| Item::Blob(BlobId(id.0))));
        }
        Ok(missing)
    }
}

impl Session<'_> {
    /// Takes something from another store: an object, or a content with its chunks.
    ///
    /// # Errors
    /// It is not there, or damaged there; it can't be written here.
    pub fn take_from(&self, other: &Store, item: Item) -> Result<()> {
        let keys = match item {
            Item::Object(kind, id) => vec![(Tag::Object(kind).byte(), id)],
            Item::Blob(id) if other.has(&(Tag::Chunk.byte(), id.0))? => {
                vec![(Tag::Chunk.byte(), id.0)]
            }
            Item::Blob(id) => {
                let cuts = other.cuts(&id)?.map(|c| c.chunks).unwrap_or_default();
                let chunks = cuts.iter().map(|(chunk, _)| (Tag::Chunk.byte(), chunk.0));
                chunks
                    .chain([(Tag::Object(Kind::Cuts).byte(), id.0)])
                    .collect()
            }
        };
        for key in keys.into_iter() {
            let plain = other.read(&key)?.ok_or_else(|| Error::NotFound {
                what: Tag::from_byte(key.0).map_or("entry", Tag::word),
                id: to_hex(&key.1),
            })?;
            self.put(key, &plain, Content::Unknown)?;
        }
        Ok(())
    }
}
