//! Trains a small model on the tweets of the current working tree and commits it, with the recipe it
//! comes from and the run that made it.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod learn;

use std::error::Error;
use std::fs;
use std::path::Path;

use modelv_repo::core::run::Status;
use modelv_repo::core::value::Value;
use modelv_repo::{Ctx, Ending, Journal, Repo, RunOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let ctx = Ctx::quiet();
    let mut repo = Repo::discover(Path::new("."))?;
    let options = RunOptions {
        message: Some("train in Rust".into()),
        ..RunOptions::default()
    };
    let command: Vec<String> = std::env::args().collect();
    // From here on the recipe is stored: code, data, configuration and environment as they are now.
    let active = repo.begin_run(&options, &command, &ctx)?;
    let journal = Journal::open(active.folder())?;
    let trained = train(repo.root(), &journal);
    journal.close()?;
    let ending = Ending {
        status: if trained.is_ok() {
            Status::Finished
        } else {
            Status::Failed
        },
        exit_code: Some(i32::from(trained.is_err())),
    };
    let done = repo.finish_run(active, ending, &ctx)?;
    trained?;
    println!("run {}", done.id);
    if let Some(commit) = done.commit {
        println!("commit {commit}");
    }
    Ok(())
}

/// Trains with what the files say, notes metrics, and writes the model below `models/`.
fn train(root: &Path, journal: &Journal) -> Result<(), Box<dyn Error>> {
    let params: toml::Table = fs::read_to_string(root.join("params.toml"))?.parse()?;
    let bits = u32::try_from(integer(&params, "features", "bits")?)?.clamp(1, 24);
    let epochs = integer(&params, "train", "epochs")?;
    let rate = float(&params, "train", "rate")?;
    let share = float(&params, "train", "test_share")?;

    let table = fs::read_to_string(root.join("data/en/tweets.tsv"))?;
    let mut examples = learn::examples(&table, bits)?;
    // Every n-th example is for the test: no chance is needed for that.
    let every = (1.0 / share.clamp(0.01, 0.5)).round();
    let mut n = 0.0;
    let (test, training): (Vec<_>, Vec<_>) = examples.drain(..).partition(|_| {
        n = (n + 1.0) % every;
        n == 0.0
    });

    let mut model = learn::Model::new(bits);
    for epoch in 0..epochs {
        let step = rate / (1.0 + 0.5 * f64::from(u32::try_from(epoch)?));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "weights are single precision"
        )]
        let loss = model.learn(&training, step as f32);
        journal.metric("loss", &Value::Float(loss), Some(epoch))?;
        journal.metric(
            "accuracy",
            &Value::Float(model.accuracy(&test)),
            Some(epoch),
        )?;
        println!("epoch {epoch}: loss {loss:.4}");
    }
    fs::create_dir_all(root.join("models"))?;
    fs::write(root.join("models/kind.safetensors"), model.to_bytes())?;
    Ok(())
}

fn integer(params: &toml::Table, section: &str, key: &str) -> Result<i64, String> {
    let found = params.get(section).and_then(|s| s.get(key));
    let found = found.and_then(toml::Value::as_integer);
    found.ok_or_else(|| format!("params.toml: `{section}.{key}` is no whole number"))
}

fn float(params: &toml::Table, section: &str, key: &str) -> Result<f64, String> {
    let found = params.get(section).and_then(|s| s.get(key));
    let found = found.and_then(toml::Value::as_float);
    found.ok_or_else(|| format!("params.toml: `{section}.{key}` is no number with a point"))
}
