//! I/O errors: every change of the file system that a command makes fails, one after the other,
//! once and for ever. The command says so and the repository is whole; or it never needed that
//! call, and everything is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_repo::{Ctx, ErrorKind, GcOptions, Repo, Result, SwitchTo};
use modelv_store::fs::faults::disk::Image;
use modelv_store::fs::faults::{Fault, Watch};

use crate::scene::{
    clone, commit, fetch, folder, merge_options, next_works, noise, number, problems, push, put,
    remote_in,
};

/// A command under test, and whether it writes the working tree.
struct Case {
    name: &'static str,
    /// The repository it works in, which is not there yet when the command makes it.
    place: &'static str,
    writes_files: bool,
    act: fn(&Path) -> Result<()>,
}

const CASES: [Case; 9] = [
    Case {
        name: "commit",
        place: "a",
        writes_files: false,
        act: |dir| commit(&mut Repo::open(&dir.join("a"))?, "second").map(drop),
    },
    Case {
        name: "switch",
        place: "b",
        writes_files: true,
        act: |dir| {
            let to = SwitchTo::Branch("topic".into());
            Repo::open(&dir.join("b"))?
                .switch(&to, &Ctx::quiet())
                .map(drop)
        },
    },
    Case {
        name: "merge",
        place: "b",
        writes_files: true,
        act: |dir| {
            let mut repo = Repo::open(&dir.join("b"))?;
            repo.merge("topic", &merge_options(), &Ctx::quiet())
                .map(drop)
        },
    },
    Case {
        name: "undo",
        place: "b",
        writes_files: true,
        act: |dir| Repo::open(&dir.join("b"))?.undo(&Ctx::quiet()).map(drop),
    },
    Case {
        name: "push",
        place: "b",
        writes_files: false,
        act: |dir| push(&mut Repo::open(&dir.join("b"))?),
    },
    Case {
        name: "fetch",
        place: "c",
        writes_files: false,
        act: |dir| fetch(&mut Repo::open(&dir.join("c"))?),
    },
    Case {
        name: "clone",
        place: "d",
        writes_files: true,
        act: |dir| clone(&remote_in(&dir.join("remote")).url, &dir.join("d")).map(drop),
    },
    Case {
        name: "init",
        place: "new/e",
        writes_files: false,
        act: |dir| Repo::init(&dir.join("new/e")).map(drop),
    },
    Case {
        name: "gc",
        place: "b",
        writes_files: false,
        act: |dir| collect(&mut Repo::open(&dir.join("b"))?),
    },
];

/// Deletes at once what nothing leads to, and writes all else anew.
fn collect(repo: &mut Repo) -> Result<()> {
    let options = GcOptions {
        now: true,
        repack: true,
        keep_days: 0,
        ..GcOptions::default()
    };
    repo.gc(&options, &Ctx::quiet()).map(drop)
}

/// `a` has something to commit; `b` a branch to switch to, to merge and to push, and one that was
/// deleted; `c` something to fetch.
fn prepare(dir: &Path) {
    let a = dir.join("a");
    let mut repo = Repo::init(&a).unwrap();
    put(&a, "modelv.toml", b"[env]\ncapture = \"none\"\n");
    put(&a, ".mvignore", b"*.skip\n");
    put(&a, "train.py", b"print(1)\n");
    commit(&mut repo, "first").unwrap();
    repo.add_remote(&remote_in(&dir.join("remote"))).unwrap();
    push(&mut repo).unwrap();
    put(&a, "models/w.bin", &noise(4, 3000));
    put(&a, "train.py", b"print(2)\n");

    let b = dir.join("b");
    let url = remote_in(&dir.join("remote")).url;
    clone(&url, &dir.join("c")).unwrap();
    let mut repo = clone(&url, &b).unwrap();
    repo.switch(&SwitchTo::New("dead".into(), None), &Ctx::quiet())
        .unwrap();
    put(&b, "dead.bin", &noise(6, 2000));
    commit(&mut repo, "dead").unwrap();
    repo.switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
        .unwrap();
    repo.delete_branch("dead").unwrap();
    repo.switch(&SwitchTo::New("topic".into(), None), &Ctx::quiet())
        .unwrap();
    put(&b, "data/rows.csv", b"a,b\n1,2\n");
    put(&b, "train.py", b"print(3)\n");
    commit(&mut repo, "topic").unwrap();
    repo.switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
        .unwrap();
    put(&b, "eval.py", b"print('b')\n");
    commit(&mut repo, "main").unwrap();
    put(&b, "own.skip", b"not committed");

    let mut other = clone(&url, &dir.join("other")).unwrap();
    put(&dir.join("other"), "more.py", &noise(5, 600));
    commit(&mut other, "more").unwrap();
    other
        .switch(&SwitchTo::New("side".into(), None), &Ctx::quiet())
        .unwrap();
    other
        .set_upstream("side", "origin", "side")
        .and_then(|()| push(&mut other))
        .unwrap();
}

/// The repository's folder, and what a command that failed to the end could not take away again.
fn is_ours(name: &std::ffi::OsStr) -> bool {
    name == ".mv" || name.as_encoded_bytes().starts_with(b".mv-tmp-")
}

/// The user's files of all working trees.
fn users_files(image: &Image) -> BTreeMap<PathBuf, Vec<u8>> {
    image
        .files()
        .filter(|p| !p.starts_with("remote") && !p.components().any(|c| is_ours(c.as_os_str())))
        .map(|p| (p.to_owned(), image.file(p).unwrap().to_vec()))
        .collect()
}

/// Every file is as it was before, or as the command would have left it.
fn files_are_whole(now: &Image, before: &Image, after: &Image) -> std::result::Result<(), String> {
    let (before, after) = (users_files(before), users_files(after));
    let now = users_files(now);
    for path in before.keys().chain(after.keys()).chain(now.keys()) {
        let found = now.get(path);
        if found != before.get(path) && found != after.get(path) {
            return Err(format!("`{}` is neither old nor new", path.display()));
        }
    }
    Ok(())
}

struct Bench<'a> {
    case: &'a Case,
    dir: PathBuf,
    before: &'a Image,
    after: &'a Image,
}

impl Bench<'_> {
    /// Runs the command with a fault; says what is wrong afterwards.
    fn run(&self, call: u64, how: Fault, once: bool) -> std::result::Result<(), String> {
        let dir = &self.dir;
        self.before.write(dir).unwrap();
        let root = dir.join(self.case.place);
        let count = || Repo::open(&root).map_or(0, |r| r.oplog().operations.len());
        let old = count();
        let watch = if once {
            Watch::fail_once(dir, call, how)
        } else {
            Watch::fail_from(dir, call, how)
        };
        let done = (self.case.act)(dir);
        drop(watch);
        if let Err(e) = &done
            && e.kind() == ErrorKind::Corrupt
        {
            return Err(format!("it claims damage: {e}"));
        }
        let now = Image::read(dir).unwrap();
        files_are_whole(&now, self.before, self.after)?;
        if !self.case.writes_files && users_files(&now) != users_files(self.before) {
            return Err("it changed the user's files".into());
        }
        if root.join(".mv/oplog").exists() {
            let repo = Repo::open(&root).map_err(|e| format!("it can't be opened: {e}"))?;
            if repo.oplog().operations.len() < old {
                return Err("operations are gone".into());
            }
            if let [first, ..] = problems(&repo).as_slice() {
                return Err(format!("fsck: {first}"));
            }
        }
        if done.is_ok() {
            return Ok(());
        }
        // The disk is well again: the same command now works, or had worked after all.
        if let Err(e) = (self.case.act)(dir)
            && !matches!(
                e.kind(),
                ErrorKind::Exists | ErrorKind::InvalidInput | ErrorKind::NotFound
            )
        {
            return Err(format!("again: {e}"));
        }
        next_works(&root)?;
        match self.case.name {
            "gc" => ends_the_work(&root),
            _ => Ok(()),
        }
    }
}

/// A collection after one that failed leaves nothing lying around.
fn ends_the_work(root: &Path) -> std::result::Result<(), String> {
    let mut repo = Repo::open(root).map_err(|e| e.to_string())?;
    collect(&mut repo).map_err(|e| format!("the next collection: {e}"))?;
    for folder in ["condemned", "trash"] {
        let left = std::fs::read_dir(root.join(".mv").join(folder)).map_or(0, Iterator::count);
        if left > 0 {
            return Err(format!("`{folder}` is not empty"));
        }
    }
    match problems(&repo).as_slice() {
        [] => Ok(()),
        some => Err(format!("after the next collection: {some:?}")),
    }
}

fn images(case: &Case, dir: &Path, before: &Image) -> (Image, u64) {
    before.write(dir).unwrap();
    let watch = Watch::count(dir);
    (case.act)(dir).unwrap();
    let calls = watch.calls();
    drop(watch);
    (Image::read(dir).unwrap(), calls)
}

/// Whether the short form tries this: every call with one fault, the others at some calls.
fn is_tried(call: u64, how: Fault, once: bool, long: bool) -> bool {
    // Who is interrupted for ever never ends.
    if how == Fault::Interrupted && !once {
        return false;
    }
    let often = how == Fault::Io && once;
    long || often || (call + how as u64 + u64::from(once)).is_multiple_of(12)
}

/// All faults at all calls that fall to one thread; what was tried, and what is wrong.
fn try_all(case: &Case, share: u64, threads: u64) -> (u64, Vec<String>) {
    let long = number("MODELV_FAULT_LONG").is_some();
    // Remotes are known by their path, so each thread makes a disk of its own.
    let origin = folder();
    let dir = origin.path().canonicalize().unwrap().join("disk");
    prepare(&dir);
    let before = Image::read(&dir).unwrap();
    let (after, calls) = images(case, &dir, &before);
    assert!(calls > 2, "{}", case.name);
    let bench = Bench {
        case,
        dir,
        before: &before,
        after: &after,
    };
    let (mut tried, mut wrong) = (0, Vec::new());
    for call in (0..calls).filter(|call| call % threads == share) {
        for (how, once) in Fault::ALL.into_iter().flat_map(|f| [(f, true), (f, false)]) {
            if is_tried(call, how, once, long) {
                tried += 1;
                if let Err(e) = bench.run(call, how, once) {
                    wrong.push(format!(
                        "{}: call {call}, {how:?}, once {once}: {e}",
                        case.name
                    ));
                }
            }
        }
    }
    (tried, wrong)
}

#[test]
fn a_call_that_fails_leaves_a_whole_repository_and_the_users_files() {
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let (mut tried, mut wrong) = (0, Vec::new());
    for case in &CASES {
        let found: Vec<_> = std::thread::scope(|scope| {
            let hands: Vec<_> = (0..threads)
                .map(|share| scope.spawn(move || try_all(case, share, threads)))
                .collect();
            hands.into_iter().map(|h| h.join().unwrap()).collect()
        });
        for (some, bad) in found {
            tried += some;
            wrong.extend(bad);
        }
        eprintln!("{tried} failures tried up to {}", case.name);
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Two processes' worth of writers: nothing is lost, and whoever was slower is told so.
#[test]
fn writers_at_the_same_time_lose_nothing() {
    let origin = folder();
    let dir = origin.path().to_owned();
    let mut repo = Repo::init(&dir).unwrap();
    put(&dir, "modelv.toml", b"[env]\ncapture = \"none\"\n");
    commit(&mut repo, "first").unwrap();
    let at = repo.head().unwrap();
    let made: Vec<String> = std::thread::scope(|scope| {
        let hands: Vec<_> = (0..4)
            .map(|hand| {
                let dir = &dir;
                scope.spawn(move || {
                    let mut names = Vec::new();
                    for i in 0..25 {
                        let name = format!("h{hand}-{i}");
                        let mut repo = Repo::open(dir).unwrap();
                        repo.create_branch(&name, at).unwrap();
                        put(dir, &format!("f{hand}"), name.as_bytes());
                        // All move the same branch: one wins, and the others are told.
                        if let Err(e) = commit(&mut repo, &name) {
                            assert!(!matches!(e.kind(), ErrorKind::Corrupt), "{e}");
                        }
                        names.push(name);
                    }
                    names
                })
            })
            .collect();
        hands.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    let repo = Repo::open(&dir).unwrap();
    for name in &made {
        assert_eq!(repo.ref_commit(&format!("refs/heads/{name}")), Some(at));
    }
    assert_eq!(problems(&repo), [""; 0]);
    next_works(&dir).unwrap();
}
