//! `modelv mount` and `modelv cat --range` through the real binary. They mount for real: /dev/fuse,
//! and root or fusermount3, must be there.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::support::Tree;

/// A commit with a change after it.
fn tree() -> Tree {
    let tree = Tree::repo();
    tree.put("data/rows.csv", "a,b\n1,2\n");
    tree.put("train.py", "print(1)\n");
    tree.commit("first");
    tree.put("train.py", "print(2)\n");
    tree.commit("second");
    tree
}

/// Starts a mount in the foreground and waits until it says that it is there.
fn start(tree: &Tree, args: &[&str]) -> Child {
    let mut child = tree.command(args).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let err = child.stderr.as_mut().unwrap();
    BufReader::new(err).read_line(&mut said).unwrap();
    assert!(
        said.contains("Ctrl-C ends it"),
        "mounting needs /dev/fuse and root (or fusermount3): {said}"
    );
    child
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let status = std::process::Command::new("kill")
        .args(["-s", name, &id])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_commit_is_mounted_until_a_signal_ends_it() {
    let tree = tree();
    for (name, args, want) in [
        ("INT", &["mount", "HEAD~1", "old"][..], "print(1)\n"),
        ("TERM", &["mount", "new"][..], "print(2)\n"),
    ] {
        let mut child = start(&tree, args);
        let dir = args[args.len() - 1];
        assert_eq!(tree.get(&format!("{dir}/train.py")), want);
        assert_eq!(tree.get(&format!("{dir}/data/rows.csv")), "a,b\n1,2\n");
        signal(&child, name);
        assert!(child.wait().unwrap().success(), "{name}");
        assert_eq!(std::fs::read_dir(tree.path(dir)).unwrap().count(), 0);
    }
}

#[test]
fn a_mount_in_the_background_ends_with_umount() {
    let tree = tree();
    let said = tree.mv(&["mount", "--background", "HEAD", "mnt"]).success();
    assert!(said.contains("`umount "), "{said}");
    assert_eq!(tree.get("mnt/train.py"), "print(2)\n");
    let again = tree.mv(&["mount", "--background", "mnt"]).fails_with(1);
    assert!(again.contains("it is not empty"), "{again}");
    let status = std::process::Command::new("umount")
        .arg(tree.path("mnt"))
        .status();
    assert!(status.unwrap().success());
    assert_eq!(std::fs::read_dir(tree.path("mnt")).unwrap().count(), 0);
}

#[test]
fn a_mount_that_can_not_be_is_refused() {
    let tree = tree();
    let said = tree.mv(&["mount", "nope", "mnt"]).fails_with(1);
    assert!(said.contains("revision `nope` not found"), "{said}");
    let said = tree.mv(&["mount", "HEAD", "data"]).fails_with(1);
    assert!(
        said.contains("it is not empty") && said.contains("hint: name"),
        "{said}"
    );
}

#[test]
fn cat_prints_the_bytes_of_a_range() {
    let tree = Tree::repo();
    let digits: String = (0..200_000).map(|n| format!("{n:06}\n")).collect();
    tree.put("data/digits.txt", &digits);
    tree.commit("digits");
    let cat = |range: &str| {
        let args = ["cat", "HEAD:data/digits.txt", "--range", range];
        tree.mv(&args).success()
    };
    assert_eq!(cat("0-7"), "000000\n");
    assert_eq!(cat("700000-700014"), "100000\n100001\n");
    assert_eq!(cat("-7"), "199999\n");
    assert_eq!(cat("1399993-"), "199999\n");
    assert_eq!(cat("9999999-"), "");
    assert_eq!(tree.mv(&["cat", "HEAD:data/digits.txt"]).success(), digits);
    let said = tree
        .mv(&["cat", "HEAD:data/digits.txt", "--range", "9-1"])
        .fails_with(2);
    assert!(said.contains("ends before it begins"), "{said}");
}
