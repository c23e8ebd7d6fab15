//! Fetching external data that is not here: what is asked for by name wherever it is, the rest from addresses that
//! may be asked. One that can't be had keeps nobody from the others.

use std::collections::BTreeMap;

use modelv_core::path::RepoPath;

use super::allow::Word;
use super::{External, ExternalState, Pointer, pointer_of};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::place;

/// What a fetch of external data came to.
#[derive(Debug, Default)]
pub struct Fetched {
    /// What is in the working tree now.
    pub came: Vec<External>,
    /// What is not, and why.
    pub failed: Vec<(RepoPath, Error)>,
}

/// Whether somebody asked for this very file, by its own path or that of its description.
pub(super) fn is_named(path: &RepoPath, named: &[RepoPath]) -> bool {
    named.contains(path) || pointer_of(path).is_ok_and(|described| named.contains(&described))
}

/// Whose word it is that a file is fetched.
pub(super) fn word_of(path: &RepoPath, named: &[RepoPath]) -> Word {
    match is_named(path, named) {
        true => Word::User,
        false => Word::Commit,
    }
}

impl Repo {
    /// Fetches external data that is not in the working tree, or is there as HEAD describes it and not as the
    /// working tree does. Gives what came, and what did not. What is named by its own path is asked wherever it
    /// is, else only what may be.
    ///
    /// # Errors
    /// The working tree can't be read.
    pub fn fetch_externals(&mut self, paths: &[RepoPath], ctx: &Ctx<'_>) -> Result<Fetched> {
        let _turn = self.take_turn()?;
        let all = self.externals(paths, ctx)?;
        self.bring_externals(all, paths, ctx)
    }

    /// Fetches what a checkout would have brought: what was read once, and is described in the working tree.
    pub(crate) fn fetch_recorded(&mut self, ctx: &Ctx<'_>) -> Result<Fetched> {
        let mut files = self.snapshot(&self.rules()?, None, ctx)?.files;
        files.retain(|path, _| {
            super::is_name(path.name()) && super::is_pointer(&place(self.root(), path))
        });
        let recorded = self
            .described(&files)?
            .into_iter()
            .filter_map(|(base, ingredient, pointer)| Some((base, ingredient, pointer.ok()?)))
            .filter(|(.., pointer)| pointer.content.is_some());
        let all = self.states_of(recorded.collect(), &[], ctx)?;
        self.bring_externals(all, &[], ctx)
    }

    fn bring_externals(
        &self,
        mut out: Vec<External>,
        paths: &[RepoPath],
        ctx: &Ctx<'_>,
    ) -> Result<Fetched> {
        // A working tree that holds a part has no use for the data of the rest; and without its description beside
        // it, data would be committed as a file like others.
        let is_described = |path: &RepoPath| {
            let described = pointer_of(path).map(|p| place(self.root(), &p));
            described.is_ok_and(|p| p.symlink_metadata().is_ok())
        };
        out.retain(|e| {
            let is_wanted = is_named(&e.path, paths) || is_described(&e.path);
            e.state != ExternalState::Here && is_wanted
        });
        let head = self.files_or_none(self.head())?;
        // What HEAD describes can be had again: it may be written over.
        let before: BTreeMap<RepoPath, Pointer> = match out.is_empty() {
            true => BTreeMap::new(),
            false => {
                let found = self.described(&head)?.into_iter();
                found
                    .filter_map(|(base, _, p)| Some((base, p.ok()?)))
                    .collect()
            }
        };
        let allowed = self.allowed_externals();
        let bring = |external: &External| {
            let path = &external.path;
            if !is_described(path) {
                return Err(Error::State(format!(
                    "the description of `{path}` is a file that this working tree does not hold"
                )));
            }
            let word = word_of(path, paths);
            if word == Word::Commit {
                allowed.check(path, &external.pointer.url)?;
            }
            let staged = self.fetch_external(path, &external.pointer, word, ctx)?;
            self.put_in_place(path, &staged, before.get(path), ctx)
        };
        let mut fetched = Fetched::default();
        for external in out {
            match bring(&external) {
                Ok(()) => fetched.came.push(external),
                Err(e @ (Error::Cancelled | Error::Io { .. })) => return Err(e),
                // One that can't be had keeps nobody from the others.
                Err(e) => fetched.failed.push((external.path, e)),
            }
        }
        Ok(fetched)
    }
}
