//! Runs: executing a command on a recipe, recording it, and keeping what it made as the model.
//!
//! [`Repo::begin_run`] and [`Repo::finish_run`] are the one way to a record; [`Repo::run`] puts a
//! child process between them, and a program that trains by itself its own work.

mod active;
pub(crate) mod clean;
mod crash;
mod hold;
mod journal;
pub(crate) mod pool;
mod promote;
mod reading;
mod record;
mod stamps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use modelv_core::id::{CommitId, RecipeId, RunId};
use modelv_core::path::RepoPath;
use modelv_core::run::{Doubt, Run, Status};
use modelv_core::value::Value;

use crate::capture::exec;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::runs::{Entry, RunIndex, RunQuery};
use crate::worktree::{Files, Ingredient, Rules, Skipped, SnapFile, files_of};

pub use active::ActiveRun;
pub use clean::TREE_VARIABLE;
pub(crate) use hold::{Hold, holders_of};
pub(crate) use journal::point_line;
pub use journal::{Journal, Point};
pub use reading::Load;
pub use record::Ending;
pub(crate) use record::{Beginning, Record, nonce_of, record_of};
pub(crate) use stamps::Stamps;

/// The file a training script writes its metrics to, at the root of the working tree.
pub const METRICS_FILE: &str = "metrics.json";

/// The variable that names the run's folder to the programs that belong to it.
pub const RUN_VARIABLE: &str = "MODELV_RUN";

/// Most files that a record names as changed.
const DOUBTS_MAX: usize = 100;

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
    /// Parameters that stand in no configuration file, for example those of the command line.
    pub params: BTreeMap<String, Value>,
    /// Wait for a run that is under way in the working tree.
    pub wait: bool,
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
        let command = self.command_of(options)?;
        let words = words_of(&command);
        self.sampling()?;
        let hold = self.hold(&words.join(" "), options.wait, ctx)?;
        let active = self.begin_held(options, &words, hold, ctx)?;
        if !options.force {
            let (recipe, words) = (active.recipe(), active.command());
            let index = self.run_index()?;
            if let Some((id, run)) = self.find_result(&index, recipe, words, &options.params)? {
                return self.reuse(id, run, active, ctx);
            }
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
            // A terminal's Ctrl-C and Ctrl-Z reach all of its group by themselves.
            own_group: !std::io::stdin().is_terminal(),
            grace: exec::LONG_GRACE,
        };
        let sampler = self.sampler(active.folder())?;
        let execution =
            exec::execute(&job, echo, ctx.cancel).inspect_err(|_| active.record.forget())?;
        drop(sampler);
        self.finish_run(active, Ending::of(execution.exit_code), ctx)
    }

    /// What is to be executed: the words given, or `[train] command`.
    pub(crate) fn command_of(&self, options: &RunOptions) -> Result<Vec<OsString>> {
        if !options.command.is_empty() {
            return Ok(options.command.clone());
        }
        self.has_pipeline()?;
        let rules = self.rules()?;
        let text = rules.train_command().ok_or_else(|| {
            let why = match rules.stages() {
                [] => "no command given, and modelv.toml has no `[train] command`",
                _ => "no command given: what has stages runs as a pipeline alone, or with words behind `--`",
            };
            Error::State(why.into())
        })?;
        Ok(vec!["sh".into(), "-c".into(), OsString::from(text)])
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
        let _turn = self.take_turn()?;
        let lost = self.unrecorded(&active.files, &to)?;
        self.keep_lost(&lost, &to, "the known result", ctx)?;
        let commit = self
            .check_out_files(&active.files, &to, "run", ctx)
            .and_then(|()| self.commit_known(&active, outputs, id, &run));
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
        self.find_runs(&RunQuery::default())?.runs().collect()
    }

    /// A finished run of the same recipe, command and given parameters that has outputs.
    ///
    /// # Errors
    /// A run is missing or damaged.
    pub(crate) fn find_result(
        &self,
        index: &RunIndex,
        recipe: RecipeId,
        command: &[String],
        given: &BTreeMap<String, Value>,
    ) -> Result<Option<(RunId, Run)>> {
        let is_done = |e: &Entry<'_>| {
            // What a stage makes is not all that a run of the recipe does, and a repetition may differ.
            let is_own = e.stage.is_none() && !e.repeats;
            let is_sure = !e.is_doubtful && e.status == Status::Finished && e.outputs.is_some();
            e.recipe == recipe && is_own && is_sure
        };
        for entry in index.entries().filter(is_done) {
            let run = self.run_object(entry.id)?;
            let has = |(name, value): (&String, &Value)| {
                run.params.get(name).is_some_and(|found| found.same(value))
            };
            if run.command == command && given.iter().all(has) {
                return Ok(Some((entry.id, run)));
            }
        }
        Ok(None)
    }
}

/// A command as it is recorded.
pub(crate) fn words_of(command: &[OsString]) -> Vec<String> {
    let text = |w: &OsString| w.to_string_lossy().into_owned();
    command.iter().map(text).collect()
}

/// Files a run began with that are others at its end, and no outputs: nobody knows which its program read. A
/// notebook is read as a whole before anything in it is executed, and its editor saves it meanwhile. A log is
/// written and not read, by its name or because this process prints into it. Code and parameters that were
/// written meanwhile count though they are what they were; data may be made anew by the program itself.
fn moved(root: &Path, before: &Files, after: &Files, stamps: &Stamps) -> Vec<Doubt> {
    let ends = |path: &RepoPath, end: &str| path.as_bytes().ends_with(end.as_bytes());
    let is_log = |path: &RepoPath| {
        let is_named = [".ipynb", ".log", ".out"].iter().any(|end| ends(path, end));
        is_named || is_printed_into(&crate::worktree::place(root, path))
    };
    let is_input =
        |path: &RepoPath, file: &SnapFile| file.ingredient != Ingredient::Model && !is_log(path);
    let is_same =
        |path: &RepoPath, file: &SnapFile| after.get(path).is_some_and(|a| a.blob == file.blob);
    let written: HashSet<&RepoPath> = stamps.written(root).collect();
    let differs = |path: &RepoPath, file: &SnapFile| !is_same(path, file) || written.contains(path);
    before
        .iter()
        .filter(|(path, file)| differs(path, file) && is_input(path, file))
        .take(DOUBTS_MAX)
        .map(|(path, _)| Doubt::Changed(path.as_bytes().to_vec()))
        .collect()
}

/// Whether standard output or standard error of this process goes into a file.
fn is_printed_into(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return false;
    };
    let streams = [
        rustix::fs::fstat(std::io::stdout()),
        rustix::fs::fstat(std::io::stderr()),
    ];
    streams
        .into_iter()
        .flatten()
        .any(|s| (s.st_dev, s.st_ino) == (there.dev(), there.ino()))
}

/// Names what lies among the outputs and can't be kept.
pub(crate) fn tell_left_out(skipped: &[Skipped], rules: &Rules, ctx: &Ctx<'_>) {
    for one in skipped {
        let path = RepoPath::new(one.path.as_bytes());
        if path.is_ok_and(|p| rules.classify(&p).ingredient == Ingredient::Model) {
            let text = format!("`{}` is left out of the outputs: {}", one.path, one.reason);
            ctx.progress.note(&text);
        }
    }
}

/// Files that changed and are no outputs.
fn strays(before: &Files, after: &Files) -> Vec<String> {
    crate::worktree::differing(before, after)
        .filter(|path| {
            let file = after.get(*path).or_else(|| before.get(*path));
            file.is_some_and(|f| f.ingredient != Ingredient::Model)
        })
        .map(ToString::to_string)
        .collect()
}
