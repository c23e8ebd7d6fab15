//! Cherry-pick, revert and rebase: commits' changes made again, or taken back, one after the other.
//!
//! Every step is a three-way merge: the base is the commit's parent and theirs the commit, or, to
//! take it back, the reverse. All steps are made in the store first; the working tree and the refs
//! move once, at the end or at the first step that leaves something to decide. So one `undo` takes
//! all of it back, and a step that can't be made leaves nothing behind.

use std::collections::VecDeque;

use modelv_core::commit::{Commit, Person};
use modelv_core::driver::Labels;
use modelv_core::env::Env;
use modelv_core::id::CommitId;
use modelv_core::merge::Listing;

use crate::commit::{ModelState, check_message, model_state};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::history::LogOptions;
use crate::merge::conclude::Draft;
use crate::merge::{Action, Base, ConflictState, MergeState, Sequence, Step, Work};
use crate::merge::{listing, made_paths};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::rev::Range;
use crate::worktree::Files;

mod ending;

/// What `cherry-pick` and `revert` are asked for.
#[derive(Debug, Clone, Default)]
pub struct PickOptions {
    /// For merges: the parent to compare with, from 1.
    pub mainline: Option<usize>,
    /// Message of the one commit to come; `None`: made from the commit's.
    pub message: Option<String>,
    /// Name the commit in the message of a picked one.
    pub note_source: bool,
    /// Stop before the commit.
    pub no_commit: bool,
    /// Who commits.
    pub author: Option<String>,
}

/// What `rebase` is asked for.
#[derive(Debug, Clone, Default)]
pub struct RebaseOptions {
    /// The commit to go on from; `None`: the upstream itself.
    pub onto: Option<String>,
    /// Who commits.
    pub author: Option<String>,
}

/// What a cherry-pick, revert or rebase came to.
#[derive(Debug)]
pub enum SequenceOutcome {
    /// The branch is there already.
    UpToDate,
    /// All steps are made.
    Done(Vec<Made>),
    /// Done in the working tree, not committed.
    Staged,
    /// This step leaves something to decide; those before it are made.
    Conflicts {
        /// Steps that are made.
        made: Vec<Made>,
        /// Which step it is, from 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The commit of the step, as people know it.
        label: String,
        /// What is to be decided.
        conflicts: Vec<ConflictState>,
    },
}

/// One step that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The commit whose change it is.
    pub source: CommitId,
    /// The new commit; `None`: its change is here already, so there is none.
    pub commit: Option<CommitId>,
    /// First line of the message.
    pub subject: String,
    /// How the new commit's model stands to its recipe.
    pub model: ModelState,
}

/// A sequence on its way.
struct Journey {
    action: Action,
    /// HEAD before it all.
    start: CommitId,
    /// The branch a rebase moves at its end.
    branch: Option<String>,
    /// Where the next step goes on from.
    at: CommitId,
    todo: VecDeque<Step>,
    total: usize,
    made: Vec<Made>,
    note_source: bool,
    message: Option<String>,
    no_commit: bool,
    author: Option<String>,
}

/// What a journey stopped at.
struct Stop {
    step: Step,
    work: Work,
    message: String,
    label: String,
}

impl Repo {
    /// Makes the changes of commits again on HEAD, with their authors.
    ///
    /// # Errors
    /// Uncommitted changes, a merge without `mainline`, or I/O. Nothing has changed then.
    pub fn cherry_pick(
        &mut self,
        revisions: &[String],
        options: &PickOptions,
        ctx: &Ctx<'_>,
    ) -> Result<SequenceOutcome> {
        let _turn = self.take_turn()?;
        self.pick(Action::CherryPick, revisions, options, ctx)
    }

    /// Takes the changes of commits back, by new commits on HEAD.
    ///
    /// # Errors
    /// As [`Repo::cherry_pick`].
    pub fn revert(
        &mut self,
        revisions: &[String],
        options: &PickOptions,
        ctx: &Ctx<'_>,
    ) -> Result<SequenceOutcome> {
        let _turn = self.take_turn()?;
        self.pick(Action::Revert, revisions, options, ctx)
    }

    fn pick(
        &mut self,
        action: Action,
        revisions: &[String],
        options: &PickOptions,
        ctx: &Ctx<'_>,
    ) -> Result<SequenceOutcome> {
        self.refuse_while_merging(action.word())?;
        self.refuse_while_running(action.word())?;
        let head = self.get_head()?;
        let steps = self.steps_of(action, revisions, options.mainline)?;
        if steps.len() > 1 && (options.message.is_some() || options.no_commit) {
            let text = format!("{} commits need a message and a commit each", steps.len());
            return Err(Error::State(text));
        }
        if let Some(message) = &options.message {
            check_message(message)?;
        }
        let mut journey = Journey {
            action,
            start: head,
            branch: None,
            at: head,
            total: steps.len(),
            todo: steps,
            made: Vec::new(),
            note_source: options.note_source,
            message: options.message.clone(),
            no_commit: options.no_commit,
            author: options.author.clone(),
        };
        let stop = self.walk(&mut journey, ctx)?;
        if stop.is_none() && journey.at == head {
            let names: Vec<_> = journey.made.iter().map(|m| m.source.short()).collect();
            let text = format!(
                "{} changes nothing here: it is so already",
                names.join(", ")
            );
            return Err(Error::State(text));
        }
        let files = self.files(head)?;
        self.arrive(journey, stop, &files, vec![], ctx)
    }

    /// The commits that revisions and ranges name, in the order in which they are to be made.
    fn steps_of(
        &self,
        action: Action,
        revisions: &[String],
        mainline: Option<usize>,
    ) -> Result<VecDeque<Step>> {
        let mut steps = VecDeque::new();
        for text in revisions {
            let ids = match self.resolve_range(text)? {
                Range::One(id) => vec![id],
                Range::Two(a, b) => self.between(a, b, action == Action::Revert)?,
                Range::FromBase(..) => {
                    let reason = "expected a commit or `A..B`";
                    return Err(Error::invalid("revision", text, reason));
                }
            };
            if ids.is_empty() {
                return Err(Error::State(format!("`{text}` holds no commit")));
            }
            for id in ids {
                let step = Step {
                    commit: id.to_hex(),
                    mainline,
                };
                self.sides_of(action, &step)?;
                steps.push_back(step);
            }
        }
        Ok(steps)
    }

    /// Commits that `to` has and `from` has not, oldest first or newest first.
    fn between(&self, from: CommitId, to: CommitId, newest_first: bool) -> Result<Vec<CommitId>> {
        let options = LogOptions {
            start: vec![to],
            exclude: vec![from],
            ..LogOptions::default()
        };
        let found = self.history(&options)?.into_iter().map(|(id, _)| id);
        let mut ids: Vec<CommitId> = found.collect();
        if !newest_first {
            ids.reverse();
        }
        Ok(ids)
    }

    /// Makes the commits of the current branch that `upstream` has not again, on top of it.
    ///
    /// # Errors
    /// Uncommitted changes, a merge among the commits, or I/O. Nothing has changed then.
    pub fn rebase(
        &mut self,
        upstream: &str,
        options: &RebaseOptions,
        ctx: &Ctx<'_>,
    ) -> Result<SequenceOutcome> {
        let _turn = self.take_turn()?;
        self.refuse_while_merging("rebase")?;
        self.refuse_while_running("rebase")?;
        let (head, above) = (self.get_head()?, self.resolve(upstream)?);
        let onto = options.onto.as_deref().map(|r| self.resolve(r));
        let onto = onto.transpose()?.unwrap_or(above);
        let ids = self.between(above, head, false)?;
        let mut steps = VecDeque::new();
        for id in &ids {
            if self.parents_of(*id)?.len() > 1 {
                return Err(Error::State(format!(
                    "`{}` is a merge: rebase only makes commits with one parent again",
                    id.short()
                )));
            }
            steps.push_back(Step {
                commit: id.to_hex(),
                mainline: None,
            });
        }
        let mut journey = Journey {
            action: Action::Rebase,
            start: head,
            branch: self.head_ref().map(str::to_owned),
            at: onto,
            total: steps.len(),
            todo: steps,
            made: Vec::new(),
            note_source: false,
            message: None,
            no_commit: false,
            author: options.author.clone(),
        };
        let stop = self.walk(&mut journey, ctx)?;
        if stop.is_none() && journey.at == head {
            return Ok(SequenceOutcome::UpToDate);
        }
        let files = self.files(head)?;
        self.arrive(journey, stop, &files, vec![], ctx)
    }

    /// Base and their side of a step.
    pub(crate) fn sides_of(
        &self,
        action: Action,
        step: &Step,
    ) -> Result<(Option<CommitId>, Option<CommitId>)> {
        let id = step.id()?;
        let parents = self.commit_object(id)?.parents;
        let parent = match (parents.as_slice(), step.mainline) {
            ([], None) => None,
            ([one], None) => Some(*one),
            (_, None) => {
                return Err(Error::State(format!(
                    "`{}` is a merge: say which parent it is compared with",
                    id.short()
                )));
            }
            (all, Some(n)) => match n.checked_sub(1).and_then(|i| all.get(i)) {
                Some(parent) => Some(*parent),
                None => {
                    let reason = format!("`{}` has {} parents", id.short(), all.len());
                    return Err(Error::invalid("parent", n.to_string(), reason));
                }
            },
        };
        Ok(match action {
            Action::Revert => (Some(id), parent),
            _ => (parent, Some(id)),
        })
    }

    /// Makes steps in the store until the end, or until one leaves something to decide.
    fn walk(&self, journey: &mut Journey, ctx: &Ctx<'_>) -> Result<Option<Stop>> {
        while let Some(step) = journey.todo.pop_front() {
            ctx.cancel.check()?;
            let source = step.id()?;
            let commit = self.commit_object(source)?;
            // What already follows stays as it is.
            if journey.action == Action::Rebase && commit.parents == [journey.at] {
                journey.note(source, Some(source), &commit);
                journey.at = source;
                continue;
            }
            let (work, label) = self.step_work(journey, &step, &commit)?;
            let work = work.told(ctx);
            let message = journey.message_for(&step, &commit);
            if !work.conflicts.is_empty() || journey.no_commit {
                return Ok(Some(Stop {
                    step,
                    work,
                    message,
                    label,
                }));
            }
            self.make_step(journey, &step, &commit, &work, message)?;
        }
        Ok(None)
    }

    fn make_step(
        &self,
        journey: &mut Journey,
        step: &Step,
        commit: &Commit,
        work: &Work,
        message: String,
    ) -> Result<()> {
        let committer = self.author(journey.author.as_deref())?;
        let draft = Draft {
            parents: vec![journey.at],
            author: journey.author_for(commit, &committer),
            committer,
            message,
        };
        let theirs = self.sides_of(journey.action, step)?.1;
        let (id, new, _) = self.commit_work(work, journey.at, theirs, draft)?;
        let before = self.commit_object(journey.at)?;
        if (new.recipe, new.model) == (before.recipe, before.model) {
            journey.note(step.id()?, None, commit);
        } else {
            journey.note(step.id()?, Some(id), &new);
            journey.at = id;
        }
        Ok(())
    }

    fn step_work(&self, journey: &Journey, step: &Step, commit: &Commit) -> Result<(Work, String)> {
        let (base, theirs) = self.sides_of(journey.action, step)?;
        let short = step.id()?.short();
        let subject: String = commit.subject().chars().take(50).collect();
        let (itself, parent) = (format!("{short} ({subject})"), format!("parent of {short}"));
        let ours = if journey.action == Action::Rebase {
            journey.at.short()
        } else {
            self.head_label()
        };
        let (base_label, theirs_label) = match journey.action {
            Action::Revert => (&itself, &parent),
            _ => (&parent, &itself),
        };
        let labels = Labels {
            ours: &ours,
            base: base_label,
            theirs: theirs_label,
        };
        let base = self.base_of(base)?;
        let work = self.combine(
            base,
            &crate::merge::large::Contents::default(),
            (journey.at, &self.files(journey.at)?),
            theirs,
            &labels,
        )?;
        Ok((work, itself))
    }

    fn base_of(&self, commit: Option<CommitId>) -> Result<Base> {
        let Some(id) = commit else {
            return Ok((Listing::new(), Env::none()));
        };
        let commit = self.commit_object(id)?;
        let files = listing(&self.files_of_commit(&commit)?);
        let env = self.env_object(commit.recipe.env)?;
        Ok((files, env))
    }

    /// Moves working tree and refs to where a journey ended or stopped. `from` is what the working
    /// tree holds, as far as the journey may change it.
    fn arrive(
        &mut self,
        journey: Journey,
        stop: Option<Stop>,
        from: &Files,
        more: Vec<RefChange>,
        ctx: &Ctx<'_>,
    ) -> Result<SequenceOutcome> {
        let begins = !self.is_merging();
        let action = journey.action.word();
        let files = match &stop {
            None => self.files(journey.at)?,
            Some(stop) => self.store_merged(&stop.work)?,
        };
        if stop.is_some() {
            self.refuse_absent(&self.files(journey.at)?, &files)?;
        }
        if begins {
            self.refuse_changes(from, &files, action, ctx)?;
        }
        let mut changes = more;
        let (state, outcome) = match stop {
            None => {
                changes.extend(self.end_changes(&journey));
                (None, SequenceOutcome::Done(journey.made))
            }
            Some(stop) => {
                changes.extend(self.stop_changes(&journey));
                self.state_of(journey, stop, &files)?
            }
        };
        self.check_out_files(from, &files, action, ctx)?;
        if state.is_some() || !begins {
            changes.push(self.merge_state_change(state.as_ref())?);
        }
        self.append(changes, true, None)?;
        Ok(outcome)
    }

    fn state_of(
        &self,
        journey: Journey,
        stop: Stop,
        files: &Files,
    ) -> Result<(Option<MergeState>, SequenceOutcome)> {
        let theirs = self.sides_of(journey.action, &stop.step)?.1;
        let sides = [&self.files(journey.at)?, &self.files_or_none(theirs)?];
        let number = journey.total - journey.todo.len();
        let conflicts = stop.work.conflicts;
        let state = MergeState::of_sequence(
            journey.action,
            (stop.label.clone(), stop.message),
            stop.work.env.id(),
            conflicts.clone(),
            made_paths(files, &sides),
            Sequence {
                start: journey.start.to_hex(),
                branch: journey.branch,
                current: stop.step,
                todo: journey.todo.into(),
                total: journey.total,
                note_source: journey.note_source,
            },
        );
        let outcome = if conflicts.is_empty() {
            SequenceOutcome::Staged
        } else {
            SequenceOutcome::Conflicts {
                made: journey.made,
                number,
                total: journey.total,
                label: stop.label,
                conflicts,
            }
        };
        Ok((Some(state), outcome))
    }

    /// Refs at the end: HEAD's branch, or the branch of a rebase with HEAD on it again.
    fn end_changes(&self, journey: &Journey) -> Vec<RefChange> {
        let Some(branch) = &journey.branch else {
            return moved(self.head_change(journey.at));
        };
        let branch_change = RefChange {
            name: branch.clone(),
            old: Some(Target::Commit(journey.start)),
            new: Some(Target::Commit(journey.at)),
        };
        let mut changes = moved(branch_change);
        let head = Target::Symbolic(branch.clone());
        if self.log.refs.get(names::HEAD) != Some(&head) {
            changes.push(self.ref_change(names::HEAD, Some(head)));
        }
        changes
    }

    /// Refs while something is to be decided: a rebase leaves its branch where it was and works on
    /// a detached HEAD.
    fn stop_changes(&self, journey: &Journey) -> Vec<RefChange> {
        let change = match journey.action {
            Action::Rebase => self.ref_change(names::HEAD, Some(Target::Commit(journey.at))),
            _ => self.head_change(journey.at),
        };
        moved(change)
    }
}

/// The change, unless it changes nothing.
fn moved(change: RefChange) -> Vec<RefChange> {
    let moves = change.old != change.new;
    moves.then_some(change).into_iter().collect()
}

impl Journey {
    fn note(&mut self, source: CommitId, commit: Option<CommitId>, made: &Commit) {
        self.made.push(Made {
            source,
            commit,
            subject: made.subject().to_owned(),
            model: model_state(made),
        });
    }

    /// A picked change keeps its author; taking one back is somebody else's work.
    fn author_for(&self, commit: &Commit, committer: &Person) -> Person {
        match self.action {
            Action::Revert => committer.clone(),
            _ => commit.author.clone(),
        }
    }

    fn message_for(&self, step: &Step, commit: &Commit) -> String {
        if let Some(message) = &self.message {
            return message.clone();
        }
        let id = &step.commit;
        match self.action {
            Action::Revert => {
                let against = match step.mainline {
                    None => String::new(),
                    Some(n) => format!(",\nreversing the changes to its parent {n}"),
                };
                let subject = commit.subject();
                format!("Revert \"{subject}\"\n\nThis reverts commit {id}{against}.")
            }
            Action::CherryPick if self.note_source => {
                let message = commit.message.trim_end();
                format!("{message}\n\n(cherry picked from commit {id})")
            }
            _ => commit.message.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
