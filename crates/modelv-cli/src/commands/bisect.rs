//! `modelv bisect`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::core::id::CommitId;
use modelv_repo::{BisectStep, Condition, Ctx, Field, Repo, Verdict};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, plain};

/// Find the commit where something broke, by halves.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Begin, with a bad commit and good ones where they are known.
    Start {
        /// A commit that is bad, then commits before it that are good.
        revisions: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say that commits are good; the current one otherwise.
    Good(Marked),
    /// Say that a commit is bad; the current one otherwise.
    Bad(Marked),
    /// Say that nobody can tell of commits; the current one otherwise.
    Skip(Marked),
    /// Decide by a command (0 good, 125 can't tell, else bad) or by a recorded metric.
    Run(Run),
    /// Show what is known.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End it: the branch is checked out as before.
    Reset,
}

#[derive(clap::Args)]
struct Marked {
    /// Commits.
    revisions: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Run {
    /// Good where the metric of the recorded run fits, for example `f1>0.8`. Nothing is checked out.
    #[arg(long, value_name = "CONDITION", conflicts_with = "command")]
    metric: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The command.
    #[arg(required_unless_present = "metric", trailing_var_arg = true)]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let (verdict, marked) = match &args.verb {
        Verb::Start { revisions, json } => {
            let (bad, good) = match revisions.split_first() {
                Some((bad, good)) => (Some(bad.as_str()), good),
                None => (None, [].as_slice()),
            };
            let step = repo.bisect_start(bad, good, &s.ctx())?;
            return tell(&repo, &step, &[], *json, s);
        }
        Verb::Run(run) => return decide(&mut repo, run, s),
        Verb::Status { json } => return status(&repo, *json, s),
        Verb::Reset => {
            repo.bisect_reset(&s.ctx())?;
            s.ui.line(format!("now at {}", repo.head_label()));
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Good(marked) => (Verdict::Good, marked),
        Verb::Bad(marked) => (Verdict::Bad, marked),
        Verb::Skip(marked) => (Verdict::Skip, marked),
    };
    if verdict == Verdict::Bad && marked.revisions.len() > 1 {
        return Err(CommandError::usage(
            "only one commit can be the first bad one",
            "name the bad one that is nearest to the good ones",
        ));
    }
    let step = repo.bisect_mark(verdict, &marked.revisions, &s.ctx())?;
    tell(&repo, &step, &[], marked.json, s)
}

fn decide(repo: &mut Repo, run: &Run, s: Session<'_>) -> Done {
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let mut told = Vec::new();
    let mut note = |id: CommitId, verdict: Verdict| {
        told.push((id, verdict));
        // The command's own output is between these lines.
        s.ui.talk(format!("{} {}", verdict.word(), id.short()));
    };
    let step = match &run.metric {
        Some(text) => {
            let condition = Condition::parse(Field::Metric, text)?;
            repo.bisect_metric(&condition, &mut note, &ctx)?
        }
        None => repo.bisect_run(&run.command, &mut note, &ctx)?,
    };
    tell(repo, &step, &told, run.json, s)
}

fn status(repo: &Repo, is_json: bool, s: Session<'_>) -> Done {
    let state = repo.bisect_state();
    if is_json {
        let hex = |ids: &[CommitId]| ids.iter().map(CommitId::to_hex).collect::<Vec<_>>();
        s.ui.json(&json!(state.map(|state| json!({
            "bad": state.bad.map(|id| id.to_hex()), "good": hex(&state.good),
            "skipped": hex(&state.skipped),
        }))));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(state) = state else {
        s.ui.line("no bisection is under way");
        return Ok(ExitCode::SUCCESS);
    };
    let bad = state.bad.map(|id| (Verdict::Bad, id));
    let good = state.good.iter().map(|id| (Verdict::Good, *id));
    let skipped = state.skipped.iter().map(|id| (Verdict::Skip, *id));
    for (verdict, id) in bad.into_iter().chain(good).chain(skipped) {
        let subject = plain(repo.commit_object(id)?.subject()).into_owned();
        s.ui.line(format!("{:4} {} {subject}", verdict.word(), id.short()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what comes next.
fn tell(
    repo: &Repo,
    step: &BisectStep,
    told: &[(CommitId, Verdict)],
    is_json: bool,
    s: Session<'_>,
) -> Done {
    let title = |id: CommitId| -> modelv_repo::Result<String> {
        Ok(format!(
            "{} {}",
            id.short(),
            plain(repo.commit_object(id)?.subject())
        ))
    };
    if is_json {
        let tried: Vec<_> = told
            .iter()
            .map(|(id, v)| json!({"commit": id.to_hex(), "verdict": v.word()}))
            .collect();
        let mut out = match step {
            BisectStep::Waiting => json!({"outcome": "waiting"}),
            BisectStep::Try(id, n) => {
                json!({"outcome": "try", "commit": id.to_hex(), "candidates": n})
            }
            BisectStep::Found(id) => json!({"outcome": "found", "commit": id.to_hex()}),
            BisectStep::OneOf(ids) => json!({
                "outcome": "one-of",
                "commits": ids.iter().map(CommitId::to_hex).collect::<Vec<_>>(),
            }),
        };
        out["tried"] = tried.into();
        s.ui.json(&out);
        return Ok(ExitCode::SUCCESS);
    }
    match step {
        BisectStep::Waiting => s.ui.line("waiting for a bad commit and a good one"),
        BisectStep::Try(id, n) => {
            let steps = usize::BITS - n.leading_zeros();
            let (steps, s_of) = (steps - 1, |one| if one { "" } else { "s" });
            s.ui.line(format!(
                "{n} commit{} left, about {steps} step{}",
                s_of(*n == 1),
                s_of(steps == 1)
            ));
            s.ui.line(format!("try {}", title(*id)?));
            s.ui.talk(
                "\nhint: `modelv bisect good`, `bad` or `skip`; `modelv bisect reset` ends it",
            );
        }
        BisectStep::Found(id) => {
            let word = s.ui.paint(Style::Strong, "first bad commit");
            s.ui.line(format!("{word} {}", title(*id)?));
        }
        BisectStep::OneOf(ids) => {
            s.ui.line("one of these is the first bad commit, nobody can tell of the others:");
            for id in ids {
                s.ui.line(format!("  {}", title(*id)?));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
