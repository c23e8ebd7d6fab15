//! `modelv switch`.

use std::process::ExitCode;

use modelv_repo::core::id::CommitId;
use modelv_repo::{Error, Repo, SwitchTo};

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::Ui;

/// Check another branch or commit out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The branch; with `-c`, where the new one starts; with `--detach`, any revision.
    target: Option<String>,
    /// Make this branch and switch to it.
    #[arg(short, long, value_name = "NAME", conflicts_with = "detach")]
    create: Option<String>,
    /// Check a commit out without a branch.
    #[arg(long)]
    detach: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    if let (Some(name), None, None) = (&args.create, &args.target, repo.head()) {
        repo.name_first_branch(name)?;
        s.ui.line(format!("on branch {name} (no commit yet)"));
        return Ok(ExitCode::SUCCESS);
    }
    let left = repo.head().filter(|_| repo.head_ref().is_none());
    let to = match (args.create, args.target, args.detach) {
        (Some(name), start, _) => SwitchTo::New(name, start),
        (None, target, true) => SwitchTo::Detached(target.unwrap_or_else(|| "HEAD".into())),
        (None, Some(name), false) => SwitchTo::Branch(name),
        (None, None, false) => {
            return Err(CommandError::usage(
                "no branch named",
                "`modelv switch NAME`, or `modelv branch` to list them",
            ));
        }
    };
    let id = repo
        .switch(&to, &s.ctx())
        .map_err(|e| no_branch(&repo, &to, e))?;
    let place = if repo.head_ref().is_some() {
        "on branch"
    } else {
        "detached at"
    };
    s.ui.line(format!("{place} {} ({})", repo.head_label(), id.short()));
    if let Some(left) = left {
        tell_left(&repo, left, s.ui)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is no branch may be another revision, which is checked out in another way.
fn no_branch(repo: &Repo, to: &SwitchTo, error: Error) -> CommandError {
    match (to, &error) {
        (SwitchTo::Branch(name), Error::NotFound { what: "branch", .. })
            if repo.resolve(name).is_ok() =>
        {
            let hint = format!(
                "`modelv switch --detach {name}` checks that commit out, `modelv switch -c NEW {name}` makes a branch \
                 of it"
            );
            CommandError::refused(error.to_string(), hint)
        }
        _ => error.into(),
    }
}

/// Says how commits that were made on no branch are kept.
fn tell_left(repo: &Repo, left: CommitId, ui: &mut Ui) -> Result<(), CommandError> {
    if repo.head() != Some(left) && !repo.is_named(left)? {
        let id = left.short();
        ui.talk(format!(
            "note: {id} is on no branch: `modelv branch NAME {id}` keeps it"
        ));
    }
    Ok(())
}
