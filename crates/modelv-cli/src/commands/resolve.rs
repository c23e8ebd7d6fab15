//! `modelv resolve`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::core::weights::Method;
use modelv_repo::{ConflictState, Decision, Repo};

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::plain;

/// Decide a conflict of the merge that is under way.
///
/// Without an option the file is taken as it lies in the working tree, edited by you. Of a file that both
/// sides moved, `--ours` and `--theirs` say where it stands; it keeps the edits of both.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As `modelv conflicts` names it: `path`, `path:key`, `path:package`, `env:package`.
    item: OsString,
    /// Take our version.
    #[arg(long, group = "how")]
    ours: bool,
    /// Take their version.
    #[arg(long, group = "how")]
    theirs: bool,
    /// Take the version of the merge base.
    #[arg(long, group = "how")]
    base: bool,
    /// Take this value.
    #[arg(long, group = "how", value_name = "V", allow_hyphen_values = true)]
    value: Option<String>,
    /// Decide in the editor: the value alone, or the file.
    #[arg(long, group = "how")]
    edit: bool,
    /// Merge the weights both sides have in this safetensors file: `linear=0.5`, `slerp=0.5`, `ties=0.2`,
    /// `task=1` or `dare=0.5`, as `modelv weights merge` takes them.
    #[arg(long, group = "how", value_name = "METHOD")]
    weights: Option<Method>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    // Names are shown as text, and found as they are shown.
    let item = args.item.to_string_lossy();
    let decision = if let Some(method) = &args.weights {
        Decision::Weights(method.clone())
    } else if args.edit {
        edited(&repo, &item)?
    } else {
        by_side(args)
    };
    repo.resolve_conflict(&item, &decision, &s.ctx())?;
    let state = repo.merge_state()?;
    let open = state.as_ref().map_or(0, |m| m.open().count());
    s.ui.line(format!("decided {}, {open} open", plain(&item)));
    if let Some(state) = state.filter(|_| open == 0) {
        let verb = state.action.word();
        s.ui.talk(format!(
            "\nhint: `modelv {verb} --continue` commits the {verb}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the user makes of a conflict in the editor.
fn edited(repo: &Repo, item: &str) -> Result<Decision, CommandError> {
    let Some(state) = repo.merge_state()? else {
        return Err(modelv_repo::Error::not_found("conflict", item).into());
    };
    let at = ConflictState::find(&state.conflicts, item)?;
    crate::editor::edit(repo, &state.conflicts[at])
}

fn by_side(args: &Args) -> Decision {
    match (&args.value, args.ours, args.theirs, args.base) {
        (Some(value), ..) => Decision::Value(value.clone()),
        (None, true, ..) => Decision::Ours,
        (None, _, true, _) => Decision::Theirs,
        (None, _, _, true) => Decision::Base,
        _ => Decision::AsEdited,
    }
}
