//! Branches, tags and switching.

use modelv_core::id::CommitId;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::external::{Fetch, Pointers};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::{Files, StatCache, checkout};

/// Where `switch` goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchTo {
    /// A branch that exists.
    Branch(String),
    /// A new branch at a revision.
    New(String, Option<String>),
    /// A commit, without a branch.
    Detached(String),
}

impl Repo {
    /// Makes a branch at a commit.
    ///
    /// # Errors
    /// The name is taken or not allowed.
    pub fn create_branch(&mut self, name: &str, at: CommitId) -> Result<()> {
        self.create_ref("branch", names::HEADS, name, at)
    }

    /// Makes a tag at a commit. Tags don't move.
    ///
    /// # Errors
    /// The name is taken or not allowed.
    pub fn create_tag(&mut self, name: &str, at: CommitId) -> Result<()> {
        self.create_ref("tag", names::TAGS, name, at)
    }

    /// Whether a branch of this name could be made: to be asked before long work that ends in one.
    ///
    /// # Errors
    /// The name is taken or not allowed.
    pub fn check_new_branch(&self, name: &str) -> Result<()> {
        self.new_ref("branch", names::HEADS, name).map(|_| ())
    }

    /// The full name of a ref that can be made.
    pub(crate) fn new_ref(&self, what: &'static str, below: &str, name: &str) -> Result<String> {
        names::check_new(what, name)?;
        let full = format!("{below}{name}");
        if self.log.refs.contains_key(&full) {
            return Err(Error::Exists {
                what,
                name: name.into(),
            });
        }
        let clash = self
            .log
            .refs
            .keys()
            .find(|k| k.starts_with(&format!("{full}/")) || full.starts_with(&format!("{k}/")));
        if let Some(other) = clash {
            return Err(Error::Exists {
                what,
                name: names::short(other).into(),
            });
        }
        Ok(full)
    }

    fn create_ref(
        &mut self,
        what: &'static str,
        below: &str,
        name: &str,
        at: CommitId,
    ) -> Result<()> {
        let full = self.new_ref(what, below, name)?;
        let new = Some(Target::Commit(at));
        self.update_refs(vec![RefChange {
            name: full,
            old: None,
            new,
        }])
        .map(|_| ())
    }

    /// Removes a branch; `undo` brings it back.
    ///
    /// # Errors
    /// Unknown, or checked out.
    pub fn delete_branch(&mut self, name: &str) -> Result<CommitId> {
        let full = format!("{}{name}", names::HEADS);
        if self.head_ref() == Some(&full) {
            return Err(Error::State(format!("branch `{name}` is checked out")));
        }
        let sequence = self.merge_state()?.and_then(|s| s.sequence);
        if sequence.is_some_and(|s| s.branch.as_deref() == Some(&*full)) {
            let text = format!("branch `{name}` can't go: a rebase is not finished");
            return Err(Error::State(text));
        }
        if self.bisect_began_on(&full) {
            let text = format!("branch `{name}` can't go: a bisection began there");
            return Err(Error::State(text));
        }
        self.delete_ref("branch", full, name)
    }

    /// Removes a tag; `undo` brings it back.
    ///
    /// # Errors
    /// Unknown.
    pub fn delete_tag(&mut self, name: &str) -> Result<CommitId> {
        self.delete_ref("tag", format!("{}{name}", names::TAGS), name)
    }

    fn delete_ref(&mut self, what: &'static str, full: String, name: &str) -> Result<CommitId> {
        let id = self
            .ref_commit(&full)
            .ok_or_else(|| Error::not_found(what, name))?;
        let old = Some(Target::Commit(id));
        self.update_refs(vec![RefChange {
            name: full,
            old,
            new: None,
        }])?;
        Ok(id)
    }

    /// Checks another branch or commit out.
    ///
    /// # Errors
    /// Unknown, an unfinished merge, or uncommitted changes would be lost: nothing has changed then.
    pub fn switch(&mut self, to: &SwitchTo, ctx: &Ctx<'_>) -> Result<CommitId> {
        let _turn = self.take_turn()?;
        self.refuse_while_merging("switch")?;
        self.refuse_while_running("switch")?;
        let before = match to {
            SwitchTo::Branch(name) if name == "-" => Some(self.switch_before()?),
            _ => None,
        };
        let (target, new_head, mut changes) = match before.as_ref().unwrap_or(to) {
            SwitchTo::Branch(name) => {
                let full = format!("{}{name}", names::HEADS);
                match self.ref_commit(&full) {
                    Some(id) => (id, Target::Symbolic(full), vec![]),
                    None => {
                        let (id, changes) = self.branch_of_remote(name)?;
                        (id, Target::Symbolic(full), changes)
                    }
                }
            }
            SwitchTo::New(name, start) => {
                names::check_new("branch", name)?;
                let full = format!("{}{name}", names::HEADS);
                if self.log.refs.contains_key(&full) {
                    return Err(Error::Exists {
                        what: "branch",
                        name: name.clone(),
                    });
                }
                let id = self.resolve(start.as_deref().unwrap_or(names::HEAD))?;
                let new = Some(Target::Commit(id));
                let change = RefChange {
                    name: full.clone(),
                    old: None,
                    new,
                };
                (id, Target::Symbolic(full), vec![change])
            }
            SwitchTo::Detached(revision) => {
                let id = self.resolve(revision)?;
                (id, Target::Commit(id), vec![])
            }
        };
        let old = self.log.refs.get(names::HEAD).cloned();
        if old.as_ref() == Some(&new_head) && changes.is_empty() {
            return Ok(target);
        }
        let moved = self.head() != Some(target);
        if moved {
            self.check_out(self.head(), &self.files(target)?, "switch", ctx)?;
        }
        changes.push(RefChange {
            name: names::HEAD.into(),
            old,
            new: Some(new_head),
        });
        self.append(changes, moved, None)?;
        Ok(target)
    }

    /// Gives the branch that is checked out another name, as long as there is no commit.
    ///
    /// # Errors
    /// The name is not allowed or taken, or there is a commit.
    pub fn name_first_branch(&mut self, name: &str) -> Result<()> {
        let _turn = self.take_turn()?;
        names::check_new("branch", name)?;
        let full = format!("{}{name}", names::HEADS);
        if self.head().is_some() {
            let text = "there is a commit already: a branch begins at one";
            return Err(Error::State(text.into()));
        }
        if self.log.refs.contains_key(&full) {
            return Err(Error::Exists {
                what: "branch",
                name: name.to_owned(),
            });
        }
        match self.head_to(Target::Symbolic(full)) {
            Some(change) => self.update_refs(vec![change]).map(drop),
            None => Ok(()),
        }
    }

    /// A new branch for the one of this name that exactly one remote has.
    fn branch_of_remote(&self, name: &str) -> Result<(CommitId, Vec<RefChange>)> {
        let found: Vec<(String, CommitId)> = self
            .remotes()
            .into_iter()
            .filter_map(|r| {
                let id = self.ref_commit(&format!("{}{}/{name}", names::REMOTES, r.name))?;
                Some((r.name, id))
            })
            .collect();
        let [(remote, id)] = found.as_slice() else {
            return Err(Error::not_found("branch", name));
        };
        let mut changes = self.upstream_changes(name, remote, name);
        changes.push(RefChange {
            name: format!("{}{name}", names::HEADS),
            old: None,
            new: Some(Target::Commit(*id)),
        });
        Ok((*id, changes))
    }

    /// Brings the working tree from one commit's files to others, refusing to lose anything.
    pub(crate) fn check_out(
        &self,
        from: Option<CommitId>,
        to: &Files,
        action: &'static str,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let from = from
            .map(|id| self.files(id))
            .transpose()?
            .unwrap_or_default();
        self.check_out_files(&from, to, action, ctx)
    }

    pub(crate) fn check_out_files(
        &self,
        from: &Files,
        to: &Files,
        action: &'static str,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let current = self.snapshot(&self.rules()?, None, ctx)?.files;
        self.check_out_over(current, from, to, action, ctx)
    }

    /// The same in a working tree that holds `current`.
    pub(crate) fn check_out_over(
        &self,
        current: Files,
        from: &Files,
        to: &Files,
        action: &'static str,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let fetches = self.fetches_externals();
        self.check_out_fetching(current, from, to, action, fetches, ctx)
    }

    /// The same, with what is brought of external data.
    pub(crate) fn check_out_fetching(
        &self,
        mut current: Files,
        from: &Files,
        to: &Files,
        action: &'static str,
        fetches: Fetch,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let (mut from, mut to) = (from.clone(), to.clone());
        if let Some(held) = self.tree_part() {
            let here = self.here_anyway(&held, &from, &to)?;
            for files in [&mut current, &mut from, &mut to] {
                files.retain(|path, file| held.holds(path, file) || here.contains(path));
            }
        }
        let views = (&mut current, &mut from, &mut to);
        let pointers = self.reveal_all(views, fetches, ctx)?;
        let mut plan = checkout::plan(self.root(), &current, &from, &to, action)?;
        self.carry_out(&mut plan, &pointers, ctx)
    }

    /// What was checked out before what is now.
    fn switch_before(&self) -> Result<SwitchTo> {
        let whole = self.log.whole()?;
        let log = whole.as_ref().unwrap_or(&self.log);
        let heads = log.operations.iter().rev().flat_map(|o| &o.changes);
        let mut heads = heads.filter(|c| c.name == names::HEAD && c.old != c.new);
        // A detached HEAD moves with its commits: only what names a branch at one end is a switch.
        let is_branch = |t: &Option<Target>| matches!(t, Some(Target::Symbolic(_)));
        let last = heads.find(|c| is_branch(&c.old) || is_branch(&c.new));
        match last.and_then(|c| c.old.as_ref()) {
            Some(Target::Symbolic(full)) => Ok(SwitchTo::Branch(names::short(full).to_owned())),
            Some(Target::Commit(id)) => Ok(SwitchTo::Detached(id.to_hex())),
            _ => Err(Error::State("nothing was checked out before".into())),
        }
    }

    /// Carries a plan out, and remembers what was written.
    pub(crate) fn carry_out(
        &self,
        plan: &mut checkout::Plan,
        pointers: &Pointers,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let _staged = self.provide(plan, pointers, ctx)?;
        let mut cache = self.stat_cache();
        let done = plan.apply(self.root(), &self.store, &mut cache, ctx);
        done.map_err(|e| match e {
            Error::Cancelled => Error::CancelledWriting,
            other => other,
        })?;
        let _ = cache.save(&self.stat_cache_path());
        self.note_externals(plan.written(), pointers);
        Ok(())
    }

    /// Writes files, and the external data that they describe, into a folder that is empty or missing; gives
    /// what is known of them.
    ///
    /// # Errors
    /// The folder has content, or something can't be brought or written.
    pub(crate) fn write_out(
        &self,
        mut files: Files,
        dest: &std::path::Path,
        ctx: &Ctx<'_>,
    ) -> Result<StatCache> {
        let (mut current, mut from) = (Files::new(), Files::new());
        // Whoever asks for the files of a commit elsewhere wants them all, also where checkouts fetch nothing.
        let pointers = self.reveal_all((&mut current, &mut from, &mut files), Fetch::All, ctx)?;
        let mut plan = checkout::plan_export(&files, dest)?;
        let _staged = self.provide(&mut plan, &pointers, ctx)?;
        let mut cache = StatCache::default();
        plan.apply(dest, &self.store, &mut cache, ctx)?;
        Ok(cache)
    }

    /// Writes the files of a commit into a folder that is empty or missing, without a repository.
    ///
    /// # Errors
    /// The folder has content.
    pub fn export(&self, id: CommitId, dest: &std::path::Path, ctx: &Ctx<'_>) -> Result<usize> {
        let files = self.files(id)?;
        let count = files.len();
        self.write_out(files, dest, ctx)?;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "refs_tests.rs"]
mod tests;
