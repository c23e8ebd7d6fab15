//! The cache of layers: blobs by their digests, and records of which layer a key has. May be deleted, or damaged,
//! at any time; what was not used for longest goes when it takes too much.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use modelv_repo::core::id::to_hex;
use sha2::{Digest, Sha256};

use super::{LAYER_FORMAT, Packer, copy};
use crate::error::{Error, Result};
use crate::layer::{Layer, digits};

/// A blob of a layer.
struct Held {
    size: u64,
    used: SystemTime,
    records: Vec<PathBuf>,
}

/// Layers by what went in. May be deleted, or damaged, at any time.
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        Ok(Self { dir })
    }

    /// One that is read and not written: it need not be there.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where a blob lies, if it is here.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join(digits(digest))
    }

    /// A fact that was noted about a key.
    pub(crate) fn note<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(&checked(&self.record(key))?).ok()
    }

    /// Notes a fact about a key; it is asked for again if that fails.
    pub(crate) fn put_note(&self, key: &str, fact: &impl serde::Serialize) {
        let json = serde_json::to_string(fact).unwrap_or_default();
        let sum = to_hex(&Sha256::digest(json.as_bytes()));
        let _ = self.write(&self.record(key), |out| {
            out.write_all(format!("{json}\n{sum}").as_bytes())
        });
    }

    pub(super) fn record(&self, key: &str) -> PathBuf {
        let name = to_hex(&Sha256::digest(format!("{LAYER_FORMAT}\n{key}").as_bytes()));
        self.dir.join(format!("{name}.json"))
    }

    /// The layer of a key, if its blob is there; nothing of it is read.
    pub(super) fn has(&self, key: &str) -> Option<Layer> {
        let is_there = |layer: &Layer| {
            let meta = std::fs::metadata(self.blob(&layer.digest));
            meta.is_ok_and(|m| m.len() == layer.size)
        };
        self.note(key).filter(is_there)
    }

    pub(super) fn take(&self, key: &str, packer: &Packer<'_>) -> Option<Layer> {
        if packer.is_dry() {
            return self.has(key);
        }
        let record = self.record(key);
        let layer: Option<Layer> = self.note(key);
        let taken = layer.filter(|layer| {
            let from = self.blob(&layer.digest);
            let to = packer.blobs.join(digits(&layer.digest));
            packer.share_checked(&from, &layer.digest, &to).is_ok()
        });
        match &taken {
            // Written again, it is as young as its last use.
            Some(layer) => self.put_note(key, layer),
            None if packer.cancel.is_cancelled() => {}
            None => drop(std::fs::remove_file(&record)),
        }
        taken
    }

    /// A cache that can't be written makes the next build slower, nothing else.
    pub(super) fn put(&self, key: &str, layer: &Layer, blobs: &Path) {
        let from = blobs.join(digits(&layer.digest));
        if self.keep(&from, &layer.digest).is_ok() {
            self.put_note(key, layer);
        }
    }

    /// Keeps a blob: the same file where that can be.
    pub(super) fn keep(&self, from: &Path, digest: &str) -> std::io::Result<()> {
        let to = self.blob(digest);
        // What is there may be damaged; a name of its own first, because nothing links over another.
        let link = |path: &Path| std::fs::hard_link(from, path);
        match tempfile::Builder::new().make_in(&self.dir, link) {
            // Its name is taken away at the end: it stays where both were one file before.
            Ok(temp) => std::fs::rename(temp.path(), &to),
            Err(_) => self.write(&to, |out| copy(File::open(from)?, out).map(|_| ())),
        }
    }

    /// Takes away what was not used for longest, where all takes more than `bytes_max`: never what the image that
    /// was just made has. What can't be deleted stays; what another build misses then, it makes.
    pub(crate) fn make_room(&self, own: &[String], bytes_max: u64) {
        let mut blobs = self.blobs();
        let mut bytes: u64 = blobs.values().map(|blob| blob.size).sum();
        if bytes <= bytes_max {
            return;
        }
        for (path, used, layer) in self.records() {
            if let Some(blob) = blobs.get_mut(digits(&layer.digest)) {
                blob.used = blob.used.max(used);
                blob.records.push(path);
            }
        }
        blobs.retain(|name, _| own.iter().all(|digest| digits(digest) != name));
        let mut oldest: Vec<(String, Held)> = blobs.into_iter().collect();
        oldest.sort_by_key(|(_, blob)| blob.used);
        for (name, blob) in oldest {
            if bytes <= bytes_max {
                break;
            }
            for path in blob.records.iter().chain([&self.blob(&name)]) {
                let _ = std::fs::remove_file(path);
            }
            bytes -= blob.size;
        }
    }

    fn entries(&self) -> impl Iterator<Item = (PathBuf, Metadata)> {
        let all = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        all.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
    }

    fn blobs(&self) -> HashMap<String, Held> {
        let held = |(path, meta): (PathBuf, Metadata)| {
            let name = path.file_name()?.to_str()?.to_owned();
            let is_blob = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
            let held = Held {
                size: meta.len(),
                used: meta.modified().ok()?,
                records: Vec::new(),
            };
            is_blob.then_some((name, held))
        };
        self.entries().filter_map(held).collect()
    }

    /// Records of layers, and when they were last used.
    fn records(&self) -> impl Iterator<Item = (PathBuf, SystemTime, Layer)> {
        let layer = |(path, meta): (PathBuf, Metadata)| {
            let is_record = path.extension().is_some_and(|end| end == "json");
            let layer = serde_json::from_str(&checked(&path).filter(|_| is_record)?).ok()?;
            Some((path, meta.modified().ok()?, layer))
        };
        self.entries().filter_map(layer)
    }

    /// Written beside its place and renamed: other builds may read at the same time.
    fn write(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut temp = tempfile::NamedTempFile::new_in(&self.dir)?;
        fill(temp.as_file_mut())?;
        temp.persist(path)?;
        Ok(())
    }
}

/// A record is one line of JSON and one with its digest: a flipped digit in it would make an image that
/// no engine takes.
fn checked(record: &Path) -> Option<String> {
    let text = std::fs::read_to_string(record).ok()?;
    let (json, sum) = text.split_once('\n')?;
    (sum == to_hex(&Sha256::digest(json.as_bytes()))).then(|| json.to_owned())
}
