//! The points of a sweep: what is typed, every combination of it, and the recipe of each. Must never write
//! into the working tree.

use std::collections::{BTreeMap, BTreeSet};

use modelv_core::commit::Recipe;
use modelv_core::driver::{self, Driver, Item as Key};
use modelv_core::path::RepoPath;
use modelv_core::value::Value;
use modelv_store::Session;

use super::SweepOptions;
use crate::capture::params;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::run::ActiveRun;
use crate::worktree::{Files, Ingredient, write_trees};

/// Most points of one sweep.
const POINTS_MAX: usize = 10_000;

/// A parameter and the values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// As typed: `KEY` or `FILE:KEY`.
    pub name: String,
    /// As they are written into the file.
    pub values: Vec<String>,
}

impl Axis {
    /// Reads `KEY=V1,V2,…` or `KEY=FIRST..LAST`, which are whole numbers, both taken.
    ///
    /// # Errors
    /// There is no key or no value, or there are too many.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::invalid("sweep", text, reason);
        let (name, values) = text
            .split_once('=')
            .map(|(name, values)| (name.trim(), values.trim()))
            .filter(|(name, values)| !name.is_empty() && !values.is_empty())
            .ok_or_else(|| bad("expected KEY=V1,V2 or KEY=FIRST..LAST"))?;
        let range = values.split_once("..").and_then(|(first, last)| {
            Some((first.parse::<i64>().ok()?, last.parse::<i64>().ok()?))
        });
        let mut values: Vec<String> = match range {
            Some((first, last)) => {
                let count = last
                    .checked_sub(first)
                    .and_then(|n| usize::try_from(n).ok());
                if count.is_none_or(|n| n >= POINTS_MAX) {
                    return Err(bad("the range is empty, or has more than 10000 numbers"));
                }
                (first..=last).map(|n| n.to_string()).collect()
            }
            None => values.split(',').map(|v| v.trim().to_owned()).collect(),
        };
        if values.iter().any(String::is_empty) {
            return Err(bad("a value is empty"));
        }
        // What is typed twice is one point.
        let mut seen = BTreeSet::new();
        values.retain(|v| seen.insert(v.clone()));
        Ok(Self {
            name: name.to_owned(),
            values,
        })
    }
}

/// A point that is prepared: stored, and not executed yet.
pub(super) struct Point {
    pub(super) values: Vec<String>,
    pub(super) label: String,
    pub(super) files: Files,
    pub(super) recipe: Recipe,
}

/// All combinations, the last axis varying fastest.
fn grid(axes: &[Axis]) -> Result<Vec<Vec<String>>> {
    let count = axes
        .iter()
        .try_fold(1usize, |n, a| n.checked_mul(a.values.len()));
    if count.is_none_or(|n| n > POINTS_MAX) {
        let text = format!("the grid has more than {POINTS_MAX} points");
        return Err(Error::invalid("sweep", text, "it would never end"));
    }
    let mut out = vec![Vec::new()];
    for axis in axes {
        let longer = |before: &Vec<String>| {
            let with = |v: &String| before.iter().chain([v]).cloned().collect::<Vec<_>>();
            axis.values.iter().map(with).collect::<Vec<_>>()
        };
        out = out.iter().flat_map(longer).collect();
    }
    Ok(out)
}

/// Stores the recipe of every point.
pub(super) fn points(
    repo: &Repo,
    whole: &ActiveRun,
    options: &SweepOptions,
    session: &Session<'_>,
    ctx: &Ctx<'_>,
) -> Result<Vec<Point>> {
    let places = places_of(repo, &whole.files, &options.axes, ctx)?;
    let mut out = Vec::new();
    for values in grid(&options.axes)? {
        let mut texts: BTreeMap<RepoPath, Vec<u8>> = BTreeMap::new();
        for ((path, key), value) in places.iter().zip(&values) {
            let bytes = match texts.remove(path) {
                Some(bytes) => bytes,
                None => repo.read_blob(whole.files[path].blob)?,
            };
            texts.insert(path.clone(), set(path, &bytes, key, value)?);
        }
        let mut files = whole.files.clone();
        for (path, bytes) in texts {
            let (blob, _) = session.put_blob(&mut bytes.as_slice(), bytes.len() as u64)?;
            if let Some(file) = files.get_mut(&path) {
                file.blob = blob;
                file.size = bytes.len() as u64;
            }
        }
        files.retain(|_, f| f.ingredient != Ingredient::Model);
        let trees = write_trees(&files, session)?;
        let pairs = options.axes.iter().zip(&values);
        let label: Vec<String> = pairs.map(|(a, v)| format!("{}={v}", a.name)).collect();
        out.push(Point {
            label: label.join(" "),
            values,
            files,
            recipe: Recipe {
                code: trees.code,
                data: trees.data,
                config: trees.config,
                env: whole.recipe.env,
            },
        });
    }
    Ok(out)
}

/// The file and the key of every axis.
fn places_of(
    repo: &Repo,
    files: &Files,
    axes: &[Axis],
    ctx: &Ctx<'_>,
) -> Result<Vec<(RepoPath, String)>> {
    let mut places = Vec::new();
    for axis in axes {
        let place = place_of(repo, files, &axis.name)?;
        if places.contains(&place) {
            let reason = "this parameter is given twice; all its values go into one list";
            return Err(Error::invalid("sweep", axis.name.clone(), reason));
        }
        tell_other_kinds(repo, files, &place, axis, ctx)?;
        places.push(place);
    }
    Ok(places)
}

/// Says which values are texts where the file has none: a typing error would become a parameter.
fn tell_other_kinds(
    repo: &Repo,
    files: &Files,
    (path, key): &(RepoPath, String),
    axis: &Axis,
    ctx: &Ctx<'_>,
) -> Result<()> {
    let bytes = repo.read_blob(files[path].blob)?;
    let Driver::Config(format) = driver::choose(path.as_bytes(), &bytes) else {
        return Ok(());
    };
    let values = driver::config_values(format, &bytes).unwrap_or_default();
    let is_text = |value: &str| serde_json::from_str::<serde_json::Value>(value).is_err();
    let was_text = matches!(values.get(key), Some(Value::Str(_)) | None);
    for value in axis.values.iter().filter(|v| !was_text && is_text(v)) {
        let name = &axis.name;
        let text = format!("`{name}` is no text in `{path}`, and `{value}` is: it is set as one");
        ctx.progress.note(&text);
    }
    Ok(())
}

/// The one file that has a key, and the key in it.
fn place_of(repo: &Repo, files: &Files, name: &str) -> Result<(RepoPath, String)> {
    let (file, key) = match name.split_once(':') {
        Some((file, key)) => (Some(RepoPath::new(file)?), key),
        None => (None, name),
    };
    let mut found = Vec::new();
    for (path, entry) in files {
        let is_meant = match &file {
            Some(file) => file == path,
            None => entry.ingredient == Ingredient::Config,
        };
        if !is_meant || entry.size > params::FILE_BYTES_MAX {
            continue;
        }
        let bytes = repo.read_blob(entry.blob)?;
        let Driver::Config(format) = driver::choose(path.as_bytes(), &bytes) else {
            continue;
        };
        let values = driver::config_values(format, &bytes);
        if values.is_ok_and(|v| v.contains_key(key)) {
            found.push(path.clone());
        }
    }
    match found.len() {
        0 => Err(Error::State(format!(
            "parameter `{name}` is in no configuration file"
        ))),
        1 => Ok((found.remove(0), key.to_owned())),
        _ => Err(Error::State(format!(
            "parameter `{name}` is in more than one configuration file"
        ))),
    }
}

/// The file with another value; a text may stand without quotes.
fn set(path: &RepoPath, bytes: &[u8], key: &str, value: &str) -> Result<Vec<u8>> {
    let driver = driver::choose(path.as_bytes(), bytes);
    let item = Key::Key(key.to_owned());
    let quoted = serde_json::Value::from(value).to_string();
    driver::settle(driver, bytes, &item, Some(value))
        .or_else(|e| driver::settle(driver, bytes, &item, Some(&quoted)).map_err(|_| e))
        .map_err(|e| Error::invalid("parameter", format!("{path}:{key}"), e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_lists_or_ranges() {
        let values = |text: &str| Axis::parse(text).map(|a| a.values.join(" "));
        assert_eq!(values("lr=1e-4, 1e-3").unwrap(), "1e-4 1e-3");
        assert_eq!(values("seed=2,1,2,1").unwrap(), "2 1");
        assert_eq!(values("seed=-1..2").unwrap(), "-1 0 1 2");
        assert_eq!(values("conf.yaml:model.name=a..b").unwrap(), "a..b");
        for bad in ["lr", "lr=", "=1", "lr=1,,2", "seed=3..1", "seed=0..10000"] {
            assert!(Axis::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_axis_varies_fastest() {
        let axes = ["a=1,2", "b=x,y"].map(|t| Axis::parse(t).unwrap());
        let all: Vec<String> = grid(&axes).unwrap().iter().map(|p| p.concat()).collect();
        assert_eq!(all, ["1x", "1y", "2x", "2y"]);
        let many = ["a=1..200", "b=1..200"].map(|t| Axis::parse(t).unwrap());
        assert!(grid(&many).is_err());
    }
}
