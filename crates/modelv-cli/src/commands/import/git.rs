//! `modelv import git`.

use std::path::PathBuf;

use modelv_repo::{GitImport, Imported, names};
use serde_json::json;

use super::super::Session;
use crate::error::CommandError;
use crate::ui::plain;

/// Take commits, branches and tags of a Git repository.
///
/// Every commit comes with its author, committer, time, message and parents, and notes the Git commit it
/// was made of as `git.commit`: importing again takes only what is new. Files that Git LFS or DVC keep
/// beside Git come with their content where their caches have it. In a repository without a commit, the
/// branch that Git has checked out is checked out; into the working tree of that Git repository itself
/// nothing is written.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The Git repository: a working tree or a bare one.
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// Take only this branch; can be given several times. All tags come.
    #[arg(long, value_name = "NAME")]
    branch: Vec<String>,
    /// Put this before the name of every branch and tag, for example `old/`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Move branches and tags that have gone another way here.
    #[arg(long)]
    force: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, mut s: Session<'_>) -> Result<(), CommandError> {
    let mut repo = s.repo()?;
    let options = GitImport {
        branches: args.branch.clone(),
        prefix: args.prefix.clone(),
        force: args.force,
    };
    let done = repo.import_git(&s.dir.join(&args.place), &options, &s.ctx())?;
    if args.json {
        s.ui.json(&as_json(&done));
        return Ok(());
    }
    let plural = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    s.ui.line(format!("took {}", plural(done.commits, "new commit")));
    for (full, id) in &done.refs {
        let kind = if full.starts_with(names::TAGS) {
            "tag"
        } else {
            "branch"
        };
        let name = plain(names::short(full)).into_owned();
        s.ui.line(format!("  {kind} {name} is {}", id.short()));
    }
    tell(&done, &mut s);
    Ok(())
}

/// What people should know of what was not taken as it is.
fn tell(done: &Imported, s: &mut Session<'_>) {
    for full in &done.kept {
        let name = plain(names::short(full)).into_owned();
        s.ui.talk(format!(
            "note: `{name}` has gone another way here and was left alone (--force moves it)"
        ));
    }
    let left = &done.left;
    if left.resolved > 0 {
        s.ui.talk(format!(
            "{} files of Git LFS or DVC came with their content",
            left.resolved
        ));
    }
    let lists = [
        (
            &left.unresolved,
            "the content is not at hand and the pointer came instead (`git lfs fetch --all` or `dvc fetch \
             --all-commits` there gets it)",
        ),
        (
            &left.submodules,
            "submodules, whose content is in other repositories",
        ),
        (
            &left.unfit,
            "left out, for no repository of ours can hold it",
        ),
    ];
    for (list, why) in lists {
        if !list.is_empty() {
            let names: Vec<String> = list.iter().map(|n| plain(n).into_owned()).collect();
            s.ui.talk(format!("note: {why}: {}", names.join(", ")));
        }
    }
}

fn as_json(done: &Imported) -> serde_json::Value {
    let refs: serde_json::Map<String, serde_json::Value> = done
        .refs
        .iter()
        .map(|(name, id)| (name.clone(), id.to_hex().into()))
        .collect();
    json!({
        "commits": done.commits, "refs": refs, "kept": done.kept, "checked_out": done.checked_out,
        "resolved": done.left.resolved, "unresolved": done.left.unresolved,
        "submodules": done.left.submodules, "unfit": done.left.unfit,
    })
}
