//! `modelv commit`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::{CommitOptions, Committed, Repo, json, names};

use super::{Done, Session};
use crate::editor;
use crate::ui::{Style, Ui, plain};

/// Record the working tree. There is no staging area: what `status` shows is taken.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What changed. Without it, on a terminal, $VISUAL or $EDITOR is opened.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// The interpreter whose packages are recorded.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Commit even when nothing differs.
    #[arg(long)]
    allow_empty: bool,
    /// Commit even what looks like a password or a key.
    #[arg(long)]
    allow_secret: bool,
    /// Run no hooks.
    #[arg(long, alias = "no-verify")]
    no_hooks: bool,
    /// Say nothing.
    #[arg(short, long)]
    quiet: bool,
    /// As JSON: the commit, and what it took.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// For those who are used to it: all changes are taken anyway.
    #[arg(short, long, hide = true, conflicts_with = "paths")]
    all: bool,
    /// Take only these paths.
    paths: Vec<OsString>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let message = match (args.message, repo.merge_state()?) {
        (Some(message), _) => message,
        (None, Some(merge)) => merge.message,
        (None, None) => editor::commit_message(&repo, &s.ctx())?,
    };
    let options = CommitOptions {
        message,
        author: args.author,
        paths: s.paths(&repo, &args.paths)?,
        python: args.python,
        allow_empty: args.allow_empty,
        allow_secret: args.allow_secret,
        no_hooks: args.no_hooks,
    };
    super::warn_unknown(&repo, s.ui)?;
    let done = repo.commit(&options, &s.ctx())?;
    if args.json {
        s.ui.json(&json::committed(&repo, &done)?);
    } else if !args.quiet {
        show(s.ui, &place(&repo), &options.message, &done);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a new commit is, in a word.
pub(super) fn place(repo: &Repo) -> String {
    match repo.head_ref() {
        Some(full) => names::short(full).to_owned(),
        None => "detached".to_owned(),
    }
}

/// The line of a new commit and what it took.
pub(super) fn show(ui: &mut Ui, label: &str, message: &str, done: &Committed) {
    let subject = plain(message.trim().lines().next().unwrap_or(""));
    let first = if done.is_first { ", first commit" } else { "" };
    ui.line(format!(
        "[{label} {}{first}] {subject}",
        ui.paint(Style::Id, &done.id.short())
    ));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &done.changes {
        *counts.entry(change.ingredient().word()).or_default() += 1;
    }
    let mut parts: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{word}: {n} file{}", if *n == 1 { "" } else { "s" }))
        .collect();
    if !done.env.is_empty() {
        let n = done.env.len();
        parts.push(format!("env: {n} item{}", if n == 1 { "" } else { "s" }));
    }
    if !parts.is_empty() {
        ui.line(format!("  {}", parts.join(", ")));
    }
    ui.line(format!("  recipe {}", done.recipe.short()));
    for line in super::external::doubts(&done.externals) {
        ui.warn(line);
    }
    for skipped in &done.skipped {
        ui.warn(format!("left out: {} ({})", skipped.path, skipped.reason));
    }
}
