//! Merging commits: the result goes to the working tree, and what can't be decided is state in the
//! operation log until somebody decides it.

use std::collections::HashMap;

use modelv_core::commit::Commit;
use modelv_core::driver::{self, Item, Labels};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId, EnvId};
use modelv_core::merge::{self, Conflict, Listing, Merged, Outcome, Side, Why};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use serde::{Deserialize, Serialize};

use crate::capture::{clock, git};
use crate::commit::{CommitOptions, Committed, check_message, write_recipe};
use crate::ctx::Ctx;
use crate::envdiff::{diff_env, merge_env, take_item};
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, Rules, SnapFile, compare};

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

/// One conflict as it is stored until it is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictState {
    /// Names it for `resolve`: `path`, `path:key`, `path:package` or `env:package`.
    pub item: String,
    /// `text`, `key`, `package`, `content`, `delete/modify`, `add/add`, `type`, `rename/rename`,
    /// `file/directory`, `env`.
    pub kind: String,
    /// The file; empty for the environment.
    pub path: String,
    /// Key or package inside the file or environment.
    pub part: Option<String>,
    /// Value in the merge base, as text.
    pub base: Option<String>,
    /// Our value.
    pub ours: Option<String>,
    /// Their value.
    pub theirs: Option<String>,
    /// Bytes of the path, for one that is not UTF-8.
    path_bytes: Vec<u8>,
    base_file: Option<StoredSide>,
    ours_file: Option<StoredSide>,
    theirs_file: Option<StoredSide>,
    /// Whether it has been decided.
    pub resolved: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSide {
    mode: u8,
    size: u64,
    blob: String,
}

impl StoredSide {
    fn new(side: Side) -> Self {
        let mode = match side.mode {
            Mode::File => 0,
            Mode::Executable => 1,
            Mode::Symlink => 2,
            Mode::Tree => 3,
            Mode::External => 4,
        };
        Self {
            mode,
            size: side.size,
            blob: side.blob.to_hex(),
        }
    }

    fn side(&self) -> Result<Side> {
        let mode = match self.mode {
            0 => Mode::File,
            1 => Mode::Executable,
            2 => Mode::Symlink,
            _ => Mode::External,
        };
        let blob = BlobId::from_hex(&self.blob).map_err(|e| Error::Corrupt {
            what: "merge state".into(),
            detail: e.to_string(),
        })?;
        Ok(Side {
            mode,
            size: self.size,
            blob,
        })
    }
}

/// An unfinished merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeState {
    /// The commit that is merged into HEAD.
    pub theirs: String,
    /// What people called it.
    pub label: String,
    /// Message of the commit to come.
    pub message: String,
    /// Environment of the commit to come.
    env: String,
    /// Everything that was left to decide, decided or not.
    pub conflicts: Vec<ConflictState>,
}

impl MergeState {
    /// The commit, the environment and the contents that it takes to finish the merge.
    ///
    /// # Errors
    /// An id is none.
    pub(crate) fn needs(&self) -> Result<(CommitId, EnvId, Vec<BlobId>)> {
        let bad = |detail: String| Error::Corrupt {
            what: "merge state".into(),
            detail,
        };
        let theirs = CommitId::from_hex(&self.theirs).map_err(|e| bad(e.to_string()))?;
        let env = EnvId::from_hex(&self.env).map_err(|e| bad(e.to_string()))?;
        let files = self
            .conflicts
            .iter()
            .flat_map(|c| [&c.base_file, &c.ours_file, &c.theirs_file]);
        let blobs = files.flatten().map(|f| f.side().map(|s| s.blob));
        Ok((theirs, env, blobs.collect::<Result<_>>()?))
    }

    /// Conflicts that are not decided.
    pub fn open(&self) -> impl Iterator<Item = &ConflictState> {
        self.conflicts.iter().filter(|c| !c.resolved)
    }
}

/// How a conflict is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Everything a merge needs to know and makes.
struct Work {
    files: HashMap<RepoPath, Outcome>,
    conflicts: Vec<ConflictState>,
    env: Env,
    /// Files that are not what their names claim.
    notes: Vec<String>,
}

impl Work {
    /// Tells what people should know of it.
    fn told(self, ctx: &Ctx<'_>) -> Self {
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
        if let Some(message) = &options.message {
            check_message(message)?;
        }
        let (ours, theirs) = (self.get_head()?, self.resolve(revision)?);
        let bases = self.merge_bases(ours, theirs)?;
        if bases.contains(&theirs) {
            return Ok(MergeOutcome::UpToDate);
        }
        if bases.is_empty() {
            let text = format!(
                "`{revision}` has no commit in common with `{}`",
                self.head_label()
            );
            return Err(Error::State(text));
        }
        let head_files = self.files(ours)?;
        if bases.contains(&ours) && !options.no_commit && options.message.is_none() {
            if !options.dry_run {
                let files = self.files(theirs)?;
                self.refuse_changes(&head_files, &files, ctx)?;
                self.check_out(Some(ours), &files, "merge", ctx)?;
                self.append(vec![self.head_change(theirs)], true, None)?;
            }
            return Ok(MergeOutcome::FastForward(theirs));
        }
        let author = self.author(options.author.as_deref())?;
        let head_label = self.head_label();
        let labels = Labels {
            ours: &head_label,
            base: "base",
            theirs: revision,
        };
        let work = self.combine(&bases, ours, theirs, &labels)?.told(ctx);
        if options.dry_run {
            return Ok(if work.conflicts.is_empty() {
                MergeOutcome::Staged
            } else {
                MergeOutcome::Conflicts(work.conflicts)
            });
        }
        let (files, env_id) = self.store_merged(&work)?;
        self.refuse_changes(&head_files, &files, ctx)?;
        let message = options
            .message
            .clone()
            .unwrap_or_else(|| format!("merge {revision} into {}", self.head_label()));
        let state = MergeState {
            theirs: theirs.to_hex(),
            label: revision.to_owned(),
            message,
            env: env_id.to_hex(),
            conflicts: work.conflicts.clone(),
        };
        self.check_out_files(&head_files, &files, "merge", ctx)?;
        self.save_merge_state(Some(&state), true)?;
        if !work.conflicts.is_empty() {
            return Ok(MergeOutcome::Conflicts(work.conflicts));
        }
        if options.no_commit {
            return Ok(MergeOutcome::Staged);
        }
        let options = CommitOptions {
            message: state.message.clone(),
            author: Some(author.to_string()),
            ..CommitOptions::default()
        };
        Ok(MergeOutcome::Merged(
            self.conclude_merge(state, &options, ctx)?.id,
        ))
    }

    /// Refuses to begin with changes in the working tree, but for those that the merge would make
    /// itself: an attempt that was cut short has left them.
    fn refuse_changes(&self, head: &Files, merged: &Files, ctx: &Ctx<'_>) -> Result<()> {
        let now = self.snapshot(&self.rules()?, None, ctx)?.files;
        let content = |files: &Files, path| files.get(path).map(|f| (f.mode, f.blob));
        let changed: Vec<String> = compare(head, &now)
            .iter()
            .filter(|c| content(&now, &c.path) != content(merged, &c.path))
            .map(|c| c.path.to_string())
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::WouldOverwrite {
            action: "merge",
            paths: changed,
        })
    }

    fn combine(
        &self,
        bases: &[CommitId],
        ours: CommitId,
        theirs: CommitId,
        labels: &Labels<'_>,
    ) -> Result<Work> {
        let (our_commit, their_commit) = (self.commit_object(ours)?, self.commit_object(theirs)?);
        let mut made: HashMap<BlobId, Vec<u8>> = HashMap::new();
        let (base, base_env, base_model) = self.virtual_base(bases, &mut made)?;
        let (our_files, their_files) = (self.files(ours)?, self.files(theirs)?);
        let (o, t) = (listing(&our_files), listing(&their_files));
        let Merged {
            files,
            conflicts,
            notes,
        } = self.merge_listings(&base, &o, &t, labels, &made)?;
        let mut files: HashMap<RepoPath, Outcome> = files.into_iter().collect();
        // The model is the product of one recipe: never mixed from two. One side's new model is
        // taken (and is stale); when both trained, the merge has none until it is trained itself.
        let tree = |c: &Commit| c.model.map(|m| m.tree);
        let model_side = match (tree(&our_commit), tree(&their_commit)) {
            (a, b) if a == b || b == base_model => Some(&our_files),
            (a, _) if a == base_model => Some(&their_files),
            _ => None,
        };
        for (path, file) in model_side.into_iter().flatten() {
            if file.ingredient == Ingredient::Model {
                files.insert(path.clone(), Outcome::Keep(side_of(file)));
            }
        }
        let (env, env_conflicts) = merge_env(
            &base_env,
            &self.env_object(our_commit.recipe.env)?,
            &self.env_object(their_commit.recipe.env)?,
        );
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
        }));
        Ok(Work {
            files,
            conflicts: all,
            env,
            notes,
        })
    }

    fn merge_listings(
        &self,
        base: &Listing,
        ours: &Listing,
        theirs: &Listing,
        labels: &Labels<'_>,
        made: &HashMap<BlobId, Vec<u8>>,
    ) -> Result<Merged> {
        let rules = self.rules()?;
        let keys = |path: &RepoPath| rules.table_key(path);
        merge::merge_by(base, ours, theirs, (labels, &keys), &mut |blob, size| {
            if let Some(bytes) = made.get(&blob) {
                return Ok(Some(bytes.clone()));
            }
            if size > crate::repo::DOCUMENT_BYTES_MAX {
                return Ok(None);
            }
            self.read_blob(blob).map(Some)
        })
    }

    /// The merge base. Several best common ancestors (a criss-cross history) are merged into one
    /// that no commit holds, as Git does; their conflicts stand in it with markers.
    fn virtual_base(
        &self,
        bases: &[CommitId],
        made: &mut HashMap<BlobId, Vec<u8>>,
    ) -> Result<(Listing, Env, Option<modelv_core::id::TreeId>)> {
        let Some((first, rest)) = bases.split_first() else {
            return Ok((Listing::new(), Env::none(), None));
        };
        let commit = self.commit_object(*first)?;
        let mut files = listing(&self.files(*first)?);
        let mut env = self.env_object(commit.recipe.env)?;
        let mut model = commit.model.map(|m| m.tree);
        for next in rest {
            let above = self.merge_bases(*first, *next)?;
            let (base, base_env, _) = self.virtual_base(&above, made)?;
            let commit = self.commit_object(*next)?;
            let other = listing(&self.files(*next)?);
            let labels = Labels {
                ours: "base 1",
                base: "base",
                theirs: "base 2",
            };
            let merged = self.merge_listings(&base, &files, &other, &labels, made)?;
            files = merged
                .files
                .into_iter()
                .map(|(path, outcome)| match outcome {
                    Outcome::Keep(side) => (path, side),
                    Outcome::Write { mode, bytes } => {
                        let blob = BlobId::of(&bytes);
                        let size = bytes.len() as u64;
                        made.insert(blob, bytes);
                        (path, Side { mode, size, blob })
                    }
                })
                .collect();
            env = merge_env(&base_env, &env, &self.env_object(commit.recipe.env)?).0;
            if model != commit.model.map(|m| m.tree) {
                model = None;
            }
        }
        Ok((files, env, model))
    }

    /// Stores what the merge wrote, and classifies every path by the merged `modelv.toml`.
    fn store_merged(&self, work: &Work) -> Result<(Files, EnvId)> {
        let session = self.store.begin()?;
        let mut sides: HashMap<&RepoPath, Side> = HashMap::new();
        let mut rules_text = None;
        for (path, outcome) in &work.files {
            let side = match outcome {
                Outcome::Keep(side) => *side,
                Outcome::Write { mode, bytes } => {
                    let (blob, size) =
                        session.put_blob(&mut bytes.as_slice(), bytes.len() as u64)?;
                    Side {
                        mode: *mode,
                        size,
                        blob,
                    }
                }
            };
            if path.as_bytes() == b"modelv.toml" {
                rules_text = Some(match outcome {
                    Outcome::Keep(side) => self.read_blob(side.blob)?,
                    Outcome::Write { bytes, .. } => bytes.clone(),
                });
            }
            sides.insert(path, side);
        }
        session.put_object(&work.env)?;
        session.finish()?;
        let text = String::from_utf8_lossy(rules_text.as_deref().unwrap_or(b"")).into_owned();
        // A modelv.toml with conflict markers is no TOML; the defaults stand in until it is one.
        let rules = Rules::parse(&text).or_else(|_| Rules::parse(""))?;
        let files = sides
            .into_iter()
            .map(|(path, side)| {
                let ingredient = rules.classify(path).ingredient;
                let (mode, size, blob) = (side.mode, side.size, side.blob);
                (
                    path.clone(),
                    SnapFile {
                        ingredient,
                        mode,
                        size,
                        blob,
                    },
                )
            })
            .collect();
        Ok((files, work.env.id()))
    }

    /// The unfinished merge, if there is one.
    ///
    /// # Errors
    /// Its record is missing or damaged.
    pub fn merge_state(&self) -> Result<Option<MergeState>> {
        let Some(Target::Blob(blob)) = self.log.refs.get(names::MERGE) else {
            return Ok(None);
        };
        self.read_merge_state(*blob).map(Some)
    }

    /// The state of a merge as it was at some time.
    pub(crate) fn read_merge_state(&self, blob: BlobId) -> Result<MergeState> {
        serde_json::from_slice(&self.read_blob(blob)?).map_err(|e| Error::Corrupt {
            what: "merge state".into(),
            detail: e.to_string(),
        })
    }

    fn save_merge_state(&mut self, state: Option<&MergeState>, worktree: bool) -> Result<()> {
        let change = self.merge_state_change(state)?;
        self.append(vec![change], worktree, None).map(|_| ())
    }

    fn merge_state_change(&self, state: Option<&MergeState>) -> Result<RefChange> {
        let new = match state {
            None => None,
            Some(state) => {
                let bytes = serde_json::to_vec(state).map_err(|e| Error::State(e.to_string()))?;
                let session = self.store.begin()?;
                let (blob, _) = session.put_blob(&mut bytes.as_slice(), bytes.len() as u64)?;
                session.finish()?;
                Some(Target::Blob(blob))
            }
        };
        Ok(RefChange {
            name: names::MERGE.into(),
            old: self.log.refs.get(names::MERGE).cloned(),
            new,
        })
    }

    fn get_merge_state(&self) -> Result<MergeState> {
        self.merge_state()?
            .ok_or_else(|| Error::State("no merge is under way".into()))
    }

    /// Decides one conflict.
    ///
    /// # Errors
    /// No such conflict, or the decision does not fit it.
    pub fn resolve_conflict(
        &mut self,
        item: &str,
        decision: &Decision,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let mut state = self.get_merge_state()?;
        let Some(at) = state.conflicts.iter().position(|c| c.item == item) else {
            return Err(Error::not_found("conflict", item));
        };
        let conflict = state.conflicts[at].clone();
        match (conflict.kind.as_str(), &conflict.part) {
            ("env", Some(part)) => self.settle_env(&mut state, part, decision)?,
            (_, Some(_)) => self.settle_part(&conflict, decision)?,
            (_, None) => self.settle_file(&conflict, decision, ctx)?,
        }
        state.conflicts[at].resolved = true;
        self.save_merge_state(Some(&state), false)
    }

    fn settle_env(&self, state: &mut MergeState, part: &str, decision: &Decision) -> Result<()> {
        let read = |hex: &str| -> Result<Env> {
            let id = EnvId::from_hex(hex).map_err(|e| Error::Corrupt {
                what: "merge state".into(),
                detail: e.to_string(),
            })?;
            self.env_object(id)
        };
        let merged = read(&state.env)?;
        let from = match decision {
            Decision::Ours => self.commit_object(self.get_head()?)?.recipe.env,
            Decision::Theirs => self.commit_object(self.resolve(&state.theirs)?)?.recipe.env,
            _ => {
                let reason = "an installed package is decided with --ours or --theirs";
                return Err(Error::invalid("decision", part, reason));
            }
        };
        let env = take_item(&merged, &self.env_object(from)?, part);
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
        };
        let path = conflict.repo_path()?;
        let full = crate::worktree::place(self.root(), &path);
        let bytes = std::fs::read(&full).map_err(Error::io("read", &full))?;
        let part = conflict.part.clone().unwrap_or_default();
        let item = match conflict.kind.as_str() {
            "key" => Item::Key(part),
            _ => Item::Package(part),
        };
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
            Decision::AsEdited => {
                if std::fs::read(&full).is_ok_and(|b| driver::has_markers(&b)) {
                    let text = format!("`{path}` still carries conflict markers");
                    return Err(Error::State(text));
                }
                return Ok(());
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

    /// Commits the merge that is under way.
    ///
    /// # Errors
    /// Conflicts are open, or a file still carries markers.
    pub fn merge_continue(&mut self, options: &CommitOptions, ctx: &Ctx<'_>) -> Result<Committed> {
        let state = self.get_merge_state()?;
        let mut options = options.clone();
        if options.message.trim().is_empty() {
            options.message.clone_from(&state.message);
        }
        self.conclude_merge(state, &options, ctx)
    }

    /// Gives the merge up: the working tree is what it was before, byte for byte.
    ///
    /// # Errors
    /// No merge is under way.
    pub fn merge_abort(&mut self, ctx: &Ctx<'_>) -> Result<()> {
        let state = self.get_merge_state()?;
        let head = self.files(self.get_head()?)?;
        let current = self.snapshot(&self.rules()?, None, ctx)?.files;
        let theirs = self.files(self.resolve(&state.theirs)?)?;
        // Files that neither side has were made by the user meanwhile: they stay.
        let mut from = current.clone();
        let aside: Vec<RepoPath> = state
            .conflicts
            .iter()
            .filter_map(|c| c.repo_path().ok())
            .collect();
        from.retain(|p, _| head.contains_key(p) || theirs.contains_key(p) || aside.contains(p));
        self.check_out_files(&from, &head, "abort", ctx)?;
        self.save_merge_state(None, true)
    }

    pub(crate) fn conclude_merge(
        &mut self,
        state: MergeState,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Committed> {
        let open: Vec<String> = state.open().map(|c| c.item.clone()).collect();
        if !open.is_empty() {
            return Err(Error::ConflictsRemain {
                count: open.len(),
                items: open,
            });
        }
        for conflict in state.conflicts.iter().filter(|c| c.kind != "env") {
            let full = crate::worktree::place(self.root(), &conflict.repo_path()?);
            if std::fs::read(&full).is_ok_and(|b| driver::has_markers(&b)) {
                let text = format!("`{}` still carries conflict markers", conflict.path);
                return Err(Error::State(text));
            }
        }
        check_message(&options.message)?;
        let author = self.author(options.author.as_deref())?;
        let (ours, theirs) = (self.get_head()?, self.resolve(&state.theirs)?);
        let (our_commit, their_commit) = (self.commit_object(ours)?, self.commit_object(theirs)?);
        let env_id = EnvId::from_hex(&state.env).map_err(|e| Error::Corrupt {
            what: "merge state".into(),
            detail: e.to_string(),
        })?;
        let rules = self.rules()?;
        let (recipe, model, files, skipped, env) = {
            let session = self.store.begin()?;
            let snapshot = self.snapshot(&rules, Some(&session), ctx)?;
            if !options.allow_secret {
                let known = [
                    self.files_of_commit(&our_commit)?,
                    self.files_of_commit(&their_commit)?,
                ];
                self.refuse_secrets(&snapshot.files, &[&known[0], &known[1]], &rules, ctx)?;
            }
            let env = self.follow_locks(self.env_object(env_id)?, &snapshot.files);
            // Whose model it is decides whose recipe made it.
            let tree = crate::worktree::tree_ids(&snapshot.files)?.model;
            let parent = [&our_commit, &their_commit]
                .into_iter()
                .find(|c| tree.is_some() && c.model.map(|m| m.tree) == tree);
            let (recipe, model) = write_recipe(&snapshot.files, &env, parent, &session)?;
            session.finish()?;
            (recipe, model, snapshot.files, snapshot.skipped, env)
        };
        let runs = [&our_commit, &their_commit]
            .into_iter()
            .find(|c| model.is_some() && c.model == model)
            .map(|c| c.runs.clone())
            .unwrap_or_default();
        let commit = Commit {
            recipe,
            model,
            parents: vec![ours, theirs],
            author: author.clone(),
            committer: author,
            time: clock::now(),
            message: options.message.trim().to_owned(),
            runs,
            extra: git::facts(self.root()),
        };
        let cleared = self.merge_state_change(None)?;
        let id = self.publish(&commit, vec![cleared], true)?;
        Ok(Committed {
            id,
            recipe: recipe.id(),
            is_first: false,
            changes: compare(&self.files_of_commit(&our_commit)?, &files),
            env: diff_env(&self.env_object(our_commit.recipe.env)?, &env),
            skipped,
        })
    }

    /// Lock files are merged as files; the environment records what they became.
    fn follow_locks(&self, env: Env, files: &Files) -> Env {
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

    fn repo_path(&self) -> Result<RepoPath> {
        Ok(RepoPath::new(self.path_bytes.clone())?)
    }
}

fn side_of(file: &SnapFile) -> Side {
    Side {
        mode: file.mode,
        size: file.size,
        blob: file.blob,
    }
}

/// Everything but the model, which is never merged by file.
fn listing(files: &Files) -> Listing {
    files
        .iter()
        .filter(|(_, f)| f.ingredient != Ingredient::Model)
        .map(|(p, f)| (p.clone(), side_of(f)))
        .collect()
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
    }
}
