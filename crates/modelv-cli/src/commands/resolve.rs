//! `modelv resolve`.

use std::process::ExitCode;

use modelv_repo::Decision;

use super::{Done, Session};

/// Decide a conflict of the merge that is under way.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As `modelv conflicts` names it: `path`, `path:key`, `path:package`, `env:package`.
    item: String,
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
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let decision = match (&args.value, args.ours, args.theirs, args.base) {
        (Some(value), ..) => Decision::Value(value.clone()),
        (None, true, ..) => Decision::Ours,
        (None, _, true, _) => Decision::Theirs,
        (None, _, _, true) => Decision::Base,
        _ => Decision::AsEdited,
    };
    repo.resolve_conflict(&args.item, &decision, &s.ctx())?;
    let state = repo.merge_state()?;
    let open = state.as_ref().map_or(0, |m| m.open().count());
    s.ui.line(format!("decided {}, {open} open", args.item));
    if let Some(state) = state.filter(|_| open == 0) {
        let verb = state.action.word();
        s.ui.talk(format!(
            "\nhint: `modelv {verb} --continue` commits the {verb}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
