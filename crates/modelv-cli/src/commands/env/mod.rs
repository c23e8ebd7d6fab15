//! `modelv env`: environments of commits and of this machine.

mod check;
mod diff;
mod recreate;
mod show;
mod vendor;

use clap::Subcommand;
use modelv_repo::EnvChange;

use super::{Done, Session};
use crate::ui::{Style, Ui};

/// Show, compare, check, keep and recreate environments. Alone: as `show`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    show: show::Args,
}

#[derive(Subcommand)]
enum What {
    Show(show::Args),
    Diff(diff::Args),
    Check(check::Args),
    Recreate(recreate::Args),
    Vendor(vendor::Args),
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    match &args.what {
        None => show::run(&args.show, s),
        Some(What::Show(args)) => show::run(args, s),
        Some(What::Diff(args)) => diff::run(args, s),
        Some(What::Check(args)) => check::run(args, s),
        Some(What::Recreate(args)) => recreate::run(args, s),
        Some(What::Vendor(args)) => vendor::run(args, s),
    }
}

/// Every change as a line.
fn show_changes(ui: &mut Ui, changes: &[EnvChange]) {
    for change in changes {
        let item = &change.item;
        let text = match (&change.old, &change.new) {
            (None, Some(new)) => ui.paint(Style::Added, &format!("+ {item} {new}")),
            (Some(old), None) => ui.paint(Style::Removed, &format!("- {item} {old}")),
            (Some(old), Some(new)) => ui.paint(Style::Changed, &format!("~ {item} {old} -> {new}")),
            (None, None) => continue,
        };
        ui.line(text);
    }
}
