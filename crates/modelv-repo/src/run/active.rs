//! A run from its beginning to its record, whoever executes it: a child process or the caller.
//!
//! Everything a run has not recorded yet is in its folder below `.mv/tmp`, which a kernel lock
//! marks as in use; see `crash.rs`. Must never change what is recorded already.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_core::commit::{Commit, Model, Person, Recipe};
use modelv_core::id::{CommitId, RecipeId, RunId, TreeId};
use modelv_core::run::{Doubt, Origin, Run, Status};
use modelv_core::value::Value;

use super::record::{Beginning, Ending, Record, record_of};
use super::{Hold, METRICS_FILE, RunOptions, RunOutcome, Stamps};
use crate::capture::system::Sampler;
use crate::capture::{clock, git, metrics, params, secrets};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, SnapFile, Snapshot, write_trees};

/// A run that has begun. Without [`Repo::finish_run`] it counts as crashed once it is dropped.
#[derive(Debug)]
pub struct ActiveRun {
    pub(crate) record: Record,
    pub(crate) recipe: Recipe,
    pub(crate) files: Files,
    /// Of its code and parameters.
    stamps: Stamps,
    pub(super) author: Person,
    pub(super) message: Option<String>,
    pub(crate) metrics_before: Option<metrics::Stamp>,
    /// Runs that are parts of it and belong to its commit.
    pub(crate) parts: Vec<RunId>,
    /// Whether its outputs are committed.
    pub(crate) commits: bool,
    /// Branch that was checked out.
    pub(super) branch: Option<String>,
    pub(crate) hold: Hold,
    /// Of a program that trains by itself; for child processes it is whoever waits for them.
    sampler: Option<Sampler>,
}

impl ActiveRun {
    /// The run's folder, until it is finished: [`super::Journal::open`] takes it. Programs that belong to
    /// the run find it in `MODELV_RUN`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.record.folder
    }

    /// The recipe it runs.
    #[must_use]
    pub fn recipe(&self) -> RecipeId {
        self.record.draft.recipe
    }

    /// Program and arguments as they are recorded.
    #[must_use]
    pub fn command(&self) -> &[String] {
        &self.record.draft.command
    }

    /// Where what it prints belongs.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.record.log_path()
    }

    /// Ends it without a record: nothing has been executed.
    pub fn discard(self) {
        self.record.discard();
    }
}

impl Repo {
    /// Begins a run of the working tree as it is: stores its files and notes its parameters. Beside another
    /// run there, its outputs are recorded and not committed: nobody knows whose they are.
    ///
    /// # Errors
    /// A merge is open, nobody said who commits, there are credentials in the files, or something
    /// can't be read or written.
    pub fn begin_run(
        &mut self,
        options: &RunOptions,
        command: &[String],
        ctx: &Ctx<'_>,
    ) -> Result<ActiveRun> {
        self.sampling()?;
        let hold = self.hold_or_beside(&command.join(" "))?;
        let mut active = self.begin_held(options, command, hold, ctx)?;
        active.sampler = self.sampler(active.folder())?;
        Ok(active)
    }

    /// The same for who has the working tree, or need not have it.
    pub(crate) fn begin_held(
        &mut self,
        options: &RunOptions,
        command: &[String],
        hold: Hold,
        ctx: &Ctx<'_>,
    ) -> Result<ActiveRun> {
        self.refuse_while_merging("run")?;
        if let Some(message) = &options.message {
            crate::commit::check_message(message)?;
        }
        let author = self.author(options.author.as_deref())?;
        self.record_crashed()?;
        let (recipe, files, params) = self.store_start(options, ctx)?;
        let is_read =
            |file: &SnapFile| matches!(file.ingredient, Ingredient::Code | Ingredient::Config);
        let read = files.iter().filter(|(_, file)| is_read(file));
        let stamps = Stamps::take(self.root(), read.map(|(path, _)| path));
        let beginning = Beginning {
            command: command.to_vec(),
            recipe,
            params,
            host: self.host_facts(&files)?,
            origin: Origin::default(),
        };
        Ok(ActiveRun {
            record: self.begin_record(beginning)?,
            recipe,
            files,
            stamps,
            author,
            message: options.message.clone(),
            metrics_before: metrics::stamp(&self.root().join(METRICS_FILE)),
            parts: Vec::new(),
            // A part of another run is committed with that.
            commits: self.enclosing_run().is_none(),
            branch: self.head_ref().map(str::to_owned),
            hold,
            sampler: None,
        })
    }

    fn store_start(
        &self,
        options: &RunOptions,
        ctx: &Ctx<'_>,
    ) -> Result<(Recipe, Files, BTreeMap<String, Value>)> {
        let rules = self.rules()?;
        let session = self.store.begin()?;
        let files = self.snapshot(&rules, Some(&session), ctx)?.files;
        if !options.allow_secret {
            let head = self.head().map(|id| self.files(id)).transpose()?;
            self.refuse_secrets(&files, &[&head.unwrap_or_default()], &rules, ctx)?;
        }
        let env = self.capture_env(&files, &rules, options.python.clone())?;
        crate::commit::tell_patches(&env, ctx);
        self.require_externals(&files, ctx)?;
        let trees = write_trees(&files, &session)?;
        session.put_object(&env)?;
        session.finish()?;
        let mut params = self.params_of(&files)?;
        params.extend(options.params.clone());
        secrets::mask_values(&mut params);
        let recipe = Recipe {
            code: trees.code,
            data: trees.data,
            config: trees.config,
            env: env.id(),
        };
        Ok((recipe, files, params))
    }

    /// Records a run and, when it finished, commits what it made as the model of its recipe.
    ///
    /// # Errors
    /// Something can't be read or written: the run then counts as crashed, and the next one records
    /// it. [`Error::Overtaken`]: another commit was made meanwhile; the run is recorded, and its outputs are
    /// committed on a branch of its own.
    pub fn finish_run(
        &mut self,
        mut active: ActiveRun,
        ending: Ending,
        ctx: &Ctx<'_>,
    ) -> Result<RunOutcome> {
        active.sampler = None;
        // What others did to the refs meanwhile.
        self.log.catch_up()?;
        let session = self.store.begin()?;
        let (mut run, bad_lines) = self.close_record(&active.record, ending, &session)?;
        let metrics_path = self.root().join(METRICS_FILE);
        if metrics::stamp(&metrics_path) != active.metrics_before {
            // What a program says at its end counts more than the last point of a series.
            run.metrics
                .extend(metrics::read_or_tell(&metrics_path, ctx));
        }
        secrets::mask_values(&mut run.metrics);
        let mut strays = Vec::new();
        // The user wants to stop: no time for looking at every file.
        if ending.status != Status::Interrupted {
            let rules = self.rules()?;
            let Snapshot {
                files: after,
                skipped,
            } = self.snapshot(&rules, Some(&session), ctx)?;
            super::tell_left_out(&skipped, &rules, ctx);
            let outputs = write_trees(&after, &session)?.model;
            run.outputs = outputs.filter(|_| ending.status == Status::Finished);
            strays = super::strays(&active.files, &after);
            run.origin.doubts = super::moved(self.root(), &active.files, &after, &active.stamps);
        }
        if active.hold.is_shared() {
            run.origin.doubts.push(Doubt::Beside);
        }
        let id = RunId(session.put_object(&run)?);
        let is_sure = run.origin.doubts.is_empty();
        let outputs = run.outputs.filter(|_| active.commits && is_sure);
        // One session for all: each ends with waiting for the disk.
        let model = outputs.map(|tree| {
            let commit = self.model_commit(&active, tree, id, &run, run.commit)?;
            Ok::<_, Error>(CommitId(session.put_object(&commit)?))
        });
        let model = model.transpose()?;
        session.finish()?;
        let commit = match model {
            Some(model) => self.commit_outputs(&active, model, id, &run).map(Some),
            None => self.update_refs(vec![record_of(id)]).map(|_| None),
        };
        if matches!(commit, Ok(_) | Err(Error::Overtaken { .. })) {
            active.record.forget();
        }
        Ok(RunOutcome {
            id,
            run,
            reused: false,
            commit: commit?,
            strays,
            bad_lines,
        })
    }

    /// Records a run that only held others together: it made nothing itself.
    ///
    /// # Errors
    /// Something can't be read or written.
    pub(crate) fn finish_group(&mut self, active: &ActiveRun, ending: Ending) -> Result<RunId> {
        let session = self.store.begin()?;
        let (run, _) = self.close_record(&active.record, ending, &session)?;
        let id = RunId(session.put_object(&run)?);
        session.finish()?;
        self.update_refs(vec![record_of(id)])?;
        active.record.forget();
        Ok(id)
    }

    /// Moves HEAD to the commit of the outputs together with the record, or records alone when HEAD is not what
    /// it was.
    fn commit_outputs(
        &mut self,
        active: &ActiveRun,
        model: CommitId,
        id: RunId,
        run: &Run,
    ) -> Result<CommitId> {
        let is_there = self.head() == run.commit && self.head_ref() == active.branch.as_deref();
        let done = match is_there {
            true => self.move_head(model, vec![record_of(id)], false),
            false => Err(Error::RefMoved {
                name: names::HEAD.into(),
            }),
        };
        if let Err(Error::RefMoved { .. }) = done {
            // What took hours is on a branch of its own, from where it began.
            let branch = format!("run-{}", id.short());
            let change = RefChange {
                name: format!("{}{branch}", names::HEADS),
                old: None,
                new: Some(Target::Commit(model)),
            };
            self.update_refs(vec![record_of(id), change])?;
            let commit = model.short();
            return Err(Error::Overtaken { commit, branch });
        }
        done
    }

    /// Commits the outputs of a known run as the model of this one's recipe, unless HEAD already is that commit.
    pub(super) fn commit_known(
        &mut self,
        active: &ActiveRun,
        outputs: TreeId,
        run_id: RunId,
        run: &Run,
    ) -> Result<Option<CommitId>> {
        let head = self.head();
        let parent = head.map(|id| self.commit_object(id)).transpose()?;
        let commit = self.model_commit(active, outputs, run_id, run, self.head())?;
        let is_known = parent.as_ref().is_some_and(|p| {
            p.recipe == commit.recipe && p.model == commit.model && p.runs.contains(&run_id)
        });
        if is_known {
            return Ok(head);
        }
        self.publish(&commit, Vec::new(), false).map(Some)
    }

    /// The commit of `outputs` as the model of the run's recipe.
    fn model_commit(
        &self,
        active: &ActiveRun,
        outputs: TreeId,
        run_id: RunId,
        run: &Run,
        parent: Option<CommitId>,
    ) -> Result<Commit> {
        let recipe = active.recipe;
        let message = active.message.clone().unwrap_or_else(|| {
            let shown = match run.command.as_slice() {
                [sh, c, text] if sh == "sh" && c == "-c" => text.clone(),
                words => words.join(" "),
            };
            format!("run: {shown}")
        });
        crate::commit::check_message(&message)?;
        Ok(Commit {
            recipe,
            model: Some(Model {
                tree: outputs,
                recipe: recipe.id(),
            }),
            parents: parent.into_iter().collect(),
            author: active.author.clone(),
            committer: active.author.clone(),
            time: clock::now(),
            message,
            runs: active.parts.iter().copied().chain([run_id]).collect(),
            extra: git::facts(self.root()),
        })
    }
}

impl Repo {
    /// Leaves of the configuration files.
    pub(crate) fn params_of(&self, files: &Files) -> Result<BTreeMap<String, Value>> {
        let mut documents = Vec::new();
        for (path, file) in files
            .iter()
            .filter(|(_, f)| f.ingredient == Ingredient::Config)
        {
            if file.size <= params::FILE_BYTES_MAX {
                documents.push((path.clone(), self.read_blob(file.blob)?));
            }
        }
        Ok(params::collect(&documents))
    }
}
