//! Files of a wheel, read where they lie, so that memory does not grow with what a wheel holds. A file is
//! compared with RECORD as it is read: no reader gets to the end of one that is another.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::read::DeflateDecoder;
use modelv_repo::wheels::record::base64url;
use sha2::{Digest, Sha256};
use zip::CompressionMethod;
use zip::read::ZipFile;

use crate::error::Error;

/// A wheel that is open.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) file: Arc<File>,
    /// Its file name, for people.
    pub(crate) name: Arc<str>,
}

/// A file of a wheel.
#[derive(Debug, Clone)]
pub(crate) struct Zipped {
    archive: Archive,
    /// Where its packed bytes begin in the archive, and how many they are.
    start: u64,
    packed: u64,
    is_deflated: bool,
    name: String,
    /// Its bytes when unpacked.
    pub(crate) size: u64,
    /// SHA-256 as RECORD writes it; RECORD itself has none.
    want: Option<String>,
}

impl Zipped {
    /// Of an entry of an archive; `want` is what RECORD says.
    ///
    /// # Errors
    /// It is packed in a way that is not read.
    pub(crate) fn of<R: Read>(
        archive: &Archive,
        entry: &ZipFile<'_, R>,
        name: String,
        want: Option<&str>,
    ) -> Result<Self, String> {
        let is_deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => {
                return Err(format!(
                    "`{name}` is packed with {other}, which is not read"
                ));
            }
        };
        // Nobody reads a file without bytes.
        let empty = || base64url(&Sha256::digest(b""));
        if entry.size() == 0 && want.is_some_and(|w| w != empty()) {
            return Err(format!("`{name}` is not what RECORD says"));
        }
        Ok(Self {
            archive: archive.clone(),
            start: entry.data_start().ok_or("its files can't be found")?,
            packed: entry.compressed_size(),
            is_deflated,
            size: entry.size(),
            want: want.map(str::to_owned),
            name,
        })
    }

    /// Its bytes.
    pub(crate) fn open(&self) -> impl Read + use<> {
        let packed = Range {
            archive: self.archive.clone(),
            at: self.start,
            end: self.start.saturating_add(self.packed),
        };
        let inner: Box<dyn Read> = match self.is_deflated {
            true => Box::new(DeflateDecoder::new(packed)),
            false => Box::new(packed),
        };
        Checked {
            inner,
            hasher: Sha256::new(),
            left: self.size,
            is_done: false,
            file: self.clone(),
        }
    }

    /// All its bytes, which are at most `limit`.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, String> {
        if self.size > limit {
            return Err(format!("`{}` is larger than {limit} bytes", self.name));
        }
        let mut bytes = Vec::new();
        let read = self.open().read_to_end(&mut bytes);
        read.map_err(|e| e.to_string()).map(|_| bytes)
    }

    /// Whether it begins with these bytes.
    pub(crate) fn begins_with(&self, start: &[u8]) -> Result<bool, String> {
        let mut head = Vec::new();
        let read = self.open().take(start.len() as u64).read_to_end(&mut head);
        read.map_err(|e| e.to_string()).map(|_| head == start)
    }
}

/// Bytes of a file between two places, whoever else reads it.
struct Range {
    archive: Archive,
    at: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let n = self.archive.file.read_at(&mut buffer[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Fails before the last bytes are given out where all of them are not what was wanted.
struct Checked {
    inner: Box<dyn Read>,
    hasher: Sha256,
    left: u64,
    is_done: bool,
    file: Zipped,
}

impl Checked {
    fn bad(&self, what: &str) -> std::io::Error {
        std::io::Error::other(Error::Package {
            package: self.file.archive.name.to_string(),
            detail: format!("`{}` {what}", self.file.name),
        })
    }

    fn check(&mut self) -> std::io::Result<()> {
        self.is_done = true;
        let found = base64url(&std::mem::take(&mut self.hasher).finalize());
        match &self.file.want {
            Some(want) if *want != found => Err(self.bad("is not what RECORD says")),
            _ => Ok(()),
        }
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() || self.is_done {
            return Ok(0);
        }
        // Not beyond its size: a bomb says less than it is.
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        let read = self.inner.read(&mut buffer[..most]);
        let n = read.map_err(|e| self.bad(&format!("can't be unpacked: {e}")))?;
        if n == 0 && self.left > 0 {
            return Err(self.bad("ends early"));
        }
        self.hasher.update(&buffer[..n]);
        self.left -= n as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(n)
    }
}

#[cfg(test)]
#[path = "zipped_tests.rs"]
mod tests;
