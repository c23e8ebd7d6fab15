//! Facts of the Git working tree a repository may lie in. Never fails a commit, and never runs Git.
//!
//! | fact | value |
//! |---|---|
//! | `git.head` | the commit that is checked out; missing before the first |
//! | `git.branch` | its branch; missing when HEAD is detached |
//! | `git.remote` | where the branch is fetched from, without user, password and query |
//! | `git.dirty` | `true`: a tracked file or the index differs from HEAD. Untracked files don't count, as in `git describe --dirty`. Missing before the first commit |
//! | `git.error`, `git.dirty.error` | why the facts, or this one, could not be told |

use std::collections::BTreeMap;
use std::path::Path;

use super::env::strip_credentials;

/// Git's HEAD, branch, remote and state, by name; empty outside of Git.
#[must_use]
pub fn facts(root: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let in_git = root.ancestors().any(|dir| dir.join(".git").exists());
    if !in_git {
        return out;
    }
    let repo = match gix::discover(root) {
        Ok(repo) => repo,
        Err(e) => {
            out.insert("git.error".into(), e.to_string());
            return out;
        }
    };
    if let Ok(id) = repo.head_id() {
        out.insert("git.head".into(), id.to_string());
    }
    if let Ok(Some(name)) = repo.head_name() {
        out.insert("git.branch".into(), name.shorten().to_string());
    }
    if let Some(url) = remote(&repo) {
        out.insert("git.remote".into(), strip_credentials(&url));
    }
    if repo.head_id().is_ok() && !repo.is_bare() {
        match repo.is_dirty() {
            Ok(dirty) => out.insert("git.dirty".into(), dirty.to_string()),
            Err(e) => out.insert("git.dirty.error".into(), e.to_string()),
        };
    }
    out
}

/// What `git fetch` would fetch from: the remote of the branch, `origin`, or the only one.
fn remote(repo: &gix::Repository) -> Option<String> {
    let remote = repo
        .find_default_remote(gix::remote::Direction::Fetch)?
        .ok()?;
    let url = remote.url(gix::remote::Direction::Fetch)?;
    Some(url.to_bstring().to_string())
}

/// The name and mail address Git would commit with, as far as its configuration says.
#[must_use]
pub fn identity(root: &Path) -> (Option<String>, Option<String>) {
    let text = |value: Option<gix::bstr::BString>| value.map(|v| v.to_string());
    if let Ok(repo) = gix::discover(root) {
        let config = repo.config_snapshot();
        return (
            text(config.string("user.name")),
            text(config.string("user.email")),
        );
    }
    match gix::config::File::from_globals() {
        Ok(config) => (
            text(config.string("user.name")),
            text(config.string("user.email")),
        ),
        Err(_) => (None, None),
    }
}
