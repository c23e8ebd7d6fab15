//! Taking a move of an alias back: a move of its own, so that the history of a deployment name keeps both.

use modelv_core::id::CommitId;

use super::{AliasMove, MoveAction, MoveOptions, NewMove, ref_of, served_before};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;

/// Why it goes past gates that it does not pass now: it was in service.
const FORCED: &str = "a move back was taken back, and it was in service before";

impl Repo {
    /// The change that takes back a move of an alias that an operation made here. `None`: the alias names another
    /// commit by now, and stays.
    pub(crate) fn alias_back(
        &self,
        change: &RefChange,
        command: &str,
        ctx: &Ctx<'_>,
    ) -> Result<Option<RefChange>> {
        let name = change.name.strip_prefix(names::ALIASES).unwrap_or_default();
        let record = |target: &Option<Target>| target.as_ref().and_then(Target::commit);
        let commit = |record: Option<CommitId>| -> Result<Option<CommitId>> {
            let found = record.map(|record| self.alias_record(name, record));
            Ok(found.transpose()?.map(|m| m.commit))
        };
        let now = self.ref_commit(&change.name);
        let (made, want) = (record(&change.new), commit(record(&change.old))?);
        if commit(now)? != commit(made)? {
            ctx.progress.note(&format!(
                "alias `{name}` has moved since, and stays; `modelv alias log {name}` shows how, `modelv alias \
                 rollback {name}` goes back a move"
            ));
            return Ok(None);
        }
        let last = match now {
            Some(record) => Some(self.alias_record(name, record)?),
            None => self.deleted_alias(name)?,
        };
        let new = match (want, last) {
            // Its first move: what is left is as if it was deleted, and its history goes on from there.
            (None, _) => None,
            (Some(to), Some(last)) if now.is_none() && last.commit == to => Some(last.record),
            (Some(to), Some(last)) => Some(self.store_back(name, to, last, command)?),
            (Some(_), None) => record(&change.old),
        };
        let new = new.map(Target::Commit);
        let old = now.map(Target::Commit);
        Ok((old != new).then(|| RefChange {
            name: ref_of(name),
            old,
            new,
        }))
    }

    /// The record of the move back to a commit, after the last move that there was.
    fn store_back(
        &self,
        name: &str,
        to: CommitId,
        last: AliasMove,
        command: &str,
    ) -> Result<CommitId> {
        let before = served_before(&self.moves_from(name, last.clone())?);
        let options = MoveOptions {
            message: format!("taken back: {command}"),
            ..MoveOptions::default()
        };
        let is_back = before == Some(to);
        // What it goes back to has been in service, so no gate is asked.
        let verdict = match is_back {
            true => None,
            false => self.gate(to, Some(last.commit))?,
        };
        let is_refused = verdict
            .as_ref()
            .is_some_and(|v| v.failed().next().is_some());
        self.store_move(&NewMove {
            alias: name,
            to,
            before: Some(last.record),
            action: match is_back {
                true => MoveAction::Rollback,
                false => MoveAction::Set,
            },
            options: &options,
            verdict,
            forced: is_refused.then(|| FORCED.to_owned()),
        })
    }
}
