//! `modelv restore`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{Done, Session};
use crate::error::CommandError;

/// Write paths of a commit into the working tree, over what is there.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    source: String,
    /// Files or folders.
    #[arg(required = true)]
    paths: Vec<OsString>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let source = repo.resolve(&args.source)?;
    let mut paths = s.paths(&repo, &args.paths)?;
    if paths.is_empty() {
        // `.` at the root: every top entry of the commit.
        paths = repo.files(source)?.into_keys().collect();
    }
    if paths.is_empty() {
        return Err(CommandError::usage(
            "the commit holds no files",
            "`modelv show REV` lists it",
        ));
    }
    let count = repo.restore(source, &paths, &s.ctx())?;
    s.ui.line(format!(
        "restored {count} file{} from {}",
        if count == 1 { "" } else { "s" },
        source.short()
    ));
    Ok(ExitCode::SUCCESS)
}
