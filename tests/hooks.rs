//! Hooks: what they are told, what they stop, and that what comes with a clone asks first.

use std::os::unix::fs::PermissionsExt;

use crate::remote::{clone, origin};
use crate::support::Tree;

fn put_hook(tree: &Tree, name: &str, script: &str) {
    let path = format!(".mv/hooks/{name}");
    tree.put(&path, &format!("#!/bin/sh\n{script}\n"));
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.path(&path), mode).unwrap();
}

#[test]
fn executables_run_around_commits_merges_and_pushes() {
    let (_remote, a) = origin();
    let first = a.id("HEAD");
    put_hook(
        &a,
        "pre-commit",
        "echo looking at $MODELV_HOOK; ! grep -q BAD train.py",
    );
    put_hook(&a, "post-commit", "echo $MODELV_COMMIT > .mv/last; exit 1");
    put_hook(
        &a,
        "pre-push",
        "cat > .mv/pushed; echo $MODELV_REMOTE >> .mv/pushed",
    );
    a.put("train.py", "BAD\n");
    let stopped = a.mv(&["commit", "-m", "bad"]);
    assert!(
        stopped.err.contains("looking at pre-commit"),
        "{}",
        stopped.err
    );
    assert!(stopped.out.is_empty(), "{}", stopped.out);
    let error = stopped.fails_with(1);
    assert!(
        error.contains("`hook pre-commit` failed: exit status: 1"),
        "{error}"
    );
    assert!(error.contains("--no-hooks"), "{error}");
    assert_eq!(a.id("HEAD"), first);
    a.put("train.py", "good\n");
    let done = a.mv(&["commit", "-m", "good"]);
    // It is too late to stop it.
    assert!(done.err.contains("the commit is made"), "{}", done.err);
    done.success();
    let second = a.id("HEAD");
    assert_eq!(a.get(".mv/last").trim(), second);
    a.mv(&["push"]).success();
    assert_eq!(
        a.get(".mv/pushed"),
        format!("refs/heads/main {first} {second}\norigin\n")
    );
    put_hook(&a, "pre-push", "exit 3");
    a.put("train.py", "more\n");
    a.mv(&["commit", "-m", "more", "--no-hooks"]).success();
    assert_eq!(a.get(".mv/last").trim(), second);
    a.mv(&["push"]).fails_with(1);
    assert_eq!(a.id("origin/main"), second);
    a.mv(&["push", "--no-hooks"]).success();

    put_hook(
        &a,
        "pre-merge",
        "echo $MODELV_MERGE > .mv/merging; modelv status; exit 1",
    );
    a.mv(&["switch", "-c", "side", &first]).success();
    a.put("side.py", "1\n");
    let side = a.commit("side");
    a.mv(&["switch", "main"]).success();
    a.mv(&["merge", "side"]).fails_with(1);
    assert_eq!(a.get(".mv/merging").trim(), side);
    assert!(a.mv(&["status"]).success().contains("nothing to commit"));
    a.mv(&["merge", "side", "--no-hooks"]).success();
    let list = a.mv(&["hooks"]).success();
    assert_eq!(list.lines().count(), 4, "{list}");
}

#[test]
fn commands_of_a_clone_run_only_when_they_were_allowed() {
    let (remote, a) = origin();
    let hooks =
        |command: &str| format!("[env]\ncapture = \"none\"\n[hooks]\npre-commit = \"{command}\"\n");
    a.put("modelv.toml", &hooks("touch .mv/ran-here"));
    a.mv(&["hooks", "allow"]).success();
    a.commit("hooks");
    assert!(a.path(".mv/ran-here").exists());
    a.mv(&["push"]).success();
    let b = clone(&remote, &[]);
    b.put("train.py", "print(2)\n");
    let done = b.mv(&["commit", "-m", "of b"]);
    assert!(done.err.contains("modelv hooks allow"), "{}", done.err);
    done.success();
    assert!(!b.path(".mv/ran-here").exists());
    let list = b.json(&["hooks", "--json"]);
    assert_eq!(list[0]["allowed"], false, "{list}");
    b.mv(&["hooks", "allow"]).success();
    b.put("train.py", "print(3)\n");
    b.commit("of b");
    assert!(b.path(".mv/ran-here").exists());
    // Another command is another question, and what was allowed can be forbidden.
    b.put("modelv.toml", &hooks("touch .mv/ran-again"));
    b.commit("another hook");
    assert!(!b.path(".mv/ran-again").exists());
    b.mv(&["hooks", "allow"]).success();
    b.mv(&["hooks", "forbid"]).success();
    b.put("train.py", "print(4)\n");
    b.commit("none");
    assert!(!b.path(".mv/ran-again").exists());
}
