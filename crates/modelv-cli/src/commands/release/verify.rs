//! `modelv release verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_release::Source;
use modelv_repo::Ctx;

use super::super::{Done, Session};
use crate::error::CommandError;
use crate::ui::Style;

/// Build a commit again and compare its image; with a key, look first whether it is signed.
///
/// Exit status 0 if the image is what the commit gives, 1 if not. With a key, only the signature of an image in a
/// registry is checked, for which no repository is needed.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The layout, a tar of one, or the name of an image in a registry.
    image: String,
    /// The commit; the one the image names otherwise.
    revision: Option<String>,
    /// The base it was built on.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// The interpreter that fetches wheels.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// It has to be signed by the owner of this public key, in PEM.
    #[arg(long, value_name = "FILE")]
    signed_by: Option<PathBuf>,
    /// Look at the signature alone.
    #[arg(long, requires = "signed_by")]
    no_rebuild: bool,
    /// Also put the golden requests of the image to it.
    #[arg(long, conflicts_with = "no_rebuild")]
    replay: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Checks the signatures; whether that was all.
fn check_signatures(args: &Args, s: &mut Session<'_>) -> Result<bool, CommandError> {
    let Some(key) = &args.signed_by else {
        return Ok(false);
    };
    let source = super::source(&args.image, s)?;
    let signed = modelv_release::check_signed(&source, &s.dir.join(key), s.cancel())?;
    let is_all = args.no_rebuild || matches!(source, Source::Registry(..));
    if is_all && args.json {
        s.ui.json(&serde_json::to_value(&signed).unwrap_or_default());
        return Ok(true);
    }
    let mut talk = |line: String| match is_all {
        true => s.ui.line(line),
        false => s.ui.talk(line),
    };
    talk(format!("image {} is signed", signed.digest));
    for model in &signed.models {
        talk(format!("model {model} is signed"));
    }
    for statement in &signed.statements {
        talk(format!("signed statement {statement}"));
    }
    Ok(is_all)
}

pub(super) fn run(args: Args, mut s: Session<'_>) -> Done {
    crate::interrupt::watch_termination();
    if check_signatures(&args, &mut s)? {
        return Ok(ExitCode::SUCCESS);
    }
    let repo = s.repo()?;
    let source = super::source(&args.image, &s)?;
    let id = args.revision.map(|revision| repo.resolve(&revision));
    let id = id.transpose()?;
    let mut options = super::options(
        &args.base,
        s.dir.clone(),
        args.python,
        super::How::default(),
        &s,
    )?;
    options.replay = args.replay;
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let mut talk = |text: &str| s.ui.talk(format!("  {text}"));
    let found = modelv_release::verify(&repo, &source, id, &options, ctx, &mut talk)?;
    let code = ExitCode::from(u8::from(found.difference.is_some()));
    super::tell_replay(found.replay.as_ref(), &mut s);
    if args.json {
        s.ui.json(&serde_json::to_value(&found).unwrap_or_default());
        return Ok(code);
    }
    let Some(difference) = &found.difference else {
        s.ui.line(format!("image {}", s.ui.paint(Style::Id, &found.image)));
        s.ui.line(format!("is what commit {} gives", found.commit));
        return Ok(code);
    };
    let shown = |digest: &Option<String>| digest.clone().unwrap_or_else(|| "nothing".into());
    s.ui.line(format!(
        "{} is the first part that differs",
        difference.part
    ));
    s.ui.line(format!(
        "  in the image          {}",
        shown(&difference.image)
    ));
    s.ui.line(format!(
        "  from the commit       {}",
        shown(&difference.rebuilt)
    ));
    for detail in &difference.details {
        s.ui.line(format!("  {}", crate::ui::plain(detail)));
    }
    for package in &difference.packages {
        s.ui.line(format!("  package {}", crate::ui::plain(package)));
    }
    Ok(code)
}
