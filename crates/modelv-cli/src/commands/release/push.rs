//! `modelv release push`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use modelv_release::{Credentials, Pushed, Reference};
use modelv_repo::Ctx;
use serde_json::json;

use super::super::{Done, Session};
use crate::error::CommandError;
use crate::ui::Style;

/// Push an image layout to a registry.
///
/// A name and a password are taken from `MODELV_REGISTRY_USER` and `MODELV_REGISTRY_PASSWORD`, or from what
/// `docker login` has kept.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The layout.
    layout: PathBuf,
    /// Where to.
    #[arg(value_name = "REGISTRY/NAME[:TAG]")]
    to: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, mut s: Session<'_>) -> Done {
    let to = Reference::parse(&args.to)?;
    let pushed = push(&s.dir.join(&args.layout), &to, &mut s)?;
    if args.json {
        s.ui.json(&json!({
            "digest": pushed.digest, "reference": to.to_string(),
            "sent": pushed.sent, "present": pushed.present,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!("image {}", s.ui.paint(Style::Id, &pushed.digest)));
    Ok(ExitCode::SUCCESS)
}

/// Pushes, and says what came of it.
pub(in crate::commands) fn push(
    layout: &Path,
    to: &Reference,
    s: &mut Session<'_>,
) -> Result<Pushed, CommandError> {
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let pushed = modelv_release::push(layout, to, credentials(&to.registry), ctx)?;
    s.ui.talk(format!(
        "pushed {to}: {} blobs sent, {} were there",
        pushed.sent, pushed.present
    ));
    Ok(pushed)
}

fn credentials(registry: &str) -> Option<Credentials> {
    let var = |name: &str| std::env::var(name).ok();
    if let (Some(name), Some(password)) =
        (var("MODELV_REGISTRY_USER"), var("MODELV_REGISTRY_PASSWORD"))
    {
        return Some(Credentials::new(&name, &password));
    }
    let home = || var("HOME").map(|home| format!("{home}/.docker"));
    let dir = var("DOCKER_CONFIG").or_else(home)?;
    Credentials::from_docker(&Path::new(&dir).join("config.json"), registry)
}
