//! `modelv serve`.

mod alias;
mod image;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use modelv_repo::capture::python;
use modelv_repo::core::id::CommitId;
use modelv_repo::worktree::Rules;
use modelv_repo::{Ctx, Repo};
use modelv_serve::{Arm, Follow, Guard, ImageConfig, Known, Limits};
use modelv_serve::{Payloads, ServeOptions, Server};

use super::{Done, Session};
use crate::error::CommandError;
use alias::AliasSource;

/// Largest file of requests for warming up, in bytes.
const WARM_BYTES_MAX: usize = 8 << 20;
/// A commit that could not be read, or did not serve, is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

/// Serve predictions of a commit over HTTP.
///
/// A commit is served with the active interpreter, or without one if `[serve] model` names an ONNX model. An image layout, a folder or a tar, is unpacked and started
/// with its own, as an engine would start it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit, an alias, or an image layout; the current commit otherwise.
    #[arg(
        value_name = "COMMIT|IMAGE",
        default_value = "HEAD",
        conflicts_with = "image"
    )]
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
    /// Number of worker processes, or of threads for an ONNX model.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    workers: NonZeroUsize,
    /// The interpreter.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// When the alias or branch moves, load the new commit beside the old one and swap them.
    #[arg(long, conflicts_with = "image")]
    follow: bool,
    /// Follow what this remote has, instead of what is here.
    #[arg(long, value_name = "NAME", requires = "follow")]
    remote: Option<String>,
    /// How often to look, in seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2.0,
        requires = "follow"
    )]
    every: f64,
    /// Share of the requests for the first commit, beside those of `--arm`.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "arm")]
    weight: u32,
    /// Serve another commit too, for this share of the requests.
    #[arg(long, value_name = "REV=WEIGHT", conflicts_with = "image")]
    arm: Vec<String>,
    /// Give another commit a copy of every request; its answers are compared and given to nobody.
    #[arg(long, value_name = "REV", conflicts_with = "image")]
    mirror: Vec<String>,
    /// Header whose value keeps a client with one commit.
    #[arg(long, value_name = "HEADER", default_value = "x-modelv-key")]
    sticky: String,
    /// Log inputs and outputs of this share of the requests, from 0 to 1.
    #[arg(long, value_name = "SHARE")]
    log_payloads: Option<f64>,
    /// Names of fields that are left out of that log, with commas between them.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "log_payloads"
    )]
    redact: Vec<String>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let config_error = |e: modelv_serve::ServeError| CommandError::failed(&e, None);
    if let (true, Some(path)) = (args.probe, &args.image) {
        let config = ImageConfig::read(path).map_err(config_error)?;
        modelv_serve::probe(config.listen).map_err(config_error)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.image.is_none()
        && let Some(path) = image::named(&args.revision, &s)?
    {
        return image::run(&path, &args, s);
    }
    let mut server = match &args.image {
        Some(path) => {
            let mut options = ImageConfig::read(path)
                .map_err(config_error)?
                .into_options();
            apply_rules(&mut options)?;
            options.into()
        }
        None => from_commits(&args, &s)?,
    };
    server.sticky.clone_from(&args.sticky);
    server.payloads = payloads(&args)?;
    let ui = s.ui;
    for arm in &mut server.arms {
        arm.options.notes.drain(..).for_each(|note| ui.warn(note));
    }
    let ready = |address: SocketAddr| ui.talk(format!("serving on http://{address}"));
    let served = modelv_serve::serve(server, Box::new(std::io::stderr()), ready);
    served.map_err(|e| CommandError::failed(&e, missing_hint(&e)))?;
    Ok(ExitCode::SUCCESS)
}

/// What to do where a function does not find a file, which is as a rule one of the model.
fn missing_hint(e: &modelv_serve::ServeError) -> Option<String> {
    if let modelv_serve::ServeError::Model { path, why } = e {
        return Some(crate::error::model_hint(path, why));
    }
    if matches!(e, modelv_serve::ServeError::Known { .. }) {
        let text =
            "`modelv release golden` records them anew, if the answers are right as they are now";
        return Some(text.to_owned());
    }
    if matches!(e, modelv_serve::ServeError::Listen { .. }) {
        let text =
            "`--listen 127.0.0.1:PORT` names another place; with port 0 it is one that is free";
        return Some(text.to_owned());
    }
    let is_missing = matches!(e, modelv_serve::ServeError::Entry { detail, .. }
        if detail.starts_with("FileNotFoundError"));
    is_missing.then(|| {
        "a commit is served with its own files alone: `modelv show REV` lists them, `modelv run` makes the \
         model, `modelv fetch --add model` brings one that is elsewhere"
            .to_owned()
    })
}

fn payloads(args: &Args) -> Result<Option<Payloads>, CommandError> {
    let Some(fraction) = args.log_payloads else {
        return Ok(None);
    };
    if !(0.0..=1.0).contains(&fraction) {
        let text = format!("a share of {fraction} is not from 0 to 1");
        return Err(CommandError::usage(
            text,
            "for example `--log-payloads 0.01`",
        ));
    }
    let redact = args.redact.clone();
    Ok(Some(Payloads { fraction, redact }))
}

/// How commits are served, beside what they say themselves.
#[derive(Clone)]
struct Settings {
    listen: SocketAddr,
    workers: usize,
    python: Option<PathBuf>,
}

fn from_commits(args: &Args, s: &Session<'_>) -> Result<Server, CommandError> {
    let repo = s.repo()?;
    let settings = Settings {
        listen: args.listen,
        workers: args.workers.get(),
        python: args.python.clone(),
    };
    let source = AliasSource {
        dir: s.dir.clone(),
        name: args.revision.clone(),
        remote: args.remote.clone(),
        settings: settings.clone(),
        seen: None,
        before: None,
        failed: None,
    };
    let arm = |name: &str, id: CommitId, weight: u32, mirror: bool| {
        let (options, guard) = load(&repo, name, id, &settings, &s.ctx())?;
        Ok::<_, CommandError>(Arm {
            options,
            weight,
            mirror,
            guard,
        })
    };
    let first = match args.follow {
        true => source.find()?,
        false => repo.resolve(&args.revision)?,
    };
    let weight = if args.arm.is_empty() { 1 } else { args.weight };
    let mut arms = vec![arm(&args.revision, first, weight, false)?];
    if args.follow {
        arms[0].options.known = golden(&arms[0].options.app_dir)?;
    }
    for text in &args.arm {
        let parsed = text
            .rsplit_once('=')
            .and_then(|(r, w)| Some((r, w.parse().ok()?)));
        let (name, weight) = parsed.ok_or_else(|| {
            let text = format!("`{text}` is not REV=WEIGHT");
            CommandError::usage(text, "for example `--arm candidate=10`")
        })?;
        arms.push(arm(name, repo.resolve(name)?, weight, false)?);
    }
    for name in &args.mirror {
        arms.push(arm(name, repo.resolve(name)?, 0, true)?);
    }
    let every = Duration::try_from_secs_f64(args.every.clamp(0.05, 86_400.0)).unwrap_or(RETRY);
    let follow = args.follow.then(|| Follow {
        source: Box::new(AliasSource {
            seen: Some(first),
            ..source
        }),
        every,
    });
    Ok(Server {
        arms,
        follow,
        sticky: String::new(),
        payloads: None,
    })
}

/// A folder that goes when nobody needs it any more.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The files of a commit in a folder of their own, served with the active interpreter.
fn load(
    repo: &Repo,
    name: &str,
    id: CommitId,
    settings: &Settings,
    ctx: &Ctx<'_>,
) -> Result<(ServeOptions, Guard), CommandError> {
    let tmp = repo.dir().join("tmp");
    // The same commit may be served twice: as an arm, and again after a rollback.
    let dir = (0..)
        .map(|n| tmp.join(format!("serve-{}-{}-{n}", id.short(), std::process::id())))
        .find(|dir| !dir.exists())
        .unwrap_or_default();
    let folder = Folder(dir.clone());
    repo.export(id, &dir, ctx)?;
    let rules = Rules::load(&dir)?;
    let model = rules.serve().model.clone();
    let entry = rules.serve_entry().map(str::to_owned);
    if model.is_none() && entry.is_none() {
        return Err(CommandError::usage(
            format!("commit `{}` names nothing to serve", id.short()),
            "add `[serve]` with `entry = \"serve:predict\"` or `model = \"model.onnx\"` to modelv.toml and commit",
        ));
    }
    let python = match model {
        Some(_) => PathBuf::new(),
        None => interpreter(repo, &rules, settings.python.as_deref())?,
    };
    let mut options = ImageConfig {
        app_dir: dir,
        commit: id.to_hex(),
        entry: entry.unwrap_or_default(),
        listen: settings.listen,
        model,
        name: name.to_owned(),
        python,
        recipe: repo.recipe_of(id)?.to_hex(),
        site_dirs: Vec::new(),
        workers: settings.workers,
    }
    .into_options();
    apply_rules(&mut options)?;
    if repo.commit_object(id)?.is_stale() {
        options.notes.push(format!(
            "the model of commit `{}` was made by another recipe than the commit's; `modelv run` makes it anew",
            id.short()
        ));
    }
    Ok((options, Some(Box::new(folder))))
}

/// The golden requests of a commit, whose files are in a folder.
fn golden(dir: &Path) -> Result<Vec<Known>, modelv_release::Error> {
    let Some(recorded) = modelv_release::Recorded::of(dir)? else {
        return Ok(Vec::new());
    };
    let recorded = Arc::new(recorded);
    let each = recorded.requests().into_iter().enumerate();
    let known = each.map(|(at, request)| {
        let recorded = recorded.clone();
        let check: modelv_serve::Check =
            Arc::new(move |answer| recorded.check(at, answer).map_err(|m| m.to_string()));
        Known { request, check }
    });
    Ok(known.collect())
}

fn interpreter(repo: &Repo, rules: &Rules, wanted: Option<&Path>) -> Result<PathBuf, CommandError> {
    let configured = repo.config("env.python").or_else(|| rules.env_python());
    let found = python::find(repo.root(), wanted, configured.as_deref())?;
    Ok(found.ok_or_else(|| modelv_repo::Error::not_found("interpreter", "python3"))?)
}

/// What `[serve]` of the commit says about limits, batches and warming up.
fn apply_rules(options: &mut ServeOptions) -> Result<(), CommandError> {
    let rules = Rules::load(&options.app_dir)?;
    let serve = rules.serve();
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let default = Limits::default();
    options.limits = Limits {
        body_bytes: serve.body_bytes_max.map_or(default.body_bytes, count),
        predict: serve
            .timeout_ms
            .map_or(default.predict, Duration::from_millis),
        queue: serve.queue.map_or(default.queue, count),
        ..default
    };
    options.batch = serve.batch.map_or(1, count);
    options.batch_wait = Duration::from_millis(serve.batch_wait_ms.unwrap_or(0));
    options.frame = serve.data_frame;
    options.spare = serve.spare;
    if let Some(path) = &serve.warm {
        options.warm = warm(&options.app_dir, path)?;
    }
    Ok(())
}

/// The requests of a file, one a line.
fn warm(dir: &Path, name: &str) -> Result<Vec<Vec<u8>>, CommandError> {
    let bad = |detail: &str| {
        let text = format!("the requests for warming up in `{name}` {detail}");
        CommandError::refused(
            text,
            "`[serve] warm` names a file with a JSON request a line",
        )
    };
    let bytes = std::fs::read(dir.join(name)).map_err(|e| bad(&format!("can't be read: {e}")))?;
    if bytes.len() > WARM_BYTES_MAX {
        return Err(bad("have more than 8 MiB"));
    }
    let lines = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.trim_ascii().is_empty());
    lines
        .map(
            |line| match serde_json::from_slice::<serde_json::Value>(line) {
                Ok(_) => Ok(line.to_vec()),
                Err(e) => Err(bad(&format!("are not JSON: {e}"))),
            },
        )
        .collect()
}
