//! Deciding conflicts, one after the other: in the file of the working tree that carries it, or in the
//! environment of the merge. Must never take for decided what nobody has decided.

use modelv_core::driver::{self, Item};
use modelv_core::env::Env;
use modelv_core::merge::Side;

use super::Decision;
use super::state::{ConflictState, MergeState};
use crate::ctx::Ctx;
use crate::envdiff::take_item;
use crate::error::{Error, Result};
use crate::repo::{DOCUMENT_BYTES_MAX, Repo};
use crate::worktree::{Files, SnapFile};

impl Repo {
    /// Decides one conflict. `undo` brings back what that writes over.
    ///
    /// # Errors
    /// No such conflict, or the decision does not fit it.
    pub fn resolve_conflict(
        &mut self,
        item: &str,
        decision: &Decision,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let _turn = self.take_turn()?;
        let Some(mut state) = self.merge_state()? else {
            return Err(Error::State("no merge is under way".into()));
        };
        let before = self.stored_worktree(ctx)?;
        self.settle(&mut state, item, decision, ctx)?;
        let after = self.stored_worktree(ctx)?;
        let mut changes = self.overwritten_changes(&before, &after, ctx)?;
        let wrote = !changes.is_empty();
        changes.push(self.merge_state_change(Some(&state))?);
        self.append(changes, wrote, None).map(drop)
    }

    /// The working tree, with all that it holds in the store: what somebody wrote into a conflict by hand is
    /// in no commit yet.
    fn stored_worktree(&self, ctx: &Ctx<'_>) -> Result<Files> {
        let session = self.store.begin()?;
        let files = self.snapshot(&self.rules()?, Some(&session), ctx)?.files;
        session.finish()?;
        Ok(files)
    }

    fn settle(
        &self,
        state: &mut MergeState,
        item: &str,
        decision: &Decision,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let at = ConflictState::find(&state.conflicts, item);
        if let Decision::Weights(method) = decision {
            self.settle_weights(state, item, method, ctx)?;
            if let Ok(at) = at {
                state.conflicts[at].resolved = true;
            }
            return Ok(());
        }
        let at = at?;
        let conflict = state.conflicts[at].clone();
        if let (Some(was), Some(twin)) = (conflict.was(), conflict.twin()) {
            return self.settle_place(state, &conflict, [was, twin], decision, ctx);
        }
        match (conflict.kind.as_str(), &conflict.part) {
            ("env", Some(part)) => self.settle_env(state, part, decision)?,
            (_, Some(_)) => self.settle_part(&conflict, decision)?,
            (_, None) => self.settle_file(&conflict, decision, ctx)?,
        }
        state.conflicts[at].resolved = true;
        Ok(())
    }

    fn settle_env(&self, state: &mut MergeState, part: &str, decision: &Decision) -> Result<()> {
        let merged = self.env_object(state.env_id()?)?;
        let from = match decision {
            Decision::Ours => Some(self.get_head()?),
            Decision::Theirs => self.theirs_of(state)?,
            _ => {
                let reason = "an installed package is decided with --ours or --theirs";
                return Err(Error::invalid("decision", part, reason));
            }
        };
        let from = match from {
            Some(id) => self.env_object(self.commit_object(id)?.recipe.env)?,
            None => Env::none(),
        };
        let env = take_item(&merged, &from, part);
        let session = self.store.begin()?;
        session.put_object(&env)?;
        session.finish()?;
        state.env = env.id().to_hex();
        Ok(())
    }

    fn settle_part(&self, conflict: &ConflictState, decision: &Decision) -> Result<()> {
        let value = match decision {
            Decision::Base => conflict.base.clone(),
            Decision::Ours => conflict.ours.clone(),
            Decision::Theirs => conflict.theirs.clone(),
            Decision::Value(text) => Some(text.clone()),
            Decision::AsEdited => return Ok(()),
            Decision::Weights(_) => return Err(no_weights(conflict)),
        };
        let path = conflict.repo_path()?;
        let full = crate::worktree::place(self.root(), &path);
        let part = conflict.part.clone().unwrap_or_default();
        let item = match conflict.kind.as_str() {
            "key" => Item::Key(part),
            _ => Item::Package(part),
        };
        let is_large = |m: std::fs::Metadata| m.len() > DOCUMENT_BYTES_MAX;
        if driver::is_packed(path.as_bytes()) || std::fs::metadata(&full).is_ok_and(is_large) {
            return self.settle_large_part(conflict, item, value);
        }
        let bytes = std::fs::read(&full).map_err(Error::io("read", &full))?;
        let kind = driver::choose(path.as_bytes(), &bytes);
        let settled = driver::settle(kind, &bytes, &item, value.as_deref())
            .map_err(|e| Error::invalid("decision", conflict.item.clone(), e.to_string()))?;
        crate::worktree::replace_file(self.root(), &path, &settled)
    }

    fn settle_file(
        &self,
        conflict: &ConflictState,
        decision: &Decision,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let path = conflict.repo_path()?;
        let full = crate::worktree::place(self.root(), &path);
        let side = match decision {
            Decision::Base => &conflict.base_file,
            Decision::Ours => &conflict.ours_file,
            Decision::Theirs => &conflict.theirs_file,
            Decision::Value(text) => {
                return crate::worktree::replace_file(self.root(), &path, text.as_bytes());
            }
            Decision::Weights(_) => return Err(no_weights(conflict)),
            Decision::AsEdited => {
                if carries_markers(&full) {
                    let text = format!("`{path}` still carries conflict markers");
                    return Err(Error::State(text));
                }
                return self.refuse_unsaid(conflict, ctx);
            }
        };
        let current = self.snapshot(&self.rules()?, None, ctx)?.files;
        let mut to = current.clone();
        match side {
            None => {
                to.remove(&path);
            }
            Some(stored) => {
                let Side { mode, size, blob } = stored.side()?;
                let ingredient = self.rules()?.classify(&path).ingredient;
                to.insert(
                    path,
                    SnapFile {
                        ingredient,
                        mode,
                        size,
                        blob,
                    },
                );
            }
        }
        self.check_out_files(&current, &to, "resolve", ctx)
    }
}

/// Whether a file has conflict markers. A larger one never gets any.
pub(crate) fn carries_markers(full: &std::path::Path) -> bool {
    std::fs::metadata(full).is_ok_and(|m| m.len() <= DOCUMENT_BYTES_MAX)
        && std::fs::read(full).is_ok_and(|b| driver::has_markers(&b))
}

pub(super) fn no_weights(conflict: &ConflictState) -> Error {
    let reason = "only a file of the model has weights";
    Error::invalid("decision", conflict.item.clone(), reason)
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
