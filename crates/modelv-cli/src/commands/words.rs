//! Words of which some are revisions and some are paths.

use std::ffi::OsString;

use modelv_repo::Repo;

use super::Session;
use crate::error::CommandError;

/// Tells revisions from paths, as Git does: what is both must be told apart with `--`. `behind`: what was
/// behind that.
pub(super) fn split(
    verb: &str,
    repo: &Repo,
    words: &[OsString],
    behind: &[OsString],
    s: &Session<'_>,
) -> Result<(Vec<String>, Vec<OsString>), CommandError> {
    let mut revisions = Vec::new();
    let mut words = words.iter().peekable();
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    while let Some(word) = words.peek() {
        let is_file = behind.is_empty() && s.dir.join(word).symlink_metadata().is_ok();
        let found = repo.resolve_range(&text(word));
        match (found.is_ok(), is_file) {
            (true, true) => {
                let word = text(word);
                let message = format!("`{word}` is a revision and a file");
                let hint = format!(
                    "`modelv {verb} {word} --` means the revision, `modelv {verb} -- {word}` the file"
                );
                return Err(CommandError::usage(message, hint));
            }
            (false, true) => break,
            // What is neither is told by whoever looks for the revision.
            _ => revisions.push(text(word)),
        }
        words.next();
    }
    let mut paths: Vec<OsString> = words.cloned().collect();
    if let Some(missing) = paths
        .iter()
        .find(|p| s.dir.join(p).symlink_metadata().is_err())
    {
        let message = format!("no file `{}` here", missing.to_string_lossy());
        return Err(CommandError::usage(
            message,
            "revisions come before paths; a path that is gone goes behind `--`",
        ));
    }
    paths.extend(behind.iter().cloned());
    Ok((revisions, paths))
}
