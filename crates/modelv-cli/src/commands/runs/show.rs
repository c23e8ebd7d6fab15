//! `modelv runs show`.

use std::io::Read;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::id::{BlobId, RunId};
use modelv_repo::core::run::Run;
use modelv_repo::{Error, Repo};

use super::super::run::doubts;
use super::{Done, Session, command_line};
use crate::error::CommandError;
use crate::ui::{Style, Ui};

/// Show one run: command, parameters, metrics, machine.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The run, by the first digits of its id, or a commit that has one.
    run: String,
    /// What it printed, as it is.
    #[arg(long, conflicts_with = "json")]
    log: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let (id, run) = repo.find_run(&args.run)?;
    if args.json {
        s.ui.json(&modelv_repo::json::run(id, &run));
    } else if args.log {
        if let Some(log) = run.log {
            print_blob(&repo, log, s.ui)?;
        }
    } else {
        show(id, &run, s.ui);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_blob(repo: &Repo, blob: BlobId, ui: &mut Ui) -> Result<(), CommandError> {
    let mut reader = repo.store().open_blob(&blob).map_err(Error::from)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = reader
            .read(&mut buffer)
            .map_err(Error::io("read", "log of the run"))?;
        if n == 0 {
            return Ok(());
        }
        ui.bytes(&buffer[..n]);
    }
}

fn determinism(run: &Run) -> String {
    let word = modelv_repo::json::determinism_word(run.determinism);
    match run.origin.repeats {
        Some(other) => format!("{word}, repeats run {}", other.short()),
        None => word.to_owned(),
    }
}

fn show(id: RunId, run: &Run, ui: &mut Ui) {
    let code = run
        .exit_code
        .map_or(String::new(), |c| format!(" with {c}"));
    let commit = run.commit.map_or("none".into(), |c| c.short());
    ui.line(format!("run {}", ui.paint(Style::Id, &id.to_hex())));
    for (title, text) in [
        ("command", command_line(run)),
        ("status", format!("{}{code}", run.status)),
        ("started", clock::format_time(run.started)),
        ("duration", clock::format_duration(run.duration_ms)),
        ("recipe", run.recipe.short()),
        ("from commit", commit),
        ("determinism", determinism(run)),
        (
            "stage",
            run.origin
                .stage
                .as_ref()
                .map_or("none".into(), |s| s.name.clone()),
        ),
        ("outputs", run.outputs.map_or("none".into(), |o| o.short())),
    ] {
        ui.line(format!("{title:12} {text}"));
    }
    if !run.origin.doubts.is_empty() {
        ui.line(format!("{:12} {}", "in doubt", doubts(run)));
    }
    for (title, values) in [("params", &run.params), ("metrics", &run.metrics)] {
        for (i, (key, value)) in values.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            ui.line(format!("{title:12} {key} = {value}"));
        }
    }
    for (i, (key, value)) in run.host.iter().enumerate() {
        let title = if i == 0 { "machine" } else { "" };
        ui.line(format!("{title:12} {key} = {value}"));
    }
}
