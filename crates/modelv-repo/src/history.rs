//! The history: commits in order, and which of them are wanted ([`filter`]).

use modelv_core::commit::Commit;
use modelv_core::graph::dag::{self, Order};
use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;

use crate::diff::Part;
use crate::error::Result;
use crate::names;
use crate::repo::Repo;
use crate::rev::Range;
use crate::runs::Condition;

pub(crate) mod filter;

use filter::Filter;
pub use filter::KeyFilter;

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
    /// Only commits whose last run fits all of these, and was of their own recipe.
    pub metrics: Vec<Condition>,
    /// Only commits whose author has this in name or address, in any case.
    pub author: Option<String>,
    /// Only commits whose message has this, in any case.
    pub message: Option<String>,
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
        let filter = Filter::new(self, options);
        let limit = options.limit.unwrap_or(usize::MAX);
        let mut out = Vec::new();
        let mut start = options.start.clone();
        // As long as there is one line, each commit says what comes next: for a few of them, no more
        // need be known.
        while let ([id], true) = (start.as_slice(), options.exclude.is_empty()) {
            let enough = options.limit.is_none() || out.len() >= limit;
            if enough {
                break;
            }
            let (id, commit) = (*id, self.commit_object(*id)?);
            start = self.parents_of_commit(&commit)?;
            if filter.wants(&commit)? {
                out.push((id, commit));
            }
        }
        if start.is_empty() || out.len() >= limit {
            return Ok(out);
        }
        let ids = [start.as_slice(), &options.exclude].concat();
        let rest = self.on_graph(&ids, |graph| {
            let places = |ids: &[CommitId]| -> Vec<u32> {
                ids.iter().filter_map(|id| graph.place(*id)).collect()
            };
            let mut rest = Vec::new();
            for at in Order::new(graph, &places(&start), &places(&options.exclude)) {
                let id = graph.id(at);
                let commit = self.commit_object(id)?;
                if filter.wants(&commit)? {
                    rest.push((id, commit));
                    if out.len() + rest.len() >= limit {
                        break;
                    }
                }
            }
            Ok(rest)
        })?;
        out.extend(rest);
        Ok(out)
    }

    /// All commits that a branch, a tag, a branch of a remote or HEAD names, each once.
    #[must_use]
    pub fn tips(&self) -> Vec<CommitId> {
        let prefixes = [names::HEADS, names::TAGS, names::REMOTES];
        let named = prefixes.into_iter().flat_map(|p| self.refs_below(p));
        let mut tips: Vec<CommitId> = named.map(|(_, id)| id).chain(self.head()).collect();
        tips.sort();
        tips.dedup();
        tips
    }

    /// Whether a branch, a tag or a branch of a remote leads to a commit: what is on none is kept only as
    /// long as it can be undone.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn is_named(&self, id: CommitId) -> Result<bool> {
        let prefixes = [names::HEADS, names::TAGS, names::REMOTES];
        let named = prefixes.into_iter().flat_map(|p| self.refs_below(p));
        let apart = LogOptions {
            start: vec![id],
            exclude: named.map(|(_, id)| id).collect(),
            limit: Some(1),
            ..LogOptions::default()
        };
        Ok(self.history(&apart)?.is_empty())
    }

    /// The best common ancestors of two commits.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn merge_bases(&self, a: CommitId, b: CommitId) -> Result<Vec<CommitId>> {
        self.on_graph(&[a, b], |graph| {
            let (Some(x), Some(y)) = (graph.place(a), graph.place(b)) else {
                return Ok(Vec::new());
            };
            let found = dag::merge_bases(graph, x, y).into_iter();
            // Sorted, so that a criss-cross history gives the same answer from both sides.
            let mut bases: Vec<CommitId> = found.map(|at| graph.id(at)).collect();
            bases.sort();
            Ok(bases)
        })
    }

    /// How many commits each of two has that the other has not.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub(crate) fn apart(&self, ours: CommitId, theirs: CommitId) -> Result<(usize, usize)> {
        if ours == theirs {
            return Ok((0, 0));
        }
        self.on_graph(&[ours, theirs], |graph| {
            let (Some(x), Some(y)) = (graph.place(ours), graph.place(theirs)) else {
                return Ok((0, 0));
            };
            let only = |a, b| Order::new(graph, &[a], &[b]).count();
            Ok((only(x, y), only(y, x)))
        })
    }

    /// Whether a commit is another one, or lies before it.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub(crate) fn is_before(&self, old: CommitId, new: CommitId) -> Result<bool> {
        Ok(self.merge_bases(old, new)? == [old])
    }
}
