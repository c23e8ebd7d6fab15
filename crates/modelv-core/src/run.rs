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
        let named = [&self.params, &self.metrics].map(BTreeMap::len);
        canon::check_lengths(&[self.command.len(), self.host.len(), named[0], named[1]])?;
        let mut values = self.params.values().chain(self.metrics.values());
        values
            .try_for_each(Value::check)
            .map_err(DecodeError::NotCanonical)
    }
}

impl Run {
    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        RunId(canon::id_of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ELEMENTS_MAX;

    fn run() -> Run {
        Run {
            command: vec!["python".into(), "train.py".into()],
            recipe: RecipeId([1; 32]),
            commit: None,
            params: BTreeMap::from([("lr".into(), Value::Float(0.1))]),
            metrics: BTreeMap::new(),
            series: None,
            outputs: None,
            status: Status::Finished,
            exit_code: Some(0),
            started: Time {
                seconds: 0,
                offset_minutes: 0,
            },
            duration_ms: 1,
            host: BTreeMap::new(),
            determinism: Determinism::Unknown,
            log: None,
            nonce: [0; 16],
        }
    }

    #[test]
    fn what_no_reader_takes_is_not_written() {
        let good = run();
        assert_eq!(
            canon::decode::<Run>(&canon::encode(&good).unwrap()).unwrap(),
            good
        );
        let deep = (0..3_000).fold(Value::Null, |v, _| Value::List(vec![v]));
        for bad in [
            Run {
                command: vec![],
                ..run()
            },
            Run {
                params: BTreeMap::from([("n".into(), Value::UInt(5))]),
                ..run()
            },
            Run {
                metrics: BTreeMap::from([("deep".into(), deep)]),
                ..run()
            },
            Run {
                params: (0..=ELEMENTS_MAX)
                    .map(|i| (i.to_string(), Value::Null))
                    .collect(),
                ..run()
            },
        ] {
            assert!(canon::encode(&bad).is_err());
            assert!(canon::decode::<Run>(&canon::encode_unchecked(&bad)).is_err());
        }
    }
}
