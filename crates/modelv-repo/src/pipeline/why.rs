//! Why a stage has to be executed, or its outputs written anew.

use std::fmt;

use modelv_core::path::RepoPath;
use modelv_core::value::Value;
use serde_json::json;

/// One reason.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// There is no run of it.
    NeverRun,
    /// It failed, or was stopped, when it was last executed so.
    Failed,
    /// Somebody said so.
    Forced,
    /// An input is another than in its last run.
    Input {
        /// The file.
        path: RepoPath,
        /// `changed`, `added` or `removed`.
        how: &'static str,
    },
    /// A parameter is another than in its last run; `None`: there was, or is, none.
    Param {
        /// Its name.
        name: String,
        /// What it was.
        old: Option<Value>,
        /// What it is.
        new: Option<Value>,
    },
    /// Its command is another.
    Command,
    /// The environment is another.
    Env,
    /// It declares other outputs.
    Outputs,
    /// An output is not what its run made.
    Output {
        /// The file.
        path: RepoPath,
        /// `changed`, `added` or `removed`.
        how: &'static str,
    },
    /// The store does not hold what its run made.
    NotStored,
    /// A stage that it needs is executed first.
    Waits(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: &Option<Value>| {
            v.as_ref()
                .map_or_else(|| "none".to_owned(), Value::to_string)
        };
        match self {
            Self::NeverRun => f.write_str("never run"),
            Self::Failed => f.write_str("no run of it has finished"),
            Self::Forced => f.write_str("forced"),
            Self::Input { path, how } => write!(f, "input {path} {how}"),
            Self::Param { name, old, new } => {
                write!(f, "params.{name} {} -> {}", value(old), value(new))
            }
            Self::Command => f.write_str("command changed"),
            Self::Env => f.write_str("environment changed"),
            Self::Outputs => f.write_str("declared outputs changed"),
            Self::Output { path, how } => write!(f, "output {path} {how}"),
            Self::NotStored => f.write_str("what its run made is not in this clone"),
            Self::Waits(stage) => write!(f, "waits for {stage}"),
        }
    }
}

impl Why {
    /// The reason for machines.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let value = |v: &Option<Value>| v.as_ref().map(Value::to_json);
        match self {
            Self::NeverRun => json!({"kind": "never-run"}),
            Self::Failed => json!({"kind": "failed"}),
            Self::Forced => json!({"kind": "forced"}),
            Self::Input { path, how } => {
                json!({"kind": "input", "path": path.to_string(), "change": how})
            }
            Self::Param { name, old, new } => {
                json!({"kind": "param", "name": name, "old": value(old), "new": value(new)})
            }
            Self::Command => json!({"kind": "command"}),
            Self::Env => json!({"kind": "env"}),
            Self::Outputs => json!({"kind": "outputs"}),
            Self::Output { path, how } => {
                json!({"kind": "output", "path": path.to_string(), "change": how})
            }
            Self::NotStored => json!({"kind": "not-stored"}),
            Self::Waits(stage) => json!({"kind": "waits", "stage": stage}),
        }
    }
}
