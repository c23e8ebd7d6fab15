//! `modelv release explain`.

use std::process::ExitCode;

use modelv_release::Explanation;

use super::super::{Done, Session};
use crate::ui::{Style, size};

/// Rows of data and model that are shown.
const ROWS_SHOWN: usize = 10;

/// Say what an image is made of: its commit, ingredients, the run that made its model, and the data.
///
/// An image is a layout, a tar of one, or its name in a registry, with a tag or `@sha256:DIGEST`: what a
/// cluster says is running.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The image.
    image: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let source = super::source(&args.image, &s)?;
    let found = modelv_release::explain(&repo, &source, s.cancel())?;
    if args.json {
        s.ui.json(&found.to_json(&repo)?);
        return Ok(ExitCode::SUCCESS);
    }
    show(&found, s);
    Ok(ExitCode::SUCCESS)
}

fn show(found: &Explanation, s: Session<'_>) {
    let commit = &found.commit;
    s.ui.line(format!("image {}", s.ui.paint(Style::Id, &found.digest)));
    s.ui.line(format!(
        "commit {} {}, by {}",
        found.id,
        commit.subject(),
        commit.author
    ));
    if let Some(base) = &found.base {
        s.ui.line(format!("base {base}"));
    }
    if let Some(doubt) = &found.doubt {
        s.ui.warn(format!("the image is not what this commit gives: {doubt}"));
    }
    let recipe = &commit.recipe;
    s.ui.line(format!("recipe {}", recipe.id().to_hex()));
    for (name, id) in [
        ("code", recipe.code.to_hex()),
        ("config", recipe.config.to_hex()),
        ("data", recipe.data.to_hex()),
        ("env", recipe.env.to_hex()),
    ] {
        s.ui.line(format!("  {name:7} {id}"));
    }
    if let Some(python) = &found.python {
        s.ui.line(format!(
            "  python  {python}, {} packages",
            found.packages.len()
        ));
    }
    for (name, rows) in [("data", &found.data), ("model", &found.model)] {
        let bytes = rows.iter().map(|(_, size, _)| size).sum();
        s.ui.line(format!("{name}: {} files, {}", rows.len(), size(bytes)));
        for (path, bytes, blob) in rows.iter().take(ROWS_SHOWN) {
            s.ui.line(format!("  {:>9}  {}  {path}", size(*bytes), &blob[..12]));
        }
    }
    if found.runs.is_empty() {
        s.ui.line("no recorded run made this model");
    }
    for (id, run) in &found.runs {
        s.ui.line(format!(
            "made by run {} ({}): {}",
            &id.to_hex()[..12],
            run.status,
            run.command.join(" ")
        ));
        for (name, value) in &run.metrics {
            s.ui.line(format!("  {name} {value}"));
        }
    }
}
