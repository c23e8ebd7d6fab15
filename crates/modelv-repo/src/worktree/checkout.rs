//! Writing the working tree: first a plan that refuses to lose anything, then its execution.
//!
//! Every file is written under a temporary name beside its place and renamed. Parents are opened
//! one below the other without following links, so that a link can't lead out of the tree.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::{Store, fs};
use rustix::fs::{CWD, Mode as Bits, OFlags, ResolveFlags};

use super::snapshot::place;
use super::statcache::{Stamp, StatCache};
use super::{Files, SnapFile};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};

/// What is to be done to the working tree.
#[derive(Debug, Default)]
pub struct Plan {
    write: Vec<(RepoPath, SnapFile)>,
    delete: Vec<RepoPath>,
}

fn same(a: Option<&SnapFile>, b: Option<&SnapFile>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => (a.mode, a.blob) == (b.mode, b.blob),
        _ => false,
    }
}

/// Plans the way from `from` to `to` in a working tree that holds `current`.
///
/// # Errors
/// [`Error::WouldOverwrite`] names every path whose uncommitted content would be lost.
pub fn plan(
    root: &Path,
    current: &Files,
    from: &Files,
    to: &Files,
    action: &'static str,
) -> Result<Plan> {
    let paths: BTreeSet<&RepoPath> = from.keys().chain(to.keys()).collect();
    let mut plan = Plan::default();
    let mut lost = Vec::new();
    for path in paths {
        let (now, old, new) = (current.get(path), from.get(path), to.get(path));
        if same(old, new) || same(now, new) {
            continue;
        }
        // An ignored file in the way is not in `current`, but it is somebody's all the same.
        let in_the_way = now.is_none() && old.is_none() && place(root, path).is_file();
        if !same(now, old) || in_the_way {
            lost.push(path.to_string());
            continue;
        }
        match new {
            Some(file) => plan.write.push((path.clone(), file.clone())),
            None => plan.delete.push(path.clone()),
        }
    }
    // A new directory where an uncommitted file is, and the reverse.
    for (path, _) in &plan.write {
        let blocked = current.keys().find(|p| {
            let uncommitted = !from.contains_key(*p);
            uncommitted
                && (p.is_within(path.as_bytes()) || path.is_within(p.as_bytes()))
                && *p != path
        });
        lost.extend(blocked.map(ToString::to_string));
    }
    if !lost.is_empty() {
        lost.sort();
        lost.dedup();
        return Err(Error::WouldOverwrite {
            action,
            paths: lost,
        });
    }
    Ok(plan)
}

impl Plan {
    /// Carries the plan out.
    ///
    /// # Errors
    /// Content is missing or damaged, or a file can't be written. Files already written stay.
    pub fn apply(
        &self,
        root: &Path,
        store: &Store,
        cache: &mut StatCache,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        // All content must be there before anything is touched.
        for (_, file) in &self.write {
            if !store.has_blob(&file.blob)? {
                return Err(Error::not_found("file content", file.blob.to_hex()));
            }
        }
        for path in &self.delete {
            ctx.cancel.check()?;
            delete(root, path)?;
        }
        let total = self.write.iter().map(|(_, f)| f.size).sum();
        ctx.progress
            .start("writing files", Unit::Bytes, Some(total));
        // Links last: no file is ever written through one of ours.
        for links in [false, true] {
            for (path, file) in &self.write {
                if (file.mode == Mode::Symlink) == links {
                    ctx.cancel.check()?;
                    write(root, path, file, store, ctx)?;
                    let meta = place(root, path);
                    if let Ok(meta) = std::fs::symlink_metadata(meta) {
                        cache.insert(path, Stamp::of(&meta), file.blob);
                    }
                }
            }
        }
        ctx.progress.finish();
        Ok(())
    }
}

/// Writes files into a folder that is empty or missing.
///
/// # Errors
/// The folder has content, or something can't be written.
pub fn export(files: &Files, store: &Store, dest: &Path, ctx: &Ctx<'_>) -> Result<()> {
    fs::create_dirs(dest).map_err(Error::io("create", dest))?;
    let mut inside = std::fs::read_dir(dest).map_err(Error::io("read", dest))?;
    if inside.next().is_some() {
        return Err(Error::Exists {
            what: "folder with content",
            name: dest.display().to_string(),
        });
    }
    let plan = plan(dest, &Files::new(), &Files::new(), files, "export")?;
    plan.apply(dest, store, &mut StatCache::default(), ctx)
}

/// Opens the parent directory of a path, making it if asked to, without following links.
fn open_parent(root: &Path, path: &RepoPath, make: bool) -> Result<OwnedFd> {
    let full = place(root, path);
    let io = |e: rustix::io::Errno| Error::io("open", &full)(e.into());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::openat(CWD, root, flags, Bits::empty()).map_err(io)?;
    let names: Vec<&[u8]> = path.names().collect();
    for name in &names[..names.len() - 1] {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let open = |dir: &OwnedFd| rustix::fs::openat2(dir, *name, flags, Bits::empty(), beneath);
        dir = match open(&dir) {
            Err(rustix::io::Errno::NOENT) if make => {
                fs::create_dir_at(dir.as_fd(), name).map_err(Error::io("create", &full))?;
                open(&dir).map_err(io)?
            }
            other => other.map_err(io)?,
        };
    }
    Ok(dir)
}

fn delete(root: &Path, path: &RepoPath) -> Result<()> {
    let full = place(root, path);
    match open_parent(root, path, false) {
        Ok(dir) => match fs::remove_at(dir.as_fd(), path.name()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("delete", &full)(e));
            }
            _ => {}
        },
        // The whole directory is gone already.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // Directories that are empty now; one that is not stays.
    let mut at = full.parent();
    while let Some(dir) = at.filter(|d| *d != root && d.starts_with(root)) {
        if fs::remove_dir(dir).is_err() {
            break;
        }
        at = dir.parent();
    }
    Ok(())
}

fn write(
    root: &Path,
    path: &RepoPath,
    file: &SnapFile,
    store: &Store,
    ctx: &Ctx<'_>,
) -> Result<()> {
    let full = place(root, path);
    let io = |e| Error::io("write", &full)(e);
    let dir = open_parent(root, path, true)?;
    let temp = format!(
        ".mv-tmp-{}",
        modelv_core::id::to_hex(&crate::oplog::nonce())
    );
    let result = (|| {
        let mut reader = store.open_blob(&file.blob)?;
        if file.mode == Mode::Symlink {
            let mut target = Vec::new();
            reader
                .take(4096)
                .read_to_end(&mut target)
                .map_err(Error::io("write", &full))?;
            let target = Path::new(std::ffi::OsStr::from_bytes(&target));
            fs::link_at(dir.as_fd(), temp.as_bytes(), target).map_err(io)?;
        } else {
            let bits = if file.mode == Mode::Executable {
                0o777
            } else {
                0o666
            };
            let mut out = fs::create_new_at(dir.as_fd(), temp.as_bytes(), bits).map_err(io)?;
            let mut buffer = vec![0; 1 << 18];
            loop {
                ctx.cancel.check()?;
                let n = match reader.read(&mut buffer) {
                    Ok(n) => n,
                    Err(e) => return Err(content_error(&full, e)),
                };
                if n == 0 {
                    break;
                }
                fs::write_all(&mut out, &buffer[..n]).map_err(io)?;
                ctx.progress.advance(n as u64);
            }
        }
        // An empty directory in the way was one of ours, emptied by the deletions.
        if full.is_dir() && !full.is_symlink() {
            let _ = fs::remove_dir(&full);
        }
        fs::replace_at(dir.as_fd(), temp.as_bytes(), path.name()).map_err(io)
    })();
    if result.is_err() {
        let _ = fs::remove_at(dir.as_fd(), temp.as_bytes());
    }
    result
}

fn content_error(path: &Path, e: std::io::Error) -> Error {
    match e.downcast::<modelv_store::Error>() {
        Ok(inner) => inner.into(),
        Err(e) => Error::io("write", path)(e),
    }
}
