//! The history: commits in order, and which of them are wanted ([`filter`]).

use std::collections::{BinaryHeap, HashMap, HashSet};

use modelv_core::commit::Commit;
use modelv_core::graph;
use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;

use crate::error::Result;
use crate::repo::Repo;
use crate::rev::Range;
use crate::runs::Condition;

pub(crate) mod filter;

use filter::Filter;
pub use filter::{KeyFilter, Part};

/// Which commits `log` gives.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Where to start.
    pub start: Vec<CommitId>,
    /// Commits whose ancestors are left out.
    pub exclude: Vec<CommitId>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Only commits that change something at or below these paths.
    pub paths: Vec<RepoPath>,
    /// Only commits that change one of these.
    pub parts: Vec<Part>,
    /// Only commits that change all these keys of the configuration.
    pub keys: Vec<KeyFilter>,
    /// Only commits whose last run fits all of these.
    pub metrics: Vec<Condition>,
    /// Only commits whose author has this in name or address, in any case.
    pub author: Option<String>,
    /// Not those before, in seconds since 1970.
    pub since: Option<i64>,
    /// Not those after, likewise.
    pub until: Option<i64>,
}

impl Repo {
    /// What `A`, `A..B` or `A...B` names, as options without a limit or paths.
    ///
    /// # Errors
    /// As [`Repo::resolve`].
    pub fn span(&self, text: &str) -> Result<LogOptions> {
        let (start, exclude) = match self.resolve_range(text)? {
            Range::One(id) => (vec![id], vec![]),
            Range::Two(a, b) => (vec![b], vec![a]),
            Range::FromBase(a, b) => (vec![a, b], self.merge_bases(a, b)?),
        };
        Ok(LogOptions {
            start,
            exclude,
            ..LogOptions::default()
        })
    }

    /// Commits, children before parents, newest first among those that are free to come.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn history(&self, options: &LogOptions) -> Result<Vec<(CommitId, Commit)>> {
        let parents = |id| self.parents_of(id);
        let hidden = graph::ancestors(&options.exclude, parents)?;
        let mut commits: HashMap<CommitId, Commit> = HashMap::new();
        let mut children: HashMap<CommitId, usize> = HashMap::new();
        let mut stack: Vec<CommitId> = options.start.clone();
        let mut seen: HashSet<CommitId> = HashSet::new();
        while let Some(id) = stack.pop() {
            if hidden.contains(&id) || !seen.insert(id) {
                continue;
            }
            let commit = self.commit_object(id)?;
            for parent in &self.parents_of_commit(&commit)? {
                *children.entry(*parent).or_default() += 1;
                stack.push(*parent);
            }
            commits.insert(id, commit);
        }
        let mut ready: BinaryHeap<(i64, CommitId)> = commits
            .iter()
            .filter(|(id, _)| !children.contains_key(id))
            .map(|(id, c)| (c.time.seconds, *id))
            .collect();
        let filter = Filter::new(self, options);
        let mut out = Vec::new();
        while let Some((_, id)) = ready.pop() {
            let Some(commit) = commits.remove(&id) else {
                continue;
            };
            for parent in &commit.parents {
                if let Some(left) = children.get_mut(parent) {
                    *left -= 1;
                    if *left == 0
                        && let Some(c) = commits.get(parent)
                    {
                        ready.push((c.time.seconds, *parent));
                    }
                }
            }
            if filter.wants(&commit)? {
                out.push((id, commit));
                if options.limit.is_some_and(|l| out.len() >= l) {
                    break;
                }
            }
        }
        Ok(out)
    }

    /// The best common ancestors of two commits.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn merge_bases(&self, a: CommitId, b: CommitId) -> Result<Vec<CommitId>> {
        graph::merge_bases(a, b, |id| self.parents_of(id))
    }
}
