//! Conflicts that are decided beforehand: by one side, for everything, an ingredient or a path. What
//! only one side changed is merged as ever; only conflicts are decided.

use std::collections::HashMap;

use modelv_core::driver::{self, Driver, Item};
use modelv_core::id::CommitId;
use modelv_core::merge::{Outcome, Side};
use modelv_core::path::RepoPath;

use super::Work;
use super::large::Decisions;
use super::state::ConflictState;
use crate::envdiff::take_item;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, Rules};

/// Who decides which conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategy {
    theirs: bool,
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Ingredient(Ingredient),
    Env,
    Path(RepoPath),
}

impl Strategy {
    /// Reads `ours` or `theirs`, alone or with `:code`, `:data`, `:config`, `:model`, `:env` or
    /// `:PATH` behind.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let (side, scope) = match text.split_once(':') {
            Some((side, scope)) => (side, Some(scope)),
            None => (text, None),
        };
        let theirs = match side {
            "ours" => false,
            "theirs" => true,
            _ => {
                let reason = "expected `ours` or `theirs`, then `:config` or `:PATH`";
                return Err(Error::invalid("strategy", text, reason));
            }
        };
        let scope = match scope {
            None => Scope::All,
            Some("code") => Scope::Ingredient(Ingredient::Code),
            Some("data") => Scope::Ingredient(Ingredient::Data),
            Some("config") => Scope::Ingredient(Ingredient::Config),
            Some("env") => Scope::Env,
            Some("model") => Scope::Ingredient(Ingredient::Model),
            Some(path) => Scope::Path(RepoPath::new(path.trim_end_matches('/').as_bytes())?),
        };
        Ok(Self { theirs, scope })
    }

    fn fits(&self, conflict: &ConflictState, rules: &Rules) -> Result<bool> {
        let is_env = conflict.kind == "env";
        Ok(match &self.scope {
            Scope::All => true,
            Scope::Env => is_env,
            _ if is_env => false,
            Scope::Ingredient(wanted) => {
                rules.classify(&conflict.repo_path()?).ingredient == *wanted
            }
            Scope::Path(path) => conflict.repo_path()?.is_within(path.as_bytes()),
        })
    }

    /// Refuses a path that is of neither side: it is a mistake, and would decide nothing.
    fn refuse_nothing(&self, sides: &[Files; 2]) -> Result<()> {
        let Scope::Path(path) = &self.scope else {
            return Ok(());
        };
        let is_there = |files: &Files| files.keys().any(|p| p.is_within(path.as_bytes()));
        if sides.iter().any(is_there) {
            return Ok(());
        }
        let text = format!("{}:{path}", self.word());
        Err(Error::invalid(
            "strategy",
            text,
            "neither side has such a path",
        ))
    }

    fn word(&self) -> &'static str {
        if self.theirs { "theirs" } else { "ours" }
    }
}

/// Notes a decision about a part of a large file, which is put into it with all others.
fn put_off(
    work: &Work,
    conflict: &ConflictState,
    is_theirs: bool,
    large: &mut Decisions,
) -> Result<bool> {
    let Some(part) = conflict.part.as_ref().filter(|_| conflict.kind == "key") else {
        return Ok(false);
    };
    let path = conflict.repo_path()?;
    let is_large = match work.files.get(&path) {
        Some(Outcome::Keep(side)) => work.large.contains_key(&side.blob),
        _ => false,
    };
    if is_large {
        let value = if is_theirs {
            &conflict.theirs
        } else {
            &conflict.ours
        };
        let decision = (Item::Key(part.clone()), value.clone());
        large.entry(path).or_default().push(decision);
    }
    Ok(is_large)
}

impl Repo {
    /// Decides the conflicts that a strategy fits. A file that stands where the other side has a
    /// directory is never decided so: both are there, and somebody must say where it goes.
    pub(super) fn decide_by(
        &self,
        strategies: &[Strategy],
        work: &mut Work,
        ours: CommitId,
        theirs: CommitId,
    ) -> Result<()> {
        if strategies.is_empty() {
            return Ok(());
        }
        let rules = self.rules()?;
        let sides = [self.files(ours)?, self.files(theirs)?];
        for strategy in strategies {
            strategy.refuse_nothing(&sides)?;
        }
        let mut left = Vec::new();
        let mut large = Decisions::new();
        let moved = work.conflicts.iter();
        let twins = moved.filter_map(|c| Some((c.repo_path().ok()?, c.twin()?)));
        let twins: HashMap<RepoPath, RepoPath> = twins.collect();
        for conflict in std::mem::take(&mut work.conflicts) {
            let mut strategy = None;
            for candidate in strategies {
                if strategy.is_none() && candidate.fits(&conflict, &rules)? {
                    strategy = Some(candidate);
                }
            }
            match strategy.filter(|_| conflict.kind != "file/directory") {
                None => left.push(conflict),
                Some(strategy) => {
                    let side = if strategy.theirs { theirs } else { ours };
                    if !put_off(work, &conflict, strategy.theirs, &mut large)? {
                        self.decide_one(work, &conflict, (strategy.theirs, side), &twins)?;
                    }
                    let word = strategy.word();
                    work.notes.push(format!("{}: {word} taken", conflict.item));
                }
            }
        }
        work.conflicts = left;
        self.settle_large(work, large)
    }

    fn decide_one(
        &self,
        work: &mut Work,
        conflict: &ConflictState,
        (is_theirs, side): (bool, CommitId),
        twins: &HashMap<RepoPath, RepoPath>,
    ) -> Result<()> {
        if let ("env", Some(part)) = (conflict.kind.as_str(), &conflict.part) {
            let from = self.env_object(self.commit_object(side)?.recipe.env)?;
            work.env = take_item(&work.env, &from, part);
            return Ok(());
        }
        let path = conflict.repo_path()?;
        if let Some(part) = &conflict.part {
            let value = if is_theirs {
                &conflict.theirs
            } else {
                &conflict.ours
            };
            for path in std::iter::once(path.clone()).chain(twins.get(&path).cloned()) {
                self.decide_part(work, &path, conflict, part, value.as_deref())?;
            }
            return Ok(());
        }
        if conflict.kind == "text"
            && let Some(bytes) = self.favoured(conflict, &path, is_theirs)?
            && let Some(Outcome::Write { mode, .. }) = work.files.get(&path)
        {
            let mode = *mode;
            work.files.insert(path, Outcome::Write { mode, bytes });
            return Ok(());
        }
        let file = if is_theirs {
            &conflict.theirs_file
        } else {
            &conflict.ours_file
        };
        // Of a file that both moved, a side decides where it stands, not what it holds.
        if conflict.twin().is_some()
            && file.is_some()
            && let Some(outcome) = work.files.get(&path)
            && !matches!(outcome, Outcome::Write { bytes, .. } if driver::has_markers(bytes))
        {
            return Ok(());
        }
        match file {
            Some(stored) => work.files.insert(path, Outcome::Keep(stored.side()?)),
            None => work.files.remove(&path),
        };
        Ok(())
    }

    /// Sets a key or a demand in the merged file.
    fn decide_part(
        &self,
        work: &mut Work,
        path: &RepoPath,
        conflict: &ConflictState,
        part: &str,
        value: Option<&str>,
    ) -> Result<()> {
        let Some(outcome) = work.files.get_mut(path) else {
            return Ok(());
        };
        let (mode, bytes) = match outcome {
            Outcome::Keep(side) => (side.mode, self.read_blob(side.blob)?),
            Outcome::Write { mode, bytes } => (*mode, std::mem::take(bytes)),
        };
        let item = match conflict.kind.as_str() {
            "key" => Item::Key(part.to_owned()),
            _ => Item::Package(part.to_owned()),
        };
        let driver = driver::choose(path.as_bytes(), &bytes);
        let bytes = driver::settle(driver, &bytes, &item, value)
            .map_err(|e| Error::invalid("decision", conflict.item.clone(), e.to_string()))?;
        *outcome = Outcome::Write { mode, bytes };
        Ok(())
    }

    /// Both sides' lines, with one side's where they are in conflict.
    fn favoured(
        &self,
        conflict: &ConflictState,
        path: &RepoPath,
        is_theirs: bool,
    ) -> Result<Option<Vec<u8>>> {
        let read = |side: Option<Side>| -> Result<Vec<u8>> {
            side.map_or_else(|| Ok(Vec::new()), |s| self.read_blob(s.blob))
        };
        let side = |stored: &Option<super::state::StoredSide>| {
            stored
                .as_ref()
                .map(super::state::StoredSide::side)
                .transpose()
        };
        let base = read(side(&conflict.base_file)?)?;
        let ours = read(side(&conflict.ours_file)?)?;
        let theirs = read(side(&conflict.theirs_file)?)?;
        let is_text = |bytes: &[u8]| {
            let found = driver::choose(path.as_bytes(), bytes);
            matches!(found, Driver::Text | Driver::Wide)
        };
        if !is_text(&ours) || !is_text(&theirs) {
            return Ok(None);
        }
        let (mine, other) = if is_theirs {
            (&theirs, &ours)
        } else {
            (&ours, &theirs)
        };
        Ok(driver::merge_lines_as_ours(&base, mine, other))
    }
}
