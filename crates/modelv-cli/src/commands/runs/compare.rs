//! `modelv runs compare`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::id::RunId;
use modelv_repo::core::run::Run;
use modelv_repo::core::value::Value;
use modelv_repo::{Point, Row, compare_runs};
use serde_json::json;

use super::{Done, Session, cell, command_line, csv_row, table};
use crate::html::runs_page;
use crate::ui::{Style, Ui};

/// Compare runs side by side: first the parameters and metrics that differ.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Runs by the first digits of their ids, or commits that have one.
    #[arg(required = true, num_args = 2..)]
    runs: Vec<String>,
    /// Leave out what is equal.
    #[arg(long)]
    changed: bool,
    /// As JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As comma-separated values, one row for each parameter and metric.
    #[arg(long)]
    csv: bool,
    /// As one page for a browser, with a chart for each metric; `-` writes it to standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv"])]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let runs: Vec<(RunId, Run)> = args
        .runs
        .iter()
        .map(|name| repo.find_run(name))
        .collect::<Result<_, _>>()?;
    let mut rows = compare_runs(&runs);
    rows.retain(|row| row.differs || !args.changed);
    if let Some(file) = &args.html {
        let series: Vec<Vec<Point>> = runs
            .iter()
            .map(|(id, _)| repo.series(*id, None))
            .collect::<Result<_, _>>()?;
        let page = runs_page(&runs, &rows, &series);
        super::super::write_page(s.ui, &s.dir, file, &page)?;
    } else if args.json {
        s.ui.json(&to_json(&runs, &rows));
    } else if args.csv {
        show_csv(s.ui, &runs, &rows);
    } else {
        show_table(s.ui, &runs, &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn show_table(ui: &mut Ui, runs: &[(RunId, Run)], rows: &[Row]) {
    let line = |title: &str, of: &dyn Fn(&(RunId, Run)) -> String| -> Vec<String> {
        std::iter::once(title.to_owned())
            .chain(runs.iter().map(of))
            .collect()
    };
    let mut cells = vec![
        line("run", &|(id, _)| id.short()),
        line("command", &|(_, run)| command_line(run)),
        line("status", &|(_, run)| run.status.to_string()),
        line("duration", &|(_, run)| {
            clock::format_duration(run.duration_ms)
        }),
    ];
    cells.extend(rows.iter().map(|row| {
        let title = format!("{} {}", row.field.word(), row.key);
        let values = row.values.iter().map(|v| match v {
            None => "-".to_owned(),
            some => cell(some.as_ref()),
        });
        std::iter::once(title).chain(values).collect()
    }));
    let lines = table(&cells);
    let heads = cells.len() - rows.len();
    for (i, text) in lines.iter().enumerate() {
        let differs = i
            .checked_sub(heads)
            .and_then(|i| rows.get(i))
            .map(|r| r.differs);
        let style = match differs {
            None => Style::Strong,
            Some(true) => Style::Changed,
            Some(false) => Style::Faint,
        };
        let text = ui.paint(style, text);
        ui.line(text);
    }
}

fn show_csv(ui: &mut Ui, runs: &[(RunId, Run)], rows: &[Row]) {
    let head = ["kind".to_owned(), "key".into(), "differs".into()];
    let ids = runs.iter().map(|(id, _)| id.to_hex());
    ui.line(csv_row(head.into_iter().chain(ids)));
    for row in rows {
        let head = [
            row.field.word().to_owned(),
            row.key.clone(),
            row.differs.to_string(),
        ];
        let values = row.values.iter().map(|v| cell(v.as_ref()));
        ui.line(csv_row(head.into_iter().chain(values)));
    }
}

fn to_json(runs: &[(RunId, Run)], rows: &[Row]) -> serde_json::Value {
    let value = |v: &Option<Value>| v.as_ref().map(Value::to_json);
    json!({
        "runs": runs.iter().map(|(id, run)| modelv_repo::json::run(*id, run)).collect::<Vec<_>>(),
        "rows": rows.iter().map(|row| json!({
            "kind": row.field.word(), "key": row.key, "differs": row.differs,
            "values": row.values.iter().map(value).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
