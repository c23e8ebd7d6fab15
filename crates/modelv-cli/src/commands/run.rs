//! `modelv run`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::run::{Doubt, Run, Status};
use modelv_repo::core::value::Value;
use modelv_repo::{Axis, PipelineOptions, Repo, RunOptions, RunOutcome, SweepOptions, json};

use super::sweep::Promote;
use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui};

/// Execute a command, record the run, and commit what it made as the model.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Message of the commit.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Execute even when the result is known.
    #[arg(long)]
    force: bool,
    /// The interpreter whose packages are recorded.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// Run even with what looks like a password or a key in the files.
    #[arg(long)]
    allow_secret: bool,
    /// A parameter that stands in no configuration file, to be recorded; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    param: Vec<String>,
    /// Execute once for each value: `lr=1e-4,1e-3` or `seed=1..5`. Of several: for each combination.
    ///
    /// The parameter is set in the configuration file that has it (`FILE:KEY` where several do), or where the
    /// command has `{KEY}`, and each point is executed in a clean checkout of its own, as a run of its own.
    /// Nothing is committed.
    #[arg(long, value_name = "KEY=VALUES", num_args = 1..)]
    sweep: Vec<String>,
    /// Make a branch of the point of the sweep with the largest value of this metric.
    #[arg(long, value_name = "METRIC", requires = "sweep")]
    promote: Option<String>,
    /// Of the smallest value instead.
    #[arg(long, requires = "promote")]
    min: bool,
    /// Name of that branch; `best-METRIC` otherwise.
    #[arg(long, value_name = "NAME", requires = "promote")]
    branch: Option<String>,
    /// As JSON: what the run, sweep or pipeline came to.
    #[arg(long)]
    json: bool,
    /// So many points of a sweep, or stages of a pipeline, at once.
    #[arg(short, long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    /// Wait for a run that is under way in this working tree.
    #[arg(long)]
    wait: bool,
    /// Only tell which stages of the pipeline would be executed, and why.
    #[arg(long, conflicts_with_all = ["command", "sweep"])]
    dry_run: bool,
    /// The command; the pipeline, or `[train] command`, of modelv.toml otherwise.
    #[arg(last = true)]
    command: Vec<OsString>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    crate::interrupt::watch_termination();
    let options = RunOptions {
        command: args.command,
        message: args.message,
        force: args.force,
        python: args.python,
        author: args.author,
        allow_secret: args.allow_secret,
        params: params(&args.param)?,
        wait: args.wait,
    };
    if !args.sweep.is_empty() {
        let axes = args.sweep.iter().map(|text| Axis::parse(text));
        let sweep = SweepOptions {
            axes: axes.collect::<Result<_, _>>()?,
            jobs: args.jobs.get(),
            run: options,
        };
        let promote = args.promote.map(|metric| Promote {
            branch: args.branch.unwrap_or_else(|| format!("best-{metric}")),
            smallest: args.min,
            metric,
        });
        return super::sweep::run(&mut repo, &sweep, promote.as_ref(), args.json, s);
    }
    if options.command.is_empty() && repo.has_pipeline()? {
        let pipeline = PipelineOptions {
            targets: Vec::new(),
            jobs: args.jobs.get(),
            commit: true,
            run: options,
        };
        return super::pipeline::execute(&mut repo, &pipeline, args.dry_run, args.json, s);
    }
    if args.dry_run {
        let text = "`--dry-run` is about the stages of a pipeline";
        return Err(CommandError::usage(
            text,
            "`modelv runs` shows what was run before",
        ));
    }
    // What the command prints is talk; the record is the result.
    let outcome = repo.run(&options, &mut std::io::stderr(), &s.ctx())?;
    if args.json {
        s.ui.json(&json::run_outcome(&outcome));
    } else {
        show(&outcome, &repo, s.ui);
    }
    Ok(end(&outcome, s.ui))
}

/// Exit status of a run, with what is to be said about it.
fn end(outcome: &RunOutcome, ui: &mut Ui) -> ExitCode {
    let run = &outcome.run;
    match run.status {
        Status::Finished if !run.origin.doubts.is_empty() => {
            ui.talk(format!(
                "error: {}; the run is recorded, its outputs are not committed",
                doubts(run)
            ));
            ui.talk(
                "\nhint: the same command again, with nothing else going on; files that the command itself writes \
                 belong under `[ingredients] model` in modelv.toml, or into `.mvignore`",
            );
            ExitCode::FAILURE
        }
        Status::Finished => {
            if run.outputs.is_none() {
                ui.warn("it wrote no model and no metrics.json, so there is nothing to commit");
            }
            ExitCode::SUCCESS
        }
        Status::Failed => {
            ui.talk(format!(
                "error: the command ended with status {}",
                run.exit_code.unwrap_or(1)
            ));
            ExitCode::from(u8::try_from(run.exit_code.unwrap_or(1)).unwrap_or(1))
        }
        Status::Interrupted => ExitCode::from(130),
    }
}

/// Parameters as typed: numbers, `true`, `false` and JSON are what they look like, all else is text.
fn params(typed: &[String]) -> Result<BTreeMap<String, Value>, CommandError> {
    let read = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| {
                CommandError::usage(
                    format!("`{text}` is no parameter"),
                    "for example `--param lr=0.1`",
                )
            })?;
        let json = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Ok((name.to_owned(), Value::from_json(&json).or_summary()))
    };
    typed.iter().map(read).collect()
}

/// Why a run's result stands for no other run, in words.
pub(super) fn doubts(run: &Run) -> String {
    let changed: Vec<String> = run
        .origin
        .doubts
        .iter()
        .filter_map(|d| match d {
            Doubt::Changed(path) => Some(format!("`{}`", String::from_utf8_lossy(path))),
            Doubt::Beside => None,
        })
        .collect();
    match changed.as_slice() {
        [] => "another run was under way in this folder".into(),
        files => format!("{} changed while it ran", files.join(", ")),
    }
}

/// What a run came to: its metrics, the commit, and what is to be said about it.
pub(super) fn show(outcome: &RunOutcome, repo: &Repo, ui: &mut Ui) {
    let (id, run) = (outcome.id.short(), &outcome.run);
    if outcome.reused {
        ui.line(format!(
            "run {id}: same recipe and command, taken from the store (--force repeats it)"
        ));
    } else {
        ui.line(format!(
            "run {id}: {} in {}",
            run.status,
            clock::format_duration(run.duration_ms)
        ));
    }
    for (key, value) in &run.metrics {
        ui.line(format!("  {key} = {value}"));
    }
    if let Some(commit) = outcome.commit {
        let label = repo.head_label();
        ui.line(format!(
            "[{label} {}] model of recipe {}",
            ui.paint(Style::Id, &commit.short()),
            run.recipe.short()
        ));
    }
    let is_moved = |path: &&String| {
        let mut doubts = run.origin.doubts.iter();
        doubts
            .any(|d| matches!(d, Doubt::Changed(p) if String::from_utf8_lossy(p) == path.as_str()))
    };
    let strays: Vec<&String> = outcome.strays.iter().filter(|p| !is_moved(p)).collect();
    if !strays.is_empty() {
        let list: Vec<&str> = strays.into_iter().map(String::as_str).collect();
        let list = list.join(", ");
        ui.warn(format!(
            "the command changed files that are no model, they stay uncommitted: {list}"
        ));
        ui.talk("hint: name outputs under `[ingredients] model` in modelv.toml");
    }
    if outcome.bad_lines > 0 {
        ui.warn(format!(
            "{} lines of the run's journal are no metric or parameter, they are left out",
            outcome.bad_lines
        ));
    }
}
