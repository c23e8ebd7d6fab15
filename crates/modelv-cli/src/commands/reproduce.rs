//! `modelv reproduce`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::run::{Determinism, Status};
use modelv_repo::{
    Comparison, FileVerdict, RecreateOptions, ReproduceEnv, ReproduceOptions, Reproduced, json,
};

use super::{Done, Session};
use crate::ui::{Style, Ui, plain};

/// Execute the run of a commit again in a clean folder, and compare what comes out.
///
/// The outcome is recorded as a run: bit-equal, equal within the tolerance (safetensors, npy, npz and other
/// files of tensors; numbers in JSON), or different.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// Numbers may differ by so much.
    #[arg(long, value_name = "DISTANCE")]
    tolerance: Option<f64>,
    /// Use the packages of this virtual environment, whatever they are.
    #[arg(long, value_name = "DIR", conflicts_with = "recreate")]
    env: Option<PathBuf>,
    /// Make the environment of the commit again, and use that.
    #[arg(long)]
    recreate: bool,
    /// With `--recreate`: take wheels from this folder; may be given again.
    #[arg(long, value_name = "DIR", requires = "recreate")]
    wheels: Vec<PathBuf>,
    /// With `--recreate`: take packages from this index; may be given again.
    #[arg(long, value_name = "URL", requires = "recreate")]
    index: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    // Gone with the command, as the checkout is.
    let place =
        tempfile::tempdir().map_err(modelv_repo::Error::io("create", std::env::temp_dir()))?;
    let env = match args.env {
        Some(dir) => ReproduceEnv::Folder(s.dir.join(dir)),
        None if args.recreate => ReproduceEnv::Recreate(RecreateOptions {
            output: place.path().join("env"),
            wheels: args.wheels.iter().map(|dir| s.dir.join(dir)).collect(),
            indexes: args.index,
            ..RecreateOptions::default()
        }),
        None => ReproduceEnv::Active,
    };
    let options = ReproduceOptions {
        tolerance: args.tolerance,
        env,
    };
    let done = repo.reproduce(id, &options, &mut std::io::stderr(), &s.ctx())?;
    if args.json {
        s.ui.json(&json::reproduced(&done));
    } else {
        show(&done, s.ui);
    }
    Ok(match (done.run.status, done.run.determinism) {
        (Status::Interrupted, _) => ExitCode::from(130),
        (Status::Finished, Determinism::BitEqual | Determinism::Tolerance) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn show(done: &Reproduced, ui: &mut Ui) {
    for change in &done.env {
        ui.warn(format!("the environment differs: {}", plain(&change.item)));
    }
    for FileVerdict { path, verdict } in &done.files {
        let style = match verdict {
            Comparison::Equal => Style::Faint,
            Comparison::Within(_) => Style::Changed,
            _ => Style::Removed,
        };
        let word = ui.paint(style, &format!("{:9}", verdict.word()));
        ui.line(format!("{word}  {path}{}", details(verdict)));
    }
    let time = clock::format_duration(done.run.duration_ms);
    let words = match (done.run.status, done.run.determinism) {
        (Status::Finished, _) if done.files.is_empty() => "nothing to compare".into(),
        (Status::Finished, class) => json::determinism_word(class).to_owned(),
        (status, _) => status.to_string(),
    };
    ui.line(format!(
        "run {}: {words} in {time}, repeats run {}",
        done.id.short(),
        done.original.short()
    ));
    if done.run.status == Status::Failed {
        let code = done.run.exit_code.unwrap_or(1);
        ui.talk(format!("error: the command ended with status {code}"));
    }
}

fn details(verdict: &Comparison) -> String {
    match verdict {
        Comparison::Within(distance) => format!(": within {distance:e}"),
        Comparison::Different { at, max_abs, how } => {
            let at = at
                .as_ref()
                .map_or(String::new(), |at| format!(" first at {at}:"));
            let distance = max_abs.map_or(String::new(), |d| format!(", largest distance {d:e}"));
            format!(":{at} {how}{distance}")
        }
        _ => String::new(),
    }
}
