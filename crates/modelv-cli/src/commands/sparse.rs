//! `modelv sparse`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Done, Session};

/// Hold only some paths in the working tree; commits keep the rest as it is.
///
/// The files of the top folder are always there. In a lazy clone the contents of what is not held don't come.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Hold these files and folders, and no others.
    Set {
        /// Paths in the working tree.
        #[arg(required = true)]
        paths: Vec<OsString>,
    },
    /// List what is held.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold everything again.
    Disable,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    match &args.action {
        Some(Action::Set { paths }) => {
            let paths = s.paths(&repo, paths)?;
            let wanted = (!paths.is_empty()).then_some(paths.as_slice());
            repo.set_sparse(wanted, &s.ctx())?;
        }
        Some(Action::Disable) => repo.set_sparse(None, &s.ctx())?,
        None | Some(Action::List { .. }) => {}
    }
    let paths = repo.sparse();
    if matches!(args.action, Some(Action::List { json: true })) {
        let names = paths.map(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>());
        s.ui.json(&json!({"paths": names}));
        return Ok(ExitCode::SUCCESS);
    }
    match paths {
        None => s.ui.line("the working tree holds everything"),
        Some(paths) => {
            for path in paths {
                let name = path.to_string();
                s.ui.line(crate::ui::plain(&name));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
