//! `modelv fsck`.

use std::process::ExitCode;

use modelv_repo::ctx::{Progress, Unit};

use super::{Done, Session};
use crate::ui::size;

/// Exit status of a damaged repository.
const CORRUPT: u8 = 4;

/// Read every stored byte and check every hash.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(_: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    s.bar.start("checking", Unit::Bytes, None);
    let mut last = 0;
    let report = repo.store().verify(&mut |done, _| {
        s.bar.advance(done - last);
        last = done;
    });
    s.bar.finish();
    let report = report.map_err(modelv_repo::Error::from)?;
    let unfinished = repo.oplog().unfinished_bytes;
    if unfinished > 0 {
        s.ui.talk(format!(
            "note: the last {unfinished} bytes of the operation log are an operation that never finished; \
             the next command that writes keeps a copy in `.mv/quarantine`"
        ));
    }
    for made in report.remade.iter().chain(&repo.check_derived()) {
        s.ui.talk(format!(
            "note: {made}; it is made again from what it was made from"
        ));
    }
    let missing = repo.check_reachable()?;
    let count = report.problems.len() + missing.len();
    for problem in report.problems.iter().chain(&missing) {
        s.ui.line(format!("damaged: {problem}"));
    }
    let summary = format!(
        "{} packs, {} entries, {}",
        report.packs,
        report.entries,
        size(report.bytes)
    );
    if count == 0 {
        s.ui.line(format!(
            "sound: {summary}, {} operations",
            repo.oplog().operations.len()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.talk(format!("error: {count} problems in {summary}"));
    Ok(ExitCode::from(CORRUPT))
}
