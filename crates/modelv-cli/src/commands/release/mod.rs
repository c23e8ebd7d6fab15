//! `modelv release`: the build here, what is done with images in files of their own.

mod inspect;
pub(super) mod push;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use modelv_release::{Base, Image, Reference, ReleaseOptions};
use modelv_repo::Ctx;
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, size};

/// Build the container image of a commit: the same bytes each time, with no daemon.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// The commit.
    #[arg(required = true)]
    revision: Option<String>,
    /// Folder of the OCI image layout.
    #[arg(long, short, value_name = "DIR", required = true)]
    output: Option<PathBuf>,
    /// `python` (this machine's interpreter and its libraries), an OCI layout, or a root file system
    /// as folder or tar.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// Also write a tar for `docker load` and `podman load`.
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// Name of the image in that tar.
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Also push it to a registry.
    #[arg(long, value_name = "REGISTRY/NAME[:TAG]")]
    push: Option<String>,
    /// The interpreter that fetches wheels.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Other {
    /// Unpack an image layout into a folder; prints how to start it, as JSON.
    Unpack {
        /// The layout.
        layout: PathBuf,
        /// An empty or missing folder.
        dir: PathBuf,
    },
    Inspect(inspect::Args),
    Push(push::Args),
    Verify(verify::Args),
}

/// What a build takes beside the commit and its place.
pub(super) fn options(
    base: &str,
    output: PathBuf,
    python: Option<PathBuf>,
    s: &Session<'_>,
) -> Result<ReleaseOptions, CommandError> {
    let server = std::env::current_exe().map_err(|e| CommandError::failed(&e, None))?;
    Ok(ReleaseOptions {
        base: Base::parse(base, &s.dir)?,
        output,
        python,
        server,
        name: None,
    })
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    match args.other {
        Some(Other::Unpack { layout, dir }) => {
            let config = modelv_release::unpack(&s.dir.join(layout), &s.dir.join(dir))?;
            s.ui.json(&serde_json::to_value(config).unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        Some(Other::Inspect(args)) => inspect::run(&args, s),
        Some(Other::Push(args)) => push::run(&args, s),
        Some(Other::Verify(args)) => verify::run(args, s),
        None => build(args, s),
    }
}

fn build(args: Args, mut s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let revision = args.revision.unwrap_or_default();
    let id = repo.resolve(&revision)?;
    let output = s.dir.join(args.output.unwrap_or_default());
    let options = options(&args.base, output.clone(), args.python, &s)?;
    let tag = args.tag.unwrap_or_else(|| format!("modelv:{}", id.short()));
    modelv_release::check_reference(&tag)?;
    let to = args.push.as_deref().map(Reference::parse).transpose()?;
    let cancel = s.cancel();
    let ctx = Ctx {
        progress: &s.bar,
        cancel,
    };
    let mut talk = |text: &str| s.ui.talk(format!("  {text}"));
    let image = modelv_release::release(&repo, id, &options, ctx, &mut talk)?;
    if let Some(tar) = &args.tar {
        modelv_release::write_docker_tar(&output, &s.dir.join(tar), &tag, cancel)?;
    }
    if let Some(to) = &to {
        push::push(&output, to, &mut s)?;
    }
    if args.json {
        s.ui.json(&to_json(&image, &id.to_hex()));
        return Ok(ExitCode::SUCCESS);
    }
    for layer in &image.layers {
        let cached = if layer.cached { "  (cached)" } else { "" };
        s.ui.line(format!(
            "  {:24} {:>9}  {}{cached}",
            layer.name,
            size(layer.size),
            &layer.digest[..19]
        ));
    }
    s.ui.line(format!("image {}", s.ui.paint(Style::Id, &image.digest)));
    s.ui.line(format!("commit {id}"));
    Ok(ExitCode::SUCCESS)
}

fn to_json(image: &Image, commit: &str) -> serde_json::Value {
    json!({
        "commit": commit,
        "digest": image.digest,
        "config": image.config_digest,
        "layers": image.layers.iter().map(|l| json!({
            "name": l.name, "digest": l.digest, "diff_id": l.diff_id, "size": l.size, "cached": l.cached,
        })).collect::<Vec<_>>(),
    })
}
