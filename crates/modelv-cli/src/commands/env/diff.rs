//! `modelv env diff`.

use std::process::ExitCode;

use modelv_repo::diff_env;

use super::{Done, Session, show_changes};

/// Show what differs between the environments of two commits.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The old one.
    a: String,
    /// The new one.
    #[arg(default_value = "HEAD")]
    b: String,
    /// Exit with 1 when something differs.
    #[arg(long)]
    exit_code: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let env = |text: &str| repo.env_object(repo.commit_object(repo.resolve(text)?)?.recipe.env);
    let changes = diff_env(&env(&args.a)?, &env(&args.b)?);
    if args.json {
        s.ui.json(&modelv_repo::json::env(&changes));
    } else {
        show_changes(s.ui, &changes);
    }
    Ok(ExitCode::from(u8::from(
        args.exit_code && !changes.is_empty(),
    )))
}
