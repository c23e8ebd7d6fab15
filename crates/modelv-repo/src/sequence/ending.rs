//! How a cherry-pick, revert or rebase that stopped goes on: with the step committed, without the
//! step, or not at all.

use modelv_core::path::RepoPath;

use super::{Journey, SequenceOutcome};
use crate::commit::{CommitOptions, Committed};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::merge::conclude::Draft;
use crate::merge::state::commit_id;
use crate::merge::{Action, MergeState, Sequence};
use crate::names;
use crate::oplog::Target;
use crate::repo::Repo;

impl Repo {
    /// Commits the step that is under way, and goes on with those after it.
    ///
    /// # Errors
    /// Conflicts are open, a file still carries markers, or the step changes nothing any more.
    pub fn sequence_continue(
        &mut self,
        action: Action,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<(Committed, SequenceOutcome)> {
        let _turn = self.take_turn()?;
        let state = self.unfinished(action)?;
        self.finish_step(state, options, ctx)
    }

    /// The same for `commit`, which makes one commit and no more.
    pub(crate) fn conclude_step(
        &mut self,
        state: MergeState,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Committed> {
        let left = state.sequence.as_ref().map_or(0, |s| s.todo.len());
        if left > 0 {
            let (word, s) = (state.action.word(), if left == 1 { "" } else { "s" });
            let text = format!("a {word} is not finished: {left} more commit{s} to come");
            return Err(Error::State(text));
        }
        Ok(self.finish_step(state, options, ctx)?.0)
    }

    fn finish_step(
        &mut self,
        state: MergeState,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<(Committed, SequenceOutcome)> {
        let sequence = sequence_of(&state)?;
        let source = self.commit_object(sequence.current.id()?)?;
        let committer = self.author(options.author.as_deref())?;
        let head = self.get_head()?;
        let mut journey = journey_of(&state, &sequence, head)?;
        journey.author.clone_from(&options.author);
        let draft = Draft {
            parents: vec![head],
            author: journey.author_for(&source, &committer),
            committer,
            message: options.message.clone(),
        };
        let done = self.commit_worktree(&state, draft, options, ctx)?;
        let (new, before) = (self.commit_object(done.id)?, self.commit_object(head)?);
        if (new.recipe, new.model) == (before.recipe, before.model) {
            let text = format!("nothing is left of {}", state.label);
            return Err(Error::State(text));
        }
        journey.note(sequence.current.id()?, Some(done.id), &new);
        journey.at = done.id;
        let stop = self.walk(&mut journey, ctx)?;
        let from = self.files_of_commit(&new)?;
        let kept = self.merge_files_change(done.id);
        let outcome = self.arrive(journey, stop, &from, vec![kept], ctx)?;
        Ok((done, outcome))
    }

    /// Leaves the step that is under way out, and goes on with those after it.
    ///
    /// # Errors
    /// Nothing of the kind is under way.
    pub fn sequence_skip(&mut self, action: Action, ctx: &Ctx<'_>) -> Result<SequenceOutcome> {
        let _turn = self.take_turn()?;
        let state = self.unfinished(action)?;
        let sequence = sequence_of(&state)?;
        let mut journey = journey_of(&state, &sequence, self.get_head()?)?;
        let stop = self.walk(&mut journey, ctx)?;
        let kept = self.keep_worktree(ctx)?;
        let from = self.files_given_up(&state, ctx)?;
        self.arrive(journey, stop, &from, vec![kept], ctx)
    }

    /// Gives all of it up, the steps that were made too: what they may have written, HEAD and the branch are
    /// what they were before. Gives files that they have not, and that changed meanwhile: they stay.
    ///
    /// # Errors
    /// Nothing of the kind is under way, or the branch was moved meanwhile.
    pub fn sequence_abort(&mut self, action: Action, ctx: &Ctx<'_>) -> Result<Vec<RepoPath>> {
        let _turn = self.take_turn()?;
        let state = self.unfinished(action)?;
        let sequence = sequence_of(&state)?;
        let start = commit_id(&sequence.start)?;
        let change = match &sequence.branch {
            Some(branch) => self.ref_change(names::HEAD, Some(Target::Symbolic(branch.clone()))),
            None => self.head_change(start),
        };
        let moves = change.old != change.new;
        let changes = moves.then_some(change).into_iter().collect();
        self.give_up(&state, changes, start, ctx)
    }
}

fn sequence_of(state: &MergeState) -> Result<Sequence> {
    state.sequence.clone().ok_or_else(|| Error::Corrupt {
        what: "merge state".into(),
        detail: format!("a {} without its commits", state.action.word()),
    })
}

/// The journey behind a stop, from the step after it on.
fn journey_of(
    state: &MergeState,
    sequence: &Sequence,
    head: modelv_core::id::CommitId,
) -> Result<Journey> {
    Ok(Journey {
        action: state.action,
        start: commit_id(&sequence.start)?,
        branch: sequence.branch.clone(),
        at: head,
        todo: sequence.todo.clone().into(),
        total: sequence.total,
        made: Vec::new(),
        note_source: sequence.note_source,
        message: None,
        no_commit: false,
        author: None,
    })
}
