//! `modelv runs`: which executions there were, and how they compare.

mod best;
mod compare;
mod forget;
mod list;
mod show;

use std::borrow::Cow;
use std::fmt::Write;

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

/// Most characters of a command in a list.
const COMMAND_CHARS_MAX: usize = 72;

/// A command for a list: a script given to `python -c` has lines of its own, a row has one.
pub(super) fn one_line(command: &str) -> Cow<'_, str> {
    let is_short = command.len() <= COMMAND_CHARS_MAX;
    if is_short && !command.contains(|c: char| c.is_whitespace() && c != ' ') {
        return command.trim().into();
    }
    let line = command.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(COMMAND_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]).into(),
        None => line.into(),
    }
}

/// A number for a list, at six digits where it has more. Exact ones are in `runs show` and in JSON.
pub(super) fn brief(shown: &str) -> String {
    let mut out = String::new();
    match shown.parse::<f64>() {
        Ok(n) if shown.contains(['.', 'e']) && shown.len() > 8 && n.is_finite() && n != 0.0 => {
            write_brief(&mut out, n);
        }
        _ => out.push_str(shown),
    }
    out
}

/// A number other than zero at six digits, behind what is in `out`.
pub(super) fn write_brief(out: &mut String, number: f64) {
    let start = out.len();
    let power = number.abs().log10().floor();
    // Writing to a text can't fail.
    if (-5.0..6.0).contains(&power) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10"
        )]
        let behind_point = (5.0 - power) as usize;
        let _ = write!(out, "{number:.behind_point$}");
        trim_zeros(out, start);
        return;
    }
    let _ = write!(out, "{number:.5e}");
    if let Some(at) = out[start..].find('e') {
        let exponent = out.split_off(start + at);
        trim_zeros(out, start);
        out.push_str(&exponent);
    }
}

/// Removes the zeros behind the point of the number that begins there.
fn trim_zeros(out: &mut String, start: usize) {
    if out[start..].contains('.') {
        out.truncate(out.trim_end_matches('0').len());
        out.truncate(out.trim_end_matches('.').len());
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
    fn a_list_has_short_numbers_and_one_line_a_command() {
        for (exact, want) in [
            ("-2.6987472424733068", "-2.69875"),
            ("0.98", "0.98"),
            ("1.2000000000000002", "1.2"),
            ("9.854187437251854e-5", "0.0000985419"),
            ("9.854187437251854e-12", "9.85419e-12"),
            ("81234567.25", "8.12346e7"),
            ("123456.75", "123457"),
            ("0.9999999999", "1"),
            ("12345678901", "12345678901"),
            ("NaN", "NaN"),
            ("\"0.123456789012\"", "\"0.123456789012\""),
        ] {
            assert_eq!(brief(exact), want);
        }
        assert_eq!(
            one_line("python -c \nimport x\n  y()"),
            "python -c import x y()"
        );
        let long = "ü".repeat(100);
        let cut = one_line(&long);
        assert_eq!(cut.chars().count(), COMMAND_CHARS_MAX + 1);
    }

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table(&[row(["", "a", "b"]), row(["größe", "1", ""])]);
        assert_eq!(lines, ["       a  b", "größe  1"]);
    }
}
