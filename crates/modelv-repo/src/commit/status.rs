//! What the working tree holds against what HEAD holds, without storing anything.

use std::path::PathBuf;

use modelv_core::commit::Commit;
use modelv_core::id::CommitId;

use crate::capture::env;
use crate::ctx::Ctx;
use crate::envdiff::{EnvChange, diff_env};
use crate::error::Result;
use crate::external::{self, External};
use crate::merge::MergeState;
use crate::remote::Upstream;
use crate::repo::Repo;
use crate::worktree::{FileChange, Look, Rules, Skipped, Trees, compare};

/// How the model of a commit stands to its recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// There is none.
    None,
    /// Made by this recipe.
    Current,
    /// Made by another recipe.
    Stale,
}

/// What `status` tells.
#[derive(Debug)]
pub struct Status {
    /// Branch, or short id when HEAD is detached.
    pub head_label: String,
    /// Whether a branch is checked out.
    pub on_branch: bool,
    /// The checked-out commit.
    pub head: Option<CommitId>,
    /// Files that differ from HEAD.
    pub changes: Vec<FileChange>,
    /// How the environment differs from HEAD's.
    pub env: Vec<EnvChange>,
    /// The model of HEAD.
    pub model: ModelState,
    /// An unfinished merge.
    pub merge: Option<MergeState>,
    /// Paths that can't be versioned, with the reason.
    pub skipped: Vec<Skipped>,
    /// How the branch stands to the one it follows.
    pub upstream: Option<Upstream>,
    /// External data in the working tree.
    pub externals: Vec<External>,
}

/// How a commit's model stands to its recipe.
#[must_use]
pub fn model_state(commit: &Commit) -> ModelState {
    match commit.model {
        None => ModelState::None,
        Some(_) if commit.is_stale() => ModelState::Stale,
        Some(_) => ModelState::Current,
    }
}

impl Repo {
    /// Looks at the working tree without storing anything.
    ///
    /// # Errors
    /// A file can't be read, or the repository is damaged.
    pub fn status(&self, python: Option<PathBuf>, ctx: &Ctx<'_>) -> Result<Status> {
        let rules = self.rules()?;
        let look = self.look(None, ctx)?;
        let head = self.head().map(|id| self.commit_object(id)).transpose()?;
        let old_env = head
            .as_ref()
            .map(|c| self.env_object(c.recipe.env))
            .transpose()?;
        let changes = self.changes_since(head.as_ref(), &look, &rules)?;
        let locks = look.named(env::is_lock_file)?;
        let env = self.capture_env_with(locks, &rules, python)?;
        Ok(Status {
            head_label: self.head_label(),
            on_branch: self.head_ref().is_some(),
            head: self.head(),
            changes,
            env: old_env.map(|old| diff_env(&old, &env)).unwrap_or_default(),
            model: head.as_ref().map_or(ModelState::None, model_state),
            merge: self.merge_state()?,
            externals: self.externals_named(look.named(external::is_name)?, ctx)?,
            skipped: look.skipped,
            upstream: self.upstream()?,
        })
    }

    /// Compares the working tree with a commit; leaves word in the stat cache when they are equal,
    /// so that the next look need not compare.
    fn changes_since(
        &self,
        head: Option<&Commit>,
        look: &Look,
        rules: &Rules,
    ) -> Result<Vec<FileChange>> {
        // A clone of a part never holds all of HEAD's files.
        let whole = head.filter(|_| self.tree_part().is_none());
        let mark = whole.map(|c| Trees::of(c).mark(rules));
        if mark.is_some_and(|m| look.is_known_as(&m)) {
            return Ok(Vec::new());
        }
        if let Some(since) = mark.and_then(|m| look.since(&m, rules)) {
            let changes = compare(&since.old, &since.new);
            let _ = look.save(&self.stat_cache_path(), mark.filter(|_| changes.is_empty()));
            return Ok(changes);
        }
        let old = head.map(|c| self.files_of_commit(c)).transpose()?;
        let changes = compare(&old.unwrap_or_default(), &self.files_of_look(look, rules)?);
        // A cache that can't be written makes the next call slower, nothing else.
        let _ = look.save(&self.stat_cache_path(), mark.filter(|_| changes.is_empty()));
        Ok(changes)
    }
}
