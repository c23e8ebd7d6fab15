//! What the external data in the working tree holds: hashed once, then known by the stamps of the files.
//! In a stat cache of its own, for the walk of the working tree leaves these files out.

use std::path::PathBuf;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;

use crate::ctx::Ctx;
use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::{SnapFile, StatCache, StatStamp, hash_file, place};

/// Its name in the repository.
pub(crate) const NAME: &str = "externalcache";

/// What is known, and what was learnt.
pub(super) struct Seen {
    path: PathBuf,
    cache: StatCache,
}

impl Repo {
    pub(super) fn seen(&self) -> Seen {
        let path = self.dir().join(NAME);
        Seen {
            cache: StatCache::load(&path),
            path,
        }
    }
}

impl Seen {
    /// What is at a place; `None`: no file.
    pub(super) fn look(
        &mut self,
        repo: &Repo,
        base: &RepoPath,
        ctx: &Ctx<'_>,
    ) -> Result<Option<SnapFile>> {
        let full = place(repo.root(), base);
        if std::fs::symlink_metadata(&full).is_err() {
            return Ok(None);
        }
        let known = |stamp: &StatStamp| self.cache.content(base, stamp);
        let Some((stamp, file)) = hash_file(repo.root(), base, &known, None, ctx)? else {
            return Ok(None);
        };
        if known(&stamp).is_none() {
            self.cache.insert(base, stamp, file.blob);
        }
        Ok(Some(file))
    }

    pub(super) fn insert(&mut self, base: &RepoPath, stamp: StatStamp, content: BlobId) {
        self.cache.insert(base, stamp, content);
    }

    /// A cache that can't be written makes the next look slower, nothing else.
    pub(super) fn save(&self) {
        let _ = self.cache.save(&self.path);
    }
}
