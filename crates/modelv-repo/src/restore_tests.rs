//! What a restore wrote over comes back, whatever became of the names.

use std::fs;

use super::*;
use crate::{CommitOptions, SwitchTo};

fn commit(repo: &mut Repo, message: &str) -> CommitId {
    let options = CommitOptions {
        message: message.into(),
        author: Some("A <a@example.com>".into()),
        ..Default::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap().id
}

fn repo() -> (tempfile::TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::init(dir.path()).unwrap();
    fs::write(
        dir.path().join("modelv.toml"),
        "[env]\ncapture = \"none\"\n",
    )
    .unwrap();
    (dir, repo)
}

/// A rename is two files to a working tree: one goes and one comes, and both come back.
#[test]
fn a_restore_over_a_rename_is_taken_back_whole() {
    let (dir, mut repo) = repo();
    let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    fs::write(&a, "the same").unwrap();
    let one = commit(&mut repo, "one");
    fs::rename(&a, &b).unwrap();
    commit(&mut repo, "two");
    let paths = [
        RepoPath::new("a.txt").unwrap(),
        RepoPath::new("b.txt").unwrap(),
    ];
    repo.restore(one, &paths, &Ctx::quiet()).unwrap();
    assert!(a.exists() && !b.exists());
    repo.undo(&Ctx::quiet()).unwrap();
    assert!(b.exists() && !a.exists());
    assert_eq!(repo.status(None, &Ctx::quiet()).unwrap().changes, []);
}

/// A merge that brings what somebody has renamed by hand to the same name does not begin: the file that he
/// took away would be missing from then on.
#[test]
fn a_merge_does_not_begin_beside_a_rename() {
    let (dir, mut repo) = repo();
    fs::write(dir.path().join("a.txt"), "the same").unwrap();
    commit(&mut repo, "one");
    let new = SwitchTo::New("side".into(), None);
    repo.switch(&new, &Ctx::quiet()).unwrap();
    fs::write(dir.path().join("b.txt"), "the same").unwrap();
    commit(&mut repo, "a copy");
    repo.switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
        .unwrap();
    fs::rename(dir.path().join("a.txt"), dir.path().join("b.txt")).unwrap();
    let options = crate::MergeOptions {
        author: Some("A <a@example.com>".into()),
        ..Default::default()
    };
    let refused = repo.merge("side", &options, &Ctx::quiet());
    assert!(
        matches!(&refused, Err(Error::Uncommitted { paths, .. }) if paths == &["a.txt"]),
        "{refused:?}"
    );
}
