//! Power cuts on a simulated disk: a working session is recorded, and replayed to every one of its
//! calls with any part of what was not synced by then.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use modelv_repo::core::value::Value;
use modelv_repo::{Ctx, Ending, ErrorKind, Journal, Repo, RunOptions, SwitchTo};
use modelv_store::fs::faults::Watch;
use modelv_store::fs::faults::disk::{Chance, Disk, Image, Keep};

use crate::scene::{
    clone, commit, fetch, folder, merge_options, next_works, noise, number, problems, push, put,
    remote_in,
};

/// Where things are below the root of the disk. The first is deep, for new parents to be synced.
const OURS: &str = "new/deep/ours";
const THEIRS: &str = "theirs";
const REMOTE: &str = "far/remote";

/// States of the short form; more by `MODELV_FAULT_STATES`.
const STATES: u64 = 20_000;

/// What has been promised at some moment: the nonces of all operations of both repositories, and
/// the branches of the remote.
#[derive(Debug, Clone, Default)]
struct Promise {
    ours: Vec<[u8; 16]>,
    theirs: Vec<[u8; 16]>,
    remote: Vec<(String, String)>,
}

struct Recording {
    disk: Disk,
    promises: Vec<Promise>,
    /// Keeps the real thing, which clones can be made of.
    _dir: tempfile::TempDir,
    root: PathBuf,
}

struct Recorder {
    watch: Watch,
    root: PathBuf,
    promises: Vec<Promise>,
}

fn nonces(root: &Path) -> Vec<[u8; 16]> {
    let repo = Repo::open(root);
    repo.map_or_else(
        |_| Vec::new(),
        |r| r.oplog().operations.iter().map(|o| o.nonce).collect(),
    )
}

fn heads(remote: &Path) -> Option<Vec<(String, String)>> {
    let cache = tempfile::tempdir().unwrap();
    let info = remote_in(remote);
    let remote =
        modelv_store::remote::Remote::open(&info.url, &info.options, cache.path()).unwrap();
    let root = remote.root().ok()??;
    Some(
        root.refs
            .iter()
            .map(|(n, id)| (n.clone(), id.to_hex()))
            .collect(),
    )
}

impl Recorder {
    fn give(&self, repo: &str, path: &str, bytes: &[u8]) {
        let full = put(&self.root.join(repo), path, bytes);
        self.watch.recorded(|d| d.give(&full).unwrap()).unwrap();
    }

    /// The command has returned: from here on, what it did must be there.
    fn done(&mut self) {
        let promise = Promise {
            ours: nonces(&self.root.join(OURS)),
            theirs: nonces(&self.root.join(THEIRS)),
            remote: heads(&self.root.join(REMOTE)).unwrap_or_default(),
        };
        self.watch
            .recorded(|d| d.ack(self.promises.len() as u64))
            .unwrap();
        self.promises.push(promise);
    }

    /// Two branches, a merge, an undo and a run.
    fn alone(&mut self) {
        let root = self.root.join(OURS);
        let mut ours = Repo::init(&root).unwrap();
        self.done();
        self.give(OURS, "modelv.toml", b"[env]\ncapture = \"none\"\n");
        self.give(OURS, "own.skip", b"never committed");
        self.give(OURS, ".mvignore", b"*.skip\n");
        self.give(OURS, "train.py", b"print(1)\n");
        self.give(OURS, "models/w.bin", &noise(1, 3000));
        commit(&mut ours, "first").unwrap();
        self.done();
        ours.switch(&SwitchTo::New("topic".into(), None), &Ctx::quiet())
            .unwrap();
        self.done();
        self.give(OURS, "data/rows.csv", b"a,b\n1,2\n");
        commit(&mut ours, "rows").unwrap();
        self.done();
        ours.switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
            .unwrap();
        self.done();
        self.give(OURS, "models/w.bin", &noise(2, 2500));
        commit(&mut ours, "weights").unwrap();
        self.done();
        ours.merge("topic", &merge_options(), &Ctx::quiet())
            .unwrap();
        self.done();
        // The commit, then the merge.
        for _ in 0..2 {
            ours.undo(&Ctx::quiet()).unwrap();
            self.done();
        }
        let options = RunOptions {
            author: Some("Ada <ada@example.org>".into()),
            ..RunOptions::default()
        };
        let run = ours
            .begin_run(&options, &["train".into()], &Ctx::quiet())
            .unwrap();
        let journal = Journal::open(run.folder()).unwrap();
        journal.metric("loss", &Value::Float(0.5), Some(1)).unwrap();
        journal.param("lr", &Value::Float(0.1)).unwrap();
        journal.close().unwrap();
        ours.finish_run(
            run,
            Ending {
                status: modelv_repo::core::run::Status::Finished,
                exit_code: Some(0),
            },
            &Ctx::quiet(),
        )
        .unwrap();
        self.done();
    }

    /// Push, clone, a commit there, push from there, fetch.
    fn together(&mut self) {
        let mut ours = Repo::open(&self.root.join(OURS)).unwrap();
        ours.add_remote(&remote_in(&self.root.join(REMOTE)))
            .unwrap();
        self.done();
        push(&mut ours).unwrap();
        self.done();
        let url = remote_in(&self.root.join(REMOTE)).url;
        let mut theirs = clone(&url, &self.root.join(THEIRS)).unwrap();
        self.done();
        self.give(THEIRS, "more/eval.py", &noise(3, 600));
        commit(&mut theirs, "eval").unwrap();
        self.done();
        push(&mut theirs).unwrap();
        self.done();
        fetch(&mut ours).unwrap();
        self.done();
        ours.merge("origin/main", &merge_options(), &Ctx::quiet())
            .unwrap();
        self.done();
    }
}

fn record() -> Recording {
    let dir = folder();
    let root = dir.path().canonicalize().unwrap();
    let mut recorder = Recorder {
        watch: Watch::record(&root).unwrap(),
        root: root.clone(),
        promises: Vec::new(),
    };
    recorder.alone();
    recorder.together();
    let Recorder {
        watch, promises, ..
    } = recorder;
    let disk = watch.recorded(|d| d.clone()).unwrap();
    drop(watch);
    Recording {
        disk,
        promises,
        _dir: dir,
        root,
    }
}

/// Looks at states, each part of each only once.
struct Judge<'a> {
    recording: &'a Recording,
    /// Those that were found sound.
    sound: Mutex<HashSet<[u8; 32]>>,
    states: AtomicU64,
}

/// A violation, with what it takes to see it again.
type Verdict = Result<(), String>;

impl Judge<'_> {
    fn new(recording: &Recording) -> Judge<'_> {
        Judge {
            recording,
            sound: Mutex::default(),
            states: AtomicU64::new(0),
        }
    }

    /// What tells a part of a state, and what was promised of it, from others.
    fn key(part: &str, image: &Image, promise: &Promise) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(part.as_bytes()).update(&image.hash());
        let promised = match part {
            OURS => promise.ours.len(),
            THEIRS => promise.theirs.len(),
            _ => promise.remote.len(),
        };
        hasher.update(&(promised as u64).to_le_bytes());
        if part == REMOTE {
            hasher.update(format!("{:?}", promise.remote).as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Looks at a state; the costly half of it, whether the next command works, for a part of them.
    fn judge(&self, image: &Image, acked: Option<u64>, scratch: &Path, all: bool) -> Verdict {
        self.states.fetch_add(1, Ordering::Relaxed);
        let none = Promise::default();
        let promises = &self.recording.promises;
        let at = acked.map(|n| usize::try_from(n).unwrap());
        let promise = at.map_or(&none, |n| &promises[n]);
        for part in [OURS, THEIRS, REMOTE] {
            let found = image.below(Path::new(part));
            let key = Self::key(part, &found, promise);
            if self.sound.lock().unwrap().contains(&key) {
                continue;
            }
            let root = scratch.join("disk");
            found.write(&root).unwrap();
            let on = all || key[0].is_multiple_of(16);
            match part {
                OURS => self.repository(&root, &promise.ours, true, on)?,
                THEIRS => self.repository(&root, &promise.theirs, false, on)?,
                _ => {
                    let later = promises.get(at.map_or(0, |n| n + 1));
                    remote(&root, promise, later.unwrap_or(promise), scratch)?;
                }
            }
            self.sound.lock().unwrap().insert(key);
        }
        Ok(())
    }

    fn repository(&self, root: &Path, promised: &[[u8; 16]], is_ours: bool, on: bool) -> Verdict {
        if promised.is_empty() {
            return self.unfinished(root, is_ours);
        }
        let repo = Repo::open(root).map_err(|e| format!("it can't be opened: {e}"))?;
        let found: Vec<[u8; 16]> = repo.oplog().operations.iter().map(|o| o.nonce).collect();
        if !found.starts_with(promised) {
            let (found, promised) = (found.len(), promised.len());
            return Err(format!(
                "{found} operations of {promised} that were promised"
            ));
        }
        if let [first, ..] = problems(&repo).as_slice() {
            return Err(format!("fsck: {first}"));
        }
        let own = root.join("own.skip");
        if is_ours
            && promised.len() > 1
            && std::fs::read(own).ok() != Some(b"never committed".into())
        {
            return Err("a user's file is gone".into());
        }
        drop(repo);
        if on { next_works(root) } else { Ok(()) }
    }

    /// Nothing was promised: whatever is there must not be in the way.
    fn unfinished(&self, root: &Path, is_ours: bool) -> Verdict {
        if is_ours {
            if Repo::open(root).is_err() {
                Repo::init(root).map_err(|e| format!("init again: {e}"))?;
            }
        } else {
            let url = remote_in(&self.recording.root.join(REMOTE)).url;
            let done = clone(&url, root).map(drop);
            match done {
                Ok(()) => {}
                // It was finished, although nobody was told.
                Err(_) if Repo::open(root).is_ok_and(|r| r.head().is_some()) => {}
                // Files of the working tree are not synced. Torn ones could be the user's, for all
                // a clone can know: it says so, and is told to start afresh.
                Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::InvalidInput) => {
                    std::fs::remove_dir_all(root).unwrap();
                    clone(&url, root).map_err(|e| format!("clone afresh: {e}"))?;
                }
                Err(e) => return Err(format!("clone again: {e}")),
            }
        }
        let repo = Repo::open(root).map_err(|e| format!("it can't be opened: {e}"))?;
        match problems(&repo).as_slice() {
            [] => next_works(root),
            some => Err(format!("fsck: {some:?}")),
        }
    }
}

fn remote(root: &Path, promise: &Promise, later: &Promise, scratch: &Path) -> Verdict {
    if promise.remote.is_empty() && heads(root).is_none() {
        return Ok(());
    }
    let heads = heads(root).ok_or("the remote's root is gone or damaged")?;
    if heads != promise.remote && heads != later.remote {
        return Err(format!("the remote has {heads:?}"));
    }
    let dir = scratch.join("clone");
    let _ = std::fs::remove_dir_all(&dir);
    let url = remote_in(root).url;
    let repo = clone(&url, &dir).map_err(|e| format!("a clone of the remote: {e}"))?;
    match problems(&repo).as_slice() {
        [] => Ok(()),
        some => Err(format!("a clone of the remote: {some:?}")),
    }
}

/// All states of a disk, `random` of them by chance at every call; the first violation.
fn violations(disk: &Disk, judge: &Judge<'_>, random: u64) -> Option<String> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let found: Mutex<Option<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let found = &found;
            scope.spawn(move || {
                let scratch = folder();
                let long = number("MODELV_FAULT_LONG").is_some();
                let mut replay = disk.start();
                let mut call = 0;
                while replay.step() {
                    call += 1;
                    if call % threads != thread || replay.unsynced() == 0 {
                        continue;
                    }
                    let see = |keep: &mut Keep<'_>, what: &str, all: bool| {
                        if found.lock().unwrap().is_some() {
                            return;
                        }
                        let image = replay.image(keep);
                        if let Err(e) = judge.judge(&image, replay.acked(), scratch.path(), all) {
                            *found.lock().unwrap() = Some(format!("call {call}, {what}: {e}"));
                        }
                    };
                    see(&mut Keep::None, "nothing unsynced", true);
                    see(&mut Keep::All, "everything", true);
                    see(&mut Keep::Names, "names alone", true);
                    see(&mut Keep::Contents, "contents alone", true);
                    for sectors in 0..replay.last_sectors().min(16) {
                        see(
                            &mut Keep::Torn(sectors),
                            &format!("torn at {sectors}"),
                            true,
                        );
                    }
                    for number in 0..random {
                        let seed = (call as u64) << 32 | number;
                        let mut chance = Chance::new(seed);
                        see(&mut Keep::Any(&mut chance), &format!("seed {seed}"), long);
                    }
                    if found.lock().unwrap().is_some() {
                        return;
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Nothing that was promised is lost, whatever part of the unsynced a power cut leaves.
#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_promised() {
    let recording = record();
    // Nothing has gone past the recorder.
    let real = Image::read(&recording.root).unwrap();
    assert_eq!(
        recording.disk.now().differences(&real),
        Vec::<PathBuf>::new()
    );
    let wanted = number("MODELV_FAULT_STATES").unwrap_or(STATES);
    // Where little is not synced, there are fewer states than are drawn.
    let random = (wanted + wanted / 20) / recording.disk.len() as u64 + 1;
    let judge = Judge::new(&recording);
    let found = violations(&recording.disk, &judge, random);
    let states = judge.states.load(Ordering::Relaxed);
    let distinct = judge.sound.lock().unwrap().len();
    eprintln!(
        "{} calls, {states} states, {distinct} distinct repositories and remotes",
        recording.disk.len()
    );
    assert_eq!(found, None);
    assert!(states >= wanted, "only {states} states");
    every_sync_is_needed(&recording, &judge);
}

/// The negative control: without any one of the syncs, something that was promised is lost.
fn every_sync_is_needed(recording: &Recording, judge: &Judge<'_>) {
    let syncs = recording.disk.syncs();
    let mut idle = Vec::new();
    for sync in &syncs {
        match violations(&recording.disk.without(sync), judge, 4) {
            Some(found) => eprintln!("without the sync of {sync}: {found}"),
            None => idle.push(sync.as_str()),
        }
    }
    assert!(syncs.len() >= 8, "{syncs:?}");
    assert_eq!(idle, [""; 0], "syncs that nothing depends on");
}
