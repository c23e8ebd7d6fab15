//! What an object leads to: commits to trees, environments and runs, trees to contents.

use std::collections::{BTreeSet, HashSet};

use modelv_core::canon::{self, Kind, Source};
use modelv_core::commit::Commit;
use modelv_core::id::{BlobId, CommitId, RunId, TreeId};
use modelv_core::run::Run;
use modelv_core::tree::Node;
use modelv_store::remote::Item;

use crate::error::Error;
use crate::worktree::Ingredient;

/// How much of a commit is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Leave parents out.
    pub(crate) single: bool,
    /// So many commits from each tip on at most; `None`: all.
    pub(crate) depth: Option<u32>,
    /// That deep also behind what is here already.
    pub(crate) deepens: bool,
    /// What is wanted of each commit is more than before: also of those that are here already.
    pub(crate) widens: bool,
    /// Contents of these ingredients only; `None`: all, and what runs printed.
    pub(crate) only: Option<BTreeSet<Ingredient>>,
    /// Contents of files smaller than this only.
    pub(crate) under: Option<u64>,
}

impl Scope {
    fn takes_size(&self, bytes: u64) -> bool {
        self.under.is_none_or(|limit| bytes < limit)
    }

    fn takes(&self, ingredient: Ingredient) -> bool {
        self.only.as_ref().is_none_or(|o| o.contains(&ingredient))
    }
}

/// An object on the way, with what is wanted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Commit(CommitId),
    Env([u8; 32]),
    Run(RunId),
    /// A tree node, and whether the contents below it are wanted.
    Tree(TreeId, bool),
    /// A content and its size.
    Blob(BlobId, u64),
}

impl Step {
    /// Its id.
    pub(crate) fn id(self) -> [u8; 32] {
        match self {
            Self::Commit(id) => id.0,
            Self::Run(id) => id.0,
            Self::Tree(id, _) => id.0,
            Self::Blob(id, _) => id.0,
            Self::Env(id) => id,
        }
    }

    pub(crate) fn item(self) -> Item {
        match self {
            Self::Commit(id) => Item::Object(Kind::Commit, id.0),
            Self::Env(id) => Item::Object(Kind::Env, id),
            Self::Run(id) => Item::Object(Kind::Run, id.0),
            Self::Tree(id, _) => Item::Object(Kind::Tree, id.0),
            Self::Blob(id, _) => Item::Blob(id),
        }
    }
}

/// What one object leads to.
pub(crate) fn below<S: Source + ?Sized>(
    source: &S,
    step: Step,
    scope: &Scope,
) -> Result<Vec<Step>, S::Error> {
    Ok(match step {
        Step::Commit(id) => below_commit(&canon::load(source, &id.0)?, scope),
        Step::Run(id) => below_run(&canon::load(source, &id.0)?, scope),
        Step::Tree(id, contents) => match canon::load(source, &id.0)? {
            Node::Inner { children, .. } => children
                .iter()
                .map(|c| Step::Tree(c.id, contents))
                .collect(),
            Node::Leaf(entries) => entries
                .iter()
                .filter_map(|e| match e.tree_id() {
                    Some(id) => Some(Step::Tree(id, contents)),
                    None if contents && scope.takes_size(e.size) => {
                        e.blob_id().map(|id| Step::Blob(id, e.size))
                    }
                    None => None,
                })
                .collect(),
        },
        Step::Env(_) | Step::Blob(..) => Vec::new(),
    })
}

fn below_commit(commit: &Commit, scope: &Scope) -> Vec<Step> {
    let recipe = commit.recipe;
    let tree = |id, ingredient| Step::Tree(id, scope.takes(ingredient));
    let mut out = vec![
        Step::Env(recipe.env.0),
        tree(recipe.code, Ingredient::Code),
        tree(recipe.data, Ingredient::Data),
        tree(recipe.config, Ingredient::Config),
    ];
    out.extend(commit.model.map(|m| tree(m.tree, Ingredient::Model)));
    out.extend(commit.runs.iter().map(|id| Step::Run(*id)));
    if !scope.single {
        out.extend(commit.parents.iter().map(|id| Step::Commit(*id)));
    }
    out
}

fn below_run(run: &Run, scope: &Scope) -> Vec<Step> {
    if scope.only.is_some() {
        return Vec::new();
    }
    let origin = &run.origin;
    let inputs = origin.stage.as_ref().map(|s| s.inputs);
    let ingredients = origin.ingredients.into_iter();
    let trees = ingredients
        .clone()
        .flat_map(|r| [r.code, r.data, r.config])
        .chain(inputs)
        .chain(run.outputs);
    // Sizes of what a run printed are not recorded; they count nothing in a bar.
    let blobs = [run.log, run.series].into_iter().flatten();
    blobs
        .map(|id| Step::Blob(id, 0))
        .chain(trees.map(|id| Step::Tree(id, true)))
        .chain(ingredients.map(|r| Step::Env(r.env.0)))
        .collect()
}

/// Goes down from `start`, depth first. `enter` says whether to go on below an object; it is asked
/// once for each.
pub(crate) fn walk<S: Source + ?Sized, E>(
    source: &S,
    start: impl IntoIterator<Item = CommitId>,
    scope: &Scope,
    enter: &mut dyn FnMut(Step) -> Result<bool, E>,
) -> Result<(), E>
where
    E: From<Error>,
    Error: From<S::Error>,
{
    let mut seen: HashSet<Step> = HashSet::new();
    let mut stack: Vec<Step> = start.into_iter().map(Step::Commit).collect();
    stack.reverse();
    while let Some(step) = stack.pop() {
        if !seen.insert(step) || !enter(step)? {
            continue;
        }
        let mut next = below(source, step, scope).map_err(Error::from)?;
        next.reverse();
        stack.extend(next);
    }
    Ok(())
}
