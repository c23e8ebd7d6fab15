//! `modelv weights`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::path::RepoPath;
use modelv_repo::core::weights::Method;
use modelv_repo::{WeightsOptions, WeightsSource};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::Style;

/// Put the weights of several models together.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Merge(MergeArgs),
}

/// Merge safetensors files into one, tensor by tensor.
///
/// Methods: linear[=T|=W:W:...], slerp[=T], task[=SCALE], ties[=DENSITY], dare[=P]. T is the share of
/// the second of two models. The last three add differences to a base and take `,scale=S`,
/// `,weights=W:W:...` and, for dare, `,seed=N`.
#[derive(clap::Args)]
struct MergeArgs {
    /// What is merged: `REV:PATH`, or a file (`./PATH` where its name has a colon).
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<OsString>,
    /// What task, ties and dare add to; the file of the merge base of the first two otherwise.
    #[arg(long, value_name = "MODEL")]
    base: Option<OsString>,
    /// How, for example `slerp=0.3` or `ties=0.2,scale=0.7`.
    #[arg(long, value_name = "METHOD")]
    method: Method,
    /// Where the result goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is in no commit.
    #[arg(long)]
    force: bool,
    /// Commit the result as the model.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO", requires = "message")]
    author: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    match args.what {
        What::Merge(args) => merge(args, s),
    }
}

/// A file of a commit or of the disk, as typed.
fn source(typed: &OsString, s: &Session<'_>) -> Result<WeightsSource, CommandError> {
    let bytes = typed.as_bytes();
    let is_file = bytes.starts_with(b"/") || bytes.starts_with(b"./") || bytes.starts_with(b"../");
    match bytes.iter().position(|b| *b == b':').filter(|_| !is_file) {
        Some(at) => Ok(WeightsSource::Committed {
            revision: String::from_utf8_lossy(&bytes[..at]).into_owned(),
            path: RepoPath::new(&bytes[at + 1..]).map_err(modelv_repo::Error::from)?,
        }),
        None => Ok(WeightsSource::File(s.dir.join(typed))),
    }
}

fn merge(args: MergeArgs, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let models = args.models.iter().map(|m| source(m, &s));
    let options = WeightsOptions {
        models: models.collect::<Result<_, _>>()?,
        base: args.base.as_ref().map(|b| source(b, &s)).transpose()?,
        method: args.method,
        output: s.dir.join(&args.output),
        force: args.force,
        message: args.message,
        author: args.author,
    };
    let done = repo.merge_weights(&options, &s.ctx())?;
    let tally = done.tally;
    if args.json {
        s.ui.json(&json!({
            "output": args.output.display().to_string(), "record": done.record,
            "tensors": tally.tensors, "same": tally.same, "not_finite": tally.not_finite,
            "overflows": tally.overflows, "commit": done.commit.map(|id| id.to_hex()),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line(format!(
        "merged {} tensor{} into {} ({} alike)",
        tally.tensors,
        if tally.tensors == 1 { "" } else { "s" },
        args.output.display(),
        tally.same
    ));
    s.ui.line(format!("  {}", shortened(&done.record)));
    if tally.not_finite + tally.overflows > 0 {
        s.ui.warn(format!(
            "{} numbers are NaN because a model has no finite number there, {} are too large for their type",
            tally.not_finite, tally.overflows
        ));
    }
    if let (Some(id), Some(message)) = (done.commit, &options.message) {
        let subject = message.trim().lines().next().unwrap_or("");
        let (label, id) = (repo.head_label(), s.ui.paint(Style::Id, &id.short()));
        s.ui.line(format!("[{label} {id}] {subject}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A record with the ids of commits as short as people see them elsewhere.
fn shortened(record: &str) -> String {
    let mut out = String::new();
    for word in record.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        match CommitId::from_hex(digits) {
            Ok(id) => out.push_str(&format!("{}{}", id.short(), &word[digits.len()..])),
            Err(_) => out.push_str(word),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_record_are_short() {
        let (a, b) = ("ab".repeat(32), "12".repeat(32));
        let record = format!("ties=0.2 of {a}:models/a.bin, {b}:x over {a}");
        let short = |id: &str| CommitId::from_hex(id).unwrap().short();
        let (x, y) = (short(&a), short(&b));
        let want = format!("ties=0.2 of {x}:models/a.bin, {y}:x over {x}");
        assert_eq!(shortened(&record), want);
        assert_eq!(shortened("linear of ./a, é"), "linear of ./a, é");
    }
}
