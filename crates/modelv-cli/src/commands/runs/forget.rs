//! `modelv runs forget`.

use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::id::RunId;
use modelv_repo::core::run::Status;
use modelv_repo::{ForgetQuery, Forgotten};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;

/// Remove runs from the list; `modelv undo` brings them back, `modelv gc` gives their room back.
///
/// Runs that a commit names stay. A remote that has them gives them back with the next fetch.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Runs by the first digits of their ids.
    runs: Vec<String>,
    /// All that failed.
    #[arg(long)]
    failed: bool,
    /// All that were interrupted or killed.
    #[arg(long)]
    interrupted: bool,
    /// All that finished.
    #[arg(long)]
    finished: bool,
    /// Of these kinds only what started so long ago: `30d`, `12h` or `8w`.
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// Only tell which.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    if args.runs.is_empty() && !(args.failed || args.interrupted || args.finished) {
        return Err(CommandError::usage(
            "no run is named, and no kind of runs",
            "`modelv runs forget RUN` takes one of `modelv runs`; `--failed`, `--interrupted` and `--finished` take all of \
             a kind, with `--older-than 30d` old ones only",
        ));
    }
    let mut repo = s.repo()?;
    let before = args.older_than.as_deref().map(seconds).transpose()?;
    let kinds = [
        (args.failed, Status::Failed),
        (args.interrupted, Status::Interrupted),
        (args.finished, Status::Finished),
    ];
    let named = args.runs.iter().map(|name| Ok(repo.find_run(name)?.0));
    let query = ForgetQuery {
        runs: named.collect::<modelv_repo::Result<_>>()?,
        statuses: kinds
            .into_iter()
            .filter_map(|(is, status)| is.then_some(status))
            .collect(),
        before: before.map(|age| clock::now().seconds.saturating_sub(age)),
    };
    let found = match args.dry_run {
        true => repo.forgettable(&query)?,
        false => repo.forget_runs(&query)?,
    };
    if args.json {
        let ids = |runs: &[RunId]| -> Vec<String> { runs.iter().map(RunId::to_hex).collect() };
        s.ui.json(
            &json!({"runs": ids(&found.runs), "kept": ids(&found.kept), "dry_run": args.dry_run}),
        );
        return Ok(ExitCode::SUCCESS);
    }
    show(&found, args.dry_run, s);
    Ok(ExitCode::SUCCESS)
}

fn show(found: &Forgotten, dry_run: bool, s: Session<'_>) {
    let word = if dry_run { "would forget" } else { "forgot" };
    for id in &found.runs {
        s.ui.line(format!("{word} {}", id.short()));
    }
    for id in &found.kept {
        s.ui.talk(format!("note: run {} stays, a commit names it", id.short()));
    }
    if found.runs.is_empty() && found.kept.is_empty() {
        s.ui.talk("no run is meant");
    }
}

/// An age in seconds.
fn seconds(text: &str) -> Result<i64, CommandError> {
    let units = [("d", 86_400), ("h", 3600), ("w", 7 * 86_400)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let count: i64 = text.strip_suffix(unit)?.parse().ok()?;
        (count >= 0).then(|| count.saturating_mul(*seconds))
    });
    found.ok_or_else(|| {
        CommandError::usage(
            format!("`{text}` is no age"),
            "for example `--older-than 30d`, `12h` or `8w`",
        )
    })
}
