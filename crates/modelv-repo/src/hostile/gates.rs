//! Every gate: adding, decoding, fsck, reading, checkout, push, fetch and clone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use modelv_core::canon::{Kind, Object, Source};
use modelv_core::commit::{Commit, Person, Recipe, Time};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::tree::{self, Mode, Node, empty_id};
use modelv_store::Store;
use modelv_store::remote::{
    Catalog, Change, Item, Outgoing, Remote, RemoteError, RemoteOptions, Unwatched,
};

use super::{RawEntry, cases, paths, raw_leaf, raw_path};
use crate::commit::CommitOptions;
use crate::oplog::{RefChange, Target};
use crate::remote::{CloneOptions, FetchOptions, PushOptions, RemoteInfo};
use crate::worktree::{Rules, StatCache, look};
use crate::{Ctx, Error, Repo, SwitchTo, names};

/// A commit with trees made by hand, and the objects it is made of.
struct Bad {
    name: String,
    id: CommitId,
    objects: Vec<(Kind, [u8; 32])>,
    is_in_node: bool,
}

fn file() -> RawEntry {
    RawEntry {
        name: Vec::new(),
        mode: Mode::File,
        size: 4,
        id: BlobId::of(b"evil").0,
    }
}

fn commit_of(code: TreeId, data: TreeId) -> Commit {
    let person = Person {
        name: "Eve".into(),
        email: "eve@example.org".into(),
    };
    Commit {
        recipe: Recipe {
            code,
            data,
            config: empty_id(),
            env: Env::none().id(),
        },
        model: None,
        parents: vec![],
        author: person.clone(),
        committer: person,
        time: Time {
            seconds: 0,
            offset_minutes: 0,
        },
        message: format!("{} {}", code.to_hex(), data.to_hex()),
        runs: vec![],
        extra: BTreeMap::new(),
    }
}

/// A repository with a sound commit.
fn sound_repo(dir: &Path) -> Repo {
    let mut repo = Repo::init(dir).unwrap();
    std::fs::write(dir.join("modelv.toml"), "[env]\ncapture = \"none\"\n").unwrap();
    std::fs::write(dir.join("train.py"), "sound").unwrap();
    let options = CommitOptions {
        message: "sound".into(),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap();
    repo
}

/// The same, and beside its history one branch for every hostile commit.
fn hostile_repo(dir: &Path) -> (Repo, Vec<Bad>) {
    let mut repo = sound_repo(dir);
    let session = repo.store.begin().unwrap();
    session.put_blob(&mut b"evil".as_slice(), 4).unwrap();
    session.put_object(&Node::Leaf(vec![])).unwrap();
    session.put_object(&Env::none()).unwrap();
    let mut bad = Vec::new();
    let mut add = |name: String, nodes: &[Vec<([u8; 32], Vec<u8>)>], is_in_node: bool| {
        let mut objects = vec![(Kind::Env, Env::none().id().0), (Kind::Tree, empty_id().0)];
        for (id, bytes) in nodes.iter().flatten() {
            session.put_object_bytes(Kind::Tree, bytes).unwrap();
            objects.push((Kind::Tree, *id));
        }
        let root = |at: usize| {
            let nodes = nodes.get(at).and_then(|n| n.last());
            nodes.map_or(empty_id(), |(id, _)| TreeId(*id))
        };
        let id = CommitId(session.put_object(&commit_of(root(0), root(1))).unwrap());
        objects.push((Commit::KIND, id.0));
        bad.push(Bad {
            name,
            id,
            objects,
            is_in_node,
        });
    };
    for (name, path, _) in paths().into_iter().filter(|p| p.2) {
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let is_in_node = name.contains("tree-2");
        add(name.clone(), &[raw_path(&names, &file())], is_in_node);
        if names.len() > 1 && is_in_node {
            // All of it as one name.
            add(format!("{name}-flat"), &[raw_path(&[&path], &file())], true);
        }
    }
    let link = RawEntry {
        mode: Mode::Symlink,
        ..file()
    };
    let twice = |names: [&[u8]; 2]| {
        let entries = names.map(|n| RawEntry {
            name: n.to_vec(),
            ..file()
        });
        vec![raw_leaf(&entries)]
    };
    add("twice".into(), &[twice([b"a", b"a"])], true);
    add("unsorted".into(), &[twice([b"b", b"a"])], true);
    let below = raw_path(&[b"a", b"x"], &file());
    add(
        "over-a-link".into(),
        &[raw_path(&[b"a"], &link), below.clone()],
        false,
    );
    add(
        "over-a-file".into(),
        &[below, raw_path(&[b"a"], &file())],
        false,
    );
    let same = raw_path(&[b"d", b"a"], &file());
    add("in-both".into(), &[same.clone(), same], false);
    session.finish().unwrap();
    let branch = |bad: &Bad| RefChange {
        name: format!("{}{}", names::HEADS, bad.name),
        old: None,
        new: Some(Target::Commit(bad.id)),
    };
    repo.update_refs(bad.iter().map(branch).collect()).unwrap();
    (repo, bad)
}

/// Everything in a folder but `.mv`, as bytes of paths.
fn listing(dir: &Path) -> BTreeSet<Vec<u8>> {
    let mut out = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(dir).unwrap();
            if below == Path::new(".mv") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
            } else {
                out.insert(below.as_os_str().as_bytes().to_vec());
            }
        }
    }
    out
}

fn at(dir: &Path, path: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(path))
}

#[test]
fn no_hostile_commit_is_read_shown_or_checked_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut repo, bad) = hostile_repo(&dir.path().join("a"));
    assert!(bad.len() >= 150, "{}", bad.len());
    // Makes the lock that everybody makes who changes a working tree.
    drop(repo.take_turn().unwrap());
    let before = listing(dir.path());
    let reachable = repo.check_reachable().unwrap();
    for Bad {
        name, id, objects, ..
    } in &bad
    {
        let error = repo.files(*id).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{name}: {error}");
        let to = SwitchTo::Branch(name.clone());
        assert!(repo.switch(&to, &Ctx::quiet()).is_err(), "{name}");
        let out = dir.path().join("out");
        assert!(repo.export(*id, &out, &Ctx::quiet()).is_err(), "{name}");
        assert!(listing(&out).is_empty(), "{name}");
        // Of a node that several of them share, fsck speaks once.
        let is_shared = |object: &&(Kind, [u8; 32])| {
            let others = bad.iter().filter(|b| b.id != *id);
            object.1 != empty_id().0 && others.flat_map(|b| &b.objects).any(|o| o == *object)
        };
        let is_named = reachable.iter().any(|p| p.contains(&id.short()));
        let mut trees = objects.iter().filter(|o| o.0 == Kind::Tree);
        assert!(
            is_named || trees.any(|o| is_shared(&o)),
            "{name}: fsck says nothing"
        );
    }
    let named = bad
        .iter()
        .filter(|b| reachable.iter().any(|p| p.contains(&b.id.short())));
    assert!(named.count() >= 150);
    assert_eq!(listing(dir.path()), before);
    let verified = repo.store.verify(&mut |_, _| {}).unwrap().problems.len();
    let nodes: BTreeSet<[u8; 32]> = bad
        .iter()
        .filter(|b| b.is_in_node)
        .flat_map(|b| b.objects.iter().filter(|o| o.0 == Kind::Tree).map(|o| o.1))
        .collect();
    let refused = nodes
        .iter()
        .filter(|id| {
            repo.store
                .object_bytes(Kind::Tree, id)
                .is_ok_and(|b| modelv_core::canon::decode::<Node>(&b).is_err())
        })
        .count();
    assert_eq!(
        verified, refused,
        "each node that can't be decoded is named once"
    );
}

/// A remote whose owner wrote into it what no push sends.
fn hostile_remote(dir: &Path, store: &Store, bad: &Bad) -> RemoteInfo {
    let info = RemoteInfo {
        name: "origin".into(),
        url: format!(
            "file://{}",
            dir.join(format!("remote-{}", bad.name)).display()
        ),
        options: RemoteOptions::default(),
    };
    let remote = Remote::open(&info.url, &info.options, &dir.join("cache")).unwrap();
    let catalog = Catalog::default();
    let mut out = Outgoing::new(store, &catalog);
    out.add(Item::Blob(BlobId::of(b"evil"))).unwrap();
    for (kind, id) in &bad.objects {
        out.add(Item::Object(*kind, *id)).unwrap();
    }
    let sent = remote.send(&out, &Unwatched).unwrap();
    let moved = remote.swap(&sent, &mut |_| {
        Ok::<_, RemoteError>(Some(Change {
            head: "refs/heads/main".into(),
            refs: BTreeMap::from([("refs/heads/main".to_owned(), bad.id)]),
        }))
    });
    moved.unwrap();
    info
}

#[test]
fn no_hostile_commit_is_pushed_fetched_or_cloned() {
    let dir = tempfile::tempdir().unwrap();
    let (mut repo, bad) = hostile_repo(&dir.path().join("a"));
    let mut victim = Repo::init(&dir.path().join("victim")).unwrap();
    let before = victim.log.refs.clone();
    // Each costs some syncs: all of them in the long form, one of eight and every special one here.
    let step = if cases(500) > 500 { 1 } else { 8 };
    let special = |bad: &Bad| !bad.name.starts_with("refused") || bad.name.contains("tree-7");
    let chosen = bad
        .iter()
        .enumerate()
        .filter(|(n, b)| n % step == 0 || special(b));
    for (_, bad) in chosen {
        let name = &bad.name;
        let clean = RemoteInfo {
            name: "clean".into(),
            url: format!("file://{}", dir.path().join("clean").display()),
            options: RemoteOptions::default(),
        };
        let options = PushOptions {
            refs: vec![name.clone()],
            ..PushOptions::default()
        };
        let error = repo.push(&clean, &options, &Ctx::quiet()).unwrap_err();
        assert_eq!(
            error.kind(),
            crate::ErrorKind::Corrupt,
            "push {name}: {error}"
        );
        let root = Remote::open(&clean.url, &clean.options, &dir.path().join("cache"));
        assert!(root.unwrap().root().unwrap().is_none(), "{name}");

        let info = hostile_remote(dir.path(), &repo.store, bad);
        let error = victim
            .fetch(&info, &FetchOptions::default(), &Ctx::quiet())
            .unwrap_err();
        assert_eq!(
            error.kind(),
            crate::ErrorKind::Corrupt,
            "fetch {name}: {error}"
        );
        assert_eq!(victim.log.refs, before, "{name}");
        let clone = dir.path().join(format!("clone-{name}"));
        let options = CloneOptions::default();
        let cloned = Repo::clone_from(&info.url, &clone, &options, "clone", &Ctx::quiet());
        let error = cloned.map(|_| ()).unwrap_err();
        assert_eq!(
            error.kind(),
            crate::ErrorKind::Corrupt,
            "clone {name}: {error}"
        );
        assert!(listing(&clone).is_empty(), "{name}");
    }
    assert!(!dir.path().join("evil").exists());
}

#[test]
fn no_working_tree_adds_a_refused_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let is_possible = |path: &[u8]| {
        let fits = |n: &[u8]| !n.is_empty() && n != b"." && n != b".." && n.len() < 256;
        path.split(|b| *b == b'/').all(fits) && !path.contains(&0) && path.len() < 3000
    };
    let (mut refused, mut left_out) = (0, 0);
    for (name, path, _) in paths().iter().filter(|p| p.2 && is_possible(&p.1)) {
        let root = dir.path().join("root");
        let full = at(&root, path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, "x").unwrap();
        let seen = look(&root, &StatCache::default(), None, &store, &Ctx::quiet())
            .and_then(|look| look.files(&Rules::load(&root)?));
        match seen {
            Err(Error::Invalid {
                what: "path", name, ..
            }) => {
                assert!(String::from_utf8_lossy(path).starts_with(&name), "{name:?}");
                refused += 1;
            }
            // `.mv` and `.git` themselves are nobody's mistake.
            Ok(files) if files.is_empty() => left_out += 1,
            other => panic!("{name}: {other:?}"),
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
    assert!(refused >= 150 && left_out >= 2, "{refused} {left_out}");
}

#[test]
fn names_that_are_merely_hard_to_live_with_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a");
    let mut repo = Repo::init(&a).unwrap();
    std::fs::write(a.join("modelv.toml"), "[env]\ncapture = \"none\"\n").unwrap();
    let kept: Vec<Vec<u8>> = paths()
        .into_iter()
        .filter(|p| !p.2)
        .enumerate()
        .map(|(n, (_, path, _))| {
            let depth = path.iter().filter(|b| **b == b'/').count();
            // Each in a directory of its own, but for the one that is as deep as can be.
            let own = if depth < 127 {
                format!("k{n}/")
            } else {
                String::new()
            };
            [own.into_bytes(), path].concat()
        })
        .collect();
    assert!(kept.len() >= 150, "{}", kept.len());
    for path in &kept {
        let full = at(&a, path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, path).unwrap();
    }
    let options = CommitOptions {
        message: "kept".into(),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    let id = repo.commit(&options, &Ctx::quiet()).unwrap().id;
    assert_eq!(repo.check_reachable().unwrap(), [""; 0]);
    let info = RemoteInfo {
        name: "origin".into(),
        url: format!("file://{}", dir.path().join("remote").display()),
        options: RemoteOptions::default(),
    };
    repo.push(&info, &PushOptions::default(), &Ctx::quiet())
        .unwrap();
    let b = dir.path().join("b");
    Repo::clone_from(
        &info.url,
        &b,
        &CloneOptions::default(),
        "clone",
        &Ctx::quiet(),
    )
    .unwrap();
    let c = dir.path().join("c");
    repo.export(id, &c, &Ctx::quiet()).unwrap();
    for copy in [&b, &c] {
        assert_eq!(listing(copy), listing(&a));
        for path in &kept {
            assert_eq!(&std::fs::read(at(copy, path)).unwrap(), path);
        }
    }
    let clean = repo.status(None, &Ctx::quiet()).unwrap();
    assert!(clean.changes.is_empty());
}

struct Nodes(HashMap<[u8; 32], Vec<u8>>);

impl Source for Nodes {
    type Error = modelv_store::Error;

    fn load_bytes(&self, _: Kind, id: &[u8; 32]) -> Result<Vec<u8>, Self::Error> {
        Ok(self.0[id].clone())
    }
}

#[test]
fn every_reader_of_trees_refuses_every_name() {
    let sound = raw_path(&[b"sound"], &file());
    for (name, path, _) in paths().iter().filter(|p| p.2) {
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let nodes = raw_path(&names, &file());
        let root = TreeId(nodes.last().unwrap().0);
        let other = TreeId(sound[0].0);
        let source = Nodes(nodes.into_iter().chain(sound.clone()).collect());
        assert!(tree::list(&source, root).is_err(), "{name}");
        assert!(tree::diff(&source, root, other).is_err(), "{name}");
        assert!(tree::diff(&source, other, root).is_err(), "{name}");
        assert!(RepoPath::new(path.clone()).is_err(), "{name}");
    }
}
