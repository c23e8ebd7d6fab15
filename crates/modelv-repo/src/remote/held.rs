//! What a push sends, and what it need not ask for: whatever the refs of a remote lead to is there, and where this
//! clone has it, too, it is known without asking what each pack of the remote holds.
//!
//! A hint in one direction only: what is not found here may be there all the same, and is sent again.

use std::collections::HashSet;

use modelv_core::id::CommitId;
use modelv_store::remote::{Catalog, Item, Outgoing, Root};

use super::walk::{Scope, Step, walk};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::history::LogOptions;
use crate::repo::Repo;

/// Where the history of a remote ends and that of a push begins: the last commits that refs of the remote lead to.
#[derive(Debug)]
pub(super) struct Held {
    old: HashSet<CommitId>,
}

impl Repo {
    /// What the refs of a remote lead to, as far as it is here.
    pub(super) fn held(&self, root: &Root, tips: &[CommitId]) -> Result<Held> {
        let mut there = Vec::new();
        for id in root.refs.values() {
            if self.has_commit(*id)? {
                there.push(*id);
            }
        }
        there.sort_unstable();
        there.dedup();
        let commits = self.history(&LogOptions {
            start: tips.to_vec(),
            exclude: there,
            ..LogOptions::default()
        })?;
        let new: HashSet<CommitId> = commits.iter().map(|(id, _)| *id).collect();
        let parents = commits.iter().flat_map(|(_, commit)| &commit.parents);
        let mut old = HashSet::new();
        // A ref to what is there already sends nothing.
        for id in parents.chain(tips).filter(|id| !new.contains(id)) {
            // Behind the end of a history that was cut off may be anything.
            if self.has_commit(*id)? {
                old.insert(*id);
            }
        }
        Ok(Held { old })
    }

    /// What a remote lacks of what commits lead to.
    pub(super) fn outgoing<'a>(
        &'a self,
        catalog: &'a Catalog,
        tips: &[CommitId],
        held: Option<&Held>,
        ctx: &Ctx<'_>,
    ) -> Result<Outgoing<'a>> {
        let mut out = Outgoing::new(&self.store, catalog);
        if let Some(held) = held {
            self.hold_all(&mut out, held, ctx)?;
        }
        let tips = tips.iter().copied();
        walk(&self.store, tips, &Scope::default(), &mut |step| {
            ctx.cancel.check()?;
            match (step, held) {
                (Step::Commit(id), Some(held)) if held.old.contains(&id) => Ok(false),
                _ => out.add(step.item()).map_err(Error::from),
            }
        })?;
        Ok(out)
    }

    fn hold_all(&self, out: &mut Outgoing<'_>, held: &Held, ctx: &Ctx<'_>) -> Result<()> {
        let scope = Scope {
            single: true,
            ..Scope::default()
        };
        let old = held.old.iter().copied();
        walk(&self.store, old, &scope, &mut |step| {
            ctx.cancel.check()?;
            out.hold(step.item());
            // A clone of a part may lack what is below.
            match step.item() {
                Item::Object(kind, id) => Ok::<_, Error>(self.store.has_object(kind, &id)?),
                Item::Blob(_) => Ok(false),
            }
        })
    }
}
