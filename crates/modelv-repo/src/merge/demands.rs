//! Demands on packages that a merge brought together over several files: told, for no conflict in
//! one file could decide them. So too what installed packages demand of each other, as far as the
//! interpreter of this machine has them: the environment document records versions, no demands.

use std::collections::BTreeMap;

use modelv_core::driver::{Asking, clashes, is_asking};
use modelv_core::env::Env;
use modelv_core::merge::Outcome;
use modelv_core::path::RepoPath;
use modelv_core::requirement::{Requirement, Version};

use crate::capture::requires::{self, Demands};
use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::Files;

/// Larger files are no lists of demands, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Repo {
    /// What no version meets together, where the merge made it so.
    pub(super) fn demands_apart(
        &self,
        merged: &BTreeMap<RepoPath, Outcome>,
        sides: [&Files; 2],
    ) -> Result<Vec<String>> {
        let mut paths: Vec<&RepoPath> = merged.keys().filter(|p| is_asking(p)).collect();
        paths.sort();
        // As one side has them all, it is that side's own choice.
        let is_of = |side: &&Files, path: &&RepoPath| match &merged[*path] {
            Outcome::Keep(kept) => side.get(*path).is_some_and(|f| f.blob == kept.blob),
            Outcome::Write { .. } => false,
        };
        if sides
            .iter()
            .any(|side| paths.iter().all(|path| is_of(side, path)))
        {
            return Ok(Vec::new());
        }
        let mut asking = Vec::new();
        for path in paths {
            let read = |side: &Files| match side.get(path) {
                Some(file) if file.size <= FILE_BYTES_MAX => self.read_blob(file.blob).map(Some),
                _ => Ok(None),
            };
            let content = match &merged[path] {
                Outcome::Keep(kept) if kept.size > FILE_BYTES_MAX => continue,
                Outcome::Keep(kept) => self.read_blob(kept.blob)?,
                Outcome::Write { bytes, .. } => bytes.clone(),
            };
            asking.push(Asking {
                path,
                merged: content,
                sides: [read(sides[0])?, read(sides[1])?],
            });
        }
        Ok(clashes(&asking))
    }

    /// What packages of a merged environment demand and do not find in it, where neither side had
    /// both packages so. Only what is installed here tells its demands; that it can't be asked is
    /// no reason not to merge.
    pub(super) fn env_demands(&self, merged: &Env, sides: [&Env; 2]) -> Vec<String> {
        if sides.contains(&merged) || merged.packages.is_empty() {
            return Vec::new();
        }
        let installed = self.installed_demands().unwrap_or_default();
        let had_both = |names: [&str; 2]| {
            sides.iter().any(|side| {
                let same = |name: &&str| side.find_package(name) == merged.find_package(name);
                names.iter().all(same)
            })
        };
        let mut out = Vec::new();
        for Demands {
            name,
            version,
            requires,
        } in &installed
        {
            let is_it = merged
                .find_package(name)
                .is_some_and(|p| p.version == *version);
            for text in requires.iter().filter(|_| is_it) {
                let Some(there) = unmet(text, merged) else {
                    continue;
                };
                if !had_both([name, &there.0]) {
                    out.push(format!(
                        "env: {name} {version} demands `{text}`, and the merge has {} {}",
                        there.0, there.1
                    ));
                }
            }
        }
        out
    }

    fn installed_demands(&self) -> Result<Vec<Demands>> {
        match self.python()? {
            Some(python) => requires::of_installed(&self.dir().join("envcache"), &python),
            None => Ok(Vec::new()),
        }
    }
}

/// Name and version of the package that a demand is about, where it holds here and is not met.
fn unmet(text: &str, env: &Env) -> Option<(String, String)> {
    let demand = Requirement::parse(text)?;
    let value = |name: &str| requires::marker_value(env, name);
    if demand.marker.is_some_and(|marker| !marker.holds(&value)) {
        return None;
    }
    let there = env.find_package(&demand.name)?;
    let version = Version::parse(&there.version)?;
    let is_met = demand.specifiers.contains(&version);
    (!is_met).then(|| (there.name.clone(), there.version.clone()))
}
