//! `modelv clone`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::Repo;
use modelv_repo::remote::{CloneOptions, full_url};
use modelv_repo::worktree::Ingredient;
use serde_json::json;

use super::remote::Place;
use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, size};

/// Make a repository from a remote, and check its branch out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of the remote.
    url: String,
    /// The folder; made if it is missing. Otherwise named as the last part of the address.
    dir: Option<PathBuf>,
    /// No working tree.
    #[arg(long)]
    bare: bool,
    /// Check this branch out.
    #[arg(long, short, value_name = "NAME", conflicts_with = "commit")]
    branch: Option<String>,
    /// Take one commit alone, with exactly what a release of it needs. An id (or the first digits
    /// of one), a branch or a tag of the remote.
    #[arg(long, value_name = "ID")]
    commit: Option<String>,
    /// Take the contents of these ingredients only: `code,config`.
    #[arg(long, value_name = "INGREDIENTS", value_delimiter = ',')]
    only: Vec<String>,
    /// Take history and trees, and contents only when they are checked out or read.
    #[arg(long)]
    lazy: bool,
    #[command(flatten)]
    place: Place,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Ingredients as typed.
pub(super) fn ingredients(words: &[String]) -> Result<Vec<Ingredient>, CommandError> {
    words
        .iter()
        .map(|word| {
            Ingredient::parse(word).ok_or_else(|| {
                CommandError::usage(
                    format!("`{word}` is no ingredient"),
                    "name `code`, `data`, `config` or `model`",
                )
            })
        })
        .collect()
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let url = full_url(&args.url, &s.dir)?;
    let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    let dir = s.dir.join(args.dir.unwrap_or_else(|| last.into()));
    let options = CloneOptions {
        bare: args.bare,
        branch: args.branch,
        commit: args.commit,
        only: ingredients(&args.only)?,
        lazy: args.lazy,
        remote: args.place.options(),
    };
    let done = Repo::clone_from(&url, &dir, &options, &super::command_line(), &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "dir": done.repo.root(), "head": done.head.map(|id| id.to_hex()), "branch": done.branch,
            "received": super::fetch::received_json(&done.received),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let what = match (done.head, &done.branch) {
        (Some(id), Some(branch)) => {
            format!(
                "branch {} at {}",
                s.ui.paint(Style::Strong, branch),
                id.short()
            )
        }
        (Some(id), None) => format!("commit {}", id.short()),
        _ => "nothing: it has no commit".into(),
    };
    s.ui.line(format!(
        "cloned {what} into {}, {} received",
        dir.display(),
        size(done.received.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}
