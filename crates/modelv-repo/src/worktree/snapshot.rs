//! Snapshots: the content ids of all files, hashing only what the stat cache does not know.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::{Session, Store};

use super::scan::{Found, Scan, Skipped, scan};
use super::statcache::{Stamp, StatCache};
use super::{Files, Rules, SnapFile};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};

/// The working tree at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Every file.
    pub files: Files,
    /// What can't be versioned.
    pub skipped: Vec<Skipped>,
}

/// A file whose content is not known yet.
struct Work<'a> {
    found: &'a Found,
    /// Known id whose content only has to be stored.
    known: Option<BlobId>,
}

/// Takes a snapshot. With a session, contents the store lacks are stored; else only hashed.
///
/// # Errors
/// A file can't be read, or keeps changing while it is read.
pub fn snapshot(
    root: &Path,
    rules: &Rules,
    cache: &mut StatCache,
    session: Option<&Session<'_>>,
    store: &Store,
    ctx: &Ctx<'_>,
) -> Result<Snapshot> {
    let Scan {
        files: found,
        skipped,
    } = scan(root, ctx)?;
    let mut ids: Vec<Option<(Stamp, BlobId)>> = Vec::with_capacity(found.len());
    let mut work = Vec::new();
    for (number, file) in found.iter().enumerate() {
        let stamp = Stamp::of(&file.meta);
        let known = cache.find(&file.path, &stamp);
        let stored = match (known, session) {
            (Some(id), Some(_)) => store.has_blob(&id)?,
            (known, _) => known.is_some(),
        };
        ids.push(known.map(|id| (stamp, id)));
        if !stored {
            work.push((number, Work { found: file, known }));
        }
    }
    for (number, stamp, blob) in hash_all(root, &work, session, ctx)? {
        ids[number] = Some((stamp, blob));
        cache.insert(found[number].path.clone(), stamp, blob);
    }
    let mut files = Files::new();
    for (file, id) in found.iter().zip(ids) {
        let Some((_, blob)) = id else { continue };
        let (mode, ingredient) = (mode_of(file), rules.classify(&file.path).ingredient);
        let size = file.meta.size();
        files.insert(
            file.path.clone(),
            SnapFile {
                ingredient,
                mode,
                size,
                blob,
            },
        );
    }
    cache.retain(|path| files.contains_key(path));
    Ok(Snapshot { files, skipped })
}

fn mode_of(file: &Found) -> Mode {
    if file.meta.file_type().is_symlink() {
        Mode::Symlink
    } else if file.meta.mode() & 0o100 != 0 {
        Mode::Executable
    } else {
        Mode::File
    }
}

/// Hashes (and stores) files on all cores, largest first so that none is left for the end alone.
fn hash_all(
    root: &Path,
    work: &[(usize, Work<'_>)],
    session: Option<&Session<'_>>,
    ctx: &Ctx<'_>,
) -> Result<Vec<(usize, Stamp, BlobId)>> {
    if work.is_empty() {
        return Ok(Vec::new());
    }
    let total = work.iter().map(|(_, w)| w.found.meta.size()).sum();
    ctx.progress.start(
        if session.is_some() {
            "storing"
        } else {
            "hashing"
        },
        Unit::Bytes,
        Some(total),
    );
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(work.len()));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(work.len()) {
            scope.spawn(|| {
                loop {
                    let Some((number, item)) = work.get(next.fetch_add(1, Ordering::Relaxed))
                    else {
                        return;
                    };
                    let result = ctx
                        .cancel
                        .check()
                        .and_then(|()| hash_one(root, item, session, ctx));
                    match result {
                        Ok((stamp, blob)) => lock(&done).push((*number, stamp, blob)),
                        Err(e) => {
                            lock(&failed).get_or_insert(e);
                            next.store(work.len(), Ordering::Relaxed);
                            return;
                        }
                    }
                }
            });
        }
    });
    ctx.progress.finish();
    match failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(e) => Err(e),
        None => Ok(done
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Absolute place of a path in the working tree.
pub fn place(root: &Path, path: &RepoPath) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn hash_one(
    root: &Path,
    work: &Work<'_>,
    session: Option<&Session<'_>>,
    ctx: &Ctx<'_>,
) -> Result<(Stamp, BlobId)> {
    let path = place(root, &work.found.path);
    // A writer may just be finishing: the second look decides.
    for attempt in 0..2 {
        let before = std::fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        let stamp = Stamp::of(&before);
        if attempt == 0 && stamp != Stamp::of(&work.found.meta) {
            continue;
        }
        let blob = read_one(&path, &before, session, ctx)?;
        let after = std::fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        let same = Stamp::of(&after) == stamp && stamp == Stamp::of(&work.found.meta);
        if same && work.known.is_none_or(|known| known == blob) {
            return Ok((stamp, blob));
        }
    }
    Err(Error::ChangedWhileRead { path })
}

fn read_one(
    path: &Path,
    meta: &std::fs::Metadata,
    session: Option<&Session<'_>>,
    ctx: &Ctx<'_>,
) -> Result<BlobId> {
    if meta.file_type().is_symlink() {
        let target = std::fs::read_link(path).map_err(Error::io("read", path))?;
        let bytes = target.as_os_str().as_bytes();
        return match session {
            Some(session) => Ok(session.put_blob(&mut &bytes[..], bytes.len() as u64)?.0),
            None => Ok(BlobId::of(bytes)),
        };
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut counted = Counted { inner: file, ctx };
    match session {
        Some(session) => match session.put_file(&mut counted, meta.size()) {
            Ok((blob, _)) => Ok(blob),
            Err(modelv_store::Error::Input(_)) if ctx.cancel.is_cancelled() => {
                Err(Error::Cancelled)
            }
            Err(modelv_store::Error::Input(source)) => Err(Error::Io {
                op: "read",
                path: path.to_owned(),
                source,
            }),
            Err(e) => Err(e.into()),
        },
        None => {
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; 1 << 18];
            loop {
                ctx.cancel.check()?;
                let n = counted.read(&mut buffer).map_err(Error::io("read", path))?;
                if n == 0 {
                    return Ok(BlobId(*hasher.finalize().as_bytes()));
                }
                hasher.update(&buffer[..n]);
            }
        }
    }
}

/// Tells the progress how much was read, and stops when asked to.
struct Counted<'a, 'b> {
    inner: File,
    ctx: &'a Ctx<'b>,
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.ctx.cancel.is_cancelled() {
            return Err(std::io::Error::other("interrupted"));
        }
        let n = self.inner.read(buf)?;
        self.ctx.progress.advance(n as u64);
        Ok(n)
    }
}

impl Seek for Counted<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}
