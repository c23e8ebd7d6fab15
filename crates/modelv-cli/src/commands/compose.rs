//! `modelv compose`.

use std::process::ExitCode;

use modelv_repo::core::id::CommitId;
use modelv_repo::{ComposeOptions, ModelState};
use serde_json::json;

use super::{Done, Session};
use crate::ui::{Style, plain};

/// Make a commit whose ingredients come from different commits.
///
/// What is not named is that of the branch. Parents are the tip of the branch, then the commits of code,
/// data, config, env and model, none twice.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("from").required(true).multiple(true))]
pub(crate) struct Args {
    /// Take the code of this commit.
    #[arg(long, value_name = "REV", group = "from")]
    code: Option<String>,
    /// Take the data of this commit.
    #[arg(long, value_name = "REV", group = "from")]
    data: Option<String>,
    /// Take the configuration of this commit.
    #[arg(long, value_name = "REV", group = "from")]
    config: Option<String>,
    /// Take the environment of this commit.
    #[arg(long, value_name = "REV", group = "from")]
    env: Option<String>,
    /// Take the model of this commit. Otherwise one that exactly this recipe made, or that of the
    /// branch, which is stale then.
    #[arg(long, value_name = "REV", group = "from")]
    model: Option<String>,
    /// Put it onto this branch, which is made at the commit of the code where it is new.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Message; made from the above otherwise.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let options = ComposeOptions {
        code: args.code,
        data: args.data,
        config: args.config,
        env: args.env,
        model: args.model,
        branch: args.branch,
        message: args.message,
        author: args.author,
    };
    let done = repo.compose(&options, &s.ctx())?;
    let recipe = done.commit.recipe.id();
    let state = match done.model {
        ModelState::None => "none",
        ModelState::Current => "current",
        ModelState::Stale => "stale",
    };
    if args.json {
        let parents: Vec<String> = done.commit.parents.iter().map(CommitId::to_hex).collect();
        s.ui.json(&json!({
            "commit": done.id.to_hex(), "recipe": recipe.to_hex(), "parents": parents,
            "branch": done.branch, "model": state,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let label = done.branch.unwrap_or_else(|| "HEAD".into());
    s.ui.line(format!(
        "[{label} {}] {}",
        s.ui.paint(Style::Id, &done.id.short()),
        plain(done.commit.subject())
    ));
    let parents: Vec<String> = done.commit.parents.iter().map(CommitId::short).collect();
    s.ui.line(format!("  parents {}", parents.join(" ")));
    s.ui.line(format!("  recipe {}, model {state}", recipe.short()));
    Ok(ExitCode::SUCCESS)
}
