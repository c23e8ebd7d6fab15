//! `modelv runs best`.

use std::process::ExitCode;

use super::{Done, Session, cell, command_line, one_line};
use crate::ui::Style;

/// Show the finished run with the largest value of a metric.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Which metric.
    #[arg(long, value_name = "NAME")]
    metric: String,
    /// The smallest value instead.
    #[arg(long)]
    min: bool,
    /// Make a branch of it: one commit more than it began from, with its recipe and its model.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let (id, run) = repo.best_run(&args.metric, args.min)?;
    if let Some(branch) = &args.branch {
        let commit = repo.promote_run(id, branch, None)?;
        s.ui.talk(format!("branch {branch} at {}", commit.short()));
    }
    if args.json {
        s.ui.json(&modelv_repo::json::run(id, &run));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!(
        "{} {} = {}  {}",
        s.ui.paint(Style::Id, &id.short()),
        args.metric,
        cell(run.metrics.get(&args.metric)),
        one_line(&command_line(&run))
    ));
    Ok(ExitCode::SUCCESS)
}
