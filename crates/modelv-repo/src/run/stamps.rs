//! What files looked like to the file system when a run began: one that was written meanwhile is found though
//! it holds again what it held, for nobody knows what the program read between.

use std::path::Path;

use modelv_core::path::RepoPath;

use crate::worktree::{StatStamp, place};

/// Stamps of files; of one that is not there, none.
#[derive(Debug, Default)]
pub(crate) struct Stamps(Vec<(RepoPath, Option<StatStamp>)>);

fn stamp(root: &Path, path: &RepoPath) -> Option<StatStamp> {
    StatStamp::at(&place(root, path))
}

impl Stamps {
    /// The stamps of files as they are now.
    pub(crate) fn take<'p>(root: &Path, paths: impl Iterator<Item = &'p RepoPath>) -> Self {
        Self(paths.map(|p| (p.clone(), stamp(root, p))).collect())
    }

    /// The files that were written since.
    pub(crate) fn written(&self, root: &Path) -> impl Iterator<Item = &RepoPath> {
        let is_other = |(path, was): &&(RepoPath, Option<StatStamp>)| stamp(root, path) != *was;
        self.0.iter().filter(is_other).map(|(path, _)| path)
    }
}
