//! Where packs wait until a fetch is complete: `.mv/fetch/`. A pack gets its name there only after
//! its hash was checked, so an interrupted fetch goes on with what is there.
//!
//! Nothing here is part of the store until [`Stage::publish`].

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::canon;
use modelv_core::id::to_hex;

use super::catalog::lock;
use super::root::PackInfo;
use super::{Remote, RemoteError, Result, Watch, tick};
use crate::pack::{self, Row};
use crate::session::Session;
use crate::store::Store;
use crate::{Cuts, Error, Key, Tag, fs, index};

const HASH_BYTES: u64 = 32;

/// Checks a pack file against its name.
pub(crate) fn check_file(path: &Path, name: &[u8; 32]) -> Result<()> {
    let io = |e| Error::io("read", path)(e);
    let mut file = File::open(path).map_err(io)?;
    let body = file
        .metadata()
        .map_err(io)?
        .len()
        .saturating_sub(HASH_BYTES);
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut Read::by_ref(&mut file).take(body), &mut hasher).map_err(io)?;
    let mut trailer = Vec::new();
    file.read_to_end(&mut trailer).map_err(io)?;
    if hasher.finalize().as_bytes() != name || trailer != name {
        let what = format!("pack `{}`", path.display());
        return Err(Error::corrupt(what, "it does not match its hash").into());
    }
    Ok(())
}

/// A staged pack.
struct Staged {
    name: [u8; 32],
    path: PathBuf,
    file: File,
    rows: Vec<Row>,
}

/// The packs of one fetch. One fetch at a time per repository.
pub(crate) struct Stage<'a> {
    store: &'a Store,
    dir: PathBuf,
    packs: Mutex<Vec<Staged>>,
    _lock: File,
}

impl<'a> Stage<'a> {
    pub(crate) fn open(store: &'a Store) -> Result<Self> {
        let dir = store.dir().join("fetch");
        fs::create_dirs(&dir).map_err(Error::io("create", &dir))?;
        let path = dir.join("lock");
        let lock = fs::open_or_create(&path).map_err(Error::io("open", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        Ok(Self {
            store,
            dir,
            packs: Mutex::default(),
            _lock: lock,
        })
    }

    /// Brings one pack here, unless it is here already; returns the bytes that came.
    pub(crate) fn bring(&self, remote: &Remote, info: &PackInfo, watch: &dyn Watch) -> Result<u64> {
        let path = self.dir.join(to_hex(&info.name)).with_extension("pack");
        let mut came = 0;
        if path.exists() {
            tick(watch, info.bytes)?;
        } else {
            let part = path.with_extension("part");
            self.download(remote, info, &part, watch)?;
            fs::replace(&part, &path).map_err(Error::io("rename", &part))?;
            came = info.bytes;
        }
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let rows = pack::read_table(&file, &path)?;
        lock(&self.packs).push(Staged {
            name: info.name,
            path,
            file,
            rows,
        });
        Ok(came)
    }

    fn download(
        &self,
        remote: &Remote,
        info: &PackInfo,
        part: &Path,
        watch: &dyn Watch,
    ) -> Result<()> {
        let io = |e| Error::io("write", part)(e);
        let mut file = fs::create(part).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        let (mut len, mut trailer) = (0u64, Vec::new());
        let body = info.bytes.saturating_sub(HASH_BYTES);
        let key = info.key();
        let bad = |detail: &str| RemoteError::corrupt(&remote.url, format!("`{key}`"), detail);
        remote.backend.download(&key, &mut |bytes| {
            if len + bytes.len() as u64 > info.bytes {
                return Err(bad("it is longer than the root says"));
            }
            let left = usize::try_from(body.saturating_sub(len)).unwrap_or(usize::MAX);
            let (hashed, rest) = bytes.split_at(left.min(bytes.len()));
            hasher.update(hashed);
            trailer.extend_from_slice(rest);
            len += bytes.len() as u64;
            fs::write_all(&mut file, bytes).map_err(io)?;
            tick(watch, bytes.len() as u64)
        })?;
        let is_whole = len == info.bytes && trailer == info.name;
        if !is_whole || *hasher.finalize().as_bytes() != info.name {
            let _ = fs::remove(part);
            return Err(bad("it does not match its hash"));
        }
        fs::sync(&file).map_err(io)?;
        Ok(())
    }

    /// Checks that the contents of all files in several chunks are what their ids say: the one
    /// thing that the hashes of packs, objects and chunks leave open.
    pub(crate) fn check_contents(
        &self,
        remote: &Remote,
        session: &Session<'_>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let packs = lock(&self.packs);
        let mut place: HashMap<Key, (&Staged, &Row)> = HashMap::new();
        for pack in packs.iter() {
            place.extend(pack.rows.iter().map(|row| (row.key, (pack, row))));
        }
        let read = |key: &Key| -> Result<Option<Vec<u8>>> {
            match place.get(key) {
                Some((pack, row)) => {
                    let stored = pack::read_stored(&pack.file, &pack.path, row)?;
                    Ok(Some(pack::decode_entry(&pack.path, row, &stored)?))
                }
                None => Ok(session.read(key)?),
            }
        };
        let cuts_tag = Tag::Object(canon::Kind::Cuts).byte();
        let mut cuts: Vec<Key> = place.keys().filter(|k| k.0 == cuts_tag).copied().collect();
        cuts.sort_unstable();
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(key) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if watch.is_stopped() {
                    return Err(RemoteError::Stopped);
                }
                check_content(&remote.url, key, &read)?;
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        super::on_threads(threads.min(cuts.len()), &work)
    }

    /// Makes all packs part of the store.
    pub(crate) fn publish(self) -> Result<()> {
        let packs = self
            .packs
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = self.store.packs_dir();
        for pack in &packs {
            let to = dir.join(to_hex(&pack.name)).with_extension("pack");
            fs::publish(&pack.path, &to).map_err(Error::io("rename", &pack.path))?;
        }
        fs::sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        for pack in &packs {
            let path = dir.join(to_hex(&pack.name)).with_extension("idx");
            // Derived from the pack: rebuilt when it is missing, so it is not waited for.
            let _ = fs::write_unsynced(&path, &index::to_bytes(&pack.name, &pack.rows));
        }
        self.store.refresh()?;
        // What an interrupted fetch of something else left here is of no use any more.
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name() != "lock" {
                let _ = fs::remove(&entry.path());
            }
        }
        Ok(())
    }
}

/// Checks the content of one file in several chunks.
pub(crate) fn check_content(
    url: &str,
    key: &Key,
    read: &dyn Fn(&Key) -> Result<Option<Vec<u8>>>,
) -> Result<()> {
    let what = || format!("content `{}`", to_hex(&key.1));
    let bad = |detail: &str| RemoteError::corrupt(url, what(), detail);
    let bytes = read(key)?.ok_or_else(|| bad("its cuts record is missing"))?;
    let cuts: Cuts = canon::decode(&bytes).map_err(|e| bad(&e.to_string()))?;
    let mut hasher = blake3::Hasher::new();
    for (chunk, len) in &cuts.chunks {
        let plain =
            read(&(Tag::Chunk.byte(), chunk.0))?.ok_or_else(|| bad("a chunk is missing"))?;
        if plain.len() != *len as usize {
            return Err(bad("a chunk has another length than its record says"));
        }
        hasher.update(&plain);
    }
    if *hasher.finalize().as_bytes() != key.1 {
        return Err(bad("its bytes do not match its id"));
    }
    Ok(())
}
