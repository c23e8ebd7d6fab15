//! `modelv track`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::core::path::RepoPath;
use serde_json::json;

use super::{Done, Session};

/// Show which path is which ingredient.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say by which rule.
    #[arg(long)]
    explain: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Only these paths, whether they exist or not.
    paths: Vec<OsString>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let rules = repo.rules()?;
    let named = s.paths(&repo, &args.paths)?;
    let paths: Vec<RepoPath> = if named.is_empty() {
        repo.worktree_files(&s.ctx())?.into_keys().collect()
    } else {
        named
    };
    let mut out = Vec::new();
    for path in paths {
        let reason = rules.classify(&path);
        let why = match &reason.pattern {
            Some(pattern) => format!("`{pattern}` in {}", reason.from),
            None => "no pattern matches".to_owned(),
        };
        if args.json {
            out.push(json!({
                "path": path.to_string(),
                "ingredient": reason.ingredient.word(),
                "pattern": reason.pattern,
                "from": reason.from,
            }));
        } else if args.explain {
            s.ui.line(format!("{:7} {path}  ({why})", reason.ingredient.word()));
        } else {
            s.ui.line(format!("{:7} {path}", reason.ingredient.word()));
        }
    }
    if args.json {
        s.ui.json(&out.into());
    }
    Ok(ExitCode::SUCCESS)
}
