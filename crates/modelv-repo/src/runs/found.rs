//! The runs that fit a query: in short, as they are listed, or loaded one after another. Must never hold more than
//! one loaded run.

use std::collections::BTreeSet;

use modelv_core::id::RunId;
use modelv_core::run::Run;

use super::{Field, RunIndex, RunLine, RunQuery};
use crate::error::Result;
use crate::repo::Repo;

/// Runs that were found, in order.
pub struct FoundRuns<'r> {
    repo: &'r Repo,
    index: RunIndex,
    places: Vec<usize>,
}

impl<'r> FoundRuns<'r> {
    pub(super) fn new(repo: &'r Repo, query: &RunQuery) -> Result<Self> {
        let index = repo.run_index()?;
        let places = index.find(repo, query)?;
        Ok(Self {
            repo,
            index,
            places,
        })
    }

    /// Each in short, without loading it.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = RunLine<'_>> {
        let entries = self.places.iter().filter_map(|at| self.index.entry(*at));
        entries.map(RunLine::new)
    }

    /// Keys of all their parameters or metrics.
    #[must_use]
    pub fn keys(&self, field: Field) -> BTreeSet<&str> {
        let entries = self.places.iter().filter_map(|at| self.index.entry(*at));
        entries.flat_map(|entry| entry.keys(field)).collect()
    }

    /// Loads one after another. An item is an error where a run is missing or damaged.
    pub fn runs(&self) -> impl Iterator<Item = Result<(RunId, Run)>> {
        let ids = self.lines().map(|line| line.id());
        ids.map(|id| Ok((id, self.repo.run_object(id)?)))
    }
}
