//! Branches, and turns at the working tree.

use std::fs;
use std::path::Path;

use super::*;
use crate::{CommitOptions, MergeOptions, MergeOutcome};

fn commit(repo: &mut Repo, text: &str) -> CommitId {
    for name in ["a.py", "b.py", "c.py"] {
        fs::write(repo.root().join(name), text).unwrap();
    }
    let options = CommitOptions {
        message: text.into(),
        author: Some("A <a@example.com>".into()),
        ..Default::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap().id
}

fn is_clean(root: &Path) -> bool {
    let repo = Repo::open(root).unwrap();
    let head = repo.head().unwrap();
    let text = repo.commit_object(head).unwrap().message;
    ["a.py", "b.py", "c.py"]
        .iter()
        .all(|name| fs::read_to_string(root.join(name)).unwrap() == text)
}

/// Whoever comes second waits, and then sees what the first has done: through the library alone,
/// as two threads of a Python program would.
#[test]
fn users_of_one_working_tree_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = Repo::init(dir.path()).unwrap();
    let base = commit(&mut repo, "main");
    repo.create_branch("other", base).unwrap();
    repo.switch(&SwitchTo::Branch("other".into()), &Ctx::quiet())
        .unwrap();
    commit(&mut repo, "other");
    std::thread::scope(|scope| {
        for turn in 0..3 {
            let root = dir.path();
            scope.spawn(move || {
                let mut repo = Repo::open(root).unwrap();
                for i in 0..20 {
                    let name = ["main", "other"][(i + turn) % 2];
                    let to = SwitchTo::Branch(name.into());
                    repo.switch(&to, &Ctx::quiet()).unwrap();
                }
            });
        }
    });
    assert!(is_clean(dir.path()));
}

#[test]
fn a_turn_is_over_when_the_call_is_and_looking_needs_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Repo::init(dir.path()).unwrap();
    let base = commit(&mut first, "main");
    first.create_branch("other", base).unwrap();
    let turn = first.take_turn().unwrap();
    first
        .switch(&SwitchTo::Branch("other".into()), &Ctx::quiet())
        .unwrap();
    let mut second = Repo::open(dir.path()).unwrap();
    let options = MergeOptions {
        dry_run: true,
        ..Default::default()
    };
    let looked = second.merge("main", &options, &Ctx::quiet()).unwrap();
    assert!(matches!(looked, MergeOutcome::UpToDate));
    drop(turn);
    second
        .switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
        .unwrap();
    let seen = first.take_turn().unwrap();
    assert_eq!(first.head_label(), "main", "who waited sees what was done");
    drop(seen);
}

/// A commit reads the working tree, which another process may have switched since this one looked.
#[test]
fn a_commit_goes_where_head_is_when_its_turn_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Repo::init(dir.path()).unwrap();
    let base = commit(&mut first, "main");
    first.create_branch("other", base).unwrap();
    let mut late = Repo::open(dir.path()).unwrap();
    first
        .switch(&SwitchTo::Branch("other".into()), &Ctx::quiet())
        .unwrap();
    let made = commit(&mut late, "on the other one");
    let now = Repo::open(dir.path()).unwrap();
    assert_eq!(now.ref_commit("refs/heads/other"), Some(made));
    assert_eq!(now.ref_commit("refs/heads/main"), Some(base));
}

#[test]
fn the_branch_that_a_bisection_goes_back_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = Repo::init(dir.path()).unwrap();
    let base = commit(&mut repo, "main");
    repo.create_branch("other", base).unwrap();
    repo.bisect_start(None, &[], &Ctx::quiet()).unwrap();
    repo.switch(&SwitchTo::Branch("other".into()), &Ctx::quiet())
        .unwrap();
    let kept = repo.delete_branch("main").unwrap_err().to_string();
    assert!(kept.contains("a bisection began there"), "{kept}");
    repo.bisect_reset(&Ctx::quiet()).unwrap();
    assert_eq!(repo.head_label(), "main");
}

/// What a run reads is not taken from under its hands.
#[test]
fn nothing_is_composed_into_the_tree_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = Repo::init(dir.path()).unwrap();
    commit(&mut repo, "one");
    commit(&mut repo, "two");
    let hold = repo.hold("train", false, &Ctx::quiet()).unwrap();
    let options = crate::ComposeOptions {
        code: Some("HEAD~1".into()),
        author: Some("A <a@example.com>".into()),
        ..Default::default()
    };
    let refused = repo
        .compose(&options, &Ctx::quiet())
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("can't compose: a run is under way"),
        "{refused}"
    );
    drop(hold);
    repo.compose(&options, &Ctx::quiet()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("a.py")).unwrap(), "one");
}
