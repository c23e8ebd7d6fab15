//! `modelv log`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::commit::Commit;
use modelv_repo::core::id::{CommitId, RunId};
use modelv_repo::{LogOptions, ModelState, Range, model_state};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::graph::Graph;
use crate::ui::Style;

/// Show the history.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to start, or `A..B`; the current commit otherwise.
    revision: Option<String>,
    /// Draw the lines of history.
    #[arg(long)]
    graph: bool,
    /// One line a commit.
    #[arg(long)]
    oneline: bool,
    /// At most so many.
    #[arg(short = 'n', value_name = "N")]
    limit: Option<usize>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Only commits that change these paths.
    #[arg(last = true)]
    paths: Vec<OsString>,
}

#[expect(clippy::too_many_lines, reason = "two forms of one listing")]
pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let (start, exclude) = match &args.revision {
        None => (vec![repo.get_head()?], vec![]),
        Some(text) => match repo.resolve_range(text)? {
            Range::One(id) => (vec![id], vec![]),
            Range::Two(a, b) => (vec![b], vec![a]),
            Range::FromBase(a, b) => (vec![a, b], repo.merge_bases(a, b)?),
        },
    };
    let paths = s.paths(&repo, &args.paths)?;
    let commits = repo.history(&LogOptions {
        start,
        exclude,
        limit: args.limit,
        paths,
    })?;
    if args.json {
        let mut list = Vec::new();
        for (id, commit) in &commits {
            list.push(commit_json(&repo, *id, commit)?);
        }
        s.ui.json(&list.into());
        return Ok(ExitCode::SUCCESS);
    }
    let names = repo.decorations();
    let head = repo.head();
    let mut graph = Graph::default();
    for (id, commit) in &commits {
        let mut refs = names.get(id).cloned().unwrap_or_default();
        if head == Some(*id) {
            refs.insert(0, "HEAD".into());
        }
        let refs = if refs.is_empty() {
            String::new()
        } else {
            format!(" ({})", refs.join(", "))
        };
        let note = match model_state(commit) {
            ModelState::Stale => s.ui.paint(Style::Warn, " [model stale]"),
            ModelState::None => s.ui.paint(Style::Faint, " [no model]"),
            ModelState::Current => String::new(),
        };
        let refs = s.ui.paint(Style::Added, &refs);
        let short = s.ui.paint(Style::Id, &id.short());
        let (mark, below) = if args.graph {
            graph.next(*id, &commit.parents)
        } else {
            (String::new(), vec![])
        };
        let mark = if args.graph { format!("{mark} ") } else { mark };
        if args.oneline {
            s.ui.line(format!("{mark}{short}{refs} {}{note}", commit.subject()));
        } else {
            s.ui.line(format!("{mark}commit {short}{refs}{note}"));
            let margin = if args.graph {
                format!("{} ", graph.margin())
            } else {
                String::new()
            };
            s.ui.line(format!("{margin}Author: {}", commit.author));
            s.ui.line(format!(
                "{margin}Date:   {}",
                clock::format_time(commit.time)
            ));
            for line in commit.message.lines() {
                s.ui.line(format!("{margin}    {line}"));
            }
            s.ui.line(margin.trim_end());
        }
        for line in below {
            s.ui.line(line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A commit for machines.
pub(super) fn commit_json(
    repo: &modelv_repo::Repo,
    id: CommitId,
    commit: &Commit,
) -> Result<serde_json::Value, CommandError> {
    let metrics: serde_json::Map<String, serde_json::Value> = repo
        .metrics(commit)?
        .iter()
        .map(|(k, v)| (k.clone(), v.to_json()))
        .collect();
    Ok(json!({
        "id": id.to_hex(),
        "recipe": {
            "id": commit.recipe.id().to_hex(),
            "code": commit.recipe.code.to_hex(),
            "data": commit.recipe.data.to_hex(),
            "config": commit.recipe.config.to_hex(),
            "env": commit.recipe.env.to_hex(),
        },
        "model": commit.model.map(|m| json!({
            "tree": m.tree.to_hex(),
            "recipe": m.recipe.to_hex(),
            "stale": m.recipe != commit.recipe.id(),
        })),
        "parents": commit.parents.iter().map(CommitId::to_hex).collect::<Vec<_>>(),
        "author": {"name": commit.author.name, "email": commit.author.email},
        "committer": {"name": commit.committer.name, "email": commit.committer.email},
        "time": clock::format_rfc3339(commit.time.seconds),
        "message": commit.message,
        "runs": commit.runs.iter().map(RunId::to_hex).collect::<Vec<_>>(),
        "metrics": metrics,
        "extra": commit.extra,
    }))
}
