//! `modelv ci run`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_release::{CiEnv, CiOptions, CiRecord, Reference, Source};
use modelv_repo::Ctx;
use modelv_repo::capture::clock::format_duration;

use super::super::{Done, Session, release};
use crate::ui::{Style, plain};

/// Check a commit, run its `[evaluate] command`, build its image and verify that it comes out the same again.
///
/// The result is kept by the commit's id: asked again, it is there at once.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The commit.
    revision: String,
    /// Folder of the OCI image layout; otherwise in the repository, by the commit's id.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// As for `modelv release`.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// How layers are packed.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    compression: release::How,
    /// The interpreter that fetches wheels.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Evaluate with the packages of this virtual environment.
    #[arg(long, value_name = "DIR", conflicts_with = "recreate")]
    env: Option<PathBuf>,
    /// Evaluate with the packages of the commit, made again.
    #[arg(long)]
    recreate: bool,
    /// Push the image to a registry, once everything has passed.
    #[arg(long, value_name = "REGISTRY/NAME[:TAG]")]
    push: Option<String>,
    /// Take all steps again.
    #[arg(long)]
    force: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, mut s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let output = match &args.output {
        Some(dir) => s.dir.join(dir),
        None => repo.dir().join("ci").join(format!("{id}-image")),
    };
    let to = args.push.map(|to| release::mend(to, &mut s));
    let to = to.as_deref().map(Reference::parse).transpose()?;
    let options = CiOptions {
        release: release::options(
            &args.base,
            output.clone(),
            args.python,
            args.compression,
            &s,
        )?,
        base: args.base,
        env: match (args.env, args.recreate) {
            (Some(dir), _) => CiEnv::Folder(s.dir.join(dir)),
            (None, true) => CiEnv::Recreate,
            (None, false) => CiEnv::Active,
        },
        force: args.force,
    };
    let ctx = Ctx {
        progress: &s.bar,
        cancel: s.cancel(),
    };
    let mut talk = |text: &str| s.ui.talk(format!("  {text}"));
    let (record, is_known) = modelv_release::ci(&repo, id, &options, ctx, &mut talk)?;
    if let Some(to) = to.as_ref().filter(|_| record.passed) {
        release::push::push(&Source::Path(output.clone()), to, &[], &mut s)?;
    }
    if args.json {
        s.ui.json(&serde_json::to_value(&record).unwrap_or_default());
    } else {
        show(&record, is_known, &mut s);
    }
    Ok(ExitCode::from(u8::from(!record.passed)))
}

fn show(record: &CiRecord, is_known: bool, s: &mut Session<'_>) {
    let last = record.steps.len().saturating_sub(1);
    for (number, step) in record.steps.iter().enumerate() {
        let passed = record.passed || number < last;
        let style = if passed { Style::Added } else { Style::Removed };
        let word = s.ui.paint(style, if passed { "passed" } else { "failed" });
        let time = format_duration(step.milliseconds);
        s.ui.line(format!(
            "{word} {:8} {time:>8}  {}",
            step.name,
            plain(&step.detail)
        ));
    }
    for (name, value) in &record.metrics {
        s.ui.line(format!("  {} = {value}", plain(name)));
    }
    if is_known {
        s.ui.line(format!("from the record of {}", record.time));
    }
    s.ui.line(format!("commit {}", record.commit));
}
