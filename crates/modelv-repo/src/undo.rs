//! Taking operations back, one after the other.
//!
//! Every call either takes back the last operation that was not taken back yet, or says why it can't. Names that
//! only note something (where a remote was last seen, what was put aside) may have gone on since: they stay then,
//! so that no operation is for ever in the way of those before it. The record of an alias is never taken away:
//! that it went back is a move of its own.

use std::collections::HashSet;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{Operation, RefChange, Refs, Target};
use crate::repo::Repo;
use crate::restore::restored;
use crate::worktree::Files;

/// What `undo` did.
#[derive(Debug)]
pub struct Undone {
    /// The command that was taken back.
    pub command: String,
    /// The refs that moved back.
    pub changes: Vec<RefChange>,
    /// Whether files were brought back too.
    pub worktree: bool,
    /// Whether the same command had put files aside, which the next `undo` brings back.
    pub has_more: bool,
}

/// Where a name only notes something that goes on without the operation.
const NOTES: [&str; 5] = [
    names::REMOTES,
    names::REMOTE_ALIASES,
    names::MERGE_FILES,
    names::RESTORE_BEFORE,
    names::RESTORE_AFTER,
];

/// Whether an operation only notes what a remote has: taking that back would change nothing there.
fn is_note(operation: &Operation) -> bool {
    let is_seen =
        |name: &str| name.starts_with(names::REMOTES) || name.starts_with(names::REMOTE_ALIASES);
    operation.changes.iter().all(|c| is_seen(&c.name))
}

/// Whether an operation took the move of an alias over from a remote.
fn came_from_remote(operation: &Operation, alias: &RefChange) -> bool {
    let name = alias.name.strip_prefix(names::ALIASES).unwrap_or_default();
    let end = format!("/{name}");
    let is_seen = |c: &RefChange| {
        c.name.starts_with(names::REMOTE_ALIASES) && c.name.ends_with(&end) && c.new == alias.new
    };
    operation.changes.iter().any(is_seen)
}

/// Carries changes out among some refs.
fn apply(refs: &mut Refs, changes: &[RefChange]) {
    for change in changes {
        match &change.new {
            Some(t) => refs.insert(change.name.clone(), t.clone()),
            None => refs.remove(&change.name),
        };
    }
}

impl Repo {
    /// Takes the last operation back that has not been taken back yet. Called again, the one before.
    ///
    /// # Errors
    /// There is none, or uncommitted changes would be lost.
    pub fn undo(&mut self, ctx: &Ctx<'_>) -> Result<Undone> {
        let _turn = self.take_turn()?;
        let whole = self.log.whole()?;
        let log = whole.as_ref().unwrap_or(&self.log);
        let undone: HashSet<u64> = log.operations.iter().filter_map(|o| o.undoes).collect();
        let is_done = |o: &&Operation| {
            o.undoes.is_none() && !undone.contains(&o.seq) && o.seq > 0 && !is_note(o)
        };
        let mut last = log.operations.iter().rev().filter(is_done).cloned();
        let (last, before) = (last.next(), last.next());
        let Some(operation) = last else {
            return Err(Error::State("there is nothing to undo".into()));
        };
        if operation.seq < modelv_store::gc::State::read(self.dir())?.horizon {
            let text = "the operations before were given up by `gc`: they can't be undone any more";
            return Err(Error::State(text.into()));
        }
        let mut changes = self.changes_back(&operation, ctx)?;
        if operation.worktree {
            changes.extend(self.undo_files(&operation, &changes, ctx)?);
        }
        let mut worktree = operation.worktree;
        let mut refs = self.log.refs.clone();
        apply(&mut refs, &changes);
        let (held, wanted) = (self.tree_part(), Self::part_of(&refs));
        if !worktree && held != wanted {
            // The setting alone would say that files are to be here which are not: the next commit would
            // take them for deleted.
            self.refuse_while_merging("undo")?;
            self.refuse_while_running("undo")?;
            worktree = true;
            let back = changes.clone();
            let note = |repo: &mut Self| repo.append(back, false, Some(operation.seq)).map(drop);
            self.change_part(held.as_ref(), wanted.as_ref(), "undo", note, ctx)?;
        } else {
            self.append(changes.clone(), worktree, Some(operation.seq))?;
        }
        // A run first puts aside what it writes over, and then commits.
        let is_half = |b: &Operation| {
            restored(b).is_some()
                && restored(&operation).is_none()
                && b.seq + 1 == operation.seq
                && b.command == operation.command
        };
        Ok(Undone {
            has_more: before.as_ref().is_some_and(is_half),
            command: operation.command,
            changes,
            worktree,
        })
    }

    /// The changes that take those of an operation back, as far as its names are still what it made of them.
    fn changes_back(&self, operation: &Operation, ctx: &Ctx<'_>) -> Result<Vec<RefChange>> {
        let mut back = Vec::new();
        for change in &operation.changes {
            let now = self.log.refs.get(&change.name);
            let is_alias = change.name.starts_with(names::ALIASES);
            if is_alias && !came_from_remote(operation, change) {
                back.extend(self.alias_back(change, &operation.command, ctx)?);
                continue;
            }
            let is_note = is_alias || NOTES.iter().any(|note| change.name.starts_with(note));
            if is_note && now != change.new.as_ref() {
                continue;
            }
            back.push(RefChange {
                name: change.name.clone(),
                old: change.new.clone(),
                new: change.old.clone(),
            });
        }
        Ok(back)
    }

    /// Brings the working tree to what it was before an operation. Gives a change of its own where
    /// the working tree of a merge is given up.
    fn undo_files(
        &self,
        operation: &Operation,
        changes: &[RefChange],
        ctx: &Ctx<'_>,
    ) -> Result<Option<RefChange>> {
        if let Some(kept) = restored(operation) {
            self.undo_restored(kept, ctx)?;
            return Ok(None);
        }
        let mut refs = self.log.refs.clone();
        apply(&mut refs, changes);
        let before = match refs.get(names::HEAD) {
            Some(Target::Symbolic(name)) => refs.get(name).cloned(),
            other => other.cloned(),
        };
        let mut to = match before {
            Some(Target::Commit(id)) => self.files(id)?,
            _ => Files::new(),
        };
        // It ended or moved a merge: that goes on with the working tree as it was found.
        let kept = operation
            .changes
            .iter()
            .find(|c| c.name == names::MERGE_FILES);
        if let Some(Target::Commit(id)) = kept.and_then(|c| c.new.as_ref()) {
            to = self.files(*id)?;
        }
        let Some(state) = self.merge_state()? else {
            self.check_out(self.head(), &to, "undo", ctx)?;
            return Ok(None);
        };
        let keep = match kept {
            Some(_) => None,
            None => Some(self.keep_worktree(ctx)?),
        };
        self.give_back(&state, to, "undo", ctx)?;
        Ok(keep)
    }
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
