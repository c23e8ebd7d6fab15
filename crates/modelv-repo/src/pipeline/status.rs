//! What has to be done for each stage of a pipeline, told before anything is. Must never write but to caches.

use modelv_core::id::RunId;

use super::graph::Pipeline;
use super::plan::{Decision, Planner};
use super::{PipelineOptions, Why};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;

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
