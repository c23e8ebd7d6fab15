//! `modelv switch`.

use std::process::ExitCode;

use modelv_repo::SwitchTo;

use super::{Done, Session};

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
    let to = match (args.create, args.target, args.detach) {
        (Some(name), start, _) => SwitchTo::New(name, start),
        (None, target, true) => SwitchTo::Detached(target.unwrap_or_else(|| "HEAD".into())),
        (None, Some(name), false) => SwitchTo::Branch(name),
        (None, None, false) => {
            return Err(crate::error::CommandError::usage(
                "no branch named",
                "`modelv switch NAME`, or `modelv branch` to list them",
            ));
        }
    };
    let id = repo.switch(&to, &s.ctx())?;
    let place = if repo.head_ref().is_some() {
        "on branch"
    } else {
        "detached at"
    };
    s.ui.line(format!("{place} {} ({})", repo.head_label(), id.short()));
    Ok(ExitCode::SUCCESS)
}
