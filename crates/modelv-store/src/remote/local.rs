//! A remote in a folder: `file://`. The root moves under a kernel lock by a synced rename, so that
//! many processes, also on a network file system with locks, never lose an update.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use modelv_core::id::to_hex;

use super::backend::{Backend, Listed, PutIf, Version};
use super::object::ObjectState;
use super::{RemoteError, Result, Trouble, Watch, tick};
use crate::fs;

const BUFFER_BYTES: usize = 1 << 20;

/// A folder.
#[derive(Debug)]
pub(crate) struct LocalDir {
    url: String,
    root: PathBuf,
}

impl LocalDir {
    pub(crate) fn new(url: &str, root: PathBuf) -> Self {
        Self {
            url: url.to_owned(),
            root,
        }
    }

    fn failed(&self, e: std::io::Error) -> RemoteError {
        let trouble = match e.kind() {
            std::io::ErrorKind::PermissionDenied => Trouble::Denied,
            std::io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            std::io::ErrorKind::NotFound => Trouble::Missing,
            _ => Trouble::Other,
        };
        RemoteError::access(&self.url, trouble, Some(Box::new(e)))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// A new file beside `path`, under a name nobody else has.
    fn create_beside(path: &Path) -> std::io::Result<(File, PathBuf)> {
        let dir = path.parent().unwrap_or(Path::new("."));
        if !dir.is_dir() {
            fs::create_dirs_synced(dir)?;
        }
        let temp = dir.join(format!("tmp-{}", to_hex(&super::root::nonce())));
        Ok((fs::create_new(&temp)?, temp))
    }

    /// Writes what `fill` gives and renames it into place, synced. What is replaced is the same
    /// content, or the root, under the lock.
    fn write(&self, key: &str, fill: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
        let path = self.path(key);
        let (mut file, temp) = Self::create_beside(&path).map_err(|e| self.failed(e))?;
        let done = fill(&mut file).and_then(|()| {
            fs::sync(&file)
                .and_then(|()| fs::replace(&temp, &path))
                .and_then(|()| fs::sync_dir(path.parent().unwrap_or(Path::new("."))))
                .map_err(|e| self.failed(e))
        });
        if done.is_err() {
            let _ = fs::remove(&temp);
        }
        done
    }

    fn compare_and_write(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&Version>,
    ) -> Result<bool> {
        fs::create_dirs_synced(&self.root).map_err(|e| self.failed(e))?;
        let lock = fs::open_or_create(&self.path("lock")).map_err(|e| self.failed(e))?;
        // A kernel lock: it dies with its holder.
        lock.lock().map_err(|e| self.failed(e))?;
        let now = self.read(key, u64::MAX)?.map(|(_, version)| version);
        if now.as_ref() != expected {
            return Ok(false);
        }
        self.write(key, &mut |file| {
            fs::write_all(file, bytes).map_err(|e| self.failed(e))
        })?;
        Ok(true)
    }
}

impl Backend for LocalDir {
    fn read(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, Version)>> {
        let mut bytes = Vec::new();
        match File::open(self.path(key)) {
            Ok(file) => file
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(|e| self.failed(e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed(e)),
        };
        let version = Version {
            e_tag: Some(blake3::hash(&bytes).to_hex().to_string()),
            version: None,
        };
        Ok(Some((bytes, version)))
    }

    fn put_if(&self, key: &str, bytes: &[u8], expected: Option<&Version>) -> PutIf {
        match self.compare_and_write(key, bytes, expected) {
            Ok(true) => PutIf::Done,
            Ok(false) => PutIf::Refused,
            // The rename may have happened before what failed.
            Err(
                e @ RemoteError::Access {
                    trouble: Trouble::Other,
                    ..
                },
            ) => PutIf::Ambiguous(e),
            Err(e) => PutIf::Failed(e),
        }
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.write(key, &mut |file| {
            fs::write_all(file, bytes).map_err(|e| self.failed(e))
        })
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        match std::fs::metadata(self.path(key)) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn upload(&self, key: &str, source: &Path, _: &Path, watch: &dyn Watch) -> Result<()> {
        let mut source = File::open(source).map_err(|e| self.failed(e))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        self.write(key, &mut |file| {
            loop {
                let n = source.read(&mut buffer).map_err(|e| self.failed(e))?;
                if n == 0 {
                    return Ok(());
                }
                fs::write_all(file, &buffer[..n]).map_err(|e| self.failed(e))?;
                tick(watch, n as u64)?;
            }
        })
    }

    /// The tag changes whenever the file is written; the clock of the file system is fine enough for that.
    fn state(&self, key: &str, _: Option<&str>) -> Result<Option<ObjectState>> {
        let meta = match std::fs::metadata(self.path(key)) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed(e)),
        };
        let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
        Ok(Some(ObjectState {
            size: meta.len(),
            e_tag: Some(format!("\"{seconds:x}.{nanoseconds:x}-{:x}\"", meta.len())),
            version: None,
            modified: u64::try_from(seconds).ok(),
        }))
    }

    fn download_version(
        &self,
        key: &str,
        _: Option<&str>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut file = File::open(self.path(key)).map_err(|e| self.failed(e))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let n = file.read(&mut buffer).map_err(|e| self.failed(e))?;
            if n == 0 {
                return Ok(());
            }
            sink(&buffer[..n])?;
        }
    }

    fn ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
        let file = File::open(self.path(key)).map_err(|e| self.failed(e))?;
        ranges
            .iter()
            .map(|range| {
                let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let mut out = vec![0; len];
                file.read_exact_at(&mut out, range.start)
                    .map_err(|e| match e.kind() {
                        std::io::ErrorKind::UnexpectedEof => {
                            RemoteError::corrupt(&self.url, format!("`{key}`"), "it is cut off")
                        }
                        _ => self.failed(e),
                    })?;
                Ok(out)
            })
            .collect()
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let entries = match std::fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed(e)),
        };
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| self.failed(e))?;
            let (Some(name), Ok(meta)) = (
                entry.file_name().to_str().map(str::to_owned),
                entry.metadata(),
            ) else {
                continue;
            };
            out.push(Listed {
                key: format!("{folder}/{name}"),
                bytes: meta.len(),
                modified: u64::try_from(meta.mtime()).unwrap_or_default(),
            });
        }
        Ok(out)
    }

    fn modified(&self, key: &str) -> Result<Option<u64>> {
        match std::fs::metadata(self.path(key)) {
            Ok(meta) => Ok(Some(u64::try_from(meta.mtime()).unwrap_or_default())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn delete(&self, key: &str) -> Result<()> {
        match fs::remove(&self.path(key)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(self.failed(e)),
            _ => Ok(()),
        }
    }
}
