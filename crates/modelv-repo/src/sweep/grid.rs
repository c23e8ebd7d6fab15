//! The points of a sweep: what is typed, every combination of it, and the recipe of each. Must never write
//! into the working tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

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
    pub(super) command: Vec<OsString>,
    /// Parameters that its command line sets.
    pub(super) params: BTreeMap<String, Value>,
}

/// Where the value of an axis goes.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A key of a configuration file.
    Key(RepoPath, String),
    /// `{NAME}` in the command line.
    Word,
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
    command: &[OsString],
    session: &Session<'_>,
    ctx: &Ctx<'_>,
) -> Result<Vec<Point>> {
    let places = places_of(repo, &whole.files, &options.axes, command, ctx)?;
    let mut out = Vec::new();
    for values in grid(&options.axes)? {
        let mut texts: BTreeMap<RepoPath, Vec<u8>> = BTreeMap::new();
        let (mut command, mut params) = (command.to_vec(), BTreeMap::new());
        for ((place, axis), value) in places.iter().zip(&options.axes).zip(&values) {
            let Place::Key(path, key) = place else {
                command = filled(&command, &axis.name, value);
                let json = serde_json::from_str(value).unwrap_or_else(|_| value.as_str().into());
                params.insert(axis.name.clone(), Value::from_json(&json).or_summary());
                continue;
            };
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
            command,
            params,
        });
    }
    Ok(out)
}

/// Where the value of every axis goes: what the command names in braces goes there, and nowhere else.
fn places_of(
    repo: &Repo,
    files: &Files,
    axes: &[Axis],
    command: &[OsString],
    ctx: &Ctx<'_>,
) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        let is_word = filled(command, &axis.name, "") != command;
        let place = match is_word {
            true => Place::Word,
            false => place_of(repo, files, &axis.name)?,
        };
        let is_twice = match place {
            Place::Word => axes[..at].iter().any(|other| other.name == axis.name),
            Place::Key(..) => places.contains(&place),
        };
        if is_twice {
            let reason = "this parameter is given twice; all its values go into one list";
            return Err(Error::invalid("sweep", axis.name.clone(), reason));
        }
        if let Place::Key(path, key) = &place {
            tell_other_kinds(repo, files, (path, key), axis, ctx)?;
        }
        places.push(place);
    }
    Ok(places)
}

/// A command with a value in place of `{NAME}`. Words that are no UTF-8 stay.
fn filled(command: &[OsString], name: &str, value: &str) -> Vec<OsString> {
    let mark = format!("{{{name}}}");
    let fill = |word: &OsString| match word.to_str() {
        Some(text) => OsString::from(text.replace(&mark, value)),
        None => word.clone(),
    };
    command.iter().map(fill).collect()
}

/// Says which values are texts where the file has none: a typing error would become a parameter.
fn tell_other_kinds(
    repo: &Repo,
    files: &Files,
    (path, key): (&RepoPath, &String),
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

/// The one file that has a key, and the key in it: `train.lr`, or its last part `lr` where no other ends so.
fn place_of(repo: &Repo, files: &Files, name: &str) -> Result<Place> {
    let (file, key) = match name.split_once(':') {
        Some((file, key)) => (Some(RepoPath::new(file)?), key),
        None => (None, name),
    };
    let tail = format!(".{key}");
    let (mut exact, mut ends) = (Vec::new(), Vec::new());
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
        for found in driver::config_values(format, &bytes)
            .unwrap_or_default()
            .into_keys()
        {
            if found == key {
                exact.push((path.clone(), found));
            } else if found.ends_with(&tail) {
                ends.push((path.clone(), found));
            }
        }
    }
    let mut found = if exact.is_empty() { ends } else { exact };
    match found.len() {
        0 => Err(Error::State(format!(
            "parameter `{name}` is in no configuration file, and the command has no `{{{name}}}`"
        ))),
        1 => {
            let (path, key) = found.remove(0);
            Ok(Place::Key(path, key))
        }
        _ => {
            let list: Vec<String> = found.iter().map(|(p, k)| format!("`{p}:{k}`")).collect();
            Err(Error::State(format!(
                "parameter `{name}` is in more than one place: {}",
                list.join(", ")
            )))
        }
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
    fn braces_are_filled_in_words_and_within_them() {
        let words = ["train", "--lr", "{lr}", "--out=o-{lr}-{lr}", "{lra}"].map(OsString::from);
        let got = filled(&words, "lr", "0.1");
        assert_eq!(got, ["train", "--lr", "0.1", "--out=o-0.1-0.1", "{lra}"]);
        assert_eq!(filled(&words, "rate", "1"), words);
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
