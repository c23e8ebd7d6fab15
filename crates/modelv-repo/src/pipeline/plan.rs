//! What has to be done for each stage, and why: its key, what is known of that key, and what differs
//! from its last run. Must never write but to caches.

use std::collections::{BTreeMap, HashMap};

use modelv_core::id::{EnvId, RunId, StageId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::stage::Stage;
use modelv_core::tree;
use modelv_core::value::Value;

use super::configs::Configs;
use super::files::{Reader, makes, overlay};
use super::graph::Pipeline;
use super::known::{Known, changed_files};
use super::spec::StageSpec;
use super::{PipelineOptions, Why};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, SnapFile, write_one_tree};

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

/// Decides about the stages of a working tree, in order.
pub(super) struct Planner {
    pub(super) pipeline: Pipeline,
    pub(super) reader: Reader,
    env: EnvId,
    pub(super) configs: Configs,
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
        let configs = Configs::of(repo.root(), &files, &pipeline)?;
        let planner = Self {
            reader: Reader::new(repo.root().to_owned(), repo.dir()),
            known: Known::of(repo, &pipeline)?,
            env: env.id(),
            made: HashMap::new(),
            force: options.run.force,
            configs,
            pipeline,
        };
        planner.refuse_missing(repo)?;
        Ok(planner)
    }

    /// Refuses inputs that are not there and that no stage makes.
    fn refuse_missing(&self, repo: &Repo) -> Result<()> {
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
            self.refuse_links(repo, stage)?;
            self.configs.params_of(stage)?;
        }
        Ok(())
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
        // What an earlier stage was given, this one need not get.
        self.configs.refresh(repo.root()).1?;
        let inputs = self.inputs_of(at, ctx)?;
        let tree = write_one_tree(&inputs, None)?;
        let spec = &self.pipeline.stages()[at];
        let params = self.configs.params_of(spec)?;
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
            None => Decision::Execute(
                on_disk,
                self.known.explain(repo, &spec.name, &stage, &inputs),
            ),
        };
        Ok(Decided {
            key,
            inputs,
            tree,
            params,
            decision,
        })
    }

    /// Refuses outputs that are links to folders: outputs are taken away before the stage writes them, and
    /// what lies behind the link would not be.
    fn refuse_links(&self, repo: &Repo, stage: &StageSpec) -> Result<()> {
        let made = self.last_outputs(repo, &stage.name).unwrap_or_default();
        for output in &stage.outputs {
            self.reader.refuse_links_above(output)?;
            // One that the stage has made itself is its output.
            let is_own = made.contains_key(output);
            if self.reader.is_link_to_folder(output) && !is_own {
                return Err(Error::State(format!(
                    "stage `{}` writes `{output}`, which is a link to a folder: its outputs are replaced as a \
                     whole, and the link with them",
                    stage.name
                )));
            }
        }
        Ok(())
    }

    /// Which files that decide what a stage makes are others than when it began.
    pub(super) fn moved(
        &mut self,
        repo: &Repo,
        at: usize,
        inputs: &Files,
        params: &BTreeMap<String, Value>,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RepoPath>> {
        let spec = &self.pipeline.stages()[at];
        let now = self.reader.read(&spec.inputs, None, ctx)?;
        let is_same = |path, file: &SnapFile| now.get(path).is_some_and(|n| n.blob == file.blob);
        let moved = inputs.iter().filter(|(path, file)| !is_same(*path, file));
        let mut moved: Vec<RepoPath> = moved.map(|(path, _)| path.clone()).collect();
        let (changed, _) = self.configs.refresh(repo.root());
        let is_equal = self.configs.params_of(spec).is_ok_and(|now| {
            let mut pairs = now.iter().zip(params);
            now.len() == params.len() && pairs.all(|(a, b)| a.0 == b.0 && a.1.same(b.1))
        });
        if !is_equal {
            moved.extend(changed);
        }
        moved.sort();
        moved.dedup();
        Ok(moved)
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

/// The files of a tree that a run of a stage names.
pub(crate) fn files_of_tree(repo: &Repo, id: TreeId) -> Result<Files> {
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
