//! `modelv lineage`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::{CommitLink, Lineage, RunLink, Subject, json};

use super::runs::{command_line, one_line};
use super::{Done, Session};
use crate::ui::{Style, Ui};

/// Most files of one kind that are listed for people.
const SHOWN: usize = 20;

/// Show what made a file or a commit, and what was made of it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A path, `REV:PATH`, a commit, or the digits of a content's id.
    what: OsString,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let path = s.path(&repo, &args.what).ok().flatten();
    let found = repo.lineage(&args.what.to_string_lossy(), path.as_ref(), &s.ctx())?;
    if args.json {
        s.ui.json(&json::lineage(&found));
    } else {
        show(&found, s.ui);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(found: &Lineage, ui: &mut Ui) {
    let (title, is_commit) = match &found.subject {
        Subject::Commit(id) => (
            format!("commit {}", ui.paint(Style::Id, &id.to_hex())),
            true,
        ),
        Subject::Content(blob, path) => {
            let path = path.as_ref().map_or(String::new(), |p| format!("  {p}"));
            (
                format!("content {}{path}", ui.paint(Style::Id, &blob.to_hex())),
                false,
            )
        }
    };
    ui.line(title);
    ui.line(ui.paint(Style::Strong, "made by"));
    for link in &found.made_by {
        show_run(link, ui);
    }
    let words = if is_commit {
        "follows commit"
    } else {
        "model of commit"
    };
    show_commits(words, &found.made_in, ui);
    if found.made_by.is_empty() && found.made_in.is_empty() {
        ui.line("  no run that is recorded");
    }
    ui.line(ui.paint(Style::Strong, "used by"));
    for link in found.used_by.iter().take(SHOWN) {
        show_run(link, ui);
    }
    rest(found.used_by.len(), ui);
    let words = if is_commit {
        "commit"
    } else {
        "ingredient of commit"
    };
    show_commits(words, &found.used_in, ui);
    if found.used_by.is_empty() && found.used_in.is_empty() {
        ui.line("  nothing that is recorded");
    }
}

fn show_run(link: &RunLink, ui: &mut Ui) {
    let id = ui.paint(Style::Id, &link.id.short());
    let path = link
        .path
        .as_ref()
        .map_or(String::new(), |p| format!("  ({p})"));
    ui.line(format!(
        "  run {id} {} {}{path}",
        link.run.status,
        one_line(&command_line(&link.run))
    ));
    if !link.sources.is_empty() {
        ui.line(format!("    recipe {}", link.run.recipe.short()));
    }
    for source in link.sources.iter().take(SHOWN) {
        let made = source.made_by.first();
        let made = made.map_or(String::new(), |run| {
            format!(", made by run {}", run.short())
        });
        ui.line(format!(
            "    from {} {}{made}",
            source.blob.short(),
            source.path
        ));
    }
    rest(link.sources.len(), ui);
}

fn show_commits(words: &str, links: &[CommitLink], ui: &mut Ui) {
    for link in links.iter().take(SHOWN) {
        let id = ui.paint(Style::Id, &link.id.short());
        let path = link
            .path
            .as_ref()
            .map_or(String::new(), |p| format!("  ({p})"));
        ui.line(format!("  {words} {id} {}{path}", link.commit.subject()));
    }
    rest(links.len(), ui);
}

fn rest(count: usize, ui: &mut Ui) {
    if count > SHOWN {
        ui.line(format!("    and {} more", count - SHOWN));
    }
}
