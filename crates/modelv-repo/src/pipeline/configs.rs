//! Configuration files that parameters of stages come from, read again when they changed. Reads only.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::driver::{self, Driver};
use modelv_core::path::RepoPath;
use modelv_core::value::Value;

use super::graph::Pipeline;
use super::spec::{ParamName, StageSpec};
use crate::capture::params;
use crate::error::{Error, Result};
use crate::worktree::{Files, Ingredient, StatStamp, place};

/// The values of one file, as they were when it looked so.
struct Config {
    path: RepoPath,
    stamp: Option<StatStamp>,
    values: BTreeMap<String, Value>,
}

/// All files that parameters may come from.
pub(super) struct Configs(Vec<Config>);

impl Configs {
    /// Reads those that a pipeline may mean.
    ///
    /// # Errors
    /// One can't be read, or breaks the rules of its format.
    pub(super) fn of(root: &Path, files: &Files, pipeline: &Pipeline) -> Result<Self> {
        let names = pipeline.stages().iter().flat_map(|s| &s.params);
        if names.clone().next().is_none() {
            return Ok(Self(Vec::new()));
        }
        let mut out = Vec::new();
        for (path, file) in files {
            let is_named = names.clone().any(|n| n.file.as_ref() == Some(path));
            let is_meant = is_named || file.ingredient == Ingredient::Config;
            if is_meant && file.size <= params::FILE_BYTES_MAX {
                out.extend(read(root, path)?);
            }
        }
        Ok(Self(out))
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        self.0.iter().map(|config| &config.path)
    }

    /// Reads again what was written since, and tells which files have other values; beside that the first that
    /// can't be read any more, which then has none.
    pub(super) fn refresh(&mut self, root: &Path) -> (Vec<RepoPath>, Result<()>) {
        let (mut changed, mut whole) = (Vec::new(), Ok(()));
        for config in &mut self.0 {
            if config.stamp.is_some() && StatStamp::at(&place(root, &config.path)) == config.stamp {
                continue;
            }
            let read = read(root, &config.path).unwrap_or_else(|e| {
                whole = std::mem::replace(&mut whole, Ok(())).and(Err(e));
                None
            });
            let new = read.unwrap_or_else(|| Config {
                path: config.path.clone(),
                stamp: None,
                values: BTreeMap::new(),
            });
            let is_same = new.values.len() == config.values.len()
                && new
                    .values
                    .iter()
                    .zip(&config.values)
                    .all(|(a, b)| a.0 == b.0 && a.1.same(b.1));
            if !is_same {
                changed.push(config.path.clone());
            }
            *config = new;
        }
        (changed, whole)
    }

    /// The declared parameters of a stage.
    ///
    /// # Errors
    /// One is in no file, or in several.
    pub(super) fn params_of(&self, stage: &StageSpec) -> Result<BTreeMap<String, Value>> {
        let mut out = BTreeMap::new();
        for name in &stage.params {
            let below = format!("{}.", name.key);
            let is_meant =
                |key: &str| name.key.is_empty() || key == name.key || key.starts_with(&below);
            let mut holders = self
                .0
                .iter()
                .filter(|c| name.file.as_ref().is_none_or(|f| *f == c.path))
                .filter(|c| c.values.keys().any(|k| is_meant(k)));
            let lacking = |what: &str| {
                Error::State(format!("stage `{}`: parameter `{name}` {what}", stage.name))
            };
            let config = holders
                .next()
                .ok_or_else(|| lacking("is in no configuration file"))?;
            if holders.next().is_some() {
                return Err(lacking("is in several configuration files: write FILE:KEY"));
            }
            for (key, value) in config.values.iter().filter(|(k, _)| is_meant(k)) {
                let ParamName { file, .. } = name;
                let full = file
                    .as_ref()
                    .map_or_else(|| key.clone(), |f| format!("{f}:{key}"));
                out.insert(full, value.clone());
            }
        }
        Ok(params::bounded(out))
    }
}

/// The values of a file; `None` when it is of no format of configuration.
fn read(root: &Path, path: &RepoPath) -> Result<Option<Config>> {
    // Before its content: what is written between is read again.
    let full = place(root, path);
    let stamp = StatStamp::at(&full);
    let bytes = std::fs::read(&full).map_err(Error::io("read", &full))?;
    let Driver::Config(format) = driver::choose(path.as_bytes(), &bytes) else {
        return Ok(None);
    };
    let values = driver::config_values(format, &bytes)
        .map_err(|e| Error::invalid("file", path.to_string(), e.to_string()))?;
    let values = values
        .into_iter()
        .map(|(k, v)| (k, v.or_summary()))
        .collect();
    let path = path.clone();
    Ok(Some(Config {
        path,
        stamp,
        values,
    }))
}
