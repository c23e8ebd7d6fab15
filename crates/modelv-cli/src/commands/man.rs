//! `modelv man`: the manual pages, made from the same text as the help.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::Error;

use super::{Done, Session};

/// Write the manual pages into a folder, one for each verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder; made if it is missing.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let dir = s.dir.join(&args.dir);
    std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    // Without `help`, which is the same pages once more.
    let command = super::help::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &dir).map_err(Error::io("write", &dir))?;
    s.ui.line(dir.display().to_string());
    Ok(ExitCode::SUCCESS)
}
