//! `modelv runs`: which executions there were, and how they compare.

mod best;
mod compare;
mod forget;
mod list;
mod show;

use clap::Subcommand;
use modelv_repo::core::run::Run;
use modelv_repo::core::value::Value;

use super::{Done, Session};

/// List recorded runs, newest first; show, compare, rank and forget them.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: list::Args,
}

#[derive(Subcommand)]
enum What {
    Show(show::Args),
    Compare(compare::Args),
    Best(best::Args),
    Forget(forget::Args),
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    match &args.what {
        None => list::run(&args.list, s),
        Some(What::Show(args)) => show::run(args, s),
        Some(What::Compare(args)) => compare::run(args, s),
        Some(What::Best(args)) => best::run(args, s),
        Some(What::Forget(args)) => forget::run(args, s),
    }
}

/// What people typed, without the shell around it.
pub(super) fn command_line(run: &Run) -> String {
    let line = match run.command.as_slice() {
        [sh, c, text] if sh == "sh" && c == "-c" => text.clone(),
        words => words.join(" "),
    };
    match &run.origin.stage {
        Some(stage) => format!("{}: {line}", stage.name),
        None => line,
    }
}

/// A value for a cell: text without quotes.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::Str(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// One row of comma-separated values (RFC 4180, but lines end as everywhere here).
fn csv_row<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = cells
        .into_iter()
        .map(|cell| {
            let cell = cell.as_ref();
            if cell.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        })
        .collect();
    quoted.join(",")
}

/// Columns as wide as their widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            let cells = rows.iter().filter_map(|r| r.get(i));
            cells.map(|c| c.chars().count()).max().unwrap_or(0)
        })
        .collect();
    rows.iter()
        .map(|row| {
            let padded: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(csv_row(["a", "", "b c"]), "a,,b c");
        assert_eq!(
            csv_row(["say \"x\"", "1,2", "l\nm"]),
            "\"say \"\"x\"\"\",\"1,2\",\"l\nm\""
        );
    }

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table(&[row(["", "a", "b"]), row(["größe", "1", ""])]);
        assert_eq!(lines, ["       a  b", "größe  1"]);
    }
}
