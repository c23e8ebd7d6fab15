//! `modelv import hf`.

use std::ffi::OsString;

use modelv_repo::HubImport;
use serde_json::json;

use super::super::Session;
use crate::error::CommandError;
use crate::ui::{plain, size};

/// Commit a model or data set that the Hugging Face Hub's tools have fetched.
///
/// Its files come from the cache on this machine (`HF_HUB_CACHE`, `HF_HOME`), checked against the hashes
/// that the cache names them by; nothing is fetched. The commit notes the repository and the commit on the
/// Hub as `hf.repo` and `hf.commit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `OWNER/NAME`, or a folder of a cache.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// A branch, tag or commit of the Hub.
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
    /// The folder that the files come into; otherwise `models/NAME`, of data sets `data/NAME`.
    #[arg(long, value_name = "DIR")]
    into: Option<OsString>,
    /// Who, as `Name <mail>`.
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Result<(), CommandError> {
    let mut repo = s.repo()?;
    let into = match &args.into {
        Some(typed) => s.path(&repo, typed)?,
        None => None,
    };
    let options = HubImport {
        source: match s.dir.join(&args.source) {
            dir if dir.is_dir() => dir.to_string_lossy().into_owned(),
            _ => args.source.clone(),
        },
        revision: args.revision.clone(),
        into,
        author: args.author.clone(),
    };
    let done = repo.import_hub(&options, &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "commit": done.id.to_hex(), "repo": done.repo, "revision": done.revision,
            "files": done.files, "bytes": done.bytes,
        }));
        return Ok(());
    }
    s.ui.line(format!(
        "[{} {}] {} at {}: {} files, {}",
        repo.head_label(),
        done.id.short(),
        plain(&done.repo),
        plain(&done.revision),
        done.files,
        size(done.bytes)
    ));
    Ok(())
}
