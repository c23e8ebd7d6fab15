//! `modelv undo`.

use std::process::ExitCode;

use modelv_repo::names;
use modelv_repo::oplog::RefChange;

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
    let is_kept = |c: &RefChange| c.name == names::MERGE_FILES && c.new.is_some();
    if undone.changes.iter().any(is_kept) {
        s.ui.talk(
            "note: the working tree of the merge is kept: `modelv restore --source MERGE_FILES PATH` brings files of it",
        );
    }
    if undone.has_more {
        s.ui.talk("note: it had put files aside: `modelv undo` once more brings them back");
    }
    Ok(ExitCode::SUCCESS)
}
