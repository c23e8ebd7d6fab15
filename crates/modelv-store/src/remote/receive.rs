//! Receiving: whole packs where most of a pack is new, single entries otherwise.
//!
//! Every pack is checked against its name and every entry against its id before the store sees it.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::canon::Source;
use modelv_core::canon::{Kind, decode};
use modelv_core::id::to_hex;

use super::catalog::{Catalog, RemotePack, chunk_key, cuts_key, lock};
use super::stage::{Stage, check_content};
use super::{Item, Remote, RemoteError, Result, Watch, tick};
use crate::codec::Content;
use crate::pack::{self, Row};
use crate::session::Session;
use crate::store::Store;
use crate::{Cuts, Error, Key, Tag};

/// Packs or batches on their way at once.
const DOWNLOADS_AT_ONCE: usize = 4;
/// So many packs are looked into at first where something is in none that is known, then twice as many.
const FIRST_LOOK: usize = 8;
/// Bytes of one request for single entries.
const BATCH_BYTES: u64 = 16 << 20;

/// What came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Whole packs.
    pub packs: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes that came over the line.
    pub bytes: u64,
}

impl std::ops::AddAssign for Received {
    fn add_assign(&mut self, more: Self) {
        self.packs += more.packs;
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

/// What of a pack is missing here.
struct Lack<'a> {
    pack: &'a RemotePack,
    rows: Vec<Row>,
    bytes: u64,
}

impl Remote {
    /// Brings everything the remote holds and the store does not.
    ///
    /// # Errors
    /// The remote can't be reached, or something is damaged: the store is as before then.
    pub fn receive_all(
        &self,
        store: &Store,
        catalog: &Catalog,
        watch: &dyn Watch,
    ) -> Result<Received> {
        let mut lacks = Vec::new();
        for pack in catalog.packs.iter().filter(|p| !p.is_local) {
            let lack = lack(store, catalog, pack)?;
            if !lack.rows.is_empty() {
                lacks.push(lack);
            }
        }
        if lacks.is_empty() {
            return Ok(Received::default());
        }
        let (whole, parts): (Vec<_>, Vec<_>) = lacks
            .into_iter()
            .partition(|l| l.bytes * 2 >= l.pack.info.bytes);
        let total = whole.iter().map(|l| l.pack.info.bytes).sum::<u64>()
            + parts.iter().map(|l| l.bytes).sum::<u64>();
        watch.start("receiving", total);
        let done = self.bring(store, catalog, &whole, &parts, watch);
        watch.finish();
        done
    }

    fn bring(
        &self,
        store: &Store,
        catalog: &Catalog,
        whole: &[Lack<'_>],
        parts: &[Lack<'_>],
        watch: &dyn Watch,
    ) -> Result<Received> {
        let stage = Stage::open(store)?;
        let mut received = Received::default();
        let came = Mutex::new(0);
        let next = AtomicUsize::new(0);
        super::on_threads(whole.len().min(DOWNLOADS_AT_ONCE), &|| {
            while let Some(lack) = whole.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = stage.bring(self, &lack.pack.info, watch)?;
                *lock(&came) += bytes;
            }
            Ok(())
        })?;
        let mut incoming = Incoming::new(self, store, catalog)?;
        let keys: Vec<Key> = parts.iter().flat_map(|l| &l.rows).map(|r| r.key).collect();
        incoming.load_keys(&keys, watch)?;
        stage.check_contents(self, &incoming.session, watch)?;
        let cuts_tag = Tag::Object(Kind::Cuts).byte();
        for key in keys.iter().filter(|k| k.0 == cuts_tag) {
            incoming.check_whole(key)?;
        }
        received.packs = whole.len() as u64;
        received.entries = whole.iter().map(|l| l.pack.info.entries).sum::<u64>();
        received.bytes = *lock(&came);
        stage.publish()?;
        let rest = incoming.finish()?;
        received.entries += rest.entries;
        received.bytes += rest.bytes;
        Ok(received)
    }

    /// Starts to bring single things.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn receive<'a>(&'a self, store: &'a Store, catalog: &'a Catalog) -> Result<Incoming<'a>> {
        Incoming::new(self, store, catalog)
    }
}

fn lack<'a>(store: &Store, catalog: &Catalog, pack: &'a RemotePack) -> Result<Lack<'a>> {
    let mut rows = Vec::new();
    for row in &pack.rows {
        // Of an entry in several packs, one is enough.
        let first = catalog.find(&row.key).map(|(p, _)| p.info.name);
        if first == Some(pack.info.name) && !store.keeps(&row.key)? {
            rows.push(*row);
        }
    }
    let bytes = rows.iter().map(|r| u64::from(r.stored)).sum();
    Ok(Lack { pack, rows, bytes })
}

/// Brings single things, and shows them before they are part of the store.
#[derive(Debug)]
pub struct Incoming<'a> {
    remote: &'a Remote,
    store: &'a Store,
    catalog: &'a Catalog,
    /// What was learnt since, and what is not known yet.
    more: Catalog,
    session: Session<'a>,
    received: Received,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(remote: &'a Remote, store: &'a Store, catalog: &'a Catalog) -> Result<Self> {
        Ok(Self {
            remote,
            store,
            catalog,
            more: catalog.rest(),
            session: store.begin()?,
            received: Received::default(),
        })
    }

    /// Which pack holds an entry, and where, as far as that is known.
    fn find(&self, key: &Key) -> Option<(&RemotePack, Row)> {
        self.catalog.find(key).or_else(|| self.more.find(key))
    }

    /// Looks into more packs, the likeliest first, until of each of `wanted` one key is known, or nothing is
    /// left to learn.
    fn learn(&mut self, wanted: &[[Key; 2]], watch: &dyn Watch) -> Result<()> {
        let mut most = FIRST_LOOK;
        while !self.more.is_complete() {
            let is_known = |key: &Key| self.find(key).is_some();
            if wanted.iter().all(|keys| keys.iter().any(is_known)) {
                break;
            }
            self.remote.learn_more(&mut self.more, most, watch)?;
            most = most.saturating_mul(2);
        }
        Ok(())
    }

    /// The keys under which the remote may have what is not here.
    fn names_of(&self, items: &[Item]) -> Result<Vec<[Key; 2]>> {
        let mut names = Vec::new();
        for item in items {
            match item {
                Item::Object(kind, id) => {
                    let key = (Tag::Object(*kind).byte(), *id);
                    if !self.session.has(&key)? {
                        names.push([key; 2]);
                    }
                }
                Item::Blob(id) if self.store.keeps_blob(id)? => {}
                Item::Blob(id) => names.push([chunk_key(*id), cuts_key(*id)]),
            }
        }
        Ok(names)
    }

    /// Brings things that are not here yet: objects, and contents with all their chunks.
    ///
    /// # Errors
    /// The remote does not have one, can't be reached, or it is damaged.
    pub fn load(&mut self, items: &[Item], watch: &dyn Watch) -> Result<()> {
        let names = self.names_of(items)?;
        self.learn(&names, watch)?;
        // The one key of an object, and of a content the one that is there.
        let key_of = |[whole, cuts]: &[Key; 2]| match self.find(whole) {
            Some(_) => *whole,
            None => *cuts,
        };
        let keys: Vec<Key> = names.iter().map(key_of).collect();
        let cuts_tag = Tag::Object(Kind::Cuts).byte();
        let cut: Vec<Key> = keys.iter().filter(|k| k.0 == cuts_tag).copied().collect();
        self.load_keys(&keys, watch)?;
        let mut chunks = Vec::new();
        for key in &cut {
            let bytes = self.session.read(key)?.unwrap_or_default();
            let what = || format!("content `{}`", to_hex(&key.1));
            let cuts: Cuts =
                decode(&bytes).map_err(|e| RemoteError::corrupt(&self.remote.url, what(), e))?;
            chunks.extend(cuts.chunks.iter().map(|(id, _)| (Tag::Chunk.byte(), id.0)));
        }
        self.load_keys(&chunks, watch)?;
        for key in &cut {
            self.check_whole(key)?;
        }
        Ok(())
    }

    /// Brings the contents of a list with a bar for all of it.
    ///
    /// # Errors
    /// As [`Incoming::load`].
    pub fn load_watched(&mut self, items: &[Item], bytes: u64, watch: &dyn Watch) -> Result<()> {
        watch.start("receiving", bytes);
        let done = self.load(items, watch);
        watch.finish();
        done
    }

    fn check_whole(&self, key: &Key) -> Result<()> {
        check_content(&self.remote.url, key, &|key| Ok(self.session.read(key)?))
    }

    pub(super) fn load_keys(&mut self, keys: &[Key], watch: &dyn Watch) -> Result<()> {
        if !self.more.is_complete() {
            let mut missing = Vec::new();
            for key in keys {
                if !self.session.has(key)? {
                    missing.push([*key; 2]);
                }
            }
            self.learn(&missing, watch)?;
        }
        let batches = self.batches(keys)?;
        let next = AtomicUsize::new(0);
        let got = Mutex::new(Received::default());
        let work = || -> Result<()> {
            while let Some((pack, rows)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.load_batch(pack, rows, watch)?;
                let mut got = lock(&got);
                got.entries += rows.len() as u64;
                got.bytes += rows.iter().map(|r| u64::from(r.stored)).sum::<u64>();
            }
            Ok(())
        };
        super::on_threads(batches.len().min(DOWNLOADS_AT_ONCE), &work)?;
        let got = *lock(&got);
        self.received.entries += got.entries;
        self.received.bytes += got.bytes;
        Ok(())
    }

    /// What is missing here, by pack and in the order it lies there, in requests of bounded size.
    fn batches(&self, keys: &[Key]) -> Result<Vec<(&RemotePack, Vec<Row>)>> {
        let mut wanted: Vec<(&RemotePack, Row)> = Vec::new();
        for key in keys {
            if self.session.has(key)? {
                continue;
            }
            let found = self.find(key).ok_or_else(|| {
                let word = Tag::from_byte(key.0).map_or("entry", Tag::word);
                let what = format!("{word} `{}`", to_hex(&key.1));
                RemoteError::corrupt(&self.remote.url, what, "no pack holds it")
            })?;
            wanted.push(found);
        }
        wanted.sort_by_key(|(pack, row)| (pack.info.name, row.offset));
        wanted.dedup_by_key(|(_, row)| row.key);
        let mut batches: Vec<(&RemotePack, Vec<Row>)> = Vec::new();
        let mut bytes = 0;
        for (pack, row) in wanted {
            let fits = bytes + u64::from(row.stored) <= BATCH_BYTES;
            match batches.last_mut() {
                Some((last, rows)) if last.info.name == pack.info.name && fits => rows.push(row),
                _ => {
                    batches.push((pack, vec![row]));
                    bytes = 0;
                }
            }
            bytes += u64::from(row.stored);
        }
        Ok(batches)
    }

    fn load_batch(&self, pack: &RemotePack, rows: &[Row], watch: &dyn Watch) -> Result<()> {
        let key = pack.info.key();
        let ranges: Vec<Range<u64>> = rows
            .iter()
            .map(|r| r.offset..r.offset + u64::from(r.stored))
            .collect();
        let found = self.remote.backend.ranges(&key, &ranges)?;
        for (row, stored) in rows.iter().zip(found) {
            let bytes = stored.len() as u64;
            let plain = pack::decode_entry(Path::new(&key), row, &stored);
            let plain = plain.ok().filter(|p| pack::check_hash(&row.key, p));
            let Some(plain) = plain else {
                let what = format!("`{}` in `{key}`", to_hex(&row.key.1));
                let detail = "its bytes do not match its id";
                return Err(RemoteError::corrupt(&self.remote.url, what, detail));
            };
            let content = if row.key.0 == Tag::Chunk.byte() {
                Content::Unknown
            } else {
                Content::Bytes
            };
            self.session.put(row.key, &plain, content)?;
            tick(watch, bytes)?;
        }
        Ok(())
    }

    /// Makes everything that came part of the store.
    ///
    /// # Errors
    /// It can't be written: nothing of it is there then.
    pub fn finish(self) -> Result<Received> {
        self.session.finish()?;
        Ok(self.received)
    }
}

impl Source for Incoming<'_> {
    type Error = Error;

    fn load_bytes(&self, kind: Kind, id: &[u8; 32]) -> Result<Vec<u8>, Error> {
        self.session.load_bytes(kind, id)
    }
}
