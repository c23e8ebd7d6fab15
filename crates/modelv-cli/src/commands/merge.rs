//! `modelv merge`.

use std::process::ExitCode;

use modelv_repo::core::path::RepoPath;
use modelv_repo::core::tree::Mode;
use modelv_repo::{
    CommitOptions, ConflictState, FastForward, MergeOptions, MergeOutcome, Strategy,
};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::plain;

/// Exit status while conflicts are open.
pub(super) const CONFLICTS: u8 = 3;

/// Combine another line of history with the current one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to merge into the current branch.
    #[arg(required_unless_present_any = ["resume", "abort"])]
    revisions: Vec<String>,
    /// Message of the merge commit.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Stop before the commit.
    #[arg(long)]
    no_commit: bool,
    /// For those who are used to it: no editor is opened anyway.
    #[arg(long, hide = true)]
    no_edit: bool,
    /// Make a merge commit even where the branch would only have to move.
    #[arg(long, conflicts_with = "ff_only")]
    no_ff: bool,
    /// Only move the branch; refuse where that is not enough.
    #[arg(long)]
    ff_only: bool,
    /// Decide conflicts by a side: `ours`, `theirs`, `theirs:config`, `ours:data/x.csv`; may be
    /// given again, the first that fits counts. What only one side changed is merged as ever.
    #[arg(long, value_name = "SIDE[:PART]")]
    strategy: Vec<String>,
    /// Touch nothing, only tell.
    #[arg(long)]
    dry_run: bool,
    /// Commit the merge after its conflicts are decided.
    #[arg(long = "continue", conflicts_with_all = ["revisions", "abort"])]
    resume: bool,
    /// Give the merge up.
    #[arg(long, conflicts_with = "revisions")]
    abort: bool,
    /// Run no hooks.
    #[arg(long, alias = "no-verify")]
    no_hooks: bool,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    if args.abort {
        let stayed = repo.merge_abort(&s.ctx())?;
        if args.json {
            s.ui.json(&given_up_json(&stayed));
        } else {
            s.ui.line(format!("merge given up; {}", given_up(&stayed)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.resume {
        let message = args.message.unwrap_or_default();
        let options = CommitOptions {
            message,
            author: args.author,
            ..Default::default()
        };
        let done = repo.merge_continue(&options, &s.ctx())?;
        let commit = repo.commit_object(done.id)?;
        super::commit::show(s.ui, &super::commit::place(&repo), &commit.message, &done);
        return Ok(ExitCode::SUCCESS);
    }
    let [revision] = args.revisions.as_slice() else {
        return Err(CommandError::usage(
            "more than one revision to merge",
            "merge one after the other: a merge has two parents here",
        ));
    };
    let options = MergeOptions {
        message: args.message,
        no_commit: args.no_commit,
        dry_run: args.dry_run,
        no_hooks: args.no_hooks,
        author: args.author,
        ff: match (args.no_ff, args.ff_only) {
            (true, _) => FastForward::Never,
            (_, true) => FastForward::Only,
            _ => FastForward::Allowed,
        },
        strategies: args
            .strategy
            .iter()
            .map(|text| Strategy::parse(text))
            .collect::<modelv_repo::Result<_>>()?,
    };
    let outcome = repo.merge(revision, &options, &s.ctx())?;
    if args.json {
        s.ui.json(&to_json(&outcome));
    }
    report(s, &outcome, revision, args.json, args.dry_run)
}

/// What is in the working tree once a merge or the like was given up.
pub(super) fn given_up(stayed: &[RepoPath]) -> String {
    const SHOWN: usize = 4;
    if stayed.is_empty() {
        return "what it had changed is as before (`modelv undo` goes back to it)".into();
    }
    let shown = stayed
        .iter()
        .take(SHOWN)
        .map(|p| plain(&p.to_string()).into_owned());
    let mut shown: Vec<String> = shown.collect();
    if stayed.len() > SHOWN {
        shown.push(format!("{} more", stayed.len() - SHOWN));
    }
    format!(
        "what it had changed is as before (`modelv undo` goes back to it), changes made meanwhile stay: {}",
        shown.join(", ")
    )
}

pub(super) fn given_up_json(stayed: &[RepoPath]) -> serde_json::Value {
    let stayed: Vec<String> = stayed.iter().map(ToString::to_string).collect();
    json!({"outcome": "given-up", "stayed": stayed})
}

/// Says what a merge came to.
pub(super) fn report(
    s: Session<'_>,
    outcome: &MergeOutcome,
    revision: &str,
    is_json: bool,
    is_dry_run: bool,
) -> Done {
    let say = |text: String, s: Session<'_>| {
        if !is_json {
            s.ui.line(text);
        }
    };
    match outcome {
        MergeOutcome::UpToDate => say("already up to date".into(), s),
        MergeOutcome::FastForward(id) => say(format!("fast-forward to {}", id.short()), s),
        MergeOutcome::Merged(id) => say(format!("merged {revision} as {}", id.short()), s),
        MergeOutcome::Staged if is_dry_run => say(format!("{revision} merges cleanly"), s),
        MergeOutcome::Staged => {
            say(
                "merged, not committed (`modelv merge --continue` commits)".into(),
                s,
            );
        }
        MergeOutcome::Conflicts(list) => {
            if !is_json {
                // A dry run leaves nothing behind that `conflicts` could list.
                let hint = match is_dry_run {
                    true => "hint: `--json` has all of them",
                    false => super::conflicts::HINT,
                };
                let rules = s.repo().ok().and_then(|repo| repo.rules().ok());
                super::conflicts::show_some(s.ui, list, rules.as_ref(), hint);
            }
            let n = list.len();
            s.ui.talk(format!(
                "{n} conflict{} to decide",
                if n == 1 { "" } else { "s" }
            ));
            if !is_dry_run {
                let is_weights = |c: &ConflictState| c.path.ends_with(".safetensors");
                let more = match list.iter().any(is_weights) {
                    true => "|--weights METHOD",
                    false => "",
                };
                s.ui.talk(format!(
                    "\nhint: `modelv resolve ITEM --ours|--theirs|--value V{more}`, then `modelv merge --continue`"
                ));
            }
            return Ok(ExitCode::from(CONFLICTS));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A conflict with its three versions.
pub(super) fn show(ui: &mut crate::ui::Ui, c: &ConflictState) {
    use crate::ui::Style;
    let word = if c.resolved { "decided" } else { "conflict" };
    ui.line(format!(
        "{} {} ({})",
        ui.paint(Style::Removed, word),
        ui.paint(Style::Strong, &c.item),
        c.kind
    ));
    if c.part.is_some() {
        for (name, value) in [("base", &c.base), ("ours", &c.ours), ("theirs", &c.theirs)] {
            ui.line(format!(
                "    {name:6} {}",
                c.shown(value.as_deref()).as_deref().unwrap_or("(absent)")
            ));
        }
        return;
    }
    for (name, words) in sides(c).into_iter().flatten() {
        ui.line(format!("    {name:6} {words}"));
    }
}

/// Who has what of a file that is decided as a whole. Lines carry markers, and need no words.
fn sides(c: &ConflictState) -> Option<[(&'static str, String); 3]> {
    if c.kind == "text" || c.part.is_some() || c.path.is_empty() {
        return None;
    }
    let [base, ours, theirs] = c.files().ok()?;
    let twin = c.twin();
    let words = |file: Option<(Mode, u64)>| match (file, c.kind.as_str()) {
        (Some((mode, size)), _) => format!("{}, {}", mode_word(mode), crate::ui::size(size)),
        (None, "rename/rename") => match &twin {
            Some(twin) => format!("(moved to {})", plain(&twin.to_string())),
            None => "(moved to another place)".into(),
        },
        (None, "file/directory") if base.is_none() => "(a directory)".into(),
        (None, _) if base.is_some() => "(deleted)".into(),
        _ => "(absent)".into(),
    };
    let base_words = match base {
        None => "(absent)".into(),
        _ => match c.was() {
            Some(was) => format!("{}, as {}", words(base), plain(&was.to_string())),
            None => words(base),
        },
    };
    Some([
        ("base", base_words),
        ("ours", words(ours)),
        ("theirs", words(theirs)),
    ])
}

/// The same of our side and theirs, in a few words.
pub(super) fn in_short(c: &ConflictState) -> String {
    match sides(c) {
        Some([_, (_, ours), (_, theirs)]) => {
            format!("{}; ours: {ours}; theirs: {theirs}", c.kind)
        }
        None => c.kind.clone(),
    }
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Executable => "executable file",
        Mode::Symlink => "link",
        _ => "file",
    }
}

fn file_json(file: Option<(Mode, u64)>) -> serde_json::Value {
    file.map_or(
        serde_json::Value::Null,
        |(mode, size)| json!({"is_executable": mode == Mode::Executable, "is_link": mode == Mode::Symlink, "size": size}),
    )
}

pub(super) fn conflict_json(c: &ConflictState) -> serde_json::Value {
    let [base, ours, theirs] = c.files().unwrap_or_default().map(file_json);
    let [was, twin] = [c.was(), c.twin()].map(|path| path.map(|p| p.to_string()));
    json!({
        "base_file": base, "ours_file": ours, "theirs_file": theirs,
        "item": c.item, "kind": c.kind, "path": c.path, "part": c.part,
        "base": c.shown(c.base.as_deref()), "ours": c.shown(c.ours.as_deref()),
        "theirs": c.shown(c.theirs.as_deref()), "resolved": c.resolved,
        "was": was, "twin": twin,
    })
}

pub(super) fn to_json(outcome: &MergeOutcome) -> serde_json::Value {
    match outcome {
        MergeOutcome::UpToDate => json!({"outcome": "up-to-date"}),
        MergeOutcome::FastForward(id) => json!({"outcome": "fast-forward", "commit": id.to_hex()}),
        MergeOutcome::Merged(id) => json!({"outcome": "merged", "commit": id.to_hex()}),
        MergeOutcome::Staged => json!({"outcome": "clean"}),
        MergeOutcome::Conflicts(list) => json!({
            "outcome": "conflicts",
            "conflicts": list.iter().map(conflict_json).collect::<Vec<_>>(),
        }),
    }
}
