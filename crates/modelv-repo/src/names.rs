//! Names of refs: what is allowed, and where each kind lives.

use crate::error::{Error, Result};

/// Where branches live.
pub const HEADS: &str = "refs/heads/";
/// Where tags live.
pub const TAGS: &str = "refs/tags/";
/// Where the branches of remotes live, as they were last seen: `refs/remotes/NAME/BRANCH`.
pub const REMOTES: &str = "refs/remotes/";
/// Where runs live.
pub const RUNS: &str = "refs/runs/";
/// Where vendored wheels live, by the id of their environment.
pub const WHEELS: &str = "refs/wheels/";
/// Where aliases live: commits that record the last move of each.
pub const ALIASES: &str = "refs/aliases/";
/// Where the aliases of remotes live, as they were last seen: `refs/remote-aliases/NAME/ALIAS`. What a remote has
/// no more stays as long as there is such an alias here.
pub const REMOTE_ALIASES: &str = "refs/remote-aliases/";
/// Where configuration values live.
pub const CONFIG: &str = "config/";
/// The current branch or commit.
pub const HEAD: &str = "HEAD";
/// The state of an unfinished merge.
pub const MERGE: &str = "MERGE";
/// A commit of what the working tree held before the last operation that ended or moved a merge.
pub const MERGE_FILES: &str = "MERGE_FILES";
/// A commit of the files that the last restore wrote over, as they were.
pub const RESTORE_BEFORE: &str = "restore/before";
/// A commit of the same files as it wrote them.
pub const RESTORE_AFTER: &str = "restore/after";

/// Checks a branch or tag name by Git's rules (`git check-ref-format`), plus: no name that reads
/// as a full id or a keyword.
///
/// # Errors
/// The rule that is broken.
pub fn check(what: &'static str, name: &str) -> Result<()> {
    let bad = |reason: &str| {
        Err(Error::invalid(
            what,
            name.escape_debug().to_string(),
            reason,
        ))
    };
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > 200 {
        return bad("it is longer than 200 bytes");
    }
    if name.starts_with('-') || name == "@" || [HEAD, MERGE, MERGE_FILES].contains(&name) {
        return bad("it is reserved or starts with `-`");
    }
    if name
        .chars()
        .any(|c| c.is_control() || " ~^:?*[\\".contains(c))
    {
        return bad("it holds a space, a control character or one of ~ ^ : ? * [ \\");
    }
    if name.contains("..") || name.contains("@{") || name.contains("//") {
        return bad("it holds `..`, `@{` or `//`");
    }
    let parts_bad = name
        .split('/')
        .any(|p| p.is_empty() || p.starts_with('.') || p.ends_with('.') || p.ends_with(".lock"));
    if parts_bad {
        return bad("a part is empty, starts or ends with `.`, or ends with `.lock`");
    }
    if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return bad("it reads as an id");
    }
    Ok(())
}

/// Checks the name of a branch or tag that is to be made: besides, none that would be taken for a
/// commit or for the full name of a ref.
///
/// # Errors
/// The rule that is broken.
pub fn check_new(what: &'static str, name: &str) -> Result<()> {
    /// Shorter ones are words, such as `facade`.
    const DIGITS_MIN: usize = 7;
    check(what, name)?;
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let reason = if name.starts_with("refs/") {
        "it reads as the full name of a ref"
    } else if name.len() >= DIGITS_MIN && name.bytes().all(is_digit) {
        "it reads as the id of a commit"
    } else {
        return Ok(());
    };
    Err(Error::invalid(what, name, reason))
}

/// The part people type: `main` of `refs/heads/main`.
#[must_use]
pub fn short(full: &str) -> &str {
    full.strip_prefix(HEADS)
        .or_else(|| full.strip_prefix(TAGS))
        .or_else(|| full.strip_prefix(REMOTES))
        .or_else(|| full.strip_prefix(ALIASES))
        .unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_new_name_is_taken_for_a_commit_or_a_ref() {
        for good in ["main", "facade", "feed", "deadbeefs", "v2026"] {
            assert!(check_new("branch", good).is_ok(), "{good}");
        }
        for bad in ["refs/heads/x", "deadbeef", "1234567", "feedfacecafe", "-x"] {
            assert!(check_new("branch", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_as_git_has_them() {
        for good in ["main", "feature/x", "v1.0", "a-b_c", "\u{fc}ml"] {
            assert!(check("branch", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "@",
            "HEAD",
            "a b",
            "a..b",
            "a@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\x07",
            &"a".repeat(64),
        ] {
            assert!(check("branch", bad).is_err(), "{bad}");
        }
    }
}
