//! Changing the working tree: first a plan that refuses to lose anything, then its execution
//! (`write.rs`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use modelv_core::merge::join;
use modelv_core::path::{RepoPath, folders_of, parent_of};
use modelv_store::{Store, fs};

use super::beneath::Root;
use super::fold;
use super::snapshot::place;
use super::statcache::StatCache;
use super::write::Writing;
use super::{Files, SnapFile};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};

/// What is to be done to the working tree.
#[derive(Debug, Default)]
pub struct Plan {
    write: Vec<(RepoPath, SnapFile)>,
    delete: Vec<RepoPath>,
    externals: BTreeMap<RepoPath, Origin>,
}

/// Where the content of external data is.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// In the store, as that of others.
    Store,
    /// In a file that was checked.
    File(PathBuf),
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
/// [`Error::WouldOverwrite`] names every path whose uncommitted content would be lost,
/// [`Error::InTheWay`] what no commit has, if it is nothing else.
pub fn plan(
    root: &Path,
    current: &Files,
    from: &Files,
    to: &Files,
    action: &'static str,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let (mut lost, mut in_the_way) = (Vec::new(), Vec::new());
    for (path, old, new) in join(from, to).filter(|(_, old, new)| !same(*old, *new)) {
        let now = current.get(path);
        if same(now, new) {
            continue;
        }
        // An ignored file in the way is not in `current`, but it is somebody's all the same.
        let is_ignored = now.is_none()
            && old.is_none()
            && std::fs::symlink_metadata(place(root, path)).is_ok_and(|m| !m.is_dir());
        if !same(now, old) || is_ignored {
            let of = match old {
                Some(_) => &mut lost,
                None => &mut in_the_way,
            };
            of.push(path.to_string());
            continue;
        }
        match new {
            Some(file) => plan.write.push((path.clone(), file.clone())),
            None => plan.delete.push(path.clone()),
        }
    }
    // A new directory where an uncommitted file is, and the reverse.
    let uncommitted = join(current, from).filter(|(_, _, old)| old.is_none());
    let uncommitted: Others<'_> = uncommitted.map(|(p, ..)| (p.as_bytes(), p)).collect();
    for (path, _) in &plan.write {
        in_the_way.extend(in_the_way_of(path, &uncommitted).map(ToString::to_string));
    }
    in_the_way.extend(blockers(root, &plan)?);
    for paths in [&mut lost, &mut in_the_way] {
        paths.sort();
        paths.dedup();
    }
    match (lost.is_empty(), in_the_way.is_empty()) {
        (true, true) => Ok(plan),
        (true, false) => Err(Error::InTheWay {
            action,
            paths: in_the_way,
        }),
        _ => Err(Error::WouldOverwrite {
            action,
            paths: lost,
        }),
    }
}

type Others<'a> = BTreeMap<&'a [u8], &'a RepoPath>;

/// A path that can't be a file while `path` is one: above it or below it.
fn in_the_way_of<'a>(path: &RepoPath, others: &Others<'a>) -> Option<&'a RepoPath> {
    let name = path.as_bytes();
    let above = folders_of(name).find_map(|folder| others.get(folder));
    let inside = [name, b"/"].concat();
    let behind = (Bound::Included(&*inside), Bound::Unbounded);
    let below = others.range::<[u8], _>(behind).next();
    let below = below.filter(|(p, _)| p.starts_with(&inside));
    above.or(below.map(|(_, path)| path)).copied()
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
    /// The files that are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&RepoPath, &SnapFile)> {
        self.write.iter().map(|(path, file)| (path, file))
    }

    /// Says which of its files are external data, and where their contents are.
    pub(crate) fn set_externals(&mut self, externals: BTreeMap<RepoPath, Origin>) {
        self.externals = externals;
    }

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
        for (path, file) in &self.write {
            let is_at_hand = matches!(self.externals.get(path), Some(Origin::File(_)));
            if !is_at_hand && !store.has_blob(&file.blob)? {
                return Err(Error::not_found("file content", file.blob.to_hex()));
            }
        }
        let root = Root::open(root)?;
        if self.write.len() > 1 && root.folds_names() {
            fold::refuse_twins(self.write.iter().map(|(path, _)| path))?;
        }
        let done = self.carry_out(&root, store, cache, ctx);
        if done.is_err() {
            ctx.progress.note(
                "not all files were written: `modelv status` shows which, `modelv restore .` brings those of HEAD back",
            );
        }
        done
    }

    /// What can be read is written before anything goes.
    fn carry_out(
        &self,
        root: &Root,
        store: &Store,
        cache: &mut StatCache,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let (first, last) = self.deletions(root.folds_names());
        for path in first {
            ctx.cancel.check()?;
            root.delete(path)?;
        }
        let total = self.write.iter().map(|(_, f)| f.size).sum();
        ctx.progress
            .start("writing files", Unit::Bytes, Some(total));
        let written = Writing::new(root, store, &self.externals, ctx).all(&self.write);
        ctx.progress.finish();
        for ((path, file), stamp) in written? {
            // The walk of the working tree leaves external data out.
            if !self.externals.contains_key(path) {
                cache.insert(path, stamp, file.blob);
            }
        }
        for path in last {
            ctx.cancel.check()?;
            root.delete(path)?;
        }
        Ok(())
    }

    /// What has to make room for a new file, and what can wait. Where names fold, one may be the other.
    fn deletions(&self, folds: bool) -> (Vec<&RepoPath>, Vec<&RepoPath>) {
        let written = self.write.iter().map(|(path, _)| (path.as_bytes(), path));
        let written: Others<'_> = written.collect();
        self.delete
            .iter()
            .partition(|path| folds || in_the_way_of(path, &written).is_some())
    }
}

/// Plans to write files into a folder that is empty or missing.
///
/// # Errors
/// The folder has content, or can't be made.
pub(crate) fn plan_export(files: &Files, dest: &Path) -> Result<Plan> {
    fs::create_dirs(dest).map_err(Error::io("create", dest))?;
    let mut inside = std::fs::read_dir(dest).map_err(Error::io("read", dest))?;
    if inside.next().is_some() {
        return Err(Error::Exists {
            what: "folder with content",
            name: dest.display().to_string(),
        });
    }
    plan(dest, &Files::new(), &Files::new(), files, "export")
}
