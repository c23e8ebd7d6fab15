//! Any sequence of commands can be taken back to its beginning: each `undo` takes one back or says why not, and
//! what it says can be done about.

use std::fs;
use std::path::Path;

use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use proptest::prelude::*;

use super::*;
use crate::alias::MoveOptions;
use crate::remote::{FetchOptions, PushOptions, RemoteInfo, RemoteOptions};
use crate::{CommitOptions, MergeOptions, SwitchTo};

const NAMES: [&str; 3] = ["a.txt", "data/b.csv", "lib/c.py"];
const BRANCHES: [&str; 3] = ["main", "side", "third"];

#[derive(Debug, Clone)]
enum Step {
    Write(usize, u8),
    Commit,
    Branch(usize),
    Switch(usize),
    Merge(usize),
    Abort,
    Restore(usize, usize),
    Tag(u8),
    Alias(usize),
    Rollback,
    DeleteAlias,
    Config(u8),
    Part(bool),
    Push,
    Fetch,
    Undo,
}

fn step() -> impl Strategy<Value = Step> {
    let (name, branch) = (0..NAMES.len(), 0..BRANCHES.len());
    prop_oneof![
        6 => (name.clone(), any::<u8>()).prop_map(|(n, t)| Step::Write(n, t)),
        6 => Just(Step::Commit),
        2 => branch.clone().prop_map(Step::Branch),
        3 => branch.clone().prop_map(Step::Switch),
        3 => branch.prop_map(Step::Merge),
        2 => Just(Step::Abort),
        2 => (any::<usize>(), name).prop_map(|(c, n)| Step::Restore(c, n)),
        1 => any::<u8>().prop_map(Step::Tag),
        3 => any::<usize>().prop_map(Step::Alias),
        2 => Just(Step::Rollback),
        1 => Just(Step::DeleteAlias),
        1 => any::<u8>().prop_map(Step::Config),
        1 => any::<bool>().prop_map(Step::Part),
        2 => Just(Step::Push),
        2 => Just(Step::Fetch),
        3 => Just(Step::Undo),
    ]
}

struct World {
    dir: tempfile::TempDir,
    repo: Repo,
    remote: RemoteInfo,
    commits: Vec<CommitId>,
    /// Every record of a move that there ever was.
    records: Vec<CommitId>,
}

fn init(root: &Path) -> Repo {
    let mut repo = Repo::init(root).unwrap();
    for (key, value) in [("user.name", "Ada"), ("user.email", "ada@example.org")] {
        repo.set_config(key, Some(value)).unwrap();
    }
    repo
}

fn because(why: &str) -> MoveOptions {
    MoveOptions {
        message: why.into(),
        ..MoveOptions::default()
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        let mut repo = init(&work);
        fs::write(work.join("modelv.toml"), "[env]\ncapture = \"none\"\n").unwrap();
        let remote = RemoteInfo {
            name: "origin".into(),
            url: format!("file://{}", dir.path().join("far").display()),
            options: RemoteOptions::default(),
        };
        repo.add_remote(&remote).unwrap();
        Self {
            dir,
            repo,
            remote,
            commits: Vec::new(),
            records: Vec::new(),
        }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("work")
    }

    fn commit(&mut self) {
        let options = CommitOptions {
            message: "work".into(),
            ..CommitOptions::default()
        };
        if let Ok(done) = self.repo.commit(&options, &Ctx::quiet()) {
            self.commits.push(done.id);
        }
    }

    fn pick(&self, at: usize) -> Option<CommitId> {
        let count = self.commits.len();
        (count > 0).then(|| self.commits[at % count])
    }

    fn note_record(&mut self) {
        if let Ok(last) = self.repo.alias("prod") {
            self.records.push(last.record);
        }
    }

    /// Does what can be done; what is refused changes nothing.
    fn take(&mut self, step: &Step) {
        let ctx = Ctx::quiet();
        match *step {
            Step::Write(name, text) => {
                let full = self.root().join(NAMES[name]);
                fs::create_dir_all(full.parent().unwrap()).unwrap();
                fs::write(full, text.to_string()).unwrap();
            }
            Step::Commit => self.commit(),
            Step::Branch(name) => {
                if let Some(id) = self.repo.head() {
                    let _ = self.repo.create_branch(BRANCHES[name], id);
                }
            }
            Step::Switch(name) => {
                let to = SwitchTo::Branch(BRANCHES[name].into());
                let _ = self.repo.switch(&to, &ctx);
            }
            Step::Merge(name) => {
                let _ = self
                    .repo
                    .merge(BRANCHES[name], &MergeOptions::default(), &ctx);
            }
            Step::Abort => drop(self.repo.merge_abort(&ctx)),
            Step::Restore(at, name) => {
                if let Some(id) = self.pick(at) {
                    let path = RepoPath::new(NAMES[name]).unwrap();
                    let _ = self.repo.restore(id, &[path], &ctx);
                }
            }
            Step::Tag(n) => {
                if let Some(id) = self.repo.head() {
                    let _ = self.repo.create_tag(&format!("v{}", n % 4), id);
                }
            }
            Step::Alias(at) => {
                if let Some(id) = self.pick(at) {
                    let _ = self.repo.set_alias("prod", id, &because("live"));
                }
            }
            Step::Rollback => drop(self.repo.rollback_alias("prod", &because("slow"))),
            Step::DeleteAlias => drop(self.repo.delete_alias("prod")),
            Step::Config(n) => {
                let _ = self.repo.set_config("merge.tool", Some(&n.to_string()));
            }
            Step::Part(on) => {
                let paths = [RepoPath::new("data").unwrap()];
                let _ = self.repo.set_sparse(on.then_some(&paths), &ctx);
            }
            Step::Push => {
                let mut refs = vec!["main".to_owned()];
                refs.extend(self.repo.alias("prod").ok().map(|_| "prod".to_owned()));
                let options = PushOptions {
                    refs,
                    ..PushOptions::default()
                };
                let _ = self.repo.push(&self.remote, &options, &ctx);
            }
            Step::Fetch => drop(
                self.repo
                    .fetch(&self.remote, &FetchOptions::default(), &ctx),
            ),
            Step::Undo => drop(self.repo.undo(&ctx)),
        }
        self.note_record();
    }

    /// Does what an error says can be done about it.
    fn mend(&mut self, e: &Error) {
        let paths = match e {
            Error::WouldOverwrite { paths, .. }
            | Error::InTheWay { paths, .. }
            | Error::Uncommitted { paths, .. }
            | Error::PutAside { paths } => paths.clone(),
            Error::Blocked { by, .. } => vec![by.clone()],
            other => panic!("nothing to be done about: {other}"),
        };
        assert!(!paths.is_empty());
        for path in paths {
            let full = self.root().join(&path);
            let _ = fs::remove_file(&full);
            // What HEAD has comes back, so that it is no change any more.
            if let Some(head) = self.repo.head() {
                let path = RepoPath::new(path.as_str()).unwrap();
                let files = self.repo.files(head).unwrap();
                if let Some(file) = files.get(&path) {
                    let bytes = self.repo.read_blob(file.blob).unwrap();
                    fs::create_dir_all(full.parent().unwrap()).unwrap();
                    fs::write(&full, bytes).unwrap();
                }
            }
        }
    }

    /// Takes everything back.
    fn undo_all(&mut self) {
        let mut left = 4 * self.repo.oplog().count() + 40;
        loop {
            assert!(left > 0, "undo does not come to an end");
            left -= 1;
            match self.repo.undo(&Ctx::quiet()) {
                Ok(_) => {}
                Err(Error::State(text)) if text == "there is nothing to undo" => return,
                Err(e) => self.mend(&e),
            }
            self.note_record();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn everything_can_be_taken_back(steps in prop::collection::vec(step(), 1..28)) {
        let mut world = World::new();
        world.commit();
        for step in &steps {
            world.take(step);
        }
        world.undo_all();
        assert_eq!(world.repo.head(), None);
        assert!(!world.repo.is_merging());
        assert!(world.repo.alias("prod").is_err());
        world.repo.set_config("user.name", Some("Ada")).unwrap();
        world.repo.set_config("user.email", Some("ada@example.org")).unwrap();
        // Every record of a move is where the next one goes on from, or was.
        world.take(&Step::Write(0, 1));
        world.commit();
        if let Some(id) = world.repo.head().filter(|_| !world.records.is_empty()) {
            world.repo.set_alias("prod", id, &because("again")).unwrap();
            let history = world.repo.alias_history("prod").unwrap();
            for record in &world.records {
                assert!(history.iter().any(|m| m.record == *record), "{record:?} is gone");
            }
        }
    }
}

/// A fetch brought a tag; what it noted of the remote has gone on since.
#[test]
fn what_only_notes_something_is_not_in_the_way() {
    let mut world = World::new();
    world.commit();
    world.take(&Step::Push);
    let other = world.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let ctx = Ctx::quiet();
    let done = Repo::clone_from(
        &world.remote.url,
        &other,
        &Default::default(),
        "clone",
        &ctx,
    );
    let mut theirs = done.unwrap().repo;
    for (key, value) in [("user.name", "Bob"), ("user.email", "bob@example.org")] {
        theirs.set_config(key, Some(value)).unwrap();
    }
    let options = CommitOptions {
        message: "theirs".into(),
        allow_empty: true,
        ..CommitOptions::default()
    };
    let push = |repo: &mut Repo, refs: &[&str]| {
        let options = PushOptions {
            refs: refs.iter().map(|r| (*r).to_owned()).collect(),
            ..PushOptions::default()
        };
        let info = repo.remote("origin").unwrap();
        repo.push(&info, &options, &Ctx::quiet()).unwrap();
    };
    let id = theirs.commit(&options, &ctx).unwrap().id;
    theirs.create_tag("v1", id).unwrap();
    push(&mut theirs, &["main", "v1"]);
    world.take(&Step::Tag(0));
    world.take(&Step::Fetch);
    assert!(world.repo.resolve("v1").is_ok());
    theirs.commit(&options, &ctx).unwrap();
    push(&mut theirs, &["main"]);
    world.take(&Step::Fetch);
    world.repo.undo(&ctx).unwrap();
    assert!(world.repo.resolve("v1").is_err() && world.repo.resolve("v0").is_ok());
    world.repo.undo(&ctx).unwrap();
    assert!(world.repo.resolve("v0").is_err());
}

#[test]
fn a_move_of_an_alias_is_taken_back_by_another_move() {
    let mut world = World::new();
    let mut ids = Vec::new();
    for n in 0..3 {
        world.take(&Step::Write(0, n));
        world.commit();
        ids.push(world.repo.head().unwrap());
    }
    for id in &ids {
        world.repo.set_alias("prod", *id, &because("live")).unwrap();
    }
    let said = |repo: &Repo| -> Vec<(&'static str, CommitId)> {
        let moves = repo.alias_history("prod").unwrap().into_iter();
        moves.map(|m| (m.action.word(), m.commit)).collect()
    };
    world.repo.undo(&Ctx::quiet()).unwrap();
    let (a, b, c) = (ids[0], ids[1], ids[2]);
    let first = [("rollback", b), ("set", c), ("set", b), ("set", a)];
    assert_eq!(said(&world.repo), first);
    world.repo.rollback_alias("prod", &because("slow")).unwrap();
    world.repo.undo(&Ctx::quiet()).unwrap();
    let moves = said(&world.repo);
    assert_eq!(moves[..2], [("set", b), ("rollback", a)]);
    assert_eq!(moves[2..], first);
    // The first move, and that it was deleted.
    world.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(world.repo.alias("prod").unwrap().commit, a);
    world.repo.delete_alias("prod").unwrap();
    world.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(said(&world.repo).len(), 7);
    world.repo.undo(&Ctx::quiet()).unwrap();
    assert!(world.repo.alias("prod").is_err());
    world.repo.set_alias("prod", b, &because("again")).unwrap();
    assert_eq!(said(&world.repo).len(), 8);
}
