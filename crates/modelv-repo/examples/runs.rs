//! How long many runs and many metric points take: `runs FOLDER RUNS POINTS` makes a repository in an empty
//! folder, fills it, and prints what reading takes, best of five.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use modelv_repo::core::run::Status;
use modelv_repo::core::value::Value;
use modelv_repo::{Condition, Ctx, Ending, Field, Journal, Order, Repo, RunOptions, RunQuery};

type Failure = Box<dyn std::error::Error>;

fn argument(n: usize) -> Result<String, Failure> {
    std::env::args()
        .nth(n)
        .ok_or_else(|| "usage: runs FOLDER RUNS POINTS".into())
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
    let (runs, points): (u32, u32) = (argument(2)?.parse()?, argument(3)?.parse()?);
    let mut repo = Repo::init(root)?;
    std::fs::write(root.join("modelv.toml"), "[env]\ncapture = \"none\"\n")?;
    std::fs::write(root.join("params.toml"), "lr = 0.1\nseed = 1\n")?;
    let options = RunOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..RunOptions::default()
    };
    let ctx = Ctx::quiet();
    let failed = Ending {
        status: Status::Failed,
        exit_code: Some(1),
    };
    let start = Instant::now();
    for n in 0..runs {
        let active = repo.begin_run(&options, &["train".into(), n.to_string()], &ctx)?;
        let journal = Journal::open(active.folder())?;
        journal.metric("f1", &Value::Float(f64::from(n) / f64::from(runs)), None)?;
        journal.close()?;
        repo.finish_run(active, failed, &ctx)?;
    }
    println!("{runs} runs recorded in {:.1?}", start.elapsed());

    let active = repo.begin_run(&options, &["series".into()], &ctx)?;
    let journal = Journal::open(active.folder())?;
    let start = Instant::now();
    for step in 0..points {
        let value = Value::Float(1.0 / f64::from(step + 1));
        journal.metric("loss", &value, Some(i64::from(step)))?;
    }
    journal.close()?;
    println!("{points} points logged in {:.1?}", start.elapsed());
    let id = repo.finish_run(active, failed, &ctx)?.id;
    let took = best(|| {
        let found = repo.series(id, Some("loss"))?.len();
        if found == points as usize {
            Ok(())
        } else {
            Err("points are missing".into())
        }
    })?;
    println!("{points} points queried in {took:.1?}");

    let took = best(|| Ok(Repo::open(root)?))?;
    println!(
        "a repository with {} operations opened in {took:.1?}",
        repo.oplog().operations.len()
    );
    let start = Instant::now();
    repo.list_runs(&RunQuery::default())?;
    println!("the index made in {:.1?}", start.elapsed());
    let took = best(|| Ok(repo.list_runs(&RunQuery::default())?))?;
    println!("all runs listed in {took:.1?}");
    let query = RunQuery {
        conditions: vec![Condition::parse(Field::Metric, "f1>0.5")?],
        order: Some(Order::parse("-f1")?),
        limit: Some(20),
        ..RunQuery::default()
    };
    let took = best(|| Ok(repo.find_runs(&query)?))?;
    println!("20 best of them found in {took:.1?}");
    Ok(())
}
