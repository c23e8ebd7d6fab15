//! `modelv env show`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::core::env::Env;
use modelv_repo::core::id::to_hex;
use serde_json::json;

use super::{Done, Session};
use crate::ui::size;

/// Show the environment of a commit, or of this machine.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The commit; the active interpreter otherwise.
    revision: Option<String>,
    /// The interpreter to look at.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let env = match &args.revision {
        Some(text) => repo.env_object(repo.commit_object(repo.resolve(text)?)?.recipe.env)?,
        None => {
            let files = repo.worktree_files(&s.ctx())?;
            repo.capture_env(&files, &repo.rules()?, args.python.clone())?
        }
    };
    let vendored = repo.vendored(env.id())?;
    if args.json {
        let mut json = to_json(&env);
        json["vendored"] = vendored.iter().map(|w| w.name.as_str()).collect();
        s.ui.json(&json);
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!("env {}", env.id()));
    s.ui.line(format!("platform {} {}", env.os, env.arch));
    if let Some(i) = &env.interpreter {
        s.ui.line(format!(
            "python {} {} ({})",
            i.implementation, i.version, i.abi
        ));
    }
    if !vendored.is_empty() {
        s.ui.line(format!(
            "vendored {} of {} packages, {}",
            vendored.len(),
            env.packages.len(),
            size(vendored.iter().map(|w| w.size).sum())
        ));
    }
    for p in &env.packages {
        let source = p
            .source
            .as_ref()
            .map(|s| format!(" @ {s}"))
            .unwrap_or_default();
        let extras = match env.extras_of(&p.name) {
            [] => String::new(),
            names => format!("[{}]", names.join(",")),
        };
        let patch = env.find_patch(&p.name);
        let patch = patch.map(|p| format!("  patched: {}", p.shown()));
        s.ui.line(format!(
            "{}{extras}=={}{source}{}",
            p.name,
            p.version,
            patch.unwrap_or_default()
        ));
    }
    for p in &env.details.system {
        let libraries = p.libraries.join(" ");
        s.ui.line(format!(
            "system {} {} ({}): {libraries}",
            p.name, p.version, p.manager
        ));
    }
    for library in &env.details.libraries {
        let hash = library.sha256.map(|h| to_hex(&h)[..12].to_owned());
        s.ui.line(format!(
            "library {} {}",
            library.name,
            hash.unwrap_or_else(|| "large".into())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(env: &Env) -> serde_json::Value {
    json!({
        "id": env.id().to_hex(),
        "os": env.os,
        "arch": env.arch,
        "interpreter": env.interpreter.as_ref().map(|i| json!({
            "implementation": i.implementation, "version": i.version, "abi": i.abi,
        })),
        "packages": env.packages.iter().map(|p| json!({
            "name": p.name, "version": p.version, "source": p.source, "editable": p.editable,
            "archive_sha256": p.archive_sha256.map(|h| to_hex(&h)),
            "record_sha256": p.record_sha256.map(|h| to_hex(&h)),
            "extras": env.extras_of(&p.name),
            "patched": env.find_patch(&p.name).map(|p| json!({
                "sha256": to_hex(&p.sha256), "count": p.count, "files": p.files,
            })),
        })).collect::<Vec<_>>(),
        "system": env.details.system.iter().map(|p| json!({
            "name": p.name, "version": p.version, "manager": p.manager, "libraries": p.libraries,
        })).collect::<Vec<_>>(),
        "libraries": env.details.libraries.iter().map(|l| json!({
            "name": l.name, "sha256": l.sha256.map(|h| to_hex(&h)),
        })).collect::<Vec<_>>(),
        "locks": env.locks.iter().map(|l| json!({
            "path": String::from_utf8_lossy(&l.path), "blob": l.blob.to_hex(),
        })).collect::<Vec<_>>(),
    })
}
