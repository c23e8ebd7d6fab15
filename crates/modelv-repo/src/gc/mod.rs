//! `gc`: what nothing leads to goes, in two phases. See `spec/gc.md`.
//!
//! [`modelv_store::gc`] moves and deletes packs; here is decided what is alive, and that nothing is
//! named in the operation log that was collected meanwhile. Must never give up what a ref, a recent
//! operation, an unfinished merge, a run or a living process leads to.

mod mark;
mod recheck;
#[cfg(test)]
mod tests;

use modelv_store::Store;
use modelv_store::gc::{Collector, Done, Plan, Rewrite, empty_trash};

pub(crate) use mark::step_of_target as start_of;
pub(crate) use recheck::{recheck, recheck_items};

use crate::capture::clock;
use crate::ctx::{Ctx, Unit};
use crate::error::Result;
use crate::oplog::OpLog;
use crate::repo::Repo;
use mark::Marker;

/// Between condemning and deleting, in seconds.
const DELAY_SECONDS: i64 = 24 * 3600;
const DAY_SECONDS: i64 = 24 * 3600;
/// So often the log may grow while everything is marked, before the lock is held meanwhile.
const ROUNDS_MAX: u32 = 4;

/// What `gc` is asked for.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// Only tell.
    pub dry_run: bool,
    /// Delete at once what is condemned; nobody else may write meanwhile.
    pub now: bool,
    /// Write all packs anew.
    pub repack: bool,
    /// Operations that are younger than so many days can be undone.
    pub keep_days: u32,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            now: false,
            repack: false,
            keep_days: 90,
        }
    }
}

/// What `gc` found and did.
#[derive(Debug, Clone, Copy)]
pub struct GcReport {
    /// What is alive and dead.
    pub plan: Plan,
    /// What was condemned and deleted; nothing with `dry_run`.
    pub done: Done,
    /// Operations before this one can't be undone from now on.
    pub horizon: u64,
}

impl Repo {
    /// Collects what nothing leads to. Others may read and write meanwhile.
    ///
    /// # Errors
    /// Something that is alive can't be read: nothing is condemned or deleted then. Another collection
    /// is at work; with `now`, somebody is writing.
    pub fn gc(&mut self, options: &GcOptions, ctx: &Ctx<'_>) -> Result<GcReport> {
        // What a killed run was about is kept by nothing else once its process is gone.
        if !options.dry_run {
            self.record_crashed()?;
        }
        self.gc_at(options, clock::now().seconds, ctx)
    }

    fn gc_at(&self, options: &GcOptions, now: i64, ctx: &Ctx<'_>) -> Result<GcReport> {
        let writers = (options.now && !options.dry_run).then(|| self.store.lock_writers_out());
        let _writers = writers.transpose()?;
        let store = Store::open(self.dir())?;
        let mut collector = Collector::begin(&store)?;
        let mut log = OpLog::read(&self.dir().join("oplog"))?;
        // Packs come before what names them: all that this log leads to is in those that are there now.
        collector.look_again()?;
        let horizon = self.horizon(&log, now - i64::from(options.keep_days) * DAY_SECONDS)?;
        let mut marker = Marker::new(self, &store, horizon);
        ctx.progress.start("marking", Unit::Items, None);
        let marked = marker.mark(&log, &mut collector, ctx);
        ctx.progress.finish();
        marked?;
        let rewrite = if options.repack {
            Rewrite::All
        } else {
            Rewrite::Needed
        };
        let plan = collector.plan(rewrite);
        let mut report = GcReport {
            plan,
            done: Done::default(),
            horizon,
        };
        if options.dry_run {
            return Ok(report);
        }
        copy(&mut collector, plan.copy_bytes, ctx)?;
        let until = if options.now {
            i64::MAX
        } else {
            now - DELAY_SECONDS
        };
        let mut held = None;
        for round in 0.. {
            let lock = match held.take() {
                Some(lock) => lock,
                None => log.lock()?,
            };
            log.catch_up()?;
            if !marker.has_new(&log)? {
                report.done = collector.condemn(horizon, now, until)?;
                break;
            }
            if round >= ROUNDS_MAX {
                held = Some(lock);
            } else {
                drop(lock);
            }
            collector.look_again()?;
            marker.mark(&log, &mut collector, ctx)?;
            collector.plan(rewrite);
            copy(&mut collector, 0, ctx)?;
        }
        drop(collector);
        empty_trash(self.dir());
        self.store.refresh()?;
        Ok(report)
    }

    /// The first operation from which on everything that operations name is kept.
    fn horizon(&self, log: &OpLog, since: i64) -> Result<u64> {
        let before = modelv_store::gc::State::read(self.dir())?.horizon;
        let first = log.operations.iter().find(|o| o.time.seconds >= since);
        let count = log.operations.len() as u64;
        Ok(first.map_or(count, |o| o.seq).max(before))
    }
}

fn copy(collector: &mut Collector<'_>, bytes: u64, ctx: &Ctx<'_>) -> Result<()> {
    ctx.progress.start("copying", Unit::Bytes, Some(bytes));
    let done = collector.copy(&mut |bytes| {
        ctx.progress.advance(bytes);
        ctx.cancel.check()
    });
    ctx.progress.finish();
    done
}

#[cfg(test)]
thread_local! {
    static OMITTED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Whether a test leaves a part of the protocol out, to see that it is needed.
#[cfg(test)]
fn omit(part: &str) -> bool {
    OMITTED.get() == part
}

/// Whether a test leaves a part of the protocol out.
#[cfg(not(test))]
const fn omit(_: &str) -> bool {
    false
}
