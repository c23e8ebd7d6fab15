//! `modelv undo`.

use std::process::ExitCode;

use super::{Done, Session};

/// Take the last operation back; again, the one before.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(_: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let undone = repo.undo(&s.ctx())?;
    s.ui.line(format!("took back: {}", undone.command));
    let label = repo.head_label();
    let head = repo.head().map_or("no commit yet".into(), |id| id.short());
    s.ui.line(format!("now at {label} ({head})"));
    if !undone.worktree {
        s.ui.line("files were left as they are");
    }
    Ok(ExitCode::SUCCESS)
}
