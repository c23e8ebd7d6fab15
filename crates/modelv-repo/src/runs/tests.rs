//! The file of all runs in short says what the runs themselves say, whatever happens to it.

use modelv_core::commit::Time;
use modelv_core::id::{RecipeId, RunId};
use modelv_core::run::{Determinism, Run, Status};
use modelv_core::value::Value;
use tempfile::TempDir;

use super::{Condition, Field, Order, RunQuery};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::names;
use crate::oplog::Target;
use crate::repo::Repo;
use crate::run::{Ending, Journal, RunOptions};

/// A finished run with these parameters and metrics.
pub(super) fn run(params: &[(&str, Value)], metrics: &[(&str, f64)]) -> Run {
    Run {
        command: vec!["train".into()],
        recipe: RecipeId([1; 32]),
        commit: None,
        params: params
            .iter()
            .map(|(k, v)| ((*k).into(), v.clone()))
            .collect(),
        metrics: metrics
            .iter()
            .map(|(k, v)| ((*k).into(), Value::Float(*v)))
            .collect(),
        series: None,
        outputs: None,
        status: Status::Finished,
        exit_code: Some(0),
        started: Time {
            seconds: 7,
            offset_minutes: 0,
        },
        duration_ms: 5,
        host: Default::default(),
        determinism: Determinism::Unknown,
        log: None,
        nonce: [0; 16],
        origin: Default::default(),
    }
}

/// The name of an optimizer.
pub(super) fn adam() -> Value {
    Value::Str("adam".into())
}

fn repo() -> (TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::init(dir.path()).unwrap();
    let toml = "[env]\ncapture = \"none\"\n";
    std::fs::write(dir.path().join("modelv.toml"), toml).unwrap();
    std::fs::write(dir.path().join("params.toml"), "lr = 0.1\nname = \"ada\"\n").unwrap();
    (dir, repo)
}

fn record(repo: &mut Repo, f1: &Value, status: Status) -> RunId {
    let options = RunOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..RunOptions::default()
    };
    let ctx = Ctx::quiet();
    let active = repo.begin_run(&options, &["train".into()], &ctx).unwrap();
    let journal = Journal::open(active.folder()).unwrap();
    journal.metric("f1", f1, None).unwrap();
    let long = Value::Str("x".repeat(5000));
    let list = Value::List(vec![Value::Int(1), Value::Null]);
    for (name, value) in [("long", &long), ("list", &list), ("on", &Value::Bool(true))] {
        journal.param(name, value).unwrap();
    }
    journal.close().unwrap();
    let ending = Ending {
        status,
        exit_code: None,
    };
    repo.finish_run(active, ending, &ctx).unwrap().id
}

fn several(repo: &mut Repo) -> Vec<RunId> {
    let values = [
        Value::Float(0.5),
        Value::Float(f64::NAN),
        Value::Int(-3),
        Value::UInt(u64::MAX),
        Value::Float(0.75),
    ];
    let kinds = [Status::Finished, Status::Failed, Status::Interrupted];
    let pairs = values.iter().zip(kinds.iter().cycle());
    pairs.map(|(v, s)| record(repo, v, *s)).collect()
}

fn query(text: &str) -> RunQuery {
    let mut query = RunQuery::default();
    for word in text.split(';').filter(|w| !w.is_empty()) {
        match word.split_once(':').unwrap() {
            ("sort", key) => query.order = Some(Order::parse(key).unwrap()),
            ("metric", c) => query
                .conditions
                .push(Condition::parse(Field::Metric, c).unwrap()),
            ("param", c) => query
                .conditions
                .push(Condition::parse(Field::Param, c).unwrap()),
            _ => query.status = Some(Status::Finished),
        }
    }
    query
}

/// The same by looking at every run.
fn by_hand(repo: &Repo, query: &RunQuery) -> Vec<RunId> {
    let refs = repo.oplog().refs.iter();
    let named = refs.filter(|(name, _)| name.starts_with(names::RUNS));
    let mut all: Vec<(RunId, Run)> = named
        .filter_map(|(_, t)| match t {
            Target::Run(id) => Some((*id, repo.run_object(*id).unwrap())),
            _ => None,
        })
        .filter(|(_, run)| query.status.is_none_or(|s| s == run.status))
        .filter(|(_, run)| query.conditions.iter().all(|c| c.holds(run)))
        .collect();
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(id, _)| id).collect()
}

const QUERIES: [&str; 8] = [
    "",
    "status:finished",
    "metric:f1>0.4",
    "metric:f1!=0.5;param:name=ada",
    "param:on=true",
    "param:list=[1,null]",
    "param:long!=x;sort:-f1",
    "param:lr<1;sort:name",
];

fn listed(repo: &Repo, query: &RunQuery) -> Vec<RunId> {
    let found = repo.find_runs(query).unwrap();
    found.lines().map(|line| line.id()).collect()
}

fn check(repo: &Repo) {
    for text in QUERIES {
        let query = query(text);
        let all = repo.find_runs(&query).unwrap();
        let runs: Vec<(RunId, Run)> = all.runs().collect::<Result<_>>().unwrap();
        for field in [Field::Param, Field::Metric] {
            let keys = runs.iter().flat_map(|(_, run)| field.of(run).keys());
            assert_eq!(
                all.keys(field),
                keys.map(String::as_str).collect(),
                "{text}"
            );
        }
        let mut found = listed(repo, &query);
        let loaded: Vec<RunId> = runs.iter().map(|(id, _)| *id).collect();
        assert_eq!(found, loaded, "{text}");
        found.sort();
        assert_eq!(found, by_hand(repo, &query), "{text}");
    }
}

#[test]
fn what_it_says_is_what_the_runs_say() {
    let (_dir, mut repo) = repo();
    let mut ids = several(&mut repo);
    check(&repo);
    let order = |repo: &Repo, text: &str| listed(repo, &query(text));
    assert_eq!(order(&repo, "sort:f1"), [2, 0, 4, 3, 1].map(|n| ids[n]));
    // Within one second, too, the last one is the first.
    ids.push(record(&mut repo, &Value::Int(9), Status::Finished));
    ids.reverse();
    assert_eq!(order(&repo, ""), ids);
    assert_eq!(repo.best_run("f1", false).unwrap().0, ids[2]);
    assert_eq!(repo.best_run("f1", true).unwrap().0, ids[5]);
    let path = repo.dir().join("runindex");
    assert!(super::is_sound(&std::fs::read(&path).unwrap()));
    let other = Repo::open(repo.root()).unwrap();
    assert_eq!(order(&other, ""), ids);
}

#[test]
fn damage_costs_time_and_nothing_else() {
    let (_dir, mut repo) = repo();
    several(&mut repo);
    check(&repo);
    record(&mut repo, &Value::Int(7), Status::Failed);
    check(&repo);
    let path = repo.dir().join("runindex");
    let whole = std::fs::read(&path).unwrap();
    let ids = by_hand(&repo, &RunQuery::default());
    for at in (0..whole.len()).step_by(97) {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        for bytes in [bad, whole[..at].to_vec()] {
            std::fs::write(&path, &bytes).unwrap();
            let mut found = listed(&repo, &RunQuery::default());
            found.sort();
            assert_eq!(found, ids, "byte {at}");
            // Who finds the lock taken leaves the file to the next: a process that another test starts has it, too,
            // until it has become another program.
            let is_mended = (0..1000).any(|_| {
                listed(&repo, &RunQuery::default());
                super::is_sound(&std::fs::read(&path).unwrap())
            });
            assert!(is_mended, "byte {at}");
        }
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    check(&repo);
}

#[test]
fn many_readers_and_writers_see_what_is_there() {
    let (dir, mut repo) = repo();
    let first = several(&mut repo).len();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..30 {
                    let repo = Repo::open(dir.path()).unwrap();
                    let all = listed(&repo, &RunQuery::default()).len();
                    assert!(all >= first);
                }
            });
        }
        for n in 0..10 {
            record(&mut repo, &Value::Int(n), Status::Failed);
        }
    });
    check(&Repo::open(dir.path()).unwrap());
}
