//! Leases: what a process has stored and will name later, as files in `leases/` under a kernel lock.
//!
//! A lease ends with its process, whatever it dies of; `gc` removes files that nobody holds any more.
//! Must never be believed without its lock.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use modelv_core::canon::Kind;
use modelv_core::id::{BlobId, to_hex};
use modelv_store::fs;
use modelv_store::remote::Item;

use crate::error::{Error, Result};
use crate::oplog::nonce;
use crate::repo::Repo;

/// Magic and format version.
const MAGIC: &[u8; 8] = b"MVLEASE\x01";
const FOLDER: &str = "leases";
const PREFIX: &str = "lease-";
const ITEM_BYTES: usize = 33;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What a lease can hold; the number stands for it on disk. 0 is a content.
const KINDS: [Kind; 4] = [Kind::Tree, Kind::Env, Kind::Commit, Kind::Run];

/// Keeps things in the store as long as it lives.
#[derive(Debug)]
pub(crate) struct Lease {
    path: PathBuf,
    _lock: File,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Left behind it is removed by the next `gc`: its lock is free.
        let _ = fs::remove(&self.path);
    }
}

impl Repo {
    /// Takes a lease on things that are stored.
    ///
    /// # Errors
    /// [`Error::Collected`] when they are not there any more; it can't be written.
    pub(crate) fn lease(&mut self, items: &[Item]) -> Result<Lease> {
        let dir = self.dir().join(FOLDER);
        fs::create_dirs(&dir).map_err(Error::io("create", &dir))?;
        // Under this lock nothing is collected: it happened before, or sees the lease.
        let _log = self.log.lock()?;
        self.log.catch_up()?;
        let path = dir.join(format!("{PREFIX}{}", to_hex(&nonce())));
        let mut file = fs::create_new(&path).map_err(Error::io("create", &path))?;
        file.lock().map_err(Error::io("lock", &path))?;
        let written = fs::write_all(&mut file, &encode(items));
        let lease = Lease { path, _lock: file };
        written.map_err(Error::io("write", &lease.path))?;
        crate::gc::recheck_items(
            &self.store,
            self.epoch(),
            self.is_partial(),
            &self.log,
            items,
        )?;
        Ok(lease)
    }
}

/// What living processes hold. Files of dead ones are removed.
pub(crate) fn leased(dir: &Path) -> Result<Vec<Item>> {
    let dir = dir.join(FOLDER);
    let entries = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", &dir))?,
    };
    let mut items = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", &dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            file => file.map_err(Error::io("open", &path))?,
        };
        if file.try_lock().is_ok() {
            let _ = fs::remove(&path);
            continue;
        }
        let mut bytes = Vec::new();
        let taken = Read::by_ref(&mut file).take(FILE_BYTES_MAX);
        { taken }
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        items.extend(decode(&bytes).ok_or_else(|| Error::Corrupt {
            what: format!("`{}`", path.display()),
            detail: "it is no lease".into(),
        })?);
    }
    Ok(items)
}

fn encode(items: &[Item]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for item in items {
        let (kind, id) = match item {
            Item::Object(kind, id) => (*kind as u8, id),
            Item::Blob(id) => (0, &id.0),
        };
        out.push(kind);
        out.extend_from_slice(id);
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Item>> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let (magic, rows) = body.split_first_chunk::<8>()?;
    let (rows, rest) = rows.as_chunks::<ITEM_BYTES>();
    if magic != MAGIC || hash != blake3::hash(body).as_bytes() || !rest.is_empty() {
        return None;
    }
    let item = |row: &[u8; ITEM_BYTES]| {
        let (kind, id) = row.split_first()?;
        let id: [u8; 32] = id.try_into().ok()?;
        let kind = KINDS.into_iter().find(|k| *k as u8 == *kind);
        match (row[0], kind) {
            (0, _) => Some(Item::Blob(BlobId(id))),
            (_, Some(kind)) => Some(Item::Object(kind, id)),
            _ => None,
        }
    };
    rows.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_come_back_and_damaged_ones_do_not() {
        let items = [
            Item::Blob(BlobId([1; 32])),
            Item::Object(Kind::Env, [2; 32]),
        ];
        let bytes = encode(&items);
        assert_eq!(decode(&bytes).unwrap(), items);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert!(
                decode(&bad).is_none() && decode(&bytes[..at]).is_none(),
                "byte {at}"
            );
        }
    }
}
