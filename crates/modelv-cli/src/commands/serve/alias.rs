//! Following a name: which commit an alias or a branch leads to, again and again.

use std::path::PathBuf;
use std::time::Instant;

use modelv_repo::core::id::CommitId;
use modelv_repo::remote::FetchOptions;
use modelv_repo::{Ctx, Repo};
use modelv_serve::{Guard, ServeOptions, Source};

use super::{RETRY, Settings, golden, load};
use crate::error::CommandError;

/// Where an alias or a branch leads, here or on a remote.
pub(super) struct AliasSource {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) remote: Option<String>,
    pub(super) settings: Settings,
    /// The commit that was given out last.
    pub(super) seen: Option<CommitId>,
    /// The one before it, which serves on if the last is refused.
    pub(super) before: Option<CommitId>,
    /// A commit that could not be read, or does not serve, and when.
    pub(super) failed: Option<(CommitId, Instant)>,
}

impl AliasSource {
    /// The commit that the name leads to now.
    pub(super) fn find(&self) -> Result<CommitId, modelv_repo::Error> {
        let mut repo = Repo::discover(&self.dir)?;
        let Some(remote) = &self.remote else {
            return repo.resolve(&self.name);
        };
        let info = repo.remote(remote)?;
        repo.set_command(format!("serve --follow {}", self.name));
        repo.fetch(&info, &FetchOptions::default(), &Ctx::quiet())?;
        // The alias of the remote, not the one here: that may have moves which nobody has pushed.
        match repo.alias_of_remote(remote, &self.name) {
            Ok(last) => Ok(last.commit),
            // Only where there is no such alias: a damaged one is no reason to serve a branch of that name,
            // which no gates were asked about.
            Err(modelv_repo::Error::NotFound { what: "alias", .. }) => {
                repo.resolve(&format!("{remote}/{}", self.name))
            }
            Err(e) => Err(e),
        }
    }
}

impl Source for AliasSource {
    fn next(&mut self) -> Result<Option<(ServeOptions, Guard)>, String> {
        let id = self.find().map_err(|e| with_causes(&e))?;
        let is_failed = |(failed, at): &(CommitId, Instant)| *failed == id && at.elapsed() < RETRY;
        if self.seen == Some(id) || self.failed.as_ref().is_some_and(is_failed) {
            return Ok(None);
        }
        let repo = Repo::discover(&self.dir).map_err(|e| with_causes(&e))?;
        let loaded = load(&repo, &self.name, id, &self.settings, &Ctx::quiet());
        let loaded = loaded.and_then(|(mut options, guard)| {
            options.known = golden(&options.app_dir)?;
            Ok((options, guard))
        });
        match loaded {
            Ok(next) => {
                self.before = self.seen.replace(id);
                self.failed = None;
                Ok(Some(next))
            }
            Err(e) => {
                self.failed = Some((id, Instant::now()));
                Err(format!("commit {id}: {}", e.in_a_line()))
            }
        }
    }

    fn refused(&mut self) {
        let refused = std::mem::replace(&mut self.seen, self.before.take());
        self.failed = refused.map(|id| (id, Instant::now()));
    }
}

fn with_causes(e: &modelv_repo::Error) -> String {
    CommandError::failed(e, None).in_a_line()
}
