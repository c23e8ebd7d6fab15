//! `modelv tag`.

use std::process::ExitCode;

use modelv_repo::names;
use serde_json::json;

use super::{Done, Session};
use crate::ui::Style;

/// List, make or remove tags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make this tag.
    name: Option<String>,
    /// Where; at the current commit otherwise.
    #[arg(requires = "name")]
    revision: Option<String>,
    /// Remove a tag; `modelv undo` brings it back.
    #[arg(short, long, value_name = "NAME", conflicts_with = "name")]
    delete: Option<String>,
    /// As JSON: the list.
    #[arg(long, conflicts_with_all = ["name", "delete"])]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    if let Some(name) = &args.delete {
        let id = repo.delete_tag(name)?;
        s.ui.line(format!("removed tag {name} (was {})", id.short()));
    } else if let Some(name) = &args.name {
        let at = repo.resolve(args.revision.as_deref().unwrap_or("HEAD"))?;
        repo.create_tag(name, at)?;
        s.ui.line(format!("tag {name} at {}", at.short()));
    } else if args.json {
        let tags = repo.refs_below(names::TAGS).into_iter();
        let tags = tags.map(|(name, id)| json!({"name": name, "commit": id.to_hex()}));
        s.ui.json(&tags.collect());
    } else {
        for (name, id) in repo.refs_below(names::TAGS) {
            s.ui.line(format!("{name} {}", s.ui.paint(Style::Id, &id.short())));
        }
    }
    Ok(ExitCode::SUCCESS)
}
