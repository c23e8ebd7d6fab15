//! Upstreams: which branch of which remote a branch follows, and how far they are apart.

use modelv_core::commit::Commit;
use modelv_core::id::CommitId;

use crate::error::{Error, Result};
use crate::names;
use crate::oplog::RefChange;
use crate::repo::Repo;

/// How the current branch stands to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `origin/main`.
    pub name: String,
    /// Where it was when the remote was last seen; `None`: it is gone, or was never seen.
    pub commit: Option<CommitId>,
    /// Commits here that are not there.
    pub ahead: usize,
    /// Commits there that are not here.
    pub behind: usize,
}

impl Repo {
    /// The upstream of a branch: name of the remote, and of the branch there.
    #[must_use]
    pub fn upstream_of(&self, branch: &str) -> Option<(String, String)> {
        let remote = self.config(&format!("branch.{branch}.remote"))?;
        let merge = self.config(&format!("branch.{branch}.merge"))?;
        Some((remote, names::short(&merge).to_owned()))
    }

    pub(crate) fn upstream_changes(
        &self,
        branch: &str,
        remote: &str,
        theirs: &str,
    ) -> Vec<RefChange> {
        let merge = format!("{}{theirs}", names::HEADS);
        [
            self.config_change(&format!("branch.{branch}.remote"), Some(remote)),
            self.config_change(&format!("branch.{branch}.merge"), Some(&merge)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Makes a branch follow one of a remote.
    ///
    /// # Errors
    /// The operation log can't be written.
    pub fn set_upstream(&mut self, branch: &str, remote: &str, theirs: &str) -> Result<()> {
        let changes = self.upstream_changes(branch, remote, theirs);
        if changes.is_empty() {
            return Ok(());
        }
        self.update_refs(changes).map(drop)
    }

    /// How the current branch stands to its upstream; `None` without one.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn upstream(&self) -> Result<Option<Upstream>> {
        let followed = self
            .head_ref()
            .and_then(|r| self.upstream_of(names::short(r)));
        let Some((remote, branch)) = followed else {
            return Ok(None);
        };
        let name = format!("{remote}/{branch}");
        let theirs = self.ref_commit(&format!("{}{name}", names::REMOTES));
        let (ahead, behind) = match (self.head(), theirs) {
            (Some(ours), Some(theirs)) => self.apart(ours, theirs)?,
            _ => (0, 0),
        };
        Ok(Some(Upstream {
            name,
            commit: theirs,
            ahead,
            behind,
        }))
    }

    /// The parents of a commit that this clone holds: all, unless it was cloned without history.
    pub(crate) fn parents_of(&self, id: CommitId) -> Result<Vec<CommitId>> {
        self.parents_of_commit(&self.commit_object(id)?)
    }

    /// The same, of a commit that is loaded.
    pub(crate) fn parents_of_commit(&self, commit: &Commit) -> Result<Vec<CommitId>> {
        let mut parents = commit.parents.clone();
        if self.is_shallow() {
            let mut here = Vec::new();
            for parent in parents {
                if self.has_commit(parent)? {
                    here.push(parent);
                }
            }
            parents = here;
        }
        Ok(parents)
    }

    pub(crate) fn has_commit(&self, id: CommitId) -> Result<bool> {
        let kind = modelv_core::canon::Kind::Commit;
        self.store.has_object(kind, &id.0).map_err(Error::from)
    }
}
