use std::collections::BTreeMap;
use std::fs;

use modelv_core::value::Value;
use tempfile::TempDir;

use super::*;
use crate::remote::{CloneOptions, FetchOptions, PushOptions, RemoteInfo};
use crate::{CommitOptions, Ctx};

fn repo(toml: &str) -> (TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a");
    fs::create_dir(&root).unwrap();
    let mut repo = Repo::init(&root).unwrap();
    repo.set_config("user.name", Some("Ada")).unwrap();
    repo.set_config("user.email", Some("ada@example.org"))
        .unwrap();
    fs::write(root.join("modelv.toml"), toml).unwrap();
    (dir, repo)
}

fn commit(repo: &mut Repo, text: &str) -> CommitId {
    fs::create_dir_all(repo.root().join("models")).unwrap();
    fs::write(repo.root().join("models/w.txt"), text).unwrap();
    let options = CommitOptions {
        message: text.into(),
        ..Default::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap().id
}

fn why(text: &str) -> MoveOptions {
    MoveOptions {
        message: text.into(),
        ..Default::default()
    }
}

fn metrics(pairs: &[(&str, f64)]) -> BTreeMap<String, Value> {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), Value::Float(*v)))
        .collect()
}

#[test]
fn every_move_is_kept_with_who_when_and_why() {
    let (_dir, mut repo) = repo("");
    let (a, b, c) = (
        commit(&mut repo, "a"),
        commit(&mut repo, "b"),
        commit(&mut repo, "c"),
    );
    assert_eq!(
        repo.set_alias("prod", a, &why("go live")).unwrap().commit,
        a
    );
    let expecting = |expect| MoveOptions {
        expect: Some(expect),
        ..why("newer")
    };
    for wrong in [Expect::Absent, Expect::Commit(c)] {
        let said = repo
            .set_alias("prod", b, &expecting(wrong))
            .unwrap_err()
            .to_string();
        assert!(said.contains("not what was expected"), "{said}");
    }
    repo.set_alias("prod", b, &expecting(Expect::Commit(a)))
        .unwrap();
    repo.set_alias("prod", c, &why("newest")).unwrap();
    assert!(repo.set_alias("prod", c, &why("again")).is_err());
    assert!(repo.set_alias("prod", a, &why(" ")).is_err(), "no reason");
    let back = repo.rollback_alias("prod", &why("")).unwrap();
    assert_eq!((back.commit, back.action), (b, MoveAction::Rollback));
    assert_eq!(
        repo.rollback_alias("prod", &why("it is slow"))
            .unwrap()
            .commit,
        a
    );
    assert!(
        repo.rollback_alias("prod", &why("")).is_err(),
        "nothing before"
    );
    let said: Vec<String> = repo
        .alias_history("prod")
        .unwrap()
        .into_iter()
        .map(|m| m.why)
        .collect();
    let back = format!("back to {}", b.short());
    assert_eq!(said, ["it is slow", &back, "newest", "newer", "go live"]);
    assert_eq!(repo.alias("prod").unwrap().who.name, "Ada");
    // A revision like any other, and every move can be taken back.
    assert_eq!(repo.resolve("prod").unwrap(), a);
    assert_eq!(repo.resolve("prod@{2}").unwrap(), c);
    repo.undo(&Ctx::quiet()).unwrap();
    assert_eq!(repo.resolve("refs/aliases/prod").unwrap(), b);
    assert_eq!(
        repo.files(b).unwrap(),
        repo.files(repo.alias("prod").unwrap().record).unwrap()
    );
    repo.create_branch("taken", a).unwrap();
    assert!(repo.set_alias("taken", a, &why("x")).is_err());
    assert!(repo.set_alias("prod/x", a, &why("x")).is_err());
    assert_eq!(repo.delete_alias("prod").unwrap(), b);
    assert!(repo.alias("prod").is_err());
}

const GATED: &str = "[evaluate]\ncommand = \"evaluate\"\nrequire = [\"f1 >= 0.8\", \"slice.* > 0.5\"]\n\
                     no-worse = [\"f1\", \"slice.* higher\", \"cost lower\"]\ntolerance = 0.01\n";

#[test]
fn a_move_without_a_pass_is_refused_with_both_numbers() {
    let (_dir, mut repo) = repo(GATED);
    let (a, b) = (commit(&mut repo, "a"), commit(&mut repo, "b"));
    let refused = |repo: &mut Repo, to| match repo.set_alias("prod", to, &why("x")) {
        Err(Error::Gated { refused, .. }) => refused,
        other => panic!("{other:?}"),
    };
    let said = refused(&mut repo, a);
    assert_eq!(
        said,
        [format!("`evaluate`: commit {} is not evaluated", a.short())]
    );
    repo.keep_evaluation(a, "another", &metrics(&[("f1", 1.0)]))
        .unwrap();
    assert_eq!(
        refused(&mut repo, a).len(),
        1,
        "another command says nothing"
    );
    let good = [("f1", 0.9), ("slice.de", 0.8), ("cost", 5.0)];
    repo.keep_evaluation(a, "evaluate", &metrics(&good[..1]))
        .unwrap();
    assert_eq!(
        refused(&mut repo, a),
        ["`slice.* > 0.5`: there is no metric `slice.*`"]
    );
    repo.keep_evaluation(a, "evaluate", &metrics(&good))
        .unwrap();
    let first = repo.set_alias("prod", a, &why("first")).unwrap();
    assert!(first.verdict.unwrap().checks.iter().all(|c| c.passed));
    // Worse in a slice, dearer, one metric gone, one that is no number.
    let worse = [
        ("f1", f64::NAN),
        ("slice.de", 0.78),
        ("slice.en", 0.4),
        ("cost", 5.5),
    ];
    repo.keep_evaluation(b, "evaluate", &metrics(&worse))
        .unwrap();
    let said = refused(&mut repo, b).join("\n");
    for part in [
        "`slice.* > 0.5`: `slice.en` is 0.4",
        "`no worse slice.* higher`: `slice.de` is 0.78, commit",
        "`cost` is 5.5, commit",
        "has 5",
        "`f1 >= 0.8`: `f1` is nothing",
        "`no worse f1`: `f1` is nothing",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let forced = MoveOptions {
        force: Some("the old one is down".into()),
        ..why("now")
    };
    let done = repo.set_alias("prod", b, &forced).unwrap();
    assert_eq!(done.forced.as_deref(), Some("the old one is down"));
    assert!(done.verdict.unwrap().failed().count() >= 5);
    // The same recipe and model, as another commit, has the same evaluation.
    let c = commit(&mut repo, "a");
    repo.keep_evaluation(b, "evaluate", &metrics(&good))
        .unwrap();
    assert_eq!(
        repo.set_alias("prod", c, &why("as a")).unwrap().forced,
        None
    );
}

#[test]
fn without_a_command_the_run_decides_and_a_stale_model_does_not_pass() {
    let (_dir, mut repo) = repo("[evaluate]\nrequire = [\"f1 >= 0.8\"]\n");
    let a = commit(&mut repo, "a");
    let said = repo
        .set_alias("prod", a, &why("x"))
        .unwrap_err()
        .to_string();
    assert!(said.contains("no run of commit"), "{said}");
    fs::write(repo.root().join("train.py"), "1").unwrap();
    let options = CommitOptions {
        message: "code".into(),
        ..Default::default()
    };
    let b = repo.commit(&options, &Ctx::quiet()).unwrap().id;
    let said = repo
        .set_alias("prod", b, &why("x"))
        .unwrap_err()
        .to_string();
    assert!(said.contains("made by another recipe"), "{said}");
    // Gates that a commit takes away are not passed.
    let forced = MoveOptions {
        force: Some("bootstrap".into()),
        ..why("x")
    };
    repo.set_alias("prod", b, &forced).unwrap();
    fs::write(repo.root().join("modelv.toml"), "").unwrap();
    let c = commit(&mut repo, "c");
    let said = repo
        .set_alias("prod", c, &why("x"))
        .unwrap_err()
        .to_string();
    assert!(said.contains("f1 >= 0.8"), "{said}");
    // Not by way of a deletion either.
    repo.delete_alias("prod").unwrap();
    assert!(repo.set_alias("prod", c, &why("x")).is_err());
    let done = repo.set_alias("prod", c, &forced).unwrap();
    assert_eq!(done.verdict.unwrap().dropped, ["f1 >= 0.8"]);
    assert_eq!(repo.alias_history("prod").unwrap().len(), 2);
}

#[test]
fn rules_that_are_none_are_refused() {
    for wrong in [
        "require = 1",
        "require = [1]",
        "require = [\"f1\"]",
        "no-worse = [\"steps\"]",
        "no-worse = \"f1\"",
        "tolerance = -1",
        "tolerance = \"x\"",
    ] {
        let text = format!("[evaluate]\n{wrong}\n");
        assert!(crate::worktree::Rules::parse(&text).is_err(), "{wrong}");
    }
    let odd = "[evaluate]\nrequire = [\"a[0]{x}? >= 1\"]\nno-worse = [\"steps lower\", \"*\"]\n";
    assert!(crate::worktree::Rules::parse(odd).is_ok());
}

#[test]
fn aliases_are_pushed_and_fetched_and_who_is_late_is_told() {
    let (dir, mut a) = repo("");
    let (one, two) = (commit(&mut a, "one"), commit(&mut a, "two"));
    let info = RemoteInfo {
        name: "origin".into(),
        url: format!("file://{}", dir.path().join("remote").display()),
        options: Default::default(),
    };
    a.add_remote(&info).unwrap();
    let push = |repo: &mut Repo, name: &str| {
        let options = PushOptions {
            refs: vec![name.into()],
            ..Default::default()
        };
        repo.push(&info, &options, &Ctx::quiet())
    };
    push(&mut a, "main").unwrap();
    a.set_alias("prod", one, &why("first")).unwrap();
    let pushed = push(&mut a, "prod").unwrap();
    assert_eq!(pushed.updates[0].name, "refs/aliases/prod");
    assert_eq!(pushed.updates[0].new, Some(one));
    let b_root = dir.path().join("b");
    let mut b = Repo::clone_from(
        &info.url,
        &b_root,
        &CloneOptions::default(),
        "clone",
        &Ctx::quiet(),
    )
    .unwrap()
    .repo;
    b.set_config("user.name", Some("Bob")).unwrap();
    b.set_config("user.email", Some("bob@example.org")).unwrap();
    assert_eq!(b.resolve("prod").unwrap(), one);
    // Both move it; the second is told, keeps its own, and can take what is there.
    a.set_alias("prod", two, &why("by a")).unwrap();
    push(&mut a, "prod").unwrap();
    b.set_alias("prod", two, &why("by b")).unwrap();
    let late = push(&mut b, "prod").unwrap_err().to_string();
    assert!(late.contains("fetch first"), "{late}");
    let fetched = b
        .fetch(&info, &FetchOptions::default(), &Ctx::quiet())
        .unwrap();
    assert!(fetched.updates.is_empty(), "{fetched:?}");
    assert_eq!(b.alias("prod").unwrap().why, "by b");
    assert!(push(&mut b, "prod").is_err());
    b.delete_alias("prod").unwrap();
    b.fetch(&info, &FetchOptions::default(), &Ctx::quiet())
        .unwrap();
    assert_eq!(b.alias("prod").unwrap().why, "by a");
    // What went on from there stays through a fetch, and goes up.
    b.rollback_alias("prod", &why("slow")).unwrap();
    let fetched = b
        .fetch(&info, &FetchOptions::default(), &Ctx::quiet())
        .unwrap();
    assert!(fetched.updates.is_empty(), "{fetched:?}");
    push(&mut b, "refs/aliases/prod").unwrap();
    a.fetch(&info, &FetchOptions::default(), &Ctx::quiet())
        .unwrap();
    let said: Vec<String> = a
        .alias_history("prod")
        .unwrap()
        .into_iter()
        .map(|m| m.why)
        .collect();
    assert_eq!(said, ["slow", "by a", "first"]);
}

/// What somebody deleted on a remote does not come back there unseen.
#[test]
fn an_alias_that_was_deleted_on_a_remote_comes_back_by_a_new_move_alone() {
    let (_dir, mut a, mut b, info) = shared();
    let (plain, gone) = (
        PushOptions::default(),
        PushOptions {
            delete: true,
            ..PushOptions::default()
        },
    );
    let forced = PushOptions {
        force_with_lease: true,
        ..PushOptions::default()
    };
    let full = ["refs/aliases/prod"];
    let one = a.alias("prod").unwrap().commit;
    assert_eq!(b.alias_of_remote("origin", "prod").unwrap().commit, one);
    push(&mut a, &info, &full, &gone).unwrap();
    fetch(&mut b, &info);
    // Here it stays, and no push of it as it was brings it back.
    assert_eq!(b.alias("prod").unwrap().commit, one);
    let said = push(&mut b, &info, &["prod"], &plain)
        .unwrap_err()
        .to_string();
    assert!(said.contains("deleted there"), "{said}");
    let two = commit(&mut b, "two");
    b.set_alias("prod", two, &why("again")).unwrap();
    push(&mut b, &info, &["prod"], &plain).unwrap();
    assert_eq!(b.alias_of_remote("origin", "prod").unwrap().commit, two);
    // Whoever deletes it here, too, forgets where it was.
    fetch(&mut a, &info);
    push(&mut b, &info, &full, &gone).unwrap();
    fetch(&mut a, &info);
    a.delete_alias("prod").unwrap();
    fetch(&mut a, &info);
    assert!(a.alias_of_remote("origin", "prod").is_err());
    assert!(a.alias("prod").is_err());
    // By force it comes back as it was.
    fetch(&mut b, &info);
    push(&mut b, &info, &["prod"], &forced).unwrap();
    fetch(&mut a, &info);
    assert_eq!(a.alias("prod").unwrap().commit, two);
    // What was fetched is given back without a move of our own.
    let moves = a.alias_history("prod").unwrap().len();
    a.undo(&Ctx::quiet()).unwrap();
    assert!(a.alias("prod").is_err());
    fetch(&mut a, &info);
    assert_eq!(a.alias_history("prod").unwrap().len(), moves);
}

/// Two repositories that share a remote, with one commit and the alias `prod` of it.
fn shared() -> (TempDir, Repo, Repo, RemoteInfo) {
    let (dir, mut a) = repo("");
    let one = commit(&mut a, "one");
    let info = RemoteInfo {
        name: "origin".into(),
        url: format!("file://{}", dir.path().join("remote").display()),
        options: Default::default(),
    };
    a.add_remote(&info).unwrap();
    a.set_alias("prod", one, &why("first")).unwrap();
    push(&mut a, &info, &["main", "prod"], &PushOptions::default()).unwrap();
    let mut b = clone(&dir, &info, "b", &CloneOptions::default());
    b.set_config("user.name", Some("Bob")).unwrap();
    b.set_config("user.email", Some("bob@example.org")).unwrap();
    (dir, a, b, info)
}

fn clone(dir: &TempDir, info: &RemoteInfo, name: &str, options: &CloneOptions) -> Repo {
    let root = dir.path().join(name);
    let cloned = Repo::clone_from(&info.url, &root, options, "clone", &Ctx::quiet());
    cloned.unwrap().repo
}

fn push(
    repo: &mut Repo,
    info: &RemoteInfo,
    refs: &[&str],
    options: &PushOptions,
) -> Result<crate::remote::PushReport> {
    let options = PushOptions {
        refs: refs.iter().map(|r| (*r).to_owned()).collect(),
        ..options.clone()
    };
    repo.push(info, &options, &Ctx::quiet())
}

fn fetch(repo: &mut Repo, info: &RemoteInfo) -> crate::remote::FetchReport {
    repo.fetch(info, &FetchOptions::default(), &Ctx::quiet())
        .unwrap()
}

#[test]
fn an_alias_goes_under_its_own_name_and_a_wrong_one_stops_nobody() {
    let (dir, mut a, mut b, info) = shared();
    let plain = PushOptions::default();
    for other in ["prod:staging", "refs/aliases/prod:refs/aliases/staging"] {
        let said = push(&mut a, &info, &[other], &plain).unwrap_err();
        assert!(said.to_string().contains("same name everywhere"), "{said}");
    }
    // Another program does so all the same.
    let record = a.alias("prod").unwrap().record;
    a.push_as_is(&info, &ref_of("staging"), record);
    fetch(&mut b, &info);
    assert!(b.ref_commit(&ref_of("staging")).is_none());
    let c = clone(&dir, &info, "c", &CloneOptions::default());
    assert!(c.ref_commit(&ref_of("staging")).is_none());
    assert_eq!(c.alias("prod").unwrap().record, record);
}

#[test]
fn no_force_replaces_or_removes_a_move_that_nobody_here_knows() {
    let (_dir, mut a, mut b, info) = shared();
    let two = commit(&mut a, "two");
    a.set_alias("prod", two, &why("by a")).unwrap();
    push(&mut a, &info, &["main", "prod"], &PushOptions::default()).unwrap();
    let mine = commit(&mut b, "mine");
    b.set_alias("prod", mine, &why("by b")).unwrap();
    let force = PushOptions {
        force_with_lease: true,
        ..Default::default()
    };
    let said = push(&mut b, &info, &["prod"], &force).unwrap_err();
    assert!(said.to_string().contains("fetch first"), "{said}");
    for options in [&force, &PushOptions::default()] {
        let said = push(&mut b, &info, &[":refs/aliases/prod"], options).unwrap_err();
        assert!(said.to_string().contains("moved there too"), "{said}");
    }
    // Who has the one that is there may remove it.
    push(
        &mut a,
        &info,
        &[":refs/aliases/prod"],
        &PushOptions::default(),
    )
    .unwrap();
    push(&mut b, &info, &["prod"], &PushOptions::default()).unwrap();
}

#[test]
fn a_clone_of_few_commits_has_what_its_aliases_name_and_follows_them() {
    let (dir, mut a, _b, info) = shared();
    let plain = PushOptions::default();
    let one = a.alias("prod").unwrap().commit;
    for text in ["two", "three"] {
        commit(&mut a, text);
    }
    push(&mut a, &info, &["main"], &plain).unwrap();
    let few = CloneOptions {
        depth: Some(1),
        ..Default::default()
    };
    let mut c = clone(&dir, &info, "few", &few);
    assert_eq!(c.resolve("prod").unwrap(), one);
    assert!(!c.files(one).unwrap().is_empty());
    // Two moves on, the first of them to a commit that did not come: the one here is in their history.
    let parent = a.parents_of(a.head().unwrap()).unwrap()[0];
    a.set_alias("prod", parent, &why("second")).unwrap();
    let last = commit(&mut a, "four");
    a.set_alias("prod", last, &why("third")).unwrap();
    push(&mut a, &info, &["main", "prod"], &plain).unwrap();
    fetch(&mut c, &info);
    assert_eq!(c.resolve("prod").unwrap(), last);
    assert_eq!(c.alias_history("prod").unwrap().len(), 3);
}

#[test]
fn looser_gates_do_not_pass_and_stricter_ones_do() {
    let (_dir, mut repo) = repo(GATED);
    let good = [("f1", 0.9), ("slice.de", 0.8), ("cost", 5.0)];
    let a = commit(&mut repo, "a");
    repo.keep_evaluation(a, "evaluate", &metrics(&good))
        .unwrap();
    repo.set_alias("prod", a, &why("first")).unwrap();
    for (old, new, is_refused) in [
        ("f1 >= 0.8", "f1 >= 0.7", Some("f1 >= 0.8")),
        ("0.01", "0.5", Some("tolerance 0.01")),
        ("\"f1\", ", "", Some("no worse f1")),
        ("f1 >= 0.8", "f1 >= 0.85", None),
    ] {
        fs::write(repo.root().join("modelv.toml"), GATED.replace(old, new)).unwrap();
        let b = commit(&mut repo, &format!("with {new}"));
        repo.keep_evaluation(b, "evaluate", &metrics(&good))
            .unwrap();
        match (repo.set_alias("prod", b, &why("x")), is_refused) {
            (Err(Error::Gated { refused, .. }), Some(rule)) => {
                assert_eq!(refused.len(), 1, "{refused:?}");
                assert!(refused[0].contains(rule), "{refused:?}");
            }
            (Ok(_), None) => {}
            other => panic!("{new}: {other:?}"),
        }
    }
    let other = GATED.replace("\"evaluate\"", "\"true\"");
    fs::write(repo.root().join("modelv.toml"), other).unwrap();
    let c = commit(&mut repo, "another command");
    repo.keep_evaluation(c, "true", &metrics(&good)).unwrap();
    let said = repo.set_alias("prod", c, &why("x")).unwrap_err();
    assert!(said.to_string().contains("command evaluate"), "{said}");
}

#[test]
fn what_no_worse_can_not_compare_does_not_pass() {
    let toml =
        "[evaluate]\ncommand = \"evaluate\"\nno-worse = [\"typo higher\", \"m.*\", \"s higher\"]\n";
    let (_dir, mut repo) = repo(toml);
    let (a, b) = (commit(&mut repo, "a"), commit(&mut repo, "b"));
    let mut found = metrics(&[("m.odd", 1.0)]);
    found.insert("s".into(), Value::Str("much".into()));
    for id in [a, b] {
        repo.keep_evaluation(id, "evaluate", &found).unwrap();
    }
    repo.set_alias("prod", a, &why("nothing before")).unwrap();
    let said = match repo.set_alias("prod", b, &why("x")) {
        Err(Error::Gated { refused, .. }) => refused.join("\n"),
        other => panic!("{other:?}"),
    };
    for part in ["neither commit has", "which way `m.odd`", "`s` of commit"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
