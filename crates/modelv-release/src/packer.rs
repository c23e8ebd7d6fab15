//! Packing: a tar becomes a blob named by its digest, or is found to be one already. Stops between two
//! blocks when it is asked to.

mod cache;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use modelv_repo::ctx::{Progress, Quiet};
use modelv_repo::{Cancel, Repo};

use crate::demands::Look;
use crate::error::{Error, Result};
use crate::layer::{Files, Hashing, Layer, digits, write_tar_seen};
use crate::packing::Packing;

pub(crate) use cache::Cache;

/// Part of every cache key: raise it when the bytes of a layer change for the same input.
pub(crate) const LAYER_FORMAT: &str = "modelv layer 4 tar";
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

const BLOCK_BYTES: usize = 1 << 16;

/// Passes on blocks of one size. What a compressor makes of the same bytes depends on how they are cut
/// into writes; cut here, it does not depend on how the store or a file system hands them out.
struct Blocks<'a, W> {
    inner: W,
    block: Vec<u8>,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

impl<'a, W: Write> Blocks<'a, W> {
    fn new(inner: W, cancel: &'a Cancel, progress: &'a dyn Progress) -> Self {
        Self {
            inner,
            block: Vec::with_capacity(BLOCK_BYTES),
            cancel,
            progress,
        }
    }

    fn finish(mut self) -> std::io::Result<W> {
        self.inner.write_all(&self.block)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Blocks<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == BLOCK_BYTES {
            check(self.cancel)?;
            self.inner.write_all(&self.block)?;
            self.block.clear();
            self.progress.advance(BLOCK_BYTES as u64);
        }
        Ok(n)
    }

    /// Nothing: a flush would be a cut.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn check(cancel: &Cancel) -> std::io::Result<()> {
    // Not `Interrupted`, which means "try again".
    let stop = |_| std::io::Error::other("interrupted");
    cancel.check().map_err(stop)
}

/// Reads until it is asked to stop.
pub(crate) struct Watched<'a, R> {
    inner: R,
    cancel: &'a Cancel,
}

impl<'a, R> Watched<'a, R> {
    pub(crate) fn new(inner: R, cancel: &'a Cancel) -> Self {
        Self { inner, cancel }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        check(self.cancel)?;
        self.inner.read(buffer)
    }
}

/// Makes layers in one folder of blobs.
pub(crate) struct Packer<'a> {
    /// Where blobs go.
    pub(crate) blobs: PathBuf,
    /// Where the content of a commit's files is.
    pub(crate) repo: Option<&'a Repo>,
    /// When to stop.
    pub(crate) cancel: &'a Cancel,
    /// Told how much is packed.
    pub(crate) progress: &'a dyn Progress,
    /// Layers that were made before; none of them is used without it.
    pub(crate) cache: Option<Cache>,
    /// How layers are packed, unless something else is said.
    pub(crate) packing: Packing,
    /// What would keep the image from being built, instead of the first of it ending the build. Then
    /// no layer is made: those that are not known stay unknown.
    pub(crate) hurdles: Option<Mutex<Vec<String>>>,
}

/// A compressor over what hashes its result.
enum Press<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Press<W> {
    fn new(packing: Packing, out: W) -> std::io::Result<Self> {
        Ok(match packing {
            Packing::None => Self::None(out),
            Packing::Gzip => Self::Gzip(
                GzBuilder::new()
                    .mtime(0)
                    .operating_system(255)
                    .write(out, Compression::new(GZIP_LEVEL)),
            ),
            Packing::Zstd => {
                // One thread: where several cut a stream depends on their number.
                let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn finish(self) -> std::io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl<W: Write> Write for Press<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(zstd) => zstd.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Packer<'_> {
    pub(crate) fn watch<R: Read>(&self, inner: R) -> Watched<'_, R> {
        Watched::new(inner, self.cancel)
    }

    /// What is said when something keeps the image from being built: the build ends, or it is noted.
    pub(crate) fn refuse(&self, error: Error) -> Result<()> {
        let Some(hurdles) = &self.hurdles else {
            return Err(error);
        };
        self.cancel.check()?;
        if let Ok(mut hurdles) = hurdles.lock() {
            hurdles.push(error.to_string());
        }
        Ok(())
    }

    /// Whether layers are made.
    pub(crate) fn is_dry(&self) -> bool {
        self.hurdles.is_some()
    }

    /// Packs a tar that `fill` writes.
    pub(crate) fn pack(&self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Layer> {
        self.pack_as(self.packing, fill)
    }

    pub(crate) fn pack_as(
        &self,
        packing: Packing,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Layer> {
        let dir = &self.blobs;
        let temp = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create", dir))?;
        let out = Hashing::new(BufWriter::with_capacity(1 << 18, temp));
        let press = Press::new(packing, out).map_err(Error::io("write", dir))?;
        let mut tar = Blocks::new(Hashing::new(press), self.cancel, self.progress);
        fill(&mut tar)?;
        let tar = tar.finish().map_err(Error::io("write", dir))?;
        let (diff_id, _, press) = tar.digest();
        let out = press.finish().map_err(Error::io("write", dir))?;
        let (digest, size, buffer) = out.digest();
        let temp = buffer
            .into_inner()
            .map_err(|e| Error::io("write", dir)(e.into_error()))?;
        let path = dir.join(digits(&digest));
        temp.persist(&path)
            .map_err(|e| Error::io("write", &path)(e.error))?;
        readable(&path).map_err(Error::io("write", &path))?;
        Ok(Layer {
            digest,
            diff_id,
            size,
            packing,
        })
    }

    /// Packs a set of files.
    #[cfg(test)]
    pub(crate) fn pack_files(&self, files: &Files) -> Result<Layer> {
        self.pack(|out| write_tar_seen(out, files, self.repo, None))
    }

    /// Packs a set of files, of which `look` sees those that may be programs.
    pub(crate) fn pack_files_as(
        &self,
        packing: Packing,
        files: &Files,
        look: &mut Look<'_>,
    ) -> Result<Layer> {
        self.pack_as(packing, |out| {
            write_tar_seen(out, files, self.repo, Some(look))
        })
    }

    /// The layer of a key, made when it is not known; and whether it was. An equal key must be an
    /// equal layer.
    pub(crate) fn by_key(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<Layer>,
    ) -> Result<(Layer, bool)> {
        self.by_key_as(self.packing, key, make)
    }

    pub(crate) fn by_key_as(
        &self,
        packing: Packing,
        key: &str,
        make: impl FnOnce() -> Result<Layer>,
    ) -> Result<(Layer, bool)> {
        let key = &format!("{} {key}", packing.id());
        if let Some(layer) = self.cache.as_ref().and_then(|c| c.take(key, self)) {
            return Ok((layer, true));
        }
        if self.is_dry() {
            return Ok((Layer::unknown(packing), false));
        }
        let layer = make()?;
        if let Some(cache) = &self.cache {
            cache.put(key, &layer, &self.blobs);
        }
        Ok((layer, false))
    }

    /// Whether the layer of a key is there.
    pub(crate) fn has(&self, packing: Packing, key: &str) -> bool {
        let key = format!("{} {key}", packing.id());
        self.cache.as_ref().is_some_and(|c| c.has(&key).is_some())
    }

    /// The layer of what `fill` writes, compressed only if no layer of the same bytes is known:
    /// reading twice is ten times cheaper than compressing.
    pub(crate) fn by_content(
        &self,
        fill: impl Fn(&mut dyn Write) -> Result<()>,
    ) -> Result<(Layer, bool)> {
        if self.cache.is_none() {
            return Ok((self.pack(fill)?, false));
        }
        let mut tar = Blocks::new(Hashing::new(std::io::sink()), self.cancel, &Quiet);
        fill(&mut tar)?;
        let tar = tar.finish().map_err(Error::io("read", &self.blobs))?;
        let (diff_id, _, _) = tar.digest();
        let (layer, cached) = self.by_key(&format!("tar {diff_id}"), || self.pack(&fill))?;
        if layer.is_known() && layer.diff_id != diff_id {
            let changed = std::io::Error::other("a file of the base changed while it was read");
            return Err(Error::io("pack", Path::new("base"))(changed));
        }
        Ok((layer, cached))
    }

    /// Brings a blob of a registry that was brought before; whether there is one.
    pub(crate) fn recall(&self, digest: &str, to: &Path) -> bool {
        let Some(cache) = &self.cache else {
            return false;
        };
        let from = cache.blob(digest);
        self.share_checked(&from, digest, to).is_ok()
    }

    /// Keeps a blob of a registry; it comes again if that fails.
    pub(crate) fn remember(&self, digest: &str, from: &Path) {
        if let (Some(cache), false) = (&self.cache, self.is_dry()) {
            let _ = cache.keep(from, digest);
        }
    }

    /// Brings a blob of the cache to where blobs go, refusing one that is not what its digest says. It is the same
    /// file where that can be, not another of the same bytes: who spoils one of them spoils both, and finds out here.
    fn share_checked(&self, from: &Path, digest: &str, to: &Path) -> Result<()> {
        let is_there = |e: &std::io::Error| e.kind() == std::io::ErrorKind::AlreadyExists;
        let linked = readable(from).and_then(|()| std::fs::hard_link(from, to));
        match linked {
            Ok(()) => self.check(to, digest).inspect_err(|_| {
                // It is the cache's, which makes it anew.
                let _ = std::fs::remove_file(to);
            }),
            Err(e) if is_there(&e) => self.check(to, digest),
            // Another file system, or none with links: it is read once, too.
            Err(_) => self.copy_checked_to(from, digest, to).map(|_| ()),
        }
    }

    fn check(&self, blob: &Path, digest: &str) -> Result<()> {
        let input = self.watch(File::open(blob).map_err(Error::io("read", blob))?);
        let mut out = Hashing::new(std::io::sink());
        copy(input, &mut out).map_err(Error::io("read", blob))?;
        match out.digest().0 == digest {
            true => Ok(()),
            false => Err(other_bytes(blob, digest)),
        }
    }

    /// Copies a blob to where blobs go, refusing one that is not what its digest says.
    pub(crate) fn copy_checked(&self, from: &Path, digest: &str) -> Result<u64> {
        self.copy_checked_to(from, digest, &self.blobs.join(digits(digest)))
    }

    fn copy_checked_to(&self, from: &Path, digest: &str, to: &Path) -> Result<u64> {
        let mut input = self.watch(File::open(from).map_err(Error::io("read", from))?);
        let dir = to.parent().unwrap_or(&self.blobs);
        let mut temp = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create", dir))?;
        let mut out = Hashing::new(&mut temp);
        copy(&mut input, &mut out).map_err(Error::io("copy", from))?;
        let (found, size, _) = out.digest();
        if found != digest {
            return Err(other_bytes(from, digest));
        }
        readable(temp.path()).map_err(Error::io("write", to))?;
        temp.persist(to)
            .map_err(|e| Error::io("write", to)(e.error))?;
        Ok(size)
    }
}

#[cfg(test)]
impl Packer<'static> {
    /// Packs into `blobs`, from nothing and without a cache.
    pub(crate) fn at(blobs: &Path) -> Self {
        Self {
            blobs: blobs.to_owned(),
            repo: None,
            cancel: modelv_repo::Ctx::quiet().cancel,
            progress: &Quiet,
            cache: None,
            packing: Packing::Gzip,
            hurdles: None,
        }
    }
}

fn other_bytes(from: &Path, digest: &str) -> Error {
    Error::Image {
        image: from.display().to_string(),
        detail: format!("blob `{digest}` has other bytes"),
    }
}

/// Lets everybody read a blob, as the image's user will.
fn readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

/// Copies in large pieces: layers are large.
fn copy(mut from: impl Read, to: &mut impl Write) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..n])?;
        total += n as u64;
    }
}

#[cfg(test)]
#[path = "packer_tests.rs"]
mod tests;
