//! Clones of a part: what they may lack, and bringing it when somebody needs it.
//!
//! What a commit of a remote leads to and is not here is *promised*: that remote has it. Everything else
//! that is missing is damage, and must never be taken for a promise.

use std::collections::{BTreeSet, HashSet};

use modelv_core::id::{BlobId, CommitId};
use modelv_core::path::RepoPath;
use modelv_store::Error as StoreError;
use modelv_store::remote::{Lazy, Received, Source};

use super::walk::{Scope, Step, below};
use super::{CtxWatch, ORIGIN, RemoteInfo};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, SnapFile};

/// What a clone does not hold, though commits lead to it, for a remote has it.
#[derive(Debug, Default)]
pub struct Promised {
    ids: HashSet<[u8; 32]>,
}

impl Promised {
    pub(crate) fn has(&self, id: &[u8; 32]) -> bool {
        self.ids.contains(id)
    }

    /// How many contents, commits and other objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether everything is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// A remote in messages.
fn named(name: &str, url: &str) -> String {
    format!("{name} ({url})")
}

impl Repo {
    /// Whether this clone takes contents only when they are read.
    #[must_use]
    pub fn is_lazy(&self) -> bool {
        self.config("clone.lazy").is_some()
    }

    /// Contents of files of so many bytes and more come only when they are read; `None`: all come.
    #[must_use]
    pub fn filter(&self) -> Option<u64> {
        self.config("clone.filter")?.parse().ok()
    }

    /// Whose contents a fetch brings; `None`: all.
    pub(crate) fn contents_wanted(&self) -> Option<BTreeSet<Ingredient>> {
        if self.is_lazy() {
            return Some(BTreeSet::new());
        }
        self.only()
    }

    /// The remotes that contents may come from: the upstream's or `origin` first.
    fn donors(&self) -> Vec<RemoteInfo> {
        let first = self.default_remote().map_or(ORIGIN.to_owned(), |r| r.name);
        let mut all = self.remotes();
        all.sort_by_key(|r| (r.name != first, r.name.clone()));
        all
    }

    /// Lets whatever reads content that is not here have it from the remotes.
    pub(crate) fn read_from_remotes(&self) {
        if !self.is_partial() {
            return;
        }
        let sources = self.donors().into_iter().map(|r| Source {
            name: r.name,
            url: r.url,
            options: r.options,
        });
        let cache = self.dir().join("cache");
        self.store.set_lazy(Lazy::new(sources.collect(), &cache));
    }

    /// Brings what of these files is not here, in one go. A clone that is whole has nothing to bring.
    pub(crate) fn bring_files<'a>(
        &self,
        files: impl Iterator<Item = (&'a RepoPath, &'a SnapFile)>,
        ctx: &Ctx<'_>,
    ) -> Result<Received> {
        let mut received = Received::default();
        if !self.is_partial() {
            return Ok(received);
        }
        let mut left: Vec<(BlobId, u64)> = Vec::new();
        let mut names = Vec::new();
        for (path, file) in files {
            if !self.store.has_blob(&file.blob)? {
                left.push((file.blob, file.size));
                names.push((file.blob, path.to_string()));
            }
        }
        left.sort_unstable();
        left.dedup();
        let mut failed = None;
        for info in self.donors() {
            if left.is_empty() {
                break;
            }
            let watch = CtxWatch(ctx);
            let asked = self
                .open_remote(&info)
                .and_then(|remote| Ok(remote.bring_contents(&self.store, left.clone(), &watch)?));
            ctx.cancel.check()?;
            match asked {
                Ok((came, rest)) => {
                    received += came;
                    left = rest;
                }
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        if left.is_empty() {
            return Ok(received);
        }
        let ids: HashSet<BlobId> = left.into_iter().map(|(id, _)| id).collect();
        names.retain(|(id, _)| ids.contains(id));
        Err(Error::NotHere {
            paths: names.into_iter().map(|(_, path)| path).collect(),
            remotes: self
                .donors()
                .iter()
                .map(|r| named(&r.name, &r.url))
                .collect(),
            source: failed.map(Box::new),
        })
    }

    /// Brings the contents of files of a commit, so that they can be read without the remote: those at and
    /// below some paths, and those of some ingredients.
    ///
    /// # Errors
    /// Nothing of the commit has such a path; no remote has a content, or none can be reached.
    pub fn fetch_files(
        &self,
        commit: CommitId,
        paths: &[RepoPath],
        ingredients: &[Ingredient],
        ctx: &Ctx<'_>,
    ) -> Result<(usize, Received)> {
        let mut files: Files = self.files(commit)?;
        let scope = crate::worktree::Scope::new(paths);
        if let Some(path) = scope.unknown(files.keys()) {
            return Err(Error::not_found("path", path.to_string()));
        }
        files.retain(|path, file| {
            (!paths.is_empty() && scope.holds(path)) || ingredients.contains(&file.ingredient)
        });
        let received = self.bring_files(files.iter(), ctx)?;
        Ok((files.len(), received))
    }

    /// What remotes have and this clone of a part does not.
    ///
    /// # Errors
    /// Something that is here can't be read.
    pub fn promised(&self) -> Result<Promised> {
        let mut promised = Promised::default();
        if !self.is_partial() {
            return Ok(promised);
        }
        let cloned = self.config("clone.commit");
        let cloned = cloned.and_then(|hex| CommitId::from_hex(&hex).ok());
        let theirs = [
            names::REMOTES,
            names::TAGS,
            names::WHEELS,
            names::ALIASES,
            names::REMOTE_ALIASES,
        ];
        let mut stack: Vec<Step> = theirs
            .into_iter()
            .flat_map(|prefix| self.refs_below(prefix))
            .map(|(_, id)| id)
            .chain(cloned)
            .map(Step::Commit)
            .collect();
        let mut seen: HashSet<Step> = HashSet::new();
        while let Some(step) = stack.pop() {
            if !seen.insert(step) {
                continue;
            }
            let found = match step {
                Step::Blob(id, _) => self.store.has_blob(&id)?.then(Vec::new).ok_or(id.0),
                Step::Env(id) => {
                    let kind = modelv_core::canon::Kind::Env;
                    self.store.has_object(kind, &id)?.then(Vec::new).ok_or(id)
                }
                _ => match below(&self.store, step, &Scope::default()) {
                    Ok(more) => Ok(more),
                    Err(StoreError::NotFound { .. }) => Err(step.id()),
                    // Damage is for others to name.
                    Err(e) if e.is_corrupt() => continue,
                    Err(e) => return Err(e.into()),
                },
            };
            match found {
                Ok(more) => stack.extend(more),
                Err(id) => {
                    promised.ids.insert(id);
                }
            }
        }
        Ok(promised)
    }
}
