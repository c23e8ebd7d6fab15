//! `modelv env check`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Done, Session, show_changes};
use modelv_repo::json::env as env_json;

/// Check whether this machine has the environment of a commit.
///
/// What the commit records and is not so here matters: results may differ. What is here in addition
/// is only named.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The commit.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// The interpreter to look at.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Count what is here in addition as a difference.
    #[arg(long)]
    strict: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let check = repo.check_env(id, args.python.as_deref())?;
    let differs = !check.matters.is_empty() || (args.strict && !check.more.is_empty());
    if args.json {
        s.ui.json(&json!({
            "commit": id.to_hex(), "same": !differs,
            "matters": env_json(&check.matters), "more": env_json(&check.more),
        }));
    } else {
        if !check.matters.is_empty() {
            s.ui.line(format!("differs from {}:", id.short()));
            show_changes(s.ui, &check.matters);
        }
        if !check.more.is_empty() {
            s.ui.line(format!("only here, not in {}:", id.short()));
            show_changes(s.ui, &check.more);
        }
        if check.matters.is_empty() {
            s.ui.line(format!(
                "this machine has everything that {} records",
                id.short()
            ));
        }
    }
    Ok(ExitCode::from(u8::from(differs)))
}
