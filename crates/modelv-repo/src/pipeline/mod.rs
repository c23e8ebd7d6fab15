//! Pipelines: stages of `modelv.toml`, each a command with declared inputs, parameters and outputs.
//!
//! The key of a stage is the id of everything that decides what it makes ([`modelv_core::stage`]).
//! A finished run of a key stands for every later one: its outputs are written from the store instead
//! of executing the command again. Nothing is written into the working tree but declared outputs.
//!
//! `spec.rs` reads the declarations, `graph.rs` puts them in order, `plan.rs` decides what has to be
//! done, by what `known.rs` and `configs.rs` read, and says why; `execute.rs` does it, `record.rs` records it. Must never take an output for what its run made without
//! having compared the content.

mod configs;
mod execute;
mod files;
mod graph;
mod known;
mod plan;
mod record;
mod spec;
mod status;
mod why;

use modelv_core::id::RunId;

use crate::run::{RunOptions, RunOutcome};

pub(crate) use execute::COMMAND;
pub(crate) use plan::files_of_tree;

pub use graph::Pipeline;
pub use spec::{ParamName, StageSpec};
pub use status::{StageState, StageStatus};
pub use why::Why;

/// What running a pipeline is asked for.
#[derive(Debug, Clone, Default)]
pub struct PipelineOptions {
    /// These stages and all that they need; empty: all.
    pub targets: Vec<String>,
    /// So many stages at once; 0 counts as 1.
    pub jobs: usize,
    /// Commit what came out as the model of the recipe.
    pub commit: bool,
    /// Message, force, interpreter, author and secrets, as for any run. Its command is not used.
    pub run: RunOptions,
}

/// How a stage went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageDone {
    /// Nothing had to be done.
    UpToDate,
    /// Its outputs were written from the store.
    Restored,
    /// It was executed.
    Finished,
    /// It was executed and failed, for this reason.
    Failed(String),
    /// It was stopped.
    Interrupted,
    /// It was not executed: this stage, which it needs, has no result.
    NotRun(String),
}

impl StageDone {
    /// Whether its outputs are what they should be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::UpToDate | Self::Restored | Self::Finished)
    }

    /// The word for people and JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::UpToDate => "up to date",
            Self::Restored => "restored",
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
            Self::NotRun(_) => "not run",
        }
    }
}

/// What a stage came to.
#[derive(Debug, Clone)]
pub struct StageOutcome {
    /// Its name.
    pub name: String,
    /// How it went.
    pub done: StageDone,
    /// The run that made its outputs, or the one that failed.
    pub run: Option<RunId>,
    /// How long it took if it was executed, in milliseconds.
    pub duration_ms: u64,
    /// Why it was not up to date.
    pub why: Vec<Why>,
}

/// What a pipeline came to.
#[derive(Debug)]
pub struct PipelineOutcome {
    /// Every stage that was asked for, in order of execution.
    pub stages: Vec<StageOutcome>,
    /// The run of the pipeline as a whole; `None` when nothing had to be done.
    pub result: Option<RunOutcome>,
}

impl PipelineOutcome {
    /// Whether every stage has its outputs.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.stages.iter().all(|s| s.done.is_ok())
    }
}

/// Something that happens while a pipeline runs.
#[derive(Debug)]
pub enum StageEvent<'a> {
    /// A stage is about to be executed, for these reasons.
    Starts(&'a [Why]),
    /// It has ended, or need not be executed.
    Ends(&'a StageOutcome),
    /// It printed this.
    Prints(&'a [u8]),
}

/// Is told what happens, from several threads.
pub trait Watch: Sync {
    /// Something happened to a stage.
    fn tell(&self, stage: &str, event: StageEvent<'_>);
}
