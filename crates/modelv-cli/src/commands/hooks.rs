//! `modelv hooks`.

use std::process::ExitCode;

use clap::Subcommand;
use modelv_repo::HookSource;
use serde_json::json;

use super::{Done, Session};
use crate::ui::{Style, plain};

/// Show what runs around commits, merges and pushes, and allow what modelv.toml asks for.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Let the commands that modelv.toml has now run in this clone. Other commands that come later are asked for
    /// again.
    Allow,
    /// Let no command of modelv.toml run in this clone.
    Forbid,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    if let Some(action) = &args.action {
        repo.allow_hooks(matches!(action, Action::Allow))?;
    }
    let hooks = repo.hooks()?;
    if args.json {
        let list: Vec<serde_json::Value> = hooks
            .iter()
            .map(|(hook, source)| match source {
                HookSource::File(path) => json!({"hook": hook.name(), "file": path}),
                HookSource::Command(command, is_allowed) => {
                    json!({"hook": hook.name(), "command": command, "allowed": is_allowed})
                }
            })
            .collect();
        s.ui.json(&list.into());
        return Ok(ExitCode::SUCCESS);
    }
    for (hook, source) in hooks {
        let name = s.ui.paint(Style::Strong, hook.name());
        let line = match source {
            HookSource::File(path) => format!("{name} {}", path.display()),
            HookSource::Command(command, true) => format!("{name} {}", plain(&command)),
            HookSource::Command(command, false) => {
                format!(
                    "{name} {} (not allowed: `modelv hooks allow`)",
                    plain(&command)
                )
            }
        };
        s.ui.line(line);
    }
    Ok(ExitCode::SUCCESS)
}
