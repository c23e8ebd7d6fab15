//! `modelv revert`.

use modelv_repo::Action;

use super::sequence::{self, Ending};
use super::{Done, Session};

/// Take the changes of commits back, by new commits on the current branch.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Commits, and ranges `A..B`: what B has and A has not, newest first.
    #[arg(required_unless_present_any = ["resume", "skip", "abort"])]
    revisions: Vec<String>,
    /// For merges: the parent whose side stays, from 1.
    #[arg(short = 'm', long, value_name = "N")]
    mainline: Option<usize>,
    #[command(flatten)]
    ending: Ending,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    if args.ending.is_given() {
        return sequence::end(Action::Revert, &args.ending, s);
    }
    let mut repo = s.repo()?;
    let options = args.ending.options(args.mainline, false);
    let outcome = repo.revert(&args.revisions, &options, &s.ctx())?;
    sequence::report(Action::Revert, &repo, &outcome, args.ending.json, s)
}
