//! What the real binary refuses, and what it lives with: commits that no command makes, more packs than
//! files may be open, packs of a newer program, and a `modelv.toml` that can't be read.

use std::process::Command;

use modelv_repo::core::canon::Kind;
use modelv_repo::core::id::{BlobId, TreeId};
use modelv_repo::core::tree::{Mode, Node};

use crate::bombs::{commit, entry, pack};
use crate::support::{BINARY, Done, Tree};

/// A leaf of a tree (spec/tree.md) with one file of one byte, whatever its name is.
fn raw_leaf(name: &str) -> Vec<u8> {
    let mut out = b"MODELV\x01\x01\x00\x01".to_vec();
    out.push(u8::try_from(name.len()).unwrap());
    out.extend(name.as_bytes());
    out.extend([Mode::File as u8, 1]);
    out.extend(BlobId::of(b"x").0);
    out
}

#[test]
fn no_image_is_made_of_a_hostile_commit() {
    let tree = Tree::repo();
    tree.put("serve.py", "def predict(x):\n    return x\n");
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[serve]\nentry = \"serve:predict\"\n",
    );
    tree.commit("first");
    let root = tree.path("rootfs");
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    let names = [
        "..",
        ".",
        "../evil",
        "/etc/evil",
        "a/../../evil",
        ".mv",
        "a//b",
        "",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let branch = format!("hostile-{number}");
        commit(&tree, &branch, |session| {
            TreeId(
                session
                    .put_object_bytes(Kind::Tree, &raw_leaf(name))
                    .unwrap(),
            )
        });
        let done = tree.mv(&["release", &branch, "--output", "image", "--base", "rootfs"]);
        assert_eq!(done.status, Some(4), "{name:?}: {done:?}");
        assert!(done.err.contains("is damaged"), "{name:?}: {done:?}");
        assert!(!tree.path("image").exists(), "{name:?}");
        for args in [&["export", &branch, "out"][..], &["serve", &branch]] {
            assert_eq!(tree.mv(args).status, Some(4), "{args:?} of {name:?}");
        }
        assert!(!tree.path("evil").exists() && !tree.path("../evil").exists());
    }
    // A link that leads out of the commit gets into no image.
    commit(&tree, "link", |session| {
        let target = b"/etc/passwd";
        let (blob, _) = session.put_blob(&mut &target[..], 11).unwrap();
        let toml = b"[serve]\nentry = \"serve:predict\"\n";
        let (toml_id, _) = session.put_blob(&mut &toml[..], toml.len() as u64).unwrap();
        let files = vec![
            entry("modelv.toml", Mode::File, toml.len() as u64, toml_id.0),
            entry("passwd", Mode::Symlink, 11, blob.0),
            entry("serve.py", Mode::File, 1, BlobId::of(b"x").0),
        ];
        TreeId(session.put_object(&Node::Leaf(files)).unwrap())
    });
    let done = tree.mv(&["release", "link", "--output", "image", "--base", "rootfs"]);
    assert!(matches!(done.status, Some(1 | 4)), "{done:?}");
    assert!(!tree.path("image").exists());
}

/// The binary, with at most 256 open files.
fn with_few_files(tree: &Tree, args: &[&str]) -> Done {
    let plain = tree.command(args);
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:256", BINARY]).args(args);
    command.current_dir(tree.root()).env_clear();
    command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = command.output();
    Done::new(&output.unwrap_or_else(|e| panic!("prlimit (util-linux) is needed: {e}")))
}

#[test]
fn more_packs_than_files_may_be_open() {
    let tree = Tree::repo();
    tree.commit("first");
    let content = |n: u32| format!("content {n}");
    for n in 0..1200 {
        let bytes = content(n);
        let len = u32::try_from(bytes.len()).unwrap();
        let id = BlobId::of(bytes.as_bytes()).0;
        pack(&tree.path(".mv/packs"), id, 0, bytes.as_bytes(), [len, len]);
    }
    // What is stored already is found in those packs.
    for n in 0..1200 {
        tree.put(&format!("many/{n:04}"), &content(n));
    }
    with_few_files(&tree, &["commit", "-m", "many"]).success();
    let told = with_few_files(&tree, &["fsck"]).success();
    assert!(told.starts_with("sound: 120"), "{told}");
    std::fs::remove_dir_all(tree.path("many")).unwrap();
    with_few_files(&tree, &["restore", "."]).success();
    assert_eq!(tree.get("many/0777"), content(777));
    tree.put("more.txt", "more");
    with_few_files(&tree, &["commit", "-m", "more"]).success();
    let remote = tree.path("remote").display().to_string();
    with_few_files(&tree, &["remote", "add", "origin", &remote]).success();
    with_few_files(&tree, &["push"]).success();
    with_few_files(&tree, &["stats"]).success();
    with_few_files(&tree, &["gc", "--now"]).success();
    let packs = std::fs::read_dir(tree.path(".mv/packs")).unwrap().count();
    assert!(packs < 20, "{packs} files");
    assert!(
        with_few_files(&tree, &["fsck"])
            .success()
            .starts_with("sound")
    );
    assert_eq!(
        with_few_files(&tree, &["cat", "HEAD:many/0003"]).success(),
        content(3)
    );
}

#[test]
fn what_a_newer_program_wrote_is_not_called_damage() {
    let tree = Tree::repo();
    tree.commit("first");
    let bytes = b"as a later codec would have it";
    let id = BlobId::of(bytes).0;
    let len = u32::try_from(bytes.len()).unwrap();
    pack(&tree.path(".mv/packs"), id, 99, bytes, [len, len]);
    commit(&tree, "newer", |session| {
        let file = entry("f", Mode::File, u64::from(len), id);
        TreeId(session.put_object(&Node::Leaf(vec![file])).unwrap())
    });
    let done = tree.mv(&["fsck"]);
    assert!(
        done.out.contains("was written by a newer modelv"),
        "{done:?}"
    );
    assert!(!done.out.contains("damaged"), "{done:?}");
    assert!(done.fails_with(1).contains("install a newer modelv"));
    for args in [
        &["cat", "newer:f"][..],
        &["switch", "newer"],
        &["gc", "--now"],
    ] {
        let said = tree.mv(args).fails_with(1);
        assert!(
            said.contains("written by a newer modelv"),
            "{args:?}: {said}"
        );
        assert!(said.contains("install a newer modelv"), "{args:?}: {said}");
    }
    tree.mv(&["status"]).success();
    let name = |p: &std::path::Path| p.extension().is_some_and(|e| e == "pack");
    let packs = || std::fs::read_dir(tree.path(".mv/packs")).unwrap();
    let before = packs()
        .filter(|e| name(&e.as_ref().unwrap().path()))
        .count();
    let other = Tree::repo();
    other.commit("first");
    let from = other.root().display().to_string();
    let said = tree.mv(&["fsck", "--repair", &from]).fails_with(1);
    assert!(said.contains("written by a newer modelv"), "{said}");
    assert_eq!(
        packs()
            .filter(|e| name(&e.as_ref().unwrap().path()))
            .count(),
        before
    );
}

#[test]
fn a_modelv_toml_that_cannot_be_read_is_restored() {
    let tree = Tree::repo();
    tree.put("train.py", "print(1)\n");
    tree.commit("first");
    let right = tree.get("modelv.toml");
    for wrong in [
        &b""[..],
        b"\0\0\0\0\0\0\0\0",
        b"[env",
        b"\xff\xfe",
        b"[ingredients]\nfoo = 1\n",
    ] {
        std::fs::write(tree.path("modelv.toml"), wrong).unwrap();
        if !wrong.is_empty() {
            let said = tree.mv(&["status"]).fails_with(1);
            assert!(
                said.contains("`modelv restore modelv.toml`"),
                "{wrong:?}: {said}"
            );
        }
        tree.put("train.py", "print(2)\n");
        tree.mv(&["restore", "modelv.toml"]).success();
        assert_eq!(tree.get("modelv.toml"), right);
        assert_eq!(tree.get("train.py"), "print(2)\n");
        // All at once too.
        std::fs::write(tree.path("modelv.toml"), wrong).unwrap();
        tree.mv(&["restore", "."]).success();
        assert_eq!(tree.get("modelv.toml"), right);
        assert_eq!(tree.get("train.py"), "print(1)\n");
    }
}
