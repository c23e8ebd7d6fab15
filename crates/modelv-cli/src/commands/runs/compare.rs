//! `modelv runs compare`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::id::RunId;
use modelv_repo::core::run::Run;
use modelv_repo::core::value::Value;
use modelv_repo::{Point, Repo, Row, compare_runs};
use serde_json::json;

use super::{Done, Session, cell, command_line, csv_row, one_line, table};
use crate::error::CommandError;
use crate::html::runs_page;
use crate::ui::{Style, Ui};
use crate::view::plot::{Line, Plot};

/// Compare runs side by side: first the parameters and metrics that differ.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Runs by the first digits of their ids, or commits that have one.
    #[arg(required = true, num_args = 2..)]
    runs: Vec<String>,
    /// Leave out what is equal.
    #[arg(long)]
    changed: bool,
    /// Draw this series of each run; may be given again. `*`: every series.
    #[arg(long, value_name = "METRIC", conflicts_with_all = ["json", "csv", "html"])]
    plot: Vec<String>,
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
        if !args.plot.is_empty() {
            show_plots(&repo, &runs, &args.plot, s.ui)?;
        }
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
        line("command", &|(_, run)| {
            one_line(&command_line(run)).into_owned()
        }),
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

/// Lines of the terminal that one plot takes.
const PLOT_LINES: usize = 12;
/// Colours of the lines, in the order of the runs.
const PLOT_STYLES: [Style; 5] = [
    Style::Added,
    Style::Removed,
    Style::Changed,
    Style::Hunk,
    Style::Warn,
];

fn show_plots(
    repo: &Repo,
    runs: &[(RunId, Run)],
    wanted: &[String],
    ui: &mut Ui,
) -> Result<(), CommandError> {
    let series: Vec<Vec<Point>> = runs
        .iter()
        .map(|(id, _)| repo.series(*id, None))
        .collect::<Result<_, _>>()?;
    let names: BTreeSet<&String> = series.iter().flatten().map(|p| &p.name).collect();
    let is_wanted = |name: &str| wanted.iter().any(|w| w == name || w == "*");
    if let Some(gone) = wanted.iter().find(|w| *w != "*" && !names.contains(w)) {
        return Err(modelv_repo::Error::not_found("metric", gone.as_str()).into());
    }
    for name in names.into_iter().filter(|n| is_wanted(n)) {
        let lines: Vec<Line> = series.iter().map(|points| line_of(points, name)).collect();
        let labels: Vec<String> = runs.iter().map(|(id, _)| id.short()).collect();
        show_plot(name, &lines, &labels, ui);
    }
    Ok(())
}

/// The points of one metric, by step; by their order where there is none.
fn line_of(points: &[Point], name: &str) -> Line {
    let own = points.iter().filter(|p| p.name == name).enumerate();
    #[expect(clippy::cast_precision_loss, reason = "a place on a terminal")]
    own.filter_map(|(i, p)| Some((p.step.unwrap_or(i as i64) as f64, p.value.as_f64()?)))
        .collect()
}

fn show_plot(name: &str, lines: &[Line], labels: &[String], ui: &mut Ui) {
    const LABEL: usize = 12;
    let style = |line: usize| PLOT_STYLES[line % PLOT_STYLES.len()];
    let width = ui.width().saturating_sub(LABEL + 2);
    ui.line("");
    ui.line(ui.paint(Style::Strong, name));
    let Some(plot) = Plot::new(lines, width, PLOT_LINES) else {
        ui.line("  fewer than two points");
        return;
    };
    for row in 0..plot.height() {
        let label = match row {
            0 => format!("{:.6}", plot.y.1),
            row if row + 1 == plot.height() => format!("{:.6}", plot.y.0),
            _ => String::new(),
        };
        let drawn: String = plot
            .row(row)
            .map(|(c, line)| ui.paint(style(line), &c.to_string()))
            .collect();
        // Without colours, blanks at the end say nothing.
        let text = format!("{label:>LABEL$} \u{2502}{drawn}");
        ui.line(text.trim_end());
    }
    ui.line(format!(
        "{:>LABEL$} \u{2514} {} .. {}",
        "", plot.x.0, plot.x.1
    ));
    for (i, label) in labels
        .iter()
        .enumerate()
        .filter(|(i, _)| !lines[*i].is_empty())
    {
        ui.line(format!("{:>LABEL$}   {}", "", ui.paint(style(i), label)));
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
