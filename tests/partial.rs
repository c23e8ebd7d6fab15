//! Clones of a part: what is not here comes when it is read, is never taken for damage, and what can't come
//! is named.

use crate::remote::{clone, noise, origin};
use crate::support::Tree;

/// A remote with two versions of a large data file and a model, and the tree it came from.
fn large() -> (Tree, Tree) {
    let (remote, a) = origin();
    std::fs::create_dir(a.path("models")).unwrap();
    for seed in 1..3 {
        std::fs::write(a.path("data/large.bin"), noise(seed, 24 << 20)).unwrap();
        std::fs::write(a.path("models/w.bin"), noise(10 + seed, 1 << 20)).unwrap();
        a.commit("more");
    }
    a.mv(&["push"]).success();
    (remote, a)
}

/// Bytes of all files below a folder.
fn bytes(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.path().is_dir() {
            true => bytes(&e.path()),
            false => e.metadata().map_or(0, |m| m.len()),
        })
        .sum()
}

#[test]
fn what_a_lazy_clone_lacks_comes_when_it_is_read() {
    let (remote, a) = large();
    let b = clone(&remote, &["--lazy"]);
    // What is checked out is here, what is older is not.
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(2, 24 << 20));
    assert!(b.mv(&["status"]).success().contains("nothing to commit"));
    let before = bytes(&b.path(".mv"));
    assert!(before < 27 << 20, "{before}");
    let part = b.command(&[
        "cat",
        "HEAD~1:data/large.bin",
        "--range",
        "12000000-12000100",
    ]);
    let part = { part }.output().unwrap();
    assert!(part.stdout == noise(1, 24 << 20)[12_000_000..12_000_100]);
    let came = bytes(&b.path(".mv")) - before;
    assert!(came < 12 << 20, "{came} bytes came for 100");
    // Small files come whole, in diffs too.
    let diff = b.mv(&["diff", "HEAD~2", "HEAD", "--stat"]).success();
    assert!(diff.contains("models/w.bin"), "{diff}");
    let found = b.mv(&["fsck"]).success();
    assert!(found.contains("sound"), "{found}");
    b.mv(&["gc", "--now"]).success();
    b.mv(&["switch", "--detach", "HEAD~1"]).success();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(1, 24 << 20));
    b.mv(&["switch", "main"]).success();
    // It is worked on like any other.
    b.put("train.py", "print(2)\n");
    let id = b.commit("of b");
    b.mv(&["push"]).success();
    a.mv(&["pull"]).success();
    assert_eq!(a.id("HEAD"), id);
    a.mv(&["fsck"]).success();
}

#[test]
fn without_the_remote_what_is_missing_is_named() {
    let (remote, a) = large();
    let b = clone(&remote, &["--only", "code,config"]);
    assert!(!b.path("data").exists());
    b.mv(&["fetch", "models/w.bin"]).success();
    let json = b.json(&["fetch", "data", "--at", "HEAD~2", "--json"]);
    assert_eq!(json["files"], 1, "{json}");
    std::fs::rename(remote.path("remote"), remote.path("gone")).unwrap();
    // What was fetched is here, the rest is named.
    let model = b.command(&["cat", "HEAD:models/w.bin"]).output().unwrap();
    assert!(model.stdout == noise(12, 1 << 20));
    let rows = b.mv(&["cat", "HEAD~2:data/rows.csv"]).success();
    assert_eq!(rows, "id,x\n1,2\n");
    let error = b.mv(&["cat", "HEAD:data/large.bin"]).fails_with(1);
    assert!(
        error.contains("not in this clone") && error.contains("`data/large.bin`"),
        "{error}"
    );
    let error = b.mv(&["export", "HEAD", "out"]).fails_with(1);
    assert!(error.contains("`data/large.bin`"), "{error}");
    let error = b.mv(&["fetch", "data/large.bin"]).fails_with(1);
    assert!(error.contains("`data/large.bin`"), "{error}");
    // Nobody takes it for damage, and commits go on.
    b.mv(&["fsck"]).success();
    b.put("train.py", "print(3)\n");
    b.commit("offline");
    assert!(b.mv(&["status"]).success().contains("1 ahead"));
    std::fs::rename(remote.path("gone"), remote.path("remote")).unwrap();
    b.mv(&["push"]).success();
    a.mv(&["pull"]).success();
    assert!(std::fs::read(a.path("data/large.bin")).unwrap() == noise(2, 24 << 20));
}

#[test]
fn what_was_made_here_and_is_gone_is_damage_and_no_promise() {
    let (remote, _a) = large();
    let b = clone(&remote, &["--lazy"]);
    let before = std::fs::read_dir(b.path(".mv/packs")).unwrap().flatten();
    let before: Vec<_> = before.map(|e| e.path()).collect();
    b.put("data/own.csv", "id\n1\n");
    b.commit("own data");
    for entry in std::fs::read_dir(b.path(".mv/packs")).unwrap().flatten() {
        if !before.contains(&entry.path()) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let found = b.mv(&["fsck"]);
    assert!(found.out.contains("damaged"), "{}", found.out);
    found.fails_with(4);
}

#[test]
fn a_clone_of_one_commit_is_sound_without_its_history() {
    let (remote, a) = large();
    let b = clone(&remote, &["--bare", "--commit", &a.id("HEAD")]);
    let error = b.mv(&["fsck"]).success();
    assert!(error.contains("sound"), "{error}");
    // The data is no part of a release, but can be read.
    let data = b.command(&["cat", "HEAD:data/large.bin"]).output().unwrap();
    assert!(data.stdout == noise(2, 24 << 20));
    let error = b.mv(&["fetch", "nosuch"]).fails_with(1);
    assert!(error.contains("remote `nosuch` not found"), "{error}");
}
