//! Working trees that hold a part of their commit: some ingredients (`clone --only`), some paths (`sparse`).
//!
//! What is not held counts as HEAD has it: no command may take it for deleted, and none may forget a change
//! of it that a merge brings. A file that lies here though it is not held is as good as held: commits take it,
//! and whatever moves HEAD changes it too.

use std::collections::BTreeSet;

use modelv_core::merge::join;
use modelv_core::path::RepoPath;

use super::{Files, Ingredient, SnapFile, checkout, differing, place};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::external::Pointers;
use crate::names;
use crate::oplog::{Refs, Target};
use crate::repo::Repo;

/// The setting that names the paths, as a list in JSON.
pub(crate) const KEY: &str = "clone.sparse";

/// The setting that names the ingredients.
pub(crate) const ONLY: &str = "clone.only";

/// What a working tree holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) only: Option<BTreeSet<Ingredient>>,
    pub(crate) sparse: Option<Vec<RepoPath>>,
}

impl Held {
    /// Whether a file is one that belongs here. Those of the top folder always do: they say what the others
    /// are.
    pub(crate) fn holds(&self, path: &RepoPath, file: &SnapFile) -> bool {
        let is_wanted = self
            .only
            .as_ref()
            .is_none_or(|o| o.contains(&file.ingredient));
        is_wanted
            && self.sparse.as_ref().is_none_or(|paths| {
                !path.as_bytes().contains(&b'/') || super::Scope::new(paths).holds(path)
            })
    }
}

impl Repo {
    /// What the working tree holds; `None`: all of its commit.
    pub(crate) fn tree_part(&self) -> Option<Held> {
        let (only, sparse) = (self.only(), self.sparse());
        (only.is_some() || sparse.is_some()).then_some(Held { only, sparse })
    }

    /// The paths that the working tree holds, beside the files of the top folder; `None`: all.
    #[must_use]
    pub fn sparse(&self) -> Option<Vec<RepoPath>> {
        paths_of(&self.config(KEY)?)
    }

    /// Holds only these paths (`None`: all) in the working tree from now on. Commits keep the rest.
    ///
    /// # Errors
    /// Files that would go have uncommitted changes, or a merge or run is under way.
    pub fn set_sparse(&mut self, paths: Option<&[RepoPath]>, ctx: &Ctx<'_>) -> Result<()> {
        self.refuse_while_merging("sparse")?;
        self.refuse_while_running("sparse")?;
        let _turn = self.take_turn()?;
        let text = paths.map(sparse_text).transpose()?;
        let Some(change) = self.config_change(KEY, text.as_deref()) else {
            return Ok(());
        };
        let after = Held {
            only: self.only(),
            sparse: paths.map(<[RepoPath]>::to_vec),
        };
        let noted = |repo: &mut Self| repo.update_refs(vec![change]).map(drop);
        self.change_part(
            self.tree_part().as_ref(),
            Some(&after),
            "sparse",
            noted,
            ctx,
        )
    }

    /// Changes what the working tree holds, and has `note` write that down, in the order that no interrupt
    /// can make dangerous: a file that should be here and isn't counts as deleted in the next commit, one too
    /// many counts as it is. So what is new comes before the note, and what is to go goes after it.
    pub(crate) fn change_part(
        &mut self,
        before: Option<&Held>,
        after: Option<&Held>,
        action: &'static str,
        note: impl FnOnce(&mut Self) -> Result<()>,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        if self.is_bare() {
            return note(self);
        }
        let was = |path: &RepoPath, file: &SnapFile| before.is_none_or(|h| h.holds(path, file));
        let is_kept =
            |path: &RepoPath, file: &SnapFile| after.is_none_or(|held| held.holds(path, file));
        let all = self.files_or_none(self.head())?;
        let (mut old, mut new, mut both) = (all.clone(), all.clone(), all);
        old.retain(|path, file| was(path, file));
        new.retain(|path, file| is_kept(path, file));
        both.retain(|path, file| was(path, file) || is_kept(path, file));
        // Whatever would be lost is told before anything is written.
        self.plan_part(&old, &new, action, ctx)?;
        let (mut plan, pointers) = self.plan_part(&old, &both, action, ctx)?;
        self.carry_out(&mut plan, &pointers, ctx)?;
        note(self)?;
        let (mut plan, pointers) = self.plan_part(&both, &new, action, ctx)?;
        self.carry_out(&mut plan, &pointers, ctx)
    }

    /// The way from some files of HEAD to others.
    fn plan_part(
        &self,
        from: &Files,
        to: &Files,
        action: &'static str,
        ctx: &Ctx<'_>,
    ) -> Result<(checkout::Plan, Pointers)> {
        let mut current = self.snapshot(&self.rules()?, None, ctx)?.files;
        let (mut from, mut to) = (from.clone(), to.clone());
        // What is not held is among these as HEAD has it, whether there is a file or not.
        let is_here = |path: &RepoPath| place(self.root(), path).symlink_metadata().is_ok();
        if let Some(held) = self.tree_part() {
            current.retain(|path, file| held.holds(path, file) || is_here(path));
        }
        let pointers = self.reveal(&mut current, &mut from, &mut to, ctx)?;
        let plan = checkout::plan(self.root(), &current, &from, &to, action)?;
        Ok((plan, pointers))
    }

    /// What the working tree holds by the settings among some refs.
    pub(crate) fn part_of(refs: &Refs) -> Option<Held> {
        let text = |key: &str| match refs.get(&format!("{}{key}", names::CONFIG)) {
            Some(Target::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let only = text(ONLY).map(|t| t.split(',').filter_map(Ingredient::parse).collect());
        let sparse = text(KEY).and_then(paths_of);
        (only.is_some() || sparse.is_some()).then_some(Held { only, sparse })
    }

    /// Of the files that differ between two views, those that do not belong here and lie here all the same:
    /// somebody made them. The next commit reads them, so that whatever changes HEAD has to change them too.
    pub(crate) fn here_anyway(
        &self,
        held: &Held,
        from: &Files,
        to: &Files,
    ) -> Result<BTreeSet<RepoPath>> {
        let is_held = |path: &RepoPath, file: Option<&SnapFile>| {
            file.is_none_or(|file| held.holds(path, file))
        };
        let is_file = |path: &RepoPath| {
            let found = place(self.root(), path).symlink_metadata();
            found.is_ok_and(|meta| !meta.is_dir())
        };
        let mut here = BTreeSet::new();
        for (path, old, new) in join(from, to) {
            let is_outside = old != new && !(is_held(path, old) && is_held(path, new));
            // What no commit would take stays as it is.
            if is_outside && is_file(path) && self.left_out(path)?.is_none() {
                here.insert(path.clone());
            }
        }
        Ok(here)
    }

    /// Refuses to stop for decisions where a merge changes files that the working tree does not hold: until it
    /// goes on they count as HEAD has them, and their change would be forgotten.
    pub(crate) fn refuse_absent(&self, head: &Files, merged: &Files) -> Result<()> {
        let Some(held) = self.tree_part() else {
            return Ok(());
        };
        let here = self.here_anyway(&held, head, merged)?;
        let is_absent = |path: &RepoPath| {
            let file = merged.get(path).or_else(|| head.get(path));
            file.is_some_and(|file| !held.holds(path, file)) && !here.contains(path)
        };
        let absent = differing(head, merged).find(|path| is_absent(path));
        match absent {
            Some(path) => Err(Error::State(format!(
                "it would stop at conflicts, and changes files that this working tree does not hold, such as `{path}`"
            ))),
            None => Ok(()),
        }
    }
}

/// What the setting says.
fn paths_of(text: &str) -> Option<Vec<RepoPath>> {
    let names: Vec<String> = serde_json::from_str(text).ok()?;
    let paths = names.into_iter().filter_map(|n| RepoPath::new(n).ok());
    Some(paths.collect())
}

/// Paths as the setting keeps them.
///
/// # Errors
/// There is none, or one is no UTF-8.
pub(crate) fn sparse_text(paths: &[RepoPath]) -> Result<String> {
    let text = |path: &RepoPath| {
        let name = std::str::from_utf8(path.as_bytes()).map(str::to_owned);
        name.map_err(|_| Error::invalid("path", path.to_string(), "it is not UTF-8"))
    };
    let names: Vec<String> = paths.iter().map(text).collect::<Result<_>>()?;
    if names.is_empty() {
        return Err(Error::State("no path is named that is to be held".into()));
    }
    Ok(serde_json::Value::from(names).to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{CommitOptions, Ctx};

    fn commit(repo: &mut Repo, text: &str) {
        let options = CommitOptions {
            message: text.into(),
            ..Default::default()
        };
        repo.commit(&options, &Ctx::quiet()).unwrap();
    }

    fn two_folders() -> (tempfile::TempDir, Repo) {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        repo.set_config("user.name", Some("Ada")).unwrap();
        repo.set_config("user.email", Some("ada@example.org"))
            .unwrap();
        for name in ["lib/a/x.py", "lib/b/y.py"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        }
        commit(&mut repo, "two folders");
        (dir, repo)
    }

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    /// Commits something and gives whether HEAD has both files still.
    fn keeps_both(repo: &mut Repo, text: &str) -> bool {
        fs::write(repo.root().join("new.py"), text).unwrap();
        commit(repo, text);
        let files = repo.files(repo.head().unwrap()).unwrap();
        ["lib/a/x.py", "lib/b/y.py"]
            .iter()
            .all(|name| files.contains_key(&path(name)))
    }

    #[test]
    fn undo_of_another_part_brings_its_files_and_drops_none() {
        let (dir, mut repo) = two_folders();
        let (a, b) = (dir.path().join("lib/a/x.py"), dir.path().join("lib/b/y.py"));
        repo.set_sparse(Some(&[path("lib/a")]), &Ctx::quiet())
            .unwrap();
        assert!(a.exists() && !b.exists());
        repo.set_sparse(Some(&[path("lib/b")]), &Ctx::quiet())
            .unwrap();
        assert!(!a.exists() && b.exists());
        assert!(repo.undo(&Ctx::quiet()).unwrap().worktree);
        assert!(a.exists() && !b.exists());
        assert_eq!(repo.sparse(), Some(vec![path("lib/a")]));
        repo.undo(&Ctx::quiet()).unwrap();
        assert!(a.exists() && b.exists() && repo.sparse().is_none());
        assert!(keeps_both(&mut repo, "whole"));
        repo.set_sparse(Some(&[path("lib/a")]), &Ctx::quiet())
            .unwrap();
        repo.set_sparse(None, &Ctx::quiet()).unwrap();
        // What would go and was changed stays, with the setting.
        fs::write(&b, "mine").unwrap();
        assert!(repo.undo(&Ctx::quiet()).is_err());
        assert!(repo.sparse().is_none() && fs::read(&b).unwrap() == b"mine");
    }

    #[test]
    fn an_interrupt_before_or_after_the_note_drops_nothing() {
        let (_dir, mut repo) = two_folders();
        let held = |name: &str| Held {
            only: None,
            sparse: Some(vec![path(name)]),
        };
        let note = |repo: &mut Repo, text: Option<&str>| {
            let change = repo.config_change(KEY, text).unwrap();
            repo.update_refs(vec![change]).unwrap();
        };
        // Nothing goes before the setting says so.
        let broken = |_: &mut Repo| Err(Error::Cancelled);
        repo.change_part(None, Some(&held("lib/a")), "sparse", broken, &Ctx::quiet())
            .unwrap_err();
        assert!(keeps_both(&mut repo, "one"));
        // And where it says so, what is still here does no harm.
        let text = sparse_text(&[path("lib/a")]).unwrap();
        note(&mut repo, Some(&text));
        assert!(keeps_both(&mut repo, "two"));
        // What comes is here before the setting demands it.
        fs::remove_file(repo.root().join("lib/b/y.py")).unwrap();
        let before = held("lib/a");
        repo.change_part(Some(&before), None, "sparse", broken, &Ctx::quiet())
            .unwrap_err();
        assert!(repo.root().join("lib/b/y.py").exists());
        note(&mut repo, None);
        assert!(keeps_both(&mut repo, "three"));
    }
}

#[cfg(test)]
#[path = "sparse_tests.rs"]
mod properties;
