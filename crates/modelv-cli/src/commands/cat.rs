//! `modelv cat`.

use std::process::ExitCode;
use std::sync::Arc;

use modelv_repo::core::path::RepoPath;

use super::{Done, Session};
use crate::error::CommandError;

/// Print a file of a commit.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `REV:PATH`, the path from the root of the working tree.
    what: std::ffi::OsString,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    use std::os::unix::ffi::OsStrExt;
    let bytes = args.what.as_bytes();
    let at = bytes.iter().position(|b| *b == b':').ok_or_else(|| {
        CommandError::usage(
            "expected `REV:PATH`",
            "for example `modelv cat HEAD:train.py`",
        )
    })?;
    let repo = s.repo()?;
    let revision = String::from_utf8_lossy(&bytes[..at]);
    let path = RepoPath::new(&bytes[at + 1..]).map_err(modelv_repo::Error::from)?;
    let mut reader = Arc::new(repo).open_file(&revision, &path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        s.ui.bytes(&buffer[..n]);
    }
}
