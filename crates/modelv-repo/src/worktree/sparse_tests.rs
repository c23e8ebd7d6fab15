//! Whatever somebody does in a working tree that holds a part, a commit changes only what he touched: what
//! merges and switches brought is never taken back by it.

use std::collections::BTreeSet;
use std::fs;

use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use proptest::prelude::*;

use super::super::{Files, SnapFile};
use crate::repo::Repo;
use crate::{CommitOptions, Ctx, FastForward, MergeOptions, MergeOutcome, SwitchTo};

const PATHS: [&str; 6] = [
    "top.txt",
    "data/a/x.csv",
    "data/a/y.csv",
    "data/b/x.csv",
    "data/b/y.csv",
    "lib/x.py",
];
const PARTS: [&[&str]; 4] = [
    &["data/a"],
    &["data/b"],
    &["data"],
    &["lib", "data/a/x.csv"],
];

#[derive(Debug, Clone)]
enum Step {
    /// Somebody writes a file by hand, wherever it belongs.
    Write(usize, u8),
    Remove(usize),
    Commit,
    /// A colleague changes a file of the commit that is checked out, and it is merged.
    Merge(usize, Option<u8>, bool),
    /// Of an earlier commit: both sides may have changed.
    MergeOld(usize, usize, Option<u8>),
    Switch(usize),
    Part(Option<usize>),
    Undo,
}

fn step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    let text = prop::option::weighted(0.8, any::<u8>());
    prop_oneof![
        5 => (path.clone(), any::<u8>()).prop_map(|(p, n)| Step::Write(p, n)),
        2 => path.clone().prop_map(Step::Remove),
        5 => Just(Step::Commit),
        4 => (path.clone(), text.clone(), any::<bool>()).prop_map(|(p, t, ff)| Step::Merge(p, t, ff)),
        2 => (any::<usize>(), path, text).prop_map(|(at, p, t)| Step::MergeOld(at, p, t)),
        2 => any::<usize>().prop_map(Step::Switch),
        3 => prop::option::of(0..PARTS.len()).prop_map(Step::Part),
        1 => Just(Step::Undo),
    ]
}

fn path(number: usize) -> RepoPath {
    RepoPath::new(PATHS[number]).unwrap()
}

struct World {
    dir: tempfile::TempDir,
    repo: Repo,
    commits: Vec<CommitId>,
    /// What was changed by hand and is in no commit yet.
    touched: BTreeSet<RepoPath>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        for (key, value) in [("user.name", "Ada"), ("user.email", "ada@example.org")] {
            repo.set_config(key, Some(value)).unwrap();
        }
        let toml = "[env]\ncapture = \"none\"\n";
        fs::write(dir.path().join("modelv.toml"), toml).unwrap();
        let mut world = Self {
            dir,
            repo,
            commits: Vec::new(),
            touched: BTreeSet::new(),
        };
        for number in 0..PATHS.len() {
            world.write(number, 0);
        }
        world.commit();
        world
    }

    fn write(&mut self, number: usize, text: u8) {
        let full = self.dir.path().join(PATHS[number]);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, text.to_string().repeat(3)).unwrap();
        self.touched.insert(path(number));
    }

    fn head_files(&self) -> Files {
        self.repo.files_or_none(self.repo.head()).unwrap()
    }

    /// Commits, and looks whether anything changed that nobody touched.
    fn commit(&mut self) {
        let before = self.head_files();
        let options = CommitOptions {
            message: "work".into(),
            ..CommitOptions::default()
        };
        let Ok(done) = self.repo.commit(&options, &Ctx::quiet()) else {
            return;
        };
        let after = self.head_files();
        let is_first = self.commits.is_empty();
        for (path, old, new) in modelv_core::merge::join(&before, &after) {
            assert!(
                old == new || is_first || self.touched.contains(path),
                "`{path}` changed, and nobody touched it: {old:?} is {new:?}"
            );
        }
        self.touched.clear();
        self.commits.push(done.id);
    }

    /// A commit that a colleague makes of another one.
    fn colleague(&self, parent: CommitId, number: usize, text: Option<u8>) -> CommitId {
        let mut files = self.repo.files(parent).unwrap();
        let session = self.repo.store.begin().unwrap();
        let path = path(number);
        match text {
            None => drop(files.remove(&path)),
            Some(text) => {
                let bytes = format!("theirs {text}");
                let size = bytes.len() as u64;
                let (blob, _) = session.put_blob(&mut bytes.as_bytes(), size).unwrap();
                let ingredient = self.repo.rules().unwrap().classify(&path).ingredient;
                let mode = Mode::File;
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
        }
        let made = self
            .repo
            .put_aside(Some(parent), &files, "theirs", &session);
        session.finish().unwrap();
        made.unwrap()
    }

    fn merge(&mut self, theirs: CommitId, ff: FastForward) {
        let options = MergeOptions {
            ff,
            ..MergeOptions::default()
        };
        let done = self.repo.merge(&theirs.to_hex(), &options, &Ctx::quiet());
        if let Ok(MergeOutcome::Conflicts(_)) = done {
            self.repo.merge_abort(&Ctx::quiet()).unwrap();
        }
        self.commits.push(theirs);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write(number, text) => self.write(number, text),
            Step::Remove(number) => {
                let _ = fs::remove_file(self.dir.path().join(PATHS[number]));
                self.touched.insert(path(number));
            }
            Step::Commit => self.commit(),
            Step::Merge(number, text, ff) => {
                // Everything may have been undone.
                let Some(head) = self.repo.head() else {
                    return;
                };
                let theirs = self.colleague(head, number, text);
                let ff = if ff {
                    FastForward::Allowed
                } else {
                    FastForward::Never
                };
                self.merge(theirs, ff);
            }
            Step::MergeOld(at, number, text) => {
                let old = self.commits[at % self.commits.len()];
                let theirs = self.colleague(old, number, text);
                self.merge(theirs, FastForward::Allowed);
            }
            Step::Switch(at) => {
                let to = self.commits[at % self.commits.len()].to_hex();
                let _ = self.repo.switch(&SwitchTo::Detached(to), &Ctx::quiet());
            }
            Step::Part(part) => {
                let paths = part.map(|n| PARTS[n].iter().map(|p| RepoPath::new(*p).unwrap()));
                let paths: Option<Vec<_>> = paths.map(Iterator::collect);
                let _ = self.repo.set_sparse(paths.as_deref(), &Ctx::quiet());
            }
            Step::Undo => {
                let before = self.head_files();
                if self.repo.undo(&Ctx::quiet()).is_ok() {
                    // What a commit took is a change of the working tree again.
                    let after = self.head_files();
                    let differs = modelv_core::merge::join(&before, &after);
                    let differs = differs.filter(|(_, old, new)| old != new);
                    self.touched.extend(differs.map(|(path, ..)| path.clone()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_commit_in_a_part_changes_only_what_was_touched(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        world.take(&Step::Part(Some(0)));
        for step in &steps {
            world.take(step);
        }
        world.commit();
    }
}

/// The case that was found: a file outside of the part, made by hand and committed, changed by a colleague.
#[test]
fn a_file_outside_of_the_part_follows_a_merge() {
    for ff in [FastForward::Allowed, FastForward::Never] {
        let mut world = World::new();
        world.take(&Step::Part(Some(0)));
        let outside = 3;
        let full = world.dir.path().join(PATHS[outside]);
        assert!(!full.exists());
        world.write(outside, 7);
        world.commit();
        let theirs = world.colleague(world.repo.head().unwrap(), outside, Some(1));
        world.merge(theirs, ff);
        assert_eq!(fs::read_to_string(&full).unwrap(), "theirs 1");
        world.write(1, 9);
        world.commit();
        let gone = world.colleague(world.repo.head().unwrap(), outside, None);
        world.merge(gone, ff);
        assert!(!full.exists());
        // What nobody committed is not written over.
        world.write(outside, 8);
        let again = world.colleague(world.repo.head().unwrap(), outside, Some(2));
        world.merge(again, ff);
        assert_eq!(fs::read_to_string(&full).unwrap(), "888");
    }
}

/// A merge that stops takes what is not here as HEAD has it: a file that the other side moved from there to
/// here would be in both places.
#[test]
fn a_merge_does_not_stop_where_a_file_came_from_outside_of_the_part() {
    let mut world = World::new();
    let base = world.repo.head().unwrap();
    let outside = "only here ".repeat(20);
    fs::write(world.dir.path().join("data/b/z.csv"), &outside).unwrap();
    world.touched.insert(RepoPath::new("data/b/z.csv").unwrap());
    world.commit();
    let new = SwitchTo::New("side".into(), None);
    world.repo.switch(&new, &Ctx::quiet()).unwrap();
    let root = world.dir.path().to_owned();
    fs::rename(root.join("data/b/z.csv"), root.join("data/a/z.csv")).unwrap();
    fs::write(root.join("top.txt"), "theirs").unwrap();
    for name in ["data/b/z.csv", "data/a/z.csv", "top.txt"] {
        world.touched.insert(RepoPath::new(name).unwrap());
    }
    world.commit();
    let main = SwitchTo::Branch("main".into());
    world.repo.switch(&main, &Ctx::quiet()).unwrap();
    world.write(0, 9);
    world.commit();
    assert_ne!(world.repo.head(), Some(base));
    world.take(&Step::Part(Some(0)));
    let merged = world
        .repo
        .merge("side", &MergeOptions::default(), &Ctx::quiet());
    let text = merged.unwrap_err().to_string();
    assert!(text.contains("such as `data/b/z.csv`"), "{text}");
    assert!(!world.repo.is_merging());
}
