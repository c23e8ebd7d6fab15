//! Commits: what the working tree holds becomes one.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use modelv_core::canon;
use modelv_core::commit::{Commit, Model, Person, Recipe};
use modelv_core::env::Env;
use modelv_core::id::{CommitId, RecipeId, RunId};
use modelv_core::path::RepoPath;
use modelv_store::Session;

use crate::capture::{clock, env, git};
use crate::ctx::Ctx;
use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::external::{self, External};
use crate::hooks::Hook;
use crate::names;
use crate::repo::Repo;
use crate::worktree::{
    FileChange, Files, Ingredient, Keep, Look, Rules, Scope, Since, Skipped, Snapshot, Trees,
    compare, look, patch_trees, write_trees,
};

mod environment;
mod status;

pub(crate) use environment::tell_patches;
pub use status::{ModelState, Status, model_state};

/// What `commit` is asked for.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Never blank.
    pub message: String,
    /// `Name <mail>`, before all other sources.
    pub author: Option<String>,
    /// Take only what lies at or below these paths; empty: everything.
    pub paths: Vec<RepoPath>,
    /// The interpreter whose environment is captured.
    pub python: Option<PathBuf>,
    /// Commit even when nothing differs.
    pub allow_empty: bool,
    /// Commit even what looks like a credential.
    pub allow_secret: bool,
    /// Run no hooks.
    pub no_hooks: bool,
}

/// What a commit took.
#[derive(Debug)]
pub struct Committed {
    /// The new commit.
    pub id: CommitId,
    /// Its recipe.
    pub recipe: RecipeId,
    /// Whether it has no parent.
    pub is_first: bool,
    /// Files against the first parent.
    pub changes: Vec<FileChange>,
    /// Environment against the first parent.
    pub env: Vec<EnvChange>,
    /// Paths that can't be versioned, with the reason.
    pub skipped: Vec<Skipped>,
    /// External data in the working tree.
    pub externals: Vec<External>,
}

impl Repo {
    fn look(&self, keep: Option<Keep<'_>>, ctx: &Ctx<'_>) -> Result<Look> {
        if self.is_bare() {
            let text = "this is a bare repository: it has no working tree";
            return Err(Error::State(text.into()));
        }
        look(self.root(), &self.stat_cache(), keep, &self.store, ctx)
    }

    fn files_of_look(&self, look: &Look, rules: &Rules) -> Result<Files> {
        let mut files = look.files(rules)?;
        self.add_absent(&mut files)?;
        Ok(files)
    }

    pub(crate) fn snapshot(
        &self,
        rules: &Rules,
        session: Option<&Session<'_>>,
        ctx: &Ctx<'_>,
    ) -> Result<Snapshot> {
        // Read only when a large file is stored.
        let head = OnceCell::new();
        let read = || self.head().and_then(|id| self.files(id).ok());
        let head = || head.get_or_init(read).as_ref();
        let keep = session.map(|session| Keep {
            session,
            head: &head,
            mark: None,
        });
        let look = self.look(keep, ctx)?;
        // A cache that can't be written makes the next call slower, nothing else.
        let _ = look.save(&self.stat_cache_path(), None);
        Ok(Snapshot {
            files: self.files_of_look(&look, rules)?,
            skipped: look.skipped,
        })
    }

    /// In a clone that holds a part, what it leaves out is not in the working tree, but it is not
    /// deleted either: it is as HEAD has it.
    fn add_absent(&self, files: &mut Files) -> Result<()> {
        if let (Some(held), Some(head)) = (self.tree_part(), self.head()) {
            for (path, file) in self.files(head)? {
                if !held.holds(&path, &file) {
                    files.entry(path).or_insert(file);
                }
            }
        }
        Ok(())
    }

    /// Commits the working tree, or the part of it that `options.paths` name.
    ///
    /// # Errors
    /// Nothing differs, the message is blank, conflicts are open, nobody said who commits, or a
    /// file can't be read. Nothing has changed then.
    pub fn commit(&mut self, options: &CommitOptions, ctx: &Ctx<'_>) -> Result<Committed> {
        check_message(&options.message)?;
        if !options.no_hooks {
            self.run_hooks(Hook::PreCommit, &[], "", ctx)?;
        }
        let done = self.commit_in_turn(options, ctx)?;
        if !options.no_hooks {
            self.after_commit(done.id, ctx);
        }
        Ok(done)
    }

    /// Nobody else changes the working tree while it is read, and HEAD is where it is then: what a
    /// `switch` brings must not become a commit of the branch before.
    fn commit_in_turn(&mut self, options: &CommitOptions, ctx: &Ctx<'_>) -> Result<Committed> {
        let _turn = self.take_turn()?;
        match self.commit_once(options, ctx) {
            // What it found in the store was collected before it could name it: stored again.
            Err(Error::Collected { .. }) => self.commit_once(options, ctx),
            done => done,
        }
    }

    pub(crate) fn commit_once(
        &mut self,
        options: &CommitOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Committed> {
        if let Some(state) = self.merge_state()? {
            if !options.paths.is_empty() {
                let text = "a merge is not finished: it can't be committed in parts";
                return Err(Error::State(text.into()));
            }
            return self.conclude_merge(state, options, ctx);
        }
        let author = self.author(options.author.as_deref())?;
        let rules = self.rules()?;
        let head = self.head();
        let parent = head.map(|id| self.commit_object(id)).transpose()?;
        let taken = self.take(parent.as_ref(), options, &rules, ctx)?;
        let Taken { recipe, model, .. } = taken;
        let commit = Commit {
            recipe,
            model,
            parents: head.into_iter().collect(),
            author: author.clone(),
            committer: author,
            time: clock::now(),
            message: options.message.trim().to_owned(),
            runs: kept_runs(parent.as_ref(), model),
            extra: git::facts(self.root()),
        };
        let id = self.publish(&commit, Vec::new(), false)?;
        let env = match &parent {
            Some(p) => diff_env(
                &self.env_object(p.recipe.env)?,
                &self.env_object(recipe.env)?,
            ),
            None => diff_env(&Env::none(), &self.env_object(recipe.env)?),
        };
        Ok(Committed {
            id,
            recipe: recipe.id(),
            is_first: parent.is_none(),
            changes: compare(&taken.since.old, &taken.since.new),
            env,
            skipped: taken.skipped,
            externals: taken.externals,
        })
    }

    /// Stores what the working tree holds, durably; no name points to it yet.
    fn take(
        &self,
        parent: Option<&Commit>,
        options: &CommitOptions,
        rules: &Rules,
        ctx: &Ctx<'_>,
    ) -> Result<Taken> {
        let session = self.store.begin()?;
        let is_whole = options.paths.is_empty();
        let is_marked = is_whole && self.tree_part().is_none();
        let mark = parent.filter(|_| is_marked);
        let mark = mark.map(|c| Trees::of(c).mark(rules));
        // All files of the parent: read only when what changed is not known without.
        let old = OnceCell::new();
        let read = || parent.and_then(|c| self.files_of_commit(c).ok());
        let head = || old.get_or_init(read).as_ref();
        let keep = Keep {
            session: &session,
            head: &head,
            mark,
        };
        let look = self.look(Some(keep), ctx)?;
        let since = mark.and_then(|mark| look.since(&mark, rules));
        let (since, is_part) = match since {
            Some(since) => (since, true),
            None => {
                let old = parent.map(|c| self.files_of_commit(c)).transpose()?;
                let old = old.unwrap_or_default();
                let new = take_part(&old, self.files_of_look(&look, rules)?, &options.paths)?;
                (Since { old, new }, false)
            }
        };
        if !options.allow_secret {
            self.refuse_new_secrets(&since, is_part.then_some(&head), rules, ctx)?;
        }
        let env = match parent {
            Some(c) if !is_whole => self.env_object(c.recipe.env)?,
            _ if is_part => {
                let locks = look.named(env::is_lock_file)?;
                self.capture_env_with(locks, rules, options.python.clone())?
            }
            _ => self.capture_env(&since.new, rules, options.python.clone())?,
        };
        tell_patches(&env, ctx);
        let trees = match parent {
            Some(parent) if is_part => patch_trees(&Trees::of(parent), &since, &session)?,
            _ => write_trees(&since.new, &session)?,
        };
        let (recipe, model) = write_recipe_of(&trees, &env, parent, &session)?;
        let mark = is_marked.then(|| Trees::of_recipe(&recipe, model.as_ref()).mark(rules));
        // A cache that can't be written makes the next call slower, nothing else.
        let _ = look.save(&self.stat_cache_path(), mark);
        let same = parent.is_some_and(|p| p.recipe == recipe && p.model == model);
        let empty = parent.is_none() && since.new.is_empty();
        if (same || empty) && !options.allow_empty {
            return Err(Error::NothingToCommit {
                head: self.head_label(),
            });
        }
        session.finish()?;
        Ok(Taken {
            recipe,
            model,
            since,
            externals: self.externals_named(look.named(external::is_name)?, ctx)?,
            skipped: look.skipped,
        })
    }

    /// Refuses credentials that the parent does not have. Where only a part of its files is at hand,
    /// all of them are read before anything is refused: one may have been copied.
    fn refuse_new_secrets<'a>(
        &self,
        since: &Since,
        all: Option<&dyn Fn() -> Option<&'a Files>>,
        rules: &Rules,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let refused = match self.refuse_secrets(&since.new, &[&since.old], rules, ctx) {
            Err(e @ Error::Secrets { .. }) => e,
            done => return done,
        };
        match all.and_then(|all| all()) {
            Some(old) => self.refuse_secrets(&since.new, &[old], rules, ctx),
            None => Err(refused),
        }
    }

    /// Stores a commit and moves HEAD to it, together with `more` refs.
    pub(crate) fn publish(
        &mut self,
        commit: &Commit,
        more: Vec<crate::oplog::RefChange>,
        worktree: bool,
    ) -> Result<CommitId> {
        let session = self.store.begin()?;
        let id = CommitId(session.put_object(commit)?);
        session.finish()?;
        self.move_head(id, more, worktree)
    }

    /// Moves HEAD to a commit that is stored, together with `more` refs.
    pub(crate) fn move_head(
        &mut self,
        id: CommitId,
        more: Vec<crate::oplog::RefChange>,
        worktree: bool,
    ) -> Result<CommitId> {
        let mut changes = vec![self.head_change(id)];
        changes.extend(more);
        self.append(changes, worktree, None)?;
        Ok(id)
    }
}

/// What a commit is made of, once it is stored.
struct Taken {
    recipe: Recipe,
    model: Option<Model>,
    since: Since,
    skipped: Vec<Skipped>,
    externals: Vec<External>,
}

/// Refuses a blank message.
pub(crate) fn check_message(message: &str) -> Result<()> {
    if message.trim().is_empty() {
        return Err(Error::invalid(
            "commit message",
            message.trim(),
            "it is empty",
        ));
    }
    Ok(())
}

/// Stores trees and environment; the model's recipe is the one that made it, where that is known.
pub(crate) fn write_recipe(
    files: &Files,
    env: &Env,
    parent: Option<&Commit>,
    session: &Session<'_>,
) -> Result<(Recipe, Option<Model>)> {
    write_recipe_of(&write_trees(files, session)?, env, parent, session)
}

pub(crate) fn write_recipe_of(
    trees: &Trees,
    env: &Env,
    parent: Option<&Commit>,
    session: &Session<'_>,
) -> Result<(Recipe, Option<Model>)> {
    session.put_object(env)?;
    let recipe = Recipe {
        code: trees.code,
        data: trees.data,
        config: trees.config,
        env: env.id(),
    };
    let model = trees.model.map(|tree| {
        let kept = parent.and_then(|p| p.model).filter(|m| m.tree == tree);
        kept.unwrap_or(Model {
            tree,
            recipe: recipe.id(),
        })
    });
    Ok((recipe, model))
}

/// The author of commits that hold what modelv keeps for itself.
pub(crate) fn nobody() -> Person {
    Person {
        name: "modelv".into(),
        email: String::new(),
    }
}

/// The runs of the parent still describe the model when it is the same one.
fn kept_runs(parent: Option<&Commit>, model: Option<Model>) -> Vec<RunId> {
    parent
        .filter(|p| model.is_some() && p.model == model)
        .map(|p| p.runs.clone())
        .unwrap_or_default()
}

/// HEAD's files with the working tree's at and below `paths`.
fn take_part(old: &Files, new: Files, paths: &[RepoPath]) -> Result<Files> {
    if paths.is_empty() {
        return Ok(new);
    }
    let scope = Scope::new(paths);
    if let Some(path) = scope.unknown(old.keys().chain(new.keys())) {
        return Err(Error::not_found("path", path.to_string()));
    }
    let mut out: Files = old
        .iter()
        .filter(|(p, _)| !scope.holds(p))
        .map(|(p, f)| (p.clone(), f.clone()))
        .collect();
    out.extend(new.into_iter().filter(|(p, _)| scope.holds(p)));
    Ok(out)
}

/// Number and bytes of the files of each ingredient.
#[must_use]
pub fn totals(files: &Files) -> BTreeMap<Ingredient, (u64, u64)> {
    let mut out = BTreeMap::new();
    for file in files.values() {
        let slot: &mut (u64, u64) = out.entry(file.ingredient).or_default();
        slot.0 += 1;
        slot.1 += file.size;
    }
    out
}

impl Repo {
    /// The recipe id of a commit without loading its trees.
    ///
    /// # Errors
    /// The commit is missing or damaged.
    pub fn recipe_of(&self, id: CommitId) -> Result<RecipeId> {
        let commit: Commit = canon::load(&self.store, &id.0)?;
        Ok(commit.recipe.id())
    }

    /// Whether a merge is under way.
    #[must_use]
    pub fn is_merging(&self) -> bool {
        self.log.refs.contains_key(names::MERGE)
    }
}

impl Repo {
    /// The files of the working tree as they are now.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn worktree_files(&self, ctx: &Ctx<'_>) -> Result<Files> {
        Ok(self.snapshot(&self.rules()?, None, ctx)?.files)
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
