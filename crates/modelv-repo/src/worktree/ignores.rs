//! Which paths `.gitignore` and `.mvignore` leave out: those of the directory and of all above it.
//!
//! `.mvignore` decides before `.gitignore`, a deeper file before a higher one, a later line before
//! an earlier one, as in Git. What a directory that is left out holds is never looked at.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use modelv_core::path::RepoPath;

use crate::error::{Error, Result};

const GIT: &[u8] = b".gitignore";
const OWN: &[u8] = b".mvignore";

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
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        let path = dir.map_or_else(|| name.to_owned(), |d| as_path(d).join(name));
        let decided = self
            .find(&path, is_dir, |i| i.own.as_ref())
            .or_else(|| self.find(&path, is_dir, |i| i.git.as_ref()));
        decided.unwrap_or(false)
    }

    /// What the deepest rules that say something say.
    fn find(
        &self,
        path: &Path,
        is_dir: bool,
        rules: impl Fn(&Self) -> Option<&Gitignore>,
    ) -> Option<bool> {
        let mut at = Some(self);
        while let Some(here) = at {
            match rules(here).map(|r| r.matched(path, is_dir)) {
                Some(Match::Ignore(_)) => return Some(true),
                Some(Match::Whitelist(_)) => return Some(false),
                Some(Match::None) | None => {}
            }
            at = here.above.as_deref();
        }
        None
    }
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
