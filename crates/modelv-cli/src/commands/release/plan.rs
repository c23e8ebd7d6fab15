//! `modelv release plan`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_release::{Asked, Estimate, Reference, Source};
use modelv_repo::Ctx;

use super::super::{Done, Session};
use super::push::credentials;
use crate::ui::{Style, size};

/// Show what a release would do: layers, what is known of them, what is in the way. Writes nothing.
///
/// Exit status 0 if nothing is in the way, 1 if something is.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The commit.
    revision: String,
    /// The base, as for a release.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// How layers are packed.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    compression: super::How,
    /// Also ask a registry what a push there would send.
    #[arg(long, value_name = "REGISTRY/NAME[:TAG]")]
    push: Option<String>,
    /// The interpreter that fetches wheels.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, mut s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let options = super::options(&args.base, s.dir.clone(), args.python, args.compression, &s)?;
    let to = args.push.as_deref().map(Reference::parse).transpose()?;
    let to = to.map(|at| {
        let told = credentials(&at.registry);
        Source::Registry(at, told)
    });
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let asked = Asked {
        index: true,
        registry: to.as_ref(),
    };
    let plan = modelv_release::plan(&repo, id, &options, asked, ctx, &mut |_| {})?;
    let code = ExitCode::from(u8::from(!plan.problems.is_empty()));
    if args.json {
        s.ui.json(&serde_json::to_value(&plan).unwrap_or_default());
        return Ok(code);
    }
    for layer in &plan.layers {
        let bytes = layer.size.map_or_else(|| "?".into(), size);
        let inside = layer.unpacked.map_or_else(|| "?".into(), size);
        let state = if layer.cached { "known" } else { "to make" };
        s.ui.line(format!(
            "  {:32} {bytes:>9}, unpacked {inside:>9}  {state}",
            layer.name
        ));
    }
    for (what, list) in [
        ("to fetch", &plan.fetch),
        ("vendored", &plan.vendored),
        ("note", &plan.notes),
        ("problem", &plan.problems),
    ] {
        for name in list {
            s.ui.line(format!("{what}: {name}"));
        }
    }
    if plan.fetch_bytes > 0 || plan.fetch_unknown > 0 {
        let unknown = match plan.fetch_unknown {
            0 => String::new(),
            n => format!(", and {n} packages whose size no index tells"),
        };
        s.ui.line(format!("fetch: {}{unknown}", size(plan.fetch_bytes)));
    }
    if let Some(push) = &plan.push {
        let unknown = match push.unknown {
            0 => String::new(),
            n => format!(", and {n} layers that are not made yet"),
        };
        s.ui.line(format!(
            "push to {}: {} to send{unknown}; {} are there",
            push.reference,
            size(push.send),
            size(push.present)
        ));
    }
    if let Some(estimate) = &plan.estimate {
        tell(estimate, &mut s);
    }
    if let Some(digest) = &plan.digest {
        s.ui.line(format!("image {}", s.ui.paint(Style::Id, digest)));
    }
    Ok(code)
}

/// How long it takes, and how sure that is.
pub(super) fn tell(estimate: &Estimate, s: &mut Session<'_>) {
    s.ui.line(format!("time: {estimate}"));
    if !estimate.unseen.is_empty() && estimate.builds > 0 {
        s.ui.line(format!(
            "not built here before: {}",
            estimate.unseen.join(", ")
        ));
    }
}
