//! A run from its beginning to its record, whoever executes it: a child process or the caller.
//!
//! Everything a run has not recorded yet is in its folder below `.mv/tmp`, which a kernel lock
//! marks as in use; see `crash.rs`. Must never change what is recorded already.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use modelv_core::canon::Kind;
use modelv_core::commit::{Commit, Model, Person, Recipe};
use modelv_core::id::{BlobId, CommitId, RecipeId, RunId, TreeId};
use modelv_core::run::{Determinism, Run, Status};
use modelv_core::value::Value;
use modelv_store::fs;
use modelv_store::remote::Item;

use super::crash::write_start;
use super::journal::SERIES_FILE;
use super::reading;
use super::{METRICS_FILE, RunOptions, RunOutcome};
use crate::capture::{clock, git, metrics, params, secrets};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::names;
use crate::oplog::{RefChange, Target, nonce};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, write_trees};

/// What the run printed, in its folder.
pub(super) const LOG_FILE: &str = "log";
pub(super) const FOLDER_PREFIX: &str = "run-";

/// A run that has begun. Without [`Repo::finish_run`] it counts as crashed once it is dropped.
#[derive(Debug)]
pub struct ActiveRun {
    /// What will be recorded, as far as it is known.
    draft: Run,
    pub(super) recipe: Recipe,
    pub(super) files: Files,
    pub(super) author: Person,
    pub(super) message: Option<String>,
    metrics_before: Option<metrics::Stamp>,
    folder: PathBuf,
    clock: Instant,
    /// Holds the lock.
    _start: File,
    /// Keeps what is stored and not yet named.
    _lease: Lease,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The kind of end.
    pub status: Status,
    /// Exit status, if it ended by itself.
    pub exit_code: Option<i32>,
}

impl ActiveRun {
    /// The run's folder, until it is finished: [`super::Journal::open`] takes it. Programs that belong to
    /// the run find it in `MODELV_RUN`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The recipe it runs.
    #[must_use]
    pub fn recipe(&self) -> RecipeId {
        self.draft.recipe
    }

    /// Program and arguments as they are recorded.
    #[must_use]
    pub fn command(&self) -> &[String] {
        &self.draft.command
    }

    /// Where what it prints belongs.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.join(LOG_FILE)
    }

    /// Ends it without a record: nothing has been executed.
    pub fn discard(self) {
        // What stays behind would be taken for a crashed run, and is no more than that.
        let _ = fs::remove_flat_dir(&self.folder);
    }
}

impl Repo {
    /// Begins a run of the working tree as it is: stores its files and notes its parameters.
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
        self.refuse_while_merging("run")?;
        if let Some(message) = &options.message {
            crate::commit::check_message(message)?;
        }
        let author = self.author(options.author.as_deref())?;
        self.record_crashed()?;
        let (recipe, files, params) = self.store_start(options, ctx)?;
        let mut words = command.to_vec();
        secrets::mask_words(&mut words);
        let draft = Run {
            command: words,
            recipe: recipe.id(),
            commit: self.head(),
            params,
            metrics: BTreeMap::new(),
            series: None,
            outputs: None,
            status: Status::Interrupted,
            exit_code: None,
            started: clock::now(),
            duration_ms: 0,
            host: self.host_facts(&files)?,
            determinism: Determinism::Unknown,
            log: None,
            nonce: nonce(),
        };
        let name = format!("{FOLDER_PREFIX}{}", modelv_core::id::to_hex(&draft.nonce));
        let folder = self.dir().join("tmp").join(name);
        fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        let start = write_start(&folder, &draft)?;
        let trees = [recipe.code, recipe.data, recipe.config];
        let mut items: Vec<Item> = trees.map(|id| Item::Object(Kind::Tree, id.0)).into();
        items.push(Item::Object(Kind::Env, recipe.env.0));
        let lease = self.lease(&items)?;
        Ok(ActiveRun {
            draft,
            recipe,
            files,
            author,
            message: options.message.clone(),
            metrics_before: metrics::stamp(&self.root().join(METRICS_FILE)),
            folder,
            clock: Instant::now(),
            _start: start,
            _lease: lease,
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
        let trees = write_trees(&files, &session)?;
        session.put_object(&env)?;
        session.finish()?;
        let mut params = self.params_of(&files)?;
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
    /// it. [`Error::RefMoved`]: another commit was made meanwhile; the run is recorded, its outputs
    /// are in the store and in the working tree, and are not committed.
    pub fn finish_run(
        &mut self,
        active: ActiveRun,
        ending: Ending,
        ctx: &Ctx<'_>,
    ) -> Result<RunOutcome> {
        let duration = active.clock.elapsed().as_millis();
        let mut run = active.draft.clone();
        run.duration_ms = u64::try_from(duration).unwrap_or(u64::MAX);
        run.status = ending.status;
        run.exit_code = ending.exit_code;
        let bad_lines = self.take_journal(&active.folder, &mut run)?;
        let metrics_path = self.root().join(METRICS_FILE);
        if metrics::stamp(&metrics_path) != active.metrics_before {
            // What a program says at its end counts more than the last point of a series.
            run.metrics.extend(metrics::read(&metrics_path)?);
        }
        secrets::mask_values(&mut run.metrics);
        let session = self.store.begin()?;
        let mut strays = Vec::new();
        // The user wants to stop: no time for looking at every file.
        if ending.status != Status::Interrupted {
            let after = self.snapshot(&self.rules()?, Some(&session), ctx)?.files;
            let outputs = write_trees(&after, &session)?.model;
            run.outputs = outputs.filter(|_| ending.status == Status::Finished);
            strays = super::strays(&active.files, &after);
        }
        let id = RunId(session.put_object(&run)?);
        session.finish()?;
        let commit = match run.outputs {
            Some(outputs) => self.commit_outputs(&active, outputs, id, &run),
            None => self.update_refs(vec![record_of(id)]).map(|_| None),
        };
        if matches!(commit, Ok(_) | Err(Error::RefMoved { .. })) {
            let _ = fs::remove_flat_dir(&active.folder);
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

    /// Commits the outputs with the record, or records alone when HEAD is not what it was.
    fn commit_outputs(
        &mut self,
        active: &ActiveRun,
        outputs: TreeId,
        id: RunId,
        run: &Run,
    ) -> Result<Option<CommitId>> {
        let moved = || Error::RefMoved {
            name: names::HEAD.into(),
        };
        let done = if self.head() == run.commit {
            self.commit_model(active, outputs, id, run, vec![record_of(id)])
        } else {
            Err(moved())
        };
        if let Err(Error::RefMoved { .. }) = done {
            self.update_refs(vec![record_of(id)])?;
        }
        done
    }

    /// Commits `outputs` as the model of the run's recipe, unless HEAD already is that commit.
    pub(super) fn commit_model(
        &mut self,
        active: &ActiveRun,
        outputs: TreeId,
        run_id: RunId,
        run: &Run,
        refs: Vec<RefChange>,
    ) -> Result<Option<CommitId>> {
        let recipe = active.recipe;
        let model = Some(Model {
            tree: outputs,
            recipe: recipe.id(),
        });
        let head = self.head();
        let parent = head.map(|id| self.commit_object(id)).transpose()?;
        let known = parent
            .as_ref()
            .is_some_and(|p| p.recipe == recipe && p.model == model && p.runs.contains(&run_id));
        if known {
            if !refs.is_empty() {
                self.update_refs(refs)?;
            }
            return Ok(head);
        }
        let message = active.message.clone().unwrap_or_else(|| {
            let shown = match run.command.as_slice() {
                [sh, c, text] if sh == "sh" && c == "-c" => text.clone(),
                words => words.join(" "),
            };
            format!("run: {shown}")
        });
        crate::commit::check_message(&message)?;
        let commit = Commit {
            recipe,
            model,
            parents: head.into_iter().collect(),
            author: active.author.clone(),
            committer: active.author.clone(),
            time: clock::now(),
            message,
            runs: vec![run_id],
            extra: git::facts(self.root()),
        };
        self.publish(&commit, refs, false).map(Some)
    }

    /// Puts what a run's folder holds into its record: parameters, metrics, series and log. Tells
    /// how many lines of the journal could not be read.
    pub(super) fn take_journal(&self, folder: &Path, run: &mut Run) -> Result<u64> {
        let (given, bad_params) = reading::read_params(folder)?;
        run.params.extend(given);
        run.params = params::bounded(std::mem::take(&mut run.params));
        secrets::mask_values(&mut run.params);
        let summary = reading::close_series(folder)?;
        run.metrics = params::bounded(summary.last);
        let log = folder.join(LOG_FILE);
        if log.exists() {
            secrets::mask_file(&log)?;
        }
        let session = self.store.begin()?;
        run.series = store_file(&session, &folder.join(SERIES_FILE))?;
        run.log = store_file(&session, &log)?;
        session.finish()?;
        Ok(summary.bad + bad_params)
    }
}

pub(super) fn record_of(id: RunId) -> RefChange {
    RefChange {
        name: format!("{}{id}", names::RUNS),
        old: None,
        new: Some(Target::Run(id)),
    }
}

fn store_file(session: &modelv_store::Session<'_>, path: &Path) -> Result<Option<BlobId>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if size == 0 {
        return Ok(None);
    }
    let (blob, _) = session.put_blob(&mut file, size)?;
    Ok(Some(blob))
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
