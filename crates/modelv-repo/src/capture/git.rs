//! Facts of the Git working tree a repository may lie in. Never fails a commit.

use std::collections::BTreeMap;
use std::path::Path;

use super::env::strip_credentials;

/// Git's HEAD, branch and remote, by name; empty outside of Git.
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
    if let Some(url) = repo.config_snapshot().string("remote.origin.url") {
        out.insert("git.remote".into(), strip_credentials(&url.to_string()));
    }
    out
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
