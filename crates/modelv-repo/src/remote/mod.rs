//! Remotes of a repository: their settings, remote-tracking refs and upstreams.
//!
//! Settings are configuration in the operation log (`remote.NAME.url`), what a remote had when it
//! was last seen are refs (`refs/remotes/NAME/BRANCH`). What goes over the line is the business of
//! `modelv_store::remote`; which objects have to, is decided in `walk.rs`.

mod aliases;
mod clone;
mod collect;
mod fetch;
mod held;
mod lazy;
mod mend;
mod push;
#[cfg(test)]
mod tests;
mod upstream;
pub(crate) mod walk;

use std::collections::BTreeSet;
use std::path::Path;

use modelv_core::commit::Commit;
use modelv_core::id::CommitId;
pub use modelv_store::remote::{CollectOptions, Collection};
pub use modelv_store::remote::{Received, RemoteError, RemoteOptions, Sent, Trouble};
use modelv_store::remote::{Remote, Watch};
pub use modelv_store::remote::{shown_url, split_query};

pub use clone::{CloneOptions, Cloned};
pub use fetch::{Depth, FetchOptions, FetchReport};
pub use lazy::Promised;
pub use mend::RemoteReport;
pub use push::{PushOptions, PushReport};
pub use upstream::Upstream;

use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::{DIR_NAME, Repo};
use crate::worktree::Ingredient;

/// Name of the remote that a clone comes from.
pub const ORIGIN: &str = "origin";

/// A remote as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteInfo {
    /// Its name here.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Settings beside the address.
    pub options: RemoteOptions,
}

/// One ref that moved, here or on a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// Full name.
    pub name: String,
    /// Before.
    pub old: Option<CommitId>,
    /// After.
    pub new: Option<CommitId>,
    /// Whether the new commit does not descend from the old one.
    pub forced: bool,
}

/// Shows a transfer through a [`Ctx`].
pub(crate) struct CtxWatch<'a>(pub(crate) &'a Ctx<'a>);

impl Watch for CtxWatch<'_> {
    fn start(&self, task: &str, bytes: u64) {
        self.0.progress.start(task, Unit::Bytes, Some(bytes));
    }
    fn advance(&self, bytes: u64) {
        self.0.progress.advance(bytes);
    }
    fn finish(&self) {
        self.0.progress.finish();
    }
    fn is_stopped(&self) -> bool {
        self.0.cancel.is_cancelled()
    }
}

/// The address of a remote as it is stored: folders absolute, so that it holds from everywhere.
///
/// # Errors
/// The folder has no absolute path.
pub fn full_url(url: &str, base: &Path) -> Result<String> {
    if url.contains("://") || url.is_empty() {
        return Ok(url.to_owned());
    }
    let path = base.join(url);
    let path = std::path::absolute(&path).map_err(Error::io("find", &path))?;
    let mut clean = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    match clean.to_str() {
        Some(text) => Ok(format!("file://{text}")),
        None => Err(Error::invalid("remote", url, "its path is not UTF-8")),
    }
}

/// A folder with a working tree has its commits in another form, and its owner's files beside them.
pub(crate) fn refuse_working_copy(url: &str) -> Result<()> {
    let folder = url.strip_prefix("file://").map(Path::new);
    match folder.filter(|f| f.join(DIR_NAME).join("oplog").exists()) {
        Some(_) => Err(Error::State(format!(
            "`{url}` is a working copy, no remote"
        ))),
        None => Ok(()),
    }
}

impl Repo {
    /// All remotes, by name.
    #[must_use]
    pub fn remotes(&self) -> Vec<RemoteInfo> {
        self.config_all()
            .into_iter()
            .filter_map(|(key, url)| {
                let name = key
                    .strip_prefix("remote.")?
                    .strip_suffix(".url")?
                    .to_owned();
                let setting = |what: &str| self.config(&format!("remote.{name}.{what}"));
                let options = RemoteOptions {
                    endpoint: setting("endpoint"),
                    region: setting("region"),
                };
                Some(RemoteInfo { name, url, options })
            })
            .collect()
    }

    /// One remote.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remote(&self, name: &str) -> Result<RemoteInfo> {
        self.remotes()
            .into_iter()
            .find(|r| r.name == name)
            .ok_or_else(|| Error::not_found("remote", name))
    }

    /// The named remote, or the one that is meant when none is named.
    ///
    /// # Errors
    /// As [`Repo::remote`] and [`Repo::default_remote`].
    pub fn remote_or_default(&self, name: Option<&str>) -> Result<RemoteInfo> {
        match name {
            Some(name) => self.remote(name),
            None => self.default_remote(),
        }
    }

    /// The remote that is meant when none is named: the upstream's, the only one, or `origin`.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn default_remote(&self) -> Result<RemoteInfo> {
        let upstream = self
            .head_ref()
            .and_then(|r| self.upstream_of(names::short(r)));
        if let Some((remote, _)) = upstream {
            return self.remote(&remote);
        }
        let mut all = self.remotes();
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        self.remote(ORIGIN)
    }

    /// Adds a remote, after trying out (unless it can only be read) that refs can't be lost there.
    ///
    /// # Errors
    /// The name is taken or not allowed, the address is not one, or the remote does not compare
    /// and swap.
    pub fn add_remote(&mut self, info: &RemoteInfo) -> Result<()> {
        names::check("remote", &info.name)?;
        if info.name.contains(['/', '.']) {
            return Err(Error::invalid("remote", &info.name, "it holds `/` or `.`"));
        }
        if self.remote(&info.name).is_ok() {
            return Err(Error::Exists {
                what: "remote",
                name: info.name.clone(),
            });
        }
        let remote = self.open_remote(info)?;
        // A folder moves its root under a kernel lock, and is made by the first push.
        if !remote.is_read_only() && !info.url.starts_with("file://") {
            remote.check_swap()?;
        }
        let changes = self.remote_settings(info);
        self.update_refs(changes).map(drop)
    }

    /// The changes that store a remote's settings.
    fn remote_settings(&self, info: &RemoteInfo) -> Vec<RefChange> {
        let name = &info.name;
        [
            ("url", Some(&info.url)),
            ("endpoint", info.options.endpoint.as_ref()),
            ("region", info.options.region.as_ref()),
        ]
        .into_iter()
        .filter_map(|(what, value)| {
            self.config_change(&format!("remote.{name}.{what}"), value.map(String::as_str))
        })
        .collect()
    }

    /// The change that sets a configuration value; `None` when it is so already.
    pub(crate) fn config_change(&self, key: &str, value: Option<&str>) -> Option<RefChange> {
        let name = format!("{}{key}", names::CONFIG);
        let old = self.log.refs.get(&name).cloned();
        let new = value.map(|v| Target::Text(v.to_owned()));
        (old != new).then_some(RefChange { name, old, new })
    }

    /// Forgets a remote: its settings, remote-tracking refs and upstreams. Nothing changes there.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove_remote(&mut self, name: &str) -> Result<()> {
        self.remote(name)?;
        let settings = format!("{}remote.{name}.", names::CONFIG);
        let tracking = format!("{}{name}/", names::REMOTES);
        let aliases = format!("{}{name}/", names::REMOTE_ALIASES);
        let upstreams: BTreeSet<String> = self
            .config_all()
            .into_iter()
            .filter(|(key, value)| key.starts_with("branch.") && value == name)
            .filter_map(|(key, _)| {
                let branch = key.strip_suffix(".remote")?;
                Some(format!("{}{branch}.", names::CONFIG))
            })
            .collect();
        let is_of = |key: &str| {
            key.starts_with(&settings)
                || key.starts_with(&tracking)
                || key.starts_with(&aliases)
                || upstreams.iter().any(|u| {
                    key.strip_prefix(u.as_str())
                        .is_some_and(|rest| rest == "remote" || rest == "merge")
                })
        };
        let changes = self
            .log
            .refs
            .iter()
            .filter(|(key, _)| is_of(key))
            .map(|(key, target)| RefChange {
                name: key.clone(),
                old: Some(target.clone()),
                new: None,
            })
            .collect();
        self.update_refs(changes).map(drop)
    }

    /// Opens a remote. What is learnt of it is kept in the repository's cache.
    pub(crate) fn open_remote(&self, info: &RemoteInfo) -> Result<Remote> {
        refuse_working_copy(&info.url)?;
        let cache = self.dir().join("cache/remote");
        Ok(Remote::open(&info.url, &info.options, &cache)?)
    }

    /// The changes that make remote-tracking refs what the remote has.
    fn tracking_change(
        &self,
        remote: &str,
        branch: &str,
        new: Option<CommitId>,
    ) -> Option<RefChange> {
        let name = format!("{}{remote}/{branch}", names::REMOTES);
        let old = self.log.refs.get(&name).cloned();
        let new = new.map(Target::Commit);
        (old != new).then_some(RefChange { name, old, new })
    }

    /// What of each commit this clone holds; `None`: everything.
    #[must_use]
    pub fn only(&self) -> Option<BTreeSet<Ingredient>> {
        let text = self.config("clone.only")?;
        Some(text.split(',').filter_map(Ingredient::parse).collect())
    }

    /// Whether this clone lacks a part of the history.
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        self.config("clone.depth").is_some()
    }

    /// So many commits of each branch came with this clone, and what is new came behind them; `None`: all, or
    /// one commit alone.
    #[must_use]
    pub fn depth(&self) -> Option<u32> {
        if self.config("clone.commit").is_some() {
            return None;
        }
        self.config("clone.depth")?.parse().ok()
    }

    /// Of some commits those whose parents this clone does not hold: where its history is cut off.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn cut_off<'c>(
        &self,
        commits: impl Iterator<Item = &'c (CommitId, Commit)>,
    ) -> Result<Vec<CommitId>> {
        let mut out = Vec::new();
        if !self.is_shallow() {
            return Ok(out);
        }
        for (id, commit) in commits {
            if self.parents_of_commit(commit)?.len() < commit.parents.len() {
                out.push(*id);
            }
        }
        Ok(out)
    }
}
