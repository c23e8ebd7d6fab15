//! Restoring paths from a commit. What that writes over is kept, so that `undo` brings it back;
//! nothing is written before it is.

use modelv_core::id::CommitId;
use modelv_core::path::{RepoPath, folders_of};

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::merge::conclude::{OVERWRITTEN, RESTORED};
use crate::names;
use crate::oplog::{Operation, RefChange, Target};
use crate::repo::Repo;
use crate::worktree::{Files, Rules, Scope, checkout, compare, differing, keep_file};

/// The commits of what an operation wrote over and of what it wrote, if it restored files.
pub(crate) fn restored(operation: &Operation) -> Option<(CommitId, CommitId)> {
    let find = |name| {
        let change = operation.changes.iter().find(|c| c.name == name)?;
        change.new.as_ref()?.commit()
    };
    Some((find(names::RESTORE_BEFORE)?, find(names::RESTORE_AFTER)?))
}

/// Takes what is no directory out of the way of the files of a commit.
fn make_room(to: &mut Files, restored: &[RepoPath]) {
    for above in restored.iter().flat_map(|p| folders_of(p.as_bytes())) {
        to.remove(above);
    }
}

/// Says that files were put aside, and how they come back.
fn put_aside_note(first: &RepoPath, count: usize, by: &str) -> String {
    let more = match count {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let source = names::RESTORE_BEFORE;
    format!(
        "`{first}`{more} stood where {by} is written, in no commit; `modelv restore --source {source} {first}` \
         brings it back"
    )
}

/// The files at these paths, as they are in `files`.
fn pick<'a>(files: &Files, paths: impl Iterator<Item = &'a RepoPath>) -> Files {
    paths
        .filter_map(|p| Some((p.clone(), files.get(p)?.clone())))
        .collect()
}

impl Repo {
    /// Writes paths of a commit into the working tree, over whatever is there: a `modelv.toml` that
    /// can't be read too. `undo` brings back what was there. Gives how many files changed.
    ///
    /// # Errors
    /// A path is in neither; nothing has changed then.
    pub fn restore(
        &mut self,
        source: CommitId,
        paths: &[RepoPath],
        ctx: &Ctx<'_>,
    ) -> Result<usize> {
        let _turn = self.take_turn()?;
        let mut wanted = self.files(source)?;
        // What a file belongs to changes nothing of what is written.
        let rules = self.rules().or_else(|_| Rules::parse(""))?;
        let current = self.snapshot(&rules, None, ctx)?.files;
        let scope = Scope::new(paths);
        if let Some(path) = scope.unknown(wanted.keys().chain(current.keys())) {
            return Err(Error::not_found("path", path.to_string()));
        }
        let head = self.files_or_none(self.head())?;
        wanted.retain(|p, _| scope.holds(p));
        let restored: Vec<RepoPath> = wanted.keys().cloned().collect();
        let mut to = current.clone();
        // Files nobody ever committed stay: restoring is not cleaning.
        to.retain(|p, _| !scope.holds(p) || !head.contains_key(p));
        make_room(&mut to, &restored);
        to.extend(wanted);
        let changes = compare(&current, &to);
        if changes.is_empty() {
            return Ok(0);
        }
        // External data that was changed here is no content of a commit: it is not written over.
        let (mut here, mut from, mut there) = (current.clone(), current.clone(), to.clone());
        let pointers = self.reveal(&mut here, &mut from, &mut there, ctx)?;
        let mut plan = checkout::plan(self.root(), &here, &from, &there, "restore")?;
        let before = pick(&current, differing(&current, &to));
        let after = pick(&to, differing(&current, &to));
        let noted = self.keep_overwritten(Some(source), &before, &after, &head, ctx)?;
        // First: a restore that is cut short can be taken back too.
        self.append(noted, true, None)?;
        self.carry_out(&mut plan, &pointers, ctx)?;
        Ok(changes.len())
    }

    /// Of the files that `to` would write over, those that HEAD does not hold.
    pub(crate) fn unrecorded(&self, current: &Files, to: &Files) -> Result<Files> {
        let head = self.files_or_none(self.head())?;
        let mut lost = pick(current, differing(current, to));
        lost.retain(|path, file| head.get(path).is_none_or(|h| h.blob != file.blob));
        Ok(lost)
    }

    /// Keeps files that `by` is about to write over, so that `undo` and `restore` have them, and says
    /// so.
    /// `to` is what will be there instead.
    pub(crate) fn keep_lost(
        &mut self,
        lost: &Files,
        to: &Files,
        by: &str,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let Some(first) = lost.keys().next() else {
            return Ok(());
        };
        let head = self.files_or_none(self.head())?;
        let after = lost
            .keys()
            .filter_map(|p| Some((p.clone(), to.get(p)?.clone())));
        let after: Files = after.collect();
        let noted = self.keep_overwritten(self.head(), lost, &after, &head, ctx)?;
        self.append(noted, true, None)?;
        ctx.progress.note(&put_aside_note(first, lost.len(), by));
        Ok(())
    }

    /// Brings back what an operation wrote over. What is there now goes only if that operation wrote it, or
    /// HEAD has it.
    ///
    /// # Errors
    /// Something else is there.
    pub(crate) fn undo_restored(
        &self,
        (before, after): (CommitId, CommitId),
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let (before, mut from) = (self.files(before)?, self.files(after)?);
        let head = self.files_or_none(self.head())?;
        let current = self.snapshot(&self.rules()?, None, ctx)?.files;
        for path in before.keys() {
            let now = current.get(path);
            if let Some(file) = now.filter(|f| head.get(path).is_some_and(|h| h.blob == f.blob)) {
                from.insert(path.clone(), file.clone());
            }
        }
        let done = self.check_out_over(current, &from, &before, "undo", ctx);
        done.map_err(|e| match e {
            Error::InTheWay { paths, .. } | Error::WouldOverwrite { paths, .. } => {
                Error::PutAside { paths }
            }
            other => other,
        })
    }

    /// Notes what was written over in a working tree whose contents before and after are stored; nothing
    /// where both are the same.
    pub(crate) fn overwritten_changes(
        &self,
        before: &Files,
        after: &Files,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RefChange>> {
        if before == after {
            return Ok(Vec::new());
        }
        let head = self.files_or_none(self.head())?;
        let (old, new) = (
            pick(before, differing(before, after)),
            pick(after, differing(before, after)),
        );
        self.keep_overwritten(self.head(), &old, &new, &head, ctx)
    }

    /// Stores files as they are and as they will be, as two commits that no branch names.
    fn keep_overwritten(
        &self,
        parent: Option<CommitId>,
        before: &Files,
        after: &Files,
        head: &Files,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RefChange>> {
        let session = self.store.begin()?;
        for (path, file) in before {
            if !self.store.keeps_blob(&file.blob)? {
                let base = head.get(path).map(|f| f.blob);
                keep_file(self.root(), path, file.blob, base, &session, ctx)?;
            }
        }
        let before = self.put_aside(parent, before, OVERWRITTEN, &session)?;
        let after = self.put_aside(parent, after, RESTORED, &session)?;
        session.finish()?;
        let change = |name: &str, id| self.ref_change(name, Some(Target::Commit(id)));
        Ok(vec![
            change(names::RESTORE_BEFORE, before),
            change(names::RESTORE_AFTER, after),
        ])
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
