//! Bad input: each a clear error that names the thing and the next command, and nothing changed.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Done, Tree};

/// Runs a command that must fail, and compares all it says.
fn refuse(tree: &Tree, args: &[&str], status: i32, want: &str) {
    let said = tree.mv(args).fails_with(status);
    assert_eq!(said.trim_end(), want, "{args:?}");
}

#[test]
fn errors_name_the_thing_and_the_next_command() {
    let tree = Tree::repo();
    tree.put("a", "1");
    tree.commit("first");
    let before = tree.mv(&["log", "--json"]).success();
    refuse(
        &tree,
        &["show", "nope"],
        1,
        "error: revision `nope` not found\n\nhint: `modelv log` and `modelv branch` list what there is",
    );
    refuse(
        &tree,
        &["show", "HEAD~9"],
        1,
        "error: revision `HEAD~9` not found\n\nhint: `modelv log` and `modelv branch` list what there is",
    );
    refuse(
        &tree,
        &["show", "HEAD~x"],
        1,
        "error: revision `HEAD~x` is not valid: expected a branch, tag, id or HEAD, then any of ~N, ^N, @{N}\n\nhint: for example `HEAD~2`, `main`, `1a2b3c4d`, `main@{1}`",
    );
    refuse(
        &tree,
        &["commit", "-m", " "],
        1,
        "error: commit message `` is not valid: it is empty\n\nhint: say what changed: `modelv commit -m \"...\"`",
    );
    refuse(
        &tree,
        &["commit", "-m", "x"],
        1,
        "error: nothing to commit: the working tree is what `main` holds\n\nhint: `modelv status` shows what differs; `--allow-empty` commits all the same",
    );
    refuse(
        &tree,
        &["switch", "-c", "main"],
        1,
        "error: branch `main` already exists\n\nhint: `modelv switch NAME` checks it out",
    );
    refuse(
        &tree,
        &["branch", "a b"],
        1,
        "error: branch `a b` is not valid: it holds a space, a control character or one of ~ ^ : ? * [ \\",
    );
    refuse(
        &tree,
        &["init"],
        1,
        &format!(
            "error: repository `{}` already exists\n\nhint: `modelv status` shows its state",
            tree.root().canonicalize().unwrap().display()
        ),
    );
    refuse(
        &tree,
        &["merge", "--continue"],
        1,
        "error: no merge is under way",
    );
    refuse(
        &tree,
        &["run"],
        1,
        "error: no command given, and modelv.toml has no `[train] command`\n\nhint: `modelv run -- python train.py`",
    );
    refuse(
        &tree,
        &["commit", "-m", "x", "../other"],
        2,
        "error: path `../other` is outside of the working tree\n\nhint: name a path below the folder that holds `.mv`",
    );
    assert_eq!(tree.mv(&["log", "--json"]).success(), before);
}

#[test]
fn outside_of_a_repository() {
    let tree = Tree::empty();
    let said = tree.mv(&["status"]).fails_with(1);
    assert!(said.contains("is not in a modelv repository"), "{said}");
    assert!(
        said.ends_with("hint: `modelv init` makes one here\n"),
        "{said}"
    );
}

#[test]
fn nobody_has_said_who_commits() {
    let tree = Tree::repo();
    tree.put("a", "1");
    let mut command = tree.command(&["commit", "-m", "x"]);
    command
        .env_remove("MODELV_AUTHOR_NAME")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nobody has said who commits"), "{said}");
    tree.mv(&["config", "user.name", "Eve"]).success();
    assert!(command.status().unwrap().success());
    assert_eq!(tree.json(&["log", "--json"])[0]["author"]["name"], "Eve");
}

#[test]
fn uncommitted_changes_are_never_overwritten() {
    let tree = Tree::repo();
    tree.put("a", "1");
    tree.commit("one");
    tree.mv(&["switch", "-c", "topic"]).success();
    tree.put("a", "2");
    tree.put("b", "2");
    tree.commit("two");
    tree.mv(&["switch", "main"]).success();
    tree.put("a", "mine");
    refuse(
        &tree,
        &["switch", "topic"],
        1,
        "error: switch would overwrite uncommitted changes in `a`\n\nhint: `modelv commit -m \"...\"` keeps them; `modelv restore PATH` drops them, and `modelv undo` after it brings them back",
    );
    tree.put("a", "1");
    tree.put("b", "mine");
    refuse(
        &tree,
        &["switch", "topic"],
        1,
        "error: switch would overwrite what no commit has: `b`\n\nhint: move it away or remove it; what is not ignored, `modelv commit -m \"...\"` keeps",
    );
    std::fs::remove_file(tree.path("b")).unwrap();
    tree.put("a", "mine");
    // No commit touches it, and it is named all the same: that is the rule.
    tree.put("scratch", "");
    refuse(
        &tree,
        &["merge", "topic"],
        1,
        "error: merge needs a working tree without uncommitted changes: `a`, `scratch`\n\nhint: `modelv commit -m \"...\"` them first; what is never to be committed belongs in `.mvignore`",
    );
    assert_eq!(tree.get("a"), "mine");
}

#[test]
fn a_lost_log_is_rescued_and_nothing_is_collected() {
    let tree = Tree::repo();
    tree.put("a", "1");
    let one = tree.commit("one");
    std::fs::remove_file(tree.path(".mv/oplog")).unwrap();
    for args in [&["log"] as &[&str], &["init"], &["gc", "--now"], &["fsck"]] {
        let said = tree.mv(args).fails_with(4);
        assert!(said.contains("the operation log is gone"), "{said}");
        assert!(said.contains("`modelv fsck --rescue`"), "{said}");
    }
    let said = tree.mv(&["fsck", "--rescue"]).success();
    assert!(
        said.contains("found: found/") && said.contains(") one"),
        "{said}"
    );
    assert_eq!(tree.id("HEAD"), one);
    assert_eq!(
        tree.mv(&["status", "--json"])
            .success()
            .matches("path")
            .count(),
        0
    );
    let said = tree.mv(&["fsck", "--rescue"]).success();
    assert!(said.contains("nothing to rescue"), "{said}");
    tree.mv(&["fsck", "--rescue", "--repair", "x"])
        .fails_with(2);
    tree.put("a", "2");
    tree.commit("two");
    tree.mv(&["fsck"]).success();
}

#[test]
fn a_working_copy_is_no_remote() {
    let (tree, other) = (Tree::repo(), Tree::repo());
    tree.put("a", "1");
    tree.commit("one");
    let there = other.root().to_str().unwrap().to_owned();
    for args in [
        &["remote", "add", "origin", &there],
        &["clone", &there, "copy"] as &[&str],
    ] {
        let said = tree.mv(args).fails_with(1);
        assert!(said.contains("is a working copy, no remote"), "{said}");
        assert!(said.contains("to an empty folder"), "{said}");
    }
    for args in [
        &["remote", "add", "origin", "memory://x"] as &[&str],
        &["clone", "memory://x", "copy"],
    ] {
        let said = tree.mv(args).fails_with(1);
        assert!(said.contains("would end with this command"), "{said}");
    }
    assert!(!other.path("packs").exists() && !tree.path("copy").exists());
}

#[test]
fn a_newer_or_damaged_repository_is_refused() {
    let tree = Tree::repo();
    tree.put("a", "1");
    tree.commit("one");
    let log = tree.path(".mv/oplog");
    let whole = std::fs::read(&log).unwrap();
    let mut newer = whole.clone();
    newer[7] = 9;
    std::fs::write(&log, &newer).unwrap();
    refuse(
        &tree,
        &["log"],
        1,
        "error: this repository has format version 9, this program reads up to 1\n\nhint: install a newer modelv",
    );
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    std::fs::write(&log, &flipped).unwrap();
    let said = tree.mv(&["log"]).fails_with(4);
    assert!(said.contains("is damaged"), "{said}");
    std::fs::write(&log, &whole).unwrap();
    // Every pack altered: reading fails with the pack's name, and fsck lists it.
    for entry in std::fs::read_dir(tree.path(".mv/packs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "pack") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[12] ^= 0x20;
            std::fs::write(&path, &bytes).unwrap();
        }
    }
    let said = tree.mv(&["show"]).fails_with(4);
    assert!(said.contains("pack `"), "{said}");
    let fsck = tree.mv(&["fsck"]);
    assert_eq!(fsck.status, Some(4));
    assert!(fsck.out.contains("does not match its hash"), "{}", fsck.out);
}

#[test]
fn files_that_cannot_be_versioned_are_named() {
    let tree = Tree::repo();
    tree.put("a", "1");
    let _socket = std::os::unix::net::UnixListener::bind(tree.path("s")).unwrap();
    let done = tree.mv(&["commit", "-m", "x"]);
    assert!(done.err.contains("left out: s (a socket)"), "{}", done.err);
    done.success();
    std::fs::set_permissions(tree.path("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        tree.json(&["status", "--json"])["changes"][0]["change"],
        "mode-changed"
    );
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let tree = Tree::repo();
    tree.put("data/big.csv", &"a,b\n".repeat(200_000));
    tree.commit("one");
    for args in [
        &["cat", "HEAD:data/big.csv"][..],
        &["cat", "HEAD:modelv.toml"],
        &["log"],
        &["diff", "--json"],
        &["status", "--json"],
        &["rev-parse", "HEAD"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = tree.command(args);
        command.stdout(full.unwrap());
        let done = Done::new(&command.output().unwrap());
        let said = done.fails_with(1);
        assert!(
            said.contains("the result can't be written: No space left"),
            "{args:?}: {said}"
        );
    }
    // Somebody who has read enough is no failure.
    let mut command = tree.command(&["cat", "HEAD:data/big.csv"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_folder_is_not_printed_but_told() {
    let tree = Tree::repo();
    for name in ["src/a.py", "src/b/c.py", "data/src/x.csv"] {
        tree.put(name, "1\n");
    }
    tree.commit("files");
    let err = tree.mv(&["cat", "HEAD:src"]).fails_with(1);
    assert!(
        err.contains("it is a folder, with src/a.py, src/b/c.py"),
        "{err}"
    );
    assert!(
        err.contains("hint: `modelv cat REV:PATH` prints one file"),
        "{err}"
    );
    let err = tree.mv(&["cat", "HEAD:sr"]).fails_with(1);
    assert!(err.contains("path `sr` not found"), "{err}");
}
