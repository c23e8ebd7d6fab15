//! What is alive: everything that refs, recent operations, unfinished merges and living processes
//! lead to.

use std::collections::HashSet;

use modelv_core::canon::Kind;
use modelv_core::id::{CommitId, RunId, TreeId};
use modelv_store::gc::Collector;
use modelv_store::remote::Item;
use modelv_store::{Error as StoreError, Store};

use crate::ctx::Ctx;
use crate::error::Result;
use crate::lease;
use crate::names;
use crate::oplog::{OpLog, Target};
use crate::remote::walk::{Scope, Step, below};
use crate::repo::Repo;

/// Goes down from all roots, each thing once.
pub(super) struct Marker<'a> {
    repo: &'a Repo,
    store: &'a Store,
    horizon: u64,
    seen: HashSet<Step>,
}

/// What a ref leads to; `None` for names and texts.
pub(crate) fn step_of_target(target: &Target) -> Option<Step> {
    match target {
        Target::Commit(id) => Some(Step::Commit(*id)),
        Target::Run(id) => Some(Step::Run(*id)),
        Target::Blob(id) => Some(Step::Blob(*id, 0)),
        Target::Symbolic(_) | Target::Text(_) => None,
    }
}

/// Where a walk starts that begins with this.
pub(super) fn step_of(item: Item) -> Step {
    match item {
        Item::Blob(id) => Step::Blob(id, 0),
        Item::Object(Kind::Commit, id) => Step::Commit(CommitId(id)),
        Item::Object(Kind::Run, id) => Step::Run(RunId(id)),
        Item::Object(Kind::Tree, id) => Step::Tree(TreeId(id), true),
        Item::Object(_, id) => Step::Env(id),
    }
}

/// A content is the same whatever size somebody expects.
fn bare(step: Step) -> Step {
    match step {
        Step::Blob(id, _) => Step::Blob(id, 0),
        other => other,
    }
}

impl<'a> Marker<'a> {
    pub(super) fn new(repo: &'a Repo, store: &'a Store, horizon: u64) -> Self {
        Self {
            repo,
            store,
            horizon,
            seen: HashSet::new(),
        }
    }

    /// Where everything starts.
    fn roots(&self, log: &OpLog) -> Result<Vec<Step>> {
        let mut roots: Vec<Step> = Vec::new();
        if !super::omit("leases") {
            roots.extend(lease::leased(self.repo.dir())?.into_iter().map(step_of));
        }
        for (name, target) in log.kept_targets(self.horizon) {
            let Some(step) = step_of_target(target) else {
                continue;
            };
            if let (names::MERGE, Target::Blob(blob)) = (name, target)
                && !self.seen.contains(&step)
            {
                let (commits, env, blobs) = self.repo.read_merge_state(*blob)?.needs()?;
                roots.extend(commits.into_iter().map(Step::Commit));
                roots.push(Step::Env(env.0));
                roots.extend(blobs.into_iter().map(|id| Step::Blob(id, 0)));
            }
            roots.push(step);
        }
        Ok(roots)
    }

    /// Whether something came alive since the last [`Marker::mark`].
    pub(super) fn has_new(&self, log: &OpLog) -> Result<bool> {
        Ok(self
            .roots(log)?
            .iter()
            .any(|step| !self.seen.contains(step)))
    }

    /// Marks everything that is alive and not marked yet.
    pub(super) fn mark(
        &mut self,
        log: &OpLog,
        collector: &mut Collector<'_>,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let partial = self.repo.is_partial();
        let scope = Scope::default();
        let mut stack = self.roots(log)?;
        while let Some(step) = stack.pop() {
            let step = bare(step);
            if !self.seen.insert(step) {
                continue;
            }
            ctx.cancel.check()?;
            ctx.progress.advance(1);
            match collector.mark(step.item()) {
                // A clone of a part lacks what it never asked for.
                Err(StoreError::NotFound { .. }) if partial => continue,
                other => other?,
            };
            stack.extend(below(self.store, step, &scope)?);
        }
        Ok(())
    }
}
