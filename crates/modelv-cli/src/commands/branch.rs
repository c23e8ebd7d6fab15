//! `modelv branch`.

use std::process::ExitCode;

use modelv_repo::names;
use serde_json::json;

use super::{Done, Session};
use crate::ui::{Style, plain};

/// List, make or remove branches.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make this branch.
    name: Option<String>,
    /// Where; at the current commit otherwise.
    #[arg(requires = "name")]
    revision: Option<String>,
    /// Remove a branch; `modelv undo` brings it back.
    #[arg(
        short,
        long,
        short_alias = 'D',
        value_name = "NAME",
        conflicts_with = "name"
    )]
    delete: Option<String>,
    /// Print the name of the current branch; nothing where none is checked out.
    #[arg(long, conflicts_with_all = ["name", "delete"])]
    show_current: bool,
    /// For those who are used to it: branches are listed anyway.
    #[arg(short, long, hide = true, conflicts_with_all = ["name", "delete"])]
    list: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    if let Some(name) = &args.delete {
        let id = repo.delete_branch(name)?;
        s.ui.line(format!("removed branch {name} (was {})", id.short()));
        return Ok(ExitCode::SUCCESS);
    }
    if args.show_current {
        if let Some(name) = repo.head_ref() {
            s.ui.line(names::short(name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.name {
        let at = repo.resolve(args.revision.as_deref().unwrap_or("HEAD"))?;
        repo.create_branch(name, at)?;
        s.ui.line(format!("branch {name} at {}", at.short()));
        return Ok(ExitCode::SUCCESS);
    }
    let current = repo.head_ref().map(|r| names::short(r).to_owned());
    let branches = repo.refs_below(names::HEADS);
    if args.json {
        let list: Vec<serde_json::Value> = branches
            .iter()
            .map(|(name, id)| {
                json!({"name": name, "commit": id.to_hex(), "current": current.as_ref() == Some(name)})
            })
            .collect();
        s.ui.json(&list.into());
        return Ok(ExitCode::SUCCESS);
    }
    for (name, id) in branches {
        let subject = plain(repo.commit_object(id)?.subject()).into_owned();
        let is_current = current.as_ref() == Some(&name);
        let mark = if is_current { "*" } else { " " };
        let shown = s.ui.paint(
            if is_current {
                Style::Added
            } else {
                Style::Strong
            },
            &name,
        );
        s.ui.line(format!(
            "{mark} {shown} {} {subject}",
            s.ui.paint(Style::Id, &id.short())
        ));
    }
    Ok(ExitCode::SUCCESS)
}
