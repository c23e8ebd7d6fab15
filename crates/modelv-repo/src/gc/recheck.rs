//! The other half of the bargain with `gc`: before the operation log names something, it is made sure
//! that it is still there, if anything was collected since this process first looked.

use std::collections::HashSet;

use modelv_core::canon;
use modelv_core::commit::Commit;
use modelv_store::gc::State;
use modelv_store::remote::Item;
use modelv_store::{Error as StoreError, Store};

use super::mark::{step_of, step_of_target};
use crate::error::{Error, Result};
use crate::oplog::{OpLog, RefChange};
use crate::remote::walk::{Scope, Step, below};

/// Checks what `changes` are about to name. Called under the lock of the log: what is there now is
/// seen by the next collection.
pub(crate) fn recheck(
    store: &Store,
    epoch: Option<u64>,
    partial: bool,
    log: &OpLog,
    changes: &[RefChange],
) -> Result<()> {
    let new = changes.iter().filter_map(|c| c.new.as_ref());
    let steps = new.filter_map(step_of_target).collect();
    check(store, epoch, partial, log, steps)
}

/// The same for a lease.
pub(crate) fn recheck_items(
    store: &Store,
    epoch: Option<u64>,
    partial: bool,
    log: &OpLog,
    items: &[Item],
) -> Result<()> {
    let steps = items.iter().map(|item| step_of(*item)).collect();
    check(store, epoch, partial, log, steps)
}

fn check(
    store: &Store,
    epoch: Option<u64>,
    partial: bool,
    log: &OpLog,
    mut steps: Vec<Step>,
) -> Result<()> {
    if steps.is_empty() || super::omit("recheck") {
        return Ok(());
    }
    let state = State::read(store.dir())?;
    if epoch == Some(state.epoch) && all_stay(store, &steps)? {
        return Ok(());
    }
    let kept = log.kept_targets(state.horizon);
    let safe: HashSet<Step> = kept.filter_map(|(_, t)| step_of_target(t)).collect();
    // Files that are open here may be deleted already: only a fresh look counts.
    let fresh = Store::open(store.dir())?;
    let scope = Scope::default();
    let mut seen = HashSet::new();
    while let Some(step) = steps.pop() {
        if safe.contains(&step) || !seen.insert(step) {
            continue;
        }
        let found = match step {
            Step::Blob(id, _) => fresh.check_blob(&id).map(|()| Vec::new()),
            Step::Env(id) => fresh
                .object_bytes(canon::Kind::Env, &id)
                .map(|_| Vec::new()),
            other => below(&fresh, other, &scope),
        };
        match found {
            Ok(more) => steps.extend(more),
            Err(StoreError::NotFound { .. }) if partial => {}
            Err(StoreError::NotFound { what, id }) => {
                // The next attempt stores it again.
                store.refresh()?;
                let what = format!("{what} `{}`", id.get(..12).unwrap_or(&id));
                return Err(Error::Collected { what });
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Whether what is to be named, and the parents of commits, is in packs that stay: what writers made
/// or found since is, unless packs were moved meanwhile.
fn all_stay(store: &Store, steps: &[Step]) -> Result<bool> {
    for step in steps {
        let stays = match step.item() {
            Item::Object(kind, id) => store.keeps_object(kind, &id)?,
            Item::Blob(id) => store.keeps_blob(&id)?,
        };
        if !stays {
            return Ok(false);
        }
        let Step::Commit(id) = step else { continue };
        let commit: Commit = canon::load(store, &id.0)?;
        for parent in commit.parents {
            let kind = canon::Kind::Commit;
            // One that is not there at all is missing from a clone of a single commit.
            if store.has_object(kind, &parent.0)? && !store.keeps_object(kind, &parent.0)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
