//! `modelv rev-parse`.

use std::process::ExitCode;

use super::{Done, Session};

/// Print the id a revision names, and nothing else.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The revision.
    revision: String,
    /// The id of its recipe.
    #[arg(long)]
    recipe: bool,
    /// Only 12 digits.
    #[arg(long)]
    short: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let mut text = if args.recipe {
        repo.recipe_of(id)?.to_hex()
    } else {
        id.to_hex()
    };
    if args.short {
        text.truncate(12);
    }
    s.ui.line(text);
    Ok(ExitCode::SUCCESS)
}
