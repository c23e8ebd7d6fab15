//! `modelv release inspect`.

use std::process::ExitCode;

use super::super::{Done, Session};
use crate::ui::{Style, plain, size};

/// Show what an image is: of which commit, and what its layers hold.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The layout, a tar of one, or the name of an image in a registry.
    image: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let image = modelv_release::inspect(&super::source(&args.image, &s)?, s.cancel())?;
    if args.json {
        s.ui.json(&serde_json::to_value(&image).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!("image {}", s.ui.paint(Style::Id, &image.digest)));
    if let Some(commit) = &image.commit {
        s.ui.line(format!("commit {commit}"));
    }
    s.ui.line(format!("created {}, runs as {}", image.created, image.user));
    for layer in &image.layers {
        s.ui.line(format!(
            "  {:24} {:>9}, unpacked {:>9} in {} files  {}",
            layer.name,
            size(layer.size),
            size(layer.unpacked),
            layer.files,
            &layer.digest[..19]
        ));
        for (folder, bytes) in &layer.folders {
            s.ui.line(format!("      {:>9}  {folder}/", size(*bytes)));
        }
    }
    for beside in &image.beside {
        let shared = match beside.shared {
            0 => String::new(),
            bytes => format!(", {} of it in layers of the image", size(bytes)),
        };
        s.ui.line(format!(
            "beside it {}, {}{shared}  {}",
            plain(&beside.kind),
            size(beside.size),
            &beside.digest[..19]
        ));
    }
    Ok(ExitCode::SUCCESS)
}
