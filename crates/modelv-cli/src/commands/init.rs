//! `modelv init`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::Repo;

use super::{Done, Session};

/// Make a repository.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the working tree; made if it is missing.
    dir: Option<PathBuf>,
    /// Say nothing.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let root = args.dir.as_ref().map_or(s.dir.clone(), |d| s.dir.join(d));
    let repo = Repo::init(&root)?;
    if args.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!(
        "made an empty repository in {}",
        repo.dir().display()
    ));
    for name in super::bare::verb_named_entries(repo.root()) {
        s.ui.warn(format!(
            "`{name}` is also a verb: `mv {name} X` renames it, `modelv {name}` is ours"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
