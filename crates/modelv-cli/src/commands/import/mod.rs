//! `modelv import`: one file a source.

mod git;

use std::process::ExitCode;

use clap::Subcommand;

use super::{Done, Session};

/// Take history and results of other tools.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Subcommand)]
enum Source {
    Git(git::Args),
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    match &args.source {
        Source::Git(args) => git::run(args, s),
    }
    .map(|()| ExitCode::SUCCESS)
}
