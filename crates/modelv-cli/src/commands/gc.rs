//! `modelv gc`.

use std::process::ExitCode;

use modelv_repo::remote::CollectOptions;
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
    /// Collect on a remote instead: what no branch or tag there leads to, and what interrupted pushes left.
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with = "repack"
    )]
    remote: Option<String>,
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
    if let Some(name) = &args.remote {
        return on_remote(args, Some(name.as_str()).filter(|n| !n.is_empty()), s);
    }
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

fn on_remote(args: &Args, name: Option<&str>, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let info = repo.remote_or_default(name)?;
    let options = CollectOptions {
        dry_run: args.dry_run,
        now: args.now,
    };
    let done = repo.gc_remote(&info, options, &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "remote": info.name,
            "dry_run": args.dry_run,
            "live": { "objects": done.live, "bytes": done.live_bytes },
            "listed_bytes": done.listed_bytes,
            "condemned_packs": done.packs,
            "copied_bytes": done.copied_bytes,
            "left_behind": done.left_behind,
            "deleted": { "objects": done.deleted, "bytes": done.deleted_bytes },
        }));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!(
        "{} of {} on {} are alive",
        size(done.live_bytes),
        size(done.listed_bytes),
        info.name
    ));
    let verb = if args.dry_run {
        "would condemn"
    } else {
        "condemned"
    };
    let s_of = |n: u64| if n == 1 { "" } else { "s" };
    s.ui.line(format!(
        "{verb} {} pack{} ({} copied) and {} of interrupted pushes, deleted {} object{} ({})",
        done.packs,
        s_of(done.packs),
        size(done.copied_bytes),
        done.left_behind,
        done.deleted,
        s_of(done.deleted),
        size(done.deleted_bytes)
    ));
    if !args.now && !args.dry_run && done.packs + done.left_behind > 0 {
        s.ui.talk("note: what is condemned goes with the next `modelv gc --remote` a day from now; `--now` does not wait");
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
