//! External data in a repository: recorded, fetched, never lost.

use std::fs;

use super::*;
use crate::{CommitOptions, SwitchTo};

struct World {
    dir: tempfile::TempDir,
    repo: Repo,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("far")).unwrap();
    fs::create_dir(dir.path().join("work")).unwrap();
    fs::create_dir(dir.path().join("work/data")).unwrap();
    let mut repo = Repo::init(&dir.path().join("work")).unwrap();
    repo.set_config("user.name", Some("Ada")).unwrap();
    repo.set_config("user.email", Some("ada@example.org"))
        .unwrap();
    fs::write(dir.path().join("far/x.csv"), "one").unwrap();
    World { dir, repo }
}

impl World {
    fn far(&self) -> PathBuf {
        self.dir.path().join("far/x.csv")
    }

    fn here(&self) -> PathBuf {
        self.dir.path().join("work/data/x.csv")
    }

    fn add(&mut self) -> Result<Pointer> {
        let url = format!("file://{}", self.far().display());
        let path = RepoPath::new("data/x.csv")?;
        let add = AddExternal {
            url,
            path,
            unread: false,
        };
        self.repo.add_external(&add, &Ctx::quiet())
    }

    fn commit(&mut self) -> modelv_core::id::CommitId {
        let options = CommitOptions {
            message: "x".into(),
            allow_empty: true,
            ..CommitOptions::default()
        };
        self.repo.commit(&options, &Ctx::quiet()).unwrap().id
    }

    fn go(&mut self, to: &modelv_core::id::CommitId) -> Result<()> {
        let to = SwitchTo::Detached(to.to_hex());
        self.repo.switch(&to, &Ctx::quiet()).map(drop)
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| "nothing".into())
}

#[test]
fn a_checkout_brings_what_was_recorded_and_takes_it_away() {
    let mut w = world();
    let none = w.commit();
    w.add().unwrap();
    let one = w.commit();
    let paths: Vec<String> = w
        .repo
        .files(one)
        .unwrap()
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(paths, ["data/x.csv.external"]);
    w.go(&none).unwrap();
    assert_eq!(read(&w.here()), "nothing");
    w.go(&one).unwrap();
    assert_eq!(read(&w.here()), "one");
    // What was changed here is no part of any commit, and is not lost.
    fs::write(w.here(), "mine").unwrap();
    let state = w.repo.externals(&[], &Ctx::quiet()).unwrap()[0].state;
    assert_eq!(state, ExternalState::Changed);
    let refused = w.go(&none).unwrap_err();
    assert!(matches!(refused, Error::WouldOverwrite { .. }), "{refused}");
    assert_eq!(read(&w.here()), "mine");
    let run = w.repo.require_externals(
        &w.repo
            .snapshot(&w.repo.rules().unwrap(), None, &Ctx::quiet())
            .unwrap()
            .files,
        &Ctx::quiet(),
    );
    assert!(run.unwrap_err().to_string().contains("was changed here"));
}

#[test]
fn a_source_that_changed_is_shown_with_what_was_recorded() {
    let mut w = world();
    let none = w.commit();
    w.add().unwrap();
    let one = w.commit();
    w.go(&none).unwrap();
    fs::write(w.far(), "two").unwrap();
    let error = w.go(&one).unwrap_err().to_string();
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    for part in ["data/x.csv", "file://", &hash("one"), &hash("two"), "ETag"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert_eq!(w.repo.head(), Some(none));
    assert!(!w.here().exists() && !w.here().with_extension("csv.external").exists());
    // Larger: that shows without reading it.
    fs::write(w.far(), "three").unwrap();
    let error = w.go(&one).unwrap_err().to_string();
    assert!(
        error.contains("5 bytes") && error.contains("not read"),
        "{error}"
    );
    fs::remove_file(w.far()).unwrap();
    assert!(w.go(&one).unwrap_err().to_string().contains("nothing"));
    w.repo.set_config("external.fetch", Some("off")).unwrap();
    w.go(&one).unwrap();
    assert!(!w.here().exists());
    fs::write(w.far(), "one").unwrap();
    let came = w.repo.fetch_externals(&[], &Ctx::quiet()).unwrap();
    assert_eq!((came.came.len(), read(&w.here())), (1, "one".into()));
}

#[test]
fn an_update_is_a_change_to_commit() {
    let mut w = world();
    let old = w.add().unwrap();
    let one = w.commit();
    fs::write(w.far(), "newer").unwrap();
    let externals = w.repo.externals(&[], &Ctx::quiet()).unwrap();
    let now = w.repo.check_external(&externals[0], &[]).unwrap();
    assert!(matches!(now, SourceState::Changed { kept: false, .. }));
    let done = w.repo.update_externals(&[], &Ctx::quiet()).unwrap();
    assert_eq!((done.len(), &done[0].old), (1, &old));
    assert_eq!(read(&w.here()), "newer");
    let two = w.commit();
    assert_ne!(w.repo.files(one).unwrap(), w.repo.files(two).unwrap());
    assert!(
        w.repo
            .update_externals(&[], &Ctx::quiet())
            .unwrap()
            .is_empty()
    );
    // Back needs what is gone.
    assert!(matches!(
        w.go(&one).unwrap_err(),
        Error::SourceChanged { .. }
    ));
    assert_eq!(read(&w.here()), "newer");
    // A file that becomes one like others, and back.
    fs::remove_file(w.here().with_extension("csv.external")).unwrap();
    let own = w.commit();
    assert!(
        w.repo
            .files(own)
            .unwrap()
            .contains_key(b"data/x.csv".as_slice())
    );
    w.go(&two).unwrap();
    assert_eq!(read(&w.here()), "newer");
    w.go(&own).unwrap();
    assert_eq!(read(&w.here()), "newer");
}

#[test]
fn what_reads_without_a_checkout_gets_checked_bytes() {
    let mut w = world();
    w.add().unwrap();
    let one = w.commit();
    fs::remove_file(w.here()).unwrap();
    let out = w.dir.path().join("out");
    w.repo.export(one, &out, &Ctx::quiet()).unwrap();
    assert_eq!(read(&out.join("data/x.csv")), "one");
    let mut files = w.repo.files(one).unwrap();
    let ingredients = [crate::worktree::Ingredient::Data];
    w.repo
        .resolve_externals(&mut files, &ingredients, &Ctx::quiet())
        .unwrap();
    let blob = files[b"data/x.csv".as_slice()].blob;
    assert_eq!(w.repo.store.read_blob(&blob, 10).unwrap(), b"one");
    let repo = std::sync::Arc::new(w.repo);
    let path = RepoPath::new("data/x.csv").unwrap();
    let mut file = repo.open_file("HEAD", &path).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(file.read_at(1, &mut bytes).unwrap(), 2);
    assert_eq!(&bytes[..2], b"ne");
    // Nothing was left lying about.
    let left = fs::read_dir(repo.dir().join("tmp")).unwrap().flatten();
    assert!(
        !left
            .map(|e| e.file_name())
            .any(|n| n.to_string_lossy().starts_with("external-"))
    );
}

#[test]
fn a_description_says_no_endpoint_and_settings_hold_for_a_bucket() {
    assert_eq!(bucket_of("s3://b/x"), Some("s3://b"));
    assert_eq!(bucket_of("s3://b"), Some("s3://b"));
    assert_eq!(bucket_of("x"), None);
    let mut w = world();
    w.repo
        .set_config("external.endpoint", Some("http://h:1"))
        .unwrap();
    let options = w.repo.options_for("s3://b/x");
    assert_eq!(options.endpoint.as_deref(), Some("http://h:1"));
    assert!(w.repo.set_config("external.fetch", Some("maybe")).is_err());
}

#[test]
fn a_file_beside_what_only_begins_like_a_description_stays_in_commits() {
    let mut w = world();
    fs::write(w.here(), "mine").unwrap();
    fs::write(
        w.dir.path().join("work/data/x.csv.external"),
        "modelv external notes\n",
    )
    .unwrap();
    let id = w.commit();
    let path = RepoPath::new("data/x.csv").unwrap();
    assert!(w.repo.files(id).unwrap().contains_key(&path));
    assert_eq!(w.repo.left_out(&path).unwrap(), None);
}

/// A tree that holds a part holds the data of that part alone: beside no description it would be a file to commit.
#[test]
fn data_outside_of_a_sparse_tree_stays_where_it_is() {
    let mut w = world();
    w.add().unwrap();
    w.commit();
    let lib = RepoPath::new("lib").unwrap();
    w.repo.set_sparse(Some(&[lib]), &Ctx::quiet()).unwrap();
    assert!(!w.here().exists());
    let fetched = w.repo.fetch_externals(&[], &Ctx::quiet()).unwrap();
    assert!(fetched.came.is_empty() && fetched.failed.is_empty());
    let path = RepoPath::new("data/x.csv").unwrap();
    let fetched = w.repo.fetch_externals(&[path], &Ctx::quiet()).unwrap();
    let said = fetched.failed[0].1.to_string();
    assert!(said.contains("does not hold"), "{said}");
    assert!(!w.here().exists());
}
