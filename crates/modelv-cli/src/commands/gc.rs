//! `modelv gc`.

use std::process::ExitCode;

use modelv_repo::{GcOptions, GcReport};
use serde_json::json;

use super::{Done, Session};
use crate::ui::{Ui, size};

/// Delete what nothing leads to, and put small packs together.
///
/// What no branch, tag, run, remote or recent operation leads to is condemned, and deleted by the next
/// `gc` a day later. Others may work meanwhile.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tell what would go.
    #[arg(long)]
    dry_run: bool,
    /// Delete at once instead of a day later; nobody else may be writing.
    #[arg(long)]
    now: bool,
    /// Write all packs anew, as small as possible.
    #[arg(long)]
    repack: bool,
    /// Keep what `undo` needs for so many days.
    #[arg(long, value_name = "N", default_value_t = 90)]
    keep_days: u32,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let options = GcOptions {
        dry_run: args.dry_run,
        now: args.now,
        repack: args.repack,
        keep_days: args.keep_days,
    };
    let report = s.repo()?.gc(&options, &s.ctx())?;
    if args.json {
        s.ui.json(&as_json(&report, args.dry_run));
    } else {
        show(s.ui, &report, args);
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(report: &GcReport, dry_run: bool) -> serde_json::Value {
    let GcReport {
        plan,
        done,
        horizon,
    } = report;
    json!({
        "dry_run": dry_run,
        "live": { "objects": plan.live, "bytes": plan.live_bytes },
        "dead": { "objects": plan.dead, "bytes": plan.dead_bytes },
        "to_condemn": { "packs": plan.packs, "bytes": plan.pack_bytes },
        "to_copy": { "objects": plan.copies, "bytes": plan.copy_bytes },
        "condemned_before": { "packs": plan.condemned, "bytes": plan.condemned_bytes },
        "condemned": { "packs": done.condemned, "bytes": done.condemned_bytes },
        "deleted": { "packs": done.deleted, "bytes": done.deleted_bytes },
        "first_operation_kept": horizon,
    })
}

fn show(ui: &mut Ui, report: &GcReport, args: &Args) {
    let GcReport { plan, done, .. } = report;
    ui.line(format!(
        "{} of {} objects are dead, {} of {}",
        plan.dead,
        plan.live + plan.dead,
        size(plan.dead_bytes),
        size(plan.live_bytes + plan.dead_bytes)
    ));
    if args.dry_run {
        ui.line(format!(
            "would condemn {}, after copying {} of it that is alive",
            packs(plan.packs, plan.pack_bytes),
            size(plan.copy_bytes)
        ));
        if plan.condemned > 0 {
            let before = packs(plan.condemned, plan.condemned_bytes);
            ui.line(format!("{before} condemned before"));
        }
        return;
    }
    let deleted = packs(done.deleted, done.deleted_bytes);
    if args.now {
        ui.line(format!("deleted {deleted}"));
        return;
    }
    let condemned = packs(done.condemned, done.condemned_bytes);
    ui.line(format!("condemned {condemned}, deleted {deleted}"));
    if done.condemned > 0 {
        ui.talk("note: what is condemned goes with the next `modelv gc` a day from now; `--now` does not wait");
    }
}

fn packs(count: u64, bytes: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} pack{s} ({})", size(bytes))
}
