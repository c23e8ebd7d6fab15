//! Which paths `.gitignore` and `.mvignore` leave out: those of the directory and of all above it.
//!
//! `.mvignore` decides before `.gitignore`, a deeper file before a higher one, a later line before
//! an earlier one, as in Git. What a directory that is left out holds is never looked at.
//!
//! Some names are left out without a rule: [`NEVER`], and [`BY_DEFAULT`] where nobody names them.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use modelv_core::path::RepoPath;

use super::ingredient::Rules;
use crate::error::{Error, Result};
use crate::repo::DIR_NAME;

/// Folders of version control. Nothing brings these back: what could write them could plant hooks.
pub(crate) const NEVER: &[&str] = &[DIR_NAME, ".git", ".hg", ".svn"];

/// What tools make, and what holds secrets by convention: left out unless somebody names it.
pub(crate) const BY_DEFAULT: &[&str] = &[
    ".env",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".dvc",
    ".DS_Store",
    "*.pyc",
];

/// Whether a name is one of [`NEVER`].
pub(super) fn is_never(name: &[u8]) -> bool {
    NEVER.iter().any(|n| n.as_bytes() == name)
}

/// Whether a name is one of [`BY_DEFAULT`].
pub(super) fn is_by_default(name: &[u8]) -> bool {
    name.ends_with(b".pyc") || BY_DEFAULT.iter().any(|n| n.as_bytes() == name)
}

pub(super) const GIT: &[u8] = b".gitignore";
pub(super) const OWN: &[u8] = b".mvignore";

/// The rules that hold in one directory.
#[derive(Default)]
pub(crate) struct Ignores {
    above: Option<Arc<Ignores>>,
    own: Option<Gitignore>,
    git: Option<Gitignore>,
}

impl Ignores {
    /// Whether a file of this name holds such rules.
    pub(super) fn is_source(name: &[u8]) -> bool {
        name == GIT || name == OWN
    }

    /// These rules with those of the files in `dir`, whose place is `full`.
    pub(crate) fn with_files_of(
        self: &Arc<Self>,
        dir: Option<&RepoPath>,
        full: &Path,
        names: &HashSet<Vec<u8>>,
    ) -> Result<Arc<Self>> {
        let read = |name: &[u8]| -> Result<Option<Gitignore>> {
            if !names.contains(name) {
                return Ok(None);
            }
            let file = full.join(std::ffi::OsStr::from_bytes(name));
            parse(dir, &file).map(Some)
        };
        let (own, git) = (read(OWN)?, read(GIT)?);
        if own.is_none() && git.is_none() {
            return Ok(self.clone());
        }
        Ok(Arc::new(Self {
            above: Some(self.clone()),
            own,
            git,
        }))
    }

    /// Whether `name` in `dir` is left out.
    pub(crate) fn is_ignored(&self, dir: Option<&RepoPath>, name: &[u8], is_dir: bool) -> bool {
        if self.above.is_none() && self.own.is_none() && self.git.is_none() {
            return false;
        }
        self.decide(dir, name, is_dir).is_some_and(|d| d.is_ignored)
    }

    /// Whether `name` in `dir`, which is left out by default, is taken: a line of `.mvignore` or a
    /// pattern of `modelv.toml` ends in the name itself.
    pub(super) fn takes<'r>(
        &self,
        dir: Option<&RepoPath>,
        name: &[u8],
        is_dir: bool,
        rules: impl FnOnce() -> Option<&'r Rules>,
    ) -> bool {
        let decided = self.decide(dir, name, is_dir);
        if let Some(line) = decided.filter(|d| d.file == ".mvignore") {
            let last = line.pattern.trim_end_matches('/').rsplit('/').next();
            let last = last.unwrap_or_default().trim_start_matches('!').as_bytes();
            return last == name || (last == b"*.pyc" && name.ends_with(b".pyc"));
        }
        let path = RepoPath::below(dir, name).ok();
        path.is_some_and(|path| rules().is_some_and(|r| r.names(&path)))
    }

    /// What the rules say of `name` in `dir`, if they say something.
    pub(super) fn decide(
        &self,
        dir: Option<&RepoPath>,
        name: &[u8],
        is_dir: bool,
    ) -> Option<Decided<'_>> {
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        let path = dir.map_or_else(|| name.to_owned(), |d| as_path(d).join(name));
        self.find(&path, is_dir, ".mvignore", |i| i.own.as_ref())
            .or_else(|| self.find(&path, is_dir, ".gitignore", |i| i.git.as_ref()))
    }

    /// What the deepest rules that say something say.
    fn find(
        &self,
        path: &Path,
        is_dir: bool,
        file: &'static str,
        rules: impl Fn(&Self) -> Option<&Gitignore>,
    ) -> Option<Decided<'_>> {
        let mut at = Some(self);
        while let Some(here) = at {
            let (is_ignored, line) = match rules(here).map(|r| r.matched(path, is_dir)) {
                Some(Match::Ignore(line)) => (true, line),
                Some(Match::Whitelist(line)) => (false, line),
                Some(Match::None) | None => {
                    at = here.above.as_deref();
                    continue;
                }
            };
            return Some(Decided {
                is_ignored,
                pattern: line.original(),
                file,
            });
        }
        None
    }
}

/// What a line of such a file says of a path.
pub(super) struct Decided<'i> {
    pub(super) is_ignored: bool,
    /// The line.
    pub(super) pattern: &'i str,
    /// The name of the file.
    pub(super) file: &'static str,
}

fn as_path(path: &RepoPath) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// Reads one file of rules. A line that is no pattern is passed over, as Git does.
fn parse(dir: Option<&RepoPath>, file: &Path) -> Result<Gitignore> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        // Removed since the directory was read, a broken link, or a directory of that name.
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory
            ) =>
        {
            return Ok(Gitignore::empty());
        }
        Err(e) => return Err(Error::io("read", file)(e)),
    };
    let root = dir.map_or(Path::new("."), as_path);
    let mut builder = GitignoreBuilder::new(root);
    let text = String::from_utf8_lossy(&bytes);
    for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines() {
        let _ = builder.add_line(None, line);
    }
    builder
        .build()
        .map_err(|e| Error::invalid("file", file.display().to_string(), e.to_string()))
}
