//! Commits and status that look at what changed alone, against looking at everything.

use std::fs;
use std::path::Path;

use modelv_core::canon;
use proptest::prelude::*;

use super::*;
use crate::worktree::tree_ids;

fn commit(repo: &mut Repo, options: CommitOptions) -> Result<Committed> {
    let options = CommitOptions {
        message: "next".into(),
        author: Some("A <a@example.com>".into()),
        ..options
    };
    repo.commit(&options, &Ctx::quiet())
}

/// What somebody does to a working tree.
#[derive(Debug, Clone)]
enum Step {
    Write(String, u8),
    Remove(String),
    Script(String, bool),
    Rename(String, String),
    Rules(bool),
    Look,
    Commit,
}

/// Few names, so that steps meet: files, directories, each of the four ingredients.
fn path() -> impl Strategy<Value = String> {
    let dir = prop::sample::select(vec!["", "a/", "a/b/", "data/", "data/x/", "models/"]);
    let name = prop::sample::select(vec!["a", "b.py", "c.toml", "d.csv", "w.safetensors"]);
    (dir, name).prop_map(|(dir, name)| format!("{dir}{name}"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (path(), any::<u8>()).prop_map(|(p, n)| Step::Write(p, n)),
        2 => path().prop_map(Step::Remove),
        1 => (path(), any::<bool>()).prop_map(|(p, on)| Step::Script(p, on)),
        1 => (path(), path()).prop_map(|(a, b)| Step::Rename(a, b)),
        1 => any::<bool>().prop_map(Step::Rules),
        1 => Just(Step::Look),
        4 => Just(Step::Commit),
    ]
}

/// Does what can be done; a path may be a directory, or not be there.
fn change(root: &Path, step: &Step) {
    use std::os::unix::fs::PermissionsExt;
    let _ = match step {
        Step::Write(path, n) => {
            let path = root.join(path);
            let _ = fs::create_dir_all(path.parent().unwrap());
            fs::write(path, [b'a' + n % 3].repeat(usize::from(n % 5)))
        }
        Step::Remove(path) => {
            let path = root.join(path);
            fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path))
        }
        Step::Script(path, on) => {
            let mode = if *on { 0o755 } else { 0o644 };
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode))
        }
        Step::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
        Step::Rules(on) => {
            let glob = if *on { "d.csv" } else { "*.nothing" };
            let text =
                format!("[ingredients]\nconfig = [\"**/{glob}\"]\n[env]\ncapture = \"none\"\n");
            fs::write(root.join("modelv.toml"), text)
        }
        Step::Look | Step::Commit => Ok(()),
    };
}

/// What `status` says when nothing is known beforehand.
fn all_changes(repo: &Repo) -> Vec<FileChange> {
    let old = repo.head().map(|id| repo.files(id).unwrap());
    let new = repo.worktree_files(&Ctx::quiet()).unwrap();
    compare(&old.unwrap_or_default(), &new)
}

fn check(repo: &mut Repo) {
    let ctx = Ctx::quiet();
    let status = repo.status(None, &ctx).unwrap();
    assert_eq!(status.changes, all_changes(repo));
    let want = tree_ids(&repo.worktree_files(&ctx).unwrap()).unwrap();
    let changes = match commit(repo, CommitOptions::default()) {
        Ok(done) => done.changes,
        Err(Error::NothingToCommit { .. }) => Vec::new(),
        Err(e) => panic!("{e}"),
    };
    assert_eq!(changes, status.changes);
    if let Some(head) = repo.head() {
        let object: Commit = canon::load(&repo.store, &head.0).unwrap();
        assert_eq!(Trees::of(&object), want);
    }
    assert_eq!(repo.status(None, &ctx).unwrap().changes, Vec::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_known_beforehand_changes_no_answer(steps in prop::collection::vec(step(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        change(dir.path(), &Step::Rules(false));
        for step in &steps {
            change(dir.path(), step);
            match step {
                Step::Look => {
                    repo.status(None, &Ctx::quiet()).unwrap();
                }
                Step::Commit => check(&mut repo),
                _ => {}
            }
        }
        check(&mut repo);
    }
}

/// A credential that the last commit already has may be copied; a new one may not.
#[test]
fn a_copy_of_what_was_let_through_is_let_through() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = Repo::init(dir.path()).unwrap();
    change(dir.path(), &Step::Rules(false));
    let key = format!("key = \"AKIA{}\"\n", "Q7RZ4K2MXN5WPLT3");
    let other = format!("key = \"AKIA{}\"\n", "M3XT6RQ5ZKW2NPL7");
    fs::write(dir.path().join("a.py"), &key).unwrap();
    let allow_secret = CommitOptions {
        allow_secret: true,
        ..CommitOptions::default()
    };
    assert!(matches!(
        commit(&mut repo, CommitOptions::default()),
        Err(Error::Secrets { .. })
    ));
    commit(&mut repo, allow_secret).unwrap();
    fs::write(dir.path().join("b.py"), &key).unwrap();
    commit(&mut repo, CommitOptions::default()).unwrap();
    fs::write(dir.path().join("c.py"), &other).unwrap();
    assert!(matches!(
        commit(&mut repo, CommitOptions::default()),
        Err(Error::Secrets { .. })
    ));
}
