//! A writer for tests that cut the power under it: checks the repository that an earlier one left,
//! tells what it holds, then commits until it can't any more, and tells of each commit when it has
//! been acknowledged.
//!
//! `committer FOLDER`; the lines it prints are `broken WHY`, `holds N ID…` and `done N ID`, where N
//! counts the operations.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::Write;
use std::path::Path;

use modelv_repo::core::id::CommitId;
use modelv_repo::oplog::Target;
use modelv_repo::{CommitOptions, Ctx, Repo};

type Failure = Box<dyn std::error::Error>;

/// Every commit that the log ever led to.
fn commits(repo: &Repo) -> Vec<CommitId> {
    let changes = repo.oplog().operations.iter().flat_map(|o| &o.changes);
    changes
        .filter_map(|c| match c.new {
            Some(Target::Commit(id)) => Some(id),
            _ => None,
        })
        .collect()
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush())
}

fn look(root: &Path) -> Result<Repo, Failure> {
    let repo = if root.join(".mv/oplog").exists() {
        Repo::open(root)?
    } else {
        Repo::init(root)?
    };
    let mut problems = repo.store().verify(&mut |_, _| {})?.problems;
    problems.extend(repo.check_reachable()?);
    match problems.first() {
        Some(first) => Err(first.clone().into()),
        None => Ok(repo),
    }
}

fn main() -> Result<(), Failure> {
    let root = std::env::args_os().nth(1).ok_or("no folder given")?;
    let root = Path::new(&root);
    let mut repo = match look(root) {
        Ok(repo) => repo,
        Err(e) => {
            say(&format!("broken {e}"))?;
            return Err(e);
        }
    };
    let ids: Vec<String> = commits(&repo).iter().map(CommitId::to_hex).collect();
    say(&format!(
        "holds {} {}",
        repo.oplog().operations.len(),
        ids.join(" ")
    ))?;
    std::fs::write(root.join("modelv.toml"), "[env]\ncapture = \"none\"\n")?;
    for count in 0u64.. {
        let number = repo.oplog().operations.len();
        let mut weights = number.to_le_bytes().repeat(700);
        weights.extend(count.to_le_bytes());
        std::fs::write(root.join("weights.bin"), weights)?;
        let options = CommitOptions {
            message: format!("commit {number}"),
            author: Some("Ada <ada@example.org>".into()),
            allow_empty: true,
            ..CommitOptions::default()
        };
        let id = repo.commit(&options, &Ctx::quiet())?.id;
        say(&format!("done {} {}", number + 1, id.to_hex()))?;
    }
    Ok(())
}
