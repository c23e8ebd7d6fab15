//! What is observed and no part of any id: the machine of a run, what its code imports, and how this
//! machine differs. What decides ids is in [`super::env`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use modelv_core::id::CommitId;

use super::installed::{self, Care, Patched};
use super::{env, host, imports, python};
use crate::ctx::Ctx;
use crate::envdiff::EnvChange;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient};

/// More code than this is not looked through for what it imports.
const CODE_FILES_MAX: usize = 2000;
const CODE_BYTES_MAX: u64 = 16 << 20;

impl Repo {
    /// The facts of this machine alone.
    pub(crate) fn machine_facts(&self) -> Result<BTreeMap<String, String>> {
        Ok(host::facts(self.rules()?.env_variables()))
    }

    /// The facts that a run records of its machine, its interpreter and its code. The environment has
    /// just been captured.
    pub(crate) fn host_facts(&self, files: &Files) -> Result<BTreeMap<String, String>> {
        let rules = self.rules()?;
        let mut out = self.machine_facts()?;
        if rules.env_capture() == "none" {
            return Ok(out);
        }
        if let Some((build, modules)) = env::last_look(&self.dir().join("envcache")) {
            out.insert("python".into(), build);
            let names = self.imported(files, &modules).filter(|n| !n.is_empty());
            out.extend(names.map(|n| ("imports".to_owned(), n.join(" "))));
        }
        Ok(out)
    }

    /// The distributions that the code imports by itself; `None`: there is too much code.
    fn imported(&self, files: &Files, modules: &imports::Modules) -> Option<Vec<String>> {
        let code = files.iter().filter(|(path, file)| {
            file.ingredient == Ingredient::Code && path.name().ends_with(b".py")
        });
        let code: Vec<_> = code.collect();
        let bytes: u64 = code.iter().map(|(_, f)| f.size).sum();
        if code.len() > CODE_FILES_MAX || bytes > CODE_BYTES_MAX {
            return None;
        }
        let (mut named, mut own) = (BTreeSet::new(), BTreeSet::new());
        for (path, _) in code {
            let text = std::fs::read(crate::worktree::place(self.root(), path)).unwrap_or_default();
            named.extend(imports::modules_of(&String::from_utf8_lossy(&text)));
            let shown = path.to_string();
            own.extend(shown.trim_end_matches(".py").split('/').map(str::to_owned));
        }
        let found = named
            .difference(&own)
            .filter_map(|m| modules.get(m))
            .flatten();
        Some(
            found
                .collect::<BTreeSet<_>>()
                .into_iter()
                .cloned()
                .collect(),
        )
    }

    /// How this machine differs from the one on which a commit's model was made. Empty as well where
    /// no run is recorded.
    ///
    /// # Errors
    /// The commit or its run can't be read.
    pub fn observed_changes(&self, id: CommitId) -> Result<Vec<EnvChange>> {
        let Some(run) = self.commit_object(id)?.runs.last().copied() else {
            return Ok(Vec::new());
        };
        let old = self.run_object(run)?.host;
        Ok(compare(&old, &self.machine_facts()?))
    }

    /// Distributions of this machine whose files are not those that were installed: every one is hashed.
    ///
    /// # Errors
    /// The interpreter does not answer.
    pub fn patched_packages(&self, explicit: Option<&Path>, ctx: &Ctx<'_>) -> Result<Vec<Patched>> {
        let Some(python) = self.active_python(explicit)? else {
            return Ok(Vec::new());
        };
        let found = installed::patched(&env::sites(&python)?, Care::All(ctx.cancel));
        ctx.cancel.check()?;
        Ok(found)
    }

    /// Distributions that are used in place from folders outside of this repository: no commit has
    /// their code.
    ///
    /// # Errors
    /// The interpreter does not answer.
    pub fn foreign_packages(&self, explicit: Option<&Path>) -> Result<Vec<(String, PathBuf)>> {
        let Some(python) = self.active_python(explicit)? else {
            return Ok(Vec::new());
        };
        let root = self
            .root()
            .canonicalize()
            .map_err(Error::io("open", self.root()))?;
        let mut found = installed::in_place(&python)?;
        found.retain(|(_, folder)| {
            let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            !real.starts_with(&root)
        });
        Ok(found)
    }

    fn active_python(&self, explicit: Option<&Path>) -> Result<Option<PathBuf>> {
        let configured = self
            .config("env.python")
            .or_else(|| self.rules().ok()?.env_python());
        python::find(self.root(), explicit, configured.as_deref())
    }
}

/// Facts that differ, without those that tell nothing of results.
fn compare(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<EnvChange> {
    // Of code and interpreter the environment itself tells.
    let skipped = [&host::PASSING[..], &["imports", "python"]].concat();
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| !skipped.contains(&key.as_str()) && old.get(*key) != new.get(*key))
        .map(|key| EnvChange {
            item: key.clone(),
            old: old.get(key).cloned(),
            new: new.get(key).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_of_results_is_no_difference() {
        let facts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let old = facts(&[
            ("host", "a"),
            ("libc", "glibc 2.36"),
            ("gpus", "A100"),
            ("python", "x"),
        ]);
        let new = facts(&[("host", "b"), ("libc", "glibc 2.31"), ("cpu", "y")]);
        let shown: Vec<String> = compare(&old, &new)
            .iter()
            .map(|c| format!("{} {:?} {:?}", c.item, c.old.as_deref(), c.new.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                r#"cpu None Some("y")"#,
                r#"gpus Some("A100") None"#,
                r#"libc Some("glibc 2.36") Some("glibc 2.31")"#
            ]
        );
    }
}
