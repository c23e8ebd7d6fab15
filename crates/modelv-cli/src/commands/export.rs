//! `modelv export`: into a folder, or into a Git repository.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use modelv_repo::GitExport;
use modelv_repo::worktree::Ingredient;
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;

/// Write all files of a commit into an empty folder, without a repository.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    /// The commit.
    #[arg(required = true)]
    revision: Option<String>,
    /// The folder; made if it is missing.
    #[arg(required = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    to: Option<To>,
}

#[derive(Subcommand)]
enum To {
    Git(GitArgs),
}

/// Write history as commits on a branch of a Git repository.
///
/// Code and configuration go; `--only` names others. Each commit there names the one it was made of in the
/// trailers `Modelv-Commit` and `Modelv-Recipe`: exporting again adds only what is new, and two people who
/// export the same history make the same commits. A branch that is checked out is not moved.
#[derive(clap::Args)]
struct GitArgs {
    /// The Git repository: a working tree or a bare one.
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// The commit whose history goes.
    #[arg(value_name = "REV", default_value = "HEAD")]
    revision: String,
    /// Name of the branch there.
    #[arg(long, value_name = "NAME", default_value = "modelv")]
    branch: String,
    /// What goes: code, data, config, model.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    only: Vec<String>,
    /// Move the branch though it has commits that were not exported.
    #[arg(long)]
    force: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let (revision, dir) = match (&args.to, &args.revision, &args.dir) {
        (Some(To::Git(args)), ..) => return to_git(args, s),
        (None, Some(revision), Some(dir)) => (revision, dir),
        _ => {
            return Err(CommandError::usage(
                "name a commit and a folder",
                "see `modelv export --help`",
            ));
        }
    };
    let id = repo.resolve(revision)?;
    let dest = s.dir.join(dir);
    let count = repo.export(id, &dest, &s.ctx())?;
    s.ui.line(format!(
        "wrote {count} files of {} to {}",
        id.short(),
        dir.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn to_git(args: &GitArgs, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let part = |word: &String| {
        Ingredient::parse(word).ok_or_else(|| {
            CommandError::usage(
                format!("`{word}` is no ingredient"),
                "it is one of code, data, config and model",
            )
        })
    };
    let options = GitExport {
        revision: args.revision.clone(),
        branch: args.branch.clone(),
        parts: args.only.iter().map(part).collect::<Result<_, _>>()?,
        force: args.force,
    };
    let done = repo.export_git(&s.dir.join(&args.place), &options, &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "commits": done.commits, "branch": args.branch, "tip": done.tip,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!(
        "wrote {} new commit{}; branch {} there is {}",
        done.commits,
        if done.commits == 1 { "" } else { "s" },
        args.branch,
        &done.tip[..12]
    ));
    Ok(ExitCode::SUCCESS)
}
