//! Collecting on a remote: what no branch, tag or set of wheels there leads to.
//!
//! Decides what is alive; [`modelv_store::remote::RemoteCollector`] takes the rest away. Nothing of this
//! repository counts: what was never pushed is not there.

use std::collections::HashSet;

use modelv_store::remote::{CollectOptions, Collection, RemoteCollector};

use super::walk::{Scope, Step, below};
use super::{CtxWatch, RemoteInfo};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// So often others may push while everything is marked.
const ROUNDS_MAX: u32 = 16;

impl Repo {
    /// Takes away what no ref of a remote leads to. Others may push and fetch meanwhile.
    ///
    /// # Errors
    /// The remote can't be reached or written, has no repository, or lacks something that its refs lead to:
    /// nothing is taken away then.
    pub fn gc_remote(
        &self,
        info: &RemoteInfo,
        options: CollectOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Collection> {
        let remote = self.open_remote(info)?;
        let tmp = self.dir().join("tmp");
        let scratch = tempfile::tempdir_in(&tmp).map_err(Error::io("create", &tmp))?;
        let watch = CtxWatch(ctx);
        let collector = RemoteCollector::begin(&remote, scratch.path(), &watch)?;
        let mut collector = collector.ok_or_else(|| Error::not_found("repository", &info.url))?;
        for _ in 0..ROUNDS_MAX {
            ctx.progress.start("marking", Unit::Items, None);
            let marked = mark(&mut collector, ctx);
            ctx.progress.finish();
            marked?;
            if let Some(done) = collector.collect(options, &watch)? {
                return Ok(done);
            }
            collector.look_again(&watch)?;
        }
        Err(modelv_store::remote::RemoteError::Busy {
            url: info.url.clone(),
        }
        .into())
    }
}

fn mark(collector: &mut RemoteCollector<'_>, ctx: &Ctx<'_>) -> Result<()> {
    let mut seen: HashSet<Step> = HashSet::new();
    let mut stack: Vec<Step> = collector.tips().map(Step::Commit).collect();
    while let Some(step) = stack.pop() {
        if !seen.insert(step) {
            continue;
        }
        ctx.cancel.check()?;
        ctx.progress.advance(1);
        collector.mark(step.item())?;
        stack.extend(below(collector.objects(), step, &Scope::default())?);
    }
    Ok(())
}
