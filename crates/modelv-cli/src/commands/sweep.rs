//! `modelv run --sweep`: the points of a grid as a table.

use std::collections::BTreeSet;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::run::Status;
use modelv_repo::{Repo, SweepOptions, SweepOutcome, json};

use super::pipeline::Talk;
use super::runs::{brief, cell, table};
use super::{Done, Session};
use crate::ui::{Style, Ui};

/// Most metrics in the table.
const METRICS_MAX: usize = 8;

/// What is to be done with the best point.
pub(super) struct Promote {
    pub(super) metric: String,
    pub(super) smallest: bool,
    pub(super) branch: String,
}

pub(super) fn run(
    repo: &mut Repo,
    options: &SweepOptions,
    promote: Option<&Promote>,
    as_json: bool,
    s: Session<'_>,
) -> Done {
    if let Some(wish) = promote {
        repo.check_new_branch(&wish.branch)?;
    }
    let done = repo.sweep(options, &Talk::default(), &s.ctx())?;
    if as_json {
        s.ui.json(&json::sweep(&options.axes, &done));
    } else {
        show(options, &done, s.ui);
    }
    if done.interrupted {
        return Ok(ExitCode::from(130));
    }
    if let Some(wish) = promote {
        let (id, _) = done.best(&wish.metric, wish.smallest)?;
        let author = options.run.author.as_deref();
        let commit = repo.promote_run(*id, &wish.branch, author)?;
        s.ui.talk(format!(
            "branch {} at {}: the model of run {}",
            wish.branch,
            commit.short(),
            id.short()
        ));
    }
    let is_done = |p: &modelv_repo::SweepPoint| {
        p.run
            .as_ref()
            .is_some_and(|(_, run)| run.status == Status::Finished)
    };
    let failed = done.points.iter().filter(|p| !is_done(p)).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.talk(format!(
        "error: {failed} of {} points failed",
        done.points.len()
    ));
    s.ui.talk("\nhint: `modelv runs --status failed` lists them, `modelv runs show RUN --log` has what one printed");
    Ok(ExitCode::FAILURE)
}

fn show(options: &SweepOptions, done: &SweepOutcome, ui: &mut Ui) {
    let runs = done.points.iter().filter_map(|p| p.run.as_ref());
    let metrics: BTreeSet<&String> = runs.flat_map(|(_, run)| run.metrics.keys()).collect();
    let metrics: Vec<&String> = metrics.into_iter().take(METRICS_MAX).collect();
    let mut head: Vec<String> = options.axes.iter().map(|a| a.name.clone()).collect();
    head.extend(["status".to_owned(), "duration".into()]);
    head.extend(metrics.iter().map(|m| (*m).clone()));
    head.push("run".into());
    let mut rows = vec![head];
    for point in &done.points {
        let mut row = point.values.clone();
        match &point.run {
            Some((id, run)) => {
                let status = run.status.to_string();
                row.push(if point.reused { "known".into() } else { status });
                row.push(clock::format_duration(run.duration_ms));
                row.extend(metrics.iter().map(|m| brief(&cell(run.metrics.get(*m)))));
                row.push(id.short());
            }
            None => row.push("not reached".into()),
        }
        rows.push(row);
    }
    for (i, line) in table(&rows).iter().enumerate() {
        let line = if i == 0 {
            ui.paint(Style::Strong, line)
        } else {
            line.clone()
        };
        ui.line(line);
    }
}
