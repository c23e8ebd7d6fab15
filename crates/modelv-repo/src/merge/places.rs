//! A file that both sides moved to different places is one decision: where it stands. Must never
//! leave it nowhere.

use modelv_core::path::RepoPath;

use super::state::{ConflictState, MergeState};
use super::{Decision, no_weights};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, SnapFile, replace_file};

impl Repo {
    /// Decides where a file stands. What it holds are the edits of both sides, as the working tree
    /// has them; with `--base`, what the base has.
    pub(super) fn settle_place(
        &self,
        state: &mut MergeState,
        conflict: &ConflictState,
        [was, twin]: [RepoPath; 2],
        decision: &Decision,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let named = conflict.repo_path()?;
        let (ours, theirs) = match conflict.ours_file {
            Some(_) => (named.clone(), twin.clone()),
            None => (twin.clone(), named.clone()),
        };
        let now = self.snapshot(&self.rules()?, None, ctx)?.files;
        let kept = match decision {
            Decision::Ours => ours.clone(),
            Decision::Theirs => theirs.clone(),
            Decision::Value(text) => {
                replace_file(self.root(), &named, text.as_bytes())?;
                named
            }
            Decision::AsEdited => remaining(&now, &ours, &theirs)?,
            Decision::Base => {
                self.put_back(conflict, &now, &was, [&ours, &theirs], ctx)?;
                was
            }
            Decision::Weights(_) => return Err(no_weights(conflict)),
        };
        if kept == ours || kept == theirs {
            let gone = if kept == ours { &theirs } else { &ours };
            // Keys that were in conflict are decided in our place alone.
            let has_parts = state
                .conflicts
                .iter()
                .any(|c| c.part.is_some() && c.repo_path().is_ok_and(|p| p == ours));
            self.keep_one(&now, &kept, gone, has_parts && kept == theirs, ctx)?;
        }
        for other in &mut state.conflicts {
            let Ok(path) = other.repo_path() else {
                continue;
            };
            if path != ours && path != theirs {
                continue;
            }
            match &other.part {
                None => other.resolved = true,
                Some(part) => {
                    other.resolved |= *decision == Decision::Base;
                    other.item = format!("{kept}:{part}");
                    (other.path, other.path_bytes) = (kept.to_string(), kept.as_bytes().to_vec());
                }
            }
        }
        Ok(())
    }

    /// Leaves a file in one of two places; `moves`: with what the other holds, which the store has.
    fn keep_one(
        &self,
        now: &Files,
        kept: &RepoPath,
        gone: &RepoPath,
        moves: bool,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let mut to = now.clone();
        let other = to.remove(gone);
        if let Some(file) = other.filter(|_| moves || !now.contains_key(kept)) {
            to.insert(kept.clone(), file);
        }
        if !to.contains_key(kept) {
            return Err(nowhere(kept, gone));
        }
        self.check_out_files(now, &to, "resolve", ctx)
    }

    /// Puts the file of the base back to where it was.
    fn put_back(
        &self,
        conflict: &ConflictState,
        now: &Files,
        was: &RepoPath,
        places: [&RepoPath; 2],
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let Some(base) = &conflict.base_file else {
            return Ok(());
        };
        if now.contains_key(was) {
            let text = format!("`{was}` is another file now: nothing is decided");
            return Err(Error::State(text));
        }
        let side = base.side()?;
        let mut to = now.clone();
        to.retain(|path, _| !places.contains(&path));
        let file = SnapFile {
            ingredient: self.rules()?.classify(was).ingredient,
            mode: side.mode,
            size: side.size,
            blob: side.blob,
        };
        to.insert(was.clone(), file);
        self.check_out_files(now, &to, "resolve", ctx)
    }
}

/// The place where somebody left the file.
fn remaining(now: &Files, ours: &RepoPath, theirs: &RepoPath) -> Result<RepoPath> {
    let text = match (now.contains_key(ours), now.contains_key(theirs)) {
        (true, false) => return Ok(ours.clone()),
        (false, true) => return Ok(theirs.clone()),
        (true, true) => format!("nothing is decided: `{ours}` and `{theirs}` are both there"),
        (false, false) => return Err(nowhere(ours, theirs)),
    };
    Err(Error::State(text))
}

fn nowhere(a: &RepoPath, b: &RepoPath) -> Error {
    let text = format!("nothing is decided: neither `{a}` nor `{b}` is there");
    Error::State(text)
}
