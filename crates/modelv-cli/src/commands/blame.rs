//! `modelv blame`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::Repo;
use modelv_repo::capture::clock;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::path::RepoPath;
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui};

/// Show which commit gave each part of a file what it holds: line, key, package or row.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(required_unless_present = "env")]
    path: Option<OsString>,
    /// As this commit has it; the current one otherwise.
    revision: Option<String>,
    /// By line, whatever the file is.
    #[arg(long, conflicts_with = "env")]
    lines: bool,
    /// The packages of the environment instead of a file.
    #[arg(long)]
    env: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    // With `--env` the one word that is left is the revision.
    let typed = args
        .path
        .as_ref()
        .filter(|_| args.env)
        .map(|p| p.to_string_lossy());
    let revision = match (&args.revision, &typed) {
        (Some(_), Some(_)) => {
            let text = "`--env` has no file";
            return Err(CommandError::usage(text, "`modelv blame --env REV`"));
        }
        (Some(revision), None) => revision.as_str(),
        (None, Some(revision)) => revision,
        (None, None) => "HEAD",
    };
    let id = repo.resolve(revision)?;
    let blame = match &args.path {
        Some(path) if !args.env => {
            let Some(path) = s.path(&repo, path)? else {
                let text = "the top folder is no file";
                return Err(CommandError::usage(text, "`modelv blame FILE`"));
            };
            if args.revision.is_none() {
                tell_of_edits(&repo, id, &path, s.ui)?;
            }
            repo.blame(id, &path, args.lines)?
        }
        _ => repo.blame_env(id)?,
    };
    let mut commits = HashMap::new();
    for part in &blame.parts {
        if let Entry::Vacant(slot) = commits.entry(part.commit) {
            slot.insert(repo.commit_object(part.commit)?);
        }
    }
    let named: Vec<_> = commits.iter().map(|(id, c)| (*id, c.clone())).collect();
    super::log::tell_cut(&repo, &named, s.ui)?;
    if args.json {
        let part = |p: &modelv_repo::Blamed| {
            let c = &commits[&p.commit];
            json!({
                "name": p.name, "text": p.text, "commit": p.commit.to_hex(),
                "author": {"name": c.author.name, "email": c.author.email},
                "time": clock::format_rfc3339(c.time.seconds), "subject": c.subject(),
            })
        };
        let parts: Vec<_> = blame.parts.iter().map(part).collect();
        s.ui.json(&json!({"kind": blame.kind, "parts": parts}));
        return Ok(ExitCode::SUCCESS);
    }
    let width = |f: &dyn Fn(&modelv_repo::Blamed) -> usize| {
        blame.parts.iter().map(f).max().unwrap_or(0).min(40)
    };
    let who = width(&|p| commits[&p.commit].author.name.chars().count());
    let names = width(&|p| p.name.chars().count());
    for part in &blame.parts {
        let commit = &commits[&part.commit];
        let id = s.ui.paint(Style::Id, &part.commit.short());
        let date = &clock::format_rfc3339(commit.time.seconds)[..10];
        let name = match blame.kind {
            "line" => format!("{:>names$})", part.name),
            _ => format!("{:names$} =", part.name),
        };
        let line = format!(
            "{id} {:who$} {date} {name} {}",
            commit.author.name, part.text
        );
        s.ui.line(line.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// What is not committed is in no blame: people must know that there is some.
fn tell_of_edits(
    repo: &Repo,
    id: CommitId,
    path: &RepoPath,
    ui: &mut Ui,
) -> Result<(), CommandError> {
    if repo.is_edited(id, path)? {
        ui.talk(format!(
            "note: {path} has uncommitted changes: this is as HEAD has it"
        ));
    }
    Ok(())
}
