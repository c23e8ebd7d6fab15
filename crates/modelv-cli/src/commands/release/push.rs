//! `modelv release push`.

use std::path::Path;
use std::process::ExitCode;

use modelv_release::{Credentials, Pushed, Reference, Source};
use modelv_repo::Ctx;
use serde_json::json;

use super::super::{Done, Session};
use crate::error::CommandError;
use crate::ui::Style;

/// Push an image to a registry.
///
/// A name and a password are taken from `MODELV_REGISTRY_USER` and `MODELV_REGISTRY_PASSWORD`, or from what
/// `docker login` has kept.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The layout, a tar of one, or the name of an image in another registry.
    image: String,
    /// Where to.
    #[arg(value_name = "REGISTRY/NAME[:TAG]")]
    to: String,
    /// Another repository of that registry from which blobs may be taken over; may be given again.
    #[arg(long, value_name = "NAME")]
    mount_from: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, mut s: Session<'_>) -> Done {
    let to = Reference::parse(&super::mend(args.to.clone(), &mut s))?;
    let source = super::source(&args.image, &s)?;
    let pushed = push(&source, &to, &args.mount_from, &mut s)?;
    if args.json {
        s.ui.json(&json!({
            "digest": pushed.digest, "reference": to.to_string(),
            "sent": pushed.sent, "mounted": pushed.mounted, "present": pushed.present,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!("image {}", s.ui.paint(Style::Id, &pushed.digest)));
    Ok(ExitCode::SUCCESS)
}

/// Pushes, and says what came of it.
pub(in crate::commands) fn push(
    source: &Source,
    to: &Reference,
    mount_from: &[String],
    s: &mut Session<'_>,
) -> Result<Pushed, CommandError> {
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let pushed = modelv_release::push(source, to, mount_from, credentials(&to.registry), ctx)?;
    let mounted = match pushed.mounted {
        0 => String::new(),
        n => format!("{n} taken over, "),
    };
    s.ui.talk(format!(
        "pushed {to}: {} blobs sent, {mounted}{} were there",
        pushed.sent, pushed.present
    ));
    Ok(pushed)
}

/// What is told to a registry.
pub(in crate::commands) fn credentials(registry: &str) -> Option<Credentials> {
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
