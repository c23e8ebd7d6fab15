//! `modelv env vendor`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::{VendorOptions, Vendored};
use serde_json::json;

use super::{Done, Session};
use crate::ui::{Ui, size};

/// Keep the packages of a commit's environment in the repository.
///
/// Their wheels go into the store: `env recreate --offline` and `release` then need no index, and `push`,
/// `fetch` and `clone` take them along. A package is taken from a folder, from what pip and uv keep, from what is
/// installed here, or from an index, and only if its files are those that were recorded.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The commit.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// Take wheels from this folder before all else; may be given again.
    #[arg(long, alias = "find-links", value_name = "DIR")]
    wheels: Vec<PathBuf>,
    /// Take packages from this index instead of pip's own; may be given again.
    #[arg(long, value_name = "URL")]
    index: Vec<String>,
    /// Ask no index.
    #[arg(long, conflicts_with = "index")]
    offline: bool,
    /// Take the packages of this interpreter.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Take the wheels of this environment out of the repository again; `gc` then frees their room.
    #[arg(long, conflicts_with_all = ["wheels", "index", "offline", "python", "json"])]
    drop: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    if args.drop {
        let env = repo.commit_object(id)?.recipe.env;
        repo.drop_vendored(env)?;
        s.ui.line(format!("dropped the wheels of environment {}", env.short()));
        return Ok(ExitCode::SUCCESS);
    }
    let options = VendorOptions {
        folders: args.wheels.iter().map(|dir| s.dir.join(dir)).collect(),
        indexes: args.index.clone(),
        offline: args.offline,
        python: args.python.clone(),
    };
    crate::interrupt::watch_termination();
    let done = repo.vendor_env(id, &options, &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "env": done.env.to_hex(), "complete": done.missing.is_empty(),
            "wheels": done.wheels.iter().map(|w| json!({"name": w.name, "size": w.size})).collect::<Vec<_>>(),
            "added": done.added, "repacked": done.repacked, "unproved": done.unproved,
            "in_commit": done.in_commit,
            "missing": done.missing.iter().map(|(p, why)| json!({"package": p, "reason": why})).collect::<Vec<_>>(),
        }));
    } else {
        show(&done, s.ui);
    }
    Ok(ExitCode::from(u8::from(!done.missing.is_empty())))
}

fn show(done: &Vendored, ui: &mut Ui) {
    let bytes = done.wheels.iter().map(|w| w.size).sum();
    let count = done.wheels.len();
    let added = match done.added {
        0 => "none of them new".to_owned(),
        n => format!("{n} of them new"),
    };
    ui.line(format!(
        "env {}: {count} wheels, {added}, {}",
        done.env.short(),
        size(bytes)
    ));
    if done.repacked > 0 {
        ui.line(format!(
            "{} put together from files that were installed or cached here",
            done.repacked
        ));
    }
    for package in &done.unproved {
        ui.warn(format!(
            "{package}: nothing but its version was recorded, so its wheel may be another build"
        ));
    }
    for package in &done.in_commit {
        ui.line(format!(
            "{package} is used in place, and the commit has its code"
        ));
    }
    for (package, why) in &done.missing {
        ui.warn(format!("missing: {package}: {why}"));
    }
}
