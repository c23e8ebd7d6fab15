//! Repositories to be broken, and how to see whether one is whole.

use std::path::{Path, PathBuf};

use modelv_repo::core::id::CommitId;
use modelv_repo::remote::{CloneOptions, FetchOptions, PushOptions, RemoteInfo, RemoteOptions};
use modelv_repo::{CommitOptions, Ctx, MergeOptions, Repo, Result};

/// A folder on a file system in memory, where there is one: syncing costs nothing there.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Bytes that don't compress and cross sectors.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut chance = modelv_store::fs::faults::disk::Chance::new(seed + 1);
    (0..len)
        .map(|_| u8::try_from(chance.below(256)).unwrap())
        .collect()
}

/// Puts a user's file.
pub(crate) fn put(root: &Path, path: &str, bytes: &[u8]) -> PathBuf {
    let full = root.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(&full, bytes).unwrap();
    full
}

pub(crate) fn message(text: &str) -> CommitOptions {
    CommitOptions {
        message: text.into(),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    }
}

pub(crate) fn commit(repo: &mut Repo, text: &str) -> Result<CommitId> {
    repo.commit(&message(text), &Ctx::quiet()).map(|c| c.id)
}

pub(crate) fn merge_options() -> MergeOptions {
    MergeOptions {
        author: Some("Ada <ada@example.org>".into()),
        ..MergeOptions::default()
    }
}

pub(crate) fn remote_in(dir: &Path) -> RemoteInfo {
    RemoteInfo {
        name: "origin".into(),
        url: format!("file://{}", dir.display()),
        options: RemoteOptions::default(),
    }
}

pub(crate) fn push(repo: &mut Repo) -> Result<()> {
    let info = repo.default_remote()?;
    repo.push(&info, &PushOptions::default(), &Ctx::quiet())
        .map(drop)
}

pub(crate) fn fetch(repo: &mut Repo) -> Result<()> {
    let info = repo.default_remote()?;
    repo.fetch(&info, &FetchOptions::default(), &Ctx::quiet())
        .map(drop)
}

pub(crate) fn clone(url: &str, dir: &Path) -> Result<Repo> {
    let cloned = Repo::clone_from(url, dir, &CloneOptions::default(), "clone", &Ctx::quiet())?;
    Ok(cloned.repo)
}

/// What `fsck` would call broken.
pub(crate) fn problems(repo: &Repo) -> Vec<String> {
    let mut out = match repo.store().verify(&mut |_, _| {}) {
        Ok(report) => report.problems,
        Err(e) => vec![e.to_string()],
    };
    match repo.check_reachable() {
        Ok(some) => out.extend(some),
        Err(e) => out.push(e.to_string()),
    }
    out
}

/// Whether the next command works: a commit that can be read again afterwards.
pub(crate) fn next_works(root: &Path) -> std::result::Result<(), String> {
    let mut repo = Repo::open(root).map_err(|e| format!("open: {e}"))?;
    // A checkout does not sync files of the working tree; this one could be blank, and is read.
    put(root, "modelv.toml", b"[env]\ncapture = \"none\"\n");
    put(root, "next.txt", b"life goes on");
    let id = commit(&mut repo, "next").map_err(|e| format!("the next commit: {e}"))?;
    let again = Repo::open(root).map_err(|e| format!("open after it: {e}"))?;
    if again.head() != Some(id) {
        return Err("the next commit is not there".into());
    }
    match problems(&again).as_slice() {
        [] => Ok(()),
        some => Err(format!("after the next commit: {some:?}")),
    }
}

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
