//! `modelv import dvc`.

use std::path::PathBuf;

use serde_json::json;

use super::super::Session;
use crate::error::CommandError;
use crate::ui::plain;

/// Take the stages of a `dvc.yaml` into `modelv.toml`.
///
/// Commands, dependencies, outputs, metrics and parameters become `[stage.NAME]`; what has no counterpart,
/// such as `foreach` and templates, is named and left out. Nothing is committed. The history of a DVC
/// project with its data comes by `modelv import git`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder that holds `dvc.yaml`.
    #[arg(value_name = "DIR", default_value = ".")]
    place: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Result<(), CommandError> {
    let mut repo = s.repo()?;
    let done = repo.import_dvc(&s.dir.join(&args.place))?;
    if args.json {
        let left: serde_json::Map<String, serde_json::Value> = done
            .left
            .iter()
            .map(|(name, why)| (name.clone(), why.clone().into()))
            .collect();
        s.ui.json(&json!({"stages": done.stages, "left": left}));
        return Ok(());
    }
    for name in &done.stages {
        s.ui.line(format!("stage {} is in modelv.toml", plain(name)));
    }
    for (name, why) in &done.left {
        s.ui.talk(format!(
            "note: stage {} did not come: {}",
            plain(name),
            plain(why)
        ));
    }
    Ok(())
}
