//! The figures of remotes: push and clone through a real S3 service on loopback (SeaweedFS), beside the tools
//! people use today, in one run against the same server, medians, turn and turn about; and what is asked of a very
//! large remote, counted by a proxy.
//!
//! ```sh
//! PATH=VENV/bin:$PATH cargo bench -p modelv-cli --bench remotes -- \
//!     [--gigabytes 2.07] [--files 20000] [--runs 3] [--packs 1600] [--only model|files|large] [--dir DIR]
//! ```
//!
//! Peers that are not installed are left out and named: `rclone` and `git-lfs` from Debian, `dvc[s3]` from PyPI in a
//! virtual environment on PATH, whose botocore also signs what git-lfs sends. Oxen is not among them: its client
//! speaks to its own server alone, which no package carries. Needs about eight times the gigabytes of room, in DIR and the
//! temporary folder.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a benchmark that can't go on panics"
)]

mod large;
#[path = "../figures/measure.rs"]
#[allow(dead_code, reason = "shared with the figures of the working tree")]
mod measure;
mod peers;
#[path = "../../../../tests/proxy.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod proxy;
#[path = "../../../../tests/support.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod support;
mod transfers;
#[path = "../../../../tests/weed.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod weed;
#[path = "../figures/workload.rs"]
#[allow(dead_code, reason = "shared with the figures of the working tree")]
mod workload;

use std::path::{Path, PathBuf};

use measure::{Figure, measure};
use weed::Server;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// What is asked for.
struct Options {
    gigabytes: f64,
    files: usize,
    runs: usize,
    packs: u64,
    only: Option<String>,
    /// Only make a large remote of so many packs: what the benchmark starts itself for.
    simulate: Option<u64>,
    dir: Option<PathBuf>,
}

fn options() -> Outcome<Options> {
    let mut out = Options {
        gigabytes: 2.07,
        files: 20_000,
        runs: 3,
        packs: 1600,
        only: None,
        simulate: None,
        dir: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--gigabytes" => out.gigabytes = value()?.parse()?,
            "--files" => out.files = value()?.parse()?,
            "--runs" => out.runs = value()?.parse()?,
            "--packs" => out.packs = value()?.parse()?,
            "--simulate" => out.simulate = Some(value()?.parse()?),
            "--only" => out.only = Some(value()?),
            "--dir" => out.dir = Some(value()?.into()),
            // cargo says so to every benchmark.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(out)
}

fn main() -> Outcome {
    let options = options()?;
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(dir)?;
    if let Some(packs) = options.simulate {
        return large::simulate(dir, packs);
    }
    let bench = Bench {
        dir: dir.canonicalize()?,
        runs: options.runs.max(1),
        peers: peers::Peers::find(),
    };
    let wants = |what: &str| options.only.as_deref().is_none_or(|only| only == what);
    if wants("large") {
        bench.large(options.packs)?;
    }
    if wants("files") {
        bench.files(options.files)?;
    }
    if wants("model") {
        bench.model(options.gigabytes)?;
    }
    Ok(())
}

const MODELV: &str = env!("CARGO_BIN_EXE_modelv");

struct Bench {
    dir: PathBuf,
    runs: usize,
    peers: peers::Peers,
}

/// Variables of a command: where the server is, and who asks.
type Env = Vec<(&'static str, String)>;

fn env(server: &Server, dir: &Path) -> Env {
    let mut env = server.env("admin");
    let text = |s: &str| s.to_owned();
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let git = dir.join("gitconfig").display().to_string();
    env.extend([
        ("AWS_REGION", text("us-east-1")),
        ("AWS_DEFAULT_REGION", text("us-east-1")),
        ("MODELV_AUTHOR_NAME", text("A")),
        ("MODELV_AUTHOR_EMAIL", text("a@example.org")),
        ("GIT_CONFIG_GLOBAL", git),
        ("DVC_NO_ANALYTICS", text("1")),
        ("RCLONE_CONFIG_W_TYPE", text("s3")),
        ("RCLONE_CONFIG_W_PROVIDER", text("Other")),
        ("RCLONE_CONFIG_W_ENV_AUTH", text("true")),
        ("RCLONE_CONFIG_W_ENDPOINT", endpoint),
    ]);
    env
}

/// A shell line with the folders and the binary as `$1`, `$2`…: what a user would type.
fn sh(line: &str, args: &[&Path], env: &Env) -> Outcome<Figure> {
    measure(line, Path::new(MODELV), args, env)
}

/// What a command prints.
fn read(dir: &Path, env: &Env, args: &[&str]) -> Outcome<serde_json::Value> {
    let done = std::process::Command::new(MODELV)
        .args(args)
        .current_dir(dir)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()?;
    if !done.status.success() {
        return Err(format!("{args:?}: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

impl Bench {
    fn fresh(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.dir.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A repository of ours, to be pushed to `url`; nothing of the machine is captured.
    fn repository(&self, name: &str, url: &str, env: &Env) -> Outcome<PathBuf> {
        let path = self.fresh(name)?;
        std::fs::write(path.join("modelv.toml"), "[env]\ncapture = \"none\"\n")?;
        let line = format!("cd \"$1\" && \"$0\" init && \"$0\" remote add origin {url}");
        sh(&line, &[&path], env)?;
        Ok(path)
    }
}
