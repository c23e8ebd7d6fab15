//! Merging commits: the result goes to the working tree, and what can't be decided is state in the
//! operation log until somebody decides it.

use std::collections::{BTreeMap, HashMap};

use modelv_core::driver::{self, Item, Labels};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::merge::{Conflict, Listing, Merged, Outcome, Side, Why};
use modelv_core::path::RepoPath;
use modelv_core::weights::Method;
use modelv_store::Session;

use crate::commit::check_message;
use crate::ctx::Ctx;
use crate::envdiff::merge_env;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, Rules, SnapFile, differing};

mod base;
pub(crate) mod conclude;
mod demands;
pub(crate) mod large;
mod places;
mod settle;
pub(crate) mod state;
mod strategy;

pub(crate) use base::listing;
use conclude::Draft;
use large::{Contents, Unstored};
pub(crate) use settle::carries_markers;
use settle::no_weights;
pub use state::{Action, ConflictState, MergeState, Sequence, Step};
use state::{STATE_VERSION, StoredSide};
pub use strategy::Strategy;

/// What `merge` is asked for.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// Message of the merge commit; `None`: made from the names.
    pub message: Option<String>,
    /// Stop before the commit.
    pub no_commit: bool,
    /// Touch nothing, only tell.
    pub dry_run: bool,
    /// Who commits.
    pub author: Option<String>,
    /// What happens where HEAD's branch would only have to move.
    pub ff: FastForward,
    /// Who decides conflicts; the first that fits counts.
    pub strategies: Vec<Strategy>,
    /// Run no hooks.
    pub no_hooks: bool,
}

/// What happens where HEAD's branch would only have to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FastForward {
    /// It moves.
    #[default]
    Allowed,
    /// It moves; everything else is refused.
    Only,
    /// A merge commit is made.
    Never,
}

/// What a merge came to.
#[derive(Debug)]
pub enum MergeOutcome {
    /// HEAD already holds it.
    UpToDate,
    /// HEAD's branch only had to move.
    FastForward(CommitId),
    /// A merge commit was made.
    Merged(CommitId),
    /// Merged in the working tree, not committed.
    Staged,
    /// Merged as far as possible; these are left to decide.
    Conflicts(Vec<ConflictState>),
}

/// How a conflict is decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The merge base's version.
    Base,
    /// Ours.
    Ours,
    /// Theirs.
    Theirs,
    /// This value.
    Value(String),
    /// What the working tree holds now.
    AsEdited,
    /// The weights of both sides put together; for files of the model.
    Weights(Method),
}

/// What two sides are compared with: files and environment.
pub(crate) type Base = (Listing, Env);

/// Everything a merge makes.
pub(crate) struct Work {
    files: BTreeMap<RepoPath, Outcome>,
    pub(crate) conflicts: Vec<ConflictState>,
    pub(crate) env: Env,
    /// Files that are not what their names claim.
    notes: Vec<String>,
    /// What is too large for memory, and not stored yet.
    large: HashMap<BlobId, Unstored>,
}

impl Work {
    /// Tells what people should know of it.
    pub(crate) fn told(self, ctx: &Ctx<'_>) -> Self {
        self.notes.iter().for_each(|n| ctx.progress.note(n));
        self
    }
}

impl Repo {
    /// Merges a revision into HEAD.
    ///
    /// # Errors
    /// Uncommitted changes, an unfinished merge, unrelated histories, or I/O. Nothing changed then.
    pub fn merge(
        &mut self,
        revision: &str,
        options: &MergeOptions,
        ctx: &Ctx<'_>,
    ) -> Result<MergeOutcome> {
        self.refuse_while_merging("merge")?;
        if !options.dry_run && !options.no_hooks {
            self.before_merge(self.resolve(revision)?, ctx)?;
        }
        let _turn = match options.dry_run {
            true => None,
            false => Some(self.take_turn()?),
        };
        self.refuse_while_merging("merge")?;
        if !options.dry_run {
            self.refuse_while_running("merge")?;
        }
        if let Some(message) = &options.message {
            check_message(message)?;
        }
        let (ours, theirs) = (self.get_head()?, self.resolve(revision)?);
        let bases = self.merge_bases(ours, theirs)?;
        if bases.contains(&theirs) {
            return Ok(MergeOutcome::UpToDate);
        }
        if bases.is_empty() {
            let mut text = format!(
                "`{revision}` has no commit in common with `{}`",
                self.head_label()
            );
            if self.is_shallow() {
                text.push_str(" in this clone, which lacks a part of the history");
            }
            return Err(Error::State(text));
        }
        let is_ahead = bases.contains(&ours);
        if options.ff == FastForward::Only && !is_ahead {
            let head = self.head_label();
            let text = format!("can't fast-forward: `{head}` and `{revision}` have both moved");
            return Err(Error::State(text));
        }
        if is_ahead && options.ff != FastForward::Never {
            if !options.dry_run {
                let head_files = self.files(ours)?;
                let files = self.files(theirs)?;
                let now = self.refuse_changes(&head_files, &files, "merge", ctx)?;
                self.check_out_over(now, &head_files, &files, "merge", ctx)?;
                self.append(vec![self.head_change(theirs)], true, None)?;
            }
            return Ok(MergeOutcome::FastForward(theirs));
        }
        self.merge_apart(revision, (ours, theirs), &bases, options, ctx)
    }

    /// Merges two lines of history of which neither holds the other.
    fn merge_apart(
        &mut self,
        revision: &str,
        (ours, theirs): (CommitId, CommitId),
        bases: &[CommitId],
        options: &MergeOptions,
        ctx: &Ctx<'_>,
    ) -> Result<MergeOutcome> {
        let head_files = self.files(ours)?;
        let author = self.author(options.author.as_deref())?;
        let head_label = self.head_label();
        let labels = Labels {
            ours: &head_label,
            base: "base",
            theirs: revision,
        };
        let mut made = Contents::default();
        let base = self.virtual_base(bases, &mut made)?;
        let mut work = self.combine(base, &made, (ours, &head_files), Some(theirs), &labels)?;
        self.decide_by(&options.strategies, &mut work, ours, theirs)?;
        let work = work.told(ctx);
        if options.dry_run {
            return Ok(if work.conflicts.is_empty() {
                MergeOutcome::Staged
            } else {
                MergeOutcome::Conflicts(work.conflicts)
            });
        }
        let message = options
            .message
            .clone()
            .unwrap_or_else(|| format!("merge {revision} into {head_label}"));
        if work.conflicts.is_empty() && !options.no_commit {
            let draft = Draft {
                parents: vec![ours, theirs],
                author: author.clone(),
                committer: author,
                message,
            };
            let (id, _, files) = self.commit_work(&work, ours, Some(theirs), draft)?;
            let now = self.refuse_changes(&head_files, &files, "merge", ctx)?;
            self.check_out_over(now, &head_files, &files, "merge", ctx)?;
            self.append(vec![self.head_change(id)], true, None)?;
            return Ok(MergeOutcome::Merged(id));
        }
        let files = self.store_merged(&work)?;
        self.store_bases(&made, &work.conflicts)?;
        self.refuse_absent(&head_files, &files)?;
        let now = self.refuse_changes(&head_files, &files, "merge", ctx)?;
        let state = MergeState {
            version: STATE_VERSION,
            action: Action::Merge,
            theirs: Some(theirs.to_hex()),
            label: revision.to_owned(),
            message,
            env: work.env.id().to_hex(),
            conflicts: work.conflicts.clone(),
            made: made_paths(&files, &[&head_files, &self.files(theirs)?]),
            sequence: None,
            weights: BTreeMap::new(),
        };
        self.check_out_over(now, &head_files, &files, "merge", ctx)?;
        self.save_merge_state(Some(&state), true)?;
        if work.conflicts.is_empty() {
            return Ok(MergeOutcome::Staged);
        }
        Ok(MergeOutcome::Conflicts(work.conflicts))
    }

    /// The commit on their side of what is not finished; `None`: nothing is there.
    pub(crate) fn theirs_of(&self, state: &MergeState) -> Result<Option<CommitId>> {
        match (&state.theirs, &state.sequence) {
            (Some(theirs), _) => state::commit_id(theirs).map(Some),
            (None, Some(sequence)) => Ok(self.sides_of(state.action, &sequence.current)?.1),
            (None, None) => Ok(None),
        }
    }

    /// Refuses to begin with changes in the working tree, but for those that the merge would make
    /// itself: an attempt that was cut short has left them. Gives what the working tree holds.
    pub(crate) fn refuse_changes(
        &self,
        head: &Files,
        merged: &Files,
        action: &'static str,
        ctx: &Ctx<'_>,
    ) -> Result<Files> {
        let now = self.snapshot(&self.rules()?, None, ctx)?.files;
        let content = |files: &Files, path: &RepoPath| files.get(path).map(|f| (f.mode, f.blob));
        let changed: Vec<String> = differing(head, &now)
            .filter(|path| content(&now, path) != content(merged, path))
            .map(ToString::to_string)
            .collect();
        if changed.is_empty() {
            return Ok(now);
        }
        Err(Error::Uncommitted {
            action,
            paths: changed,
        })
    }

    /// Merges `theirs` (`None`: nothing) into `ours` over a base; `made` holds contents of the base
    /// that are not stored.
    pub(crate) fn combine(
        &self,
        (base, base_env): Base,
        made: &Contents,
        (ours, our_files): (CommitId, &Files),
        theirs: Option<CommitId>,
        labels: &Labels<'_>,
    ) -> Result<Work> {
        let our_commit = self.commit_object(ours)?;
        let their_commit = theirs.map(|id| self.commit_object(id)).transpose()?;
        let their_files = self.files_or_none(theirs)?;
        let (o, t) = (listing(our_files), listing(&their_files));
        let (merged, large) = self.merge_listings(&base, &o, &t, labels, made)?;
        let Merged {
            files,
            conflicts,
            mut notes,
        } = merged;
        notes.extend(self.demands_apart(&files, [our_files, &their_files])?);
        let our_env = self.env_object(our_commit.recipe.env)?;
        let their_env = match their_commit {
            Some(commit) => self.env_object(commit.recipe.env)?,
            None => Env::none(),
        };
        let (env, env_conflicts) = merge_env(&base_env, &our_env, &their_env);
        notes.extend(self.env_demands(&env, [&our_env, &their_env]));
        let mut all: Vec<ConflictState> = conflicts.iter().map(conflict_state).collect();
        all.extend(env_conflicts.into_iter().map(|c| ConflictState {
            item: format!("env:{}", c.item),
            kind: "env".into(),
            path: String::new(),
            part: Some(c.item),
            base: c.base,
            ours: c.ours,
            theirs: c.theirs,
            path_bytes: Vec::new(),
            base_file: None,
            ours_file: None,
            theirs_file: None,
            resolved: false,
            was: None,
            twin: None,
        }));
        Ok(Work {
            files,
            conflicts: all,
            env,
            notes,
            large,
        })
    }

    /// Base, our and their content of a conflict; `None`: absent.
    ///
    /// # Errors
    /// Content is missing, damaged or too large.
    pub fn conflict_contents(&self, conflict: &ConflictState) -> Result<[Option<Vec<u8>>; 3]> {
        let read = |stored: &Option<StoredSide>| -> Result<Option<Vec<u8>>> {
            let side = stored.as_ref().map(StoredSide::side).transpose()?;
            side.map(|s| self.read_blob(s.blob)).transpose()
        };
        Ok([
            read(&conflict.base_file)?,
            read(&conflict.ours_file)?,
            read(&conflict.theirs_file)?,
        ])
    }

    /// Stores what the merge wrote, and classifies every path by the merged `modelv.toml`.
    pub(crate) fn store_merged(&self, work: &Work) -> Result<Files> {
        let session = self.store.begin()?;
        let files = self.write_merged(work, &session)?;
        session.finish()?;
        Ok(files)
    }

    fn write_merged(&self, work: &Work, session: &Session<'_>) -> Result<Files> {
        let rules_text = match work.files.get(b"modelv.toml".as_slice()) {
            Some(Outcome::Keep(side)) => self.read_blob(side.blob)?,
            Some(Outcome::Write { bytes, .. }) => bytes.clone(),
            None => Vec::new(),
        };
        // A modelv.toml with conflict markers is no TOML; the defaults stand in until it is one.
        let rules =
            Rules::parse(&String::from_utf8_lossy(&rules_text)).or_else(|_| Rules::parse(""))?;
        let mut files = Vec::with_capacity(work.files.len());
        for (path, outcome) in &work.files {
            let (mode, size, blob) = match outcome {
                Outcome::Keep(side) => {
                    if let Some(file) = work.large.get(&side.blob) {
                        large::store(file, side.size, session)?;
                    }
                    (side.mode, side.size, side.blob)
                }
                Outcome::Write { mode, bytes } => {
                    let (blob, size) =
                        session.put_blob(&mut bytes.as_slice(), bytes.len() as u64)?;
                    (*mode, size, blob)
                }
            };
            let file = SnapFile {
                ingredient: rules.classify(path).ingredient,
                mode,
                size,
                blob,
            };
            files.push((path.clone(), file));
        }
        session.put_object(&work.env)?;
        Ok(files.into_iter().collect())
    }
}

impl ConflictState {
    /// A value of the conflict as it may be shown: what looks secret is hidden.
    #[must_use]
    pub fn shown(&self, value: Option<&str>) -> Option<String> {
        let value = value?;
        let key = self.part.as_deref().unwrap_or("");
        if driver::is_secret(&self.path_bytes, key, value) {
            return Some("(hidden)".into());
        }
        Some(value.to_owned())
    }
}

/// Paths that neither side has.
pub(crate) fn made_paths(files: &Files, sides: &[&Files]) -> Vec<Vec<u8>> {
    let known = |path: &RepoPath| sides.iter().any(|side| side.contains_key(path));
    let new = files.keys().filter(|path| !known(path));
    new.map(|path| path.as_bytes().to_vec()).collect()
}

fn conflict_state(c: &Conflict) -> ConflictState {
    let part = c.part.as_ref().and_then(|p| match &p.item {
        Item::Key(name) | Item::Package(name) => Some(name.clone()),
        Item::File | Item::Lines { .. } => None,
    });
    let path = c.path.to_string();
    let value =
        |f: fn(&driver::Conflict) -> &Option<String>| c.part.as_ref().and_then(|p| f(p).clone());
    let file = |side: Option<Side>| side.map(StoredSide::new);
    ConflictState {
        item: part
            .as_ref()
            .map_or_else(|| path.clone(), |part| format!("{path}:{part}")),
        kind: match c.why {
            Why::Key | Why::Package if part.is_none() => "text".into(),
            why => why.word().into(),
        },
        part,
        base: value(|p| &p.base),
        ours: value(|p| &p.ours),
        theirs: value(|p| &p.theirs),
        path_bytes: c.path.as_bytes().to_vec(),
        path,
        base_file: file(c.base),
        ours_file: file(c.ours),
        theirs_file: file(c.theirs),
        resolved: false,
        was: c.moved.as_ref().map(|m| m.from.as_bytes().to_vec()),
        twin: (c.moved.as_ref()).and_then(|m| Some(m.twin.as_ref()?.as_bytes().to_vec())),
    }
}
