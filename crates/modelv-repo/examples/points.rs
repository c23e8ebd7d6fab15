//! How long many metric points take: `points FOLDER POINTS` makes a repository in an empty folder, logs them in one
//! run, and prints what that and reading them takes, best of five.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use modelv_repo::core::run::Status;
use modelv_repo::core::value::Value;
use modelv_repo::{Ctx, Ending, Journal, Repo, RunOptions};

const FAILED: Ending = Ending {
    status: Status::Failed,
    exit_code: Some(1),
};

type Failure = Box<dyn std::error::Error>;

fn argument(n: usize) -> Result<String, Failure> {
    std::env::args()
        .nth(n)
        .ok_or_else(|| "usage: points FOLDER POINTS".into())
}

fn best<T>(mut work: impl FnMut() -> Result<T, Failure>) -> Result<Duration, Failure> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn main() -> Result<(), Failure> {
    let root = argument(1)?;
    let root = Path::new(&root);
    let points: u32 = argument(2)?.parse()?;
    let mut repo = Repo::init(root)?;
    std::fs::write(root.join("modelv.toml"), "[env]\ncapture = \"none\"\n")?;
    std::fs::write(root.join("params.toml"), "lr = 0.1\nseed = 1\n")?;
    let options = RunOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..RunOptions::default()
    };
    let ctx = Ctx::quiet();
    let active = repo.begin_run(&options, &["series".into()], &ctx)?;
    let journal = Journal::open(active.folder())?;
    let start = Instant::now();
    for step in 0..points {
        let value = Value::Float(1.0 / f64::from(step + 1));
        journal.metric("loss", &value, Some(i64::from(step)))?;
    }
    journal.close()?;
    println!("{points} points logged in {:.1?}", start.elapsed());
    let id = repo.finish_run(active, FAILED, &ctx)?.id;
    let took = best(|| {
        let found = repo.series(id, Some("loss"))?.len();
        if found == points as usize {
            Ok(())
        } else {
            Err("points are missing".into())
        }
    })?;
    println!("{points} points queried in {took:.1?}");

    Ok(())
}
