//! What has to be done for each stage, and why: its key, what is known of that key, and what differs
//! from its last run. Must never write but to caches.

use std::collections::{BTreeMap, HashMap};

use modelv_core::driver::{self, Driver};
use modelv_core::id::{EnvId, RunId, StageId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::run::{Run, Status};
use modelv_core::stage::Stage;
use modelv_core::tree;
use modelv_core::value::Value;

use super::files::{Reader, makes, overlay};
use super::graph::Pipeline;
use super::spec::ParamName;
use super::{PipelineOptions, Why};
use crate::capture::{params, secrets};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{ChangeKind, Files, Ingredient, SnapFile, compare, write_one_tree};

/// More reasons of one kind are not listed.
const REASONS_MAX: usize = 20;

/// What has to be done for a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageState {
    /// Nothing.
    UpToDate,
    /// Its outputs are known, and are not what is on disk.
    Restore,
    /// It has to be executed.
    Run,
    /// Whether it has to be executed shows when the stages before it are done.
    Waits,
}

impl StageState {
    /// The word for people and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::UpToDate => "up to date",
            Self::Restore => "restore",
            Self::Run => "run",
            Self::Waits => "waits",
        }
    }
}

/// What has to be done for one stage.
#[derive(Debug, Clone)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// What has to be done.
    pub state: StageState,
    /// Why, unless it is up to date.
    pub why: Vec<Why>,
    /// The run whose outputs are taken.
    pub run: Option<RunId>,
}

/// What was decided about a stage.
pub(super) enum Decision {
    UpToDate(RunId),
    /// Its run, what is on disk, and why that is not right.
    Restore(RunId, Files, Vec<Why>),
    /// What is on disk, and why it is executed.
    Execute(Files, Vec<Why>),
}

/// A stage that all is known of.
pub(super) struct Decided {
    pub(super) key: StageId,
    pub(super) inputs: Files,
    pub(super) tree: TreeId,
    pub(super) params: BTreeMap<String, Value>,
    pub(super) decision: Decision,
}

/// Results of earlier runs.
#[derive(Default)]
struct Known {
    by_key: HashMap<StageId, (RunId, TreeId)>,
    failed: HashMap<StageId, RunId>,
    /// The last finished run of each name.
    last: HashMap<String, Run>,
}

/// Decides about the stages of a working tree, in order.
pub(super) struct Planner {
    pub(super) pipeline: Pipeline,
    pub(super) reader: Reader,
    env: EnvId,
    configs: Vec<(RepoPath, BTreeMap<String, Value>)>,
    known: Known,
    /// What stages have made that are decided and done, by number.
    made: HashMap<usize, Files>,
    force: bool,
}

impl Planner {
    /// Looks at the working tree and at earlier runs.
    pub(super) fn new(repo: &Repo, options: &PipelineOptions, ctx: &Ctx<'_>) -> Result<Self> {
        let rules = repo.rules()?;
        if rules.stages().is_empty() {
            let text = "modelv.toml has no stages: a pipeline is made of `[stage.NAME]` sections";
            return Err(Error::State(text.into()));
        }
        let pipeline = Pipeline::new(rules.stages())?.only(&options.targets)?;
        let files = repo.snapshot(&rules, None, ctx)?.files;
        let env = repo.capture_env(&files, &rules, options.run.python.clone())?;
        let configs = read_configs(repo, &files, &pipeline)?;
        let planner = Self {
            reader: Reader::new(repo.root().to_owned(), repo.dir()),
            known: Known::of(repo, &pipeline)?,
            env: env.id(),
            made: HashMap::new(),
            force: options.run.force,
            configs,
            pipeline,
        };
        planner.refuse_missing()?;
        Ok(planner)
    }

    /// Refuses inputs that are not there and that no stage makes.
    fn refuse_missing(&self) -> Result<()> {
        let stages = self.pipeline.stages();
        for (at, stage) in stages.iter().enumerate() {
            let made = |input: &RepoPath| {
                let above = self.pipeline.needs(at).iter();
                above.map(|n| &stages[*n]).any(|s| makes(&s.outputs, input))
            };
            let missing = stage
                .inputs
                .iter()
                .find(|i| !made(i) && !self.reader.exists(i));
            if let Some(input) = missing {
                return Err(Error::State(format!(
                    "stage `{}` needs `{input}`, which is not there, and no stage makes it",
                    stage.name
                )));
            }
            self.params_of(at)?;
        }
        Ok(())
    }

    /// The declared parameters of a stage.
    pub(super) fn params_of(&self, at: usize) -> Result<BTreeMap<String, Value>> {
        let stage = &self.pipeline.stages()[at];
        let mut out = BTreeMap::new();
        for name in &stage.params {
            let below = format!("{}.", name.key);
            let is_meant =
                |key: &str| name.key.is_empty() || key == name.key || key.starts_with(&below);
            let mut holders = self
                .configs
                .iter()
                .filter(|(path, _)| name.file.as_ref().is_none_or(|f| f == path))
                .filter(|(_, values)| values.keys().any(|k| is_meant(k)));
            let lacking = |what: &str| {
                Error::State(format!("stage `{}`: parameter `{name}` {what}", stage.name))
            };
            let (_, values) = holders
                .next()
                .ok_or_else(|| lacking("is in no configuration file"))?;
            if holders.next().is_some() {
                return Err(lacking("is in several configuration files: write FILE:KEY"));
            }
            for (key, value) in values.iter().filter(|(k, _)| is_meant(k)) {
                let ParamName { file, .. } = name;
                let full = file
                    .as_ref()
                    .map_or_else(|| key.clone(), |f| format!("{f}:{key}"));
                out.insert(full, value.clone());
            }
        }
        Ok(params::bounded(out))
    }

    /// The inputs of a stage, where the stages before it are done.
    fn inputs_of(&mut self, at: usize, ctx: &Ctx<'_>) -> Result<Files> {
        let inputs = &self.pipeline.stages()[at].inputs;
        let mut files = self.reader.read(inputs, None, ctx)?;
        for above in self.pipeline.needs(at) {
            if let Some(made) = self.made.get(above) {
                overlay(
                    &mut files,
                    inputs,
                    &self.pipeline.stages()[*above].outputs,
                    made,
                );
            }
        }
        Ok(files)
    }

    /// Decides about a stage; all stages before it must be done.
    pub(super) fn decide(&mut self, repo: &Repo, at: usize, ctx: &Ctx<'_>) -> Result<Decided> {
        let inputs = self.inputs_of(at, ctx)?;
        let tree = write_one_tree(&inputs, None)?;
        let spec = &self.pipeline.stages()[at];
        let params = self.params_of(at)?;
        let stage = Stage {
            command: spec.command.clone(),
            env: self.env,
            inputs: tree,
            params: params.clone(),
            outputs: spec.outputs.iter().map(|o| o.as_bytes().to_vec()).collect(),
        };
        let key = stage.id();
        let on_disk = self.reader.read(&spec.outputs, None, ctx)?;
        let decision = match self.known.by_key.get(&key) {
            _ if self.force => Decision::Execute(on_disk, vec![Why::Forced]),
            Some((run, outputs)) => {
                let made = files_of_tree(repo, *outputs)?;
                decide_known(repo, *run, made, on_disk)?
            }
            None => Decision::Execute(on_disk, self.explain(repo, at, &stage, &inputs)?),
        };
        Ok(Decided {
            key,
            inputs,
            tree,
            params,
            decision,
        })
    }

    /// What differs from the last run of the stage.
    fn explain(&self, repo: &Repo, at: usize, stage: &Stage, inputs: &Files) -> Result<Vec<Why>> {
        let spec = &self.pipeline.stages()[at];
        let Some(last) = self.known.last.get(&spec.name) else {
            let failed = self.known.failed.contains_key(&stage.id());
            return Ok(vec![if failed { Why::Failed } else { Why::NeverRun }]);
        };
        let mut why = Vec::new();
        if command_of(last) != Some(secrets::mask_text(&stage.command).as_str()) {
            why.push(Why::Command);
        }
        why.extend(changed_params(&last.params, &stage.params));
        let before = last.origin.stage.as_ref().map(|s| s.inputs);
        // What an older run read may be gone with the rest of it.
        let before = before.and_then(|tree| files_of_tree(repo, tree).ok());
        if let Some(before) = before {
            why.extend(changed_files(&before, inputs).map(|(path, how)| Why::Input { path, how }));
        }
        if last.origin.ingredients.is_some_and(|r| r.env != stage.env) {
            why.push(Why::Env);
        }
        if why.is_empty() {
            let failed = self.known.failed.contains_key(&stage.id());
            why.push(if failed { Why::Failed } else { Why::Outputs });
        }
        Ok(why)
    }

    /// Notes what a stage has made.
    pub(super) fn note(&mut self, at: usize, made: Files) {
        self.made.insert(at, made);
    }

    /// What a run made, as [`Planner::note`] takes it.
    pub(super) fn outputs_of(&self, repo: &Repo, key: StageId) -> Result<Files> {
        match self.known.by_key.get(&key) {
            Some((_, tree)) => files_of_tree(repo, *tree),
            None => Ok(Files::new()),
        }
    }

    /// The outputs of the last finished run of a stage.
    pub(super) fn last_outputs(&self, repo: &Repo, name: &str) -> Option<Files> {
        files_of_tree(repo, self.known.last.get(name)?.outputs?).ok()
    }
}

/// The line for the shell that a stage's run executed.
fn command_of(run: &Run) -> Option<&str> {
    match run.command.as_slice() {
        [sh, c, line] if sh == "sh" && c == "-c" => Some(line),
        _ => None,
    }
}

fn changed_params(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<Why> {
    // What a program noted of itself is no declared parameter.
    let mut masked = new.clone();
    secrets::mask_values(&mut masked);
    let differs = |(name, value): &(&String, &Value)| old.get(*name).is_none_or(|o| !o.same(value));
    masked
        .iter()
        .filter(differs)
        .take(REASONS_MAX)
        .map(|(name, value)| Why::Param {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: Some(value.clone()),
        })
        .collect()
}

fn changed_files(old: &Files, new: &Files) -> impl Iterator<Item = (RepoPath, &'static str)> {
    let changes = compare(old, new).into_iter().take(REASONS_MAX);
    changes.map(|c| {
        let how = match c.kind {
            ChangeKind::Added | ChangeKind::Renamed { .. } => "added",
            ChangeKind::Deleted => "removed",
            _ => "changed",
        };
        (c.path, how)
    })
}

fn decide_known(repo: &Repo, run: RunId, made: Files, on_disk: Files) -> Result<Decision> {
    if made == on_disk {
        return Ok(Decision::UpToDate(run));
    }
    for file in made.values() {
        if !repo.store.has_blob(&file.blob)? {
            return Ok(Decision::Execute(on_disk, vec![Why::NotStored]));
        }
    }
    let why = changed_files(&made, &on_disk).map(|(path, how)| Why::Output { path, how });
    let why = why.collect();
    Ok(Decision::Restore(run, on_disk, why))
}

impl Known {
    fn of(repo: &Repo, pipeline: &Pipeline) -> Result<Self> {
        let mut known = Self::default();
        // Newest first: the first of a key or name is the one that counts.
        for (id, run) in repo.runs()? {
            let Some(stage) = run.origin.stage.clone() else {
                continue;
            };
            match (run.status, run.outputs) {
                (Status::Finished, Some(outputs)) => {
                    known.by_key.entry(stage.key).or_insert((id, outputs));
                    if pipeline.stages().iter().any(|s| s.name == stage.name) {
                        known.last.entry(stage.name).or_insert(run);
                    }
                }
                _ => {
                    known.failed.entry(stage.key).or_insert(id);
                }
            }
        }
        Ok(known)
    }
}

/// The files of a tree that a run of a stage names.
pub(super) fn files_of_tree(repo: &Repo, id: TreeId) -> Result<Files> {
    let listed = tree::list(&repo.store, id)?;
    let file = |e: tree::FileEntry| {
        let file = SnapFile {
            ingredient: Ingredient::Model,
            mode: e.mode,
            size: e.size,
            blob: e.blob,
        };
        (e.path, file)
    };
    Ok(listed.into_iter().map(file).collect())
}

/// The values of all files that parameters may come from.
fn read_configs(
    repo: &Repo,
    files: &Files,
    pipeline: &Pipeline,
) -> Result<Vec<(RepoPath, BTreeMap<String, Value>)>> {
    let names = pipeline.stages().iter().flat_map(|s| &s.params);
    if names.clone().next().is_none() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for (path, file) in files {
        let is_named = names.clone().any(|n| n.file.as_ref() == Some(path));
        let is_meant = is_named || file.ingredient == Ingredient::Config;
        if !is_meant || file.size > params::FILE_BYTES_MAX {
            continue;
        }
        let full = crate::worktree::place(repo.root(), path);
        let bytes = std::fs::read(&full).map_err(Error::io("read", &full))?;
        let Driver::Config(format) = driver::choose(path.as_bytes(), &bytes) else {
            continue;
        };
        let values = driver::config_values(format, &bytes)
            .map_err(|e| Error::invalid("file", path.to_string(), e.to_string()))?;
        let values = values.into_iter().map(|(k, v)| (k, v.or_summary()));
        out.push((path.clone(), values.collect()));
    }
    Ok(out)
}

impl Repo {
    /// Whether `modelv.toml` declares a pipeline.
    ///
    /// # Errors
    /// It also says how to train without one.
    pub fn has_pipeline(&self) -> Result<bool> {
        let rules = self.rules()?;
        let has = !rules.stages().is_empty();
        if has && rules.train_command().is_some() {
            let text = "modelv.toml has stages and a `[train] command`: one of them is to go";
            return Err(Error::State(text.into()));
        }
        Ok(has)
    }

    /// The pipeline that `modelv.toml` declares.
    ///
    /// # Errors
    /// There is none, or it can't be put in order.
    pub fn pipeline(&self) -> Result<Pipeline> {
        let rules = self.rules()?;
        if rules.stages().is_empty() {
            let text = "modelv.toml has no stages: a pipeline is made of `[stage.NAME]` sections";
            return Err(Error::State(text.into()));
        }
        Pipeline::new(rules.stages())
    }

    /// What has to be done for each stage, and why. Nothing is executed or written.
    ///
    /// # Errors
    /// An input is missing, or something can't be read.
    pub fn pipeline_status(
        &self,
        options: &PipelineOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<StageStatus>> {
        let mut planner = Planner::new(self, options, ctx)?;
        let names: Vec<String> = planner
            .pipeline
            .stages()
            .iter()
            .map(|s| s.name.clone())
            .collect();
        let mut out: Vec<StageStatus> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let open = |n: &usize| matches!(out[*n].state, StageState::Run | StageState::Waits);
            let waits: Vec<Why> = planner
                .pipeline
                .needs(at)
                .iter()
                .filter(|n| open(n))
                .map(|n| Why::Waits(names[*n].clone()))
                .collect();
            let (state, run, why) = if waits.is_empty() {
                let decided = planner.decide(self, at, ctx)?;
                let made = planner.outputs_of(self, decided.key)?;
                planner.note(at, made);
                match decided.decision {
                    Decision::UpToDate(run) => (StageState::UpToDate, Some(run), Vec::new()),
                    Decision::Restore(run, _, why) => (StageState::Restore, Some(run), why),
                    Decision::Execute(_, why) => (StageState::Run, None, why),
                }
            } else if options.run.force {
                (StageState::Run, None, vec![Why::Forced])
            } else {
                (StageState::Waits, None, waits)
            };
            let name = name.clone();
            out.push(StageStatus {
                name,
                state,
                why,
                run,
            });
        }
        planner.reader.save();
        Ok(out)
    }
}
