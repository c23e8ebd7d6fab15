//! `modelv ci`: the way of one commit through check, evaluation, release and verification, here and in a CI.

mod init;
mod run;

use clap::Subcommand;

use super::{Done, Session};

/// Check, evaluate, release and verify a commit; or write the file that makes a CI do so.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Init(init::Args),
    Run(run::Args),
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    match args.action {
        Action::Init(args) => init::run(&args, s),
        Action::Run(args) => run::run(args, s),
    }
}
