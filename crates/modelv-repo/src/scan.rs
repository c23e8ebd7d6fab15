//! Scanning files of the working tree and of commits: whether loading them would run code. The rules
//! are `core::scan`'s; nothing is executed, and a verdict is never kept longer than the call.

use std::fs::File;
use std::path::PathBuf;

use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use modelv_core::scan::{Scan, scan};
use modelv_core::tree::Mode;
use modelv_store::unwrap_io;

use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Scope, SnapFile, place};

/// One file that was looked at.
#[derive(Debug)]
pub struct Scanned {
    /// Its path.
    pub path: String,
    /// What was found.
    pub scan: Scan,
}

impl Repo {
    /// Scans the files of a commit, at and below `paths` or all. Those that are nothing we look into
    /// are left out.
    ///
    /// # Errors
    /// A path names nothing, or content is missing or damaged.
    pub fn scan_commit(
        &self,
        id: CommitId,
        paths: &[RepoPath],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<Scanned>> {
        let files = self.files(id)?;
        // What does not exist has no finding, and would pass for safe.
        let scope = Scope::new(paths);
        if let Some(path) = scope.unknown(files.keys()) {
            return Err(Error::not_found("path", path.to_string()));
        }
        let mut out = Vec::new();
        ctx.progress
            .start("scanning", Unit::Items, Some(files.len() as u64));
        for (path, file) in &files {
            ctx.cancel.check()?;
            ctx.progress.advance(1);
            if paths.is_empty() || scope.holds(path) {
                out.extend(self.scan_stored(path, file)?);
            }
        }
        ctx.progress.finish();
        Ok(out)
    }

    /// Scans a file whose content the store has; `None`: it is nothing we look into.
    ///
    /// # Errors
    /// Content is missing or damaged.
    pub fn scan_stored(&self, path: &RepoPath, file: &SnapFile) -> Result<Option<Scanned>> {
        if !matches!(file.mode, Mode::File | Mode::Executable) {
            return Ok(None);
        }
        let mut source = self.store.open_blob(&file.blob)?;
        let name = path.to_string();
        let scan = scan(&name, &mut source).map_err(unwrap_io)?;
        Ok(told(name, scan))
    }

    /// Scans a file as a side of a comparison has it: in the store, or in the working tree.
    pub(crate) fn scan_side(&self, path: &RepoPath, file: &SnapFile) -> Result<Option<Scanned>> {
        if self.store.has_blob(&file.blob)? {
            return self.scan_stored(path, file);
        }
        if !matches!(file.mode, Mode::File | Mode::Executable) {
            return Ok(None);
        }
        scan_file(&place(self.root(), path), path.to_string())
    }
}

/// Scans files and folders of the disk, without a repository. Links are not followed.
///
/// # Errors
/// A file can't be read.
pub fn scan_disk(paths: &[PathBuf], ctx: &Ctx<'_>) -> Result<Vec<Scanned>> {
    let mut out = Vec::new();
    let mut todo: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    while let Some(path) = todo.pop() {
        ctx.cancel.check()?;
        let kind = std::fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if kind.is_dir() {
            let entries = std::fs::read_dir(&path).map_err(Error::io("read", &path))?;
            let mut below = Vec::new();
            for entry in entries {
                below.push(entry.map_err(Error::io("read", &path))?.path());
            }
            below.retain(|p| p.file_name().is_none_or(|n| n != crate::DIR_NAME));
            below.sort();
            todo.extend(below.into_iter().rev());
        } else if kind.is_file() {
            out.extend(scan_file(&path, path.display().to_string())?);
        }
    }
    Ok(out)
}

fn scan_file(full: &std::path::Path, name: String) -> Result<Option<Scanned>> {
    let mut file = File::open(full).map_err(Error::io("read", full))?;
    let found = scan(&name, &mut file).map_err(Error::io("read", full))?;
    Ok(told(name, found))
}

fn told(path: String, scan: Scan) -> Option<Scanned> {
    let is_known = scan.kind.is_some() || !scan.findings.is_empty();
    is_known.then_some(Scanned { path, scan })
}
