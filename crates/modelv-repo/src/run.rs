//! Runs: executing a command on a recipe, recording it, and keeping what it made as the model.
//!
//! [`Repo::begin_run`] and [`Repo::finish_run`] are the one way to a record; [`Repo::run`] puts a
//! child process between them, and a program that trains by itself its own work.

mod active;
mod crash;
mod journal;
mod reading;
mod record;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use modelv_core::id::{CommitId, RecipeId, RunId};
use modelv_core::run::{Run, Status};

use crate::capture::exec;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::Target;
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, files_of};

pub use active::ActiveRun;
pub use journal::{Journal, Point};
pub use record::Ending;
pub(crate) use record::{Beginning, Record, record_of};

/// The file a training script writes its metrics to, at the root of the working tree.
pub const METRICS_FILE: &str = "metrics.json";

/// The variable that names the run's folder to the programs that belong to it.
pub const RUN_VARIABLE: &str = "MODELV_RUN";

/// What `run` is asked for.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Program and arguments; empty: `[train] command`.
    pub command: Vec<OsString>,
    /// Message of the commit; `None`: made from the command.
    pub message: Option<String>,
    /// Execute even when the result is known.
    pub force: bool,
    /// The interpreter whose environment is captured.
    pub python: Option<PathBuf>,
    /// Who commits.
    pub author: Option<String>,
    /// Run even with what looks like a credential in code or configuration.
    pub allow_secret: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunOutcome {
    /// The record.
    pub id: RunId,
    /// Its content.
    pub run: Run,
    /// Whether an earlier result was taken instead of executing.
    pub reused: bool,
    /// The commit that holds the model; `None` when the run failed or changed nothing.
    pub commit: Option<CommitId>,
    /// Files the command changed that are no outputs: they stay uncommitted.
    pub strays: Vec<String>,
    /// Lines of its journal that are no metric point or parameter: they are left out.
    pub bad_lines: u64,
}

impl Repo {
    /// Executes a command on the working tree as it is, records the run, and commits what it made
    /// as the model of the recipe. A recipe and command with a known result are not executed again.
    ///
    /// # Errors
    /// A merge is open, there is no command, or something can't be read or written. A command that
    /// fails is no error: see [`Run::status`].
    pub fn run(
        &mut self,
        options: &RunOptions,
        echo: &mut dyn Write,
        ctx: &Ctx<'_>,
    ) -> Result<RunOutcome> {
        self.refuse_while_merging("run")?;
        let command = match options.command.as_slice() {
            [] => {
                let rules = self.rules()?;
                let text = rules.train_command().ok_or_else(|| {
                    Error::State(
                        "no command given, and modelv.toml has no `[train] command`".into(),
                    )
                })?;
                vec!["sh".into(), "-c".into(), OsString::from(text)]
            }
            given => given.to_vec(),
        };
        let words: Vec<String> = command
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        let active = self.begin_run(options, &words, ctx)?;
        if !options.force
            && let Some((id, run)) = self.find_result(active.recipe(), active.command())?
        {
            return self.reuse(id, run, active, ctx);
        }
        let recipe = active.recipe().to_hex();
        let env = [
            ("MODELV_RECIPE".into(), recipe.into()),
            (RUN_VARIABLE.into(), active.folder().into()),
        ];
        let log = active.log_path();
        let job = exec::Job {
            command: &command,
            cwd: self.root(),
            env: &env,
            log: &log,
            own_group: false,
        };
        let execution = match exec::execute(&job, echo, ctx.cancel) {
            Ok(execution) => execution,
            Err(e) => {
                active.discard();
                return Err(e);
            }
        };
        self.finish_run(active, Ending::of(execution.exit_code), ctx)
    }

    /// A finished run of the same recipe and command that has outputs.
    fn find_result(&self, recipe: RecipeId, command: &[String]) -> Result<Option<(RunId, Run)>> {
        for (id, run) in self.runs()? {
            let same = run.recipe == recipe && run.command == command;
            // What a stage makes is not all that a run of the recipe does.
            let same = same && run.origin.stage.is_none();
            if same && run.status == Status::Finished && run.outputs.is_some() {
                return Ok(Some((id, run)));
            }
        }
        Ok(None)
    }

    fn reuse(
        &mut self,
        id: RunId,
        run: Run,
        active: ActiveRun,
        ctx: &Ctx<'_>,
    ) -> Result<RunOutcome> {
        let outputs = run.outputs.unwrap_or_else(modelv_core::tree::empty_id);
        let recipe = active.recipe;
        let to = files_of(
            &self.store,
            recipe.code,
            recipe.data,
            recipe.config,
            Some(outputs),
        )?;
        // Outputs in the working tree may be an uncommitted model of another recipe; they were
        // stored when this run began, so writing over them loses nothing.
        let commit = self
            .check_out_files(&active.files, &to, "run", ctx)
            .and_then(|()| self.commit_model(&active, outputs, id, &run, Vec::new()));
        active.discard();
        Ok(RunOutcome {
            id,
            run,
            reused: true,
            commit: commit?,
            strays: Vec::new(),
            bad_lines: 0,
        })
    }

    /// All recorded runs, newest first.
    ///
    /// # Errors
    /// One is missing or damaged.
    pub fn runs(&self) -> Result<Vec<(RunId, Run)>> {
        let mut out = Vec::new();
        for (_, target) in self
            .log
            .refs
            .range(names::RUNS.to_owned()..)
            .take_while(|(n, _)| n.starts_with(names::RUNS))
        {
            if let Target::Run(id) = target {
                out.push((*id, self.run_object(*id)?));
            }
        }
        out.sort_by_key(|(_, run)| std::cmp::Reverse((run.started.seconds, run.duration_ms)));
        Ok(out)
    }
}

/// Files that changed and are no outputs.
fn strays(before: &Files, after: &Files) -> Vec<String> {
    crate::worktree::compare(before, after)
        .iter()
        .filter(|c| {
            let file = c.new.as_ref().or(c.old.as_ref());
            file.is_some_and(|f| f.ingredient != Ingredient::Model)
        })
        .map(|c| c.path.to_string())
        .collect()
}
