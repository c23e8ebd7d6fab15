//! What a remote holds, entry by entry: its pack indexes, each fetched once and kept, since a pack
//! never changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::id::{BlobId, to_hex};

use super::collect::{Condemned, Relied};
use super::root::{self, ListRef, PackInfo, PackList, Root};
use super::{Item, Remote, RemoteError, Result, Watch};
use crate::pack::{self, Row};
use crate::store::Store;
use crate::{Key, Tag, fs, index};

/// Index requests in flight.
const REQUESTS_AT_ONCE: usize = 8;
/// Largest pack index that is read, in bytes.
const INDEX_BYTES_MAX: u64 = 1 << 30;
/// Packs whose entries take less than this on average are looked into first: commits and trees lie there, and files
/// of code, while a pack of data or weights is chunks of some ten thousand bytes.
const SMALL_ENTRY_BYTES: u64 = 16 << 10;

/// Which indexes are asked for of those that were never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    All,
    /// Those of packs with small entries.
    Small,
    None,
}

impl Ask {
    fn takes(self, info: &PackInfo) -> bool {
        match self {
            Self::All => true,
            Self::Small => info.bytes < SMALL_ENTRY_BYTES.saturating_mul(info.entries),
            Self::None => false,
        }
    }
}

/// One pack with its rows.
#[derive(Debug)]
pub(crate) struct RemotePack {
    pub(crate) info: PackInfo,
    pub(crate) rows: Vec<Row>,
    /// Whether the local store has the pack of this name.
    pub(crate) is_local: bool,
}

/// Everything a remote holds.
#[derive(Debug, Default)]
pub struct Catalog {
    pub(crate) packs: Vec<RemotePack>,
    /// What the root said when this was learnt.
    pub(crate) relied: Relied,
    /// Names that no pack may have any more.
    pub(crate) condemned: Condemned,
    by_key: HashMap<Key, (u32, u32)>,
    /// Packs whose indexes were not asked for, the smallest entries first.
    unknown: Vec<PackInfo>,
}

impl Catalog {
    /// Takes over what more packs hold.
    fn add(&mut self, mut packs: Vec<RemotePack>) {
        packs.sort_by_key(|p| p.info);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.by_key
            .reserve(packs.iter().map(|p| p.rows.len()).sum());
        for (p, pack) in packs.iter().enumerate() {
            let p = number(self.packs.len() + p);
            for (r, row) in pack.rows.iter().enumerate() {
                self.by_key.entry(row.key).or_insert((p, number(r)));
            }
        }
        self.packs.extend(packs);
    }

    /// Whether the remote holds something.
    #[must_use]
    pub fn has(&self, item: Item) -> bool {
        match item {
            Item::Object(kind, id) => self.has_key(&(Tag::Object(kind).byte(), id)),
            Item::Blob(id) => self.has_key(&chunk_key(id)) || self.has_key(&cuts_key(id)),
        }
    }

    /// Nothing, where these names must not be given.
    pub(crate) fn without(condemned: Condemned) -> Self {
        Self {
            condemned,
            ..Self::default()
        }
    }

    /// What it does not know, as one that knows nothing yet.
    pub(super) fn rest(&self) -> Self {
        Self {
            unknown: self.unknown.clone(),
            ..Self::default()
        }
    }

    /// Keys of all entries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.by_key.keys().copied()
    }

    pub(crate) fn has_key(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// Which pack holds an entry, and where.
    pub(crate) fn find(&self, key: &Key) -> Option<(&RemotePack, Row)> {
        let (pack, row) = self.by_key.get(key)?;
        let pack = self.packs.get(*pack as usize)?;
        Some((pack, *pack.rows.get(*row as usize)?))
    }

    /// Ids of all commits it holds, sorted.
    #[must_use]
    pub fn commits(&self) -> Vec<[u8; 32]> {
        let tag = Tag::Object(modelv_core::canon::Kind::Commit).byte();
        let mut ids: Vec<_> = self
            .by_key
            .keys()
            .filter(|k| k.0 == tag)
            .map(|k| k.1)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// All objects but the records of how contents are cut, which are nothing without the contents.
    #[must_use]
    pub fn objects(&self) -> Vec<Item> {
        use modelv_core::canon::Kind;
        let kinds = [Kind::Commit, Kind::Tree, Kind::Env, Kind::Run];
        let kind_of = |tag: u8| kinds.into_iter().find(|k| Tag::Object(*k).byte() == tag);
        let keys = self.by_key.keys();
        keys.filter_map(|(tag, id)| Some(Item::Object(kind_of(*tag)?, *id)))
            .collect()
    }

    /// Whether every pack was looked into.
    pub(super) fn is_complete(&self) -> bool {
        self.unknown.is_empty()
    }

    /// Bytes of the indexes that were not asked for; 0: everything is known.
    #[must_use]
    pub fn unknown_bytes(&self) -> u64 {
        self.unknown
            .iter()
            .map(|p| index::bytes_of(p.entries))
            .sum()
    }

    /// Packs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Bytes of all packs.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|p| p.info.bytes).sum()
    }
}

pub(crate) fn chunk_key(id: BlobId) -> Key {
    (Tag::Chunk.byte(), id.0)
}

pub(crate) fn cuts_key(id: BlobId) -> Key {
    (Tag::Object(modelv_core::canon::Kind::Cuts).byte(), id.0)
}

impl Remote {
    /// Learns what the remote holds. Only indexes that were never seen are fetched.
    ///
    /// # Errors
    /// The remote can't be reached, or a list or index is damaged.
    pub fn catalog(&self, root: &Root, store: &Store, watch: &dyn Watch) -> Result<Catalog> {
        self.learn(root, store, Ask::All, watch)
    }

    /// What of the remote can be known without asking for indexes: packs that are here, and those that were
    /// seen before.
    ///
    /// # Errors
    /// The remote can't be reached, or a list is damaged.
    pub fn known(&self, root: &Root, store: &Store, watch: &dyn Watch) -> Result<Catalog> {
        self.learn(root, store, Ask::None, watch)
    }

    /// The same, and what packs of small entries hold: where the rest is, [`Incoming`](super::Incoming) learns when
    /// it is asked for it. Who wants no data of a large remote has no need of nearly all of its indexes.
    ///
    /// # Errors
    /// As [`Remote::catalog`].
    pub fn likely(&self, root: &Root, store: &Store, watch: &dyn Watch) -> Result<Catalog> {
        self.learn(root, store, Ask::Small, watch)
    }

    fn learn(&self, root: &Root, store: &Store, ask: Ask, watch: &dyn Watch) -> Result<Catalog> {
        let mut infos = Vec::new();
        for list in &root.lists {
            infos.extend(self.list(list)?.packs);
        }
        infos.sort_unstable();
        infos.dedup_by_key(|p| p.name);
        let mut catalog = Catalog {
            condemned: root.condemned.clone(),
            relied: Relied {
                seq: Some(root.seq),
                lists: root.lists.clone(),
                packs: infos.iter().map(|p| p.name).collect(),
            },
            ..Catalog::default()
        };
        let (packs, mut unknown) = self.look_into(&infos, Some(store), ask, watch)?;
        unknown.sort_by(by_entry_bytes);
        catalog.add(packs);
        catalog.unknown = unknown;
        Ok(catalog)
    }

    /// What some packs hold; and those of them whose indexes were not seen and are not to be asked for.
    fn look_into(
        &self,
        infos: &[PackInfo],
        store: Option<&Store>,
        ask: Ask,
        watch: &dyn Watch,
    ) -> Result<(Vec<RemotePack>, Vec<PackInfo>)> {
        let local: HashMap<[u8; 32], _> = store
            .map_or_else(Vec::new, Store::packs)
            .into_iter()
            .filter(|p| !p.condemned)
            .map(|p| (p.name, p))
            .collect();
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::with_capacity(infos.len()));
        let unknown = Mutex::new(Vec::new());
        let work = || -> Result<()> {
            while let Some(info) = infos.get(next.fetch_add(1, Ordering::Relaxed)) {
                if watch.is_stopped() {
                    return Err(RemoteError::Stopped);
                }
                let mine = local.get(&info.name);
                let rows = match mine {
                    Some(pack) => Some(pack.index()?.with_rows(&pack.name, <[Row]>::to_vec)?),
                    None if ask.takes(info) => Some(self.rows(info)?),
                    None => self.seen_rows(info),
                };
                let Some(rows) = rows else {
                    lock(&unknown).push(*info);
                    continue;
                };
                let pack = RemotePack {
                    info: *info,
                    rows,
                    is_local: mine.is_some(),
                };
                lock(&found).push(pack);
            }
            Ok(())
        };
        let threads = infos.len().min(REQUESTS_AT_ONCE);
        super::on_threads(threads, &work)?;
        Ok((into_inner(found), into_inner(unknown)))
    }

    /// Adds to `catalog` what the first `most` of the packs hold that it does not know.
    pub(super) fn learn_more(
        &self,
        catalog: &mut Catalog,
        most: usize,
        watch: &dyn Watch,
    ) -> Result<()> {
        let most = most.min(catalog.unknown.len());
        let (packs, _) = self.look_into(&catalog.unknown[..most], None, Ask::All, watch)?;
        catalog.unknown.drain(..most);
        catalog.add(packs);
        Ok(())
    }

    /// A list of packs, from the cache or the remote.
    pub(crate) fn list(&self, list: &ListRef) -> Result<PackList> {
        let path = self.cache.join("meta").join(to_hex(&list.id));
        if let Ok(bytes) = std::fs::read(&path)
            && let Ok(found) = root::decode_list(&self.url, list, &bytes)
        {
            return Ok(found);
        }
        let key = list.key();
        let found = self.backend.read(&key, root::BYTES_MAX)?;
        let Some((bytes, _)) = found else {
            return Err(RemoteError::corrupt(
                &self.url,
                format!("`{key}`"),
                "it is missing",
            ));
        };
        let decoded = root::decode_list(&self.url, list, &bytes)?;
        keep(&path, &bytes);
        Ok(decoded)
    }

    /// The rows of a pack: from the cache, from its index, or from the pack itself.
    fn rows(&self, info: &PackInfo) -> Result<Vec<Row>> {
        let path = self.index_path(info);
        let rows = match self.seen_rows(info) {
            Some(rows) => rows,
            None => match self.backend.read(&info.index_key(), INDEX_BYTES_MAX)? {
                Some((bytes, _)) => match index::from_bytes(&bytes, &info.name) {
                    Some(rows) => {
                        keep(&path, &bytes);
                        rows
                    }
                    None => self.table(info)?,
                },
                None => self.table(info)?,
            },
        };
        if !are_inside(&rows, info) {
            let what = format!("`{}`", info.index_key());
            return Err(RemoteError::corrupt(
                &self.url,
                what,
                "an entry lies outside of its pack",
            ));
        }
        Ok(rows)
    }

    /// The rows of a pack whose index was seen before.
    fn seen_rows(&self, info: &PackInfo) -> Option<Vec<Row>> {
        let bytes = std::fs::read(self.index_path(info)).ok()?;
        let rows = index::from_bytes(&bytes, &info.name)?;
        are_inside(&rows, info).then_some(rows)
    }

    /// The table at the end of a pack, when its index is missing or damaged.
    fn table(&self, info: &PackInfo) -> Result<Vec<Row>> {
        let key = info.key();
        let bad = |detail: &str| RemoteError::corrupt(&self.url, format!("`{key}`"), detail);
        let end = info
            .bytes
            .checked_sub(pack::TRAILER_BYTES)
            .ok_or_else(|| bad("it is cut off"))?;
        let tail = self.backend.range(&key, end..end + 8)?;
        let word: [u8; 8] = tail.try_into().map_err(|_| bad("it is cut off"))?;
        let table = u64::from_le_bytes(word);
        if table < 8 || table >= end || end - table > INDEX_BYTES_MAX {
            return Err(bad("its table of contents is not where the trailer says"));
        }
        let bytes = self.backend.range(&key, table..end)?;
        pack::parse_table(Path::new(&key), &bytes, table).map_err(|e| bad(&e.to_string()))
    }

    fn index_path(&self, info: &PackInfo) -> PathBuf {
        let name = to_hex(&info.name);
        self.cache.join("idx").join(name).with_extension("idx")
    }

    /// Keeps the index of a pack that was just sent: asking for it would be a waste.
    pub(crate) fn keep_index(&self, info: &PackInfo, bytes: &[u8]) {
        keep(&self.index_path(info), bytes);
    }
}

/// Compares packs by the bytes of their entries, on average.
fn by_entry_bytes(a: &PackInfo, b: &PackInfo) -> std::cmp::Ordering {
    let scaled = |bytes: u64, entries: u64| u128::from(bytes) * u128::from(entries);
    let order = scaled(a.bytes, b.entries).cmp(&scaled(b.bytes, a.entries));
    order.then_with(|| a.cmp(b))
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn are_inside(rows: &[Row], info: &PackInfo) -> bool {
    let outside = |r: &Row| r.offset.saturating_add(u64::from(r.stored)) > info.bytes;
    !rows.iter().any(outside)
}

/// Writes a file of the cache; one that can't be written is fetched again next time.
fn keep(path: &Path, bytes: &[u8]) {
    let Some(dir) = path.parent() else { return };
    let _ = fs::create_dirs(dir).and_then(|()| fs::write_unsynced(path, bytes));
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
