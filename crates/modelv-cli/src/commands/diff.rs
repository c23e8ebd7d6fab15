//! `modelv diff`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::core::driver::{Change, Driver, State, TensorChange, unified};
use modelv_repo::core::value::Value;
use modelv_repo::{DiffReport, DiffSide, FileDiff, Range, Repo, json};

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui, size};

/// Show what differs: lines, configuration keys, packages, rows, metrics.
///
/// Without a revision: the current commit against the working tree. `A`: A against the working
/// tree. `A B` or `A..B`: A against B. `A...B`: their merge base against B.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Revisions.
    #[arg(num_args = 0..=2)]
    revisions: Vec<String>,
    /// Only counts.
    #[arg(long)]
    stat: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Exit with 1 when something differs.
    #[arg(long)]
    exit_code: bool,
    /// The interpreter whose packages are compared.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Only these paths.
    #[arg(last = true)]
    paths: Vec<OsString>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let (old, new) = sides(&repo, &args, &s)?;
    let paths = s.paths(&repo, &args.paths)?;
    let report = repo.diff(&old, &new, &paths)?;
    if args.json {
        s.ui.json(&json::diff(&report, &old, &new));
    } else {
        for file in &report.files {
            show_file(s.ui, file, args.stat);
        }
        super::status::show_env(s.ui, &report.env);
        show_metrics(s.ui, &report);
    }
    Ok(ExitCode::from(u8::from(
        args.exit_code && !report.is_empty(),
    )))
}

fn sides(repo: &Repo, args: &Args, s: &Session<'_>) -> Result<(DiffSide, DiffSide), CommandError> {
    let worktree = || repo.diff_worktree(args.python.clone(), &s.ctx());
    let commit = |id, label: &str| repo.diff_commit(id, label);
    Ok(match args.revisions.as_slice() {
        [] => match repo.head() {
            Some(head) => (commit(head, "HEAD")?, worktree()?),
            None => (repo.diff_nothing(), worktree()?),
        },
        [a, b] => (commit(repo.resolve(a)?, a)?, commit(repo.resolve(b)?, b)?),
        [one, ..] => match repo.resolve_range(one)? {
            Range::One(id) => (commit(id, one)?, worktree()?),
            Range::Two(a, b) => (commit(a, &a.short())?, commit(b, &b.short())?),
            Range::FromBase(a, b) => {
                let bases = repo.merge_bases(a, b)?;
                let old = match bases.first() {
                    Some(base) => commit(*base, &base.short())?,
                    None => repo.diff_nothing(),
                };
                (old, commit(b, &b.short())?)
            }
        },
    })
}

fn show_file(ui: &mut Ui, file: &FileDiff, stat: bool) {
    let change = &file.change;
    let line = super::status::change_line(ui, change);
    let word = ui.paint(Style::Faint, change.ingredient().word());
    ui.line(format!("{word} {line}{}", counts(ui, file)));
    for note in &file.notes {
        ui.talk(format!("note: {note}"));
    }
    if stat {
        return;
    }
    let parts: Vec<String> = file
        .inside
        .iter()
        .filter_map(|c| part_line(ui, c))
        .collect();
    for text in &parts {
        ui.line(format!("    {text}"));
    }
    let is_text =
        matches!(file.driver, Driver::Text) || (parts.is_empty() && file.driver != Driver::Binary);
    let is_data = matches!(
        file.driver,
        Driver::Table(_) | Driver::JsonLines | Driver::Notebook
    );
    // What came or went as a whole is a line of the summary, not a screen of pluses.
    if is_text
        && !is_data
        && let (Some(old), Some(new)) = (&file.old, &file.new)
    {
        for line in unified(old, new, 3).lines() {
            let style = match line.as_bytes().first() {
                Some(b'+') => Style::Added,
                Some(b'-') => Style::Removed,
                _ => Style::Faint,
            };
            let clean: String = line
                .chars()
                .map(|c| {
                    if c.is_control() && c != '\t' {
                        '\u{fffd}'
                    } else {
                        c
                    }
                })
                .collect();
            ui.line(format!("    {}", ui.paint(style, &clean)));
        }
    }
}

/// Lines, rows and bytes of a file in brackets.
fn counts(ui: &Ui, file: &FileDiff) -> String {
    let mut parts = Vec::new();
    for change in &file.inside {
        match change {
            Change::Lines { added, removed } => {
                parts.push(format!("+{added} -{removed} lines"));
            }
            Change::Rows { old, new } => parts.push(format!("{old} -> {new} rows")),
            Change::Keyed {
                key,
                added,
                removed,
                changed,
            } => parts.push(format!("by {key}: +{added} -{removed} ~{changed}")),
            Change::Bytes { old, new } => {
                parts.push(format!("{} -> {}", size(*old), size(*new)));
            }
            _ => {}
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    ui.paint(Style::Faint, &format!("  ({})", parts.join(", ")))
}

/// A part of a file on one line; `None`: it is in the summary of the file.
fn part_line(ui: &Ui, change: &Change) -> Option<String> {
    let line = |name: &str, old: Option<String>, new: Option<String>| match (old, new) {
        (None, Some(new)) => ui.paint(Style::Added, &format!("+ {name} = {new}")),
        (Some(old), None) => ui.paint(Style::Removed, &format!("- {name} = {old}")),
        (old, new) => ui.paint(
            Style::Changed,
            &format!(
                "~ {name}: {} -> {}",
                old.unwrap_or_default(),
                new.unwrap_or_default()
            ),
        ),
    };
    let text = match change {
        Change::Key { key, old, new } => line(
            key,
            old.as_ref().map(Value::to_string),
            new.as_ref().map(Value::to_string),
        ),
        Change::Package { name, old, new } => line(name, old.clone(), new.clone()),
        Change::Column { name, added: true } => ui.paint(Style::Added, &format!("+ column {name}")),
        Change::Column { name, added: false } => {
            ui.paint(Style::Removed, &format!("- column {name}"))
        }
        Change::Cell {
            name, kind, state, ..
        } => signed(
            ui,
            *state,
            &format!(
                "{} cell {}{}",
                visible(kind),
                visible(name),
                cell_words(change)
            ),
        ),
        Change::Row { key, state, cells } => {
            let cells: Vec<String> = cells
                .iter()
                .map(|(column, old, new)| format!("{column}: {old} -> {new}"))
                .collect();
            let cells = cells.join(", ");
            let gap = if cells.is_empty() { "" } else { "  " };
            signed(
                ui,
                *state,
                &format!("row {}{gap}{}", visible(key), visible(&cells)),
            )
        }
        Change::Tensor(tensor) => tensor_line(ui, tensor),
        Change::Lines { .. }
        | Change::Rows { .. }
        | Change::Keyed { .. }
        | Change::Bytes { .. } => return None,
    };
    Some(text)
}

/// Text without control characters.
pub(super) fn visible(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

fn signed(ui: &Ui, state: State, text: &str) -> String {
    let (sign, style) = match state {
        State::Added => ('+', Style::Added),
        State::Removed => ('-', Style::Removed),
        State::Changed => ('~', Style::Changed),
    };
    ui.paint(style, &format!("{sign} {text}"))
}

fn cell_words(change: &Change) -> String {
    let Change::Cell {
        added,
        removed,
        outputs,
        metadata,
        ..
    } = change
    else {
        return String::new();
    };
    let mut words = Vec::new();
    if added + removed > 0 {
        words.push(format!("+{added} -{removed} lines"));
    }
    words.extend(outputs.then(|| "outputs".to_owned()));
    words.extend(metadata.then(|| "metadata".to_owned()));
    if words.is_empty() {
        return String::new();
    }
    format!("  ({})", words.join(", "))
}

fn tensor_line(ui: &Ui, tensor: &TensorChange) -> String {
    let name = visible(&tensor.name);
    match (&tensor.old, &tensor.new, &tensor.numbers) {
        (None, Some(new), _) => signed(ui, State::Added, &format!("{name} {new}")),
        (Some(old), None, _) => signed(ui, State::Removed, &format!("{name} {old}")),
        (Some(old), Some(new), numbers) => {
            let kind = if old == new {
                new.to_string()
            } else {
                format!("{old} -> {new}")
            };
            let blocks = tensor
                .blocks
                .map(|(n, all)| format!("  {n} of {all} blocks changed"));
            let numbers = numbers.map_or_else(
                || blocks.unwrap_or_default(),
                |n| {
                    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
                    let share = 100.0 * n.changed as f64 / n.count.max(1) as f64;
                    format!(
                        "  {share:.1}% changed, max {:.3e}, rms {:.3e}, cosine {:.6}",
                        n.max_abs, n.rms, n.cosine
                    )
                },
            );
            signed(ui, State::Changed, &format!("{name} {kind}{numbers}"))
        }
        (None, None, _) => name,
    }
}

fn show_metrics(ui: &mut Ui, report: &DiffReport) {
    if !report.metrics.is_empty() {
        ui.line("metrics:");
    }
    for m in &report.metrics {
        let text = |v: &Option<Value>| v.as_ref().map_or("-".into(), Value::to_string);
        let delta = match (
            m.old.as_ref().and_then(Value::as_f64),
            m.new.as_ref().and_then(Value::as_f64),
        ) {
            (Some(a), Some(b)) => format!("  ({:+.4})", b - a),
            _ => String::new(),
        };
        ui.line(format!(
            "  {}: {} -> {}{delta}",
            m.key,
            text(&m.old),
            text(&m.new)
        ));
    }
}
