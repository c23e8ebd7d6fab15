//! Very many runs: how long it takes to list them, and to find some. The first is a real one; the others differ
//! from it in what people ask for, and are recorded as it was. Only when it is asked for.

use std::path::Path;

use modelv_repo::core::id::RunId;
use modelv_repo::core::run::Run;
use modelv_repo::core::value::Value;
use modelv_repo::oplog::{Draft, OpLog, RefChange, Target};
use modelv_repo::{Repo, RunQuery, names};

use super::measure::Table;
use super::{Bench, Outcome, sh};

/// Runs that one operation records.
const RUNS_A_STEP: usize = 1000;
/// What people ask, and how.
const QUESTIONS: [(&str, &str); 5] = [
    ("the newest 20", "runs -n 20"),
    ("all, the table", "runs"),
    ("all, as CSV", "runs --csv"),
    (
        "f1>0.9 and adam, sorted",
        "runs --metric 'f1>0.9' --param optimizer=adam --sort -f1",
    ),
    ("the best by f1", "runs best --metric f1"),
];

impl Bench {
    /// Listing and finding among `count` runs.
    pub(crate) fn tracked(&self, count: usize) -> Outcome {
        println!("\n{count} runs, medians of {}", self.runs);
        let tree = self.repository("tracked")?;
        std::fs::write(tree.join("train.sh"), "echo trained\n")?;
        sh("cd \"$1\" && \"$0\" run -- sh train.sh", &[&tree])?;
        record(&tree, count.saturating_sub(1))?;
        // Whoever asks first adds what is new to the index.
        let mut table = Table::new("seconds", &["modelv"]);
        let ask = |question: &str| format!("cd \"$1\" && \"$0\" {question}");
        table.add(
            "first question of all",
            "modelv",
            sh(&ask("runs -n 1"), &[&tree])?,
        );
        for _ in 0..self.runs {
            for (words, question) in QUESTIONS {
                table.add(words, "modelv", sh(&ask(question), &[&tree])?);
            }
        }
        table.print();
        Ok(())
    }
}

/// Records `count` runs that are like the newest one.
fn record(tree: &Path, count: usize) -> Outcome {
    let repo = Repo::open(tree)?;
    let newest = repo.find_runs(&RunQuery::default())?.runs().next();
    let (_, like) = newest.ok_or("nothing was recorded")??;
    let mut log = OpLog::read(&repo.dir().join("oplog"))?;
    for first in (0..count).step_by(RUNS_A_STEP) {
        let session = repo.store().begin()?;
        let mut changes = Vec::new();
        for n in first..count.min(first + RUNS_A_STEP) {
            let id = RunId(session.put_object(&another(&like, n)?)?);
            changes.push(RefChange {
                name: format!("{}{id}", names::RUNS),
                old: None,
                new: Some(Target::Run(id)),
            });
        }
        session.finish()?;
        log.append(Draft {
            time: like.started,
            actor: "a@b".into(),
            command: "run".into(),
            worktree: false,
            undoes: None,
            changes,
        })?;
    }
    Ok(())
}

/// The run again with parameters, metrics and a time of its own.
fn another(like: &Run, n: usize) -> Outcome<Run> {
    let mut run = like.clone();
    let part = i64::try_from(n)?;
    run.nonce[..8].copy_from_slice(&part.to_le_bytes());
    run.started.seconds -= part;
    run.duration_ms += u64::try_from(n % 977)?;
    #[expect(clippy::cast_precision_loss, reason = "any fraction does")]
    let fraction = ((n * 7919) % 100_003) as f64 / 100_003.0;
    let optimizer = ["adam", "sgd", "adagrad", "rmsprop"][n % 4];
    run.params = [
        ("learning_rate".into(), Value::Float(fraction / 10.0)),
        ("optimizer".into(), Value::Str(optimizer.into())),
        ("seed".into(), Value::Int(part)),
        ("train.batch_size".into(), Value::Int(32 << (n % 4))),
    ]
    .into();
    run.metrics = [
        ("f1".into(), Value::Float(fraction)),
        ("loss".into(), Value::Float(1.0 - fraction)),
    ]
    .into();
    Ok(run)
}
