//! Results of earlier runs of stages, and what differs from the last one. Reads only.

use std::collections::{BTreeMap, HashMap};

use modelv_core::id::{RunId, StageId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::run::{Run, Status};
use modelv_core::stage::Stage;
use modelv_core::value::Value;

use super::Why;
use super::graph::Pipeline;
use super::plan::files_of_tree;
use crate::capture::secrets;
use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::{ChangeKind, Files, compare};

/// More reasons of one kind are not listed.
const REASONS_MAX: usize = 20;

/// Results of earlier runs.
#[derive(Default)]
pub(super) struct Known {
    pub(super) by_key: HashMap<StageId, (RunId, TreeId)>,
    pub(super) failed: HashMap<StageId, RunId>,
    /// The last finished run of each name.
    pub(super) last: HashMap<String, Run>,
}

impl Known {
    /// Looks through all runs.
    pub(super) fn of(repo: &Repo, pipeline: &Pipeline) -> Result<Self> {
        let mut known = Self::default();
        // Newest first: the first of a key or name is the one that counts.
        for (id, run) in repo.runs()? {
            let Some(stage) = run.origin.stage.clone() else {
                continue;
            };
            let is_sure = run.origin.doubts.is_empty();
            match (run.status, run.outputs) {
                (Status::Finished, Some(outputs)) if is_sure => {
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

    /// What differs from the last run of the stage.
    pub(super) fn explain(
        &self,
        repo: &Repo,
        name: &str,
        stage: &Stage,
        inputs: &Files,
    ) -> Vec<Why> {
        let Some(last) = self.last.get(name) else {
            let failed = self.failed.contains_key(&stage.id());
            return vec![if failed { Why::Failed } else { Why::NeverRun }];
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
            let failed = self.failed.contains_key(&stage.id());
            why.push(if failed { Why::Failed } else { Why::Outputs });
        }
        why
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

pub(super) fn changed_files(
    old: &Files,
    new: &Files,
) -> impl Iterator<Item = (RepoPath, &'static str)> {
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
