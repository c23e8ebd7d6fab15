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

/// The ref that says where an alias of a remote was last seen.
fn seen_ref(remote: &str, name: &str) -> String {
    format!("{}{remote}/{name}", names::REMOTE_ALIASES)
}

impl Repo {
    /// The last move of an alias of a remote, as it was last seen there. Whoever follows the remote follows this: the
    /// alias here may have moves that nobody pushed.
    ///
    /// # Errors
    /// It was never seen there, or its record is damaged.
    pub fn alias_of_remote(&self, remote: &str, name: &str) -> Result<AliasMove> {
        let seen = self.ref_commit(&seen_ref(remote, name));
        let record = seen.ok_or_else(|| Error::not_found("alias", format!("{remote}/{name}")))?;
        self.alias_record(name, record)
    }

    /// The record of an alias as a remote had it when it was last seen.
    pub(super) fn seen_alias(&self, remote: &str, full: &str) -> Option<CommitId> {
        let name = full.strip_prefix(names::ALIASES)?;
        self.ref_commit(&seen_ref(remote, name))
    }

    /// The change that notes where an alias of a remote is.
    pub(super) fn seen_change(
        &self,
        remote: &str,
        full: &str,
        new: Option<CommitId>,
    ) -> Option<RefChange> {
        let name = seen_ref(remote, full.strip_prefix(names::ALIASES)?);
        let old = self.log.refs.get(&name).cloned();
        let new = new.map(Target::Commit);
        (old != new).then_some(RefChange { name, old, new })
    }

    /// The changes that note where the aliases of a remote are. One that is gone there and as it was there here is
    /// told, and its note stays until it goes or moves here: a push does not bring it back unseen.
    pub(super) fn see_aliases(
        &self,
        remote: &str,
        root: &Root,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<RefChange>> {
        let mut changes = Vec::new();
        for (full, record) in &root.refs {
            let Some(name) = full.strip_prefix(names::ALIASES) else {
                continue;
            };
            // What was left out is not here, or is no record of it.
            if names::check("alias", name).is_ok()
                && self.has_commit(*record)?
                && self.alias_record(name, *record).is_ok()
            {
                changes.extend(self.seen_change(remote, full, Some(*record)));
            }
        }
        let below = format!("{}{remote}/", names::REMOTE_ALIASES);
        for (name, seen) in self.refs_below(&below) {
            let full = format!("{}{name}", names::ALIASES);
            if root.refs.contains_key(&full) {
                continue;
            }
            if self.ref_commit(&full) != Some(seen) {
                changes.extend(self.seen_change(remote, &full, None));
                continue;
            }
            ctx.progress.note(&format!(
                "alias `{name}` was deleted on {remote}, and stays here: `modelv alias delete {name}` deletes it \
                 here too, another move of it and a push bring it back there"
            ));
        }
        Ok(changes)
    }

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
