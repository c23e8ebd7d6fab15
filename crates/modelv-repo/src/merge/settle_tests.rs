//! Whatever a decision writes over comes back when it is undone.

use std::fs;
use std::path::Path;

use super::*;
use crate::{CommitOptions, MergeOptions, MergeOutcome, SwitchTo};

fn commit(repo: &mut Repo, files: &[(&str, &str)], message: &str) {
    for (path, text) in files {
        let full = repo.root().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, text).unwrap();
    }
    let options = CommitOptions {
        message: message.into(),
        author: Some("A <a@example.com>".into()),
        ..Default::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap();
}

/// A merge in which `train.py` is in conflict, and `d/x` was moved to `ours/x` and to `theirs/x`.
fn merging(root: &Path) -> Repo {
    let mut repo = Repo::init(root).unwrap();
    let toml = ("modelv.toml", "[env]\ncapture = \"none\"\n");
    let moved = "the same on both sides\n".repeat(9);
    commit(
        &mut repo,
        &[toml, ("train.py", "a\n"), ("d/x", &moved)],
        "base",
    );
    let side = SwitchTo::New("side".into(), None);
    repo.switch(&side, &Ctx::quiet()).unwrap();
    fs::remove_file(root.join("d/x")).unwrap();
    commit(
        &mut repo,
        &[("train.py", "theirs\n"), ("theirs/x", &moved)],
        "side",
    );
    let main = SwitchTo::Branch("main".into());
    repo.switch(&main, &Ctx::quiet()).unwrap();
    fs::remove_file(root.join("d/x")).unwrap();
    commit(
        &mut repo,
        &[("train.py", "ours\n"), ("ours/x", &moved)],
        "main",
    );
    let options = MergeOptions {
        author: Some("A <a@example.com>".into()),
        ..Default::default()
    };
    let outcome = repo.merge("side", &options, &Ctx::quiet()).unwrap();
    assert!(matches!(outcome, MergeOutcome::Conflicts(all) if all.len() == 3));
    repo
}

fn open(repo: &Repo) -> usize {
    repo.merge_state().unwrap().unwrap().open().count()
}

#[test]
fn what_somebody_wrote_by_hand_comes_back_when_a_decision_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = merging(dir.path());
    let file = dir.path().join("train.py");
    fs::write(&file, "an hour of work\n").unwrap();
    for (decision, want) in [
        (Decision::Ours, "ours\n"),
        (Decision::Value("typed\n".into()), "typed\n"),
    ] {
        repo.resolve_conflict("train.py", &decision, &Ctx::quiet())
            .unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), open(&repo)),
            (want, 2)
        );
        let undone = repo.undo(&Ctx::quiet()).unwrap();
        assert!(undone.worktree && !undone.has_more);
        assert_eq!(fs::read_to_string(&file).unwrap(), "an hour of work\n");
        assert_eq!(open(&repo), 3);
    }
    // As it lies there: nothing is written, and nothing comes back.
    repo.resolve_conflict("train.py", &Decision::AsEdited, &Ctx::quiet())
        .unwrap();
    assert!(!repo.undo(&Ctx::quiet()).unwrap().worktree);
    assert_eq!(open(&repo), 3);
}

#[test]
fn a_place_that_was_decided_is_undecided_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = merging(dir.path());
    let here = |name: &str| dir.path().join(name).exists();
    let places = || ["d/x", "ours/x", "theirs/x"].map(here);
    for (decision, want) in [
        (Decision::Base, [true, false, false]),
        (Decision::Theirs, [false, false, true]),
    ] {
        repo.resolve_conflict("ours/x", &decision, &Ctx::quiet())
            .unwrap();
        assert_eq!((places(), open(&repo)), (want, 1));
        repo.undo(&Ctx::quiet()).unwrap();
        assert_eq!((places(), open(&repo)), ([false, true, true], 3));
    }
    repo.merge_abort(&Ctx::quiet()).unwrap();
    assert_eq!(places(), [false, true, false]);
    assert_eq!(repo.status(None, &Ctx::quiet()).unwrap().changes, []);
}

/// Somebody deleted it where it is to stand: it comes from the other place as it is there, a script as a
/// script and a link as a link.
#[test]
fn a_file_that_is_in_the_other_place_alone_is_moved_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut repo = merging(dir.path());
    let (ours, theirs) = (dir.path().join("ours/x"), dir.path().join("theirs/x"));
    fs::remove_file(&ours).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    repo.resolve_conflict("ours/x", &Decision::Ours, &Ctx::quiet())
        .unwrap();
    assert!(!theirs.exists());
    assert_eq!(
        fs::metadata(&ours).unwrap().permissions().mode() & 0o100,
        0o100
    );
    repo.undo(&Ctx::quiet()).unwrap();
    assert!(theirs.exists() && !ours.exists());
    fs::remove_file(&theirs).unwrap();
    std::os::unix::fs::symlink("../train.py", &theirs).unwrap();
    repo.resolve_conflict("ours/x", &Decision::Ours, &Ctx::quiet())
        .unwrap();
    assert_eq!(fs::read_link(&ours).unwrap(), Path::new("../train.py"));
    repo.undo(&Ctx::quiet()).unwrap();
    fs::remove_file(&theirs).unwrap();
    let nowhere = repo.resolve_conflict("ours/x", &Decision::Ours, &Ctx::quiet());
    assert!(
        nowhere
            .unwrap_err()
            .to_string()
            .contains("neither `ours/x` nor `theirs/x`")
    );
}
