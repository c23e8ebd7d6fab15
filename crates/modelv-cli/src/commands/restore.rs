//! `modelv restore`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{Done, Session};

/// Write paths of a commit into the working tree, over what is there.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit.
    #[arg(short, long, value_name = "REV", default_value = "HEAD")]
    source: String,
    /// Files or folders.
    #[arg(required = true)]
    paths: Vec<OsString>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let source = repo.resolve(&args.source)?;
    let paths = s.paths(&repo, &args.paths)?;
    let count = repo.restore(source, &paths, &s.ctx())?;
    s.ui.line(format!(
        "restored {count} file{} from {}",
        if count == 1 { "" } else { "s" },
        source.short()
    ));
    Ok(ExitCode::SUCCESS)
}
