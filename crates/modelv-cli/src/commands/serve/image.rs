//! `modelv serve IMAGE`: what an engine would start, without one.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use modelv_release::PrivateFolder;
use modelv_repo::Repo;

use super::super::{Done, Session};
use super::Args;
use crate::error::CommandError;

/// The image that is meant, if none of the revisions is.
pub(super) fn named(text: &str, s: &Session<'_>) -> Result<Option<PathBuf>, CommandError> {
    let path = s.dir.join(text);
    let is_revision = || Repo::discover(&s.dir).is_ok_and(|repo| repo.resolve(text).is_ok());
    if !path.exists() || is_revision() {
        return Ok(None);
    }
    if path.is_file() || path.join("oci-layout").is_file() {
        return Ok(Some(path));
    }
    Err(CommandError::usage(
        format!("`{text}` is neither a revision nor an image layout"),
        "`modelv release REV --output DIR` writes an image, `modelv serve REV` needs none",
    ))
}

/// Becomes the server of the image.
pub(super) fn run(path: &Path, args: &Args, s: Session<'_>) -> Done {
    refuse_what_it_brings(args)?;
    let shown = args.revision.as_str();
    let folder = PrivateFolder::new()?;
    let root = folder.path().join("root");
    s.ui.talk(format!("unpacking `{}`", crate::ui::plain(shown)));
    let config = modelv_release::unpack_to_start(path, &root, s.cancel())?;
    let variables = [
        ("MODELV_LISTEN", args.listen.to_string()),
        ("MODELV_WORKERS", args.workers.to_string()),
    ];
    let mut command = modelv_release::start(shown, &config, &root, &variables, &arguments(args))?;
    folder.held_by(&mut command);
    let failed = command.exec();
    Err(CommandError::failed(&failed, None))
}

/// An image has its interpreter, and is one commit.
fn refuse_what_it_brings(args: &Args) -> Result<(), CommandError> {
    let given = [
        ("--python", args.python.is_some()),
        ("--follow", args.follow),
        ("--arm", !args.arm.is_empty()),
        ("--mirror", !args.mirror.is_empty()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((name, _)) => Err(CommandError::usage(
            format!("an image is one commit with its interpreter: `{name}` means nothing for it"),
            format!(
                "`modelv serve REV {name} ...` serves a commit; `modelv release inspect` tells which"
            ),
        )),
    }
}

/// What its own server is told beside what the image says.
fn arguments(args: &Args) -> Vec<String> {
    let mut out = vec!["--sticky".to_owned(), args.sticky.clone()];
    if let Some(share) = args.log_payloads {
        out.extend(["--log-payloads".to_owned(), share.to_string()]);
    }
    if !args.redact.is_empty() {
        out.extend(["--redact".to_owned(), args.redact.join(",")]);
    }
    out
}
