//! `modelv runs`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::id::RunId;
use modelv_repo::core::run::{Run, Status};
use modelv_repo::{Condition, Field, Order, RunLine, RunQuery};

use super::{Done, Session, brief, cell, command_line, csv_row, one_line};
use crate::ui::Ui;

#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Only runs that ended so.
    #[arg(long, value_enum)]
    status: Option<StatusWord>,
    /// Only runs whose metric fits, for example `f1>0.8`; may be given again.
    #[arg(long, value_name = "CONDITION")]
    metric: Vec<String>,
    /// Only runs whose parameter fits, for example `optimizer=adam`; may be given again.
    #[arg(long, value_name = "CONDITION")]
    param: Vec<String>,
    /// By `started`, `duration`, a metric or a parameter; `-KEY`: largest first.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    sort: Option<String>,
    /// At most so many.
    #[arg(short = 'n', value_name = "N")]
    limit: Option<usize>,
    /// As JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As comma-separated values, one column for each parameter and metric.
    #[arg(long)]
    csv: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum StatusWord {
    Finished,
    Failed,
    Interrupted,
}

impl Args {
    fn query(&self) -> modelv_repo::Result<RunQuery> {
        let read = |field, list: &[String]| -> modelv_repo::Result<Vec<Condition>> {
            list.iter()
                .map(|text| Condition::parse(field, text))
                .collect()
        };
        let mut conditions = read(Field::Metric, &self.metric)?;
        conditions.extend(read(Field::Param, &self.param)?);
        Ok(RunQuery {
            status: self.status.map(|word| match word {
                StatusWord::Finished => Status::Finished,
                StatusWord::Failed => Status::Failed,
                StatusWord::Interrupted => Status::Interrupted,
            }),
            conditions,
            order: self.sort.as_deref().map(Order::parse).transpose()?,
            limit: self.limit,
        })
    }
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let (repo, query) = (s.repo()?, args.query()?);
    s.ui.long(!args.json);
    if args.json {
        let runs = repo.find_runs(&query)?;
        let list: Vec<_> = runs
            .iter()
            .map(|(id, run)| modelv_repo::json::run(*id, run))
            .collect();
        s.ui.json(&list.into());
    } else if args.csv {
        show_csv(s.ui, &repo.find_runs(&query)?);
    } else {
        let lines = repo.list_runs(&query)?;
        // An order that was asked for is kept.
        let rows = match query.order {
            Some(_) => lines.iter().map(|line| (0, line)).collect(),
            None => nested(&lines),
        };
        for (depth, run) in rows {
            s.ui.line(line(depth, run));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Deepest level that is indented.
const DEPTH_MAX: usize = 8;

/// Every run below the one it is a part of, where that is in the list; the parts in the order they began.
fn nested(lines: &[RunLine]) -> Vec<(usize, &RunLine)> {
    let listed: HashSet<[u8; 16]> = lines.iter().map(|l| l.nonce).collect();
    let mut parts: HashMap<[u8; 16], Vec<&RunLine>> = HashMap::new();
    let (mut out, mut stack) = (Vec::new(), Vec::new());
    for line in lines.iter().rev() {
        match line
            .parent
            .filter(|p| listed.contains(p) && *p != line.nonce)
        {
            Some(parent) => parts.entry(parent).or_default().push(line),
            None => stack.push((0, line)),
        }
    }
    while let Some((depth, line)) = stack.pop() {
        out.push((depth, line));
        let own = parts.remove(&line.nonce).unwrap_or_default();
        stack.extend(own.into_iter().rev().map(|part| (depth + 1, part)));
    }
    // Runs that name one another as parents can't be in a tree; no run of ours does.
    out.extend(parts.into_values().flatten().map(|line| (0, line)));
    out
}

fn line(depth: usize, run: &RunLine) -> String {
    let metrics: Vec<String> = run
        .metrics
        .iter()
        .map(|(k, v)| format!("{k}={}", brief(v)))
        .collect();
    let status = match run.is_doubtful {
        true => format!("{}?", run.status),
        false => run.status.to_string(),
    };
    format!(
        "{:indent$}{} {} {status:11} {:>9} {} {}",
        "",
        run.id.short(),
        clock::format_rfc3339(run.started),
        clock::format_duration(run.duration_ms),
        one_line(&run.command),
        metrics.join(" "),
        indent = 2 * depth.min(DEPTH_MAX),
    )
    .trim_end()
    .to_owned()
}

fn show_csv(ui: &mut Ui, runs: &[(RunId, Run)]) {
    let params: BTreeSet<&String> = runs.iter().flat_map(|(_, r)| r.params.keys()).collect();
    let metrics: BTreeSet<&String> = runs.iter().flat_map(|(_, r)| r.metrics.keys()).collect();
    let mut head: Vec<String> = [
        "run",
        "started",
        "status",
        "duration_ms",
        "recipe",
        "command",
    ]
    .map(str::to_owned)
    .into();
    head.extend(params.iter().map(|k| format!("param.{k}")));
    head.extend(metrics.iter().map(|k| format!("metric.{k}")));
    ui.line(csv_row(&head));
    for (id, run) in runs {
        let mut row = vec![
            id.to_hex(),
            clock::format_rfc3339(run.started.seconds),
            run.status.to_string(),
            run.duration_ms.to_string(),
            run.recipe.to_hex(),
            command_line(run),
        ];
        row.extend(params.iter().map(|k| cell(run.params.get(*k))));
        row.extend(metrics.iter().map(|k| cell(run.metrics.get(*k))));
        ui.line(csv_row(&row));
    }
}
