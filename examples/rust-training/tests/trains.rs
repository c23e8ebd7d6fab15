//! The program, in two folders with the same files: one recipe, one model, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::path::Path;
use std::process::{Command, Output};

use modelv_repo::Repo;
use modelv_repo::core::value::Value;

fn project() -> tempfile::TempDir {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    for name in ["modelv.toml", "params.toml"] {
        std::fs::copy(here.join("project").join(name), dir.path().join(name)).unwrap();
    }
    std::fs::create_dir_all(dir.path().join("data/en")).unwrap();
    let tweets = here.join("../tweets/project/data/en/tweets.tsv");
    std::fs::copy(tweets, dir.path().join("data/en/tweets.tsv")).unwrap();
    Repo::init(dir.path()).unwrap();
    dir
}

fn train(dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rust-training"));
    command.env("MODELV_AUTHOR_NAME", "Ada");
    command.env("MODELV_AUTHOR_EMAIL", "ada@example.org");
    command.current_dir(dir).output().unwrap()
}

#[test]
fn two_trainings_give_one_model() {
    let seen: Vec<_> = (0..2)
        .map(|_| {
            let dir = project();
            let output = train(dir.path());
            assert!(output.status.success(), "{output:?}");
            let repo = Repo::open(dir.path()).unwrap();
            let commit = repo.commit_object(repo.head().unwrap()).unwrap();
            let [run] = commit.runs.as_slice() else {
                panic!("{:?}", commit.runs)
            };
            assert_eq!(repo.series(*run, Some("loss")).unwrap().len(), 5);
            let run = repo.run_object(*run).unwrap();
            assert_eq!(run.params["train.epochs"], Value::Int(5));
            let Value::Float(accuracy) = run.metrics["accuracy"] else {
                panic!("{:?}", run.metrics)
            };
            assert!(accuracy > 0.7, "{accuracy}");
            (commit.recipe.id(), commit.model.unwrap(), run.metrics)
        })
        .collect();
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn a_training_that_fails_is_recorded_as_failed() {
    let dir = project();
    std::fs::write(dir.path().join("params.toml"), "[features]\nbits = 4\n").unwrap();
    let output = train(dir.path());
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("`train.epochs` is no whole number"), "{text}");
    let runs = Repo::open(dir.path()).unwrap().runs().unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].1.status.to_string(), "failed");
}
