//! Results of `[evaluate] command`, kept by exactly what was evaluated: recipe and model. See `spec/ci.md`.
//!
//! Must never answer for another recipe, model or command.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use modelv_core::commit::Commit;
use modelv_core::id::CommitId;
use modelv_core::value::Value;
use serde::{Deserialize, Serialize};

use crate::capture::clock;
use crate::error::{Error, Result};
use crate::repo::Repo;

/// Version of the record.
const VERSION: u32 = 1;
/// Largest record that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Version of this record.
    pub version: u32,
    /// The recipe.
    pub recipe: String,
    /// The tree of the model, where there is one.
    pub model: Option<String>,
    /// The command that was executed.
    pub command: String,
    /// A commit that was checked out for it.
    pub commit: String,
    /// Metrics by their dotted keys.
    pub metrics: BTreeMap<String, serde_json::Value>,
    /// When, in RFC 3339.
    pub time: String,
}

/// What an evaluation is of, as text.
pub(super) fn subject(commit: &Commit) -> (String, Option<String>) {
    let model = commit.model.map(|m| m.tree.to_hex());
    (commit.recipe.id().to_hex(), model)
}

impl Repo {
    fn evaluation_path(&self, commit: &Commit) -> PathBuf {
        let (recipe, model) = subject(commit);
        let model = model.unwrap_or_else(|| "none".into());
        let name = format!("evaluation-{recipe}-{model}.json");
        self.dir().join("ci").join(name)
    }

    /// What `command` has found for a commit, if it was executed for exactly its recipe and model.
    ///
    /// # Errors
    /// The commit is missing or damaged.
    pub fn evaluation(&self, id: CommitId, command: &str) -> Result<Option<Evaluation>> {
        let commit = self.commit_object(id)?;
        let Ok(file) = std::fs::File::open(self.evaluation_path(&commit)) else {
            return Ok(None);
        };
        let mut text = String::new();
        if file.take(BYTES_MAX).read_to_string(&mut text).is_err() {
            return Ok(None);
        }
        let found: Option<Evaluation> = serde_json::from_str(&text).ok();
        let is_of_it = |e: &Evaluation| {
            e.version == VERSION
                && (e.recipe.clone(), e.model.clone()) == subject(&commit)
                && e.command == command
        };
        Ok(found.filter(is_of_it))
    }

    /// Keeps what an evaluation found.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_evaluation(
        &self,
        id: CommitId,
        command: &str,
        metrics: &BTreeMap<String, Value>,
    ) -> Result<Evaluation> {
        let commit = self.commit_object(id)?;
        let (recipe, model) = subject(&commit);
        let evaluation = Evaluation {
            version: VERSION,
            recipe,
            model,
            command: command.to_owned(),
            commit: id.to_hex(),
            metrics: metrics
                .iter()
                .map(|(k, v)| (k.clone(), v.to_json()))
                .collect(),
            time: clock::format_rfc3339(clock::now().seconds),
        };
        let path = self.evaluation_path(&commit);
        let failed = |e: std::io::Error| Error::io("write", &path)(e);
        let dir = self.dir().join("ci");
        modelv_store::fs::create_dirs(&dir).map_err(failed)?;
        let mut text = serde_json::to_vec_pretty(&evaluation).unwrap_or_default();
        text.push(b'\n');
        let mut file = tempfile::NamedTempFile::new_in(&dir).map_err(failed)?;
        std::io::Write::write_all(&mut file, &text).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(evaluation)
    }
}
