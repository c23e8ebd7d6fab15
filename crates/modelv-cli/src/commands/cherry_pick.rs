//! `modelv cherry-pick`.

use modelv_repo::Action;

use super::sequence::{self, Ending};
use super::{Done, Session};

/// Make the changes of commits again on the current branch, with their authors.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Commits, and ranges `A..B`: what B has and A has not, oldest first.
    #[arg(required_unless_present_any = ["resume", "skip", "abort"])]
    revisions: Vec<String>,
    /// For merges: the parent to compare with, from 1.
    #[arg(short = 'm', long, value_name = "N")]
    mainline: Option<usize>,
    /// Add `(cherry picked from commit ...)` to the message.
    #[arg(short = 'x')]
    note_source: bool,
    #[command(flatten)]
    ending: Ending,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    if args.ending.is_given() {
        return sequence::end(Action::CherryPick, &args.ending, s);
    }
    let mut repo = s.repo()?;
    let options = args.ending.options(args.mainline, args.note_source);
    let outcome = repo.cherry_pick(&args.revisions, &options, &s.ctx())?;
    sequence::report(Action::CherryPick, &repo, &outcome, args.ending.json, s)
}
