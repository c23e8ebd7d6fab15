//! `modelv release verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::Ctx;

use super::super::{Done, Session};
use crate::ui::Style;

/// Build a commit again and compare: exit status 0 if an image is what the commit gives, 1 if not.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The layout.
    layout: PathBuf,
    /// The commit; the one the image names otherwise.
    revision: Option<String>,
    /// The base it was built on.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// The interpreter that fetches wheels.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let layout = s.dir.join(&args.layout);
    let revision = match args.revision {
        Some(revision) => revision,
        None => modelv_release::commit_of(&layout)?,
    };
    let id = repo.resolve(&revision)?;
    let options = super::options(&args.base, layout.clone(), args.python, &s)?;
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let mut talk = |text: &str| s.ui.talk(format!("  {text}"));
    let found = modelv_release::verify(&repo, &layout, id, &options, ctx, &mut talk)?;
    let code = ExitCode::from(u8::from(found.difference.is_some()));
    if args.json {
        s.ui.json(&serde_json::to_value(&found).unwrap_or_default());
        return Ok(code);
    }
    let Some(difference) = &found.difference else {
        s.ui.line(format!("image {}", s.ui.paint(Style::Id, &found.image)));
        s.ui.line(format!("is what commit {id} gives"));
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
    Ok(code)
}
