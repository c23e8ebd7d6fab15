//! The environment that a commit records.

use std::path::{Path, PathBuf};

use modelv_core::env::{Env, Lock};
use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;

use crate::capture::{env, python};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::{Files, Rules};

/// Tells which packages are not what their names and versions say: nobody else can install them.
pub(crate) fn tell_patches(env: &Env, ctx: &Ctx<'_>) {
    for patch in &env.details.patched {
        ctx.progress.note(&format!(
            "{} was patched after it was installed ({}): no other machine has it so",
            patch.package,
            patch.shown()
        ));
    }
}

impl Repo {
    /// The environment as it is now.
    ///
    /// # Errors
    /// The named interpreter is missing or does not answer.
    pub fn capture_env(
        &self,
        files: &Files,
        rules: &Rules,
        explicit: Option<PathBuf>,
    ) -> Result<Env> {
        let locks = files
            .iter()
            .filter(|(path, _)| env::is_lock_file(path.name()))
            .map(|(path, file)| (path.clone(), file.blob))
            .collect();
        self.capture_env_with(locks, rules, explicit)
    }

    /// The interpreter whose packages a commit would record; `None`: there is none, or none is to be.
    pub(crate) fn python(&self) -> Result<Option<PathBuf>> {
        let rules = self.rules()?;
        if rules.env_capture() == "none" {
            return Ok(None);
        }
        let configured = self.config("env.python").or_else(|| rules.env_python());
        python::find(self.root(), None, configured.as_deref())
    }

    pub(super) fn capture_env_with(
        &self,
        locks: Vec<(RepoPath, BlobId)>,
        rules: &Rules,
        explicit: Option<PathBuf>,
    ) -> Result<Env> {
        if rules.env_capture() == "none" {
            return Ok(Env::none());
        }
        let configured = self.config("env.python").or_else(|| rules.env_python());
        let found = python::find(self.root(), explicit.as_deref(), configured.as_deref())?;
        let list = locks
            .into_iter()
            .map(|(path, blob)| Lock {
                path: path.as_bytes().to_vec(),
                blob,
            })
            .collect();
        self.capture_with_locks(found.as_deref(), list)
    }

    /// The environment of an interpreter as it is now, beside these lock files.
    pub(crate) fn capture_with_locks(&self, python: Option<&Path>, list: Vec<Lock>) -> Result<Env> {
        let read = |lock: &Lock| self.lock_content(lock);
        let locks = env::Locks { list, read: &read };
        env::capture_cached(&self.dir().join("envcache"), python, locks)
    }

    /// The content of a lock file, from the working tree where it is so there, else from the store.
    pub(crate) fn lock_content(&self, lock: &Lock) -> Option<Vec<u8>> {
        let path = RepoPath::new(lock.path.as_slice()).ok()?;
        let here = std::fs::read(crate::worktree::place(self.root(), &path)).ok();
        let here = here.filter(|bytes| BlobId::of(bytes) == lock.blob);
        here.or_else(|| self.read_blob(lock.blob).ok())
    }
}
