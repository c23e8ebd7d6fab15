//! `modelv pipeline`: the stages of `modelv.toml`, drawn, explained and run.

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Subcommand;
use modelv_repo::capture::clock;
use modelv_repo::core::path::RepoPath;
use modelv_repo::core::run::Status;
use modelv_repo::{
    PipelineOptions, PipelineOutcome, Repo, RunOptions, StageDone, StageEvent, StageOutcome,
    StageState, Watch, Why, json,
};

use super::{Done, Session};
use crate::error::CommandError;
use crate::graph::Graph;
use crate::ui::{Style, Ui};

/// Show, explain and run the stages that modelv.toml declares. Alone: as `show`
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Draw the stages, each below all that it needs.
    Show(Show),
    /// Tell what has to be done for each stage, and why.
    Status(Ask),
    /// Execute what has to be, without a commit; `modelv run` commits what comes out.
    Run(Execute),
}

#[derive(clap::Args, Default)]
struct Show {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Ask {
    /// Only these and all that they need.
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,
    /// The interpreter whose packages count.
    #[arg(long, value_name = "PATH")]
    python: Option<std::path::PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Execute {
    #[command(flatten)]
    ask: Ask,
    /// So many stages at once.
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Execute even what is up to date.
    #[arg(long)]
    force: bool,
    /// Only tell what would be executed, and why.
    #[arg(long)]
    dry_run: bool,
    /// Run even with what looks like a password or a key in the files.
    #[arg(long)]
    allow_secret: bool,
    /// Wait for a run that is under way in this working tree.
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let options = |ask: &Ask| PipelineOptions {
        targets: ask.stages.clone(),
        run: RunOptions {
            python: ask.python.clone(),
            ..RunOptions::default()
        },
        ..PipelineOptions::default()
    };
    match args.what {
        None => show(&repo, false, s),
        Some(What::Show(args)) => show(&repo, args.json, s),
        Some(What::Status(ask)) => explain(&repo, &options(&ask), ask.json, s),
        Some(What::Run(args)) => {
            let mut options = options(&args.ask);
            options.jobs = args.jobs;
            options.run.force = args.force;
            options.run.allow_secret = args.allow_secret;
            options.run.wait = args.wait;
            execute(&mut repo, &options, args.dry_run, args.ask.json, s)
        }
    }
}

fn show(repo: &Repo, as_json: bool, s: Session<'_>) -> Done {
    let pipeline = repo.pipeline()?;
    if as_json {
        s.ui.json(&json::pipeline(&pipeline));
        return Ok(ExitCode::SUCCESS);
    }
    let stages = pipeline.stages();
    let mut graph = Graph::default();
    let mut rows = Vec::new();
    for (at, stage) in stages.iter().enumerate() {
        let after: Vec<usize> = (at + 1..stages.len())
            .filter(|n| pipeline.needs(*n).contains(&at))
            .collect();
        let (line, below) = graph.next(at, &after);
        rows.push((line, Some(stage)));
        rows.extend(below.into_iter().map(|line| (line, None)));
    }
    let width = rows
        .iter()
        .map(|(line, _)| line.chars().count())
        .max()
        .unwrap_or(0);
    let names = stages.iter().map(|s| s.name.len()).max().unwrap_or(0);
    for (line, stage) in rows {
        let Some(stage) = stage else {
            s.ui.line(line);
            continue;
        };
        let list = |paths: &[RepoPath]| -> String {
            paths
                .iter()
                .map(RepoPath::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let name = s.ui.paint(Style::Strong, &format!("{:names$}", stage.name));
        let text = format!(
            "{line:width$}  {name}  {} -> {}",
            list(&stage.inputs),
            list(&stage.outputs)
        );
        s.ui.line(text.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn reasons(why: &[Why]) -> String {
    why.iter()
        .map(Why::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn explain(repo: &Repo, options: &PipelineOptions, as_json: bool, s: Session<'_>) -> Done {
    let stages = repo.pipeline_status(options, &s.ctx())?;
    if as_json {
        s.ui.json(&json::stage_status(&stages));
        return Ok(ExitCode::SUCCESS);
    }
    let names = stages.iter().map(|s| s.name.len()).max().unwrap_or(0);
    for stage in &stages {
        let style = match stage.state {
            StageState::UpToDate => Style::Faint,
            StageState::Restore | StageState::Waits => Style::Changed,
            StageState::Run => Style::Strong,
        };
        let word = s.ui.paint(style, &format!("{:10}", stage.state.word()));
        let why = reasons(&stage.why);
        let text = format!("{:names$}  {word}  {why}", stage.name);
        s.ui.line(text.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a pipeline, or tells what that would do.
pub(super) fn execute(
    repo: &mut Repo,
    options: &PipelineOptions,
    dry_run: bool,
    as_json: bool,
    s: Session<'_>,
) -> Done {
    if dry_run {
        return explain(repo, options, as_json, s);
    }
    let talk = Talk::default();
    let outcome = repo.run_pipeline(options, &talk, &s.ctx())?;
    if as_json {
        s.ui.json(&json::pipeline_outcome(&outcome));
    } else {
        show_outcome(&outcome, repo, s.ui);
    }
    end(&outcome, s.ui)
}

fn show_outcome(outcome: &PipelineOutcome, repo: &Repo, ui: &mut Ui) {
    let names = outcome
        .stages
        .iter()
        .map(|s| s.name.len())
        .max()
        .unwrap_or(0);
    for stage in &outcome.stages {
        let run = stage
            .run
            .map_or(String::new(), |r| format!("  run {}", r.short()));
        let text = format!("{:names$}  {}{run}", stage.name, words_of(stage));
        ui.line(text.trim_end());
    }
    match &outcome.result {
        Some(result) => super::run::show(result, repo, ui),
        None if outcome.is_ok() => ui.line("everything is up to date"),
        None => {}
    }
}

fn words_of(stage: &StageOutcome) -> String {
    let time = clock::format_duration(stage.duration_ms);
    match &stage.done {
        StageDone::Finished => format!("finished in {time}"),
        StageDone::Failed(reason) => format!("failed: {reason}"),
        StageDone::NotRun(needed) => format!("not run: it needs {needed}"),
        other => other.word().to_owned(),
    }
}

fn end(outcome: &PipelineOutcome, ui: &mut Ui) -> Result<ExitCode, CommandError> {
    let status = outcome.result.as_ref().map(|r| r.run.status);
    if status == Some(Status::Interrupted) {
        return Ok(ExitCode::from(130));
    }
    let failed = outcome
        .stages
        .iter()
        .find(|s| matches!(s.done, StageDone::Failed(_)));
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(stage) => {
            ui.talk(format!("error: stage `{}` failed", stage.name));
            if let Some(run) = stage.run {
                ui.talk(format!(
                    "\nhint: `modelv runs show {} --log` has what it printed",
                    run.short()
                ));
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Passes on what stages print, whole lines at a time with the name before each.
#[derive(Default)]
pub(super) struct Talk(Mutex<HashMap<String, Vec<u8>>>);

impl Watch for Talk {
    fn tell(&self, stage: &str, event: StageEvent<'_>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stderr().lock();
        // A terminal that went away must not end a training.
        let _ = match event {
            StageEvent::Starts([]) => writeln!(out, "{stage}: runs"),
            StageEvent::Starts(why) => writeln!(out, "{stage}: runs ({})", reasons(why)),
            StageEvent::Prints(bytes) => {
                let held = waiting.entry(stage.to_owned()).or_default();
                held.extend_from_slice(bytes);
                let end = held
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |at| at + 1);
                let whole: Vec<u8> = held.drain(..end).collect();
                print_lines(&mut out, stage, &whole)
            }
            StageEvent::Ends(outcome) => {
                let rest = waiting.remove(stage).unwrap_or_default();
                let printed = print_lines(&mut out, stage, &rest);
                let words = words_of(outcome);
                let why = match outcome.done {
                    StageDone::Restored => format!(" ({})", reasons(&outcome.why)),
                    _ => String::new(),
                };
                printed.and_then(|()| writeln!(out, "{stage}: {words}{why}"))
            }
        };
    }
}

fn print_lines(out: &mut impl Write, stage: &str, bytes: &[u8]) -> std::io::Result<()> {
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        write!(out, "{stage}| ")?;
        out.write_all(line)?;
        if !line.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}
