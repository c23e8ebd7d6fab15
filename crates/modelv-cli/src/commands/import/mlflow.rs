//! `modelv import mlflow`.

use std::path::PathBuf;

use serde_json::json;

use super::super::Session;
use crate::error::CommandError;
use crate::ui::plain;

/// Take runs that MLflow tracked on this machine.
///
/// Parameters, metrics with all their points, tags, artifacts and logged models come, and failed and killed
/// runs as such. MLflow does not know what a run was made of: its recipe is empty. Importing again takes
/// only what is new. The experiment, the name and the tags stand in `modelv runs show`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder `mlruns`, the folder it is in, or a database such as `mlflow.db`.
    #[arg(value_name = "PLACE", default_value = ".")]
    place: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Result<(), CommandError> {
    let mut repo = s.repo()?;
    let done = repo.import_mlflow(&s.dir.join(&args.place), &s.ctx())?;
    if args.json {
        let ids: Vec<String> = done.runs.iter().map(ToString::to_string).collect();
        s.ui.json(&json!({
            "runs": ids, "known": done.known, "left": done.left, "elsewhere": done.elsewhere,
        }));
        return Ok(());
    }
    let known = match done.known {
        0 => String::new(),
        n => format!(", {n} were here already"),
    };
    let plural = if done.runs.len() == 1 { "" } else { "s" };
    s.ui.line(format!("took {} new run{plural}{known}", done.runs.len()));
    if done.left > 0 {
        s.ui.talk(format!(
            "note: {} that are not over did not come",
            done.left
        ));
    }
    for uri in &done.elsewhere {
        s.ui.talk(format!(
            "note: artifacts at {} are not on this machine",
            plain(uri)
        ));
    }
    Ok(())
}
