//! Layers: a sorted set of files as a tar that is the same each time: no clock, no owner, two kinds
//! of mode, parents made explicit once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use modelv_repo::Repo;
use modelv_repo::core::id::{BlobId, to_hex};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Part of every cache key: raise it when the bytes of a layer change for the same input.
pub(crate) const LAYER_FORMAT: &str = "modelv layer 2 tar gzip-6";
const GZIP_LEVEL: u32 = 6;

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Path(PathBuf),
    Blob(BlobId, u64),
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

/// A layer on disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Layer {
    /// SHA-256 of the compressed blob.
    pub(crate) digest: String,
    /// SHA-256 of the tar.
    pub(crate) diff_id: String,
    /// Bytes of the compressed blob.
    pub(crate) size: u64,
}

/// Counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    fn digest(self) -> (String, u64, W) {
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

/// Passes on blocks of one size. What a compressor makes of the same bytes depends on how they are cut
/// into writes; cut here, it does not depend on how the store or a file system hands them out.
struct Blocks<W> {
    inner: W,
    block: Vec<u8>,
}

const BLOCK_BYTES: usize = 1 << 16;

impl<W: Write> Blocks<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            block: Vec::with_capacity(BLOCK_BYTES),
        }
    }

    fn finish(mut self) -> std::io::Result<W> {
        self.inner.write_all(&self.block)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == BLOCK_BYTES {
            self.inner.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(n)
    }

    /// Nothing: a flush would be a cut.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
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

/// Packs a tar that `fill` writes into `dir`, named by its digest.
pub(crate) fn pack(dir: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Layer> {
    let temp = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create", dir))?;
    let out = Hashing::new(BufWriter::with_capacity(1 << 18, temp));
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(out, Compression::new(GZIP_LEVEL));
    let mut tar = Blocks::new(Hashing::new(gzip));
    fill(&mut tar)?;
    let tar = tar.finish().map_err(Error::io("write", dir))?;
    let (diff_id, _, gzip) = tar.digest();
    let out = gzip.finish().map_err(Error::io("write", dir))?;
    let (digest, size, buffer) = out.digest();
    let temp = buffer
        .into_inner()
        .map_err(|e| Error::io("write", dir)(e.into_error()))?;
    let path = dir.join(digits(&digest));
    let file = temp
        .persist(&path)
        .map_err(|e| Error::io("write", &path)(e.error))?;
    let bits = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.set_permissions(bits)
        .map_err(Error::io("write", &path))?;
    Ok(Layer {
        digest,
        diff_id,
        size,
    })
}

/// Packs a set of files.
pub(crate) fn pack_files(dir: &Path, files: &Files, repo: Option<&Repo>) -> Result<Layer> {
    pack(dir, |out| write_tar(out, files, repo))
}

fn write_tar(out: &mut dyn Write, files: &Files, repo: Option<&Repo>) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut tar = tar::Builder::new(out);
    tar.mode(tar::HeaderMode::Deterministic);
    for (path, node) in &files.nodes {
        let name = Path::new(std::ffi::OsStr::from_bytes(path));
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let io = |e| Error::io("pack", name)(e);
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
                let (mut reader, size) = open(content, repo)?;
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

fn open<'a>(content: &'a Content, repo: Option<&'a Repo>) -> Result<(Box<dyn Read + 'a>, u64)> {
    match content {
        Content::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
        Content::Path(path) => {
            let file = File::open(path).map_err(Error::io("read", path))?;
            let size = file.metadata().map_err(Error::io("read", path))?.len();
            Ok((Box::new(file), size))
        }
        Content::Blob(id, size) => {
            let repo =
                repo.ok_or_else(|| modelv_repo::Error::not_found("file content", id.to_hex()))?;
            let reader = repo
                .store()
                .open_blob(id)
                .map_err(modelv_repo::Error::from)?;
            Ok((Box::new(reader), *size))
        }
    }
}

/// Layers by what went in: an equal key is an equal layer.
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        Ok(Self { dir })
    }

    /// The layer of a key, made into `blobs` when it is not known; and whether it was.
    pub(crate) fn layer(
        &self,
        key: &str,
        blobs: &Path,
        make: impl FnOnce(&Path) -> Result<Layer>,
    ) -> Result<(Layer, bool)> {
        let name = to_hex(&Sha256::digest(format!("{LAYER_FORMAT}\n{key}").as_bytes()));
        let record = self.dir.join(format!("{name}.json"));
        let known: Option<Layer> = std::fs::read(&record)
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok());
        if let Some(layer) = known {
            let from = self.dir.join(digits(&layer.digest));
            let to = blobs.join(digits(&layer.digest));
            // Copied and checked: a cache may be damaged like everything else.
            if copy_checked(&from, &to, &layer.digest).is_ok() {
                return Ok((layer, true));
            }
            let _ = std::fs::remove_file(&record);
        }
        let layer = make(blobs)?;
        let from = blobs.join(digits(&layer.digest));
        let to = self.dir.join(digits(&layer.digest));
        // A cache that can't be written makes the next build slower, nothing else.
        let _ = std::fs::copy(&from, &to)
            .and_then(|_| std::fs::write(&record, serde_json::to_vec(&layer).unwrap_or_default()));
        Ok((layer, false))
    }
}

/// Copies a blob, refusing one that is not what its digest says.
pub(crate) fn copy_checked(from: &Path, to: &Path, digest: &str) -> Result<u64> {
    let mut input = File::open(from).map_err(Error::io("read", from))?;
    let output = File::create(to).map_err(Error::io("write", to))?;
    let mut out = Hashing::new(output);
    std::io::copy(&mut input, &mut out).map_err(Error::io("copy", from))?;
    let (found, size, _) = out.digest();
    if found != digest {
        let _ = std::fs::remove_file(to);
        let detail = format!("blob `{digest}` has other bytes");
        return Err(Error::Image {
            image: from.display().to_string(),
            detail,
        });
    }
    Ok(size)
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
