//! The report of several runs beside each other: parameters, metrics, and their course as charts.

use std::collections::BTreeMap;

use modelv_repo::capture::clock;
use modelv_repo::core::id::RunId;
use modelv_repo::core::run::Run;
use modelv_repo::core::value::Value;
use modelv_repo::{Field, Point, Row};

use super::chart::{Line, chart, class};
use super::{Html, page};

/// So many charts are drawn.
const CHARTS_MAX: usize = 100;

/// The whole page.
pub(crate) fn runs_page(runs: &[(RunId, Run)], rows: &[Row], series: &[Vec<Point>]) -> String {
    let mut body = Html::default();
    overview(&mut body, runs);
    for (field, title, caption) in [
        (
            Field::Param,
            "Parameters",
            "Parameters, those that differ first",
        ),
        (
            Field::Metric,
            "Metrics",
            "Metrics at the end, those that differ first",
        ),
    ] {
        values(&mut body, (title, caption), runs, rows, field);
    }
    charts(&mut body, runs, series);
    let names: Vec<String> = runs.iter().map(|(id, _)| id.short()).collect();
    page(&format!("Runs {}", names.join(", ")), &body)
}

fn overview(out: &mut Html, runs: &[(RunId, Run)]) {
    out.table(
        "Runs",
        &["run", "command", "status", "started", "duration", "recipe"],
    );
    for (id, run) in runs {
        out.row(&[
            &id.short(),
            &run.command.join(" "),
            &run.status.to_string(),
            &clock::format_time(run.started),
            &clock::format_duration(run.duration_ms),
            &run.recipe.short(),
        ]);
    }
    out.end_table();
}

fn values(
    out: &mut Html,
    (title, caption): (&str, &str),
    runs: &[(RunId, Run)],
    rows: &[Row],
    field: Field,
) {
    let mut of = rows.iter().filter(|r| r.field == field).peekable();
    if of.peek().is_none() {
        return;
    }
    out.element("<h2>", title, "</h2>\n");
    let ids: Vec<String> = runs.iter().map(|(id, _)| id.short()).collect();
    let heads: Vec<&str> = ["", ""]
        .into_iter()
        .chain(ids.iter().map(String::as_str))
        .collect();
    out.table(caption, &heads);
    for row in of {
        let cells: Vec<String> = row
            .values
            .iter()
            .map(|v| {
                v.as_ref()
                    .map_or_else(|| "absent".to_owned(), Value::to_string)
            })
            .collect();
        let word = if row.differs { "differs" } else { "equal" };
        let all: Vec<&str> = [row.key.as_str(), word]
            .into_iter()
            .chain(cells.iter().map(String::as_str))
            .collect();
        out.row(&all);
    }
    out.end_table();
}

fn charts(out: &mut Html, runs: &[(RunId, Run)], series: &[Vec<Point>]) {
    let mut found: BTreeMap<&str, Vec<Line>> = BTreeMap::new();
    for (run, points) in series.iter().enumerate() {
        let mut of_run: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for point in points {
            let line = of_run.entry(&point.name).or_default();
            #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
            let step = point.step.map_or(line.len() as f64, |s| s as f64);
            line.push((step, point.value.as_f64().unwrap_or(f64::NAN)));
        }
        for (name, points) in of_run {
            found.entry(name).or_default().push(Line { run, points });
        }
    }
    if found.is_empty() {
        return;
    }
    out.raw("<h2>Course</h2>\n");
    for (i, (name, lines)) in found.iter().enumerate() {
        if i == CHARTS_MAX || out.is_full() {
            out.note("Cut here: more metrics have a course. `modelv runs show` tells them.");
            return;
        }
        out.element("<h3>", name, "</h3>\n");
        chart(out, name, lines);
        out.raw("<ul class=\"legend\">");
        for line in lines {
            out.raw("<li><svg width=\"28\" height=\"8\" aria-hidden=\"true\"><path class=\"");
            out.raw(class(line.run))
                .raw("\" stroke-width=\"2\" d=\"M0 4 L28 4\"/></svg> ");
            out.text(
                &runs
                    .get(line.run)
                    .map_or_else(String::new, |(id, _)| id.short()),
            );
            out.raw("</li>");
        }
        out.raw("</ul>\n");
    }
}
