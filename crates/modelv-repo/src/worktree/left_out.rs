//! Why a path is in no commit: what leaves it out, for people who ask. Looks at the way down to it
//! as the walk of a working tree does; decides nothing of its own.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use modelv_core::path::RepoPath;

use super::ignores::{self, GIT, Ignores, OWN};
use super::place;
use crate::error::Result;
use crate::external;
use crate::repo::{DIR_NAME, Repo};

/// Names that nothing brings into a commit.
#[must_use]
pub fn never_taken() -> &'static [&'static str] {
    ignores::NEVER
}

/// Names that are left out unless a line of `.mvignore` or a pattern of `modelv.toml` names them.
#[must_use]
pub fn left_out_by_default() -> &'static [&'static str] {
    ignores::BY_DEFAULT
}

impl Repo {
    /// What leaves a path, or a folder it is in, out of commits; `None`: nothing does.
    ///
    /// # Errors
    /// Rules can't be read.
    pub fn left_out(&self, path: &RepoPath) -> Result<Option<String>> {
        let rules = self.rules()?;
        let sources = HashSet::from([GIT.to_vec(), OWN.to_vec()]);
        let mut ignores = Arc::new(Ignores::default());
        let mut dir: Option<RepoPath> = None;
        let mut names = path.as_bytes().split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            let full = dir.as_ref().map(|d| place(self.root(), d));
            let full = full.unwrap_or_else(|| self.root().to_owned());
            if full.is_dir() {
                ignores = ignores.with_files_of(dir.as_ref(), &full, &sources)?;
            }
            let at = RepoPath::below(dir.as_ref(), name)?;
            let here = place(self.root(), &at);
            let is_dir = names.peek().is_some() || (here.is_dir() && !here.is_symlink());
            if ignores::is_never(name) {
                return Ok(Some("never versioned".into()));
            }
            let decided = ignores.decide(dir.as_ref(), name, is_dir);
            if let Some(line) = decided.filter(|d| d.is_ignored) {
                return Ok(Some(format!("`{}` in {}", line.pattern, line.file)));
            }
            if ignores::is_by_default(name)
                && !ignores.takes(dir.as_ref(), name, is_dir, || Some(&rules))
            {
                let shown = String::from_utf8_lossy(name);
                let text = format!("left out by default; a line `!{shown}` in .mvignore takes it");
                return Ok(Some(text));
            }
            let mut described = here.clone().into_os_string();
            described.push(OsStr::from_bytes(external::SUFFIX));
            if !is_dir && external::is_description(Path::new(&described)) {
                let text = "external data: commits hold the description beside it";
                return Ok(Some(text.into()));
            }
            if is_dir && here.join("pyvenv.cfg").exists() {
                let text = "a virtual environment: recorded as a list of packages";
                return Ok(Some(text.into()));
            }
            if is_dir && here.join(DIR_NAME).join("oplog").exists() {
                return Ok(Some("another repository".into()));
            }
            dir = Some(at);
        }
        Ok(None)
    }
}
