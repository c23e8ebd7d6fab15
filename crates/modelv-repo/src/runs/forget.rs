//! Forgetting runs: the refs that name them go, and with them, at the next `gc`, what nothing else needs.
//! One operation, so that `undo` brings them back. Must never take a run away that a commit names.

use std::collections::HashSet;

use modelv_core::id::{CommitId, RunId};
use modelv_core::run::Status;

use crate::error::Result;
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;

/// Which runs are to be forgotten.
#[derive(Debug, Clone, Default)]
pub struct ForgetQuery {
    /// These, whatever became of them.
    pub runs: Vec<RunId>,
    /// All that ended so.
    pub statuses: Vec<Status>,
    /// Of those that ended so, only such as started before this, in seconds since 1970.
    pub before: Option<i64>,
}

/// What was, or would be, forgotten.
#[derive(Debug, Clone, Default)]
pub struct Forgotten {
    /// These runs.
    pub runs: Vec<RunId>,
    /// These were meant as well, and stay: commits name them.
    pub kept: Vec<RunId>,
}

impl Repo {
    /// Which runs a query means.
    ///
    /// # Errors
    /// A run or a commit is missing or damaged.
    pub fn forgettable(&self, query: &ForgetQuery) -> Result<Forgotten> {
        let index = self.run_index()?;
        let by_name: HashSet<RunId> = query.runs.iter().copied().collect();
        let is_meant = |id: RunId, status: Status, started: i64| {
            let is_old = query.before.is_none_or(|before| started < before);
            by_name.contains(&id) || query.statuses.contains(&status) && is_old
        };
        let mut found = Forgotten::default();
        let meant = index
            .entries()
            .filter(|e| is_meant(e.id, e.status, e.started));
        let meant: Vec<RunId> = meant.map(|e| e.id).collect();
        if meant.is_empty() {
            return Ok(found);
        }
        let named = self.runs_of_commits()?;
        let (kept, runs) = meant.into_iter().partition(|id| named.contains(id));
        found.kept = kept;
        found.runs = runs;
        Ok(found)
    }

    /// Forgets runs. A remote that has them gives them back with the next fetch.
    ///
    /// # Errors
    /// As [`Repo::forgettable`]; another process was faster.
    pub fn forget_runs(&mut self, query: &ForgetQuery) -> Result<Forgotten> {
        let found = self.forgettable(query)?;
        let change = |id: &RunId| RefChange {
            name: format!("{}{id}", names::RUNS),
            old: Some(Target::Run(*id)),
            new: None,
        };
        if !found.runs.is_empty() {
            self.update_refs(found.runs.iter().map(change).collect())?;
        }
        Ok(found)
    }

    /// Runs that commits name which a ref leads to.
    fn runs_of_commits(&self) -> Result<HashSet<RunId>> {
        let mut stack: Vec<CommitId> = self.log.refs.values().filter_map(Target::commit).collect();
        let (mut seen, mut runs) = (HashSet::new(), HashSet::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.commit_object(id) {
                Ok(commit) => {
                    runs.extend(commit.runs);
                    stack.extend(commit.parents);
                }
                // A clone of one commit does not hold what was before it.
                Err(_) if self.is_partial() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(runs)
    }
}
