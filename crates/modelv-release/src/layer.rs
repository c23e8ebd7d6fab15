//! Files of a layer, and the tar they become, which is the same each time: no clock, no owner, two
//! kinds of mode, parents made explicit once. Packing it is for `packer.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use modelv_repo::Repo;
use modelv_repo::core::id::{BlobId, to_hex};
use sha2::{Digest, Sha256};

use crate::demands::Look;
use crate::error::{Error, Result};
use crate::packing::Packing;
use crate::zipped::Zipped;

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Path(PathBuf),
    Blob(BlobId, u64),
    Zipped(Zipped),
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Dir { sticky: bool },
    File { executable: bool, content: Content },
    Link(Vec<u8>),
}

/// Files of a layer by path, without a leading slash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    pub(crate) nodes: BTreeMap<Vec<u8>, Node>,
}

impl Files {
    pub(crate) fn add(&mut self, path: impl Into<Vec<u8>>, node: Node) {
        let path = path.into();
        for (i, byte) in path.iter().enumerate() {
            if *byte == b'/' && i > 0 {
                self.nodes
                    .entry(path[..i].to_vec())
                    .or_insert(Node::Dir { sticky: false });
            }
        }
        self.nodes.insert(path, node);
    }

    pub(crate) fn add_file(
        &mut self,
        path: impl Into<Vec<u8>>,
        executable: bool,
        content: Content,
    ) {
        self.add(
            path,
            Node::File {
                executable,
                content,
            },
        );
    }
}

impl Content {
    /// The bytes, and how many they are.
    pub(crate) fn open<'a>(&'a self, repo: Option<&'a Repo>) -> Result<(Box<dyn Read + 'a>, u64)> {
        match self {
            Self::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
            Self::Path(path) => {
                let file = File::open(path).map_err(Error::io("read", path))?;
                let size = file.metadata().map_err(Error::io("read", path))?.len();
                Ok((Box::new(file), size))
            }
            Self::Blob(id, size) => {
                let repo =
                    repo.ok_or_else(|| modelv_repo::Error::not_found("file content", id.to_hex()))?;
                let reader = repo
                    .store()
                    .open_blob(id)
                    .map_err(modelv_repo::Error::from)?;
                Ok((Box::new(reader), *size))
            }
            Self::Zipped(file) => Ok((Box::new(file.open()), file.size)),
        }
    }

    /// How many bytes they are.
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Path(path) => std::fs::metadata(path).map_or(0, |m| m.len()),
            Self::Blob(_, size) => *size,
            Self::Zipped(file) => file.size,
        }
    }
}

impl Files {
    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        let size = |node: &Node| match node {
            Node::File { content, .. } => content.size(),
            _ => 0,
        };
        self.nodes.values().map(size).sum()
    }
}

/// A name that means something else in a layer can't be a file there.
pub(crate) fn check_name(path: &[u8]) -> Result<()> {
    if path
        .split(|b| *b == b'/')
        .any(|part| part.starts_with(b".wh."))
    {
        return Err(Error::File {
            path: String::from_utf8_lossy(path).into_owned(),
            detail: "a name that begins with `.wh.` takes a file away there".into(),
        });
    }
    Ok(())
}

/// A layer on disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Layer {
    /// SHA-256 of the compressed blob.
    pub(crate) digest: String,
    /// SHA-256 of the tar.
    pub(crate) diff_id: String,
    /// Bytes of the compressed blob.
    pub(crate) size: u64,
    /// How the tar is packed.
    pub(crate) packing: Packing,
}

impl Layer {
    /// One that nobody has made yet.
    pub(crate) fn unknown(packing: Packing) -> Self {
        Self {
            digest: String::new(),
            diff_id: String::new(),
            size: 0,
            packing,
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.digest.is_empty()
    }
}

/// Counts and hashes what passes.
pub(crate) struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    pub(crate) fn digest(self) -> (String, u64, W) {
        (
            format!("sha256:{}", to_hex(&self.hasher.finalize())),
            self.size,
            self.inner,
        )
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes what is read.
pub(crate) struct HashingRead<R> {
    inner: R,
    hasher: Sha256,
}

impl<R> HashingRead<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
        }
    }

    pub(crate) fn digest(self) -> String {
        format!("sha256:{}", to_hex(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for HashingRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

/// Name of a blob's file: the digits of its digest.
pub(crate) fn digits(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Writes the tar of a set of files.
pub(crate) fn write_tar(out: &mut dyn Write, files: &Files, repo: Option<&Repo>) -> Result<()> {
    write_tar_seen(out, files, repo, None)
}

/// Writes the tar of a set of files, and lets `look` see those that may be programs.
pub(crate) fn write_tar_seen(
    out: &mut dyn Write,
    files: &Files,
    repo: Option<&Repo>,
    mut look: Option<&mut Look<'_>>,
) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut tar = tar::Builder::new(out);
    tar.mode(tar::HeaderMode::Deterministic);
    for (path, node) in &files.nodes {
        let name = Path::new(std::ffi::OsStr::from_bytes(path));
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let io = |e: std::io::Error| match e.downcast::<Error>() {
            Ok(said) => said,
            Err(e) => Error::io("pack", name)(e),
        };
        match node {
            Node::Dir { sticky } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(if *sticky { 0o1777 } else { 0o755 });
                header.set_size(0);
                let slashed = [path.as_slice(), b"/"].concat();
                let name = Path::new(std::ffi::OsStr::from_bytes(&slashed));
                tar.append_data(&mut header, name, std::io::empty())
                    .map_err(io)?;
            }
            Node::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                let target = Path::new(std::ffi::OsStr::from_bytes(target));
                tar.append_link(&mut header, name, target).map_err(io)?;
            }
            Node::File {
                executable,
                content,
            } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(if *executable { 0o755 } else { 0o644 });
                let (mut reader, size) = content.open(repo)?;
                if let Some(look) = look.as_deref_mut() {
                    reader = look.at(path, *executable, reader, size).map_err(io)?;
                }
                header.set_size(size);
                let mut counted = Counted {
                    inner: reader.by_ref().take(size),
                    left: size,
                };
                tar.append_data(&mut header, name, &mut counted)
                    .map_err(io)?;
            }
        }
    }
    tar.finish().map_err(Error::io("pack", Path::new("layer")))
}

/// A file that is shorter than its header says would shift all that follows it in the tar.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::Error::other("it changed while it was read"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
