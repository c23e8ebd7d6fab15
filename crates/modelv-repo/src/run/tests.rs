//! Runs from begin to record: journals, crashes, and a HEAD that moves.

use std::io::Write;

use modelv_core::run::Status;
use modelv_core::value::Value;
use tempfile::TempDir;

use super::journal::{Journal, Point, SERIES_FILE};
use super::{ActiveRun, Ending, RunOptions};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::repo::Repo;
use crate::{CommitOptions, RunOutcome};

const FINISHED: Ending = Ending {
    status: Status::Finished,
    exit_code: Some(0),
};

fn repo() -> (TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::init(dir.path()).unwrap();
    std::fs::write(
        dir.path().join("modelv.toml"),
        "[env]\ncapture = \"none\"\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("params.toml"), "lr = 0.1\nseed = 7\n").unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    (dir, repo)
}

fn options() -> RunOptions {
    RunOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..RunOptions::default()
    }
}

fn begin(repo: &mut Repo) -> ActiveRun {
    let command = ["python".to_owned(), "train.py".to_owned()];
    repo.begin_run(&options(), &command, &Ctx::quiet()).unwrap()
}

fn finish(repo: &mut Repo, active: ActiveRun) -> RunOutcome {
    repo.finish_run(active, FINISHED, &Ctx::quiet()).unwrap()
}

fn shell(repo: &mut Repo, script: &str) -> RunOutcome {
    let options = RunOptions {
        command: ["sh", "-c", script].map(Into::into).to_vec(),
        ..options()
    };
    repo.run(&options, &mut std::io::sink(), &Ctx::quiet())
        .unwrap()
}

fn run_folders(repo: &Repo) -> usize {
    std::fs::read_dir(repo.dir().join("tmp"))
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("run-")
        })
        .count()
}

fn values(points: &[Point], name: &str) -> Vec<(Option<i64>, Value)> {
    points
        .iter()
        .filter(|p| p.name == name)
        .map(|p| (p.step, p.value.clone()))
        .collect()
}

#[test]
fn a_journal_becomes_params_metrics_and_series() {
    let (dir, mut repo) = repo();
    let active = begin(&mut repo);
    let journal = Journal::open(active.folder()).unwrap();
    for step in 0..10_000 {
        let loss = 1.0 / f64::from(i32::try_from(step + 1).unwrap());
        journal
            .metric("loss", &Value::Float(loss), Some(step))
            .unwrap();
    }
    journal.metric("epochs", &Value::Int(3), None).unwrap();
    journal
        .metric("ß \"quoted\"\n", &Value::Float(f64::NAN), Some(-1))
        .unwrap();
    journal.metric("top", &Value::UInt(u64::MAX), None).unwrap();
    journal
        .metric("low", &Value::Float(f64::NEG_INFINITY), None)
        .unwrap();
    journal.param("lr", &Value::Float(0.2)).unwrap();
    journal
        .param("layers", &Value::List(vec![Value::Int(3)]))
        .unwrap();
    journal.close().unwrap();
    std::fs::write(dir.path().join("models/w"), "weights").unwrap();
    std::fs::write(dir.path().join("metrics.json"), "{\"epochs\": 4}").unwrap();
    let done = finish(&mut repo, active);
    assert_eq!(done.bad_lines, 0);
    assert_eq!(done.run.params["lr"], Value::Float(0.2));
    assert_eq!(done.run.params["seed"], Value::Int(7));
    assert_eq!(done.run.params["layers"], Value::List(vec![Value::Int(3)]));
    assert_eq!(done.run.metrics["loss"], Value::Float(1e-4));
    assert_eq!(
        done.run.metrics["epochs"],
        Value::Int(4),
        "metrics.json has the last word"
    );
    let points = repo.series(done.id, None).unwrap();
    assert_eq!(points.len(), 10_004);
    assert_eq!(points[9_999].step, Some(9_999));
    assert!(points.windows(2).all(|p| p[0].time <= p[1].time));
    assert_eq!(values(&points, "top"), [(None, Value::UInt(u64::MAX))]);
    assert_eq!(
        values(&points, "low"),
        [(None, Value::Float(f64::NEG_INFINITY))]
    );
    let odd = repo.series(done.id, Some("ß \"quoted\"\n")).unwrap();
    assert!(odd.len() == 1 && odd[0].value.same(&Value::Float(f64::NAN)));
    assert_eq!(run_folders(&repo), 0);
    let commit = repo.commit_object(done.commit.unwrap()).unwrap();
    assert_eq!(commit.runs, [done.id]);
}

#[test]
fn a_journal_refuses_what_is_no_metric() {
    let (_dir, mut repo) = repo();
    let active = begin(&mut repo);
    let journal = Journal::open(active.folder()).unwrap();
    assert!(journal.metric("", &Value::Int(1), None).is_err());
    assert!(
        journal
            .metric(&"x".repeat(1025), &Value::Int(1), None)
            .is_err()
    );
    assert!(
        journal
            .metric("text", &Value::Str("1".into()), None)
            .is_err()
    );
    assert!(
        journal
            .param("big", &Value::Str("x".repeat(70_000)))
            .is_err()
    );
    journal.metric("good", &Value::Int(1), None).unwrap();
    drop(journal);
    let done = finish(&mut repo, active);
    assert_eq!(
        (done.bad_lines, repo.series(done.id, None).unwrap().len()),
        (0, 1)
    );
}

#[test]
fn a_point_is_in_the_file_soon_and_without_another_call() {
    let (_dir, mut repo) = repo();
    let active = begin(&mut repo);
    let journal = Journal::open(active.folder()).unwrap();
    journal.metric("loss", &Value::Float(0.5), Some(1)).unwrap();
    let path = active.folder().join(SERIES_FILE);
    let start = std::time::Instant::now();
    while std::fs::read(&path).unwrap().is_empty() {
        assert!(start.elapsed().as_secs() < 30, "it was never written");
        std::thread::yield_now();
    }
    journal.close().unwrap();
    active.discard();
}

#[test]
fn a_child_process_can_write_the_journal_and_bad_lines_cost_nothing() {
    let (_dir, mut repo) = repo();
    let done = shell(
        &mut repo,
        r#"cd "$MODELV_RUN"
        echo '{"name":"loss","step":1,"value":0.5,"time":1.0}' >> series.jsonl
        echo 'this is no JSON' >> series.jsonl
        echo '{"name":"loss","step":2,"value":"text","time":1.0}' >> series.jsonl
        head -c 100000 /dev/zero | tr '\0' x >> series.jsonl; echo >> series.jsonl
        echo '{"name":"loss","step":2,"value":"NaN","time":2.5}' >> series.jsonl
        printf '{"name":"torn","ste' >> series.jsonl
        echo '{"name":"depth","value":{"deep":[1,2.0]}}' >> params.jsonl
        echo '[]' >> params.jsonl
        echo made > "$OLDPWD/models/w""#,
    );
    assert_eq!(done.bad_lines, 5);
    let points = repo.series(done.id, Some("loss")).unwrap();
    assert_eq!(points.len(), 2);
    assert_eq!(
        (points[0].step, points[0].value.clone()),
        (Some(1), Value::Float(0.5))
    );
    assert!(done.run.metrics["loss"].same(&Value::Float(f64::NAN)));
    assert!(matches!(done.run.params["depth"], Value::Map(_)));
    assert!(done.commit.is_some());
}

#[test]
fn a_crashed_run_is_recorded_by_the_next_with_all_it_had_told() {
    let (_dir, mut repo) = repo();
    let crashed = begin(&mut repo);
    let journal = Journal::open(crashed.folder()).unwrap();
    journal
        .metric("loss", &Value::Float(0.25), Some(3))
        .unwrap();
    journal.param("batch", &Value::Int(8)).unwrap();
    journal.close().unwrap();
    let mut series = std::fs::OpenOptions::new();
    let mut series = series
        .append(true)
        .open(crashed.folder().join(SERIES_FILE))
        .unwrap();
    series.write_all(b"{\"name\":\"loss\",\"st").unwrap();
    std::fs::write(crashed.log_path(), "epoch 3\n").unwrap();
    // While it lives, no other run takes it for a crash.
    let second = begin(&mut repo);
    assert_eq!(repo.runs().unwrap().len(), 0);
    // Its process dies: the lock goes with it, the folder stays.
    drop(crashed);
    let third = begin(&mut repo);
    let runs = repo.runs().unwrap();
    assert_eq!(runs.len(), 1);
    let (id, run) = &runs[0];
    assert_eq!((run.status, run.exit_code), (Status::Interrupted, None));
    assert_eq!(run.params["batch"], Value::Int(8));
    assert_eq!(run.metrics["loss"], Value::Float(0.25));
    assert_eq!(repo.series(*id, None).unwrap().len(), 1);
    assert_eq!(repo.read_blob(run.log.unwrap()).unwrap(), b"epoch 3\n");
    second.discard();
    third.discard();
    assert_eq!(run_folders(&repo), 0);
}

#[test]
fn a_folder_that_never_held_a_run_is_left_alone() {
    let (_dir, mut repo) = repo();
    let torn = repo.dir().join("tmp/run-torn");
    std::fs::create_dir(&torn).unwrap();
    std::fs::write(torn.join("start"), "MODELV torn").unwrap();
    std::fs::create_dir(repo.dir().join("tmp/run-empty")).unwrap();
    begin(&mut repo).discard();
    assert!(repo.runs().unwrap().is_empty());
    assert_eq!(run_folders(&repo), 2, "nothing suspect is deleted");
}

#[test]
fn a_run_is_kept_when_head_moves_meanwhile() {
    let (dir, mut repo) = repo();
    let commit = |repo: &mut Repo, message: &str| {
        let options = CommitOptions {
            message: message.into(),
            author: options().author,
            ..CommitOptions::default()
        };
        repo.commit(&options, &Ctx::quiet()).unwrap().id
    };
    commit(&mut repo, "first");
    let active = begin(&mut repo);
    std::fs::write(dir.path().join("models/w"), "weights").unwrap();
    std::fs::write(dir.path().join("new.py"), "1").unwrap();
    // Once through this object, and once behind its back.
    let mut other = Repo::open(dir.path()).unwrap();
    let theirs = commit(&mut other, "meanwhile");
    let failed = repo
        .finish_run(active, FINISHED, &Ctx::quiet())
        .unwrap_err();
    assert!(matches!(failed, Error::Overtaken { .. }), "{failed}");
    let mut repo = Repo::open(dir.path()).unwrap();
    assert_eq!(repo.head(), Some(theirs));
    let runs = repo.runs().unwrap();
    assert!(runs.len() == 1 && runs[0].1.outputs.is_some());
    let made = repo.resolve(&format!("run-{}", runs[0].0.short())).unwrap();
    assert!(repo.commit_object(made).unwrap().model.is_some());
    let active = begin(&mut repo);
    std::fs::write(dir.path().join("models/w"), "other weights").unwrap();
    let theirs = commit(&mut repo, "again");
    assert!(repo.finish_run(active, FINISHED, &Ctx::quiet()).is_err());
    assert_eq!((repo.head(), repo.runs().unwrap().len()), (Some(theirs), 2));
    assert_eq!(run_folders(&repo), 0);
}

#[test]
fn what_was_not_finished_has_no_model() {
    let (dir, mut repo) = repo();
    for status in [Status::Failed, Status::Interrupted] {
        let active = begin(&mut repo);
        std::fs::write(dir.path().join("models/w"), status.to_string()).unwrap();
        let ending = Ending {
            status,
            exit_code: None,
        };
        let done = repo.finish_run(active, ending, &Ctx::quiet()).unwrap();
        assert_eq!((done.commit, done.run.outputs), (None, None));
        assert_eq!(repo.run_object(done.id).unwrap().status, status);
    }
}

#[test]
fn only_an_active_run_of_this_repository_is_joined() {
    let (_dir, mut repo) = repo();
    let (_other_dir, mut other) = self::repo();
    let (ours, theirs) = (begin(&mut repo), begin(&mut other));
    let folder = ours.folder().to_owned();
    assert!(repo.join_run(&folder).unwrap().is_some());
    assert!(repo.join_run(theirs.folder()).unwrap().is_none());
    assert!(repo.join_run(&repo.dir().join("tmp")).unwrap().is_none());
    ours.discard();
    theirs.discard();
    assert!(repo.join_run(&folder).unwrap().is_none());
}
