//! What the library tells, as JSON for machines: one form for the command line and for bindings.
//!
//! Keys are only ever added. Never holds what people read: words and colours are the caller's.

use std::collections::BTreeMap;

use modelv_core::commit::Commit;
use modelv_core::driver::{
    Block, Change, ImageChange, ImageKind, LineDiff, TensorChange, TensorKind,
};
use modelv_core::id::{BlobId, CommitId, RunId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::run::{Determinism, Doubt, Run};
use modelv_core::tree::Mode;
use modelv_core::value::Value;
use serde_json::json;

use crate::capture::clock;
use crate::commit::{Committed, ModelState, Status};
use crate::diff::{DiffReport, DiffSide, FileDiff};
use crate::envdiff::EnvChange;
use crate::error::Result;
use crate::lineage::{CommitLink, Lineage, RunLink, Source, Subject};
use crate::names;
use crate::pipeline::{
    Pipeline, PipelineOutcome, StageDone, StageOutcome, StageSpec, StageStatus, Why,
};
use crate::repo::Repo;
use crate::reproduce::{Comparison, FileVerdict, Reproduced};
use crate::run::RunOutcome;
use crate::sweep::{Axis, SweepOutcome, SweepPoint};
use crate::worktree::{ChangeKind, FileChange, Skipped, SnapFile};

/// Version of the form of [`diff`]. A new one would take keys away; keys are added without one.
const DIFF_VERSION: u32 = 1;

/// A commit with the metrics of its last run, and whether that was of another recipe.
///
/// # Errors
/// The run is missing or damaged.
pub fn commit(repo: &Repo, id: CommitId, commit: &Commit) -> Result<serde_json::Value> {
    Ok(json!({
        "id": id.to_hex(),
        "recipe": {
            "id": commit.recipe.id().to_hex(),
            "code": commit.recipe.code.to_hex(),
            "data": commit.recipe.data.to_hex(),
            "config": commit.recipe.config.to_hex(),
            "env": commit.recipe.env.to_hex(),
        },
        "model": commit.model.map(|m| json!({
            "tree": m.tree.to_hex(),
            "recipe": m.recipe.to_hex(),
            "stale": m.recipe != commit.recipe.id(),
        })),
        "parents": commit.parents.iter().map(CommitId::to_hex).collect::<Vec<_>>(),
        "author": {"name": commit.author.name, "email": commit.author.email},
        "committer": {"name": commit.committer.name, "email": commit.committer.email},
        "time": clock::format_rfc3339(commit.time.seconds),
        "message": commit.message,
        "runs": commit.runs.iter().map(RunId::to_hex).collect::<Vec<_>>(),
        "metrics": values(&repo.metrics(commit)?),
        // True: they were measured on another recipe, that of the model which is stale here.
        "metrics_stale": !commit.runs.is_empty() && repo.own_run(commit)?.is_none(),
        "extra": commit.extra,
    }))
}

/// A new commit, and what differs from the one before it.
///
/// # Errors
/// It is damaged.
pub fn committed(repo: &Repo, done: &Committed) -> Result<serde_json::Value> {
    let mut json = commit(repo, done.id, &repo.commit_object(done.id)?)?;
    json["branch"] = repo.head_ref().map(names::short).into();
    json["changes"] = done.changes.iter().map(change).collect();
    json["env_changes"] = env(&done.env);
    json["skipped"] = skipped(&done.skipped);
    Ok(json)
}

fn skipped(skipped: &[Skipped]) -> serde_json::Value {
    let one = |s: &Skipped| json!({"path": s.path, "reason": s.reason});
    skipped.iter().map(one).collect()
}

/// One execution.
#[must_use]
pub fn run(id: RunId, run: &Run) -> serde_json::Value {
    json!({
        "id": id.to_hex(), "recipe": run.recipe.to_hex(), "command": run.command,
        "commit": run.commit.as_ref().map(CommitId::to_hex),
        "status": run.status.to_string(), "exit_code": run.exit_code,
        "started": clock::format_rfc3339(run.started.seconds), "duration_ms": run.duration_ms,
        "params": values(&run.params), "metrics": values(&run.metrics), "host": run.host,
        "outputs": run.outputs.as_ref().map(TreeId::to_hex),
        "log": run.log.as_ref().map(BlobId::to_hex),
        "determinism": determinism_word(run.determinism),
        "stage": run.origin.stage.as_ref().map(|s| json!({
            "name": s.name, "key": s.key.to_hex(), "inputs": s.inputs.to_hex(),
        })),
        "nonce": modelv_core::id::to_hex(&run.nonce),
        "parent": run.origin.parent.map(|p| modelv_core::id::to_hex(&p)),
        "repeats": run.origin.repeats.as_ref().map(RunId::to_hex),
        "doubts": run.origin.doubts.iter().map(doubt).collect::<Vec<_>>(),
    })
}

fn doubt(doubt: &Doubt) -> serde_json::Value {
    match doubt {
        Doubt::Changed(path) => {
            json!({"kind": "changed", "path": String::from_utf8_lossy(path)})
        }
        Doubt::Beside => json!({"kind": "beside"}),
    }
}

/// What a run came to.
#[must_use]
pub fn run_outcome(done: &RunOutcome) -> serde_json::Value {
    json!({
        "run": run(done.id, &done.run), "reused": done.reused,
        "commit": done.commit.as_ref().map(CommitId::to_hex),
        "strays": done.strays, "bad_lines": done.bad_lines,
    })
}

/// What is known of a run's determinism, as a word.
#[must_use]
pub fn determinism_word(determinism: Determinism) -> &'static str {
    match determinism {
        Determinism::Unknown => "unknown",
        Determinism::BitEqual => "bit-equal",
        Determinism::Tolerance => "tolerance",
        Determinism::Different => "different",
    }
}

/// What a repetition of a commit's run came to.
#[must_use]
pub fn reproduced(done: &Reproduced) -> serde_json::Value {
    let file = |f: &FileVerdict| {
        let mut json = json!({"verdict": f.verdict.word()});
        match &f.verdict {
            Comparison::Within(distance) => json["max_abs"] = json!(distance),
            Comparison::Different { at, max_abs, how } => {
                json["at"] = json!(at);
                json["max_abs"] = json!(max_abs);
                json["how"] = json!(how);
            }
            _ => {}
        }
        set_path(&mut json, "path", &f.path);
        json
    };
    json!({
        "run": done.id.to_hex(), "repeats": done.original.to_hex(),
        "status": done.run.status.to_string(), "exit_code": done.run.exit_code,
        "determinism": determinism_word(done.run.determinism),
        "files": done.files.iter().map(file).collect::<Vec<_>>(),
        "env": env(&done.env),
    })
}

/// What a sweep came to: one entry for each point.
#[must_use]
pub fn sweep(axes: &[Axis], done: &SweepOutcome) -> serde_json::Value {
    let point = |p: &SweepPoint| {
        let pairs = axes.iter().zip(&p.values);
        let values: serde_json::Map<String, serde_json::Value> = pairs
            .map(|(a, v)| {
                let value = serde_json::from_str(v).unwrap_or_else(|_| v.clone().into());
                (a.name.clone(), value)
            })
            .collect();
        json!({"point": values, "reused": p.reused,
            "run": p.run.as_ref().map(|(id, r)| run(*id, r))})
    };
    json!({"run": done.id.to_hex(), "interrupted": done.interrupted,
        "points": done.points.iter().map(point).collect::<Vec<_>>()})
}

/// What led to something, and what it led to.
#[must_use]
pub fn lineage(found: &Lineage) -> serde_json::Value {
    let put = |json: &mut serde_json::Value, path: &Option<RepoPath>| {
        if let Some(path) = path {
            set_path(json, "path", path);
        }
    };
    let source = |s: &Source| {
        let made_by: Vec<String> = s.made_by.iter().map(RunId::to_hex).collect();
        let mut json = json!({"content": s.blob.to_hex(), "made_by": made_by});
        set_path(&mut json, "path", &s.path);
        json
    };
    let of_run = |link: &RunLink| {
        let sources: Vec<_> = link.sources.iter().map(source).collect();
        let mut json = json!({"run": run(link.id, &link.run), "sources": sources});
        put(&mut json, &link.path);
        json
    };
    let of_commit = |link: &CommitLink| {
        let mut json = json!({"id": link.id.to_hex(), "subject": link.commit.subject(),
            "recipe": link.commit.recipe.id().to_hex()});
        put(&mut json, &link.path);
        json
    };
    let (commit, content, path) = match &found.subject {
        Subject::Commit(id) => (Some(id.to_hex()), None, None),
        Subject::Content(blob, path) => (None, Some(blob.to_hex()), path.clone()),
    };
    let mut json = json!({
        "commit": commit, "content": content,
        "made_by": found.made_by.iter().map(of_run).collect::<Vec<_>>(),
        "made_in": found.made_in.iter().map(of_commit).collect::<Vec<_>>(),
        "used_by": found.used_by.iter().map(of_run).collect::<Vec<_>>(),
        "used_in": found.used_in.iter().map(of_commit).collect::<Vec<_>>(),
    });
    put(&mut json, &path);
    json
}

/// The stages of a pipeline, each behind all that it needs.
#[must_use]
pub fn pipeline(pipeline: &Pipeline) -> serde_json::Value {
    let paths = |list: &[RepoPath]| list.iter().map(RepoPath::to_string).collect::<Vec<_>>();
    let stages = pipeline.stages();
    let stage = |(at, s): (usize, &StageSpec)| {
        let needs = pipeline.needs(at).iter().map(|n| &stages[*n].name);
        json!({
            "name": s.name, "command": s.command, "inputs": paths(&s.inputs),
            "outputs": paths(&s.outputs),
            "params": s.params.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "needs": needs.collect::<Vec<_>>(),
        })
    };
    stages.iter().enumerate().map(stage).collect()
}

/// What has to be done for each stage.
#[must_use]
pub fn stage_status(stages: &[StageStatus]) -> serde_json::Value {
    let stage = |s: &StageStatus| {
        json!({"name": s.name, "state": s.state.word(), "run": s.run.map(|r| r.to_hex()),
            "why": s.why.iter().map(Why::to_json).collect::<Vec<_>>()})
    };
    stages.iter().map(stage).collect()
}

/// What a pipeline came to.
#[must_use]
pub fn pipeline_outcome(outcome: &PipelineOutcome) -> serde_json::Value {
    let stage = |s: &StageOutcome| {
        let detail = match &s.done {
            StageDone::Failed(reason) => Some(reason.clone()),
            StageDone::NotRun(stage) => Some(format!("needs {stage}")),
            _ => None,
        };
        json!({"name": s.name, "done": s.done.word(), "detail": detail,
            "run": s.run.map(|r| r.to_hex()), "duration_ms": s.duration_ms,
            "why": s.why.iter().map(Why::to_json).collect::<Vec<_>>()})
    };
    let result = outcome.result.as_ref();
    json!({
        "stages": outcome.stages.iter().map(stage).collect::<Vec<_>>(),
        "run": result.map(|r| r.id.to_hex()),
        "commit": result.and_then(|r| r.commit).map(|c| c.to_hex()),
        "strays": result.map(|r| r.strays.clone()).unwrap_or_default(),
        "ok": outcome.is_ok(),
    })
}

/// The working tree against HEAD.
#[must_use]
pub fn status(status: &Status) -> serde_json::Value {
    json!({
        "head": status.head.map(|id| id.to_hex()),
        "branch": status.on_branch.then_some(&status.head_label),
        "changes": status.changes.iter().map(change).collect::<Vec<_>>(),
        "env": env(&status.env),
        "model": model_word(status.model),
        "merge": status.merge,
        "upstream": status.upstream.as_ref().map(|u| json!({
            "name": u.name, "commit": u.commit.map(|id| id.to_hex()), "ahead": u.ahead, "behind": u.behind,
        })),
        "external": status.externals.iter().map(|e| json!({
            "path": e.path.to_string(), "url": e.pointer.url, "state": e.state.word(),
        })).collect::<Vec<_>>(),
        "skipped": skipped(&status.skipped),
    })
}

/// What differs between two sides: `spec/diff-json.md`.
#[must_use]
pub fn diff(report: &DiffReport, old: &DiffSide, new: &DiffSide) -> serde_json::Value {
    let value = |v: &Option<Value>| v.as_ref().map(Value::to_json);
    json!({
        "version": DIFF_VERSION,
        "old": side(old),
        "new": side(new),
        "extent": report.extent.word(),
        "files": report.files.iter().map(diff_file).collect::<Vec<_>>(),
        "env": env(&report.env),
        "metrics": report.metrics.iter().map(|m| {
            json!({"key": m.key, "old": value(&m.old), "new": value(&m.new),
                "delta": m.delta(), "better": m.is_better()})
        }).collect::<Vec<_>>(),
    })
}

fn side(side: &DiffSide) -> serde_json::Value {
    let commit = side.object.as_ref();
    json!({
        "label": side.label,
        "commit": side.commit.map(|c| c.to_hex()),
        "recipe": commit.map(|c| c.recipe.id().to_hex()),
        "author": commit.map(|c| c.author.to_string()),
        "time": commit.map(|c| clock::format_rfc3339(c.time.seconds)),
        "message": commit.map(|c| &c.message),
    })
}

fn diff_file(file: &FileDiff) -> serde_json::Value {
    let kind = |f: &Option<SnapFile>| {
        f.as_ref().map(|f| {
            json!({"ingredient": f.ingredient.word(), "mode": mode_word(f.mode),
                "size": f.size, "blob": f.blob.to_hex()})
        })
    };
    let tally = file.tally();
    let mut json = change(&file.change);
    json["similarity"] = file.percent.into();
    json["old"] = kind(&file.change.old).into();
    json["new"] = kind(&file.change.new).into();
    json["driver"] = file.driver.to_string().into();
    json["notes"] = file.notes.clone().into();
    json["tally"] = json!({"unit": tally.unit, "added": tally.added, "removed": tally.removed,
        "changed": tally.changed});
    json["inside"] = file.inside.iter().map(part).collect();
    json["hunks"] = file.lines().map(|lines| hunks(&lines)).into();
    json
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::File => "file",
        Mode::Executable => "executable",
        Mode::Symlink => "symlink",
        Mode::Tree => "tree",
        Mode::External => "external",
    }
}

/// Hunks with three lines around each: every line with its sign and its end.
fn hunks(lines: &LineDiff<'_>) -> Vec<serde_json::Value> {
    let text = |sign: &str, line: &[u8]| json!([sign, String::from_utf8_lossy(line)]);
    let lines_of = |block: &Block<'_, '_>| -> Vec<serde_json::Value> {
        if block.kept {
            return block.old.iter().map(|l| text(" ", l)).collect();
        }
        let gone = block.old.iter().map(|l| text("-", l));
        gone.chain(block.new.iter().map(|l| text("+", l))).collect()
    };
    lines
        .hunks(3)
        .map(|hunk| {
            json!({
                "old_start": hunk.old.start, "old_lines": hunk.old.len(),
                "new_start": hunk.new.start, "new_lines": hunk.new.len(),
                "heading": hunk.heading.map(|h| String::from_utf8_lossy(h).trim_end().to_owned()),
                "lines": hunk.blocks.iter().flat_map(lines_of).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn part(change: &Change) -> serde_json::Value {
    let value = |v: &Option<Value>| v.as_ref().map(Value::to_json);
    match change {
        Change::Lines { added, removed } => json!({"lines": {"added": added, "removed": removed}}),
        Change::Key { key, old, new } => json!({"key": key, "old": value(old), "new": value(new)}),
        Change::Package { name, old, new } => json!({"package": name, "old": old, "new": new}),
        Change::Rows { old, new } => json!({"rows": {"old": old, "new": new}}),
        Change::Column { name, added } => json!({"column": name, "added": added}),
        Change::Bytes { old, new } => json!({"bytes": {"old": old, "new": new}}),
        Change::Cell {
            name,
            kind,
            state,
            added,
            removed,
            outputs,
            metadata,
            moved,
        } => json!({"cell": name, "type": kind, "state": state.to_string(),
            "lines": {"added": added, "removed": removed}, "outputs": outputs, "metadata": metadata, "moved": moved}),
        Change::Keyed {
            key,
            added,
            removed,
            changed,
        } => json!({"keyed": {"key": key, "added": added, "removed": removed, "changed": changed}}),
        Change::Row { key, state, cells } => {
            let cells: Vec<serde_json::Value> = cells
                .iter()
                .map(|(column, old, new)| json!({"column": column, "old": old, "new": new}))
                .collect();
            json!({"row": key, "state": state.to_string(), "cells": cells})
        }
        Change::Tensor(change) => tensor(change),
        Change::Image(change) => image(change),
    }
}

fn image(change: &ImageChange) -> serde_json::Value {
    let kind = |kind: &Option<ImageKind>| {
        kind.map(|k| json!({"format": k.format.to_string(), "width": k.width, "height": k.height}))
    };
    let look = change
        .look
        .map(|l| json!({"shapes": l.shapes, "colours": l.colours}));
    json!({"image": {"old": kind(&change.old), "new": kind(&change.new), "look": look,
        "why": change.why}})
}

fn tensor(change: &TensorChange) -> serde_json::Value {
    let kind = |kind: &Option<TensorKind>| {
        kind.as_ref()
            .map(|k| json!({"dtype": k.dtype, "shape": k.shape}))
    };
    let numbers = change.numbers.map(|n| {
        json!({"count": n.count, "changed": n.changed, "max_abs": n.max_abs,
            "mean_abs": n.mean_abs, "rms": n.rms, "relative_rms": n.relative_rms(), "cosine": n.cosine,
            "not_finite": n.not_finite,
            "nan": {"old": n.nan[0], "new": n.nan[1]},
            "infinite": {"old": n.infinite[0], "new": n.infinite[1]}})
    });
    let blocks = change
        .blocks
        .map(|(changed, count)| json!({"changed": changed, "count": count}));
    json!({"tensor": change.name, "old": kind(&change.old), "new": kind(&change.new),
        "numbers": numbers, "blocks": blocks})
}

fn change(c: &FileChange) -> serde_json::Value {
    let mut json =
        json!({"ingredient": c.ingredient().word(), "change": c.kind.word(), "from": null});
    set_path(&mut json, "path", &c.path);
    if let ChangeKind::Renamed { from } = &c.kind {
        set_path(&mut json, "from", from);
    }
    json
}

/// A path as it is. One that is no UTF-8 stands in a form for people, its bytes beside it.
fn set_path(json: &mut serde_json::Value, key: &str, path: &RepoPath) {
    match std::str::from_utf8(path.as_bytes()) {
        Ok(text) => json[key] = text.into(),
        Err(_) => {
            json[key] = path.to_string().into();
            json[format!("{key}_bytes")] = path.as_bytes().into();
        }
    }
}

/// How two environments differ.
#[must_use]
pub fn env(changes: &[EnvChange]) -> serde_json::Value {
    changes
        .iter()
        .map(|c| json!({"item": c.item, "old": c.old, "new": c.new}))
        .collect()
}

fn values(map: &BTreeMap<String, Value>) -> serde_json::Map<String, serde_json::Value> {
    map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()
}

fn model_word(state: ModelState) -> &'static str {
    match state {
        ModelState::None => "none",
        ModelState::Current => "current",
        ModelState::Stale => "stale",
    }
}
