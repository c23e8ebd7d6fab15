//! `modelv runs show`.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::id::{BlobId, RunId};
use modelv_repo::core::run::Run;
use modelv_repo::{Error, Load, Repo};

use super::super::run::doubts;
use super::{Done, Session, command_line};
use crate::error::CommandError;
use crate::ui::{Style, Ui, size};

/// Most repetitions that are named.
const REPEATED_SHOWN: usize = 3;

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
        let mut json = modelv_repo::json::run(id, &run);
        let word = modelv_repo::json::determinism_word;
        let list = repo.repetitions_of(id, &run)?;
        let list = list.iter().map(|(id, other)| {
            serde_json::json!({"run": id.to_hex(), "determinism": word(other.determinism)})
        });
        json["repeated_by"] = list.collect();
        s.ui.json(&json);
    } else if args.log {
        if let Some(log) = run.log {
            print_blob(&repo, log, s.ui)?;
        }
    } else {
        show(id, &run, &repo.repetitions_of(id, &run)?, s.ui);
        show_load(&repo.load_of(id)?, s.ui);
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

/// What a repetition found, told of it and of what it repeats.
fn determinism(run: &Run, repeated: &[(RunId, Run)]) -> String {
    let word = |run: &Run| modelv_repo::json::determinism_word(run.determinism);
    if let Some(other) = run.origin.repeats {
        return format!("{}, repeats run {}", word(run), other.short());
    }
    if repeated.is_empty() {
        return format!("{}, `modelv reproduce` tells", word(run));
    }
    let told = |(id, other): &(RunId, Run)| format!("{} (run {})", word(other), id.short());
    let told: Vec<String> = repeated.iter().take(REPEATED_SHOWN).map(told).collect();
    told.join(", ")
}

/// What the machine did meanwhile.
fn show_load(load: &BTreeMap<String, Load>, ui: &mut Ui) {
    for (i, (name, load)) in load.iter().enumerate() {
        let title = if i == 0 { "system" } else { "" };
        let shown = |value: f64| match name.rsplit('.').next() {
            Some("memory") => size(value.max(0.0) as u64),
            Some("read" | "write") => format!("{}/s", size(value.max(0.0) as u64)),
            _ => format!("{value:.1} %"),
        };
        let (mean, max) = (shown(load.mean), shown(load.max));
        ui.line(format!("{title:12} {name}: mean {mean}, highest {max}"));
    }
}

fn show(id: RunId, run: &Run, repeated: &[(RunId, Run)], ui: &mut Ui) {
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
        ("determinism", determinism(run, repeated)),
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
