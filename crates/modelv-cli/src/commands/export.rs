//! `modelv export`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Done, Session};

/// Write all files of a commit into an empty folder, without a repository.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit.
    revision: String,
    /// The folder; made if it is missing.
    dir: PathBuf,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let dest = s.dir.join(&args.dir);
    let count = repo.export(id, &dest, &s.ctx())?;
    s.ui.line(format!(
        "wrote {count} files of {} to {}",
        id.short(),
        args.dir.display()
    ));
    Ok(ExitCode::SUCCESS)
}
