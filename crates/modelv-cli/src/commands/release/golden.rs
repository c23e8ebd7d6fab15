//! `modelv release golden`: records what the function answers.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use modelv_release::Golden;
use modelv_repo::capture::python;
use modelv_repo::core::id::RecipeId;
use modelv_serve::ImageConfig;

use super::super::{Done, Session};
use crate::error::CommandError;

/// Largest file of requests, in bytes.
const BYTES_MAX: u64 = 64 << 20;

/// Record what the function of the working tree answers to requests: an image that answers otherwise is not released.
///
/// The file that `[serve] golden` of modelv.toml names gets a line `{"request": ..., "response": ...}` for each.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A file with a request a line, as for `POST /predict`; those that are recorded already otherwise.
    requests: Option<PathBuf>,
    /// The interpreter.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    if repo.is_bare() {
        return Err(CommandError::refused(
            "this is a bare repository: it has no working tree",
            "`modelv clone URL DIR` makes one with a working tree",
        ));
    }
    let rules = repo.rules()?;
    let Some(name) = rules.serve().golden.clone() else {
        return Err(CommandError::refused(
            "modelv.toml names no file for golden requests",
            "add `golden = \"golden.jsonl\"` to its section `[serve]`",
        ));
    };
    let model = rules.serve().model.clone();
    let entry = rules.serve_entry().unwrap_or_default();
    if model.is_none() && entry.is_empty() {
        return Err(CommandError::refused(
            "modelv.toml names nothing to serve",
            "add `[serve]` with `entry = \"serve:predict\"` or `model = \"model.onnx\"`",
        ));
    }
    let output = repo.root().join(&name);
    let from = args.requests.as_ref().map(|path| s.dir.join(path));
    let rows = read(from.as_ref().unwrap_or(&output))?;
    let configured = repo.config("env.python").or_else(|| rules.env_python());
    let python = match model {
        Some(_) => PathBuf::new(),
        None => python::find(repo.root(), args.python.as_deref(), configured.as_deref())?
            .ok_or_else(|| modelv_repo::Error::not_found("interpreter", "python3"))?,
    };
    let config = ImageConfig {
        app_dir: repo.root().to_owned(),
        commit: "working tree".into(),
        entry: entry.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        model,
        name: "working tree".into(),
        python,
        recipe: RecipeId([0; 32]).to_hex(),
        site_dirs: Vec::new(),
        workers: 1,
    };
    let recorded = record(&config, &rows, &s)?;
    let text: String = recorded.iter().map(Golden::line).collect();
    write(&output, &text)?;
    s.ui.line(format!("recorded {} requests in {name}", recorded.len()));
    s.ui.talk("`modelv commit` takes them in; a release then asks the image");
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<Golden>, CommandError> {
    let bad = |detail: String| {
        CommandError::refused(
            format!(
                "the requests in `{}` can't be used: {detail}",
                path.display()
            ),
            "name a file with a JSON request a line, as `POST /predict` takes them",
        )
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|e| bad(e.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(bad("it has more than 64 MiB".into()));
    }
    Golden::read_all(&bytes).map_err(bad)
}

/// Serves the working tree as an image is served, and asks.
fn record(
    config: &ImageConfig,
    rows: &[Golden],
    s: &Session<'_>,
) -> Result<Vec<Golden>, CommandError> {
    let failed = |e: std::io::Error| CommandError::failed(&e, None);
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    serde_json::to_writer(&file, config).map_err(|e| failed(e.into()))?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(["serve", "--image"])
        .arg(file.path())
        .env_remove("MODELV_LISTEN")
        .env_remove("MODELV_WORKERS");
    Ok(modelv_release::record(command, rows, s.cancel())?)
}

/// Beside its place first: what is there stays whole.
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let failed = |e| modelv_repo::Error::io("write", path)(e);
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let temp = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    std::fs::write(temp.path(), text).map_err(failed)?;
    let bits = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temp.as_file().set_permissions(bits).map_err(failed)?;
    temp.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
