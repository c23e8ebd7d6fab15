//! `modelv runs`.

use std::process::ExitCode;

use modelv_repo::capture::clock;
use serde_json::json;

use super::{Done, Session};

/// List recorded runs, newest first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let runs = repo.runs()?;
    if args.json {
        let list: Vec<serde_json::Value> = runs
            .iter()
            .map(|(id, run)| {
                let flat = |m: &std::collections::BTreeMap<String, modelv_repo::core::value::Value>| {
                    m.iter().map(|(k, v)| (k.clone(), v.to_json())).collect::<serde_json::Map<_, _>>()
                };
                json!({
                    "id": id.to_hex(), "recipe": run.recipe.to_hex(), "command": run.command,
                    "status": run.status.to_string(), "exit_code": run.exit_code,
                    "started": clock::format_rfc3339(run.started.seconds), "duration_ms": run.duration_ms,
                    "params": flat(&run.params), "metrics": flat(&run.metrics), "host": run.host,
                })
            })
            .collect();
        s.ui.json(&list.into());
        return Ok(ExitCode::SUCCESS);
    }
    for (id, run) in runs {
        let metrics: Vec<String> = run
            .metrics
            .iter()
            .take(4)
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        s.ui.line(format!(
            "{} {} {:11} {:>9} {} {}",
            id.short(),
            clock::format_rfc3339(run.started.seconds),
            run.status.to_string(),
            clock::format_duration(run.duration_ms),
            run.command.join(" "),
            metrics.join(" ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}
