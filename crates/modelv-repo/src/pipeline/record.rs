//! The end of a stage and of the whole: recorded, committed where that is asked for, and a stage that failed
//! leaves what was there before. Must never take a result for what its key makes when what decides it changed
//! meanwhile.

use std::collections::BTreeMap;

use modelv_core::id::RunId;
use modelv_core::path::RepoPath;
use modelv_core::run::{Doubt, Status};
use modelv_core::value::Value;

use super::execute::{Runner, Running};
use super::{PipelineOutcome, StageDone, StageOutcome};
use crate::capture::exec::Execution;
use crate::capture::metrics;
use crate::ctx::{Cancel, Ctx};
use crate::error::{Error, Result};
use crate::run::{Ending, METRICS_FILE, record_of};
use crate::worktree::{Files, write_one_tree};

/// More files are not named.
const NAMED_MAX: usize = 100;

impl Runner<'_> {
    /// Records a stage whose program has ended.
    pub(super) fn record(&mut self, at: usize, execution: Result<Execution>) -> Result<()> {
        let Some(mut running) = self.active.remove(&at) else {
            return Ok(());
        };
        running.sampler = None;
        let record = &running.record;
        let execution = execution.inspect_err(|_| record.forget())?;
        let mut ending = Ending::of(execution.exit_code);
        let outputs = self.planner.pipeline.stages()[at].outputs.clone();
        let (mut made, mut gone) = (Files::new(), None);
        let moved = match ending.status {
            Status::Finished => self.moved(at, &running)?,
            _ => Vec::new(),
        };
        let session = self.repo.store.begin()?;
        if ending.status == Status::Finished {
            let keep = Some((&session, &self.repo.store));
            made = self.planner.reader.read(&outputs, keep, self.ctx)?;
            gone = outputs.iter().find(|o| !self.planner.reader.exists(o));
        }
        if gone.is_some() {
            ending.status = Status::Failed;
        }
        let (mut run, _) = self.repo.close_record(record, ending, &session)?;
        let changed = |path: &RepoPath| Doubt::Changed(path.as_bytes().to_vec());
        run.origin.doubts = moved.iter().map(changed).collect();
        if self.whole.as_ref().is_some_and(|w| w.hold.is_shared()) {
            run.origin.doubts.push(Doubt::Beside);
        }
        if ending.status == Status::Finished {
            run.outputs = Some(write_one_tree(&made, Some(&session))?);
            run.metrics.extend(self.metrics_in(&made));
        }
        let id = RunId(session.put_object(&run)?);
        session.finish()?;
        self.repo.update_refs(vec![record_of(id)])?;
        record.forget();
        let done = done_of(ending, gone, &run.origin.doubts);
        if done.is_ok() {
            self.planner.note(at, made);
        } else {
            self.bring_back(at, &running.before);
        }
        self.close(at, done, Some(id), run.duration_ms, running.why);
        Ok(())
    }

    fn metrics_in(&self, made: &Files) -> BTreeMap<String, Value> {
        let is_made = made.contains_key(METRICS_FILE.as_bytes());
        let path = self.repo.root().join(METRICS_FILE);
        let mut found = if is_made {
            metrics::read_or_tell(&path, self.ctx)
        } else {
            BTreeMap::new()
        };
        crate::capture::secrets::mask_values(&mut found);
        found
    }

    /// What decides what the stage makes and is not what it was when it began.
    fn moved(&mut self, at: usize, running: &Running) -> Result<Vec<RepoPath>> {
        let (inputs, params) = (&running.inputs, &running.params);
        let planner = &mut self.planner;
        let mut moved = planner.moved(self.repo, at, inputs, params, self.ctx)?;
        moved.extend(running.stamps.written(self.repo.root()).cloned());
        moved.sort();
        moved.dedup();
        moved.truncate(NAMED_MAX);
        Ok(moved)
    }

    /// Writes back what was at those outputs that the stage has left nothing of. That it can't be written costs
    /// no record: people are told, and have `restore`.
    fn bring_back(&mut self, at: usize, before: &Files) {
        let outputs = self.planner.pipeline.stages()[at].outputs.clone();
        let (gone, left): (Vec<&RepoPath>, Vec<&RepoPath>) = outputs
            .iter()
            .filter(|o| before.keys().any(|p| p.is_within(o.as_bytes())))
            .partition(|o| !self.planner.reader.exists(o));
        let mut old = before.clone();
        old.retain(|path, _| gone.iter().any(|o| path.is_within(o.as_bytes())));
        if !old.is_empty() {
            let none = Files::new();
            let turn = self.repo.take_turn();
            let back = turn.and_then(|_turn| {
                let action = "pipeline";
                // Who interrupted the stage did not mean this.
                let (progress, cancel) = (self.ctx.progress, &Cancel::new());
                let ctx = Ctx { progress, cancel };
                self.repo
                    .check_out_over(none.clone(), &none, &old, action, &ctx)
            });
            if let Err(e) = back {
                let text = format!(
                    "the outputs from before `{}` can't be put back: {e}",
                    self.name(at)
                );
                self.ctx.progress.note(&text);
            }
        }
        for output in left {
            self.ctx.progress.note(&format!(
                "`{output}` is what stage `{}` left when it failed; `modelv restore {output}` brings the committed \
                 one back",
                self.name(at)
            ));
        }
    }

    /// Records the whole, and commits it where that is asked for.
    pub(super) fn finish(mut self, failed: Option<Error>) -> Result<PipelineOutcome> {
        let stages: Vec<StageOutcome> = std::mem::take(&mut self.done).into_values().collect();
        let all = self.planner.pipeline.stages().len();
        let is_ok = stages.len() == all && stages.iter().all(|s| s.done.is_ok());
        if failed.is_none() && is_ok && self.options.commit && self.whole.is_none() {
            let is_current = self.is_current()?;
            if !is_current {
                self.whole_run()?;
            }
        }
        let Some(mut whole) = self.whole.take() else {
            return failed.map_or(
                Ok(PipelineOutcome {
                    stages,
                    result: None,
                }),
                Err,
            );
        };
        whole.parts = stages.iter().filter_map(|s| s.run).collect();
        whole.parts.dedup();
        let status = match () {
            () if self.ctx.cancel.is_cancelled() => Status::Interrupted,
            () if is_ok && failed.is_none() => Status::Finished,
            () => Status::Failed,
        };
        let exit_code = match status {
            Status::Finished => Some(0),
            Status::Failed => Some(1),
            Status::Interrupted => None,
        };
        if status != Status::Finished {
            // What lies there is of an earlier run.
            whole.metrics_before = metrics::stamp(&self.repo.root().join(METRICS_FILE));
        }
        let ending = Ending { status, exit_code };
        let result = self.repo.finish_run(whole, ending, self.ctx);
        match failed {
            Some(e) => Err(e),
            None => Ok(PipelineOutcome {
                stages,
                result: Some(result?),
            }),
        }
    }

    /// Whether HEAD is the model of the recipe that the working tree holds.
    fn is_current(&self) -> Result<bool> {
        let Some(head) = self.repo.head() else {
            return Ok(false);
        };
        let status = self
            .repo
            .status(self.options.run.python.clone(), self.ctx)?;
        let commit = self.repo.commit_object(head)?;
        let is_same = status.changes.is_empty() && status.env.is_empty();
        Ok(is_same && commit.model.is_some() && !commit.is_stale() && !commit.runs.is_empty())
    }
}

/// How a stage went.
fn done_of(ending: Ending, gone: Option<&RepoPath>, doubts: &[Doubt]) -> StageDone {
    let changed = doubts.iter().find_map(|d| match d {
        Doubt::Changed(path) => Some(String::from_utf8_lossy(path)),
        Doubt::Beside => None,
    });
    match (ending.status, gone, changed) {
        (Status::Interrupted, ..) => StageDone::Interrupted,
        (Status::Finished, _, Some(path)) => StageDone::Failed(format!(
            "`{path}` changed while it ran: its result is recorded, and stands for no other run"
        )),
        (Status::Finished, ..) if !doubts.is_empty() => StageDone::Failed(
            "another run was under way in this folder: its result is recorded, and stands for no other run".into(),
        ),
        (Status::Finished, ..) => StageDone::Finished,
        (Status::Failed, Some(gone), _) => StageDone::Failed(format!("it did not write `{gone}`")),
        (Status::Failed, None, _) => {
            let code = ending.exit_code.unwrap_or(1);
            StageDone::Failed(format!("its command ended with status {code}"))
        }
    }
}
