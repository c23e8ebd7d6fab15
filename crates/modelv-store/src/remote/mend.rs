//! Checking every byte of a remote, and putting sound packs in the place of damaged ones.
//!
//! Must never let a root name less than before: where one entry of a damaged pack is nowhere to be had, nothing
//! is changed.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::id::to_hex;

use super::catalog::lock;
use super::receive::Incoming;
use super::root::{Change, PackInfo, Root};
use super::send::{key_of_salt, salts};
use super::{Catalog, Outgoing, Remote, RemoteError, Result, Trouble, Watch, swap, tick};
use crate::store::Store;
use crate::{Key, Tag};

const HASH_BYTES: u64 = 32;
/// Packs that are read at once.
const CHECKS_AT_ONCE: usize = 4;

/// Where sound entries come from.
#[derive(Debug, Clone, Copy)]
pub enum Spare<'a> {
    /// A store.
    Store(&'a Store),
    /// Another remote.
    Remote(&'a Remote, &'a Catalog),
}

impl<'a> Spare<'a> {
    /// A store with what there is of some entries.
    fn bring(self, keys: &[Key], scratch: &'a Store, watch: &dyn Watch) -> Result<&'a Store> {
        match self {
            Self::Store(store) => Ok(store),
            Self::Remote(remote, catalog) => {
                let there = keys.iter().filter(|k| catalog.has_key(k));
                let there: Vec<Key> = there.copied().collect();
                let mut incoming = Incoming::new(remote, scratch, catalog)?;
                incoming.load_keys(&there, watch)?;
                incoming.finish()?;
                Ok(scratch)
            }
        }
    }
}

/// What became of damaged packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// Packs with the same entries are in their place.
    Done,
    /// These entries are nowhere to be had; nothing was changed.
    Missing(Vec<String>),
    /// Somebody has moved the root meanwhile; nothing was changed.
    Moved,
}

impl Remote {
    /// Reads every pack; gives the names of those that are missing or not what their names say.
    ///
    /// # Errors
    /// The remote can't be reached.
    pub fn check_packs(&self, catalog: &Catalog, watch: &dyn Watch) -> Result<Vec<[u8; 32]>> {
        let bad = Mutex::new(Vec::new());
        let next = AtomicUsize::new(0);
        watch.start("checking", catalog.bytes());
        let work = || -> Result<()> {
            while let Some(pack) = catalog.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !self.is_sound(&pack.info, watch)? {
                    lock(&bad).push(pack.info.name);
                }
            }
            Ok(())
        };
        let done = super::on_threads(catalog.packs.len().min(CHECKS_AT_ONCE), &work);
        watch.finish();
        done?;
        let mut bad = bad
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        bad.sort_unstable();
        Ok(bad)
    }

    fn is_sound(&self, info: &PackInfo, watch: &dyn Watch) -> Result<bool> {
        let mut hasher = blake3::Hasher::new();
        let (mut len, mut trailer) = (0u64, Vec::new());
        let body = info.bytes.saturating_sub(HASH_BYTES);
        let read = self.backend.download(&info.key(), &mut |bytes| {
            let left = usize::try_from(body.saturating_sub(len)).unwrap_or(usize::MAX);
            let (hashed, rest) = bytes.split_at(left.min(bytes.len()));
            hasher.update(hashed);
            // Of what is too long, enough to see that it is.
            trailer.extend_from_slice(&rest[..rest.len().min(64)]);
            len += bytes.len() as u64;
            tick(watch, bytes.len() as u64)
        });
        match read {
            Err(RemoteError::Access {
                trouble: Trouble::Missing,
                ..
            }) => return Ok(false),
            read => read?,
        }
        Ok(len == info.bytes && trailer == info.name && *hasher.finalize().as_bytes() == info.name)
    }

    /// Puts packs with the same entries in the place of damaged ones. `scratch` is an empty store for the
    /// time of the call.
    ///
    /// # Errors
    /// The remote can't be reached or written, or a spare is damaged, too.
    pub fn mend<'a>(
        &self,
        root: &Root,
        catalog: &Catalog,
        bad: &[[u8; 32]],
        spares: &[Spare<'a>],
        scratch: &'a Store,
        watch: &dyn Watch,
    ) -> Result<Mend> {
        let (lost, kept): (Vec<_>, Vec<_>) = catalog
            .packs
            .iter()
            .partition(|p| bad.contains(&p.info.name));
        let held: HashSet<Key> = kept.iter().flat_map(|p| &p.rows).map(|r| r.key).collect();
        let mut left: Vec<Key> = lost.iter().flat_map(|p| &p.rows).map(|r| r.key).collect();
        let salts: HashSet<Key> = salts().map(|salt| key_of_salt(&salt)).collect();
        left.retain(|key| !held.contains(key) && !salts.contains(key));
        left.sort_unstable();
        left.dedup();
        let now = self.backend.now()?;
        let mut condemned = root.condemned.clone();
        condemned.extend(bad.iter().map(|name| (*name, now)));
        // Under their old names they would be taken for what is there already.
        let nothing = Catalog::without(condemned.clone());
        let mut packs: Vec<PackInfo> = kept.iter().map(|p| p.info).collect();
        let mut from: Vec<Outgoing<'_>> = Vec::new();
        for spare in spares {
            let store = spare.bring(&left, scratch, watch)?;
            let mut out = Outgoing::new(store, &nothing);
            let mut rest = Vec::new();
            for key in left {
                match store.has(&key)? {
                    true => drop(out.add_key(key)?),
                    false => rest.push(key),
                }
            }
            left = rest;
            from.push(out);
        }
        if !left.is_empty() {
            return Ok(Mend::Missing(left.iter().map(describe).collect()));
        }
        for out in from.iter().filter(|out| !out.is_empty()) {
            packs.extend(self.send(out, watch)?.packs);
        }
        let lists = swap::one_list(self, packs)?;
        let change = Change {
            head: root.head.clone(),
            refs: root.refs.clone(),
        };
        let mut next = Root::after(Some(root), change, lists);
        next.condemned = condemned;
        Ok(match swap::replace(self, root, next)? {
            Some(_) => Mend::Done,
            None => Mend::Moved,
        })
    }
}

fn describe(key: &Key) -> String {
    let word = Tag::from_byte(key.0).map_or("entry", Tag::word);
    format!("{word} `{}`", to_hex(&key.1))
}
