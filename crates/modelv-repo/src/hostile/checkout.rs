//! Random hostile commits written into random hostile working trees. Whatever comes of it, no inode
//! outside of the working tree, and none of `.mv`, is another one afterwards.
//!
//! `MODELV_HOSTILE_CASES` sets how many; `tests/hostile` runs the long form.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use modelv_core::canon::{Kind, Source};
use modelv_core::id::{BlobId, TreeId};
use modelv_core::tree::Mode;
use modelv_store::Store;

use super::{RawEntry, cases, paths, raw_leaf};
use crate::worktree::{Files, Rules, StatCache, checkout, files_of, look};
use crate::{Ctx, Error};

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "A", "a b", "link", "out", "up"];

/// Numbers that are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

#[derive(Default)]
struct Nodes(HashMap<[u8; 32], Vec<u8>>);

impl Source for Nodes {
    type Error = modelv_store::Error;

    fn load_bytes(&self, _: Kind, id: &[u8; 32]) -> Result<Vec<u8>, Self::Error> {
        Ok(self.0[id].clone())
    }
}

/// The world: a working tree, what lies around it, and a store with contents.
struct World {
    dir: tempfile::TempDir,
    store: Store,
    contents: Vec<BlobId>,
    targets: Vec<BlobId>,
    hostile: Vec<Vec<u8>>,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["outside/dir/below", "outside/empty", "root"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        for path in [
            "outside/file",
            "outside/a",
            "outside/dir/b",
            "outside/dir/below/c",
        ] {
            std::fs::write(at(path), path).unwrap();
        }
        let store = Store::init(&at("store")).unwrap();
        let session = store.begin().unwrap();
        let put = |bytes: &[u8]| {
            let size = bytes.len() as u64;
            session.put_blob(&mut &bytes[..], size).unwrap().0
        };
        let contents = vec![put(b""), put(b"evil"), put(&[b'x'; 100_000])];
        let mut targets: Vec<BlobId> = link_targets(dir.path()).iter().map(|t| put(t)).collect();
        targets.extend([put(b""), put(b"a\0b"), put(&[b'y'; 5000])]);
        session.finish().unwrap();
        let hostile = paths().into_iter().filter(|p| p.2).map(|p| p.1).collect();
        Self {
            dir,
            store,
            contents,
            targets,
            hostile,
            random: Random(seed),
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A directory: mostly sound, so that much of it gets far.
    fn tree(&mut self, nodes: &mut Nodes, depth: usize) -> [u8; 32] {
        let mut entries = Vec::new();
        for _ in 0..self.random.below(5) {
            let name = if self.random.below(40) == 0 {
                self.random.pick(&self.hostile).clone()
            } else {
                self.random.pick(&NAMES).as_bytes().to_vec()
            };
            let (mode, id) = match self.random.below(10) {
                0..3 if depth > 0 => (Mode::Tree, self.tree(nodes, depth - 1)),
                3..7 => (Mode::Symlink, self.random.pick(&self.targets).0),
                7 => (Mode::Executable, self.random.pick(&self.contents).0),
                8 => (Mode::External, self.random.pick(&self.contents).0),
                _ => (Mode::File, self.random.pick(&self.contents).0),
            };
            let size = 4;
            entries.push(RawEntry {
                name,
                mode,
                size,
                id,
            });
        }
        if self.random.below(40) > 0 {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            entries.dedup_by(|a, b| a.name == b.name);
        }
        let (id, bytes) = raw_leaf(&entries);
        nodes.0.insert(id, bytes);
        id
    }

    fn files(&mut self) -> Result<Files, Error> {
        let mut nodes = Nodes::default();
        let empty = raw_leaf(&[]);
        let [code, data, model] = [3, 0, 1].map(|rare| {
            let is_some = rare == 3 || self.random.below(3) == 0;
            if is_some {
                self.tree(&mut nodes, 3)
            } else {
                empty.0
            }
        });
        nodes.0.insert(empty.0, empty.1);
        let id = TreeId;
        files_of(&nodes, id(code), id(data), id(empty.0), Some(id(model)))
    }

    /// Puts things into the working tree that nobody committed.
    fn plant(&mut self) {
        let targets = link_targets(self.dir.path());
        for _ in 0..self.random.below(4) {
            let mut at = self.root();
            // One that leads elsewhere is not followed here either.
            for _ in 0..self.random.below(2) {
                let below = at.join(self.random.pick(&NAMES));
                if std::fs::create_dir(&below).is_ok() || below.is_dir() && !below.is_symlink() {
                    at = below;
                }
            }
            let at = at.join(self.random.pick(&NAMES));
            match self.random.below(4) {
                0 if !at.is_symlink() => drop(std::fs::write(&at, "mine")),
                1 => drop(std::fs::create_dir(&at)),
                _ => {
                    let target: &Vec<u8> = self.random.pick(&targets);
                    let target = OsStr::from_bytes(target);
                    let _ = symlink(target, &at);
                }
            }
        }
    }

    /// Names and inodes of all that must stay as it is.
    fn surroundings(&self) -> Vec<(PathBuf, [i64; 7])> {
        let mut out = Vec::new();
        let mut waiting = vec![
            self.dir.path().join("outside"),
            self.root().join(".mv"),
            self.root().join(".git"),
        ];
        while let Some(path) = waiting.pop() {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                waiting.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            let numbers = [
                meta.ino(),
                meta.nlink(),
                meta.size(),
                u64::from(meta.mode()),
            ];
            let [ino, links, size, mode] = numbers.map(u64::cast_signed);
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec()];
            out.push((path, [ino, links, size, mode, times[0], times[1], times[2]]));
        }
        out
    }

    /// The working tree without anything but the folders of the repository and of Git.
    fn clear(&self) {
        let _ = std::fs::remove_dir_all(self.root());
        for path in [".mv/packs", ".git/hooks"] {
            std::fs::create_dir_all(self.root().join(path)).unwrap();
        }
        for path in [".mv/oplog", ".git/config"] {
            std::fs::write(self.root().join(path), path).unwrap();
        }
        std::fs::write(self.root().join(".mvignore"), "out\nup\n").unwrap();
    }
}

fn link_targets(dir: &Path) -> Vec<Vec<u8>> {
    let full = |path: &str| dir.join(path).into_os_string().into_encoded_bytes();
    let mut out: Vec<Vec<u8>> = [
        "../outside",
        "../outside/file",
        "../outside/dir",
        "../outside/new",
        "../../outside",
        "../outside/empty",
        ".",
        "..",
        "/",
        "a",
        "b",
        "link",
        "a/b",
        "../a",
        ".mv",
        ".mv/oplog",
        ".git/hooks",
        "/proc/self/cwd/outside",
        "nowhere",
    ]
    .map(|t| t.as_bytes().to_vec())
    .to_vec();
    out.extend(["outside", "outside/file", "outside/dir/new"].map(full));
    out
}

#[derive(Debug, Default)]
struct Came {
    refused: usize,
    unplanned: usize,
    failed: usize,
    written: usize,
}

/// Makes, plans and writes one commit.
fn once(world: &mut World, last: &mut Files, came: &mut Came) {
    let Ok(to) = world.files() else {
        came.refused += 1;
        return;
    };
    let root = world.root();
    let rules = Rules::load(&root).unwrap();
    let seen = look(
        &root,
        &StatCache::default(),
        None,
        &world.store,
        &Ctx::quiet(),
    );
    let current = seen.unwrap().files(&rules).unwrap();
    // As `switch` does it from what was written last, and as `restore` does it over anything.
    let from = if world.random.below(2) == 0 {
        last.clone()
    } else {
        current.clone()
    };
    let Ok(plan) = checkout::plan(&root, &current, &from, &to, "switch") else {
        came.unplanned += 1;
        return;
    };
    let mut cache = StatCache::default();
    match plan.apply(&root, &world.store, &mut cache, &Ctx::quiet()) {
        Ok(()) => came.written += 1,
        Err(_) => came.failed += 1,
    }
    *last = to;
}

#[test]
fn no_checkout_touches_anything_outside() {
    let cases = cases(500);
    let mut world = World::new(0x5eed_0001);
    let mut came = Came::default();
    for round in 0..cases.div_ceil(5) {
        world.clear();
        let before = world.surroundings();
        let mut last = Files::new();
        for _ in 0..5 {
            world.plant();
            once(&mut world, &mut last, &mut came);
            assert_eq!(world.surroundings(), before, "round {round}");
        }
    }
    let seen = [came.refused, came.unplanned, came.failed, came.written];
    assert!(seen.iter().all(|n| *n >= cases / 50), "{came:?}");
}
