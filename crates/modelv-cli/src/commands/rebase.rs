//! `modelv rebase`.

use modelv_repo::{Action, RebaseOptions};

use super::sequence::{self, Ending};
use super::{Done, Session};
use crate::error::CommandError;

/// Make the commits of the current branch again on top of another commit.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Commits that this one has are left out; the others are made again on it.
    #[arg(required_unless_present_any = ["resume", "skip", "abort"])]
    upstream: Option<String>,
    /// Make them again on this commit instead.
    #[arg(long, value_name = "REV", requires = "upstream")]
    onto: Option<String>,
    #[command(flatten)]
    ending: Ending,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    if args.ending.is_given() {
        return sequence::end(Action::Rebase, &args.ending, s);
    }
    if args.ending.message.is_some() || args.ending.no_commit {
        return Err(CommandError::usage(
            "rebase keeps messages, and commits",
            "`--message` is for `--continue`",
        ));
    }
    let mut repo = s.repo()?;
    let options = RebaseOptions {
        onto: args.onto,
        author: args.ending.committer.clone(),
    };
    let upstream = args.upstream.unwrap_or_default();
    let outcome = repo.rebase(&upstream, &options, &s.ctx())?;
    sequence::report(Action::Rebase, &repo, &outcome, args.ending.json, s)
}
