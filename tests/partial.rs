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
    let url = format!("file://{}", remote.path("remote").display());
    let b = Tree::empty();
    let cloned = b.json(&["clone", "--lazy", &url, ".", "--json"]);
    // What is checked out is here, and was counted; what is older is not.
    let received = cloned["received"]["bytes"].as_u64().unwrap();
    assert!((25 << 20..27 << 20).contains(&received), "{cloned}");
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
    // It can't be reached, and that is said, with its name, its address and what to do.
    let there = format!("origin (file://{})", remote.path("remote").display());
    for word in [
        there.as_str(),
        "can be reached there any more",
        "remote add",
    ] {
        assert!(error.contains(word), "{word} is not in {error}");
    }
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

#[test]
fn a_shallow_clone_says_where_its_history_ends_and_takes_more() {
    let (remote, a) = origin();
    for n in 0..6 {
        a.put("train.py", &format!("print({n})\n"));
        std::fs::write(a.path("data/large.bin"), noise(n, 1 << 20)).unwrap();
        a.commit(&format!("n {n}"));
    }
    a.mv(&["tag", "old", "HEAD~5"]).success();
    a.mv(&["tag", "new", "HEAD~1"]).success();
    a.mv(&["branch", "early", "HEAD~3"]).success();
    a.mv(&["push", "--all", "--tags"]).success();
    let all = a.json(&["log", "--json"]).as_array().unwrap().len();
    let b = clone(&remote, &["--depth", "2"]);
    let count = |tree: &Tree| tree.json(&["log", "--json"]).as_array().unwrap().len();
    assert_eq!(count(&b), 2);
    // Two versions of each branch, of six.
    let came = bytes(&b.path(".mv/packs"));
    assert!(came < 9 << 19, "{came}");
    let log = b.mv(&["log", "--oneline"]);
    assert!(
        log.err.contains("no history before") && log.err.contains("--unshallow"),
        "{}",
        log.err
    );
    log.success();
    assert!(b.mv(&["blame", "params.toml"]).err.contains("no history"));
    let tags = b.mv(&["tag"]).success();
    assert!(tags.contains("new") && !tags.contains("old"), "{tags}");
    assert!(b.mv(&["fsck"]).success().contains("sound"));
    let error = b.mv(&["show", "HEAD~2"]).fails_with(1);
    assert!(error.contains("--unshallow"), "{error}");
    let error = b.mv(&["merge", "origin/early"]).fails_with(1);
    assert!(error.contains("--unshallow"), "{error}");
    // Work goes on in both directions, and what moved hangs together.
    for n in 6..10 {
        a.put("train.py", &format!("print({n})\n"));
        a.commit(&format!("n {n}"));
    }
    a.mv(&["push"]).success();
    b.put("params.toml", "x = 9\n");
    b.commit("of b");
    b.mv(&["pull", "-m", "both"]).success();
    assert_eq!(count(&b), 2 + 4 + 2);
    b.mv(&["gc", "--now"]).success();
    b.mv(&["push"]).success();
    a.mv(&["pull"]).success();
    a.mv(&["fsck"]).success();
    assert_eq!(count(&a), all + 6);
    let early = || {
        let log = b.json(&["log", "origin/early", "--json"]);
        log.as_array().unwrap().len()
    };
    assert_eq!(early(), 2);
    b.mv(&["fetch", "--depth", "3"]).success();
    assert_eq!(early(), 3);
    assert!(b.mv(&["fsck"]).success().contains("sound"));
    b.mv(&["fetch", "--unshallow"]).success();
    assert_eq!(count(&b), all + 6);
    assert!(b.mv(&["tag"]).success().contains("old"));
    b.mv(&["merge", "origin/early"]).success();
    assert_eq!(b.mv(&["log"]).err, "");
    let error = b.mv(&["clone", "--depth", "0", "x", "y"]).fails_with(2);
    assert!(error.contains("depth"), "{error}");
}

/// A tag of what lies further back is news at every fetch, and another branch moves: neither brings the history.
#[test]
fn a_fetch_keeps_the_boundary_of_a_shallow_clone() {
    let (remote, a) = origin();
    for n in 0..4 {
        a.put("train.py", &format!("print({n})\n"));
        a.commit(&format!("n {n}"));
    }
    a.mv(&["tag", "old", "HEAD~3"]).success();
    a.mv(&["branch", "side", "HEAD"]).success();
    a.mv(&["push", "--all", "--tags"]).success();
    let b = clone(&remote, &["--depth", "1"]);
    let count = |name: &str| b.json(&["log", name, "--json"]).as_array().unwrap().len();
    let tags = || b.mv(&["tag"]).success();
    for _ in 0..2 {
        b.mv(&["fetch"]).success();
        assert_eq!((count("HEAD"), count("origin/side")), (1, 1));
        assert!(!tags().contains("old"), "{}", tags());
    }
    a.put("train.py", "print(9)\n");
    a.commit("newest");
    a.mv(&["tag", "fresh"]).success();
    a.mv(&["push", "--all", "--tags"]).success();
    b.mv(&["pull"]).success();
    assert_eq!((count("HEAD"), count("origin/side")), (2, 1));
    assert!(
        tags().contains("fresh") && !tags().contains("old"),
        "{}",
        tags()
    );
    assert!(b.mv(&["fsck"]).success().contains("sound"));
    let error = b.mv(&["show", "HEAD~2"]).fails_with(1);
    assert!(error.contains("--unshallow"), "{error}");
    b.mv(&["fetch", "--unshallow"]).success();
    assert!(count("HEAD") >= 5 && tags().contains("old"));
}

/// What is held from now on is held of every commit that is here, and of no other.
#[test]
fn a_shallow_clone_of_a_part_takes_another_ingredient() {
    let (remote, a) = origin();
    for n in 0..4 {
        a.put("data/rows.csv", &format!("id\n{n}\n"));
        a.commit(&format!("n {n}"));
    }
    a.mv(&["push"]).success();
    let b = clone(&remote, &["--depth", "2", "--only", "code,config"]);
    b.mv(&["fetch", "--add", "data"]).success();
    assert_eq!(b.get("data/rows.csv"), "id\n3\n");
    assert_eq!(b.mv(&["cat", "HEAD~1:data/rows.csv"]).success(), "id\n2\n");
    assert_eq!(b.json(&["log", "--json"]).as_array().unwrap().len(), 2);
    assert!(b.mv(&["fsck"]).success().contains("sound"));
}

#[test]
fn large_contents_of_a_filtered_clone_come_when_they_are_read() {
    let (remote, _a) = large();
    let b = clone(&remote, &["--filter", "size<2MiB"]);
    // Checked out is all of HEAD; of what is older, the small.
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(2, 24 << 20));
    let before = bytes(&b.path(".mv"));
    assert!(before < 30 << 20, "{before}");
    std::fs::rename(remote.path("remote"), remote.path("gone")).unwrap();
    let model = b.command(&["cat", "HEAD~1:models/w.bin"]).output().unwrap();
    assert!(model.stdout == noise(11, 1 << 20));
    let error = b.mv(&["switch", "--detach", "HEAD~1"]).fails_with(1);
    assert!(error.contains("`data/large.bin`"), "{error}");
    b.mv(&["fsck"]).success();
    std::fs::rename(remote.path("gone"), remote.path("remote")).unwrap();
    b.mv(&["switch", "--detach", "HEAD~1"]).success();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(1, 24 << 20));
    b.mv(&["clone", "--filter", "100", "x", "y"]).fails_with(2);
}

#[test]
fn a_sparse_tree_holds_some_paths_and_commits_keep_the_rest() {
    let (remote, a) = large();
    a.put("lib/a/x.py", "1\n");
    a.put("lib/b/y.py", "1\n");
    a.commit("two folders");
    a.mv(&["push"]).success();
    let b = clone(&remote, &["--lazy", "--sparse", "lib/a"]);
    assert!(b.path("train.py").exists() && b.path("lib/a/x.py").exists());
    assert!(!b.path("data").exists() && !b.path("lib/b").exists());
    let came = bytes(&b.path(".mv"));
    assert!(came < 1 << 20, "{came}");
    assert!(b.mv(&["status"]).success().contains("nothing to commit"));
    b.put("lib/a/x.py", "2\n");
    b.put("lib/c/z.py", "new\n");
    let id = b.commit("of b");
    let json = b.json(&["show", "HEAD", "--json"]);
    assert!(!json.to_string().contains("y.py"), "{json}");
    b.mv(&["push"]).success();
    a.mv(&["pull"]).success();
    assert_eq!((a.id("HEAD"), a.get("lib/b/y.py").as_str()), (id, "1\n"));
    assert_eq!(a.get("lib/a/x.py"), "2\n");
    // A merge brings what is not held, too, unless it stops.
    a.put("lib/b/y.py", "2\n");
    a.commit("y");
    a.mv(&["push"]).success();
    b.put("train.py", "print(7)\n");
    b.commit("train");
    b.mv(&["pull", "-m", "both"]).success();
    assert!(!b.path("lib/b").exists());
    assert_eq!(b.mv(&["cat", "HEAD:lib/b/y.py"]).success(), "2\n");
    b.mv(&["push"]).success();
    a.mv(&["pull"]).success();
    a.put("train.py", "print(8)\n");
    a.put("lib/b/y.py", "3\n");
    a.commit("both");
    a.mv(&["push"]).success();
    b.put("train.py", "print(9)\n");
    b.commit("train again");
    let error = b.mv(&["pull"]).fails_with(1);
    assert!(
        error.contains("lib/b/y.py") && error.contains("sparse disable"),
        "{error}"
    );
    // What is to go and was changed stays.
    b.put("lib/a/x.py", "mine\n");
    b.mv(&["sparse", "set", "lib/b"]).fails_with(1);
    b.mv(&["restore", "lib/a/x.py"]).success();
    let said = b.mv(&["-C", "lib", "sparse", "set", "b"]).success();
    assert_eq!(said, "lib/b\n");
    assert!(b.path("lib/b/y.py").exists() && !b.path("lib/a").exists());
    assert!(b.mv(&["status"]).success().contains("nothing to commit"));
    assert_eq!(b.json(&["sparse", "list", "--json"])["paths"][0], "lib/b");
    b.mv(&["sparse", "disable"]).success();
    assert!(b.path("lib/a/x.py").exists() && b.path("data/large.bin").exists());
    assert!(b.mv(&["status"]).success().contains("nothing to commit"));
    b.mv(&["pull"]).fails_with(3);
    b.mv(&["resolve", "train.py", "--ours"]).success();
    b.mv(&["merge", "--continue"]).success();
    assert_eq!(b.get("lib/b/y.py"), "3\n");
}
