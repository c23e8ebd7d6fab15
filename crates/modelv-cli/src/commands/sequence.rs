//! What `cherry-pick`, `revert` and `rebase` have in common: how they end, and what they say.

use std::process::ExitCode;

use modelv_repo::{Action, CommitOptions, Made, ModelState, PickOptions, Repo, SequenceOutcome};
use serde_json::json;

use super::merge::{self, CONFLICTS, conflict_json};
use super::{Done, Session};
use crate::ui::Style;

/// How one that stopped goes on.
#[derive(clap::Args)]
pub(crate) struct Ending {
    /// Commit after the conflicts are decided, and go on.
    #[arg(long = "continue", conflicts_with_all = ["skip", "abort"])]
    resume: bool,
    /// Leave this commit out, and go on.
    #[arg(long, conflicts_with = "abort")]
    skip: bool,
    /// Give all of it up: files and branch are as before.
    #[arg(long)]
    abort: bool,
    /// Message of the new commit; the commit's own otherwise.
    #[arg(long, value_name = "TEXT")]
    pub(super) message: Option<String>,
    /// Stop before the commit.
    #[arg(short = 'n', long)]
    pub(super) no_commit: bool,
    /// For those who are used to it: no editor is opened anyway.
    #[arg(long, hide = true)]
    no_edit: bool,
    /// Who does it, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    pub(super) committer: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Ending {
    pub(super) fn is_given(&self) -> bool {
        self.resume || self.skip || self.abort
    }

    /// What a cherry-pick or revert is to do.
    pub(super) fn options(&self, mainline: Option<usize>, note_source: bool) -> PickOptions {
        PickOptions {
            mainline,
            note_source,
            message: self.message.clone(),
            no_commit: self.no_commit,
            author: self.committer.clone(),
        }
    }
}

/// Ends one that stopped.
pub(super) fn end(action: Action, how: &Ending, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    if how.abort {
        let stayed = repo.sequence_abort(action, &s.ctx())?;
        if how.json {
            s.ui.json(&merge::given_up_json(&stayed));
        } else {
            let word = action.word();
            s.ui.line(format!("{word} given up; {}", merge::given_up(&stayed)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = if how.skip {
        repo.sequence_skip(action, &s.ctx())?
    } else {
        let options = CommitOptions {
            message: how.message.clone().unwrap_or_default(),
            author: how.committer.clone(),
            ..Default::default()
        };
        repo.sequence_continue(action, &options, &s.ctx())?.1
    };
    report(action, &repo, &outcome, how.json, s)
}

/// Says what one came to.
pub(super) fn report(
    action: Action,
    repo: &Repo,
    outcome: &SequenceOutcome,
    is_json: bool,
    s: Session<'_>,
) -> Done {
    let is_open = matches!(outcome, SequenceOutcome::Conflicts { .. });
    let code = ExitCode::from(if is_open { CONFLICTS } else { 0 });
    if is_json {
        s.ui.json(&to_json(outcome));
        return Ok(code);
    }
    let word = action.word();
    match outcome {
        SequenceOutcome::UpToDate => s.ui.line("already up to date"),
        SequenceOutcome::Staged => s.ui.line(format!(
            "in the working tree, not committed (`modelv {word} --continue` commits)"
        )),
        SequenceOutcome::Done(made) => {
            lines(made, s.ui);
            let head = repo.head().map_or(String::new(), |id| id.short());
            s.ui.line(format!("now at {} ({head})", repo.head_label()));
            if made.last().is_some_and(|m| m.model == ModelState::Stale) {
                s.ui.line("model: stale, made by another recipe (`modelv run` trains it)");
            }
        }
        SequenceOutcome::Conflicts {
            made,
            number,
            total,
            label,
            conflicts,
        } => {
            lines(made, s.ui);
            let rules = repo.rules().ok();
            let hint = super::conflicts::HINT;
            super::conflicts::show_some(s.ui, conflicts, rules.as_ref(), hint);
            let n = conflicts.len();
            let plural = if n == 1 { "" } else { "s" };
            s.ui.talk(format!(
                "{word} {number} of {total}, {label}: {n} conflict{plural} to decide"
            ));
            s.ui.talk(format!(
                "\nhint: `modelv resolve ITEM --ours|--theirs|--value V`, then `modelv {word} --continue`; \
                 `--skip` leaves the commit out, `--abort` gives all up"
            ));
        }
    }
    Ok(code)
}

/// A line for each step that was made.
fn lines(made: &[Made], ui: &mut crate::ui::Ui) {
    for step in made {
        let source = step.source.short();
        let Some(id) = step.commit else {
            ui.line(format!("{source} is here already: no commit"));
            continue;
        };
        let note = match step.model {
            ModelState::Stale => ui.paint(Style::Warn, " [model stale]"),
            ModelState::None => ui.paint(Style::Faint, " [no model]"),
            ModelState::Current => String::new(),
        };
        let id = ui.paint(Style::Id, &id.short());
        ui.line(format!("{source} -> {id} {}{note}", step.subject));
    }
}

fn to_json(outcome: &SequenceOutcome) -> serde_json::Value {
    let steps = |made: &[Made]| -> serde_json::Value {
        made.iter()
            .map(|m| {
                json!({
                    "source": m.source.to_hex(), "commit": m.commit.map(|id| id.to_hex()),
                    "subject": m.subject, "model": match m.model {
                        ModelState::None => "none",
                        ModelState::Current => "current",
                        ModelState::Stale => "stale",
                    },
                })
            })
            .collect()
    };
    match outcome {
        SequenceOutcome::UpToDate => json!({"outcome": "up-to-date"}),
        SequenceOutcome::Staged => json!({"outcome": "not-committed"}),
        SequenceOutcome::Done(made) => json!({"outcome": "done", "commits": steps(made)}),
        SequenceOutcome::Conflicts {
            made,
            number,
            total,
            conflicts,
            ..
        } => json!({
            "outcome": "conflicts", "commits": steps(made), "step": number, "steps": total,
            "conflicts": conflicts.iter().map(conflict_json).collect::<Vec<_>>(),
        }),
    }
}
