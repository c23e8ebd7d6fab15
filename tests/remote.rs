//! Remotes in a folder: clone, push, fetch and pull between several working trees.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::support::{Done, PATIENCE, Tree};

fn url(remote: &Tree) -> String {
    format!("file://{}", remote.path("remote").display())
}

/// A repository whose first commit is on a remote, and that remote's folder.
pub(crate) fn origin() -> (Tree, Tree) {
    let (remote, a) = (Tree::empty(), Tree::repo());
    a.put("train.py", "print(1)\n");
    a.put("data/rows.csv", "id,x\n1,2\n");
    a.put("params.toml", "lr = 0.1\n");
    a.commit("first");
    a.mv(&["remote", "add", "origin", &url(&remote)]).success();
    a.mv(&["push"]).success();
    (remote, a)
}

pub(crate) fn clone(remote: &Tree, extra: &[&str]) -> Tree {
    let tree = Tree::empty();
    let url = url(remote);
    let args = [&["clone", &url, "."], extra].concat();
    tree.mv(&args).success();
    tree
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    out.sort();
    out
}

/// Bytes that do not compress and are the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

#[test]
fn two_people_work_on_one_branch() {
    let (remote, a) = origin();
    let b = clone(&remote, &[]);
    assert_eq!(b.get("train.py"), "print(1)\n");
    assert_eq!(a.id("HEAD"), b.id("HEAD"));
    assert_eq!(b.id("origin/main"), b.id("main"));
    let status = b.mv(&["status"]).success();
    assert!(status.contains("up to date with origin/main"), "{status}");
    assert!(status.contains("nothing to commit"), "{status}");

    b.put("b.py", "b\n");
    let from_b = b.commit("of b");
    let status = b.mv(&["status"]).success();
    assert!(status.contains("1 ahead of origin/main"), "{status}");
    let pushed = b.json(&["push", "--json"]);
    assert_eq!(pushed["refs"][0]["new"], from_b.as_str());
    assert!(pushed["sent"]["bytes"].as_u64().unwrap() < 5000, "{pushed}");
    let again = b.mv(&["push"]).success();
    assert!(again.contains("up to date"), "{again}");

    a.put("a.py", "a\n");
    let from_a = a.commit("of a");
    let refused = a.mv(&["push"]).fails_with(1);
    assert!(refused.contains("`main` (fetch first)"), "{refused}");
    assert!(
        refused.contains("hint: somebody else has pushed: `modelv pull`"),
        "{refused}"
    );
    a.mv(&["fetch"]).success();
    let status = a.json(&["status", "--json"]);
    assert_eq!(
        (&status["upstream"]["ahead"], &status["upstream"]["behind"]),
        (&1.into(), &1.into())
    );
    a.mv(&["pull"]).success();
    assert_eq!(a.get("b.py"), "b\n");
    a.mv(&["push"]).success();
    b.mv(&["pull"]).success();
    assert_eq!(b.get("a.py"), "a\n");
    assert_eq!(a.id("HEAD"), b.id("HEAD"));
    let log = b.mv(&["log", "--oneline"]).success();
    for id in [&from_a, &from_b] {
        assert!(log.contains(&id[..12]), "{log}");
    }
    for tree in [&a, &b] {
        tree.mv(&["fsck"]).success();
    }
}

#[test]
fn branches_and_tags_are_pushed_replaced_and_deleted() {
    let (remote, a) = origin();
    a.mv(&["switch", "-c", "side"]).success();
    a.put("side.py", "1\n");
    let side = a.commit("side");
    a.mv(&["tag", "v1", "main"]).success();
    let refs = a.json(&["push", "origin", "--all", "--tags", "--json"]);
    assert_eq!(refs["refs"].as_array().unwrap().len(), 2, "{refs}");
    let b = clone(&remote, &["--branch", "side"]);
    assert_eq!(b.id("HEAD"), side);
    assert_eq!(b.id("v1"), a.id("main"));
    b.mv(&["switch", "main"]).success();
    assert_eq!(b.id("main"), a.id("main"));

    // A tag never moves, a branch goes forward only.
    b.mv(&["tag", "-d", "v1"]).success();
    b.mv(&["tag", "v1", "side"]).success();
    let refused = b.mv(&["push", "origin", "v1"]).fails_with(1);
    assert!(
        refused.contains("the tag is another commit there"),
        "{refused}"
    );
    a.mv(&["fetch"]).success();

    // A lease holds only while nobody else has pushed.
    a.put("side.py", "2\n");
    a.commit("more");
    a.mv(&["push"]).success();
    b.mv(&["switch", "side"]).success();
    b.put("side.py", "another\n");
    let other = b.commit("another line");
    let refused = b.mv(&["push", "--force-with-lease"]).fails_with(1);
    assert!(
        refused.contains("moved since it was last fetched"),
        "{refused}"
    );
    b.mv(&["fetch"]).success();
    let forced = b.json(&["push", "--force-with-lease", "--json"]);
    assert_eq!(forced["refs"][0]["forced"], true);
    let fetched = a.json(&["fetch", "--json"]);
    assert_eq!(fetched[0]["refs"][0]["new"], other.as_str());

    let refused = a.mv(&["push", "origin", "--delete", "main"]).fails_with(1);
    assert!(refused.contains("clones check it out"), "{refused}");
    // A name is a branch there, or else a tag; one of neither is a slip.
    let refused = a
        .mv(&["push", "origin", "--delete", "nosuch"])
        .fails_with(1);
    assert!(
        refused.contains("`nosuch` (nothing there has this name)"),
        "{refused}"
    );
    assert!(
        refused.contains("hint: `modelv remote list --json`"),
        "{refused}"
    );
    let deleted = a.mv(&["push", "origin", "--delete", "v1"]).success();
    assert!(deleted.contains("v1 removed"), "{deleted}");
    let again = clone(&remote, &[]).mv(&["tag"]).success();
    assert!(!again.contains("v1"), "{again}");
    a.mv(&["push", "origin", ":side"]).success();
    b.mv(&["fetch"]).success();
    assert_eq!(b.id("origin/side"), other, "kept until it is pruned");
    b.mv(&["fetch", "--prune"]).success();
    b.mv(&["rev-parse", "origin/side"]).fails_with(1);
    // Undo takes the commit back, not the note of what the remote has.
    let undone = b.mv(&["undo"]).success();
    assert!(undone.contains("commit"), "{undone}");
}

#[test]
fn remotes_are_added_listed_and_forgotten() {
    let (remote, a) = origin();
    let list = a.json(&["remote", "--json"]);
    assert_eq!(list[0]["name"], "origin");
    assert_eq!(list[0]["branches"]["main"], a.id("main").as_str());
    a.mv(&["remote", "add", "near", "../near"]).success();
    let text = a.mv(&["remote", "list"]).success();
    assert!(text.contains("near file:///"), "{text}");
    for (args, hint) in [
        (&["remote", "add", "near", "../x"][..], "remote remove"),
        (&["remote", "add", "x", "ftp://h/x"], "s3://bucket/prefix"),
        (&["remote", "add", "a/b", "../x"], ""),
        (&["push", "nobody"], "remote add NAME URL"),
        (&["fetch", "near"], "first `modelv push`"),
        (
            &["clone", "file:///nowhere/at/all", "x"],
            "check the address",
        ),
    ] {
        let error = a.mv(args).fails_with(1);
        assert!(error.contains(hint), "{args:?}: {error}");
    }
    a.mv(&["remote", "remove", "origin"]).success();
    a.mv(&["rev-parse", "origin/main"]).fails_with(1);
    assert!(a.json(&["status", "--json"])["upstream"].is_null());
    // What is not there leaves nothing behind that would be in the way.
    let empty = Tree::empty();
    let args = ["clone", &url(&remote), "x", "--branch", "nosuch"];
    empty.mv(&args).fails_with(1);
    assert!(!empty.path("x").exists());
    let full = clone(&remote, &[]);
    let taken = full.mv(&["clone", &url(&remote), "."]).fails_with(1);
    assert!(taken.contains("already exists"), "{taken}");
}

#[test]
fn a_part_of_a_repository_can_be_cloned_and_worked_on() {
    let (remote, a) = origin();
    let b = clone(&remote, &["--only", "code,config"]);
    assert!(!b.path("data").exists());
    let status = b.mv(&["status"]).success();
    assert!(status.contains("nothing to commit"), "{status}");
    // What is read comes, and is no part of the working tree.
    let rows = b.mv(&["cat", "HEAD:data/rows.csv"]).success();
    assert_eq!(rows, "id,x\n1,2\n");
    assert!(!b.path("data").exists());
    b.put("train.py", "print(2)\n");
    b.commit("code alone");
    b.mv(&["push"]).success();
    a.mv(&["pull"]).success();
    assert_eq!(a.get("train.py"), "print(2)\n");
    assert_eq!(a.get("data/rows.csv"), "id,x\n1,2\n");
    a.put("data/rows.csv", "id,x\n1,3\n");
    a.commit("data");
    a.mv(&["push"]).success();
    b.mv(&["pull"]).success();
    assert!(!b.path("data").exists());
    b.mv(&["fetch", "--add", "data"]).success();
    assert_eq!(b.get("data/rows.csv"), "id,x\n1,3\n");
    b.mv(&["fetch", "--add", "model"]).success();
    b.mv(&["fsck"]).success();
    assert!(b.mv(&["status"]).success().contains("nothing to commit"));
}

#[test]
fn one_commit_can_be_cloned_alone() {
    let (remote, a) = origin();
    let first = a.id("HEAD");
    std::fs::write(a.path("data/big.bin"), noise(1, 3 << 20)).unwrap();
    a.put("train.py", "print(2)\n");
    let second = a.commit("second");
    a.mv(&["push"]).success();
    let b = Tree::empty();
    let done = b.json(&[
        "clone",
        "--bare",
        "--commit",
        &first[..10],
        &url(&remote),
        ".",
        "--json",
    ]);
    assert_eq!(done["head"], first.as_str());
    assert!(
        done["received"]["bytes"].as_u64().unwrap() < 10_000,
        "{done}"
    );
    assert_eq!(b.id("HEAD"), first);
    b.mv(&["log"]).success();
    let error = b.mv(&["status"]).fails_with(1);
    assert!(error.contains("bare repository"), "{error}");
    let c = Tree::empty();
    c.mv(&["clone", "--bare", "--commit", "main", &url(&remote), "."])
        .success();
    assert_eq!(c.id("HEAD"), second);
    let log = c.mv(&["log", "--oneline"]).success();
    assert_eq!(log.lines().count(), 1, "{log}");
    c.mv(&["fetch"]).success();
    let log = c.mv(&["log", "--oneline"]).success();
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn a_flipped_byte_on_the_remote_is_found_and_nothing_changes_here() {
    let (remote, a) = origin();
    let b = clone(&remote, &[]);
    let before = files(&remote.path("remote/packs"), "pack");
    a.put("train.py", "print(2)\n");
    a.commit("second");
    a.mv(&["push"]).success();
    let all = files(&remote.path("remote/packs"), "pack");
    let new = all.iter().find(|p| !before.contains(p)).unwrap();
    let good = std::fs::read(new).unwrap();
    let oplog = std::fs::read(b.path(".mv/oplog")).unwrap();
    for at in [3, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(new, &bad).unwrap();
        let error = b.mv(&["fetch"]).fails_with(4);
        assert!(error.contains("damaged"), "{error}");
        assert!(std::fs::read(b.path(".mv/oplog")).unwrap() == oplog);
        b.mv(&["fsck"]).success();
    }
    std::fs::write(new, &good).unwrap();
    b.mv(&["pull"]).success();
    assert_eq!(b.get("train.py"), "print(2)\n");
}

/// Waits until something holds, looking often.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

fn spawn(tree: &Tree, args: &[&str]) -> Child {
    let mut command = tree.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_push_that_was_killed_is_finished_by_the_next() {
    let (remote, a) = origin();
    let first = a.id("HEAD");
    for n in 0..3 {
        std::fs::write(a.path(&format!("data/{n}.bin")), noise(n, 70 << 20)).unwrap();
    }
    a.commit("large");
    let packs = remote.path("remote/packs");
    let here = files(&packs, "pack").len();
    // From the first byte on its way to the last pack in place.
    for more in 0..4 {
        let mut push = spawn(&a, &["push"]);
        until("the push", || {
            let begun =
                std::fs::read_dir(&packs).unwrap().count() > files(&packs, "pack").len() * 2;
            let ended = push.try_wait().unwrap().is_some();
            ended || (begun && files(&packs, "pack").len() >= here + more)
        });
        let _ = push.kill();
        push.wait().unwrap();
        // Whatever was cut short, the remote is whole: the old state or the new one.
        let b = clone(&remote, &[]);
        let head = b.id("HEAD");
        assert!(head == first || head == a.id("HEAD"), "{more}");
        b.mv(&["fsck"]).success();
    }
    let there: u64 = files(&packs, "pack")
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    let pushed = a.json(&["push", "--json"]);
    let sent = pushed["sent"]["bytes"].as_u64().unwrap();
    assert!(
        sent <= (215 << 20) - there.min(215 << 20) + (1 << 20),
        "{there} were there: {pushed}"
    );
    let b = clone(&remote, &[]);
    assert_eq!(b.id("HEAD"), a.id("HEAD"));
    for n in 0..3 {
        assert!(std::fs::read(b.path(&format!("data/{n}.bin"))).unwrap() == noise(n, 70 << 20));
    }
}

#[test]
fn a_clone_that_was_killed_goes_on() {
    let (remote, a) = origin();
    std::fs::write(a.path("data/0.bin"), noise(0, 140 << 20)).unwrap();
    a.commit("large");
    a.mv(&["push"]).success();
    let b = Tree::empty();
    let staged = b.path("x/.mv/fetch");
    let mut child = spawn(&b, &["clone", &url(&remote), "x"]);
    until("a finished pack", || {
        let packs = files(&staged, "pack");
        // A pack that is published at this moment has gone from here: look again.
        let is_large = |p: &PathBuf| p.metadata().is_ok_and(|m| m.len() > 8 << 20);
        packs.iter().any(is_large) || child.try_wait().unwrap().is_some()
    });
    let _ = child.kill();
    child.wait().unwrap();
    if b.path("x/data/0.bin").exists() {
        return;
    }
    let done = b.json(&["clone", &url(&remote), "x", "--json"]);
    assert!(
        done["received"]["bytes"].as_u64().unwrap() < 133 << 20,
        "{done}"
    );
    assert!(std::fs::read(b.path("x/data/0.bin")).unwrap() == noise(0, 140 << 20));
}

/// Commits and pushes, merging what others pushed, until it is there.
pub(crate) fn push_until_done(tree: &Tree, env: &[(&str, String)]) {
    let run = |args: &[&str]| {
        let mut command = tree.command(args);
        command.envs(env.iter().map(|(k, v)| (k, v)));
        command.output().unwrap()
    };
    for _ in 0..200 {
        let pushed = run(&["push"]);
        if pushed.status.success() {
            return;
        }
        let error = String::from_utf8_lossy(&pushed.stderr).into_owned();
        assert!(error.contains("fetch first"), "{error}");
        let pulled = run(&["pull"]);
        assert!(
            pulled.status.success(),
            "{}",
            String::from_utf8_lossy(&pulled.stderr)
        );
    }
    panic!("200 pushes were refused");
}

/// The branches that a remote has.
fn branches(tree: &Tree) -> serde_json::Map<String, serde_json::Value> {
    tree.mv(&["fetch"]).success();
    let remotes = tree.json(&["remote", "--json"]);
    remotes[0]["branches"].as_object().unwrap().clone()
}

#[test]
fn sixty_four_processes_move_their_branches_at_once() {
    let (remote, a) = origin();
    let first = a.id("HEAD");
    // One tree, 64 branches; each push is a process of its own, and moves the one root.
    for n in 0..64 {
        a.mv(&["branch", &format!("b{n}")]).success();
    }
    let pushes: Vec<Child> = (0..64)
        .map(|n| spawn(&a, &["push", "origin", &format!("b{n}")]))
        .collect();
    for mut push in pushes {
        assert!(push.wait().unwrap().success());
    }
    let b = clone(&remote, &[]);
    let there = branches(&b);
    assert_eq!(there.len(), 65, "{there:?}");
    assert!(there.values().all(|id| id == &serde_json::json!(first)));
}

#[test]
fn clocks_a_year_apart_change_nothing() {
    let (remote, a) = origin();
    let b = clone(&remote, &[]);
    let at = |tree: &Tree, offset: &str, args: &[&str]| {
        let output = tree.with_clock(offset, args).output();
        Done::new(&output.expect("`faketime`; `tests/all` installs it"))
    };
    for round in 0..3 {
        a.put("a.py", &format!("{round}\n"));
        at(&a, "-1y", &["commit", "-m", "early"]).success();
        at(&a, "-1y", &["push"]).success();
        at(&b, "+0", &["pull"]).success();
        b.put("b.py", &format!("{round}\n"));
        at(&b, "+0", &["commit", "-m", "late"]).success();
        at(&b, "+0", &["push"]).success();
        at(&b, "+0", &["gc", "--remote"]).success();
        at(&a, "-1y", &["pull"]).success();
    }
    assert_eq!(a.id("HEAD"), b.id("HEAD"));
    // To the remote's own clock all of it is young.
    let told = at(&b, "+0", &["gc", "--remote", "--json"]).success();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["deleted"]["objects"], 0, "{told}");
    clone(&remote, &[]).mv(&["fsck"]).success();
}

#[test]
fn many_pushing_at_once_lose_nothing() {
    const PEOPLE: usize = 4;
    const EACH: usize = 5;
    let (remote, _a) = origin();
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let people: Vec<_> = (0..PEOPLE)
            .map(|person| {
                let remote = &remote;
                scope.spawn(move || {
                    let tree = clone(remote, &[]);
                    (0..EACH)
                        .map(|n| {
                            tree.put(&format!("{person}-{n}.py"), "x\n");
                            let id = tree.commit(&format!("{n} of {person}"));
                            push_until_done(&tree, &[]);
                            id
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        people.into_iter().flat_map(|p| p.join().unwrap()).collect()
    });
    let end = clone(&remote, &[]);
    let log = end.mv(&["log", "--oneline"]).success();
    assert_eq!(acknowledged.len(), PEOPLE * EACH);
    for id in acknowledged {
        assert!(log.contains(&id[..12]), "{id} was acknowledged and is lost");
    }
    for person in 0..PEOPLE {
        for n in 0..EACH {
            assert!(end.path(&format!("{person}-{n}.py")).exists());
        }
    }
    end.mv(&["fsck"]).success();
}

#[test]
fn a_clone_without_history_pushes_only_where_the_rest_is() {
    let (remote, a) = origin();
    let (same, _) = origin();
    let (other, c) = (Tree::empty(), Tree::repo());
    c.put("other.py", "print(0)\n");
    c.commit("another history");
    c.mv(&["remote", "add", "origin", &url(&other)]).success();
    c.mv(&["push"]).success();
    a.put("train.py", "print(2)\n");
    let second = a.commit("second");
    a.mv(&["push"]).success();
    let b = clone(&remote, &["--depth", "1"]);
    // It holds the first commit, which this clone lacks: that is found by asking.
    b.mv(&["remote", "add", "same", &url(&same)]).success();
    b.mv(&["push", "same", "main:more"]).success();
    let d = clone(&same, &["--branch", "more"]);
    assert_eq!(d.id("HEAD"), second);
    assert_eq!(d.mv(&["log", "--oneline"]).success().lines().count(), 2);
    d.mv(&["fsck"]).success();
    // Nobody has it here: nothing may lead to what is not there.
    b.mv(&["remote", "add", "other", &url(&other)]).success();
    b.mv(&["push", "other", "main:more"]).fails_with(1);
    assert_eq!(
        clone(&other, &[]).json(&["remote", "--json"])[0]["branches"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}
