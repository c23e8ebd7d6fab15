//! `modelv fetch`.

use std::process::ExitCode;

use modelv_repo::remote::{Depth, FetchOptions, FetchReport, Received, RefUpdate};
use modelv_repo::worktree::Ingredient;
use modelv_repo::{Error, Repo, names};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui, size};

/// Bring what a remote has; branches here don't move.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the remote; the upstream's, or the only one, otherwise. Or paths and ingredients of HEAD
    /// whose contents this clone of a part lacks.
    what: Vec<std::ffi::OsString>,
    /// Paths and ingredients of this commit.
    #[arg(long, value_name = "REV", requires = "what")]
    at: Option<String>,
    /// All remotes.
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// Forget branches that are gone there.
    #[arg(long, short)]
    prune: bool,
    /// In a clone that holds a part: hold these ingredients too, from now on.
    #[arg(long, value_name = "INGREDIENTS", value_delimiter = ',')]
    add: Vec<String>,
    /// In a clone without all of the history: hold so many commits of each branch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,
    /// Bring all of the history.
    #[arg(long, conflicts_with = "depth")]
    unshallow: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn depth(&self) -> Option<Depth> {
        let all = self.unshallow.then_some(Depth::All);
        self.depth.map(Depth::Commits).or(all)
    }
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let named = args.what.first().and_then(|w| w.to_str());
    let is_remote = args.what.len() == 1 && named.is_some_and(|n| repo.remote(n).is_ok());
    let remotes = match named {
        None if args.all => repo.remotes(),
        Some(_) if !is_remote => return fetch_files(&args, &repo, s),
        name => vec![repo.remote_or_default(name)?],
    };
    let options = FetchOptions {
        prune: args.prune,
        add: super::clone::ingredients(&args.add)?,
        depth: args.depth(),
    };
    let mut all = Vec::new();
    for info in remotes {
        let report = repo.fetch(&info, &options, &s.ctx())?;
        if args.json {
            all.push(to_json(&report));
        } else {
            show(s.ui, &report);
        }
    }
    if args.json {
        s.ui.json(&all.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Contents of a commit that a clone of a part lacks.
fn fetch_files(args: &Args, repo: &Repo, s: Session<'_>) -> Done {
    let commit = repo.resolve(args.at.as_deref().unwrap_or("HEAD"))?;
    let mut ingredients = Vec::new();
    let mut typed = Vec::new();
    for word in &args.what {
        match word.to_str().and_then(Ingredient::parse) {
            Some(ingredient) if !s.dir.join(word).exists() || repo.is_bare() => {
                ingredients.push(ingredient);
            }
            _ => typed.push(word.clone()),
        }
    }
    let paths = s
        .paths(repo, &typed)
        .map_err(|e| unknown(repo, &args.what, e))?;
    let (count, received) = repo
        .fetch_files(commit, &paths, &ingredients, &s.ctx())
        .map_err(|e| match e {
            Error::NotFound { what: "path", .. } => unknown(repo, &args.what, e.into()),
            other => other.into(),
        })?;
    if args.json {
        s.ui.json(&json!({
            "commit": commit.to_hex(), "files": count, "received": received_json(&received),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let files = if count == 1 { "file" } else { "files" };
    s.ui.line(format!(
        "{count} {files} of {} here, {} received",
        commit.short(),
        size(received.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}

/// One word may have been meant as the name of a remote.
fn unknown(repo: &Repo, what: &[std::ffi::OsString], e: CommandError) -> CommandError {
    match what {
        [one] => repo
            .remote(&one.to_string_lossy())
            .map_or_else(CommandError::from, |_| e),
        _ => e,
    }
}

/// What a fetch did, as lines.
pub(super) fn show(ui: &mut Ui, report: &FetchReport) {
    for update in report
        .updates
        .iter()
        .filter(|u| names::short(&u.name) != u.name)
    {
        let line = update_line(ui, update);
        ui.line(format!("  {line}"));
    }
    for tag in &report.kept_tags {
        ui.warn(format!(
            "tag `{tag}` is another commit on {}; ours stays",
            report.remote.name
        ));
    }
    if report.updates.is_empty() && report.received.entries == 0 {
        ui.line(format!("{}: nothing new", report.remote.name));
    } else {
        ui.line(format!(
            "received {} from {}",
            size(report.received.bytes),
            report.remote.name
        ));
    }
}

/// One ref that moved, as a line.
pub(super) fn update_line(ui: &Ui, u: &RefUpdate) -> String {
    let name = match u.name.strip_prefix(names::WHEELS) {
        Some(env) => format!("wheels of environment {}", env.get(..12).unwrap_or(env)),
        None => names::short(&u.name).to_owned(),
    };
    let name = ui.paint(Style::Strong, &name);
    let sign = if u.forced { " (not a descendant)" } else { "" };
    match (u.old, u.new) {
        (Some(old), Some(new)) => format!("{name} {}..{}{sign}", old.short(), new.short()),
        (None, Some(new)) => format!("{name} {} (new)", new.short()),
        (Some(old), None) => format!("{name} removed (was {})", old.short()),
        (None, None) => name,
    }
}

pub(super) fn update_json(u: &RefUpdate) -> serde_json::Value {
    json!({
        "ref": u.name, "old": u.old.map(|id| id.to_hex()), "new": u.new.map(|id| id.to_hex()),
        "forced": u.forced,
    })
}

pub(super) fn received_json(r: &Received) -> serde_json::Value {
    json!({"packs": r.packs, "entries": r.entries, "bytes": r.bytes})
}

pub(super) fn to_json(report: &FetchReport) -> serde_json::Value {
    json!({
        "remote": report.remote.name, "url": report.remote.url,
        "refs": report.updates.iter().map(update_json).collect::<Vec<_>>(),
        "kept_tags": report.kept_tags,
        "received": received_json(&report.received),
    })
}
