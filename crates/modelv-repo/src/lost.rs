//! Which files can't be read any more, by the names people know: a damaged pack names only chunks.
//! Must never write.

use std::collections::HashSet;

use modelv_core::id::CommitId;
use modelv_store::gc::State;

use crate::error::Result;
use crate::repo::Repo;

impl Repo {
    /// Reads the content of every file of every commit, and names those that are damaged, each with
    /// one commit that has it. What is not here at all [`Self::check_reachable`] names.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn lost_files(&self) -> Result<Vec<(String, CommitId)>> {
        let horizon = State::read(self.dir()).map_or(u64::MAX, |s| s.horizon);
        let whole = self.oplog().whole()?;
        let log = whole.as_ref().unwrap_or(self.oplog());
        let targets = log.kept_targets(horizon);
        let mut commits: Vec<CommitId> = targets.filter_map(|(_, t)| t.commit()).collect();
        let (mut seen, mut read) = (HashSet::new(), HashSet::new());
        let mut lost = Vec::new();
        while let Some(id) = commits.pop() {
            if !seen.insert(id) {
                continue;
            }
            // Commits and directories that can't be read are named by others.
            let Ok(commit) = self.commit_object(id) else {
                continue;
            };
            for (path, file) in self.files_of_commit(&commit).unwrap_or_default() {
                let is_new = read.insert(file.blob);
                if !is_new || self.store.blob_size(&file.blob)?.is_none() {
                    continue;
                }
                let content = self.store.open_blob(&file.blob);
                let whole = content.is_ok_and(|mut content| {
                    std::io::copy(&mut content, &mut std::io::sink()).is_ok()
                });
                if !whole {
                    lost.push((path.to_string(), id));
                }
            }
            commits.extend(commit.parents);
        }
        Ok(lost)
    }
}
