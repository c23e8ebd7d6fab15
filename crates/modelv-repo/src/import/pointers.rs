//! Pointers of Git LFS and DVC: small files in Git that stand for large ones beside it. Contents are
//! taken from the caches of those tools, where they have the hash that the pointer names.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use modelv_core::driver::{Format, config_tree};
use modelv_core::id::to_hex;
use modelv_core::path::{RepoPath, parent_of};
use modelv_core::value::Value;
use sha2::Sha256;

use super::places::joined;
use crate::error::{Error, Result};

/// Where a content lies, and what proves it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    Sha256(String),
    /// Of the bytes, or, as DVC had it before version 3, of text whose lines end with a line feed.
    Md5(String),
    /// What Git calls it by.
    GitBlob(String),
}

impl Place {
    /// A file of a cache that names contents by their SHA-256 or by what Git calls them by; `None`: its
    /// name proves nothing.
    pub(super) fn named(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let proof = match name.len() {
            64 => Proof::Sha256(name),
            40 => Proof::GitBlob(name),
            _ => return None,
        };
        let (Proof::Sha256(digits) | Proof::GitBlob(digits)) = &proof else {
            return None;
        };
        is_hex(digits, digits.len()).then_some(Self { path, proof })
    }

    /// Refuses a content that is not the one that was named.
    ///
    /// # Errors
    /// It is another, or can't be read.
    pub(super) fn check(&self) -> Result<()> {
        let is_right = match &self.proof {
            Proof::Sha256(digits) => {
                let mut hash = Sha256::new();
                read_all(&self.path, |bytes| hash.update(bytes))?;
                to_hex(&hash.finalize()) == *digits
            }
            Proof::GitBlob(digits) => git_blob(&self.path)? == *digits,
            Proof::Md5(digits) => {
                let (mut hash, mut unix) = (Md5::new(), Md5::new());
                let mut is_text = true;
                read_all(&self.path, |bytes| {
                    hash.update(bytes);
                    is_text &= !bytes.contains(&0);
                    if is_text {
                        let kept: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'\r').collect();
                        unix.update(&kept);
                    }
                })?;
                to_hex(&hash.finalize()) == *digits || to_hex(&unix.finalize()) == *digits
            }
        };
        let name = || self.path.display().to_string();
        let text = "its content is not the one it is named after";
        is_right
            .then_some(())
            .ok_or_else(|| Error::invalid("file in a cache", name(), text))
    }
}

/// What a pointer of DVC stands for.
#[derive(Debug, Default)]
pub(super) struct Stood {
    /// Its outputs: files, and folders as such.
    pub(super) roots: Vec<RepoPath>,
    /// The files of all outputs, and where they lie.
    pub(super) files: Vec<(RepoPath, Place)>,
}

/// A pointer of Git LFS is smaller.
const LFS_BYTES_MAX: usize = 1024;
/// A listing of a folder of DVC's that is larger is not read.
const DIR_BYTES_MAX: u64 = 256 << 20;

/// The caches of a repository.
pub(super) struct Pointers {
    lfs: PathBuf,
    dvc: Vec<PathBuf>,
}

impl Pointers {
    /// The caches of a Git repository and its working tree.
    pub(super) fn find(git_dir: &Path, work_dir: Option<&Path>) -> Self {
        Self {
            lfs: git_dir.join("lfs/objects"),
            dvc: work_dir.map(caches).unwrap_or_default(),
        }
    }

    /// Whether a path is one that DVC writes its pointers to.
    pub(super) fn is_dvc(path: &[u8]) -> bool {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        name == b"dvc.lock" || (name.len() > 4 && name.ends_with(b".dvc"))
    }

    /// The SHA-256 in a pointer of Git LFS (specification version 1).
    pub(super) fn lfs(bytes: &[u8]) -> Option<&str> {
        let begins = bytes.starts_with(b"version https://git-lfs.github.com/spec/v1\n");
        if !begins || bytes.len() > LFS_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let sha256 = lines.find_map(|line| line.strip_prefix("oid sha256:"))?;
        is_hex(sha256, 64).then_some(sha256)
    }

    /// Where the content of a pointer lies; `None`: not here.
    pub(super) fn open_lfs(&self, sha256: &str) -> Option<Place> {
        let path = self.lfs.join(&sha256[..2]).join(&sha256[2..4]).join(sha256);
        path.is_file().then(|| Place {
            path,
            proof: Proof::Sha256(sha256.to_owned()),
        })
    }

    /// What a pointer of DVC stands for; `None`: it is none, or some files are not at hand.
    ///
    /// # Errors
    /// A listing of a folder can't be read.
    pub(super) fn dvc(&self, pointer: &RepoPath, text: &[u8]) -> Result<Option<Stood>> {
        let Ok(root) = config_tree(Format::Yaml, text) else {
            return Ok(None);
        };
        let mut out = Stood::default();
        for output in outputs(&root) {
            if !self.output(pointer, output, &mut out)? {
                return Ok(None);
            }
        }
        Ok((!out.files.is_empty()).then_some(out))
    }

    /// Adds an output that a pointer names; `false`: it is none, or not all of it is at hand.
    fn output(
        &self,
        pointer: &RepoPath,
        output: &BTreeMap<String, Value>,
        out: &mut Stood,
    ) -> Result<bool> {
        let text = |key: &str| match output.get(key) {
            Some(Value::Str(text)) => Some(text.as_str()),
            _ => None,
        };
        let (Some(md5), Some(path)) = (text("md5"), text("path")) else {
            return Ok(false);
        };
        let Some(path) = below(parent_of(pointer.as_bytes()), path) else {
            return Ok(false);
        };
        let files = match md5.strip_suffix(".dir") {
            None => self.cached(md5).map(|place| vec![(path.clone(), place)]),
            Some(digits) => match self.cached_as(digits, ".dir") {
                None => None,
                Some(listing) => {
                    listing.check()?;
                    self.folder(&path, &listing.path)?
                }
            },
        };
        let Some(files) = files else {
            return Ok(false);
        };
        out.roots.push(path);
        out.files.extend(files);
        Ok(true)
    }

    /// The files of a folder by its listing.
    fn folder(&self, path: &RepoPath, listing: &Path) -> Result<Option<Vec<(RepoPath, Place)>>> {
        let file = std::fs::File::open(listing).map_err(Error::io("open", listing))?;
        let mut bytes = Vec::new();
        file.take(DIR_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", listing))?;
        let bad = |reason: String| {
            Error::invalid("listing of DVC", listing.display().to_string(), reason)
        };
        let entries: Vec<serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        let mut out = Vec::with_capacity(entries.len());
        for entry in &entries {
            let (Some(md5), Some(name)) = (entry["md5"].as_str(), entry["relpath"].as_str()) else {
                return Err(bad("an entry has no `md5` or no `relpath`".into()));
            };
            let Some(inside) = below(path.as_bytes(), name) else {
                return Err(bad(format!("`{}` leads out of it", name.escape_debug())));
            };
            let Some(place) = self.cached(md5) else {
                return Ok(None);
            };
            out.push((inside, place));
        }
        Ok(Some(out))
    }

    fn cached(&self, md5: &str) -> Option<Place> {
        self.cached_as(md5, "")
    }

    /// Caches of DVC 3 have a folder for each kind of hash, those before have not.
    fn cached_as(&self, md5: &str, suffix: &str) -> Option<Place> {
        if !is_hex(md5, 32) {
            return None;
        }
        let name = format!("{}/{}{suffix}", &md5[..2], &md5[2..]);
        let mut places = self
            .dvc
            .iter()
            .flat_map(|cache| [cache.join("files/md5").join(&name), cache.join(&name)]);
        places.find(|place| place.is_file()).map(|path| Place {
            path,
            proof: Proof::Md5(md5.to_ascii_lowercase()),
        })
    }
}

/// The outputs in a `.dvc` file or a `dvc.lock`.
fn outputs(root: &BTreeMap<String, Value>) -> Vec<&BTreeMap<String, Value>> {
    let mut out = Vec::new();
    collect(root.get("outs"), &mut out);
    let stages = match root.get("stages") {
        Some(Value::Map(stages)) => Some(stages),
        _ => None,
    };
    for stage in stages.into_iter().flat_map(BTreeMap::values) {
        if let Value::Map(stage) = stage {
            collect(stage.get("outs"), &mut out);
        }
    }
    out
}

fn collect<'v>(outs: Option<&'v Value>, into: &mut Vec<&'v BTreeMap<String, Value>>) {
    let Some(Value::List(outs)) = outs else {
        return;
    };
    into.extend(outs.iter().filter_map(|out| match out {
        Value::Map(out) => Some(out),
        _ => None,
    }));
}

/// Where DVC keeps contents: its cache, and remotes that are folders.
fn caches(work_dir: &Path) -> Vec<PathBuf> {
    let dvc = work_dir.join(".dvc");
    let mut out = vec![dvc.join("cache")];
    for name in ["config", "config.local"] {
        let Ok(bytes) = std::fs::read(dvc.join(name)) else {
            continue;
        };
        let Ok(values) = config_tree(Format::Ini, &bytes) else {
            continue;
        };
        for (section, value) in &values {
            let Value::Map(section_values) = value else {
                continue;
            };
            let key = if section == "cache" { "dir" } else { "url" };
            if let Some(Value::Str(text)) = section_values.get(key)
                && !text.contains("://")
            {
                out.push(dvc.join(text));
            }
        }
    }
    out
}

/// A path of a pointer, which is relative to its folder.
fn below(dir: &[u8], path: &str) -> Option<RepoPath> {
    RepoPath::new(joined(dir, path)?).ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What Git calls the content of a file by.
fn git_blob(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).map_err(Error::io("read", path))?;
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(format!("blob {}\0", size.len()).as_bytes());
    read_all(path, |bytes| hash.update(bytes))?;
    Ok(hash
        .try_finalize()
        .map_or_else(|_| String::new(), |id| id.to_string()))
}

fn read_all(path: &Path, mut each: impl FnMut(&[u8])) -> Result<()> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    loop {
        let bytes = std::io::BufRead::fill_buf(&mut reader).map_err(Error::io("read", path))?;
        if bytes.is_empty() {
            return Ok(());
        }
        each(bytes);
        let read = bytes.len();
        std::io::BufRead::consume(&mut reader, read);
    }
}
