//! `modelv release`: the build here, what is done with images in files of their own.

mod deploy;
mod diff;
mod explain;
mod golden;
mod inspect;
mod outputs;
mod plan;
pub(super) mod push;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use modelv_release::{
    Asked, Base, Compression, Deployment, Engine, Image, Reference, ReleaseOptions, Replay, Source,
};
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
    #[command(flatten)]
    outputs: outputs::OutputArgs,
    /// Only tell how long it is going to take.
    #[arg(long, conflicts_with_all = ["output", "tar", "load", "context", "push"])]
    estimate: bool,
    /// `python` (this machine's interpreter and its libraries), `debian` or `debian:RELEASE` (its packages), an OCI
    /// layout, a root file system as folder or tar, or an image in a registry.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// Name of the image in that tar, and in an engine.
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// How layers are packed; files of weights never are.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    compression: How,
    /// Also lay its bill of materials (CycloneDX) and its provenance (in-toto, SLSA) beside it.
    #[arg(long)]
    papers: bool,
    /// Also offer the model alone as a CNCF ModelPack, of the same layers; a push calls it `TAG-model`.
    #[arg(long)]
    modelpack: bool,
    /// Sign the image and its papers with this private key: ECDSA on P-256, PKCS#8 in PEM.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Don't put the golden requests of the commit to the image.
    #[arg(long)]
    no_replay: bool,
    /// Release a commit that says how its model is made, and has none.
    #[arg(long)]
    without_model: bool,
    /// Also hand it over to an engine of this machine.
    #[arg(long, value_name = "ENGINE", value_enum)]
    load: Option<EngineName>,
    #[command(flatten)]
    deploy: deploy::DeployArgs,
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

/// How layers are packed.
#[derive(clap::ValueEnum, Debug, Clone, Copy, Default)]
pub(in crate::commands) enum How {
    /// What every engine takes.
    #[default]
    Gzip,
    /// Smaller and faster; for registries and newer engines.
    Zstd,
}

impl From<How> for Compression {
    fn from(how: How) -> Self {
        match how {
            How::Gzip => Self::Gzip,
            How::Zstd => Self::Zstd,
        }
    }
}

/// An engine.
#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum EngineName {
    Docker,
    Podman,
}

#[derive(Subcommand)]
enum Other {
    /// Unpack an image layout into a folder; prints how to start it, as JSON.
    Unpack {
        /// The layout, or a tar of one.
        layout: PathBuf,
        /// An empty or missing folder.
        dir: PathBuf,
    },
    Inspect(inspect::Args),
    Plan(plan::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    Golden(golden::Args),
    Push(push::Args),
    Verify(verify::Args),
}

/// Where an image is that somebody names: a path if there is something, else a registry.
fn source(text: &str, s: &Session<'_>) -> Result<Source, CommandError> {
    let path = s.dir.join(text);
    if path.exists() {
        return Ok(Source::Path(path));
    }
    let named = Reference::parse_pulled(text);
    let at = named.map_err(|_| modelv_release::Error::NoImage { image: text.into() })?;
    let told = push::credentials(&at.registry);
    Ok(Source::Registry(at, told))
}

/// What a build takes beside the commit and its place.
pub(in crate::commands) fn options(
    base: &str,
    output: PathBuf,
    python: Option<PathBuf>,
    compression: How,
    s: &Session<'_>,
) -> Result<ReleaseOptions, CommandError> {
    let server = std::env::current_exe().map_err(|e| CommandError::failed(&e, None))?;
    Ok(ReleaseOptions {
        base: Base::parse(base, &s.dir, &push::credentials)?,
        output,
        python,
        server,
        name: None,
        compression: compression.into(),
        papers: false,
        modelpack: false,
        sign_key: None,
        replay: true,
        without_model: false,
    })
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    match args.other {
        Some(Other::Unpack { layout, dir }) => {
            let (from, to) = (s.dir.join(layout), s.dir.join(dir));
            let config = modelv_release::unpack(&from, &to, s.cancel())?;
            s.ui.json(&serde_json::to_value(config).unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        Some(Other::Inspect(args)) => inspect::run(&args, s),
        Some(Other::Plan(args)) => plan::run(args, s),
        Some(Other::Explain(args)) => explain::run(&args, s),
        Some(Other::Diff(args)) => diff::run(&args, s),
        Some(Other::Golden(args)) => golden::run(&args, s),
        Some(Other::Push(args)) => push::run(&args, s),
        Some(Other::Verify(args)) => verify::run(args, s),
        None => build(args, s),
    }
}

fn build(args: Args, mut s: Session<'_>) -> Done {
    // What it starts (mmdebstrap, the image that is asked) ends before it does.
    crate::interrupt::watch_termination();
    let repo = s.repo()?;
    let revision = args.revision.unwrap_or_default();
    let id = repo.resolve(&revision)?;
    let outputs = args.outputs.settle()?;
    let layout = match args.estimate {
        true => None,
        false => Some(outputs.layout(&repo, &s)?),
    };
    let output = layout.as_ref().map_or(s.dir.clone(), |at| at.path.clone());
    let mut options = options(
        &args.base,
        output.clone(),
        args.python,
        args.compression,
        &s,
    )?;
    options.papers = args.papers;
    options.modelpack = args.modelpack;
    options.sign_key = args.sign_key.map(|path| s.dir.join(path));
    options.replay = !args.no_replay;
    options.without_model = args.without_model;
    if args.estimate {
        return estimate(&repo, id, &options, args.json, &mut s);
    }
    let tag = args.tag.map(|tag| mend(tag, &mut s));
    let tag = tag.unwrap_or_else(|| format!("modelv:{}", id.short()));
    modelv_release::check_reference(&tag)?;
    outputs.check(args.compression, args.load.is_some())?;
    args.deploy.check(&s)?;
    let to = args.push.map(|to| mend(to, &mut s));
    let to = to.as_deref().map(Reference::parse).transpose()?;
    let cancel = s.cancel();
    let ctx = Ctx {
        progress: &s.bar,
        cancel,
    };
    let mut talk = |text: &str| s.ui.talk(format!("  {text}"));
    let image = modelv_release::release(&repo, id, &options, ctx, &mut talk)?;
    for note in &image.notes {
        s.ui.warn(note);
    }
    tell_replay(image.replay.as_ref(), &mut s);
    outputs.write(&output, &tag, &repo, &mut s)?;
    if let Some(engine) = args.load {
        let engine = match engine {
            EngineName::Docker => Engine::Docker,
            EngineName::Podman => Engine::Podman,
        };
        let said = modelv_release::load(&output, &tag, engine, cancel)?;
        s.ui.talk(said);
    }
    if let Some(to) = &to {
        push::push(&Source::Path(output.clone()), to, &[], &mut s)?;
    }
    let deployment = Deployment {
        image: to.as_ref().map_or(tag, ToString::to_string),
        commit: id.to_hex(),
    };
    args.deploy.write(&deployment, &mut s)?;
    match args.json {
        true => s.ui.json(&to_json(&image, &id.to_hex())),
        false => show(&image, &id.to_hex(), &mut s),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(image: &Image, commit: &str, s: &mut Session<'_>) {
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
    s.ui.line(format!("commit {commit}"));
}

/// The name of an image whose tag was the name of a branch, with one that engines take.
pub(in crate::commands) fn mend(text: String, s: &mut Session<'_>) -> String {
    let Some(mended) = modelv_release::mended(&text) else {
        return text;
    };
    s.ui.talk(format!(
        "`{}` is no name for an image: it is called `{mended}`",
        crate::ui::plain(&text)
    ));
    mended
}

/// Says whether golden requests were put to an image; nothing where there are none.
fn tell_replay(replay: Option<&Replay>, s: &mut Session<'_>) {
    match replay {
        Some(replay) if replay.skipped.is_some() => s.ui.warn(replay.to_string()),
        Some(replay) if replay.requests > 0 => s.ui.talk(replay.to_string()),
        _ => {}
    }
}

/// How long the build is going to take; what is in its way is an error, as it is for the build.
fn estimate(
    repo: &modelv_repo::Repo,
    id: modelv_repo::core::id::CommitId,
    options: &ReleaseOptions,
    json: bool,
    s: &mut Session<'_>,
) -> Done {
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let plan = modelv_release::plan(repo, id, options, Asked::default(), ctx, &mut |_| {})?;
    let Some(estimate) = &plan.estimate else {
        let first = plan.problems.first().cloned().unwrap_or_default();
        let hint = format!(
            "`modelv release plan {}` says all that is in the way",
            id.short()
        );
        return Err(CommandError::refused(first, hint));
    };
    match json {
        true => {
            s.ui.json(&serde_json::to_value(estimate).unwrap_or_default());
        }
        false => plan::tell(estimate, s),
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(image: &Image, commit: &str) -> serde_json::Value {
    json!({
        "commit": commit,
        "digest": image.digest,
        "config": image.config_digest,
        "golden": image.replay,
        "notes": image.notes,
        "layers": image.layers.iter().map(|l| json!({
            "name": l.name, "digest": l.digest, "diff_id": l.diff_id, "size": l.size, "cached": l.cached,
        })).collect::<Vec<_>>(),
    })
}
