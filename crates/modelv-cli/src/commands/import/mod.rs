//! `modelv import`: one file a source.

mod git;
mod hf;
mod mlflow;

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
    Hf(hf::Args),
    Mlflow(mlflow::Args),
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    match &args.source {
        Source::Git(args) => git::run(args, s),
        Source::Hf(args) => hf::run(args, s),
        Source::Mlflow(args) => mlflow::run(args, s),
    }
    .map(|()| ExitCode::SUCCESS)
}
