//! Writing the working tree: first a plan that refuses to lose anything, then its execution.
//!
//! Every file is written under a temporary name beside its place and renamed, through a handle of
//! its directory ([`super::beneath`]), so that no link can lead out of the tree.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::Store;

use super::beneath::{Missing, Root, parent_of, temp_name};
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
        let in_the_way = now.is_none()
            && old.is_none()
            && std::fs::symlink_metadata(place(root, path)).is_ok_and(|m| !m.is_dir());
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
    lost.extend(blockers(root, &plan)?);
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

/// Links and files that stay where a directory must be: of a path that is ignored, say.
fn blockers(root: &Path, plan: &Plan) -> Result<Vec<String>> {
    let root = Root::open(root)?;
    let mut dirs: Vec<&RepoPath> = plan.write.iter().map(|(path, _)| path).collect();
    dirs.dedup_by_key(|path| parent_of(path.as_bytes()));
    let blockers = dirs.into_iter().filter_map(|path| root.blocker(path));
    Ok(blockers
        .filter(|by| plan.delete.binary_search(by).is_err())
        .map(|by| by.to_string())
        .collect())
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
        let root = Root::open(root)?;
        for path in &self.delete {
            ctx.cancel.check()?;
            root.delete(path)?;
        }
        let total = self.write.iter().map(|(_, f)| f.size).sum();
        ctx.progress
            .start("writing files", Unit::Bytes, Some(total));
        // Links last: no file is ever written through one of ours.
        for links in [false, true] {
            for (path, file) in &self.write {
                if (file.mode == Mode::Symlink) == links {
                    ctx.cancel.check()?;
                    if let Some(stamp) = write(&root, path, file, store, ctx)? {
                        cache.insert(path, stamp, file.blob);
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
    std::fs::create_dir_all(dest).map_err(Error::io("create", dest))?;
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

/// Writes one file; returns the stamp of what is there now.
fn write(
    root: &Root,
    path: &RepoPath,
    file: &SnapFile,
    store: &Store,
    ctx: &Ctx<'_>,
) -> Result<Option<Stamp>> {
    let folder = root.parent(path, Missing::Make)?;
    let full = folder.full(path.name());
    let temp = temp_name();
    let result = (|| {
        let mut reader = store.open_blob(&file.blob)?;
        if file.mode == Mode::Symlink {
            let mut target = Vec::new();
            // Longer than any can be: the kernel refuses what is cut off here.
            let read = reader.take(4096).read_to_end(&mut target);
            read.map_err(|e| content_error(&full, e))?;
            folder.link(&target, &temp)?;
        } else {
            let mut out = folder.create(&temp, file.mode == Mode::Executable)?;
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
                out.write_all(&buffer[..n])
                    .map_err(Error::io("write", &full))?;
                ctx.progress.advance(n as u64);
            }
        }
        folder.rename(&temp, path.name())
    })();
    if result.is_err() {
        let _ = folder.delete(&temp);
    }
    result.map(|()| folder.stamp(path.name()))
}

fn content_error(path: &Path, e: std::io::Error) -> Error {
    match e.downcast::<modelv_store::Error>() {
        Ok(inner) => inner.into(),
        Err(e) => Error::io("write", path)(e),
    }
}
