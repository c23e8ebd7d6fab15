//! `modelv alias`: names of deployments, in a file of their own; and the name `mv`, here.

mod deploy;

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Done, Session};
use crate::error::CommandError;

#[derive(Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Names of deployments, such as `prod`, that move from commit to commit past gates; and the name `mv` for modelv.
///
/// Without an action, lists them. With `--shell` or `--link`, makes `mv VERB` work. Every command line that the system's `mv` would carry out still
/// goes to it.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[group(multiple = false)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<deploy::Action>,
    /// Print a function for this shell; put it into its start-up file.
    #[arg(long, value_enum)]
    shell: Option<Shell>,
    /// Make a link named `mv` in this folder.
    #[arg(long, value_name = "DIR")]
    link: Option<PathBuf>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    match args.action {
        Some(action) => deploy::run(action, s),
        None if args.shell.is_none() && args.link.is_none() => {
            deploy::run(deploy::Action::List { json: false }, s)
        }
        None => as_mv(&args, s),
    }
}

/// Makes `mv VERB` work.
fn as_mv(args: &Args, s: Session<'_>) -> Done {
    let exe = std::env::current_exe().map_err(|e| CommandError::failed(&e, None))?;
    let quoted = format!("'{}'", exe.display().to_string().replace('\'', r"'\''"));
    let function = args.shell.map(|shell| match shell {
        Shell::Bash => format!("mv() {{ (exec -a mv {quoted} \"$@\"); }}"),
        Shell::Zsh => format!("mv() {{ (ARGV0=mv exec {quoted} \"$@\"); }}"),
        Shell::Fish => {
            format!("function mv; bash -c 'exec -a mv \"$@\"' mv {quoted} $argv; end")
        }
    });
    if let Some(function) = function {
        s.ui.line(function);
    }
    if let Some(dir) = &args.link {
        let link = s.dir.join(dir).join("mv");
        std::os::unix::fs::symlink(&exe, &link).map_err(|e| {
            let text = format!("cannot make the link `{}`", link.display());
            CommandError::failed(&modelv_repo::Error::State(text), Some(e.to_string()))
        })?;
        s.ui.line(format!("{} -> {}", link.display(), exe.display()));
    }
    Ok(ExitCode::SUCCESS)
}
