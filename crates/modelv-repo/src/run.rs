//! Runs: executing a command on a recipe, recording it, and keeping what it made as the model.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use modelv_core::commit::{Commit, Model, Recipe};
use modelv_core::id::{BlobId, CommitId, RecipeId, RunId, TreeId};
use modelv_core::run::{Determinism, Run, Status};
use modelv_core::value::Value;

use crate::capture::exec::{self, Execution};
use crate::capture::{clock, git, host, metrics, params, secrets};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target, nonce};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, files_of, write_trees};

/// The file a training script writes its metrics to, at the root of the working tree.
pub const METRICS_FILE: &str = "metrics.json";

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
}

/// The state a run starts from.
struct Start {
    recipe: Recipe,
    files: Files,
    params: BTreeMap<String, Value>,
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
        let rules = self.rules()?;
        let command = match options.command.as_slice() {
            [] => {
                let text = rules.train_command().ok_or_else(|| {
                    Error::State(
                        "no command given, and modelv.toml has no `[train] command`".into(),
                    )
                })?;
                vec!["sh".into(), "-c".into(), OsString::from(text)]
            }
            given => given.to_vec(),
        };
        let author = self.author(options.author.as_deref())?;
        let start = self.start_of_run(options, ctx)?;
        let mut words: Vec<String> = command
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        secrets::mask_words(&mut words);
        if !options.force
            && let Some((id, run)) = self.find_result(start.recipe.id(), &words)?
        {
            return self.reuse(id, run, &start, &author, options, ctx);
        }
        let before = metrics::stamp(&self.root().join(METRICS_FILE));
        let log_path = self
            .dir()
            .join("tmp")
            .join(format!("run-{}.log", hex(&nonce())));
        let execution = exec::execute(
            &command,
            self.root(),
            &[("MODELV_RECIPE".into(), start.recipe.id().to_hex().into())],
            echo,
            &log_path,
            ctx.cancel,
        );
        let outcome = execution.and_then(|execution| {
            self.record(
                start, words, &execution, &log_path, before, options, &author, ctx,
            )
        });
        // The log is in the store now, or nobody will ask for it.
        let _ = std::fs::remove_file(&log_path);
        outcome
    }

    fn start_of_run(&self, options: &RunOptions, ctx: &Ctx<'_>) -> Result<Start> {
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
        let (code, data, config) = (trees.code, trees.data, trees.config);
        let mut params = self.params_of(&files)?;
        secrets::mask_values(&mut params);
        Ok(Start {
            recipe: Recipe {
                code,
                data,
                config,
                env: env.id(),
            },
            files,
            params,
        })
    }

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

    /// A finished run of the same recipe and command that has outputs.
    fn find_result(&self, recipe: RecipeId, command: &[String]) -> Result<Option<(RunId, Run)>> {
        for (id, run) in self.runs()? {
            let same = run.recipe == recipe && run.command == command;
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
        start: &Start,
        author: &modelv_core::commit::Person,
        options: &RunOptions,
        ctx: &Ctx<'_>,
    ) -> Result<RunOutcome> {
        let outputs = run.outputs.unwrap_or_else(modelv_core::tree::empty_id);
        let recipe = start.recipe;
        let to = files_of(
            &self.store,
            recipe.code,
            recipe.data,
            recipe.config,
            Some(outputs),
        )?;
        // Outputs in the working tree may be an uncommitted model of another recipe; they were
        // stored when this run started, so writing over them loses nothing.
        self.check_out_files(&start.files, &to, "run", ctx)?;
        let commit = self.commit_model(recipe, outputs, id, &run, author, options, Vec::new())?;
        Ok(RunOutcome {
            id,
            run,
            reused: true,
            commit,
            strays: Vec::new(),
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one record, used once"
    )]
    fn record(
        &mut self,
        start: Start,
        command: Vec<String>,
        execution: &Execution,
        log_path: &std::path::Path,
        metrics_before: Option<metrics::Stamp>,
        options: &RunOptions,
        author: &modelv_core::commit::Person,
        ctx: &Ctx<'_>,
    ) -> Result<RunOutcome> {
        let rules = self.rules()?;
        let metrics_path = self.root().join(METRICS_FILE);
        let written = metrics::stamp(&metrics_path) != metrics_before;
        let mut metrics = if written {
            metrics::read(&metrics_path)?
        } else {
            BTreeMap::new()
        };
        secrets::mask_values(&mut metrics);
        secrets::mask_file(log_path)?;
        let status = match (execution.exit_code, execution.signal) {
            (Some(0), _) => Status::Finished,
            (Some(_), _) => Status::Failed,
            (None, _) => Status::Interrupted,
        };
        let session = self.store.begin()?;
        let after = self.snapshot(&rules, Some(&session), ctx)?.files;
        let outputs = write_trees(&after, &session)?.model;
        let log = store_file(&session, log_path)?;
        let run = Run {
            command,
            recipe: start.recipe.id(),
            commit: self.head(),
            params: start.params,
            metrics,
            series: None,
            outputs: outputs.filter(|_| status == Status::Finished),
            status,
            exit_code: execution.exit_code,
            started: execution.started,
            duration_ms: execution.duration_ms,
            host: host::facts(),
            determinism: Determinism::Unknown,
            log,
            nonce: nonce(),
        };
        let id = RunId(session.put_object(&run)?);
        session.finish()?;
        let record = RefChange {
            name: format!("{}{id}", names::RUNS),
            old: None,
            new: Some(Target::Run(id)),
        };
        let strays = strays(&start.files, &after);
        let commit = match run.outputs {
            Some(outputs) => self.commit_model(
                start.recipe,
                outputs,
                id,
                &run,
                author,
                options,
                vec![record],
            )?,
            None => {
                self.update_refs(vec![record])?;
                None
            }
        };
        Ok(RunOutcome {
            id,
            run,
            reused: false,
            commit,
            strays,
        })
    }

    /// Commits `outputs` as the model of `recipe`, unless HEAD already is that commit.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one commit, used twice"
    )]
    fn commit_model(
        &mut self,
        recipe: Recipe,
        outputs: TreeId,
        run_id: RunId,
        run: &Run,
        author: &modelv_core::commit::Person,
        options: &RunOptions,
        refs: Vec<RefChange>,
    ) -> Result<Option<CommitId>> {
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
        let message = options.message.clone().unwrap_or_else(|| {
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
            author: author.clone(),
            committer: author.clone(),
            time: clock::now(),
            message,
            runs: vec![run_id],
            extra: git::facts(self.root()),
        };
        self.publish(&commit, refs, false).map(Some)
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

fn store_file(
    session: &modelv_store::Session<'_>,
    path: &std::path::Path,
) -> Result<Option<BlobId>> {
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if size == 0 {
        return Ok(None);
    }
    let (blob, _) = session.put_blob(&mut file, size)?;
    Ok(Some(blob))
}

fn hex(bytes: &[u8]) -> String {
    modelv_core::id::to_hex(bytes)
}
