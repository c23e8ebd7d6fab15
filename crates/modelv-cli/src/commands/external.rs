//! `modelv external`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Subcommand;
use modelv_repo::core::path::RepoPath;
use modelv_repo::{External, ExternalState, Fetched, Pointer, SourceState};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui, plain, size};

/// Data that commits hold by reference: list it, ask its sources, fetch it, take what is new.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// List it, and whether it is here and unchanged.
    List(Paths),
    /// Ask the sources whether they are still what is recorded. Reads none of the data.
    Check(Paths),
    /// Fetch what is not here, checked against what is recorded.
    Fetch(Paths),
    /// Take what the sources have now, as a change to commit.
    Update(Paths),
}

#[derive(clap::Args)]
struct Paths {
    /// Only what is at or below these paths.
    paths: Vec<OsString>,
}

/// A path for people.
pub(super) fn name(path: &RepoPath) -> String {
    plain(&path.to_string()).into_owned()
}

pub(super) fn pointer_json(path: &RepoPath, pointer: &Pointer) -> serde_json::Value {
    let state = &pointer.state;
    json!({
        "path": path.to_string(), "url": pointer.url, "size": state.size, "version": state.version,
        "etag": state.e_tag, "modified": state.modified, "content": pointer.content.map(|id| id.to_hex()),
    })
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    match &args.action {
        None => list(&[], args.json, s),
        Some(Action::List(paths)) => list(&paths.paths, args.json, s),
        Some(Action::Check(paths)) => check(&paths.paths, args.json, s),
        Some(Action::Fetch(paths)) => {
            let mut repo = s.repo()?;
            let paths = s.paths(&repo, &paths.paths)?;
            let fetched = repo.fetch_externals(&paths, &s.ctx())?;
            tell_fetched(fetched, args.json, s.ui)
        }
        Some(Action::Update(paths)) => update(&paths.paths, args.json, s),
    }
}

fn tell_fetched(mut fetched: Fetched, as_json: bool, ui: &mut Ui) -> Done {
    // Of one file, its own error says most.
    if fetched.came.is_empty()
        && fetched.failed.len() == 1
        && let Some((_, e)) = fetched.failed.pop()
    {
        return Err(e.into());
    }
    if as_json {
        let came = fetched.came.iter();
        let came = came.map(|e| pointer_json(&e.path, &e.pointer));
        let failed = fetched.failed.iter().map(missing_json);
        ui.json(&came.chain(failed).collect());
        return Ok(ExitCode::from(u8::from(!fetched.failed.is_empty())));
    }
    for external in &fetched.came {
        let path = name(&external.path);
        ui.line(format!("{path}: {}", size(external.pointer.state.size)));
    }
    if fetched.came.is_empty() && fetched.failed.is_empty() {
        ui.line("everything is here");
    }
    Ok(tell_missing(&fetched.failed, ui))
}

/// External data that could not be had, as JSON.
pub(super) fn missing_json((path, e): &(RepoPath, modelv_repo::Error)) -> serde_json::Value {
    json!({"path": path.to_string(), "error": CommandError::failed(e, None).in_a_line()})
}

/// Says which external data could not be had and how it comes; gives the exit status.
pub(super) fn tell_missing(missing: &[(RepoPath, modelv_repo::Error)], ui: &mut Ui) -> ExitCode {
    /// So many are told with their reason.
    const SHOWN: usize = 10;
    for (path, e) in missing.iter().take(SHOWN) {
        let why = CommandError::failed(e, None).in_a_line();
        ui.talk(format!(
            "warning: external data {} is not here: {why}",
            name(path)
        ));
    }
    if missing.len() > SHOWN {
        let text = format!("warning: and {} more", missing.len() - SHOWN);
        ui.talk(text);
    }
    if let Some((path, _)) = missing.first() {
        let path = name(path);
        ui.talk(format!(
            "hint: everything else is here. `modelv external fetch {path}` tries again, wherever it is; \
             `modelv external update {path}` takes what its source has now"
        ));
    }
    ExitCode::from(u8::from(!missing.is_empty()))
}

fn list(typed: &[OsString], as_json: bool, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let all = repo.externals(&s.paths(&repo, typed)?, &s.ctx())?;
    if as_json {
        let rows = all.iter().map(|e| {
            let mut row = pointer_json(&e.path, &e.pointer);
            row["state"] = e.state.word().into();
            row
        });
        s.ui.json(&rows.collect());
        return Ok(ExitCode::SUCCESS);
    }
    for external in &all {
        let line = line_of(s.ui, external);
        s.ui.line(line);
    }
    if all.is_empty() {
        s.ui.line("no external data: `modelv add-external URL PATH` adds some");
    }
    Ok(ExitCode::SUCCESS)
}

fn line_of(ui: &Ui, external: &External) -> String {
    let style = match external.state {
        ExternalState::Here => Style::Added,
        ExternalState::Absent | ExternalState::Changed => Style::Changed,
    };
    format!(
        "{}  {}  {}  {}",
        name(&external.path),
        ui.paint(style, external.state.word()),
        size(external.pointer.state.size),
        plain(&external.pointer.url)
    )
}

/// A line of `status` for each that is not as it is recorded.
pub(super) fn doubts(externals: &[External]) -> Vec<String> {
    let wrong = externals.iter().filter_map(|external| {
        let path = name(&external.path);
        match external.state {
            ExternalState::Here => None,
            ExternalState::Absent => Some(format!(
                "external data {path} is not here (`modelv external fetch`)"
            )),
            ExternalState::Changed => Some(format!(
                "external data {path} was changed here; commits don't take that"
            )),
        }
    });
    wrong.collect()
}

fn check(typed: &[OsString], as_json: bool, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let mut rows = Vec::new();
    let mut is_same = true;
    let named = s.paths(&repo, typed)?;
    for external in repo.externals(&named, &s.ctx())? {
        let state = repo.check_external(&external, &named)?;
        is_same &= state == SourceState::Same;
        if as_json {
            let mut row = pointer_json(&external.path, &external.pointer);
            row["source"] = source_json(&state);
            rows.push(row);
            continue;
        }
        let path = name(&external.path);
        let text = match state {
            SourceState::Same => s.ui.paint(Style::Added, "unchanged"),
            SourceState::Gone => s.ui.paint(Style::Removed, "gone"),
            SourceState::Changed { now, kept } => {
                let head = s.ui.paint(Style::Changed, "changed");
                let kept = if kept {
                    "; the version that is recorded is kept there"
                } else {
                    ""
                };
                let old = &external.pointer.state;
                let tag = |tag: &Option<String>| match tag {
                    Some(tag) => plain(tag).into_owned(),
                    None => "none".to_owned(),
                };
                format!(
                    "{head}: {} bytes, ETag {} -> {} bytes, ETag {}{kept}",
                    old.size,
                    tag(&old.e_tag),
                    now.size,
                    tag(&now.e_tag)
                )
            }
        };
        s.ui.line(format!("{path}: {text}"));
    }
    if as_json {
        s.ui.json(&rows.into());
    }
    Ok(ExitCode::from(u8::from(!is_same)))
}

fn source_json(state: &SourceState) -> serde_json::Value {
    match state {
        SourceState::Same => json!({"state": "unchanged"}),
        SourceState::Gone => json!({"state": "gone"}),
        SourceState::Changed { now, kept } => json!({
            "state": "changed", "size": now.size, "version": now.version, "etag": now.e_tag,
            "modified": now.modified, "recorded_version_kept": kept,
        }),
    }
}

fn update(typed: &[OsString], as_json: bool, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let paths = s.paths(&repo, typed)?;
    let done = repo.update_externals(&paths, &s.ctx())?;
    if as_json {
        let rows = done.iter().map(|u| {
            json!({
                "path": u.path.to_string(), "old": pointer_json(&u.path, &u.old),
                "new": pointer_json(&u.path, &u.new),
            })
        });
        s.ui.json(&rows.collect());
        return Ok(ExitCode::SUCCESS);
    }
    for u in &done {
        let path = name(&u.path);
        let what = match u.old.content == u.new.content {
            true => "the same content".to_owned(),
            false => format!("{} -> {}", size(u.old.state.size), size(u.new.state.size)),
        };
        s.ui.line(format!("{path}: {what} (commit {path}.external)"));
    }
    if done.is_empty() {
        s.ui.line("no source has changed");
    }
    Ok(ExitCode::SUCCESS)
}
