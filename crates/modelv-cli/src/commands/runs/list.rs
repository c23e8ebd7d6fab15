//! `modelv runs`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::run::Status;
use modelv_repo::{Condition, Field, FoundRuns, Order, RunLine, RunQuery};

use super::{Done, Session, cell, command_line, csv_row, one_line, write_brief};
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
    let found = repo.find_runs(&query)?;
    if args.json {
        let each = found.runs();
        s.ui.json_list(each.map(|run| run.map(|(id, run)| modelv_repo::json::run(id, &run))))?;
    } else if args.csv {
        show_csv(s.ui, &found)?;
    } else {
        // An order that was asked for is kept.
        let is_nested = query.order.is_none();
        show_lines(s.ui, found.lines().collect(), is_nested);
    }
    Ok(ExitCode::SUCCESS)
}

/// Deepest level that is indented.
const DEPTH_MAX: usize = 8;

fn show_lines(ui: &mut Ui, lines: Vec<RunLine<'_>>, is_nested: bool) {
    let is_part = |line: &RunLine<'_>| line.parent().is_some();
    let rows = match is_nested && lines.iter().any(is_part) {
        true => nested(lines),
        false => lines.into_iter().map(|line| (0, line)).collect(),
    };
    let mut text = String::new();
    for (depth, run) in rows {
        text.clear();
        write_line(&mut text, depth, &run);
        ui.line(text.trim_end());
    }
}

/// Every run below the one it is a part of, where that is in the list; the parts in the order they began.
fn nested(lines: Vec<RunLine<'_>>) -> Vec<(usize, RunLine<'_>)> {
    let listed: HashSet<[u8; 16]> = lines.iter().map(RunLine::nonce).collect();
    let mut parts: HashMap<[u8; 16], Vec<RunLine<'_>>> = HashMap::new();
    let (mut out, mut stack) = (Vec::new(), Vec::new());
    for line in lines.into_iter().rev() {
        match line
            .parent()
            .filter(|p| listed.contains(p) && *p != line.nonce())
        {
            Some(parent) => parts.entry(parent).or_default().push(line),
            None => stack.push((0, line)),
        }
    }
    while let Some((depth, line)) = stack.pop() {
        let own = parts.remove(&line.nonce()).unwrap_or_default();
        out.push((depth, line));
        stack.extend(own.into_iter().rev().map(|part| (depth + 1, part)));
    }
    // Runs that name one another as parents can't be in a tree; no run of ours does.
    out.extend(parts.into_values().flatten().map(|line| (0, line)));
    out
}

/// One line of the list, behind what is in `out`.
fn write_line(out: &mut String, depth: usize, run: &RunLine<'_>) {
    for _ in 0..depth.min(DEPTH_MAX) {
        out.push_str("  ");
    }
    out.push_str(&run.id().short());
    out.push(' ');
    clock::write_rfc3339(out, run.started());
    let doubt = if run.is_doubtful() { "?" } else { "" };
    let status = format_args!("{}{doubt}", run.status()).to_string();
    let took = clock::format_duration(run.duration_ms());
    // Writing to a text can't fail.
    let _ = write!(out, " {status:11} {took:>9} ");
    if let Some(stage) = run.stage() {
        let _ = write!(out, "{stage}: ");
    }
    out.push_str(&one_line(run.command()));
    for (name, value) in run.metrics() {
        let _ = write!(out, " {name}=");
        match value.fraction() {
            Some(number) => write_brief(out, number),
            None => {
                let _ = write!(out, "{value}");
            }
        }
    }
}

fn show_csv(ui: &mut Ui, found: &FoundRuns<'_>) -> modelv_repo::Result<()> {
    let (params, metrics) = (found.keys(Field::Param), found.keys(Field::Metric));
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
    for run in found.runs() {
        let (id, run) = run?;
        let mut row = vec![
            id.to_hex(),
            clock::format_rfc3339(run.started.seconds),
            run.status.to_string(),
            run.duration_ms.to_string(),
            run.recipe.to_hex(),
            command_line(&run),
        ];
        row.extend(params.iter().map(|k| cell(run.params.get(*k))));
        row.extend(metrics.iter().map(|k| cell(run.metrics.get(*k))));
        ui.line(csv_row(&row));
    }
    Ok(())
}
