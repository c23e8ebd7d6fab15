//! Histories that are collected while others write: nothing that was acknowledged is ever lost, and
//! each part of the protocol that is left out loses something.

use std::collections::BTreeMap;

use modelv_core::commit::{Commit, Person, Recipe, Time};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::remote::Item;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::commit::{CommitOptions, write_recipe};
use crate::error::Error;
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::run::{Ending, RunOptions};
use crate::worktree::{Files, Ingredient, SnapFile};
use crate::{Decision, MergeOptions, MergeOutcome, SwitchTo};

const YEAR: i64 = 365 * DAY_SECONDS;

fn repo() -> (TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::init(dir.path()).unwrap();
    std::fs::write(
        dir.path().join("modelv.toml"),
        "[env]\ncapture = \"none\"\n",
    )
    .unwrap();
    (dir, repo)
}

/// A content that only its seed makes; some are cut into several chunks.
fn content(seed: u64) -> Vec<u8> {
    let mut bytes = vec![
        0;
        if seed.is_multiple_of(3) {
            200_000
        } else {
            3000
        }
    ];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn commit_file(repo: &mut Repo, seed: u64) -> CommitId {
    std::fs::write(repo.root().join("file"), content(seed)).unwrap();
    let options = CommitOptions {
        message: format!("{seed}"),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap().id
}

fn gc(repo: &Repo, now: i64) -> Result<GcReport> {
    let options = GcOptions {
        keep_days: 0,
        ..GcOptions::default()
    };
    repo.gc_at(&options, clock::now().seconds + now, &Ctx::quiet())
}

/// Collects so often that everything dead is deleted.
fn gc_all(repo: &Repo) {
    for years in 1..4 {
        gc(repo, years * YEAR).unwrap();
    }
}

fn problems(repo: &Repo) -> Vec<String> {
    let repo = Repo::open(repo.root()).unwrap();
    let mut found = repo.store.verify(&mut |_, _| {}).unwrap().problems;
    found.extend(repo.check_reachable().unwrap());
    found
}

fn pack_bytes(repo: &Repo) -> u64 {
    let packs = std::fs::read_dir(repo.dir().join("packs")).unwrap();
    packs.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

/// A repository with a branch `side` that holds content 3, and is not checked out.
fn with_side() -> (TempDir, Repo, CommitId) {
    let (dir, mut repo) = repo();
    commit_file(&mut repo, 1);
    repo.switch(&SwitchTo::New("side".into(), None), &Ctx::quiet())
        .unwrap();
    let side = commit_file(&mut repo, 3);
    repo.switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
        .unwrap();
    (dir, repo, side)
}

#[test]
fn what_a_deleted_branch_led_to_goes_when_it_cannot_be_undone_any_more() {
    let (_dir, mut repo, side) = with_side();
    repo.delete_branch("side").unwrap();
    let kept = repo.gc(&GcOptions::default(), &Ctx::quiet()).unwrap();
    assert_eq!((kept.plan.dead, kept.horizon), (0, 0));
    repo.undo(&Ctx::quiet()).unwrap();
    repo.delete_branch("side").unwrap();
    let before = pack_bytes(&repo);
    let dry = GcOptions {
        dry_run: true,
        keep_days: 0,
        ..GcOptions::default()
    };
    let told = repo
        .gc_at(&dry, clock::now().seconds + YEAR, &Ctx::quiet())
        .unwrap();
    assert!(told.plan.dead_bytes > 199_000 && pack_bytes(&repo) == before);
    gc_all(&repo);
    assert!(pack_bytes(&repo) + 190_000 < before);
    assert!(problems(&repo).is_empty());
    assert!(repo.resolve(&side.to_hex()).is_err());
    let e = repo.undo(&Ctx::quiet()).unwrap_err();
    assert!(e.to_string().contains("given up by `gc`"), "{e}");
    // The same content again is stored again, though the stat cache knew it.
    std::fs::write(repo.root().join("file"), content(3)).unwrap();
    commit_file(&mut repo, 3);
    assert!(problems(&repo).is_empty());
}

#[test]
fn now_deletes_at_once_and_small_packs_are_put_together() {
    let (_dir, mut repo) = repo();
    for seed in 0..20 {
        commit_file(&mut repo, seed);
    }
    let options = GcOptions {
        now: true,
        ..GcOptions::default()
    };
    let report = repo.gc(&options, &Ctx::quiet()).unwrap();
    assert_eq!((report.plan.dead, report.done.deleted), (0, 40));
    assert_eq!(
        std::fs::read_dir(repo.dir().join("packs")).unwrap().count(),
        2
    );
    assert!(problems(&repo).is_empty());
    commit_file(&mut repo, 21);
    repo.undo(&Ctx::quiet()).unwrap();
    let _other = repo.store.begin().unwrap();
    assert!(matches!(
        repo.gc(&options, &Ctx::quiet()),
        Err(Error::Store(modelv_store::Error::Busy { .. }))
    ));
}

/// Somebody found a commit before it was collected, and names it afterwards.
fn names_it_too_late() -> Result<Vec<String>> {
    let (dir, mut repo, side) = with_side();
    let mut slow = Repo::open(dir.path()).unwrap();
    assert_eq!(slow.resolve("side").unwrap(), side);
    repo.delete_branch("side").unwrap();
    gc_all(&repo);
    slow.create_branch("again", side)?;
    Ok(problems(&repo))
}

/// The same with a content that a session did not store again, for it was there.
fn leases_it_too_late() -> Result<Vec<String>> {
    let (dir, mut repo, _) = with_side();
    let mut slow = Repo::open(dir.path()).unwrap();
    let session = slow.store.begin().unwrap();
    let bytes = content(3);
    let (blob, _) = session
        .put_blob(&mut &bytes[..], bytes.len() as u64)
        .unwrap();
    assert_eq!(session.finish().unwrap().entries, 0);
    repo.delete_branch("side").unwrap();
    gc_all(&repo);
    let _lease = slow.lease(&[Item::Blob(blob)])?;
    let missing = Store::open(repo.dir()).unwrap().check_blob(&blob);
    Ok(missing.err().iter().map(ToString::to_string).collect())
}

#[test]
fn who_relied_on_what_is_collected_is_told_before_anything_names_it() {
    for attempt in [names_it_too_late, leases_it_too_late] {
        assert!(matches!(attempt(), Err(Error::Collected { .. })));
        OMITTED.set("recheck");
        assert!(!attempt().unwrap().is_empty());
        OMITTED.set("");
    }
}

/// Collects once, when work is first shown: after a command has looked at what is stored.
struct CollectFirst<'a>(&'a std::path::Path, std::sync::atomic::AtomicBool);

impl crate::ctx::Progress for CollectFirst<'_> {
    fn start(&self, _: &str, _: Unit, _: Option<u64>) {
        if !self.1.swap(true, std::sync::atomic::Ordering::SeqCst) {
            gc_all(&Repo::open(self.0).unwrap());
        }
    }
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
}

type Attempt = fn(&mut Repo, &CommitOptions, &Ctx<'_>) -> Result<crate::commit::Committed>;

/// Commits a content that is there when the commit begins, and is collected before it is named.
fn commits_it_too_late(attempt: Attempt) -> Result<Vec<String>> {
    let (dir, mut repo, side) = with_side();
    let mut slow = Repo::open(dir.path()).unwrap();
    assert_eq!(slow.files(side).unwrap().len(), 2);
    repo.delete_branch("side").unwrap();
    std::fs::write(dir.path().join("file"), content(3)).unwrap();
    let options = CommitOptions {
        message: "the same again".into(),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    let hook = CollectFirst(dir.path(), false.into());
    let ctx = Ctx {
        progress: &hook,
        ..Ctx::quiet()
    };
    attempt(&mut slow, &options, &ctx)?;
    Ok(problems(&repo))
}

#[test]
fn a_commit_stores_again_what_was_collected_meanwhile() {
    let once = commits_it_too_late(Repo::commit_once);
    assert!(matches!(once, Err(Error::Collected { .. })), "{once:?}");
    assert_eq!(commits_it_too_late(Repo::commit).unwrap(), [""; 0]);
}

#[test]
fn naming_what_is_condemned_keeps_it() {
    let (dir, mut repo, side) = with_side();
    let mut other = Repo::open(dir.path()).unwrap();
    repo.delete_branch("side").unwrap();
    assert!(gc(&repo, YEAR).unwrap().done.condemned > 0);
    other.create_branch("again", side).unwrap();
    for years in 2..4 {
        gc(&repo, years * YEAR).unwrap();
    }
    assert!(problems(&repo).is_empty());
    assert!(Repo::open(dir.path()).unwrap().files(side).is_ok());
}

/// A run that takes longer than everything else, and changes what it began with.
fn long_run() -> Result<Vec<String>> {
    let (dir, mut repo) = repo();
    commit_file(&mut repo, 1);
    std::fs::write(repo.root().join("file"), content(3)).unwrap();
    let options = RunOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..RunOptions::default()
    };
    let active = repo
        .begin_run(&options, &["train".into()], &Ctx::quiet())
        .unwrap();
    std::fs::write(repo.root().join("file"), content(4)).unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    std::fs::write(repo.root().join("models/w"), "weights").unwrap();
    gc_all(&Repo::open(dir.path()).unwrap());
    let ending = Ending {
        status: modelv_core::run::Status::Finished,
        exit_code: Some(0),
    };
    let outcome = repo.finish_run(active, ending, &Ctx::quiet())?;
    // What changed meanwhile makes no model of what it began with.
    assert!(outcome.commit.is_none() && !outcome.run.origin.doubts.is_empty());
    gc_all(&repo);
    let leases = std::fs::read_dir(repo.dir().join("leases")).unwrap();
    assert_eq!(
        leases
            .filter(|e| e.as_ref().unwrap().file_name() != "writers")
            .count(),
        0
    );
    Ok(problems(&repo))
}

#[test]
fn a_run_keeps_what_it_began_with() {
    assert!(long_run().unwrap().is_empty());
    OMITTED.set("leases");
    assert!(matches!(long_run(), Err(Error::Collected { .. })));
    OMITTED.set("");
}

#[test]
fn an_unfinished_merge_can_be_finished_or_given_up() {
    for finish in [true, false] {
        let (_dir, mut repo, _) = with_side();
        commit_file(&mut repo, 6);
        let options = MergeOptions {
            author: Some("Ada <ada@example.org>".into()),
            ..MergeOptions::default()
        };
        let outcome = repo.merge("side", &options, &Ctx::quiet()).unwrap();
        assert!(matches!(outcome, MergeOutcome::Conflicts(_)));
        repo.delete_branch("side").unwrap();
        gc_all(&repo);
        assert!(problems(&repo).is_empty());
        if finish {
            repo.resolve_conflict("file", &Decision::Theirs, &Ctx::quiet())
                .unwrap();
            let options = CommitOptions {
                message: "both".into(),
                author: options.author,
                ..CommitOptions::default()
            };
            repo.merge_continue(&options, &Ctx::quiet()).unwrap();
            assert_eq!(std::fs::read(repo.root().join("file")).unwrap(), content(3));
        } else {
            repo.merge_abort(&Ctx::quiet()).unwrap();
            assert_eq!(std::fs::read(repo.root().join("file")).unwrap(), content(6));
        }
        gc_all(&repo);
        assert!(problems(&repo).is_empty());
    }
}

#[test]
fn an_unreadable_tree_stops_everything() {
    let (_dir, mut repo, side) = with_side();
    let trees = repo.commit_object(side).unwrap().recipe;
    repo.delete_branch("side").unwrap();
    let (code, kind) = (trees.code.0, modelv_core::canon::Kind::Tree);
    let bytes = repo.store.object_bytes(kind, &code).unwrap();
    for entry in std::fs::read_dir(repo.dir().join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut pack = std::fs::read(&path).unwrap();
        if let Some(at) = pack.windows(bytes.len()).position(|w| w == bytes) {
            pack[at + bytes.len() / 2] ^= 1;
            std::fs::write(&path, pack).unwrap();
        }
    }
    let before = pack_bytes(&repo);
    let options = GcOptions::default();
    assert_eq!(
        repo.gc(&options, &Ctx::quiet()).unwrap_err().kind(),
        crate::ErrorKind::Corrupt
    );
    assert!(pack_bytes(&repo) == before && !repo.dir().join("condemned").exists());
}

/// One of several processes that write to a repository.
struct Writer {
    repo: Repo,
    /// A commit that is stored and not yet named, with its files.
    pending: Option<(CommitId, Vec<u64>)>,
}

fn store_commit(repo: &Repo, seeds: &[u64]) -> CommitId {
    let session = repo.store.begin().unwrap();
    let mut files = Files::new();
    for seed in seeds {
        let bytes = content(*seed);
        // As the stat cache does it: what is there is not read again.
        let blob = BlobId::of(&bytes);
        if !repo.store.keeps_blob(&blob).unwrap() {
            session
                .put_blob(&mut &bytes[..], bytes.len() as u64)
                .unwrap();
        }
        let path = RepoPath::new(format!("dir/{seed}").as_bytes()).unwrap();
        let (ingredient, mode, size) = (Ingredient::Data, Mode::File, bytes.len() as u64);
        files.insert(
            path,
            SnapFile {
                ingredient,
                mode,
                size,
                blob,
            },
        );
    }
    let (recipe, model): (Recipe, _) = write_recipe(&files, &Env::none(), None, &session).unwrap();
    let person = Person {
        name: "Ada".into(),
        email: "a@b".into(),
    };
    let commit = Commit {
        recipe,
        model,
        parents: vec![],
        author: person.clone(),
        committer: person,
        time: Time {
            seconds: 0,
            offset_minutes: 0,
        },
        message: "m".into(),
        runs: vec![],
        extra: BTreeMap::new(),
    };
    let id = CommitId(session.put_object(&commit).unwrap());
    session.finish().unwrap();
    id
}

impl Writer {
    fn point(&mut self, branch: &str, new: Option<CommitId>) -> Result<()> {
        let name = format!("{}{branch}", names::HEADS);
        self.repo.log.catch_up().unwrap();
        let old = self.repo.log.refs.get(&name).cloned();
        let new = new.map(Target::Commit);
        if old == new {
            return Ok(());
        }
        self.repo
            .update_refs(vec![RefChange { name, old, new }])
            .map(drop)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A writer stores a commit of these contents.
    Store(usize, Vec<u64>),
    /// It names what it stored.
    Name(usize, usize),
    Delete(usize, usize),
    /// A collection, so many hours after the one before.
    Gc(i64),
    /// A new process.
    Open(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize, proptest::collection::vec(0..8u64, 1..4)).prop_map(|(w, s)| Step::Store(w, s)),
        4 => (0..3usize, 0..3usize).prop_map(|(w, b)| Step::Name(w, b)),
        2 => (0..3usize, 0..3usize).prop_map(|(w, b)| Step::Delete(w, b)),
        5 => prop_oneof![Just(1i64), Just(25), Just(100)].prop_map(Step::Gc),
        1 => (0..3usize).prop_map(Step::Open),
    ];
    proptest::collection::vec(step, 10..30)
}

/// Runs a history; what is wrong in the end.
fn play(steps: &[Step]) -> Vec<String> {
    let (dir, mut main) = repo();
    commit_file(&mut main, 100);
    let open = || Writer {
        repo: Repo::open(dir.path()).unwrap(),
        pending: None,
    };
    let mut writers = [open(), open(), open()];
    let mut branches: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut now = YEAR;
    for step in steps {
        match step {
            Step::Store(w, seeds) => {
                let id = store_commit(&writers[*w].repo, seeds);
                writers[*w].pending = Some((id, seeds.clone()));
            }
            Step::Name(w, b) => {
                let Some((id, seeds)) = writers[*w].pending.take() else {
                    continue;
                };
                match writers[*w].point(&format!("b{b}"), Some(id)) {
                    Ok(()) => drop(branches.insert(format!("b{b}"), seeds)),
                    Err(Error::Collected { .. }) => {}
                    Err(e) => return vec![e.to_string()],
                }
            }
            Step::Delete(w, b) => {
                writers[*w].point(&format!("b{b}"), None).unwrap();
                branches.remove(&format!("b{b}"));
            }
            Step::Gc(hours) => {
                now += hours * 3600;
                if let Err(e) = gc(&main, now) {
                    return vec![e.to_string()];
                }
            }
            Step::Open(w) => writers[*w] = open(),
        }
    }
    let mut found = problems(&main);
    let repo = Repo::open(dir.path()).unwrap();
    for (branch, seeds) in branches {
        for seed in seeds {
            let read = repo.store.read_blob(&BlobId::of(&content(seed)), u64::MAX);
            if read.is_err() {
                found.push(format!("{seed} of {branch}"));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_history_loses_what_was_acknowledged(steps in steps()) {
        let found = play(&steps);
        prop_assert!(found.is_empty(), "{found:?}");
    }
}

/// The negative control: without the look before the log grows, such histories lose something.
#[test]
fn without_the_recheck_histories_lose_something() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = steps();
    OMITTED.set("recheck");
    let lost =
        (0..60).any(|_| !play(&strategy.new_tree(&mut runner).unwrap().current()).is_empty());
    OMITTED.set("");
    assert!(lost);
}

#[test]
fn real_threads_write_while_another_collects() {
    let (dir, mut main) = repo();
    commit_file(&mut main, 100);
    std::thread::scope(|scope| {
        let threads = [0, 1, 2u64].map(|thread| {
            let dir = &dir;
            scope.spawn(move || {
                let mut writer = Writer {
                    repo: Repo::open(dir.path()).unwrap(),
                    pending: None,
                };
                for round in 0..25u64 {
                    let branch = format!("t{thread}-{}", round % 2);
                    let seeds = [round % 5, (round * thread) % 7];
                    // Whoever is told that something is gone stores it again.
                    let named = (0..20).any(|_| {
                        let id = store_commit(&writer.repo, &seeds);
                        writer.point(&branch, Some(id)).is_ok()
                    });
                    assert!(named);
                    if round % 3 == 0 {
                        writer.point(&branch, None).unwrap();
                    }
                }
            })
        });
        let mut now = YEAR;
        while threads.iter().any(|t| !t.is_finished()) {
            now += 2 * DAY_SECONDS;
            gc(&main, now).unwrap();
        }
    });
    gc(&main, 3 * YEAR).unwrap();
    assert!(problems(&main).is_empty());
}
