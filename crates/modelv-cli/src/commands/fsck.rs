//! `modelv fsck`.

use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::ctx::{Progress, Unit};
use modelv_repo::{RepairReport, Repo, Rescued, Store, StoreReport, Wreck};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Ui, plain, size};

/// Exit status of a damaged repository.
const CORRUPT: u8 = 4;

/// Read every stored byte and check every hash.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Mend what is damaged with what another repository has: a remote, an address, or a folder.
    #[arg(long, value_name = "FROM")]
    repair: Option<String>,
    /// Read every byte of a remote instead; with `--repair FROM`, mend it with what FROM and this clone have (`.` for
    /// this clone alone).
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    remote: Option<String>,
    /// Where the operation log is lost or damaged: keep its sound beginning, and give every commit
    /// that nothing leads to any more a branch `found/ID`. The damaged log stays in `.mv/quarantine`.
    #[arg(long, conflicts_with_all = ["repair", "remote"])]
    rescue: bool,
    /// As JSON.
    #[arg(long, conflicts_with = "rescue")]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = match s.repo() {
        Ok(repo) => repo,
        Err(e) => {
            let wreck = Wreck::find(&s.dir)?.ok_or(e)?;
            return match args.rescue {
                true => show_rescue(s.ui, &wreck.rescue("fsck --rescue")?),
                false => check_wreck(wreck, s),
            };
        }
    };
    if args.rescue {
        s.ui.line("the operation log is sound: there is nothing to rescue");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.remote {
        let name = Some(name.as_str()).filter(|n| !n.is_empty());
        return check_remote(&repo, name, args.repair.as_deref(), args.json, s);
    }
    if let Some(from) = &args.repair {
        let report = repo.repair(from, &s.dir, &s.ctx())?;
        if args.json {
            return Ok(repair_json(s.ui, &report));
        }
        return Ok(show_repair(s.ui, &report, from));
    }
    let report = check_packs(repo.store(), &s)?;
    match args.json {
        true => check_json(&repo, &report, s),
        false => show_check(&repo, &report, s),
    }
}

fn show_check(repo: &Repo, report: &StoreReport, s: Session<'_>) -> Done {
    name_unfinished(repo, s.ui);
    for made in report.remade.iter().chain(&repo.check_derived()) {
        s.ui.talk(format!(
            "note: {made}; it is made again from what it was made from"
        ));
    }
    for newer in &report.newer {
        s.ui.line(format!("newer: {newer}"));
    }
    // What can't be looked into may lead to all that seems to be missing.
    let mut missing = repo.check_reachable()?;
    if !report.newer.is_empty() {
        missing
            .drain(..)
            .for_each(|problem| s.ui.line(format!("not checked: {problem}")));
    }
    let count = report.problems.len() + missing.len();
    for problem in report.problems.iter().chain(&missing) {
        s.ui.line(format!("damaged: {problem}"));
    }
    if !report.problems.is_empty() {
        name_lost(repo, s.ui)?;
    }
    let summary = format!(
        "{} packs, {} entries, {}",
        report.packs,
        report.entries,
        size(report.bytes)
    );
    name_promised(repo, s.ui)?;
    if count == 0 && report.newer.is_empty() {
        s.ui.line(format!(
            "sound: {summary}, {} operations",
            repo.oplog().count()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if count == 0 {
        s.ui.talk(format!(
            "error: not all of {summary} can be checked: a newer modelv wrote some of it"
        ));
        s.ui.talk("\nhint: install a newer modelv");
        return Ok(ExitCode::FAILURE);
    }
    s.ui.talk(format!("error: {count} problems in {summary}"));
    s.ui.talk("\nhint: `modelv fsck --repair FROM` mends them with what a remote or a clone has");
    Ok(ExitCode::from(CORRUPT))
}

/// Exit status of a check.
fn status_of(is_sound: bool) -> ExitCode {
    ExitCode::from(if is_sound { 0 } else { CORRUPT })
}

fn check_json(repo: &Repo, report: &StoreReport, s: Session<'_>) -> Done {
    let mut missing = repo.check_reachable()?;
    // What can't be looked into may lead to all that seems to be missing.
    let not_checked = match report.newer.is_empty() {
        true => Vec::new(),
        false => std::mem::take(&mut missing),
    };
    let problems: Vec<&String> = report.problems.iter().chain(&missing).collect();
    let lost = match report.problems.is_empty() {
        true => Vec::new(),
        false => repo.lost_files()?,
    };
    let lost = lost
        .iter()
        .map(|(path, commit)| json!({"path": path, "commit": commit.to_hex()}));
    let derived = repo.check_derived();
    let remade: Vec<&String> = report.remade.iter().chain(&derived).collect();
    s.ui.json(&json!({
        "sound": problems.is_empty() && report.newer.is_empty(),
        "packs": report.packs, "entries": report.entries, "bytes": report.bytes,
        "operations": repo.oplog().count(), "unfinished_bytes": repo.oplog().unfinished_bytes,
        "problems": problems, "newer": report.newer, "not_checked": not_checked,
        "lost": lost.collect::<Vec<_>>(), "remade": remade, "promised": repo.promised()?.len(),
    }));
    Ok(match (problems.is_empty(), report.newer.is_empty()) {
        (true, false) => ExitCode::FAILURE,
        (is_sound, _) => status_of(is_sound),
    })
}

fn repair_json(ui: &mut Ui, report: &RepairReport) -> ExitCode {
    let mended = &report.mended;
    ui.json(&json!({
        "sound": report.problems.is_empty(), "problems": report.problems, "fetched": report.fetched,
        "indexes": mended.indexes, "quarantined": mended.packs, "saved": mended.saved, "lost": mended.lost,
    }));
    status_of(report.problems.is_empty())
}

/// Checks a remote, and mends it if asked to.
fn check_remote(
    repo: &Repo,
    name: Option<&str>,
    from: Option<&str>,
    as_json: bool,
    s: Session<'_>,
) -> Done {
    let info = repo.remote_or_default(name)?;
    let dir = s.dir.clone();
    let from = from.map(|from| (from, dir.as_path()));
    let report = repo.check_remote(&info, from, &s.ctx())?;
    if as_json {
        let is_sound = report.damaged.is_empty() || report.mended;
        s.ui.json(&json!({
            "sound": is_sound, "remote": info.name, "packs": report.packs, "bytes": report.bytes,
            "damaged": report.damaged, "mended": report.mended, "missing": report.missing,
        }));
        return Ok(status_of(is_sound));
    }
    let summary = format!(
        "{} packs, {} on {}",
        report.packs,
        size(report.bytes),
        info.name
    );
    for pack in &report.damaged {
        let word = if report.mended { "mended" } else { "damaged" };
        s.ui.line(format!("{word}: pack `{pack}`"));
    }
    for missing in &report.missing {
        s.ui.line(format!("not to be had: {missing}"));
    }
    if report.damaged.is_empty() || report.mended {
        s.ui.line(format!("sound: {summary}"));
        return Ok(ExitCode::SUCCESS);
    }
    let count = report.damaged.len();
    s.ui.talk(format!("error: {count} damaged of {summary}"));
    let hint = match report.missing.is_empty() {
        true => {
            "`--repair .` mends them with what this clone has, `--repair FROM` with another remote's too"
        }
        false => {
            "`--repair FROM` with another remote or clone may have the rest; nothing was changed"
        }
    };
    s.ui.talk(format!("\nhint: {hint}"));
    Ok(ExitCode::from(CORRUPT))
}

/// Says that the operation log ends in the middle of an operation.
fn name_unfinished(repo: &Repo, ui: &mut Ui) {
    let unfinished = repo.oplog().unfinished_bytes;
    if unfinished > 0 {
        ui.talk(format!(
            "note: the last {unfinished} bytes of the operation log are an operation that never finished; \
             the next command that writes keeps a copy in `.mv/quarantine`"
        ));
    }
}

/// Says what a clone of a part leaves to its remotes.
fn name_promised(repo: &Repo, ui: &mut Ui) -> Result<(), CommandError> {
    let absent = repo.promised()?;
    if !absent.is_empty() {
        ui.talk(format!(
            "note: {} contents and records are not in this clone of a part; its remotes have them",
            absent.len()
        ));
    }
    Ok(())
}

/// Names the files that damage has hit: those are what people can bring back from elsewhere.
fn name_lost(repo: &Repo, ui: &mut Ui) -> Result<(), CommandError> {
    for (path, commit) in repo.lost_files()? {
        ui.line(format!(
            "lost: `{path}` of commit `{}` can't be read",
            commit.short()
        ));
    }
    Ok(())
}

fn check_packs(store: &Store, s: &Session<'_>) -> Result<StoreReport, CommandError> {
    s.bar.start("checking", Unit::Bytes, None);
    let mut last = 0;
    let report = store.verify(&mut |done, _| {
        s.bar.advance(done - last);
        last = done;
    });
    s.bar.finish();
    Ok(report.map_err(modelv_repo::Error::from)?)
}

/// Without the log it is not known what ought to be there; what is there can be checked.
fn check_wreck(wreck: Wreck, s: Session<'_>) -> Done {
    let report = check_packs(&wreck.store()?, &s)?;
    for problem in &report.problems {
        s.ui.line(format!("damaged: {problem}"));
    }
    s.ui.line(format!(
        "of {} packs, {} entries, {}: {} problems",
        report.packs,
        report.entries,
        size(report.bytes),
        report.problems.len()
    ));
    Err(wreck.why.into())
}

fn show_rescue(ui: &mut Ui, rescued: &Rescued) -> Done {
    if let Some(aside) = &rescued.aside {
        ui.line(format!("damaged log kept as `{}`", aside.display()));
    }
    ui.line(format!("operations kept: {}", rescued.operations));
    for (name, _, commit) in &rescued.found {
        let day = clock::format_rfc3339(commit.time.seconds);
        ui.line(format!("found: {name} ({day}) {}", plain(commit.subject())));
    }
    if rescued.unnamed > 0 {
        ui.line(format!(
            "more commits than have branches now: {}",
            rescued.unnamed
        ));
    }
    ui.talk(
        "\nhint: `modelv log REV` and `modelv diff` show what they are; `modelv switch -c NAME REV` goes on from one, \
         `modelv branch -d found/...` gives one up",
    );
    Ok(ExitCode::SUCCESS)
}

fn show_repair(ui: &mut Ui, report: &RepairReport, from: &str) -> ExitCode {
    let mended = &report.mended;
    if mended.state {
        ui.line("record of collections: made again");
    }
    if mended.indexes > 0 {
        ui.line(format!("indexes made again: {}", mended.indexes));
    }
    for pack in &mended.packs {
        ui.line(format!("damaged pack kept as `{}`", pack.display()));
    }
    if !mended.packs.is_empty() {
        ui.line(format!(
            "entries of damaged packs: {} good, {} not",
            mended.saved, mended.lost
        ));
    }
    if report.fetched > 0 {
        ui.line(format!("brought from `{from}`: {}", report.fetched));
    }
    for problem in &report.problems {
        ui.line(format!("not repaired: {problem}"));
    }
    if report.problems.is_empty() {
        ui.line("sound");
        return ExitCode::SUCCESS;
    }
    ui.talk(format!(
        "error: {} problems are left; try another repository",
        report.problems.len()
    ));
    ExitCode::from(CORRUPT)
}
