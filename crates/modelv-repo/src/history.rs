//! The history: commits in order, filtered by path.

use std::collections::{BinaryHeap, HashMap, HashSet};

use modelv_core::commit::Commit;
use modelv_core::graph;
use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use modelv_core::tree;

use crate::error::Result;
use crate::repo::Repo;
use crate::rev::Range;

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
            let parents = self.parents_of(id)?;
            for parent in &parents {
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
            if self.touches(&commit, &options.paths)? {
                out.push((id, commit));
                if options.limit.is_some_and(|l| out.len() >= l) {
                    break;
                }
            }
        }
        Ok(out)
    }

    /// Whether a commit differs from every parent below one of `paths`.
    fn touches(&self, commit: &Commit, paths: &[RepoPath]) -> Result<bool> {
        if paths.is_empty() {
            return Ok(true);
        }
        let parents = self.parents_of(commit.id())?;
        if parents.is_empty() {
            return self.differs(None, commit, paths);
        }
        for parent in &parents {
            let parent = self.commit_object(*parent)?;
            if !self.differs(Some(&parent), commit, paths)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn differs(&self, old: Option<&Commit>, new: &Commit, paths: &[RepoPath]) -> Result<bool> {
        // What a path names in any of the trees of a commit; equal ids mean equal content below.
        let roots = |c: &Commit| {
            let r = c.recipe;
            [
                Some(r.code),
                Some(r.data),
                Some(r.config),
                c.model.map(|m| m.tree),
            ]
        };
        for path in paths {
            for (i, root) in roots(new).into_iter().enumerate() {
                let entry = |root| tree::find(&self.store, root, path);
                let now = root.map(entry).transpose()?.flatten();
                let before = old
                    .and_then(|o| roots(o)[i])
                    .map(entry)
                    .transpose()?
                    .flatten();
                if now != before {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The best common ancestors of two commits.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn merge_bases(&self, a: CommitId, b: CommitId) -> Result<Vec<CommitId>> {
        graph::merge_bases(a, b, |id| self.parents_of(id))
    }
}
