//! `modelv pull`.

use modelv_repo::MergeOptions;
use serde_json::json;

use super::{Done, Session};

/// Fetch, then merge the branch that the current one follows.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the remote; the upstream's, or the only one, otherwise.
    remote: Option<String>,
    /// Branch of the remote; the upstream otherwise.
    branch: Option<String>,
    /// Message of the merge commit.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let info = repo.remote_or_default(args.remote.as_deref())?;
    let options = MergeOptions {
        message: args.message,
        author: args.author,
        ..MergeOptions::default()
    };
    let branch = args.branch.as_deref();
    let (report, outcome) = repo.pull(&info, branch, &options, &s.ctx())?;
    let label = branch.unwrap_or("upstream");
    if args.json {
        let merge = super::merge::to_json(&outcome);
        s.ui.json(&json!({"fetch": super::fetch::to_json(&report), "merge": merge}));
    } else {
        super::fetch::show(s.ui, &report);
    }
    super::merge::report(s, &outcome, label, args.json, false)
}
