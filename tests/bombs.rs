//! Small inputs that say they are huge: the real binary, in little memory and time, ends by itself
//! and with words.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use modelv_repo::core::canon::{self, Kind};
use modelv_repo::core::commit::{Commit, Person, Recipe, Time};
use modelv_repo::core::env::Env;
use modelv_repo::core::id::{BlobId, CommitId, TreeId};
use modelv_repo::core::tree::{self, Entry, Mode, Node};
use modelv_repo::oplog::{Draft, OpLog, RefChange, Target};
use modelv_store::remote::{
    Catalog, Change, Item, Outgoing, Remote, RemoteError, RemoteOptions, Unwatched,
};
use modelv_store::{Session, Store};

use crate::support::{BINARY, Done, PATIENCE, Tree};

const MEMORY: &str = "--data=268435456";
/// Processor time: far above what any of these needs, far below what a bomb would.
const SECONDS: &str = "--cpu=40";

/// Runs with at most 256 MiB that are its own to write, and no more than 40 seconds of processor time.
/// How long that takes is the disk's and the neighbours' affair; it ends.
fn bounded(tree: &Tree, args: &[&str]) -> Done {
    let plain = tree.command(args);
    let mut command = Command::new("prlimit");
    command.args([MEMORY, "--core=0", SECONDS, BINARY]);
    command.args(args).current_dir(tree.root()).env_clear();
    command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let start = Instant::now();
    let output = command.process_group(0).output();
    let output = output.unwrap_or_else(|e| panic!("prlimit (util-linux) is needed: {e}"));
    let done = Done::new(&output);
    assert!(
        start.elapsed() < PATIENCE,
        "{args:?} took {:?}",
        start.elapsed()
    );
    assert!(
        done.status.is_some() && !done.err.contains("panicked"),
        "{args:?} was ended: {output:?}"
    );
    done
}

/// Puts a commit over trees that are made by hand, and a branch on it.
pub(crate) fn commit(tree: &Tree, branch: &str, make: impl FnOnce(&Session<'_>) -> TreeId) {
    let home = tree.path(".mv");
    let store = Store::open(&home).unwrap();
    let session = store.begin().unwrap();
    session.put_blob(&mut b"x".as_slice(), 1).unwrap();
    session.put_object(&Node::Leaf(vec![])).unwrap();
    session.put_object(&Env::none()).unwrap();
    let person = Person {
        name: "Ada".into(),
        email: "ada@example.org".into(),
    };
    let time = Time {
        seconds: 1_700_000_000,
        offset_minutes: 0,
    };
    let commit = Commit {
        recipe: Recipe {
            code: make(&session),
            data: tree::empty_id(),
            config: tree::empty_id(),
            env: Env::none().id(),
        },
        model: None,
        parents: vec![],
        author: person.clone(),
        committer: person,
        time,
        message: "by hand".into(),
        runs: vec![],
        extra: BTreeMap::new(),
    };
    let id = CommitId(session.put_object(&commit).unwrap());
    session.finish().unwrap();
    let mut log = OpLog::read(&home.join("oplog")).unwrap();
    log.append(Draft {
        time,
        actor: "ada@host".into(),
        command: "by hand".into(),
        worktree: false,
        undoes: None,
        changes: vec![RefChange {
            name: format!("refs/heads/{branch}"),
            old: None,
            new: Some(Target::Commit(id)),
        }],
    })
    .unwrap();
}

pub(crate) fn entry(name: &str, mode: Mode, size: u64, id: [u8; 32]) -> Entry {
    Entry {
        name: name.into(),
        mode,
        size,
        id,
    }
}

/// Everything that looks at a tree: it must end, and end well where it need not list the files.
fn look_at(tree: &Tree, branch: &str, refused: &str) {
    bounded(tree, &["fsck"]).success();
    bounded(tree, &["log", branch]).success();
    bounded(tree, &["branch"]).success();
    for args in [
        &["diff", "main", branch][..],
        &["diff", branch, "main"],
        &["show", branch],
        &["switch", branch],
        &["restore", "--source", branch, "."],
        &["export", branch, "out"],
        &["merge", branch],
    ] {
        let done = bounded(tree, args);
        assert!(matches!(done.status, Some(1..=4)), "{args:?}: {done:?}");
        if args[0] != "restore" && args[0] != "merge" {
            assert!(done.err.contains(refused), "{args:?}: {}", done.err);
        }
    }
    let output = bounded(tree, &["release", branch, "--output", "image"]);
    assert!(output.err.contains(refused), "{output:?}");
    assert!(!tree.path("image").exists());
    assert_eq!(
        bounded(tree, &["status"]).success(),
        tree.mv(&["status"]).success()
    );
}

/// A push of it, and a fetch and a clone of what somebody else has put there by hand.
fn exchange(tree: &Tree, branch: &str, refused: &str) {
    let clean = tree.path("clean").display().to_string();
    bounded(tree, &["remote", "add", "clean", &clean]).success();
    let done = bounded(tree, &["push", "clean", branch]);
    assert!(done.err.contains(refused), "{done:?}");
    bounded(tree, &["push", "clean", "main"]).success();
    let theirs = tree.path("theirs").display().to_string();
    let id = CommitId::from_hex(&tree.id(branch)).unwrap();
    put_remote(tree, &theirs, id);
    let victim = Tree::repo();
    victim.commit("own");
    bounded(&victim, &["remote", "add", "theirs", &theirs]).success();
    let done = bounded(&victim, &["fetch", "theirs"]);
    assert!(done.err.contains(refused), "{done:?}");
    victim.mv(&["rev-parse", "theirs/main"]).fails_with(1);
    let done = bounded(&victim, &["clone", &theirs, "copy"]);
    assert!(done.err.contains(refused), "{done:?}");
    bounded(&victim, &["fsck"]).success();
}

/// A remote whose owner wrote a commit into it that no push sends.
fn put_remote(tree: &Tree, folder: &str, id: CommitId) {
    let store = Store::open(&tree.path(".mv")).unwrap();
    let cache = tree.path("cache");
    let url = format!("file://{folder}");
    let remote = Remote::open(&url, &RemoteOptions::default(), &cache).unwrap();
    let catalog = Catalog::default();
    let mut out = Outgoing::new(&store, &catalog);
    let mut steps = vec![Item::Object(Kind::Commit, id.0)];
    let mut seen = std::collections::HashSet::new();
    while let Some(item) = steps.pop() {
        if !seen.insert(item) {
            continue;
        }
        out.add(item).unwrap();
        match item {
            Item::Object(Kind::Commit, id) => {
                let commit: Commit = canon::load(&store, &id).unwrap();
                steps.push(Item::Object(Kind::Env, commit.recipe.env.0));
                let trees = [commit.recipe.code, commit.recipe.data, commit.recipe.config];
                steps.extend(trees.map(|tree| Item::Object(Kind::Tree, tree.0)));
            }
            Item::Object(Kind::Tree, id) => {
                for entry in tree::read_directory(&store, TreeId(id)).unwrap() {
                    steps.push(match entry.tree_id() {
                        Some(below) => Item::Object(Kind::Tree, below.0),
                        None => Item::Blob(BlobId(entry.id)),
                    });
                }
            }
            _ => {}
        }
    }
    let sent = remote.send(&out, &Unwatched).unwrap();
    let moved = remote.swap(&sent, &mut |_| {
        Ok::<_, RemoteError>(Some(Change {
            head: "refs/heads/main".into(),
            refs: BTreeMap::from([("refs/heads/main".to_owned(), id)]),
        }))
    });
    moved.unwrap();
}

#[test]
fn ten_directories_named_ten_times_each_are_no_ten_billion_files() {
    let tree = Tree::repo();
    tree.commit("first");
    commit(&tree, "bomb", |session| {
        let x = BlobId::of(b"x").0;
        let files = (0..10).map(|n| entry(&n.to_string(), Mode::File, 1, x));
        let mut id = session.put_object(&Node::Leaf(files.collect())).unwrap();
        let mut size = 10;
        for _ in 1..10 {
            let dirs = (0..10).map(|n| entry(&n.to_string(), Mode::Tree, size, id));
            id = session.put_object(&Node::Leaf(dirs.collect())).unwrap();
            size *= 10;
        }
        TreeId(id)
    });
    look_at(&tree, "bomb", "name one another too often");
    exchange(&tree, "bomb", "name one another too often");
    // A part of it is a tree like any other.
    let part = bounded(&tree, &["cat", "bomb:1/2/3/4/5/6/7/8/9/0"]).success();
    assert_eq!(part, "x");
}

#[test]
fn a_tree_deeper_than_paths_may_be_is_refused() {
    let tree = Tree::repo();
    tree.commit("first");
    commit(&tree, "deep", |session| {
        let file = entry("f", Mode::File, 1, BlobId::of(b"x").0);
        let mut id = session.put_object(&Node::Leaf(vec![file])).unwrap();
        for _ in 0..20_000 {
            let dir = entry("d", Mode::Tree, 1, id);
            id = session.put_object(&Node::Leaf(vec![dir])).unwrap();
        }
        TreeId(id)
    });
    let found = bounded(&tree, &["fsck"]);
    assert!(found.out.contains("breaks a rule"), "{found:?}");
    found.fails_with(4);
    for args in [
        &["diff", "main", "deep"][..],
        &["show", "deep"],
        &["switch", "deep"],
    ] {
        let done = bounded(&tree, args);
        assert!(done.err.contains("breaks a rule"), "{args:?}: {done:?}");
    }
}

/// A frame of zstd that is this many zeros, in blocks of 128 KiB that take four bytes each.
fn zeros(count: u64) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    out.extend(count.to_le_bytes());
    let blocks = count >> 17;
    for n in 0..blocks {
        let head: u32 = 1 << 20 | 1 << 1 | u32::from(n + 1 == blocks);
        out.extend(&head.to_le_bytes()[..3]);
        out.push(0);
    }
    out
}

/// Puts a pack of one chunk beside the others: its id, codec, stored bytes, and the lengths that its
/// row tells.
pub(crate) fn pack(packs: &Path, id: [u8; 32], codec: u8, stored: &[u8], lengths: [u32; 2]) {
    let mut out = b"MVPACK\0\x01".to_vec();
    out.extend(stored);
    let table = out.len() as u64;
    out.extend(1u64.to_le_bytes());
    out.extend([0, codec]);
    out.extend(id);
    out.extend(8u64.to_le_bytes());
    out.extend(lengths.iter().flat_map(|n| n.to_le_bytes()));
    out.extend(table.to_le_bytes());
    let hash = blake3::hash(&out);
    out.extend(hash.as_bytes());
    std::fs::write(packs.join(format!("{}.pack", hash.to_hex())), out).unwrap();
}

#[test]
fn entries_that_unfold_to_more_than_they_say_are_damage() {
    let gigabyte = zeros(1 << 30);
    let stored = u32::try_from(gigabyte.len()).unwrap();
    let mut planes = vec![2, 0];
    for _ in 0..2 {
        planes.push(1);
        planes.extend(stored.to_le_bytes());
    }
    planes.extend([&gigabyte[..], &gigabyte].concat());
    let planes_len = u32::try_from(planes.len()).unwrap();
    let most = 4 << 20;
    for (codec, bytes, lengths) in [
        (1, &gigabyte, [stored, most]),
        (1, &gigabyte, [stored, 1 << 30]),
        (1, &gigabyte, [stored, u32::MAX]),
        (2, &planes, [planes_len, most]),
        (0, &gigabyte, [u32::MAX, u32::MAX]),
    ] {
        let tree = Tree::repo();
        tree.commit("first");
        let id = [7; 32];
        commit(&tree, "bomb", |session| {
            let file = entry("f", Mode::File, u64::from(lengths[1]), id);
            TreeId(session.put_object(&Node::Leaf(vec![file])).unwrap())
        });
        pack(&tree.path(".mv/packs"), id, codec, bytes, lengths);
        bounded(&tree, &["fsck"]).fails_with(4);
        for args in [
            &["cat", "bomb:f"][..],
            &["switch", "bomb"],
            &["export", "bomb", "out"],
        ] {
            bounded(&tree, args).fails_with(4);
        }
        // What need not be read is not.
        for args in [
            &["diff", "main", "bomb"][..],
            &["show", "bomb"],
            &["status"],
        ] {
            assert!(matches!(bounded(&tree, args).status, Some(0 | 1 | 4)));
        }
    }
}

/// A header of this many bytes; tensors without bytes, each in as few as can be.
fn safetensors(len: usize) -> Vec<u8> {
    let mut json = String::from("{");
    let mut n = 0;
    while json.len() + 120 < len {
        json += &format!("\"{n:x}\":{{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]}},");
        n += 1;
    }
    json += "\"z\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}";
    json += &" ".repeat(len - 1 - json.len());
    json.push('}');
    let head = (json.len() as u64).to_le_bytes();
    [&head, json.as_bytes(), b"x"].concat()
}

#[test]
fn headers_of_a_hundred_megabytes_are_bytes_like_any_other() {
    for len in [100_000_000, 33_554_432, 8_388_608] {
        let tree = Tree::repo();
        let mut file = safetensors(len);
        std::fs::write(tree.path("m.safetensors"), &file).unwrap();
        bounded(&tree, &["commit", "-m", "first"]).success();
        *file.last_mut().unwrap() = b'y';
        std::fs::write(tree.path("m.safetensors"), &file).unwrap();
        let said = bounded(&tree, &["diff"]);
        assert!(said.status == Some(1) || said.status == Some(0), "{said:?}");
        bounded(&tree, &["commit", "-m", "second"]).success();
        let _ = bounded(&tree, &["diff", "HEAD~1", "HEAD"]);
        bounded(&tree, &["show", "HEAD"]).success();
        bounded(&tree, &["fsck"]).success();
    }
}

/// A zip whose directory names one member of 64 KiB this many times: 64 KiB that are gigabytes.
fn overlapping(count: u16) -> Vec<u8> {
    let dict = b"{'descr': '<f8', 'fortran_order': False, 'shape': (8192,), }\n";
    let array = [b"\x93NUMPY\x01\x00\x3d\x00".as_slice(), dict, &[1; 65_536]].concat();
    let u16s = |v: &[u16]| v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let len = u32::try_from(array.len()).unwrap().to_le_bytes();
    let mut out = [
        &b"PK\x03\x04"[..],
        &u16s(&[20, 0, 0, 0, 0]),
        &[0; 4],
        &len,
        &len,
    ]
    .concat();
    out.extend([&u16s(&[5, 0]), &b"a.npy"[..], &array].concat());
    let start = u32::try_from(out.len()).unwrap();
    for n in 0..count {
        let name = format!("{n}.npy");
        let name_len = u16::try_from(name.len()).unwrap();
        out.extend(
            [
                &b"PK\x01\x02"[..],
                &u16s(&[20, 20, 0, 0, 0, 0]),
                &[0; 4],
                &len,
                &len,
            ]
            .concat(),
        );
        out.extend([u16s(&[name_len, 0, 0, 0, 0]), vec![0; 8], name.into_bytes()].concat());
    }
    let end = u32::try_from(out.len()).unwrap();
    out.extend([&b"PK\x05\x06"[..], &u16s(&[0, 0, count, count])].concat());
    out.extend([(end - start).to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}

#[test]
fn members_that_lie_over_one_another_cost_what_the_file_does() {
    let tree = Tree::repo();
    let file = overlapping(60_000);
    std::fs::write(tree.path("a.npz"), &file).unwrap();
    bounded(&tree, &["commit", "-m", "first"]).success();
    let mut other = file;
    other[2000] ^= 1;
    std::fs::write(tree.path("a.npz"), other).unwrap();
    let _ = bounded(&tree, &["diff"]);
    bounded(&tree, &["commit", "-m", "second"]).success();
    let _ = bounded(&tree, &["diff", "HEAD~1", "HEAD"]);
    bounded(&tree, &["fsck"]).success();
}

#[test]
fn a_hundred_thousand_brackets_are_a_text() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let maps = "{\"a\":".repeat(100_000);
    let list = format!("{open}{close}");
    let files = [
        ("a.json", list.clone()),
        ("b.json", format!("{maps}1{}", "}".repeat(100_000))),
        ("a.yaml", list.clone()),
        ("b.yaml", "- ".repeat(100_000)),
        (
            "c.yaml",
            (0..2000).map(|n| " ".repeat(n) + "a:\n").collect(),
        ),
        ("a.toml", format!("a = {list}\n")),
        ("b.toml", format!("a{} = 1\n", ".a".repeat(100_000))),
        ("a.ipynb", format!("{{\"cells\":{list},\"nbformat\":4}}")),
        ("a.jsonl", format!("{list}\n{list}\n")),
        ("a.csv", format!("{open}\n{close}\n")),
        ("metrics.json", format!("{{\"a\":{list}}}")),
        ("params.yaml", format!("a: {list}\n")),
        ("requirements.txt", format!("a{list}==1\n")),
    ];
    let tree = Tree::repo();
    tree.commit("first");
    for (name, text) in &files {
        tree.put(name, text);
        let done = bounded(&tree, &["status"]);
        assert_eq!(done.status, Some(0), "{name}: {}", done.err);
        bounded(&tree, &["commit", "-m", name]).success();
        tree.put(name, &format!("{text}  \n"));
        let _ = bounded(&tree, &["diff"]);
        bounded(&tree, &["commit", "-m", name]).success();
        let _ = bounded(&tree, &["diff", "HEAD~1", "HEAD"]);
        bounded(&tree, &["show", "HEAD"]).success();
    }
    tree.put("modelv.toml", &format!("a = {list}\n"));
    bounded(&tree, &["status"]).fails_with(1);
}

/// As many values as fit into the largest files that are taken apart.
#[test]
fn millions_of_values_are_a_text() {
    let numbers = |start: &str, between: &str, end: &str, bytes: usize| {
        format!("{start}{}1{end}\n", between.repeat(bytes / between.len()))
    };
    for (name, text) in [
        ("a.json", numbers("{\"a\":[", "1,", "]}", 16_000_000)),
        ("b.json", numbers("{\"a\":[", "1,", "]}", 500_000)),
        ("a.toml", numbers("a=[", "1,", "]", 16_000_000)),
        ("b.toml", numbers("a=[", "1,", "]", 500_000)),
        ("a.yaml", numbers("a: [", "1,", "]", 16_000_000)),
        ("b.yaml", numbers("a: [", "1,", "]", 500_000)),
        ("a.ini", numbers("[a]\n", "x=\n", "=", 16_000_000)),
        ("a.ipynb", numbers("{\"cells\":[", "{},", "]}", 60_000_000)),
    ] {
        let tree = Tree::repo();
        tree.put(name, &text);
        bounded(&tree, &["commit", "-m", name]).success();
        tree.put(name, &text.replacen('1', "2", 1));
        let _ = bounded(&tree, &["diff"]);
        bounded(&tree, &["commit", "-m", name]).success();
        let _ = bounded(&tree, &["diff", "HEAD~1", "HEAD"]);
    }
}

/// A merge of such files is a conflict, or a merge.
#[test]
fn nested_files_are_merged_or_not() {
    let text = |middle: &str| {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        format!("{open}{middle}{close}\n")
    };
    for name in ["a.json", "a.yaml", "a.ipynb", "a.py"] {
        let tree = Tree::repo();
        tree.put(name, &text("1"));
        tree.commit("base");
        tree.mv(&["switch", "-c", "side"]).success();
        tree.put(name, &text("2"));
        tree.commit("side");
        tree.mv(&["switch", "main"]).success();
        tree.put(name, &text("3"));
        tree.commit("main");
        assert_eq!(bounded(&tree, &["merge", "side"]).status, Some(3), "{name}");
    }
}
