//! `modelv conflicts`.

use std::process::ExitCode;

use super::{Done, Session};

/// List the conflicts of the merge that is under way.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let list = repo.merge_state()?.map(|m| m.conflicts).unwrap_or_default();
    if args.json {
        s.ui.json(&list.iter().map(super::merge::conflict_json).collect());
        return Ok(ExitCode::SUCCESS);
    }
    for conflict in &list {
        super::merge::show(s.ui, conflict);
    }
    if list.is_empty() {
        s.ui.line("no conflicts");
    }
    Ok(ExitCode::SUCCESS)
}
