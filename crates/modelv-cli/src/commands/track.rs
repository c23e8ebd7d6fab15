//! `modelv track`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::core::path::RepoPath;
use modelv_repo::worktree::{left_out_by_default, never_taken};
use serde_json::json;

use super::{Done, Session};

/// Show which path is which ingredient, and which are left out.
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
        // What the walk found is not left out.
        let ignored = if args.paths.is_empty() {
            None
        } else {
            repo.left_out(&path)?
        };
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
                "ignored": ignored,
            }));
        } else if let Some(why) = ignored {
            let why = if args.explain {
                format!("  ({why})")
            } else {
                String::new()
            };
            s.ui.line(format!("ignored {path}{why}"));
        } else if args.explain {
            s.ui.line(format!("{:7} {path}  ({why})", reason.ingredient.word()));
        } else {
            s.ui.line(format!("{:7} {path}", reason.ingredient.word()));
        }
    }
    if args.json {
        s.ui.json(&out.into());
    } else if args.explain && args.paths.is_empty() {
        s.ui.talk(format!(
            "\nnote: left out by default, unless a line `!NAME` in .mvignore or a pattern in modelv.toml \
             names them: {}. Never versioned: {}",
            left_out_by_default().join(", "),
            never_taken().join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}
