//! Remotes through the library: what reaches a clone, what is refused, and what a hostile remote
//! can't do.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::id::CommitId;
use modelv_store::remote::{Change, Remote, RemoteError, RemoteOptions, Sent};

use super::*;
use crate::commit::CommitOptions;
use crate::merge::{MergeOptions, MergeOutcome};

fn commit(repo: &mut Repo, file: &str, text: &str) -> CommitId {
    let path = repo.root().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    let options = CommitOptions {
        message: format!("{file}: {text}"),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap().id
}

fn info(dir: &Path) -> RemoteInfo {
    RemoteInfo {
        name: ORIGIN.into(),
        url: format!("file://{}", dir.join("remote").display()),
        options: RemoteOptions::default(),
    }
}

/// A repository with one commit that is on a remote.
fn origin(dir: &Path) -> (Repo, RemoteInfo) {
    let mut repo = Repo::init(&dir.join("a")).unwrap();
    std::fs::write(dir.join("a/modelv.toml"), "[env]\ncapture = \"none\"\n").unwrap();
    commit(&mut repo, "train.py", "1");
    commit(&mut repo, "data/rows.csv", "x\n1\n");
    let info = info(dir);
    repo.add_remote(&info).unwrap();
    push(&mut repo, &info).unwrap();
    (repo, info)
}

fn push(repo: &mut Repo, info: &RemoteInfo) -> Result<PushReport> {
    repo.push(info, &PushOptions::default(), &Ctx::quiet())
}

fn clone(dir: &Path, name: &str, info: &RemoteInfo, options: &CloneOptions) -> Result<Cloned> {
    Repo::clone_from(&info.url, &dir.join(name), options, "clone", &Ctx::quiet())
}

fn fetch(repo: &mut Repo, info: &RemoteInfo) -> Result<FetchReport> {
    repo.fetch(info, &FetchOptions::default(), &Ctx::quiet())
}

#[test]
fn a_clone_has_the_history_the_upstream_and_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, info) = origin(dir.path());
    let mut b = clone(dir.path(), "b", &info, &CloneOptions::default())
        .unwrap()
        .repo;
    assert_eq!(b.head(), a.head());
    assert_eq!(b.head_ref(), Some("refs/heads/main"));
    assert_eq!(
        b.upstream_of("main"),
        Some(("origin".into(), "main".into()))
    );
    assert_eq!(b.check_reachable().unwrap(), Vec::<String>::new());
    let status = b.status(None, &Ctx::quiet()).unwrap();
    assert!(status.changes.is_empty());
    let upstream = status.upstream.unwrap();
    assert_eq!((upstream.ahead, upstream.behind), (0, 0));

    commit(&mut a, "train.py", "2");
    assert_eq!(push(&mut a, &info).unwrap().updates.len(), 1);
    assert!(push(&mut a, &info).unwrap().updates.is_empty());
    commit(&mut b, "b.py", "b");
    fetch(&mut b, &info).unwrap();
    let upstream = b.upstream().unwrap().unwrap();
    assert_eq!((upstream.ahead, upstream.behind), (1, 1));
    let error = push(&mut b, &info).unwrap_err();
    assert!(matches!(&error, Error::Rejected { refs, .. } if refs[0].1 == "fetch first"));
    let options = MergeOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..MergeOptions::default()
    };
    let (_, outcome) = b.pull(&info, None, &options, &Ctx::quiet()).unwrap();
    assert!(matches!(outcome, MergeOutcome::Merged(_)));
    push(&mut b, &info).unwrap();
    assert_eq!(fetch(&mut a, &info).unwrap().updates[0].new, b.head());
}

#[test]
fn a_push_decides_again_when_another_was_faster() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, info) = origin(dir.path());
    let mut b = clone(dir.path(), "b", &info, &CloneOptions::default())
        .unwrap()
        .repo;
    // Other branches of others do not get in the way, whatever happens between read and write.
    let at = a.head().unwrap();
    a.create_branch("of-a", at).unwrap();
    b.create_branch("of-b", at).unwrap();
    let one = |name: &str| PushOptions {
        refs: vec![name.into()],
        ..PushOptions::default()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| a.push(&info, &one("of-a"), &Ctx::quiet()).unwrap());
        scope.spawn(|| b.push(&info, &one("of-b"), &Ctx::quiet()).unwrap());
    });
    fetch(&mut a, &info).unwrap();
    let names: Vec<String> = a
        .refs_below("refs/remotes/origin/")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["main", "of-a", "of-b"]);
}

#[test]
fn several_refs_move_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, info) = origin(dir.path());
    let mut b = clone(dir.path(), "b", &info, &CloneOptions::default())
        .unwrap()
        .repo;
    commit(&mut b, "b.py", "b");
    push(&mut b, &info).unwrap();
    let new = commit(&mut a, "a.py", "a");
    a.create_branch("fresh", new).unwrap();
    let all = PushOptions {
        all: true,
        ..PushOptions::default()
    };
    let error = a.push(&info, &all, &Ctx::quiet()).unwrap_err();
    assert!(
        error.to_string().contains("`main` (fetch first)"),
        "{error}"
    );
    let report = fetch(&mut a, &info).unwrap();
    let names: Vec<&str> = report.updates.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(
        names,
        ["refs/remotes/origin/main"],
        "`fresh` did not move alone"
    );
}

#[test]
fn parts_and_single_commits_hold_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let (a, info) = origin(dir.path());
    let files = a.files(a.head().unwrap()).unwrap();
    let blob = |name: &str| {
        let found = files.iter().find(|(p, _)| p.to_string() == name);
        found.unwrap().1.blob
    };
    let part = CloneOptions {
        only: vec![Ingredient::Code, Ingredient::Config],
        ..CloneOptions::default()
    };
    let mut part = clone(dir.path(), "part", &info, &part).unwrap().repo;
    assert!(part.store.has_blob(&blob("train.py")).unwrap());
    assert!(!part.store.has_blob(&blob("data/rows.csv")).unwrap());
    assert_eq!(
        part.history(&crate::LogOptions {
            start: part.head().into_iter().collect(),
            ..Default::default()
        })
        .unwrap()
        .len(),
        2
    );
    commit(&mut part, "train.py", "2");
    push(&mut part, &info).unwrap();
    let add = FetchOptions {
        add: vec![Ingredient::Data, Ingredient::Model],
        ..FetchOptions::default()
    };
    part.fetch(&info, &add, &Ctx::quiet()).unwrap();
    assert_eq!(part.only(), None);
    assert_eq!(
        std::fs::read_to_string(dir.path().join("part/data/rows.csv")).unwrap(),
        "x\n1\n"
    );
    assert_eq!(part.check_reachable().unwrap(), Vec::<String>::new());

    let single = CloneOptions {
        bare: true,
        commit: Some(a.head().unwrap().short()),
        ..CloneOptions::default()
    };
    let mut single = clone(dir.path(), "single", &info, &single).unwrap().repo;
    assert!(single.is_bare() && single.is_shallow());
    assert_eq!(single.head(), a.head());
    assert!(single.store.has_blob(&blob("train.py")).unwrap());
    assert!(!single.store.has_blob(&blob("data/rows.csv")).unwrap());
    let start = single.head().into_iter().collect();
    let log = single
        .history(&crate::LogOptions {
            start,
            ..Default::default()
        })
        .unwrap();
    assert_eq!(log.len(), 1);
    fetch(&mut single, &info).unwrap();
    assert!(!single.is_shallow());
}

#[test]
fn runs_of_others_are_known_here() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, info) = origin(dir.path());
    let options = crate::RunOptions {
        command: [
            "sh",
            "-c",
            "mkdir -p models; echo w > models/m.safetensors; echo said",
        ]
        .map(Into::into)
        .to_vec(),
        author: Some("Ada <ada@example.org>".into()),
        ..crate::RunOptions::default()
    };
    a.run(&options, &mut Vec::new(), &Ctx::quiet()).unwrap();
    push(&mut a, &info).unwrap();
    let b = clone(dir.path(), "b", &info, &CloneOptions::default())
        .unwrap()
        .repo;
    assert_eq!(b.runs().unwrap(), a.runs().unwrap());
    let log = b.runs().unwrap()[0].1.log.unwrap();
    assert_eq!(b.read_blob(log).unwrap(), b"said\n");
}

/// Moves the remote's refs behind everybody's back.
fn overwrite(dir: &Path, info: &RemoteInfo, refs: &[(&str, CommitId)]) {
    let remote = Remote::open(&info.url, &info.options, &dir.join("cache")).unwrap();
    let refs: BTreeMap<String, CommitId> = refs
        .iter()
        .map(|(name, id)| ((*name).to_owned(), *id))
        .collect();
    let moved = remote.swap(&Sent::default(), &mut |_| {
        let head = "refs/heads/main".into();
        let refs = refs.clone();
        Ok::<_, RemoteError>(Some(Change { head, refs }))
    });
    moved.unwrap();
}

#[test]
fn a_hostile_remote_moves_nothing_here() {
    let dir = tempfile::tempdir().unwrap();
    let (a, info) = origin(dir.path());
    let mut b = clone(dir.path(), "b", &info, &CloneOptions::default())
        .unwrap()
        .repo;
    let head = a.head().unwrap();
    for name in [
        "refs/heads/../../x",
        "refs/heads/a b",
        "refs/tags/.x",
        "refs/heads/\u{1b}[2J",
    ] {
        overwrite(dir.path(), &info, &[(name, head)]);
        let before = b.log.refs.clone();
        let error = fetch(&mut b, &info).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{name:?}: {error}");
        assert_eq!(b.log.refs, before);
        assert!(
            clone(
                dir.path(),
                &format!("c{}", name.len()),
                &info,
                &CloneOptions::default()
            )
            .is_err()
        );
    }
    // A ref to a commit that the remote does not hold.
    overwrite(dir.path(), &info, &[("refs/heads/main", CommitId([7; 32]))]);
    let before = b.log.refs.clone();
    let error = fetch(&mut b, &info).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
    assert_eq!(b.log.refs, before);
}

#[test]
fn a_clone_goes_on_only_in_its_own_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (_a, info) = origin(dir.path());
    std::fs::create_dir(dir.path().join("full")).unwrap();
    std::fs::write(dir.path().join("full/mine.txt"), "mine").unwrap();
    let error = clone(dir.path(), "full", &info, &CloneOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    // Cut short before the first ref moved: the same command goes on.
    let mut repo = Repo::init(&dir.path().join("cut")).unwrap();
    let settings = repo.remote_settings(&info);
    repo.update_refs(settings).unwrap();
    drop(repo);
    let done = clone(dir.path(), "cut", &info, &CloneOptions::default()).unwrap();
    assert!(done.head.is_some());
    let again = clone(dir.path(), "cut", &info, &CloneOptions::default());
    assert!(again.is_err(), "a finished clone is not cloned over");
}

#[test]
fn folders_get_an_address_that_holds_from_everywhere() {
    let base = Path::new("/srv/here");
    for (typed, full) in [
        ("../there", "file:///srv/there"),
        ("/srv/m", "file:///srv/m"),
        ("./x/../y", "file:///srv/here/y"),
        ("s3://b/p", "s3://b/p"),
    ] {
        assert_eq!(full_url(typed, base).unwrap(), full);
    }
}
