//! `modelv undo`.

use std::process::ExitCode;

use super::{Done, Session};

/// Take the last operation back; again, the one before.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(_: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let before = repo.head();
    let undone = repo.undo(&s.ctx())?;
    s.ui.line(format!("took back: {}", undone.command));
    let label = repo.head_label();
    let head = repo.head().map_or("no commit yet".into(), |id| id.short());
    // One undo too many, and this is the way forward.
    let left = before.filter(|id| repo.head() != Some(*id));
    let left = left.map_or(String::new(), |id| format!(", before at {}", id.short()));
    s.ui.line(format!("now at {label} ({head}){left}"));
    if !undone.worktree {
        s.ui.line("files were left as they are");
    }
    Ok(ExitCode::SUCCESS)
}
