//! Plans, renames and extents of differences between commits.

use modelv_core::driver::{Change, Driver};
use tempfile::TempDir;

use super::{DiffFilter, Extent, Part};
use crate::CommitOptions;
use crate::ctx::Ctx;
use crate::repo::Repo;
use crate::worktree::ChangeKind;

fn repo() -> (TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::init(dir.path()).unwrap();
    put(&repo, "modelv.toml", "[env]\ncapture = \"none\"\n");
    (dir, repo)
}

fn put(repo: &Repo, path: &str, content: &str) {
    let full = repo.root().join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(full, content).unwrap();
}

fn commit(repo: &mut Repo, message: &str) {
    let options = CommitOptions {
        message: message.into(),
        author: Some("Ada <ada@example.org>".into()),
        allow_empty: true,
        ..CommitOptions::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap();
}

fn side(repo: &Repo, revision: &str) -> super::DiffSide {
    repo.diff_commit(repo.resolve(revision).unwrap(), revision)
        .unwrap()
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n:04}\n")).collect()
}

#[test]
fn a_file_that_moved_and_changed_is_a_rename_with_its_lines() {
    let (_dir, mut repo) = repo();
    put(&repo, "a.py", &lines(0..100));
    put(&repo, "same.py", "x = 1\n");
    put(&repo, "gone.py", &lines(900..950));
    commit(&mut repo, "first");
    for path in ["a.py", "same.py", "gone.py"] {
        std::fs::remove_file(repo.root().join(path)).unwrap();
    }
    put(&repo, "lib/b.py", &lines(10..105));
    put(&repo, "lib/same.py", "x = 1\n");
    put(&repo, "new.py", &lines(500..550));
    commit(&mut repo, "second");
    let (old, new) = (side(&repo, "HEAD~1"), side(&repo, "HEAD"));
    let plan = repo.diff_plan(&old, &new, &DiffFilter::default()).unwrap();
    let shown: Vec<(String, &str, Option<u8>)> = plan
        .files
        .iter()
        .map(|f| (f.change.path.to_string(), f.change.kind.word(), f.percent))
        .collect();
    assert_eq!(
        shown,
        [
            ("gone.py".into(), "deleted", None),
            ("lib/b.py".into(), "renamed", Some(90)),
            ("lib/same.py".into(), "renamed", Some(100)),
            ("new.py".into(), "added", None),
        ]
    );
    let report = repo.diff(&old, &new, &DiffFilter::default()).unwrap();
    let moved = &report.files[1];
    assert!(
        matches!(&moved.change.kind, ChangeKind::Renamed { from } if from.to_string() == "a.py")
    );
    let tally = moved.tally();
    assert_eq!((tally.unit, tally.added, tally.removed), ("lines", 5, 10));
    assert!(moved.lines().is_some());
    assert!(report.files[2].lines().is_none());
    // Either of its names finds it, and it is not torn apart.
    for path in ["a.py", "lib/b.py", "lib"] {
        let path = modelv_core::path::RepoPath::new(path.as_bytes()).unwrap();
        let plan = repo
            .diff_plan(&old, &new, &DiffFilter::paths(vec![path]))
            .unwrap();
        assert!(plan.files.iter().any(|f| f.percent == Some(90)));
        assert!(plan.files.iter().all(|f| f.change.kind.word() == "renamed"));
    }
}

#[test]
fn what_matters_comes_first_and_ingredients_are_chosen() {
    let (_dir, mut repo) = repo();
    commit(&mut repo, "first");
    put(&repo, "a.py", "a = 1\n");
    put(&repo, "data/x.csv", "id,v\n1,2\n");
    put(&repo, "params.toml", "lr = 1\n");
    put(&repo, "models/w.bin", "w");
    commit(&mut repo, "second");
    let (old, new) = (side(&repo, "HEAD~1"), side(&repo, "HEAD"));
    let paths = |parts: &[Part]| -> Vec<String> {
        let filter = DiffFilter {
            paths: Vec::new(),
            parts: parts.to_vec(),
        };
        let plan = repo.diff_plan(&old, &new, &filter).unwrap();
        plan.files
            .iter()
            .map(|f| f.change.path.to_string())
            .collect()
    };
    assert_eq!(
        paths(&[]),
        ["params.toml", "a.py", "data/x.csv", "models/w.bin"]
    );
    assert_eq!(
        paths(&[Part::Data, Part::Config]),
        ["params.toml", "data/x.csv"]
    );
    assert_eq!(paths(&[Part::Env]), [""; 0]);
    assert!("weights".parse::<Part>().is_err());
}

#[test]
fn the_extent_says_what_all_of_it_comes_to() {
    let (_dir, mut repo) = repo();
    put(&repo, "a.py", "a = 1\n");
    commit(&mut repo, "first");
    commit(&mut repo, "only another message");
    put(&repo, "models/w.bin", "w");
    commit(&mut repo, "a model");
    put(&repo, "a.py", "a = 2\n");
    commit(&mut repo, "code");
    let extent = |a: &str, b: &str| {
        let plan = repo.diff_plan(&side(&repo, a), &side(&repo, b), &DiffFilter::default());
        plan.unwrap().extent
    };
    assert_eq!(extent("HEAD~3", "HEAD~2"), Extent::Equal);
    assert_eq!(extent("HEAD~2", "HEAD~1"), Extent::Model);
    assert_eq!(extent("HEAD~2", "HEAD"), Extent::Several);
    let (old, mut new) = (side(&repo, "HEAD"), side(&repo, "HEAD"));
    new.env.os = "linux".into();
    new.env.arch = "riscv64".into();
    let plan = repo.diff_plan(&old, &new, &DiffFilter::default()).unwrap();
    assert_eq!((plan.extent, plan.env.len()), (Extent::Environment, 1));
}

#[test]
fn lines_of_large_texts_are_compared_and_of_what_is_none_are_not() {
    let (_dir, mut repo) = repo();
    let mut text = lines(0..1_000_000);
    put(&repo, "big.txt", &text);
    put(&repo, "big.bin", &"\0".repeat(9 << 20));
    commit(&mut repo, "first");
    text = text.replace("line 500000\n", "line half\n");
    put(&repo, "big.txt", &text);
    put(&repo, "big.bin", &"\0".repeat(10 << 20));
    commit(&mut repo, "second");
    let report = repo
        .diff(
            &side(&repo, "HEAD~1"),
            &side(&repo, "HEAD"),
            &DiffFilter::default(),
        )
        .unwrap();
    let [binary, big] = report.files.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(big.tally().sum(), 2);
    assert_eq!(big.lines().unwrap().hunks(3).count(), 1);
    assert_eq!(
        (binary.tally().unit, binary.tally().added),
        ("bytes", 10 << 20)
    );
    assert!(
        binary.notes[0].contains("compared as a whole"),
        "{:?}",
        binary.notes
    );
}

/// A table whose names and codes both tell its rows apart; the row `at` has another code.
fn codes(rows: u32, at: u32) -> String {
    let pad = "x".repeat(90);
    let code = |n| {
        if n == at {
            "other".into()
        } else {
            format!("code {n}")
        }
    };
    let rows: String = (0..rows)
        .map(|n| format!("{},{pad},name {n}\n", code(n)))
        .collect();
    format!("id,pad,name\n{rows}")
}

#[test]
fn a_declared_key_tells_rows_apart_in_small_tables_and_in_large_ones() {
    let (_dir, mut repo) = repo();
    put(
        &repo,
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[tables]\n\"data/*.csv\" = { key = \"name\" }\n",
    );
    let tables = [("data/large.csv", 100_000), ("data/small.csv", 10)];
    for (path, rows) in tables {
        put(&repo, path, &codes(rows, u32::MAX));
    }
    commit(&mut repo, "first");
    for (path, rows) in tables {
        put(&repo, path, &codes(rows, 7));
    }
    commit(&mut repo, "second");
    let (old, new) = (side(&repo, "HEAD~1"), side(&repo, "HEAD"));
    let report = repo.diff(&old, &new, &DiffFilter::default()).unwrap();
    assert_eq!(report.files.len(), 2);
    for file in &report.files {
        assert_eq!(file.driver, Driver::Table(','));
        let by_name = Change::Keyed {
            key: "name".into(),
            added: 0,
            removed: 0,
            changed: 1,
        };
        assert!(file.inside.contains(&by_name), "{:?}", file.inside);
        let tally = file.tally();
        assert_eq!((tally.unit, tally.changed, tally.sum()), ("rows", 1, 1));
        assert!(file.lines().is_none() && file.notes.is_empty());
    }
    let large = |f: &&super::FileDiff| f.change.path.to_string() == "data/large.csv";
    let large = report.files.iter().find(large).unwrap();
    // It was never in memory as a whole.
    assert!(large.old.is_none() && large.new.is_none());
}

#[test]
fn what_would_run_code_is_noted_for_new_versions_only() {
    let (_dir, mut repo) = repo();
    commit(&mut repo, "first");
    put(&repo, "models/a.pkl", "cposix\nsystem\n(S'true'\ntR.");
    commit(&mut repo, "second");
    let notes = |old: &str, new: &str| -> Vec<String> {
        let (old, new) = (side(&repo, old), side(&repo, new));
        let report = repo.diff(&old, &new, &DiffFilter::default()).unwrap();
        report.files.into_iter().flat_map(|f| f.notes).collect()
    };
    let come = notes("HEAD~1", "HEAD");
    assert_eq!(come.len(), 1, "{come:?}");
    assert!(come[0].contains("models/a.pkl is dangerous to load"));
    assert_eq!(notes("HEAD", "HEAD~1"), [""; 0]);
}
