//! `modelv status`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::remote::Upstream;
use modelv_repo::worktree::{ChangeKind, FileChange, Ingredient, place};
use modelv_repo::{Action, EnvChange, MergeState, ModelState, Repo, json};

use super::{Done, Session};
use crate::ui::{Style, Ui};

/// Show what differs from the last commit.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The interpreter whose packages are compared.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::too_many_lines, reason = "one screen, top to bottom")]
pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    super::warn_unknown(&repo, s.ui)?;
    let status = repo.status(args.python, &s.ctx())?;
    if args.json {
        s.ui.json(&json::status(&status));
        return Ok(ExitCode::SUCCESS);
    }
    let place = if status.on_branch {
        "on branch"
    } else {
        "detached at"
    };
    let head = status.head.map_or("no commit yet".into(), |id| id.short());
    s.ui.line(format!(
        "{place} {} ({head})",
        s.ui.paint(Style::Strong, &status.head_label)
    ));
    if let Some(upstream) = &status.upstream {
        s.ui.line(upstream_line(upstream));
    }
    if let Some(merge) = &status.merge {
        let open = merge.open().count();
        let how_far = match merge.conflicts.len() {
            0 => "nothing to decide".to_owned(),
            all => format!("{open} of {all} conflicts open"),
        };
        s.ui.line(format!("{}: {how_far}", what_is_open(merge)));
        for c in merge.open() {
            s.ui.line(format!(
                "  {} ({})",
                s.ui.paint(Style::Removed, &c.item),
                super::merge::in_short(c)
            ));
        }
        let verb = merge.action.word();
        let first = match open {
            0 => "",
            _ => "`modelv resolve ITEM --ours|--theirs`, then ",
        };
        s.ui.line(format!("  ({first}`modelv {verb} --continue`)"));
    }
    for ingredient in [
        Ingredient::Code,
        Ingredient::Data,
        Ingredient::Config,
        Ingredient::Model,
    ] {
        let of: Vec<_> = status
            .changes
            .iter()
            .filter(|c| c.ingredient() == ingredient)
            .collect();
        if !of.is_empty() {
            s.ui.line(format!("{}:", ingredient.word()));
        }
        for change in of {
            let text = change_line(s.ui, change, None);
            s.ui.line(format!("  {text}{}", why_gone(&repo, change)));
        }
    }
    show_env(s.ui, &status.env);
    match status.model {
        ModelState::Stale => {
            s.ui.line("model: stale, made by another recipe (`modelv run` trains it)");
        }
        ModelState::None if status.head.is_some() => {
            s.ui.line("model: none yet (`modelv run` trains one)");
        }
        _ => {}
    }
    for line in super::external::doubts(&status.externals) {
        s.ui.line(line);
    }
    for skipped in &status.skipped {
        s.ui.line(format!("left out: {} ({})", skipped.path, skipped.reason));
    }
    if status.changes.is_empty() && status.env.is_empty() && status.merge.is_none() {
        s.ui.line("nothing to commit");
    }
    for name in super::bare::verb_named_entries(repo.root()) {
        s.ui.warn(format!(
            "`{name}` is also a verb: `mv {name} X` renames it, `modelv {name}` is ours"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a file that is gone for commits, and lies there all the same, is to be told.
fn why_gone(repo: &Repo, change: &FileChange) -> &'static str {
    let full = place(repo.root(), &change.path);
    let is_there = || full.symlink_metadata().is_ok_and(|m| !m.is_dir());
    match change.kind == ChangeKind::Deleted && is_there() {
        true => " (left out now, and still there: `modelv track --explain PATH` says by what)",
        false => "",
    }
}

/// What is not finished, and how far it is.
fn what_is_open(state: &MergeState) -> String {
    let Some(sequence) = &state.sequence else {
        return format!("merging {}", state.label);
    };
    let doing = match state.action {
        Action::Revert => "reverting",
        Action::Rebase => "rebasing",
        _ => "picking",
    };
    let (total, at) = (sequence.total, sequence.total - sequence.todo.len());
    let of = sequence.branch.as_deref().map_or(String::new(), |branch| {
        format!(" of {}", modelv_repo::names::short(branch))
    });
    format!("{doing} {}{of}, {at} of {total}", state.label)
}

/// How the branch stands to the one it follows, as a line.
fn upstream_line(u: &Upstream) -> String {
    let name = &u.name;
    match (u.commit.is_some(), u.ahead, u.behind) {
        (false, ..) => format!("follows {name}, which is not there (`modelv push`)"),
        (_, 0, 0) => format!("up to date with {name}"),
        (_, n, 0) => format!("{n} ahead of {name} (`modelv push`)"),
        (_, 0, n) => format!("{n} behind {name} (`modelv pull`)"),
        (_, a, b) => {
            format!("{a} ahead of and {b} behind {name} (`modelv pull`, then `modelv push`)")
        }
    }
}

/// One changed file as a line. `percent`: how much of its content a renamed one kept, where that
/// is known not to be all.
pub(crate) fn change_line(ui: &Ui, change: &FileChange, percent: Option<u8>) -> String {
    let path = change.path.to_string();
    match &change.kind {
        ChangeKind::Added => ui.paint(Style::Added, &format!("+ {path}")),
        ChangeKind::Deleted => ui.paint(Style::Removed, &format!("- {path}")),
        ChangeKind::Modified if change.is_mode_changed() => {
            ui.paint(Style::Changed, &format!("~ {path} (content and mode)"))
        }
        ChangeKind::Modified => ui.paint(Style::Changed, &format!("~ {path}")),
        ChangeKind::TypeChanged => ui.paint(Style::Changed, &format!("~ {path} (type)")),
        ChangeKind::ModeChanged => ui.paint(Style::Changed, &format!("~ {path} (mode)")),
        ChangeKind::Renamed { from } => {
            let alike = percent.filter(|p| *p < 100);
            let alike = alike.map_or_else(String::new, |p| format!(", {p} % alike"));
            let mode = if change.is_mode_changed() {
                ", mode"
            } else {
                ""
            };
            ui.paint(
                Style::Changed,
                &format!("> {path} (was {from}{alike}{mode})"),
            )
        }
        ChangeKind::Moved { from } => {
            ui.paint(Style::Changed, &format!("> {path} (was {})", from.word()))
        }
    }
}

/// The environment's difference as lines.
pub(crate) fn show_env(ui: &mut Ui, changes: &[EnvChange]) {
    const SHOWN: usize = 20;
    if !changes.is_empty() {
        ui.line("env:");
    }
    for change in changes.iter().take(SHOWN) {
        let text = match (&change.old, &change.new) {
            (None, Some(new)) => ui.paint(Style::Added, &format!("+ {} {new}", change.item)),
            (Some(old), None) => ui.paint(Style::Removed, &format!("- {} {old}", change.item)),
            (Some(old), Some(new)) => {
                ui.paint(Style::Changed, &format!("~ {} {old} -> {new}", change.item))
            }
            (None, None) => continue,
        };
        ui.line(format!("  {text}"));
    }
    if changes.len() > SHOWN {
        ui.line(format!("  and {} more", changes.len() - SHOWN));
    }
}
