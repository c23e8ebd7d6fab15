//! Aliases: names of deployments such as `prod`, with the history of every move. See `spec/alias.md`.
//!
//! A move is a commit of its own, which `refs/aliases/NAME` names: checked, collected, pushed and fetched
//! like every other, and chained to the move before. Must never move an alias past its gates without a
//! recorded reason.

mod back;
mod evaluation;
mod gate;

use std::collections::BTreeMap;

use modelv_core::commit::{Commit, Person, Time};
use modelv_core::id::CommitId;

pub use evaluation::Evaluation;
pub use gate::{Check, Gates, Verdict};

use crate::capture::clock;
use crate::commit::check_message;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::Target;
use crate::repo::Repo;

/// Facts of such a commit.
const NAME: &str = "alias";
const ACTION: &str = "alias.action";
const GATE: &str = "alias.gate";
const FORCED: &str = "alias.forced";
/// Moves of one alias that are read.
const MOVES_MAX: usize = 100_000;

/// What a move was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveAction {
    /// To a commit that was named.
    Set,
    /// Back to the commit of the move before.
    Rollback,
}

impl MoveAction {
    /// The word for people, JSON and the record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Rollback => "rollback",
        }
    }
}

/// One move of an alias.
#[derive(Debug, Clone)]
pub struct AliasMove {
    /// The commit that records it.
    pub record: CommitId,
    /// Where it went.
    pub commit: CommitId,
    /// The record of the move before.
    pub before: Option<CommitId>,
    /// What it was.
    pub action: MoveAction,
    /// Who.
    pub who: Person,
    /// When.
    pub time: Time,
    /// Why.
    pub why: String,
    /// Why it went past its gates, if it did.
    pub forced: Option<String>,
    /// What the gates said, where there are some.
    pub verdict: Option<Verdict>,
}

/// What an alias must name before it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There must be no such alias.
    Absent,
    /// It must name this commit.
    Commit(CommitId),
}

/// How an alias is moved.
#[derive(Debug, Clone, Default)]
pub struct MoveOptions {
    /// What it must name before.
    pub expect: Option<Expect>,
    /// Why.
    pub message: String,
    /// Who, as `Name <address>`; otherwise as for commits.
    pub author: Option<String>,
    /// Why it may go past its gates.
    pub force: Option<String>,
}

/// A move that is not recorded yet.
struct NewMove<'a> {
    alias: &'a str,
    to: CommitId,
    /// The record of the move before.
    before: Option<CommitId>,
    action: MoveAction,
    options: &'a MoveOptions,
    verdict: Option<Verdict>,
    /// Why it goes past its gates, if it does.
    forced: Option<String>,
}

/// The ref of an alias.
fn ref_of(name: &str) -> String {
    format!("{}{name}", names::ALIASES)
}

impl Repo {
    /// All aliases, each with its last move.
    ///
    /// # Errors
    /// A record is missing or damaged.
    pub fn aliases(&self) -> Result<Vec<(String, AliasMove)>> {
        let all = self.refs_below(names::ALIASES).into_iter();
        all.map(|(name, record)| {
            let last = self.alias_record(&name, record)?;
            Ok((name, last))
        })
        .collect()
    }

    /// The last move of an alias.
    ///
    /// # Errors
    /// There is no such alias, or its record is damaged.
    pub fn alias(&self, name: &str) -> Result<AliasMove> {
        let record = self.ref_commit(&ref_of(name));
        let record = record.ok_or_else(|| Error::not_found("alias", name))?;
        self.alias_record(name, record)
    }

    /// All moves of an alias, newest first.
    ///
    /// # Errors
    /// As [`Repo::alias`].
    pub fn alias_history(&self, name: &str) -> Result<Vec<AliasMove>> {
        self.moves_from(name, self.alias(name)?)
    }

    /// A move of an alias and all before it, newest first.
    fn moves_from(&self, name: &str, last: AliasMove) -> Result<Vec<AliasMove>> {
        let mut moves = vec![last];
        while let Some(before) = moves.last().and_then(|m| m.before) {
            if moves.len() == MOVES_MAX {
                break;
            }
            match self.alias_record(name, before) {
                Ok(found) => moves.push(found),
                // A clone without history.
                Err(_) if self.is_partial() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(moves)
    }

    /// The commit that the alias with this full ref name leads to.
    pub(crate) fn alias_target(&self, full: &str) -> Option<CommitId> {
        let name = full.strip_prefix(names::ALIASES)?;
        self.alias(name).ok().map(|last| last.commit)
    }

    /// Reads the record of a move, which may have come from outside.
    pub(crate) fn alias_record(&self, name: &str, record: CommitId) -> Result<AliasMove> {
        let bad = |detail: &str| Error::Corrupt {
            what: format!("the record {} of alias `{name}`", record.short()),
            detail: detail.to_owned(),
        };
        let commit = self.commit_object(record)?;
        if commit.extra.get(NAME).map(String::as_str) != Some(name) {
            return Err(bad("it is no move of this alias"));
        }
        let (to, before) = match commit.parents.as_slice() {
            [to] => (*to, None),
            [to, before] => (*to, Some(*before)),
            _ => return Err(bad("it names neither one commit nor a commit and a record")),
        };
        let action = match commit.extra.get(ACTION).map(String::as_str) {
            Some("set") => MoveAction::Set,
            Some("rollback") if before.is_some() => MoveAction::Rollback,
            _ => return Err(bad("it does not say what it did")),
        };
        let verdict = commit.extra.get(GATE).map(|text| {
            serde_json::from_str(text).map_err(|e| bad(&format!("what its gates said: {e}")))
        });
        Ok(AliasMove {
            record,
            commit: to,
            before,
            action,
            who: commit.committer,
            time: commit.time,
            why: commit.message,
            forced: commit.extra.get(FORCED).cloned(),
            verdict: verdict.transpose()?,
        })
    }

    /// Lets an alias name a commit, if the gates of that commit let it.
    ///
    /// # Errors
    /// The name is not allowed, the alias names another commit than was expected or that one already, a
    /// gate does not pass ([`Error::Gated`]), or another process was faster. Nothing has moved then.
    pub fn set_alias(
        &mut self,
        name: &str,
        to: CommitId,
        options: &MoveOptions,
    ) -> Result<AliasMove> {
        let old = match self.ref_commit(&ref_of(name)) {
            Some(record) => Some(self.alias_record(name, record)?),
            None => {
                self.new_ref("alias", names::ALIASES, name)?;
                for (what, below) in [("branch", names::HEADS), ("tag", names::TAGS)] {
                    if self.ref_commit(&format!("{below}{name}")).is_some() {
                        let name = name.to_owned();
                        return Err(Error::Exists { what, name });
                    }
                }
                None
            }
        };
        check_expected(name, old.as_ref(), options.expect)?;
        let is_there = old.is_some();
        let old = match old {
            None => self.deleted_alias(name)?,
            old => old,
        };
        if is_there && old.as_ref().is_some_and(|old| old.commit == to) {
            let text = format!("alias `{name}` names commit `{}` already", to.short());
            return Err(Error::State(text));
        }
        // What can't be served gets no name either.
        self.files(to)?;
        let verdict = self.gate(to, old.as_ref().map(|m| m.commit))?;
        let refused: Vec<String> = match &verdict {
            Some(v) => v.failed().map(ToString::to_string).collect(),
            None => Vec::new(),
        };
        if !refused.is_empty() && options.force.is_none() {
            return Err(Error::Gated {
                alias: name.to_owned(),
                commit: to.short(),
                refused,
            });
        }
        let forced = options.force.clone().filter(|_| !refused.is_empty());
        self.record_move(&NewMove {
            alias: name,
            to,
            before: old.map(|m| m.record),
            action: MoveAction::Set,
            options,
            verdict,
            forced,
        })
    }

    /// The last move of an alias that was deleted here: one that is made again goes on from there, so that
    /// its gates still have what they compare with. That its first move was taken back deletes it, too.
    fn deleted_alias(&self, name: &str) -> Result<Option<AliasMove>> {
        let whole = self.log.whole()?;
        let log = whole.as_ref().unwrap_or(&self.log);
        let full = ref_of(name);
        let changes = log.operations.iter().rev().flat_map(|o| &o.changes);
        let last = changes.into_iter().find(|c| c.name == full);
        let record = last
            .filter(|change| change.new.is_none())
            .and_then(|change| change.old.as_ref()?.commit());
        match record {
            // `gc` may have taken it since.
            Some(record) if self.has_commit(record)? => self.alias_record(name, record).map(Some),
            _ => Ok(None),
        }
    }

    /// Brings an alias back to the commit that it named before; called again, to the one before that. It
    /// has been in service, so no gate is asked.
    ///
    /// # Errors
    /// There is no such alias or nothing before, it names another commit than was expected, or another
    /// process was faster.
    pub fn rollback_alias(&mut self, name: &str, options: &MoveOptions) -> Result<AliasMove> {
        let moves = self.alias_history(name)?;
        check_expected(name, moves.first(), options.expect)?;
        let Some(to) = served_before(&moves) else {
            let text = format!(
                "alias `{name}` named nothing before commit `{}`",
                moves[0].commit.short()
            );
            return Err(Error::State(text));
        };
        let mut options = options.clone();
        if options.message.trim().is_empty() {
            options.message = format!("back to {}", to.short());
        }
        self.record_move(&NewMove {
            alias: name,
            to,
            before: moves.first().map(|m| m.record),
            action: MoveAction::Rollback,
            options: &options,
            verdict: None,
            forced: None,
        })
    }

    /// Removes an alias; `undo` brings it back.
    ///
    /// # Errors
    /// Unknown.
    pub fn delete_alias(&mut self, name: &str) -> Result<CommitId> {
        let last = self.alias(name)?;
        let change = self.ref_change(&ref_of(name), None);
        self.update_refs(vec![change])?;
        Ok(last.commit)
    }

    fn record_move(&mut self, new: &NewMove<'_>) -> Result<AliasMove> {
        let record = self.store_move(new)?;
        let change = self.ref_change(&ref_of(new.alias), Some(Target::Commit(record)));
        self.update_refs(vec![change])?;
        self.alias_record(new.alias, record)
    }

    /// Stores the record of a move; no ref names it yet.
    fn store_move(&self, new: &NewMove<'_>) -> Result<CommitId> {
        let NewMove { to, options, .. } = *new;
        check_message(&options.message)?;
        let who = self.author(options.author.as_deref())?;
        let served = self.commit_object(to)?;
        let mut extra = BTreeMap::from([
            (NAME.to_owned(), new.alias.to_owned()),
            (ACTION.to_owned(), new.action.word().to_owned()),
        ]);
        if let Some(verdict) = &new.verdict {
            let text = serde_json::to_string(verdict).unwrap_or_default();
            extra.insert(GATE.to_owned(), text);
        }
        let forced = new.forced.clone();
        extra.extend(forced.map(|reason| (FORCED.to_owned(), reason)));
        let commit = Commit {
            recipe: served.recipe,
            model: served.model,
            parents: std::iter::once(to).chain(new.before).collect(),
            author: who.clone(),
            committer: who,
            time: clock::now(),
            message: options.message.trim().to_owned(),
            runs: Vec::new(),
            extra,
        };
        let session = self.store.begin()?;
        let record = CommitId(session.put_object(&commit)?);
        session.finish()?;
        Ok(record)
    }
}

/// The commit that an alias with these moves, newest first, goes back to.
fn served_before(moves: &[AliasMove]) -> Option<CommitId> {
    let mut served = Vec::new();
    for step in moves.iter().rev() {
        match step.action {
            MoveAction::Set => served.push(step.commit),
            MoveAction::Rollback => drop(served.pop()),
        }
    }
    served.iter().rev().nth(1).copied()
}

fn check_expected(name: &str, old: Option<&AliasMove>, expect: Option<Expect>) -> Result<()> {
    let now = old.map(|m| m.commit);
    let text = match (expect, now) {
        (None, _) | (Some(Expect::Absent), None) => return Ok(()),
        (Some(Expect::Commit(want)), Some(now)) if want == now => return Ok(()),
        (Some(_), Some(now)) => format!("alias `{name}` names commit `{}`", now.short()),
        (Some(_), None) => format!("there is no alias `{name}` yet"),
    };
    Err(Error::State(format!(
        "{text}, which is not what was expected"
    )))
}

#[cfg(test)]
mod tests;
