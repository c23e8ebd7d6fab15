//! `modelv serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::capture::python;
use modelv_serve::{ImageConfig, Limits, ServeOptions};

use super::{Done, Session};
use crate::error::CommandError;

/// Serve predictions of a commit over HTTP.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit; the current one otherwise.
    #[arg(default_value = "HEAD", conflicts_with = "image")]
    revision: String,
    /// Serve what this file of an image says.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Ask the server that the image's file describes whether it is ready; the exit status says.
    #[arg(long, requires = "image")]
    probe: bool,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Number of worker processes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// The interpreter.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let config_error = |e: modelv_serve::ServeError| CommandError::failed(&e, None);
    if let (true, Some(path)) = (args.probe, &args.image) {
        let config = ImageConfig::read(path).map_err(config_error)?;
        modelv_serve::probe(config.listen).map_err(config_error)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Held until the server ends: the folder goes with it.
    let mut checkout = None;
    let options = match &args.image {
        Some(path) => ImageConfig::read(path)
            .map_err(config_error)?
            .into_options(),
        None => from_commit(&args, &s, &mut checkout)?,
    };
    let ui = s.ui;
    let ready = |address: SocketAddr| ui.talk(format!("serving on http://{address}"));
    let done = modelv_serve::serve(options, Box::new(std::io::stderr()), ready);
    if let Some(dir) = checkout {
        let _ = std::fs::remove_dir_all(dir);
    }
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) => Err(CommandError::failed(&e, None)),
    }
}

/// The files of a commit in a folder of their own, served with the active interpreter.
fn from_commit(
    args: &Args,
    s: &Session<'_>,
    checkout: &mut Option<PathBuf>,
) -> Result<ServeOptions, CommandError> {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let dir = repo
        .dir()
        .join("tmp")
        .join(format!("serve-{}-{}", id.short(), std::process::id()));
    repo.export(id, &dir, &s.ctx())?;
    *checkout = Some(dir.clone());
    let rules = modelv_repo::worktree::Rules::load(&dir)?;
    let entry = rules.serve_entry().map(str::to_owned).ok_or_else(|| {
        CommandError::usage(
            format!("commit `{}` names no function to serve", id.short()),
            "add `[serve]` with `entry = \"serve:predict\"` to modelv.toml and commit",
        )
    })?;
    let configured = repo.config("env.python").or_else(|| rules.env_python());
    let python = python::find(repo.root(), args.python.as_deref(), configured.as_deref())?
        .ok_or_else(|| modelv_repo::Error::not_found("interpreter", "python3"))?;
    Ok(ServeOptions {
        app_dir: dir,
        entry,
        python,
        site_dirs: Vec::new(),
        listen: args.listen,
        workers: args.workers,
        commit: id.to_hex(),
        recipe: repo.recipe_of(id)?.to_hex(),
        name: args.revision.clone(),
        limits: Limits::default(),
    })
}
