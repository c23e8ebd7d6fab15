//! `modelv log`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::{LogOptions, ModelState, json, model_state};

use super::{Done, Session};
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

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let span = repo.span(args.revision.as_deref().unwrap_or("HEAD"))?;
    let commits = repo.history(&LogOptions {
        limit: args.limit,
        paths: s.paths(&repo, &args.paths)?,
        ..span
    })?;
    if args.json {
        let mut list = Vec::new();
        for (id, commit) in &commits {
            list.push(json::commit(&repo, *id, commit)?);
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
