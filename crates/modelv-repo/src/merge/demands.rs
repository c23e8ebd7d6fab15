//! Demands on packages that a merge brought together over several files: told, for no conflict in
//! one file could decide them.

use std::collections::BTreeMap;

use modelv_core::driver::{Asking, clashes, is_asking};
use modelv_core::merge::Outcome;
use modelv_core::path::RepoPath;

use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::Files;

/// Larger files are no lists of demands, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Repo {
    /// What no version meets together, where the merge made it so.
    pub(super) fn demands_apart(
        &self,
        merged: &BTreeMap<RepoPath, Outcome>,
        sides: [&Files; 2],
    ) -> Result<Vec<String>> {
        let mut paths: Vec<&RepoPath> = merged.keys().filter(|p| is_asking(p)).collect();
        paths.sort();
        // As one side has them all, it is that side's own choice.
        let is_of = |side: &&Files, path: &&RepoPath| match &merged[*path] {
            Outcome::Keep(kept) => side.get(*path).is_some_and(|f| f.blob == kept.blob),
            Outcome::Write { .. } => false,
        };
        if sides
            .iter()
            .any(|side| paths.iter().all(|path| is_of(side, path)))
        {
            return Ok(Vec::new());
        }
        let mut asking = Vec::new();
        for path in paths {
            let read = |side: &Files| match side.get(path) {
                Some(file) if file.size <= FILE_BYTES_MAX => self.read_blob(file.blob).map(Some),
                _ => Ok(None),
            };
            let content = match &merged[path] {
                Outcome::Keep(kept) if kept.size > FILE_BYTES_MAX => continue,
                Outcome::Keep(kept) => self.read_blob(kept.blob)?,
                Outcome::Write { bytes, .. } => bytes.clone(),
            };
            asking.push(Asking {
                path,
                merged: content,
                sides: [read(sides[0])?, read(sides[1])?],
            });
        }
        Ok(clashes(&asking))
    }
}
