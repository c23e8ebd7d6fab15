//! How a merge ends: as a commit of what was merged, as a commit of the working tree after its
//! conflicts are decided, or given up. What a given-up working tree held stays in the store.

use std::collections::{HashMap, HashSet};

use modelv_core::commit::{Commit, Model, Person};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::Session;

use super::Work;
use super::state::{Action, ConflictState, MergeState};
use crate::capture::{clock, git};
use crate::commit::{
    CommitOptions, Committed, check_message, nobody, write_recipe, write_recipe_of,
};
use crate::ctx::Ctx;
use crate::envdiff::diff_env;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::{Files, SnapFile, compare, write_trees};

/// Messages of commits that only keep what a command wrote over, for `undo`.
pub(crate) const GIVEN_UP: &str = "the working tree of a merge that was given up";
pub(crate) const OVERWRITTEN: &str = "what a restore wrote over";
pub(crate) const RESTORED: &str = "what a restore wrote";

/// Who and what a commit to come is.
pub(crate) struct Draft {
    pub(crate) parents: Vec<CommitId>,
    pub(crate) author: Person,
    pub(crate) committer: Person,
    pub(crate) message: String,
}

impl Repo {
    /// Commits the merge that is under way.
    ///
    /// # Errors
    /// Conflicts are open, or a file still carries markers.
    pub fn merge_continue(&mut self, options: &CommitOptions, ctx: &Ctx<'_>) -> Result<Committed> {
        let _turn = self.take_turn()?;
        let state = self.unfinished(Action::Merge)?;
        self.conclude_merge(state, options, ctx)
    }

    /// Gives the merge up: what it may have written is what it was before, byte for byte. Gives the files that
    /// it has not, and that changed meanwhile: they stay.
    ///
    /// # Errors
    /// No merge is under way.
    pub fn merge_abort(&mut self, ctx: &Ctx<'_>) -> Result<Vec<RepoPath>> {
        let _turn = self.take_turn()?;
        let state = self.unfinished(Action::Merge)?;
        self.give_up(&state, vec![], self.get_head()?, ctx)
    }

    /// Brings the files of `to` back, forgets the state, and moves `changes` with it. Gives the files that stay
    /// as they were changed meanwhile.
    pub(crate) fn give_up(
        &mut self,
        state: &MergeState,
        changes: Vec<RefChange>,
        to: CommitId,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RepoPath>> {
        let mut changes = changes;
        changes.push(self.keep_worktree(ctx)?);
        let stayed = self.give_back(state, self.files(to)?, "abort", ctx)?;
        changes.push(self.merge_state_change(None)?);
        self.append(changes, true, None)?;
        Ok(stayed)
    }

    /// Brings the files of `to` back where the merge may have written; gives those that it has not, and that
    /// changed meanwhile.
    pub(crate) fn give_back(
        &self,
        state: &MergeState,
        mut to: Files,
        action: &'static str,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RepoPath>> {
        let mut from = self.files_given_up(state, ctx)?;
        let head = self.files(self.get_head()?)?;
        let is_same = |a: Option<&SnapFile>, b: Option<&SnapFile>| {
            a.map(|f| (f.mode, f.blob)) == b.map(|f| (f.mode, f.blob))
        };
        let mut stayed = self.files_not_merged(state, &head)?;
        stayed.retain(|p| is_same(head.get(p), to.get(p)) && !is_same(head.get(p), from.get(p)));
        for path in &stayed {
            from.remove(path);
            to.remove(path);
        }
        self.check_out_files(&from, &to, action, ctx)?;
        Ok(stayed)
    }

    /// Files of HEAD that the merge has left alone: the other side has them as HEAD or as the base has them, and
    /// no file that it changed can have come to their names.
    fn files_not_merged(&self, state: &MergeState, head: &Files) -> Result<Vec<RepoPath>> {
        let blobs = |files: &Files| -> HashMap<RepoPath, (Mode, BlobId)> {
            let of = |(p, f): (&RepoPath, &SnapFile)| (p.clone(), (f.mode, f.blob));
            files.iter().map(of).collect()
        };
        let theirs = blobs(&self.files_or_none(self.theirs_of(state)?)?);
        let bases: Vec<_> = self
            .bases_of_state(state)?
            .into_iter()
            .map(|base| Ok(blobs(&self.files_or_none(base)?)))
            .collect::<Result<_>>()?;
        let head = blobs(head);
        let named: HashSet<RepoPath> = state
            .conflicts
            .iter()
            .filter_map(|c| c.repo_path().ok())
            .collect();
        // What is gone under its name here and changed there was merged under another name.
        let mut all_bases = bases.iter().flatten();
        let moves = all_bases.any(|(p, b)| !head.contains_key(p) && theirs.get(p) != Some(b));
        let is_left = |path: &RepoPath, ours: &(Mode, BlobId)| match theirs.get(path) {
            Some(theirs) => {
                theirs == ours || bases.iter().all(|base| base.get(path) == Some(theirs))
            }
            None => !moves && bases.iter().all(|base| !base.contains_key(path)),
        };
        let left = head
            .iter()
            .filter(|(p, f)| is_left(p, f) && !named.contains(*p));
        let mut left: Vec<RepoPath> = left.map(|(path, _)| path.clone()).collect();
        left.sort();
        Ok(left)
    }

    /// The commits that the change of a merge or step is taken from; `None`: there was nothing before it.
    fn bases_of_state(&self, state: &MergeState) -> Result<Vec<Option<CommitId>>> {
        match (&state.sequence, self.theirs_of(state)?) {
            (Some(sequence), _) => Ok(vec![self.sides_of(state.action, &sequence.current)?.0]),
            (None, Some(theirs)) => {
                let bases = self.merge_bases(self.get_head()?, theirs)?;
                Ok(bases.into_iter().map(Some).collect())
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The working tree without files that no side of the merge has: those were made by the user
    /// meanwhile, and stay.
    pub(crate) fn files_given_up(&self, state: &MergeState, ctx: &Ctx<'_>) -> Result<Files> {
        let head = self.files(self.get_head()?)?;
        let theirs = self.files_or_none(self.theirs_of(state)?)?;
        let named = state.conflicts.iter().filter_map(|c| c.repo_path().ok());
        let made = state
            .made
            .iter()
            .filter_map(|p| RepoPath::new(p.clone()).ok());
        // A decision may have put a file back to where neither side has it.
        let back = state.conflicts.iter().filter(|c| c.resolved);
        let back = back.filter_map(|c| c.twin().and(c.was()));
        let aside: Vec<RepoPath> = named.chain(made).chain(back).collect();
        let mut from = self.snapshot(&self.rules()?, None, ctx)?.files;
        from.retain(|p, _| head.contains_key(p) || theirs.contains_key(p) || aside.contains(p));
        Ok(from)
    }

    /// Refuses "as it lies there" of a file that nobody touched since the merge put it there: only
    /// of a text do markers tell that it is undecided.
    pub(super) fn refuse_unsaid(&self, conflict: &ConflictState, ctx: &Ctx<'_>) -> Result<()> {
        if conflict.kind == "text" {
            return Ok(());
        }
        let sides = [&conflict.ours_file, &conflict.theirs_file];
        let Some(put) = sides.into_iter().flatten().next() else {
            return Ok(());
        };
        let put = put.side()?;
        let now = self.snapshot(&self.rules()?, None, ctx)?.files;
        let there = now.get(&conflict.repo_path()?);
        if there.is_none_or(|f| (f.mode, f.blob) != (put.mode, put.blob)) {
            return Ok(());
        }
        let text = format!(
            "nothing is decided: `{}` is as the merge left it",
            conflict.item
        );
        Err(Error::State(text))
    }

    /// Stores the working tree as a commit that no branch names, so that `undo` has it.
    pub(crate) fn keep_worktree(&self, ctx: &Ctx<'_>) -> Result<RefChange> {
        let session = self.store.begin()?;
        let files = self.snapshot(&self.rules()?, Some(&session), ctx)?.files;
        let id = self.put_aside(Some(self.get_head()?), &files, GIVEN_UP, &session)?;
        session.finish()?;
        Ok(self.merge_files_change(id))
    }

    /// A commit of these files after `parent`, with its environment and authors; before the first
    /// commit it is nobody's. No name points to it yet.
    pub(crate) fn put_aside(
        &self,
        parent: Option<CommitId>,
        files: &Files,
        message: &str,
        session: &Session<'_>,
    ) -> Result<CommitId> {
        let before = parent.map(|p| self.commit_object(p)).transpose()?;
        let env = match &before {
            Some(before) => self.env_object(before.recipe.env)?,
            None => Env::none(),
        };
        let (recipe, model) = write_recipe(files, &env, before.as_ref(), session)?;
        let (author, committer) = match before {
            Some(before) => (before.author, before.committer),
            None => (nobody(), nobody()),
        };
        let commit = Commit {
            recipe,
            model,
            parents: parent.into_iter().collect(),
            author,
            committer,
            time: clock::now(),
            message: message.into(),
            runs: vec![],
            extra: Default::default(),
        };
        Ok(CommitId(session.put_object(&commit)?))
    }

    /// Notes the commit that holds what the working tree held before an operation on a merge.
    pub(crate) fn merge_files_change(&self, id: CommitId) -> RefChange {
        self.ref_change(names::MERGE_FILES, Some(Target::Commit(id)))
    }

    pub(crate) fn conclude_merge(
        &mut self,
        state: MergeState,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Committed> {
        if state.action != Action::Merge {
            return self.conclude_step(state, options, ctx);
        }
        let theirs = self
            .theirs_of(&state)?
            .ok_or_else(|| Error::State("the merge names no commit".into()))?;
        let author = self.author(options.author.as_deref())?;
        let draft = Draft {
            parents: vec![self.get_head()?, theirs],
            author: author.clone(),
            committer: author,
            message: options.message.clone(),
        };
        let done = self.commit_worktree(&state, draft, options, ctx)?;
        let mut changes = vec![self.head_change(done.id)];
        changes.push(self.merge_state_change(None)?);
        changes.push(self.merge_files_change(done.id));
        self.append(changes, true, None)?;
        Ok(done)
    }

    /// Makes a commit of the working tree once all is decided. No name points to it yet.
    pub(crate) fn commit_worktree(
        &self,
        state: &MergeState,
        draft: Draft,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Committed> {
        self.refuse_open(state)?;
        let mut draft = draft;
        if draft.message.trim().is_empty() {
            draft.message.clone_from(&state.message);
        }
        check_message(&draft.message)?;
        let ours = self.get_head()?;
        let (our_commit, their_commit) = (self.commit_object(ours)?, self.theirs_of(state)?);
        let our_files = self.files_of_commit(&our_commit)?;
        let rules = self.rules()?;
        let session = self.store.begin()?;
        let snapshot = self.snapshot(&rules, Some(&session), ctx)?;
        if !options.allow_secret {
            let known = [&our_files, &self.files_or_none(their_commit)?];
            self.refuse_secrets(&snapshot.files, &known, &rules, ctx)?;
        }
        let env = self.env_object(state.env_id()?)?;
        let (mut commit, env) =
            self.build(&snapshot.files, env, ours, their_commit, draft, &session)?;
        commit.model = state.model_of(commit.model, &our_commit);
        commit.extra = state.facts(self.root());
        let id = CommitId(session.put_object(&commit)?);
        session.finish()?;
        Ok(Committed {
            id,
            recipe: commit.recipe.id(),
            is_first: false,
            changes: compare(&our_files, &snapshot.files),
            env: diff_env(&self.env_object(our_commit.recipe.env)?, &env),
            externals: self.externals_of(&snapshot.files, &[], ctx)?,
            skipped: snapshot.skipped,
        })
    }

    /// Makes a commit of a merge without conflicts. The working tree is not looked at, and no name
    /// points to the commit yet.
    pub(crate) fn commit_work(
        &self,
        work: &Work,
        ours: CommitId,
        theirs: Option<CommitId>,
        draft: Draft,
    ) -> Result<(CommitId, Commit, Files)> {
        let session = self.store.begin()?;
        let files = self.write_merged(work, &session)?;
        let (commit, _) = self.build(&files, work.env.clone(), ours, theirs, draft, &session)?;
        let id = CommitId(session.put_object(&commit)?);
        session.finish()?;
        Ok((id, commit, files))
    }

    /// The commit of these files. Whose model it is decides whose recipe made it.
    fn build(
        &self,
        files: &Files,
        env: Env,
        ours: CommitId,
        theirs: Option<CommitId>,
        draft: Draft,
        session: &Session<'_>,
    ) -> Result<(Commit, Env)> {
        let mut sides = vec![self.commit_object(ours)?];
        if let Some(id) = theirs {
            sides.push(self.commit_object(id)?);
        }
        let env = follow_locks(env, files);
        let trees = write_trees(files, session)?;
        let tree = trees.model;
        let parent = sides
            .iter()
            .find(|c| tree.is_some() && c.model.map(|m| m.tree) == tree);
        let (recipe, model) = write_recipe_of(&trees, &env, parent, session)?;
        let model = match parent {
            Some(_) => model,
            None => model.map(|m| mixed(m, &sides)),
        };
        let runs = sides
            .iter()
            .find(|c| model.is_some() && c.model == model)
            .map(|c| c.runs.clone())
            .unwrap_or_default();
        let commit = Commit {
            recipe,
            model,
            parents: draft.parents,
            author: draft.author,
            committer: draft.committer,
            time: clock::now(),
            message: draft.message.trim().to_owned(),
            runs,
            extra: git::facts(self.root()),
        };
        Ok((commit, env))
    }

    /// Refuses to go on while something is to be decided.
    fn refuse_open(&self, state: &MergeState) -> Result<()> {
        let open: Vec<String> = state.open().map(|c| c.item.clone()).collect();
        if !open.is_empty() {
            return Err(Error::ConflictsRemain {
                count: open.len(),
                items: open,
            });
        }
        for conflict in state.conflicts.iter().filter(|c| c.kind != "env") {
            let full = crate::worktree::place(self.root(), &conflict.repo_path()?);
            if super::carries_markers(&full) {
                let text = format!("`{}` still carries conflict markers", conflict.path);
                return Err(Error::State(text));
            }
        }
        Ok(())
    }

    pub(crate) fn files_or_none(&self, commit: Option<CommitId>) -> Result<Files> {
        Ok(commit
            .map(|id| self.files(id))
            .transpose()?
            .unwrap_or_default())
    }
}

/// A model with files of both sides: no recipe made it, the merged one least of all. It goes by one
/// that made a part of it, and is stale until it is trained.
fn mixed(model: Model, sides: &[Commit]) -> Model {
    let mut made_by = sides.iter().filter_map(|c| c.model).map(|m| m.recipe);
    let other = made_by.find(|recipe| *recipe != model.recipe);
    Model {
        recipe: other.unwrap_or(model.recipe),
        ..model
    }
}

/// Lock files are merged as files; the environment records what they became.
fn follow_locks(env: Env, files: &Files) -> Env {
    let locks = env
        .locks
        .into_iter()
        .filter_map(|mut lock| {
            let file = files.get(&RepoPath::new(lock.path.clone()).ok()?)?;
            lock.blob = file.blob;
            Some(lock)
        })
        .collect();
    Env { locks, ..env }
}
