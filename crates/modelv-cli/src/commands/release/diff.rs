//! `modelv release diff`.

use std::process::ExitCode;

use modelv_release::{Change, ImageDiff};

use super::super::{Done, Session};
use crate::ui::size;

/// Files that are listed unless all are asked for.
const FILES_SHOWN: usize = 20;

/// Compare two images: layers, packages, files, and what a machine that has the first pulls to get the
/// second.
///
/// An image is a layout, a tar of one, or its name in a registry, with a tag or `@sha256:DIGEST`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The first.
    old: String,
    /// The second.
    new: String,
    /// List all files.
    #[arg(long)]
    all: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let (old, new) = (super::source(&args.old, &s)?, super::source(&args.new, &s)?);
    let found = modelv_release::diff(&old, &new, s.cancel())?;
    if args.json {
        s.ui.json(&serde_json::to_value(&found).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    show(&found, args.all, s);
    Ok(ExitCode::SUCCESS)
}

fn show(found: &ImageDiff, all: bool, s: Session<'_>) {
    for (mark, side) in [('-', &found.old), ('+', &found.new)] {
        let commit = side.commit.as_deref().unwrap_or("unknown");
        s.ui.line(format!("{mark} {} of commit {commit}", side.digest));
    }
    for (mark, layers) in [('-', &found.removed), ('+', &found.added)] {
        for layer in layers {
            s.ui.line(format!(
                "{mark} layer {:32} {:>9}",
                layer.name,
                size(layer.size)
            ));
        }
    }
    for (name, (old, new)) in &found.packages {
        s.ui.line(match (old, new) {
            (Some(old), Some(new)) => format!("~ package {name} {old} -> {new}"),
            (None, Some(new)) => format!("+ package {name} {new}"),
            (Some(old), None) => format!("- package {name} {old}"),
            (None, None) => continue,
        });
    }
    let shown = if all { usize::MAX } else { FILES_SHOWN };
    for (path, change) in found.files.iter().take(shown) {
        let mark = match change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        s.ui.line(format!("{mark} {path}"));
    }
    if found.files.len() > shown {
        s.ui.line(format!(
            "… {} more files (--all)",
            found.files.len() - shown
        ));
    }
    s.ui.line(format!(
        "{} layers are shared ({}); who has the first pulls {}",
        found.shared,
        size(found.shared_bytes),
        size(found.pull_bytes)
    ));
}
