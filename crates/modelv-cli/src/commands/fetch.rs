//! `modelv fetch`.

use std::process::ExitCode;

use modelv_repo::names;
use modelv_repo::remote::{FetchOptions, FetchReport, Received, RefUpdate};
use serde_json::json;

use super::{Done, Session};
use crate::ui::{Style, Ui, size};

/// Bring what a remote has; branches here don't move.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the remote; the upstream's, or the only one, otherwise.
    remote: Option<String>,
    /// All remotes.
    #[arg(long, conflicts_with = "remote")]
    all: bool,
    /// Forget branches that are gone there.
    #[arg(long, short)]
    prune: bool,
    /// In a clone that holds a part: hold these ingredients too, from now on.
    #[arg(long, value_name = "INGREDIENTS", value_delimiter = ',')]
    add: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let remotes = match args.remote.as_deref() {
        None if args.all => repo.remotes(),
        name => vec![repo.remote_or_default(name)?],
    };
    let options = FetchOptions {
        prune: args.prune,
        add: super::clone::ingredients(&args.add)?,
    };
    let mut all = Vec::new();
    for info in remotes {
        let report = repo.fetch(&info, &options, &s.ctx())?;
        if args.json {
            all.push(to_json(&report));
        } else {
            show(s.ui, &report);
        }
    }
    if args.json {
        s.ui.json(&all.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// What a fetch did, as lines.
pub(super) fn show(ui: &mut Ui, report: &FetchReport) {
    for update in report
        .updates
        .iter()
        .filter(|u| names::short(&u.name) != u.name)
    {
        let line = update_line(ui, update);
        ui.line(format!("  {line}"));
    }
    for tag in &report.kept_tags {
        ui.warn(format!(
            "tag `{tag}` is another commit on {}; ours stays",
            report.remote.name
        ));
    }
    if report.updates.is_empty() && report.received.entries == 0 {
        ui.line(format!("{}: nothing new", report.remote.name));
    } else {
        ui.line(format!(
            "received {} from {}",
            size(report.received.bytes),
            report.remote.name
        ));
    }
}

/// One ref that moved, as a line.
pub(super) fn update_line(ui: &Ui, u: &RefUpdate) -> String {
    let name = match u.name.strip_prefix(names::WHEELS) {
        Some(env) => format!("wheels of environment {}", env.get(..12).unwrap_or(env)),
        None => names::short(&u.name).to_owned(),
    };
    let name = ui.paint(Style::Strong, &name);
    let sign = if u.forced { " (not a descendant)" } else { "" };
    match (u.old, u.new) {
        (Some(old), Some(new)) => format!("{name} {}..{}{sign}", old.short(), new.short()),
        (None, Some(new)) => format!("{name} {} (new)", new.short()),
        (Some(old), None) => format!("{name} removed (was {})", old.short()),
        (None, None) => name,
    }
}

pub(super) fn update_json(u: &RefUpdate) -> serde_json::Value {
    json!({
        "ref": u.name, "old": u.old.map(|id| id.to_hex()), "new": u.new.map(|id| id.to_hex()),
        "forced": u.forced,
    })
}

pub(super) fn received_json(r: &Received) -> serde_json::Value {
    json!({"packs": r.packs, "entries": r.entries, "bytes": r.bytes})
}

pub(super) fn to_json(report: &FetchReport) -> serde_json::Value {
    json!({
        "remote": report.remote.name, "url": report.remote.url,
        "refs": report.updates.iter().map(update_json).collect::<Vec<_>>(),
        "kept_tags": report.kept_tags,
        "received": received_json(&report.received),
    })
}
