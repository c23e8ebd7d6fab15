//! Real mounts. They need what the crate needs: /dev/fuse, and root or fusermount3.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use modelv_repo::{CommitOptions, Ctx};

use super::*;

/// A repository, a commit of it that is mounted, and the thread that serves it.
struct Mounted {
    dir: tempfile::TempDir,
    cache: Arc<ChunkCache>,
    said: Arc<std::sync::Mutex<Vec<String>>>,
    stopper: Option<Stopper>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

fn repo(dir: &Path) -> Repo {
    let repo = Repo::init(dir).unwrap();
    std::fs::write(dir.join("modelv.toml"), "[env]\ncapture = \"none\"\n").unwrap();
    repo
}

fn commit(repo: &mut Repo) -> CommitId {
    let options = CommitOptions {
        message: "all".into(),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap().id
}

impl Mounted {
    /// Commits what `fill` writes, and mounts it; `harm` may do something to the store first.
    fn new(fill: impl FnOnce(&Path), harm: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let mut made = repo(&tree);
        fill(&tree);
        let id = commit(&mut made);
        drop(made);
        harm(&tree);
        let at = dir.path().join("mnt");
        std::fs::create_dir(&at).unwrap();
        let said: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        let on_error = Box::new(move |text: &str| heard.lock().unwrap().push(text.to_owned()));
        let repo = Arc::new(Repo::discover(&tree).unwrap());
        let mut mount = mount(repo, id, &at, CACHE_BYTES, on_error).unwrap_or_else(|e| {
            panic!("these tests mount: they need /dev/fuse and root (or fusermount3): {e}")
        });
        Self {
            cache: mount.cache(),
            stopper: Some(mount.stopper()),
            thread: Some(std::thread::spawn(move || mount.run())),
            dir,
            said,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("mnt").join(path)
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    fn stop(&mut self) -> Option<Stopped> {
        let stopped = self.stopper.take()?.stop().unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
        Some(stopped)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.stop();
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Path, kind and permissions, content or target of everything but `.mv`.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut out = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".mv") {
                continue;
            }
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                dirs.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                target.into_os_string().into_encoded_bytes()
            } else {
                assert_eq!(meta.len(), std::fs::read(&path).unwrap().len() as u64);
                std::fs::read(&path).unwrap()
            };
            let below = path.strip_prefix(dir).unwrap().to_owned();
            // Kind and whether it can be executed; the rest is the umask's.
            out.insert(below, (meta.mode() & 0o170_100, content));
        }
    }
    out
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let full = root.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(&full, bytes).unwrap();
    let bits = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(full, bits).unwrap();
}

#[test]
fn every_byte_mode_and_link_is_that_of_the_working_tree() {
    use std::os::unix::ffi::OsStrExt;
    let mut mounted = Mounted::new(
        |root| {
            for path in [
                "train.py",
                "data/rows.csv",
                "shared/code.py",
                "shared/t.csv",
                "params.toml",
                "a b/c",
                "empty",
            ] {
                let bytes = if path == "empty" {
                    Vec::new()
                } else {
                    noise(path.len() as u64, 70_000)
                };
                write(root, path, &bytes);
            }
            write(root, "models/w.safetensors", &noise(3, 3 << 20));
            write(root, "run.sh", b"#!/bin/sh\n");
            let bits = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(root.join("run.sh"), bits).unwrap();
            std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
            symlink("data/rows.csv", root.join("link")).unwrap();
            symlink("/nowhere", root.join("dangling")).unwrap();
        },
        |_| {},
    );
    let seen = listing(&mounted.at(""));
    assert_eq!(seen, listing(&mounted.tree("")));
    assert!(seen.len() > 12);
    let meta = std::fs::metadata(mounted.at("link")).unwrap();
    assert_eq!(
        meta.ino(),
        std::fs::metadata(mounted.at("data/rows.csv"))
            .unwrap()
            .ino()
    );
    let log = Repo::discover(&mounted.tree("")).unwrap();
    let time = log.commit_object(log.head().unwrap()).unwrap().time.seconds;
    assert_eq!(meta.mtime(), time);
    assert!(meta.ino() > 1 && meta.blocks() >= meta.len() / 512);
    let space = rustix::fs::statvfs(mounted.at("")).unwrap();
    assert!(space.f_blocks * space.f_frsize >= 3 << 20 && space.f_bavail == 0);
    // Nothing can be written.
    for refused in [
        std::fs::write(mounted.at("new"), "x"),
        std::fs::write(mounted.at("empty"), "x"),
        std::fs::remove_file(mounted.at("empty")),
        std::fs::create_dir(mounted.at("dir")),
    ] {
        let errno = refused.unwrap_err().raw_os_error();
        assert_eq!(errno, Some(rustix::io::Errno::ROFS.raw_os_error()));
    }
    assert_eq!(mounted.stop(), Some(Stopped::Now));
    assert_eq!(std::fs::read_dir(mounted.at("")).unwrap().count(), 0);
    assert!(mounted.said.lock().unwrap().is_empty());
}

#[test]
fn a_slice_of_a_large_file_decodes_its_chunks_alone_and_threads_read_at_random() {
    let content = noise(7, 40 << 20);
    let mounted = Mounted::new(|root| write(root, "data/large.bin", &content), |_| {});
    let path = mounted.at("data/large.bin");
    let ino = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(
        mounted.cache.decoded(),
        0,
        "nothing is decoded to list and stat"
    );
    let file = File::open(&path).unwrap();
    let mut buf = vec![0; 1000];
    file.read_exact_at(&mut buf, 20 << 20).unwrap();
    assert!(buf == content[20 << 20..][..1000]);
    // The kernel reads ahead, at most some hundred KiB; a chunk has up to 256 KiB here.
    let few = mounted.cache.decoded();
    assert!(
        (1..=40).contains(&few),
        "{few} chunks for 1000 bytes of 40 MiB"
    );
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (path, content) = (&path, &content);
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut buf = vec![0; 12_345];
                for step in 0..50 {
                    let at = (thread * 7_654_321 + step * 3_456_789) % (content.len() - buf.len());
                    file.read_exact_at(&mut buf, at as u64).unwrap();
                    assert!(buf == content[at..at + buf.len()], "{at}");
                }
            });
        }
    });
    assert!(std::fs::read(&path).unwrap() == content);
    assert!(mounted.cache.bytes() <= CACHE_BYTES);
    assert_eq!(file.read_at(&mut buf, content.len() as u64).unwrap(), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), ino);
}

#[test]
fn a_directory_of_ten_thousand_names_is_listed_whole() {
    let mounted = Mounted::new(
        |root| {
            std::fs::create_dir(root.join("many")).unwrap();
            for n in 0..10_000 {
                std::fs::write(root.join(format!("many/file-{n:05}")), format!("{n}")).unwrap();
            }
        },
        |_| {},
    );
    let mut names: Vec<String> = std::fs::read_dir(mounted.at("many"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 10_000);
    assert_eq!(names[9_999], "file-09999");
    let inos: std::collections::HashSet<u64> = std::fs::read_dir(mounted.at("many"))
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().ino())
        .collect();
    assert_eq!(inos.len(), 10_000);
    assert_eq!(
        std::fs::read_to_string(mounted.at("many/file-07777")).unwrap(),
        "7777"
    );
    assert!(!mounted.at("many/file-10000").exists());
}

#[test]
fn damage_is_an_error_for_the_read_that_needs_it_and_nothing_else() {
    let content = noise(9, 8 << 20);
    let mut mounted = Mounted::new(
        |root| {
            write(root, "data/large.bin", &content);
            write(root, "other", b"sound");
        },
        |root| {
            let packs = std::fs::read_dir(root.join(".mv/packs")).unwrap();
            let packs = packs.map(|e| e.unwrap().path());
            let pack = packs
                .filter(|p| p.extension().is_some_and(|e| e == "pack"))
                .max_by_key(|p| std::fs::metadata(p).unwrap().len())
                .unwrap();
            let mut bytes = std::fs::read(&pack).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(pack, bytes).unwrap();
        },
    );
    let file = File::open(mounted.at("data/large.bin")).unwrap();
    let mut bad = 0;
    for (at, want) in (0..).step_by(4096).zip(content.chunks(4096)) {
        let mut buf = vec![0; want.len()];
        match file.read_exact_at(&mut buf, at) {
            Ok(()) => assert!(buf == want, "{at}"),
            Err(e) => {
                assert_eq!(e.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
                bad += 4096;
            }
        }
    }
    // One chunk of at most 256 KiB, and what the kernel asked for together with it.
    assert!(bad > 0 && bad <= 2 << 20, "{bad}");
    assert_eq!(
        std::fs::read_to_string(mounted.at("other")).unwrap(),
        "sound"
    );
    let said = mounted.said.lock().unwrap().clone();
    assert!(
        said[0].starts_with("`data/large.bin`: ") && said[0].contains("damaged"),
        "{said:?}"
    );
    // Still open: it goes from its place at once, and ends when the file is closed.
    let stopped = mounted.stopper.take().unwrap().stop().unwrap();
    assert_eq!(stopped, Stopped::WhenLeft);
    assert_eq!(std::fs::read_dir(mounted.at("")).unwrap().count(), 0);
    drop(file);
    mounted.thread.take().unwrap().join().unwrap().unwrap();
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = repo(&dir.path().join("tree"));
    let id = commit(&mut repo);
    let repo = Arc::new(repo);
    let at = dir.path().join("tree");
    let refused = |at: &Path| {
        let made = mount(Arc::clone(&repo), id, at, CACHE_BYTES, Box::new(|_| {}));
        made.map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused(&at).ends_with("can't be mounted on: it is not empty"));
    assert!(refused(&dir.path().join("none")).starts_with("cannot read"));
    let none = check_fuse(&dir.path().join("no-device"), None).unwrap_err();
    assert_eq!(none.to_string(), "this machine has no /dev/fuse");
    assert!(time_of(-5) < UNIX_EPOCH && time_of(i64::MAX) >= UNIX_EPOCH);
}
