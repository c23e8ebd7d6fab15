//! `modelv merge-base`.

use std::process::ExitCode;

use modelv_repo::core::id::CommitId;
use serde_json::json;

use super::{Done, Session};

/// Print the best common ancestors of two commits.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One commit.
    a: String,
    /// The other.
    b: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let bases = repo.merge_bases(repo.resolve(&args.a)?, repo.resolve(&args.b)?)?;
    let bases: Vec<String> = bases.iter().map(CommitId::to_hex).collect();
    // As in Git: commits without a common ancestor are an answer, and no success.
    let code = ExitCode::from(u8::from(bases.is_empty()));
    if args.json {
        s.ui.json(&json!(bases));
        return Ok(code);
    }
    if bases.is_empty() && repo.is_shallow() {
        let text = "this clone lacks a part of the history; `modelv fetch --unshallow` brings it";
        s.ui.talk(text);
    }
    for base in bases {
        s.ui.line(base);
    }
    Ok(code)
}
