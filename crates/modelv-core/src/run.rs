//! Runs: the record of one execution. Never part of a recipe id. See `spec/run.md`.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::canon::{self, DecodeError, Kind, Object};
use crate::commit::Time;
use crate::id::{BlobId, CommitId, RecipeId, RunId, TreeId};
use crate::value::Value;

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Status {
    /// Exit status 0.
    Finished,
    /// Another exit status.
    Failed,
    /// Ended by a signal or by the user.
    Interrupted,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        })
    }
}

/// How far a second execution is expected to give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Determinism {
    /// Not known yet: nobody has run it twice.
    Unknown,
    /// A second run gave the same bytes.
    BitEqual,
    /// A second run was equal within the declared tolerance.
    Tolerance,
    /// A second run differed.
    Different,
}

/// The record of one execution.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Run {
    /// Program and arguments.
    pub command: Vec<String>,
    /// What was executed.
    pub recipe: RecipeId,
    /// The commit that was checked out when it started.
    pub commit: Option<CommitId>,
    /// Parameters: the leaves of the configuration files, by dotted key.
    pub params: BTreeMap<String, Value>,
    /// Metrics at the end, by dotted key.
    pub metrics: BTreeMap<String, Value>,
    /// Metric series, if any were logged.
    pub series: Option<BlobId>,
    /// Files it wrote that belong to the model.
    pub outputs: Option<TreeId>,
    /// How it ended.
    pub status: Status,
    /// Exit status, if it ended by itself.
    pub exit_code: Option<i32>,
    /// When it started.
    pub started: Time,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Facts of the machine: host name, kernel, processor, memory.
    pub host: BTreeMap<String, String>,
    /// What is known of its determinism.
    pub determinism: Determinism,
    /// What it printed.
    pub log: Option<BlobId>,
    /// Tells apart two executions that are equal in everything else.
    pub nonce: [u8; 16],
}

impl Object for Run {
    const KIND: Kind = Kind::Run;

    fn check(&self) -> Result<(), DecodeError> {
        if self.command.is_empty() {
            return Err(DecodeError::NotCanonical("run without a command"));
        }
        Ok(())
    }
}

impl Run {
    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        RunId(canon::hash(Kind::Run, &canon::encode(self)))
    }
}
