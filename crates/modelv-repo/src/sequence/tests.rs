use std::path::Path;

use super::*;
use crate::merge::Decision;

struct Scene {
    dir: tempfile::TempDir,
    repo: Repo,
}

const ADA: &str = "Ada <ada@example.org>";
const BOB: &str = "Bob <bob@example.org>";

impl Scene {
    /// `main`: base, then `left`; `side` from base: one commit for each of `edits`.
    fn new(left: &[(&str, &str)], edits: &[&[(&str, &str)]]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut scene = Self {
            repo: Repo::init(dir.path()).unwrap(),
            dir,
        };
        scene.put(&[
            ("modelv.toml", "[env]\ncapture = \"none\"\n"),
            ("train.py", "a\nb\nc\nd\ne\nf\n"),
            ("params.toml", "lr = 1\nseed = 7\n"),
            ("data/x.csv", "id,v\n1,one\n2,two\n3,three\n"),
        ]);
        scene.commit("base", ADA);
        scene.switch(&crate::SwitchTo::New("side".into(), None));
        for (i, edit) in edits.iter().enumerate() {
            scene.put(edit);
            scene.commit(&format!("side {i}"), BOB);
        }
        scene.switch(&crate::SwitchTo::Branch("main".into()));
        if !left.is_empty() {
            scene.put(left);
            scene.commit("left", ADA);
        }
        scene
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn put(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let full = self.root().join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, text).unwrap();
        }
    }

    fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn commit(&mut self, message: &str, who: &str) -> CommitId {
        let options = crate::CommitOptions {
            message: message.into(),
            author: Some(who.into()),
            ..Default::default()
        };
        self.repo.commit(&options, &Ctx::quiet()).unwrap().id
    }

    fn switch(&mut self, to: &crate::SwitchTo) {
        self.repo.switch(to, &Ctx::quiet()).unwrap();
    }

    fn pick(&mut self, revisions: &[&str]) -> Result<SequenceOutcome> {
        let revisions: Vec<String> = revisions.iter().map(|r| (*r).into()).collect();
        self.repo.cherry_pick(&revisions, &by(), &Ctx::quiet())
    }

    fn revert(&mut self, revisions: &[&str]) -> Result<SequenceOutcome> {
        let revisions: Vec<String> = revisions.iter().map(|r| (*r).into()).collect();
        self.repo.revert(&revisions, &by(), &Ctx::quiet())
    }

    fn rebase(&mut self, upstream: &str, onto: Option<&str>) -> Result<SequenceOutcome> {
        let options = RebaseOptions {
            onto: onto.map(str::to_owned),
            author: Some(ADA.into()),
        };
        self.repo.rebase(upstream, &options, &Ctx::quiet())
    }

    fn go_on(&mut self, action: Action) -> Result<SequenceOutcome> {
        let options = crate::CommitOptions {
            author: Some(ADA.into()),
            ..Default::default()
        };
        let done = self.repo.sequence_continue(action, &options, &Ctx::quiet());
        done.map(|(_, outcome)| outcome)
    }

    fn decide(&mut self, item: &str, decision: &Decision) {
        self.repo
            .resolve_conflict(item, decision, &Ctx::quiet())
            .unwrap();
    }

    fn head(&self) -> Commit {
        self.repo.commit_object(self.repo.head().unwrap()).unwrap()
    }

    fn subjects(&self) -> Vec<String> {
        let span = self.repo.span("HEAD").unwrap();
        let all = self.repo.history(&span).unwrap();
        all.iter().map(|(_, c)| c.subject().to_owned()).collect()
    }

    /// All that a user can see: files, HEAD and refs that are not notes of ours.
    fn all(&self) -> (Files, Option<CommitId>, Option<String>, bool) {
        (
            self.repo.worktree_files(&Ctx::quiet()).unwrap(),
            self.repo.head(),
            self.repo.head_ref().map(str::to_owned),
            self.repo.is_merging(),
        )
    }
}

fn by() -> PickOptions {
    PickOptions {
        author: Some(ADA.into()),
        ..PickOptions::default()
    }
}

const EDIT: &[(&str, &str)] = &[
    ("train.py", "a\nb\nc\nd\ne\nF\n"),
    ("params.toml", "lr = 2\nseed = 7\n"),
    ("data/x.csv", "id,v\n1,one\n2,two\n3,THREE\n"),
    ("new.py", "new\n"),
];
const LEFT: &[(&str, &str)] = &[
    ("train.py", "A\nb\nc\nd\ne\nf\n"),
    ("params.toml", "lr = 1\nseed = 8\n"),
    ("data/x.csv", "id,v\n1,ONE\n2,two\n3,three\n"),
];

#[test]
fn a_picked_commit_combines_in_every_ingredient_and_keeps_its_author() {
    let mut s = Scene::new(LEFT, &[EDIT]);
    let before = s.all();
    let outcome = s.pick(&["side"]).unwrap();
    assert!(matches!(&outcome, SequenceOutcome::Done(made) if made.len() == 1));
    assert_eq!(s.get("train.py"), "A\nb\nc\nd\ne\nF\n");
    assert_eq!(s.get("params.toml"), "lr = 2\nseed = 8\n");
    assert_eq!(s.get("data/x.csv"), "id,v\n1,ONE\n2,two\n3,THREE\n");
    let head = s.head();
    assert_eq!(
        (head.author.name, head.committer.name),
        ("Bob".into(), "Ada".into())
    );
    assert_eq!((head.message.as_str(), head.parents.len()), ("side 0", 1));
    // Once more there is nothing to do, and taking it back leaves nothing of it.
    assert!(matches!(s.pick(&["side"]), Err(Error::State(t)) if t.contains("changes nothing")));
    s.revert(&["HEAD"]).unwrap();
    assert_eq!(s.get("train.py"), "A\nb\nc\nd\ne\nf\n");
    assert!(!s.root().join("new.py").exists());
    assert!(
        s.head()
            .message
            .starts_with("Revert \"side 0\"\n\nThis reverts commit ")
    );
    for _ in 0..2 {
        s.repo.undo(&Ctx::quiet()).unwrap();
    }
    assert_eq!(s.all(), before);
}

#[test]
fn a_range_is_made_in_order_and_taken_back_in_reverse() {
    let step = |n: u8| -> String { format!("a\nb\nc\nd\ne\nf\n{n}\n") };
    let (one, two) = (step(1), step(2));
    let mut s = Scene::new(LEFT, &[&[("train.py", &one)], &[("train.py", &two)]]);
    s.pick(&["main~1..side"]).unwrap();
    assert_eq!(s.subjects(), ["side 1", "side 0", "left", "base"]);
    let picked = s.all();
    s.revert(&["HEAD~2..HEAD"]).unwrap();
    assert_eq!(s.get("train.py"), LEFT[0].1);
    // One operation each, however many commits.
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(s.all(), picked);
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(s.subjects(), ["left", "base"]);
}

#[test]
fn a_conflict_can_be_decided_given_up_skipped_and_undone() {
    let edits: &[&[(&str, &str)]] = &[
        &[("params.toml", "lr = 2\nseed = 7\n"), ("two.py", "2\n")],
        &[("three.py", "3\n")],
    ];
    let mut s = Scene::new(&[("params.toml", "lr = 9\nseed = 7\n")], edits);
    let before = s.all();
    let stopped = s.pick(&["main~1..side"]).unwrap();
    let SequenceOutcome::Conflicts {
        number: 1,
        total: 2,
        conflicts,
        ..
    } = stopped
    else {
        panic!("{stopped:?}");
    };
    assert_eq!(conflicts[0].item, "params.toml:lr");
    assert!(matches!(
        s.go_on(Action::CherryPick),
        Err(Error::ConflictsRemain { .. })
    ));
    assert!(matches!(s.go_on(Action::Rebase), Err(Error::State(_))));
    let conflicted = s.all();
    // Given up: everything as before, a file of the user's own stays; and back in it again.
    s.put(&[("mine.txt", "mine\n")]);
    s.repo
        .sequence_abort(Action::CherryPick, &Ctx::quiet())
        .unwrap();
    assert_eq!(s.get("mine.txt"), "mine\n");
    std::fs::remove_file(s.root().join("mine.txt")).unwrap();
    assert_eq!(s.all(), before);
    s.repo.undo(&Ctx::quiet()).unwrap();
    std::fs::remove_file(s.root().join("mine.txt")).unwrap();
    assert_eq!(s.all(), conflicted);
    // Decided and continued; undone, the decision and its file are still there.
    s.decide("params.toml:lr", &Decision::Value("5".into()));
    let decided = s.all();
    s.go_on(Action::CherryPick).unwrap();
    assert_eq!(s.get("params.toml"), "lr = 5\nseed = 7\n");
    assert_eq!(s.subjects(), ["side 1", "side 0", "left", "base"]);
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(s.all(), decided);
    assert_eq!(s.repo.merge_state().unwrap().unwrap().open().count(), 0);
    // Skipped: only the second commit is made.
    s.repo
        .sequence_skip(Action::CherryPick, &Ctx::quiet())
        .unwrap();
    assert_eq!(s.subjects(), ["side 1", "left", "base"]);
    assert!(!s.root().join("two.py").exists());
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(s.all(), decided);
    // Undoing the start itself gives all of it up.
    s.repo.undo(&Ctx::quiet()).unwrap();
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(s.all(), before);
}

#[test]
fn a_merge_needs_a_parent_to_compare_with() {
    let mut s = Scene::new(LEFT, &[EDIT]);
    let options = crate::MergeOptions {
        author: Some(ADA.into()),
        ..Default::default()
    };
    s.repo.merge("side", &options, &Ctx::quiet()).unwrap();
    assert!(matches!(s.revert(&["HEAD"]), Err(Error::State(t)) if t.contains("is a merge")));
    let against = |n| PickOptions {
        mainline: Some(n),
        ..by()
    };
    let head = ["HEAD".to_owned()];
    for n in [0, 3] {
        let refused = s.repo.revert(&head, &against(n), &Ctx::quiet());
        assert!(matches!(
            refused,
            Err(Error::Invalid { what: "parent", .. })
        ));
    }
    s.repo.revert(&head, &against(1), &Ctx::quiet()).unwrap();
    assert_eq!(s.get("train.py"), LEFT[0].1);
    assert!(
        s.head()
            .message
            .contains("reversing the changes to its parent 1")
    );
    assert!(matches!(
        s.rebase("main~4", None),
        Err(Error::NotFound { .. })
    ));
    s.switch(&crate::SwitchTo::New(
        "other".into(),
        Some("main~2^".into()),
    ));
    s.put(&[("other.py", "o\n")]);
    s.commit("other", ADA);
    s.switch(&crate::SwitchTo::Branch("main".into()));
    assert!(matches!(s.rebase("other", None), Err(Error::State(t)) if t.contains("is a merge")));
}

#[test]
fn a_branch_moves_onto_another_at_once() {
    let edits: &[&[(&str, &str)]] = &[EDIT, &[("two.py", "2\n")]];
    let mut s = Scene::new(LEFT, edits);
    s.switch(&crate::SwitchTo::Branch("side".into()));
    let before = s.all();
    s.rebase("main", None).unwrap();
    assert_eq!(s.subjects(), ["side 1", "side 0", "left", "base"]);
    assert_eq!(s.get("params.toml"), "lr = 2\nseed = 8\n");
    assert_eq!(s.repo.head_ref(), Some("refs/heads/side"));
    assert_eq!(s.head().author.name, "Bob");
    assert!(matches!(
        s.rebase("main", None).unwrap(),
        SequenceOutcome::UpToDate
    ));
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(s.all(), before);
    // Only the last commit, onto main; and a branch behind its upstream moves forward.
    s.rebase("HEAD~1", Some("main")).unwrap();
    assert_eq!(s.subjects(), ["side 1", "left", "base"]);
    s.switch(&crate::SwitchTo::New("old".into(), Some("main~1".into())));
    s.rebase("main", None).unwrap();
    assert_eq!(s.subjects(), ["left", "base"]);
    assert_eq!(s.repo.head_ref(), Some("refs/heads/old"));
}

#[test]
fn a_rebase_that_stops_leaves_its_branch_until_it_is_done() {
    let edits: &[&[(&str, &str)]] = &[
        &[("two.py", "2\n")],
        &[("params.toml", "lr = 2\nseed = 7\n")],
        &[("three.py", "3\n")],
    ];
    let mut s = Scene::new(&[("params.toml", "lr = 9\nseed = 7\n")], edits);
    s.switch(&crate::SwitchTo::Branch("side".into()));
    let (before, tip) = (s.all(), s.repo.head());
    let stopped = s.rebase("main", None).unwrap();
    assert!(matches!(
        stopped,
        SequenceOutcome::Conflicts {
            number: 2,
            total: 3,
            ..
        }
    ));
    assert_eq!(
        (s.repo.head_ref(), s.repo.ref_commit("refs/heads/side")),
        (None, tip)
    );
    assert_eq!(s.subjects(), ["side 0", "left", "base"]);
    let refused = s
        .repo
        .switch(&crate::SwitchTo::Branch("main".into()), &Ctx::quiet());
    assert!(matches!(refused, Err(Error::State(t)) if t.contains("a rebase is not finished")));
    s.repo
        .sequence_abort(Action::Rebase, &Ctx::quiet())
        .unwrap();
    assert_eq!(s.all(), before);
    s.rebase("main", None).unwrap();
    // Ours is what it is rebased onto: nothing is left of the step then.
    s.decide("params.toml:lr", &Decision::Ours);
    assert!(
        matches!(s.go_on(Action::Rebase), Err(Error::State(t)) if t.contains("nothing is left"))
    );
    s.repo.sequence_skip(Action::Rebase, &Ctx::quiet()).unwrap();
    assert_eq!(s.subjects(), ["side 2", "side 0", "left", "base"]);
    assert_eq!(s.repo.head_ref(), Some("refs/heads/side"));
    s.repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(
        (s.repo.head_ref(), s.repo.ref_commit("refs/heads/side")),
        (None, tip)
    );
    s.decide("params.toml:lr", &Decision::Theirs);
    s.go_on(Action::Rebase).unwrap();
    assert_eq!(s.subjects(), ["side 2", "side 1", "side 0", "left", "base"]);
    assert_eq!(s.get("params.toml"), "lr = 2\nseed = 7\n");
}

#[test]
fn a_model_goes_with_its_recipe_and_is_stale_without() {
    let mut s = Scene::new(LEFT, &[&[("models/w.bin", "weights of side\n")]]);
    s.pick(&["side"]).unwrap();
    assert_eq!(model_state(&s.head()), ModelState::Stale);
    assert_eq!(s.get("models/w.bin"), "weights of side\n");
    // Back at the recipe that made it, it is current; what both sides trained is decided by somebody.
    s.revert(&["HEAD~1"]).unwrap();
    assert_eq!(model_state(&s.head()), ModelState::Current);
    s.put(&[("models/w.bin", "weights of main\n")]);
    s.commit("train", ADA);
    s.switch(&crate::SwitchTo::Branch("side".into()));
    s.put(&[("models/w.bin", "more weights\n"), ("x.py", "x\n")]);
    s.commit("train too", ADA);
    s.switch(&crate::SwitchTo::Branch("main".into()));
    let stopped = s.pick(&["side"]).unwrap();
    assert!(matches!(stopped, SequenceOutcome::Conflicts { .. }));
    s.decide("models/w.bin", &Decision::Theirs);
    s.go_on(Action::CherryPick).unwrap();
    assert_eq!(s.get("models/w.bin"), "more weights\n");
    // The recipe is the one that made it.
    assert_eq!(model_state(&s.head()), ModelState::Current);
}

#[test]
fn uncommitted_work_and_bad_words_stop_before_anything_moves() {
    let mut s = Scene::new(LEFT, &[EDIT]);
    for bad in [&["nope"][..], &["main...side"], &["side..side"]] {
        assert!(s.pick(bad).is_err(), "{bad:?}");
    }
    let several = PickOptions {
        message: Some("m".into()),
        ..by()
    };
    let two = ["side".to_owned(), "main".to_owned()];
    assert!(matches!(
        s.repo.cherry_pick(&two, &several, &Ctx::quiet()),
        Err(Error::State(_))
    ));
    s.put(&[("train.py", "mine\n")]);
    let before = s.all();
    assert!(matches!(s.pick(&["side"]), Err(Error::Uncommitted { .. })));
    assert!(matches!(
        s.rebase("side", None),
        Err(Error::Uncommitted { .. })
    ));
    assert_eq!(s.all(), before);
}

#[test]
fn without_a_commit_it_waits_in_the_working_tree() {
    let mut s = Scene::new(LEFT, &[EDIT]);
    let options = PickOptions {
        no_commit: true,
        note_source: true,
        ..by()
    };
    let side = ["side".to_owned()];
    let outcome = s.repo.cherry_pick(&side, &options, &Ctx::quiet()).unwrap();
    assert!(matches!(outcome, SequenceOutcome::Staged));
    assert_eq!(s.subjects(), ["left", "base"]);
    s.put(&[("extra.py", "e\n")]);
    s.go_on(Action::CherryPick).unwrap();
    assert!(s.head().message.contains("(cherry picked from commit "));
    assert_eq!(s.head().author.name, "Bob");
    let files = s.repo.files(s.repo.head().unwrap()).unwrap();
    assert!(files.keys().any(|p| p.as_bytes() == b"extra.py"));
}
