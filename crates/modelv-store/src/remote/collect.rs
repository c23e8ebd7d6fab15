//! Taking away what no ref of a remote leads to, beside people who push and fetch. See `spec/remote.md`,
//! "Collecting".
//!
//! The caller says what refs lead to; packs without any of it leave the lists by a swap of the root, which
//! also names them as condemned; only then, and after a time, are they deleted. Must never delete what is not
//! condemned in the root, and never ask this machine's clock how old something is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use modelv_core::id::{BlobId, from_hex, to_hex};

use super::catalog::{chunk_key, cuts_key};
use super::receive::Incoming;
use super::root::{self, CONDEMNED_MAX, Change, PackInfo, Root};
use super::{Catalog, Item, Outgoing, Remote, RemoteError, Result, Sent, Watch, swap};
use crate::store::Store;
use crate::{Key, Tag};

/// Between condemning and deleting, and the age at which what no root names counts as left behind.
const GRACE_SECONDS: u64 = 24 * 3600;
/// So long a name stays condemned after that: longer than any process works with one root.
const REMEMBER_SECONDS: u64 = 30 * 24 * 3600;
/// So long after it has read the root a process may delete what that root condemns.
const DELETE_WITHIN: Duration = Duration::from_secs(3600);

/// What is asked of a collection.
#[derive(Debug, Clone, Copy, Default)]
pub struct CollectOptions {
    /// Only tell.
    pub dry_run: bool,
    /// Wait for nothing: condemn whatever no root names, and delete it at once. Whoever pushes meanwhile
    /// begins again; whoever fetches may have to.
    pub now: bool,
}

/// What a collection found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collection {
    /// Entries that refs lead to, and their bytes.
    pub live: u64,
    /// Their bytes in packs.
    pub live_bytes: u64,
    /// Bytes of all listed packs before.
    pub listed_bytes: u64,
    /// Packs that left the lists.
    pub packs: u64,
    /// Bytes that were copied out of them before.
    pub copied_bytes: u64,
    /// Packs that no root named, of interrupted pushes.
    pub left_behind: u64,
    /// Objects that were deleted.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

/// One collection.
#[derive(Debug)]
pub struct RemoteCollector<'a> {
    remote: &'a Remote,
    /// Objects of the remote, to be looked through.
    scratch: Store,
    root: Root,
    read: Instant,
    catalog: Catalog,
    live: HashSet<Key>,
}

impl<'a> RemoteCollector<'a> {
    /// Begins; `dir` is an empty folder for the time of the collection. `None`: there is no repository.
    ///
    /// # Errors
    /// The remote can't be reached, or is damaged: nothing is taken away then.
    pub fn begin(remote: &'a Remote, dir: &Path, watch: &dyn Watch) -> Result<Option<Self>> {
        let scratch = Store::init(dir)?;
        let Some(root) = remote.root()? else {
            return Ok(None);
        };
        let mut collector = Self {
            remote,
            scratch,
            root,
            read: Instant::now(),
            catalog: Catalog::default(),
            live: HashSet::new(),
        };
        collector.load(watch)?;
        Ok(Some(collector))
    }

    /// Looks again, after somebody has moved the root.
    ///
    /// # Errors
    /// As [`RemoteCollector::begin`].
    pub fn look_again(&mut self, watch: &dyn Watch) -> Result<()> {
        self.read = Instant::now();
        if let Some(root) = self.remote.root()? {
            self.root = root;
        }
        self.load(watch)
    }

    fn load(&mut self, watch: &dyn Watch) -> Result<()> {
        self.live.clear();
        self.catalog = self.remote.catalog(&self.root, &self.scratch, watch)?;
        let chunk = Tag::Chunk.byte();
        let keys: Vec<Key> = self.catalog.keys().filter(|key| key.0 != chunk).collect();
        let mut incoming = Incoming::new(self.remote, &self.scratch, &self.catalog)?;
        incoming.load_keys(&keys, watch)?;
        incoming.finish()?;
        Ok(())
    }

    /// Commits that refs name.
    pub fn tips(&self) -> impl Iterator<Item = modelv_core::id::CommitId> {
        self.root.refs.values().copied()
    }

    /// Where the remote's objects can be read.
    #[must_use]
    pub fn objects(&self) -> &Store {
        &self.scratch
    }

    /// Marks something that a ref leads to; `false`: it was marked before.
    ///
    /// # Errors
    /// The remote does not hold it: it is damaged, and nothing may be taken away.
    pub fn mark(&mut self, item: Item) -> Result<bool> {
        let missing = |key: &Key| {
            let word = Tag::from_byte(key.0).map_or("entry", Tag::word);
            let what = format!("{word} `{}`", to_hex(&key.1));
            RemoteError::corrupt(&self.remote.url, what, "no pack holds it")
        };
        let mut keys = Vec::new();
        match item {
            Item::Object(kind, id) => keys.push((Tag::Object(kind).byte(), id)),
            Item::Blob(id) if self.catalog.has_key(&chunk_key(id)) => keys.push(chunk_key(id)),
            Item::Blob(id) => keys.extend(self.keys_of(id)?),
        }
        let is_new = keys.first().is_some_and(|key| !self.live.contains(key));
        for key in keys {
            if !self.catalog.has_key(&key) {
                return Err(missing(&key));
            }
            self.live.insert(key);
        }
        Ok(is_new)
    }

    fn keys_of(&self, id: BlobId) -> Result<Vec<Key>> {
        let key = cuts_key(id);
        let cuts = self.scratch.cuts(&id)?;
        let chunks = cuts.into_iter().flat_map(|c| c.chunks);
        let chunks = chunks.map(|(chunk, _)| (Tag::Chunk.byte(), chunk.0));
        Ok(std::iter::once(key).chain(chunks).collect())
    }

    /// Takes away what was not marked. `None`: somebody has moved the root meanwhile, and has to be looked at
    /// again.
    ///
    /// # Errors
    /// The remote can't be reached or written.
    pub fn collect(
        &mut self,
        options: CollectOptions,
        watch: &dyn Watch,
    ) -> Result<Option<Collection>> {
        let now = self.remote.backend.now()?;
        let there = self.list()?;
        let plan = self.plan(&there, now, options);
        let mut done = plan.told;
        if options.dry_run {
            return Ok(Some(done));
        }
        let Some(root) = self.replace(&plan, &there, now, watch)? else {
            return Ok(None);
        };
        let until = if options.now {
            u64::MAX
        } else {
            now.saturating_sub(GRACE_SECONDS)
        };
        self.root = root;
        self.delete(&there, until, &mut done)?;
        Ok(Some(done))
    }

    /// All packs that are there, by name. Lists are small, and stay.
    fn list(&self) -> Result<HashMap<[u8; 32], There>> {
        let mut out: HashMap<[u8; 32], There> = HashMap::new();
        for found in self.remote.backend.list("packs")? {
            let name = found.key.rsplit('/').next().unwrap_or_default();
            let stem = name.split('.').next().unwrap_or_default();
            // What has no such name is none of ours.
            let Ok(id) = from_hex(stem) else { continue };
            let there = out.entry(id).or_default();
            there.bytes += found.bytes;
            there.modified = there.modified.max(found.modified);
            there.keys.push(found.key);
        }
        Ok(out)
    }

    fn plan(&self, there: &HashMap<[u8; 32], There>, now: u64, options: CollectOptions) -> Plan {
        let mut plan = Plan::default();
        for pack in &self.catalog.packs {
            let live = pack.rows.iter().filter(|r| self.live.contains(&r.key));
            let bytes: u64 = live.clone().map(|r| u64::from(r.stored)).sum();
            let is_dead = live.clone().next().is_none();
            plan.told.listed_bytes += pack.info.bytes;
            let all: u64 = pack.rows.iter().map(|r| u64::from(r.stored)).sum();
            // Whoever pushes an object that is there believes that all it leads to is there, too: no dead one
            // may stay. Of dead chunks, up to half of a pack may.
            let mut objects = pack.rows.iter().filter(|r| r.key.0 != Tag::Chunk.byte());
            let misleads = objects.any(|r| !self.live.contains(&r.key));
            if is_dead || misleads || bytes * 2 < all {
                plan.told.packs += 1;
                plan.drop.push(pack.info.name);
                plan.copy.extend(live.map(|r| r.key));
            } else {
                plan.keep.push(pack.info);
                plan.kept.extend(pack.rows.iter().map(|r| r.key));
            }
        }
        plan.copy.retain(|key| !plan.kept.contains(key));
        plan.copy.sort_unstable();
        plan.copy.dedup();
        let row = |key: &Key| {
            self.catalog
                .find(key)
                .map_or(0, |(_, r)| u64::from(r.stored))
        };
        plan.told.live = self.live.len() as u64;
        plan.told.live_bytes = self.live.iter().map(row).sum();
        plan.told.copied_bytes = plan.copy.iter().map(row).sum();
        let named: HashSet<[u8; 32]> = self
            .catalog
            .packs
            .iter()
            .map(|p| p.info.name)
            .chain(self.root.condemned.keys().copied())
            .collect();
        let is_old = |t: &There| options.now || t.modified + GRACE_SECONDS <= now;
        let left = there
            .iter()
            .filter(|(id, t)| !named.contains(*id) && is_old(t));
        plan.left = left.map(|(id, _)| *id).collect();
        plan.told.left_behind = plan.left.len() as u64;
        plan
    }

    /// Puts a root that lists what stays and condemns the rest; `None`: another one is there.
    fn replace(
        &self,
        plan: &Plan,
        there: &HashMap<[u8; 32], There>,
        now: u64,
        watch: &dyn Watch,
    ) -> Result<Option<Root>> {
        let forgotten = |(id, since): (&[u8; 32], &u64)| {
            !there.contains_key(id) && since + REMEMBER_SECONDS <= now
        };
        let mut condemned = self.root.condemned.clone();
        condemned.retain(|id, since| !forgotten((id, since)));
        if plan.drop.is_empty() && plan.left.is_empty() && condemned == self.root.condemned {
            return Ok(Some(self.root.clone()));
        }
        let sent = self.copy(plan, watch)?;
        let mut packs = plan.keep.clone();
        packs.extend(&sent.packs);
        let lists = swap::one_list(self.remote, packs)?;
        for id in plan.drop.iter().chain(&plan.left) {
            condemned.entry(*id).or_insert(now);
        }
        // Those of today can wait for the next collection, those of before must stay named.
        while condemned.len() > CONDEMNED_MAX {
            let Some(id) = plan.left.iter().find(|id| condemned.contains_key(*id)) else {
                return Err(RemoteError::TooMany {
                    url: self.remote.url.clone(),
                    most: CONDEMNED_MAX,
                });
            };
            condemned.remove(id);
        }
        let change = Change {
            head: self.root.head.clone(),
            refs: self.root.refs.clone(),
        };
        let mut next = Root::after(Some(&self.root), change, lists);
        next.condemned = condemned;
        swap::replace(self.remote, &self.root, next)
    }

    /// Sends what is alive of packs that are to go, in new packs.
    fn copy(&self, plan: &Plan, watch: &dyn Watch) -> Result<Sent> {
        if plan.copy.is_empty() {
            return Ok(Sent::default());
        }
        let mut incoming = Incoming::new(self.remote, &self.scratch, &self.catalog)?;
        incoming.load_keys(&plan.copy, watch)?;
        incoming.finish()?;
        // What goes now must not come back under its name either.
        let mut condemned = self.root.condemned.clone();
        condemned.extend(plan.drop.iter().chain(&plan.left).map(|id| (*id, 0)));
        let nothing = Catalog::without(condemned);
        let mut out = Outgoing::new(&self.scratch, &nothing);
        for key in &plan.copy {
            out.add_key(*key)?;
        }
        self.remote.send(&out, watch)
    }

    /// Deletes what the root has condemned at `until` or before.
    fn delete(
        &self,
        there: &HashMap<[u8; 32], There>,
        until: u64,
        done: &mut Collection,
    ) -> Result<()> {
        let due = self
            .root
            .condemned
            .iter()
            .filter(|(_, since)| **since <= until);
        for (id, _) in due {
            let Some(there) = there.get(id) else { continue };
            // A name may be forgotten, and given again, after a long time.
            if self.read.elapsed() > DELETE_WITHIN {
                return Ok(());
            }
            for key in &there.keys {
                self.remote.backend.delete(key)?;
                done.deleted += 1;
            }
            done.deleted_bytes += there.bytes;
        }
        Ok(())
    }
}

/// What is on the remote under one name.
#[derive(Debug, Default)]
struct There {
    keys: Vec<String>,
    bytes: u64,
    /// When it was written last, by the remote's clock.
    modified: u64,
}

#[derive(Debug, Default)]
struct Plan {
    told: Collection,
    keep: Vec<PackInfo>,
    kept: HashSet<Key>,
    drop: Vec<[u8; 32]>,
    copy: Vec<Key>,
    left: Vec<[u8; 32]>,
}

/// What a writer has relied on: the packs that were listed when it decided what to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Relied {
    pub(crate) seq: Option<u64>,
    pub(crate) lists: Vec<root::ListRef>,
    pub(crate) packs: Vec<[u8; 32]>,
}

impl Relied {
    /// Whether what was relied on and sent still counts under a root: nothing of it was taken away meanwhile.
    pub(crate) fn holds(&self, remote: &Remote, root: Option<&Root>, sent: &Sent) -> Result<bool> {
        let Some(root) = root else {
            return Ok(self.packs.is_empty());
        };
        if sent
            .packs
            .iter()
            .any(|p| root.condemned.contains_key(&p.name))
        {
            return Ok(false);
        }
        if self.seq == Some(root.seq) {
            return Ok(true);
        }
        if !self.lists.iter().all(|list| root.lists.contains(list)) {
            let mut listed = HashSet::new();
            for list in &root.lists {
                listed.extend(remote.list(list)?.packs.into_iter().map(|p| p.name));
            }
            if !self.packs.iter().all(|name| listed.contains(name)) {
                return Ok(false);
            }
        }
        // What was sent long ago may have been condemned, deleted and forgotten since.
        for pack in &sent.packs {
            if remote.backend.size(&pack.key())? != Some(pack.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Names that were given up, with the second by the remote's clock.
pub(crate) type Condemned = BTreeMap<[u8; 32], u64>;
