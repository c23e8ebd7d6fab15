//! Aliases on their way: what a remote says of a deployment name is taken where it goes on from ours. A move
//! here that was not pushed is never replaced.

use modelv_core::id::CommitId;
use modelv_store::remote::Root;

use super::RefUpdate;
use crate::alias::AliasMove;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;

/// Tells that an alias of a remote gets no name here.
fn leave_out(name: &str, why: &str, ctx: &Ctx<'_>) {
    let text = format!("alias `{name}` of the remote is left out: {why}");
    ctx.progress.note(&text);
}

impl Repo {
    /// Aliases of a remote that have moved from where they are here. Names come from outside: what can be no
    /// alias is left out and told, and keeps nobody from the rest.
    pub(super) fn aliases_of_root(
        &self,
        root: &Root,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<(String, CommitId)>> {
        let mut out = Vec::new();
        for (full, theirs) in &root.refs {
            let Some(name) = full.strip_prefix(names::ALIASES) else {
                continue;
            };
            if let Err(e) = names::check("alias", name) {
                leave_out(name, &e.to_string(), ctx);
                continue;
            }
            let is_ahead = match self.ref_commit(full) {
                Some(ours) if ours == *theirs => true,
                Some(ours) => self.has_commit(*theirs)? && self.is_before(*theirs, ours)?,
                None => false,
            };
            if !is_ahead {
                out.push((name.to_owned(), *theirs));
            }
        }
        Ok(out)
    }

    /// The changes that take over moves that have come. An alias that can't be read or served is left out.
    pub(super) fn alias_changes(
        &self,
        moved: Vec<(String, CommitId)>,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RefChange>> {
        let mut changes = Vec::new();
        for (name, record) in moved {
            let full = format!("{}{name}", names::ALIASES);
            let found = match self.alias_record(&name, record) {
                Err(e @ Error::Corrupt { .. }) => {
                    leave_out(&name, &e.to_string(), ctx);
                    continue;
                }
                found => found?,
            };
            if !self.is_target_of(&found)? {
                let text = "its record is not of the commit that it names";
                leave_out(&name, text, ctx);
                continue;
            }
            // A move here that nobody else has is in no other place: it is not replaced.
            if let Some(ours) = self.ref_commit(&full)
                && !self.is_before(ours, record)?
            {
                let text = format!(
                    "alias `{name}` was moved here and on the remote, there to {} by {}: the one here stays; \
                     `modelv alias delete {name}` and another fetch take the other",
                    found.commit.short(),
                    found.who.name
                );
                ctx.progress.note(&text);
                continue;
            }
            changes.push(self.ref_change(&full, Some(Target::Commit(record))));
        }
        Ok(changes)
    }

    /// Whether a move that has come leads to a commit that can be checked out, and says of it what it is.
    fn is_target_of(&self, found: &AliasMove) -> Result<bool> {
        if !self.has_commit(found.commit)? {
            return Ok(false);
        }
        let (record, to) = (
            self.commit_object(found.record)?,
            self.commit_object(found.commit)?,
        );
        self.files(found.commit)?;
        Ok((&record.recipe, &record.model) == (&to.recipe, &to.model))
    }

    /// The same updates, those of aliases with the commits that they name instead of the records.
    pub(super) fn with_targets(&self, updates: Vec<RefUpdate>) -> Vec<RefUpdate> {
        let target = |name: &str, record: Option<CommitId>| {
            let found = record.and_then(|id| self.alias_record(name, id).ok());
            found.map(|m| m.commit).or(record)
        };
        let named = |mut update: RefUpdate| {
            if let Some(name) = update.name.strip_prefix(names::ALIASES) {
                update.old = target(name, update.old);
                update.new = target(name, update.new);
            }
            update
        };
        updates.into_iter().map(named).collect()
    }
}
