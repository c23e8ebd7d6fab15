//! `modelv push`.

use std::process::ExitCode;

use modelv_repo::remote::PushOptions;
use serde_json::json;

use super::{Done, Session};
use crate::ui::size;

/// Send commits and all they lead to, and move the remote's refs: all of them, or none.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the remote; the upstream's, or the only one, otherwise.
    remote: Option<String>,
    /// Branches or tags: `NAME`, `NAME:THEIRS`, or `:THEIRS` to delete. The current branch otherwise.
    refs: Vec<String>,
    /// All branches.
    #[arg(long)]
    all: bool,
    /// All tags.
    #[arg(long)]
    tags: bool,
    /// Delete the named refs there.
    #[arg(long, short, requires = "refs")]
    delete: bool,
    /// Replace what is there even if it is no ancestor, unless it has moved since it was fetched.
    #[arg(long)]
    force_with_lease: bool,
    /// Make the branch follow the remote's (done on its own for a branch that follows none).
    #[arg(long, short = 'u')]
    set_upstream: bool,
    /// Run no hooks.
    #[arg(long, alias = "no-verify")]
    no_hooks: bool,
    /// Only tell.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let info = repo.remote_or_default(args.remote.as_deref())?;
    let options = PushOptions {
        refs: args.refs,
        all: args.all,
        tags: args.tags,
        delete: args.delete,
        force_with_lease: args.force_with_lease,
        set_upstream: args.set_upstream,
        dry_run: args.dry_run,
        no_hooks: args.no_hooks,
    };
    let report = repo.push(&info, &options, &s.ctx())?;
    let sent = &report.sent;
    if args.json {
        s.ui.json(&json!({
            "remote": info.name, "url": info.url,
            "refs": report.updates.iter().map(super::fetch::update_json).collect::<Vec<_>>(),
            "sent": {
                "packs": sent.packs.len(), "entries": sent.entries, "bytes": sent.bytes,
                "bytes_found": sent.bytes_found,
            },
        }));
        return Ok(ExitCode::SUCCESS);
    }
    if report.updates.is_empty() {
        s.ui.line(format!("{}: up to date", info.name));
        return Ok(ExitCode::SUCCESS);
    }
    for update in &report.updates {
        let line = super::fetch::update_line(s.ui, update);
        s.ui.line(format!("  {line}"));
    }
    if args.dry_run {
        s.ui.line(format!("would go to {}", info.name));
        return Ok(ExitCode::SUCCESS);
    }
    let found = match sent.bytes_found {
        0 => String::new(),
        n => format!(" ({} were there already)", size(n)),
    };
    s.ui.line(format!("sent {} to {}{found}", size(sent.bytes), info.name));
    Ok(ExitCode::SUCCESS)
}
