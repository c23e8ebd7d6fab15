//! `modelv alias set`, `rollback`, `list`, `log`, `delete`.

use std::process::ExitCode;

use clap::Subcommand;
use modelv_release::{CiEnv, evaluate_commit};
use modelv_repo::capture::clock;
use modelv_repo::core::id::CommitId;
use modelv_repo::{AliasMove, Expect, GateVerdict, MoveOptions, Repo};
use serde_json::json;

use super::super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui, plain};

#[derive(Subcommand)]
pub(super) enum Action {
    /// Let an alias name a commit, if the gates of that commit let it.
    Set {
        /// The alias, for example `prod`.
        name: String,
        /// The commit.
        revision: String,
        #[command(flatten)]
        how: How,
        /// Run `[evaluate] command` now for a commit whose recipe and model were not evaluated.
        #[arg(long)]
        evaluate: bool,
        /// Move it although a gate does not pass.
        #[arg(long, requires = "reason")]
        force: bool,
        /// Why it may go past its gates.
        #[arg(long, value_name = "WHY", requires = "force")]
        reason: Option<String>,
    },
    /// Bring an alias back to the commit that it named before.
    Rollback {
        /// The alias.
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// List aliases.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show every move of an alias: who, when, why, and what the gates said.
    Log {
        /// The alias.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an alias; `modelv undo` brings it back.
    Delete {
        /// The alias.
        name: String,
    },
}

/// What every move takes.
#[derive(clap::Args)]
pub(super) struct How {
    /// Move it only if it names this commit now; `none`: only if there is no such alias.
    #[arg(long, value_name = "COMMIT")]
    expect: Option<String>,
    /// Why.
    #[arg(short, long, value_name = "WHY")]
    message: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl How {
    fn options(&self, repo: &Repo) -> Result<MoveOptions, CommandError> {
        let expect = match self.expect.as_deref() {
            None => None,
            Some("none") => Some(Expect::Absent),
            Some(revision) => Some(Expect::Commit(repo.resolve(revision)?)),
        };
        Ok(MoveOptions {
            expect,
            message: self.message.clone().unwrap_or_default(),
            ..MoveOptions::default()
        })
    }
}

pub(super) fn run(action: Action, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    match action {
        Action::Set {
            name,
            revision,
            how,
            evaluate,
            reason,
            ..
        } => {
            let to = repo.resolve(&revision)?;
            let mut options = how.options(&repo)?;
            // Why a gate is passed over is a word why.
            let why = how.message.clone().or_else(|| reason.clone());
            options.message = why.ok_or_else(|| {
                let text = "an alias does not move without a word why";
                CommandError::usage(text, "say it with `-m WHY`")
            })?;
            options.force = reason;
            if evaluate {
                let before = repo.alias(&name).ok().map(|m| m.commit);
                for id in std::iter::once(to).chain(before) {
                    evaluate_once(&repo, id, &s)?;
                }
            }
            let done = repo.set_alias(&name, to, &options)?;
            tell(&name, &done, how.json, s.ui);
        }
        Action::Rollback { name, how } => {
            let options = how.options(&repo)?;
            let done = repo.rollback_alias(&name, &options)?;
            tell(&name, &done, how.json, s.ui);
        }
        Action::List { json } => list(&repo, json, s.ui)?,
        Action::Log { name, json } => log(&repo, &name, json, s.ui)?,
        Action::Delete { name } => {
            let was = repo.delete_alias(&name)?;
            s.ui.line(format!("removed alias {name} (was {})", was.short()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Evaluates a commit, unless its recipe and model were.
fn evaluate_once(repo: &Repo, id: CommitId, s: &Session<'_>) -> Result<(), CommandError> {
    let rules = repo.rules_of(id)?;
    let known = match rules.evaluate_command() {
        Some(command) => repo.evaluation(id, command)?.is_some(),
        None => true,
    };
    if !known {
        evaluate_commit(repo, id, &CiEnv::Active, s.ctx())?;
    }
    Ok(())
}

fn tell(name: &str, done: &AliasMove, as_json: bool, ui: &mut Ui) {
    if as_json {
        ui.json(&to_json(name, done));
        return;
    }
    let dropped = done.verdict.iter().flat_map(|v| &v.dropped);
    for rule in dropped {
        ui.warn(format!(
            "the rule `{}` of the commit before is gone",
            plain(rule)
        ));
    }
    for check in done.verdict.iter().flat_map(GateVerdict::failed) {
        ui.warn(format!("moved past {}", plain(&check.to_string())));
    }
    ui.line(format!(
        "alias {} at {}",
        ui.paint(Style::Strong, name),
        ui.paint(Style::Id, &done.commit.short())
    ));
}

fn list(repo: &Repo, as_json: bool, ui: &mut Ui) -> Result<(), CommandError> {
    let all = repo.aliases()?;
    if as_json {
        let all: Vec<_> = all.iter().map(|(name, last)| to_json(name, last)).collect();
        ui.json(&all.into());
        return Ok(());
    }
    for (name, last) in all {
        let id = ui.paint(Style::Id, &last.commit.short());
        let subject = plain(last.why.lines().next().unwrap_or_default());
        ui.line(format!("{name} {id}  {subject}"));
    }
    Ok(())
}

fn log(repo: &Repo, name: &str, as_json: bool, ui: &mut Ui) -> Result<(), CommandError> {
    let moves = repo.alias_history(name)?;
    if as_json {
        let all: Vec<_> = moves.iter().map(|m| to_json(name, m)).collect();
        ui.json(&all.into());
        return Ok(());
    }
    for m in moves {
        ui.line(format!(
            "{} {} {}  {}",
            m.action.word(),
            ui.paint(Style::Id, &m.commit.short()),
            clock::format_time(m.time),
            plain(&m.who.to_string())
        ));
        for line in plain(&m.why).lines() {
            ui.line(format!("    {line}"));
        }
        if let Some(reason) = &m.forced {
            let text = format!("    forced: {}", plain(reason));
            ui.line(ui.paint(Style::Warn, &text));
        }
        for check in m.verdict.iter().flat_map(|v| &v.checks) {
            let style = if check.passed {
                Style::Added
            } else {
                Style::Removed
            };
            let word = ui.paint(style, if check.passed { "passed" } else { "failed" });
            ui.line(format!("    {word} {}", plain(&check.to_string())));
        }
    }
    Ok(())
}

fn to_json(name: &str, m: &AliasMove) -> serde_json::Value {
    json!({
        "alias": name, "commit": m.commit.to_hex(), "action": m.action.word(), "why": m.why,
        "who": m.who.to_string(), "time": clock::format_rfc3339(m.time.seconds),
        "forced": m.forced, "gate": m.verdict, "record": m.record.to_hex(),
    })
}
