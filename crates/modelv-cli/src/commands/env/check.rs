//! `modelv env check`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Done, Session, show_changes};
use modelv_repo::capture::installed::Patched;
use modelv_repo::core::env::Patch;
use modelv_repo::json::env as env_json;

/// Check whether this machine has the environment of a commit.
///
/// What the commit records and is not so here matters: results may differ, and the exit status is 1. What is
/// here in addition is only named, and so is what was observed when its model was made: processor, kernel, C library,
/// accelerator and variables are no part of an environment.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The commit.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// The interpreter to look at.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Hash every installed file, and look for files in folders of packages that no installer has put there. Without,
    /// only those are hashed whose size or times tell that they were changed after they were installed.
    #[arg(long)]
    files: bool,
    /// Count what is here in addition as a difference.
    #[arg(long)]
    strict: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let check = repo.check_env(id, args.python.as_deref())?;
    let observed = repo.observed_changes(id)?;
    let foreign = repo.foreign_packages(args.python.as_deref())?;
    let patched = match args.files {
        true => repo.patched_packages(args.python.as_deref(), &s.ctx())?,
        false => Vec::new(),
    };
    // What the commit records as patched, and is so here, is no difference.
    let hidden = patched
        .iter()
        .filter(|p| !check.patched.contains(&p.to_patch()));
    let hidden: Vec<_> = hidden.collect();
    let differs =
        !check.matters.is_empty() || !hidden.is_empty() || (args.strict && !check.more.is_empty());
    if args.json {
        s.ui.json(&json!({
            "commit": id.to_hex(), "same": !differs,
            "matters": env_json(&check.matters), "more": env_json(&check.more),
            "observed": env_json(&observed),
            "patched": patched_json(&check.patched, &hidden),
            "outside": foreign.iter().map(|(p, dir)| json!({"package": p, "folder": dir})).collect::<Vec<_>>(),
        }));
        return Ok(ExitCode::from(u8::from(differs)));
    }
    if !check.matters.is_empty() {
        s.ui.line(format!("differs from {}:", id.short()));
        show_changes(s.ui, &check.matters);
    }
    let seen = check.patched.iter().cloned();
    let both = seen.chain(hidden.iter().map(|p| p.to_patch()));
    for patch in both.collect::<std::collections::BTreeSet<_>>() {
        s.ui.line(format!(
            "{} was patched after it was installed: {}",
            patch.package,
            patch.shown()
        ));
    }
    if !check.more.is_empty() {
        s.ui.line(format!("only here, not in {}:", id.short()));
        show_changes(s.ui, &check.more);
    }
    if !observed.is_empty() {
        s.ui.line("observed when its model was made, no part of the environment:");
        show_changes(s.ui, &observed);
    }
    for (package, dir) in &foreign {
        s.ui.warn(format!(
            "{package} is used in place from {}, outside of this repository: its code is in no commit",
            dir.display()
        ));
    }
    if check.matters.is_empty() && hidden.is_empty() {
        s.ui.line(format!(
            "this machine has everything that {} records",
            id.short()
        ));
    }
    Ok(ExitCode::from(u8::from(differs)))
}

/// Every patched package with its files: those that the commit knows of, and those that only a look at
/// every file found.
fn patched_json(known: &[Patch], hidden: &[&Patched]) -> serde_json::Value {
    let known = known
        .iter()
        .filter(|k| hidden.iter().all(|h| h.package != k.package));
    let known = known.map(|p| json!({"package": p.package, "count": p.count, "files": p.files}));
    let all = hidden
        .iter()
        .map(|p| json!({"package": p.package, "count": p.files.len(), "files": p.files}));
    known.chain(all).collect()
}
