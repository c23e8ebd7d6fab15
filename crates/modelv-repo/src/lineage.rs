//! Lineage, both ways: what made a content or a commit, and what was made of it. Found in the records of
//! runs and in commits; reads only, and guesses nothing: what no record says is not claimed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use modelv_core::canon;
use modelv_core::commit::Commit;
use modelv_core::id::{BlobId, CommitId, RunId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::run::Run;
use modelv_core::tree::{self, Node};

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;
use crate::worktree::hash_file;

/// Fewest digits that name a content.
const PREFIX_MIN: usize = 8;

/// What a lineage is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A content, and the path it was named by.
    Content(BlobId, Option<RepoPath>),
    /// A commit.
    Commit(CommitId),
}

/// A file that a run read, with what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path.
    pub path: RepoPath,
    /// Its content.
    pub blob: BlobId,
    /// Runs that made this content.
    pub made_by: Vec<RunId>,
}

/// A run, as a part of a lineage.
#[derive(Debug, Clone)]
pub struct RunLink {
    /// The run.
    pub id: RunId,
    /// Its content.
    pub run: Run,
    /// Where the content is in what it made or read; `None`: it is about a commit.
    pub path: Option<RepoPath>,
    /// Data, or declared inputs, that it read. Only for runs that made something.
    pub sources: Vec<Source>,
}

/// A commit, as a part of a lineage.
#[derive(Debug, Clone)]
pub struct CommitLink {
    /// The commit.
    pub id: CommitId,
    /// Its content.
    pub commit: Commit,
    /// Where the content is in it.
    pub path: Option<RepoPath>,
}

/// What led to something, and what it led to.
#[derive(Debug)]
pub struct Lineage {
    /// What it is of.
    pub subject: Subject,
    /// Runs that made it, newest first.
    pub made_by: Vec<RunLink>,
    /// Commits that hold it as a model, or that it follows, newest first.
    pub made_in: Vec<CommitLink>,
    /// Runs that read it, or that began from it, newest first.
    pub used_by: Vec<RunLink>,
    /// Commits that hold it as an ingredient, or follow it, newest first.
    pub used_in: Vec<CommitLink>,
}

/// Where a content is in trees; each directory is looked at once.
struct Finder<'a> {
    repo: &'a Repo,
    blob: BlobId,
    known: HashMap<TreeId, Option<Vec<u8>>>,
}

impl Finder<'_> {
    /// A path of the content at or below a directory. What is not in this clone does not hold it.
    fn find(&mut self, id: TreeId) -> Option<Vec<u8>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let node: Option<Node> = canon::load(&self.repo.store, &id.0).ok();
        let found = match node {
            None => None,
            Some(Node::Inner { children, .. }) => children.iter().find_map(|c| self.find(c.id)),
            Some(Node::Leaf(entries)) => entries.iter().find_map(|entry| match entry.tree_id() {
                Some(below) => {
                    let rest = self.find(below)?;
                    Some([entry.name.as_slice(), b"/", &rest].concat())
                }
                None => (entry.blob_id() == Some(self.blob)).then(|| entry.name.clone()),
            }),
        };
        self.known.insert(id, found.clone());
        found
    }

    fn path(&mut self, trees: impl IntoIterator<Item = TreeId>) -> Option<RepoPath> {
        let found = trees.into_iter().find_map(|tree| self.find(tree));
        found.and_then(|path| RepoPath::new(path).ok())
    }
}

/// What a run read: declared inputs of a stage, else its data.
fn read_by(run: &Run) -> Option<TreeId> {
    let origin = &run.origin;
    let stage = origin.stage.as_ref().map(|s| s.inputs);
    stage.or(origin.ingredients.map(|r| r.data))
}

fn ingredients_of(run: &Run) -> Vec<TreeId> {
    let recipe = run.origin.ingredients;
    let trees = recipe.into_iter().flat_map(|r| [r.code, r.data, r.config]);
    match &run.origin.stage {
        // A stage reads what it declares, whatever else lies there.
        Some(stage) => vec![stage.inputs],
        None => trees.collect(),
    }
}

impl Repo {
    /// What led to a content or a commit, and what it led to. `name` is a path, `REV:PATH`, a revision, or
    /// the digits of a content's id.
    ///
    /// # Errors
    /// There is no such thing, or something can't be read.
    pub fn lineage(&self, name: &str, path: Option<&RepoPath>, ctx: &Ctx<'_>) -> Result<Lineage> {
        let runs = self.runs()?;
        let commits = self.named_commits()?;
        match self.subject(name, path, &runs, &commits, ctx)? {
            Subject::Commit(id) => self.lineage_of_commit(id, runs, commits),
            Subject::Content(blob, path) => self.lineage_of_content(blob, path, runs, commits, ctx),
        }
    }

    /// Commits that branches, tags and remotes lead to, newest first.
    fn named_commits(&self) -> Result<Vec<(CommitId, Commit)>> {
        let below = [names::HEADS, names::TAGS, names::REMOTES];
        let mut stack: Vec<CommitId> = below
            .iter()
            .flat_map(|prefix| self.refs_below(prefix))
            .map(|(_, id)| id)
            .chain(self.head())
            .collect();
        let (mut seen, mut out) = (HashSet::new(), Vec::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let commit = match self.commit_object(id) {
                Ok(commit) => commit,
                // A clone of one commit lacks those before.
                Err(_) if self.is_partial() => continue,
                Err(e) => return Err(e),
            };
            stack.extend(&commit.parents);
            out.push((id, commit));
        }
        out.sort_by_key(|(id, c)| (std::cmp::Reverse(c.time.seconds), *id));
        Ok(out)
    }

    fn subject(
        &self,
        name: &str,
        path: Option<&RepoPath>,
        runs: &[(RunId, Run)],
        commits: &[(CommitId, Commit)],
        ctx: &Ctx<'_>,
    ) -> Result<Subject> {
        if let Some((rev, path)) = name.split_once(':') {
            let path = RepoPath::new(path)?;
            let files = self.files(self.resolve(rev)?)?;
            let file = files
                .get(&path)
                .ok_or_else(|| Error::not_found("path", name))?;
            return Ok(Subject::Content(file.blob, Some(path)));
        }
        if let Some(path) = path {
            if crate::worktree::place(self.root(), path).is_file() {
                let found = hash_file(self.root(), path, &|_| None, None, ctx)?;
                let (_, file) = found.ok_or_else(|| Error::not_found("path", name))?;
                return Ok(Subject::Content(file.blob, Some(path.clone())));
            }
            if let Some(head) = self.head()
                && let Some(file) = self.files(head)?.get(path)
            {
                return Ok(Subject::Content(file.blob, Some(path.clone())));
            }
        }
        match self.resolve(name) {
            Ok(id) => Ok(Subject::Commit(id)),
            Err(e) => match self.content(name, runs, commits)? {
                Some(blob) => Ok(Subject::Content(blob, None)),
                None => Err(e),
            },
        }
    }

    /// The one content of runs and commits whose id begins with these digits.
    fn content(
        &self,
        name: &str,
        runs: &[(RunId, Run)],
        commits: &[(CommitId, Commit)],
    ) -> Result<Option<BlobId>> {
        let is_hex = name.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || !(PREFIX_MIN..=64).contains(&name.len()) {
            return Ok(None);
        }
        let prefix = name.to_ascii_lowercase();
        let of_runs = runs
            .iter()
            .flat_map(|(_, run)| ingredients_of(run).into_iter().chain(run.outputs));
        let of_commits = commits.iter().flat_map(|(_, c)| {
            let model = c.model.map(|m| m.tree);
            [c.recipe.code, c.recipe.data, c.recipe.config]
                .into_iter()
                .chain(model)
        });
        let (mut seen, mut found) = (HashSet::new(), BTreeSet::new());
        let mut stack: Vec<TreeId> = of_runs.chain(of_commits).collect();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            match canon::load::<Node, _>(&self.store, &id.0) {
                Err(_) => {}
                Ok(Node::Inner { children, .. }) => stack.extend(children.iter().map(|c| c.id)),
                Ok(Node::Leaf(entries)) => {
                    stack.extend(entries.iter().filter_map(tree::Entry::tree_id));
                    let blobs = entries.iter().filter_map(tree::Entry::blob_id);
                    found.extend(blobs.filter(|b| b.to_hex().starts_with(&prefix)));
                }
            }
        }
        let candidates: Vec<String> = found.iter().map(BlobId::short).collect();
        match found.len() {
            0 => Ok(None),
            1 => Ok(found.pop_first()),
            _ => Err(Error::Ambiguous {
                name: name.into(),
                candidates,
            }),
        }
    }

    fn lineage_of_content(
        &self,
        blob: BlobId,
        path: Option<RepoPath>,
        runs: Vec<(RunId, Run)>,
        commits: Vec<(CommitId, Commit)>,
        ctx: &Ctx<'_>,
    ) -> Result<Lineage> {
        let mut finder = Finder {
            repo: self,
            blob,
            known: HashMap::new(),
        };
        let mut out = Lineage::new(Subject::Content(blob, path));
        for (id, run) in &runs {
            ctx.cancel.check()?;
            let read = finder.path(ingredients_of(run));
            let made = finder.path(run.outputs).filter(|_| read.is_none());
            // What a pipeline made, one of its stages did.
            let is_whole = run.command == crate::pipeline::COMMAND;
            if let Some(path) = made.filter(|_| !is_whole) {
                // Who found it there and left it alone did not make it.
                if finder.path(self.model_before(run)).is_none() {
                    let sources = self.sources(run, &runs)?;
                    out.made_by
                        .push(RunLink::new(*id, run, Some(path), sources));
                }
            }
            if let Some(path) = read {
                out.used_by
                    .push(RunLink::new(*id, run, Some(path), Vec::new()));
            }
        }
        for (id, commit) in commits {
            let recipe = commit.recipe;
            let made = finder.path(commit.model.map(|m| m.tree));
            let used = finder.path([recipe.code, recipe.data, recipe.config]);
            let link = |path, commit: &Commit| CommitLink {
                id,
                commit: commit.clone(),
                path: Some(path),
            };
            out.made_in.extend(made.map(|p| link(p, &commit)));
            out.used_in.extend(used.map(|p| link(p, &commit)));
        }
        Ok(out)
    }

    /// The model that lay there when a run began; `None` for one that began in a folder without.
    fn model_before(&self, run: &Run) -> Option<TreeId> {
        let origin = &run.origin;
        let is_clean =
            origin.stage.is_some() || origin.parent.is_some() || origin.repeats.is_some();
        let began = run.commit.filter(|_| !is_clean)?;
        // A partial clone may lack it: then nothing is known of it.
        self.commit_object(began).ok()?.model.map(|m| m.tree)
    }

    fn lineage_of_commit(
        &self,
        id: CommitId,
        runs: Vec<(RunId, Run)>,
        commits: Vec<(CommitId, Commit)>,
    ) -> Result<Lineage> {
        let commit = self.commit_object(id)?;
        let mut out = Lineage::new(Subject::Commit(id));
        for run_id in commit.runs.iter().rev() {
            let run = self.run_object(*run_id)?;
            let sources = self.sources(&run, &runs)?;
            out.made_by.push(RunLink::new(*run_id, &run, None, sources));
        }
        for parent in &commit.parents {
            if let Ok(before) = self.commit_object(*parent) {
                out.made_in.push(CommitLink {
                    id: *parent,
                    commit: before,
                    path: None,
                });
            }
        }
        let own = |run: &RunId| commit.runs.contains(run);
        for (run_id, run) in &runs {
            let repeats = run.origin.repeats.as_ref().is_some_and(own);
            if (run.commit == Some(id) || repeats) && !own(run_id) {
                out.used_by
                    .push(RunLink::new(*run_id, run, None, Vec::new()));
            }
        }
        out.used_in = commits
            .into_iter()
            .filter(|(_, c)| c.parents.contains(&id))
            .map(|(id, commit)| CommitLink {
                id,
                commit,
                path: None,
            })
            .collect();
        Ok(out)
    }

    /// The files that a run read, and the runs that made them.
    fn sources(&self, run: &Run, runs: &[(RunId, Run)]) -> Result<Vec<Source>> {
        let Some(tree) = read_by(run) else {
            return Ok(Vec::new());
        };
        let listed = match tree::list(&self.store, tree) {
            Ok(listed) => listed,
            Err(_) if self.is_partial() => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut makers: BTreeMap<BlobId, Vec<RunId>> = BTreeMap::new();
        // Only stages make what others read.
        for (id, other) in runs.iter().filter(|(_, r)| r.origin.stage.is_some()) {
            let made = other.outputs.map(|t| tree::list(&self.store, t));
            for file in made.transpose().unwrap_or_default().unwrap_or_default() {
                makers.entry(file.blob).or_default().push(*id);
            }
        }
        let source = |file: tree::FileEntry| Source {
            made_by: makers.get(&file.blob).cloned().unwrap_or_default(),
            path: file.path,
            blob: file.blob,
        };
        Ok(listed.into_iter().map(source).collect())
    }
}

impl Lineage {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            made_by: Vec::new(),
            made_in: Vec::new(),
            used_by: Vec::new(),
            used_in: Vec::new(),
        }
    }
}

impl RunLink {
    fn new(id: RunId, run: &Run, path: Option<RepoPath>, sources: Vec<Source>) -> Self {
        Self {
            id,
            run: run.clone(),
            path,
            sources,
        }
    }
}
