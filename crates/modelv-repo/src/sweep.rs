//! Sweeps: one run for each point of a grid of parameters.
//!
//! The parameters are set in the configuration files, so that each point has a recipe of its own; each is
//! executed in a clean checkout, so that points disturb neither one another nor the user's files. A point
//! whose result is known is not executed again. Points that fail are kept as failed, and the rest goes on.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;

use modelv_core::canon::Kind;
use modelv_core::commit::Recipe;
use modelv_core::driver::{self, Driver, Item as Key};
use modelv_core::id::RunId;
use modelv_core::path::RepoPath;
use modelv_core::run::{Origin, Run, Status};
use modelv_store::Session;
use modelv_store::remote::Item;

use crate::capture::exec::Execution;
use crate::capture::{params, secrets};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::pipeline::{StageDone, StageEvent, StageOutcome, Watch};
use crate::repo::Repo;
use crate::run::clean::CleanTree;
use crate::run::pool::{self, Start, Work};
use crate::run::{
    ActiveRun, Beginning, Ending, Hold, RUN_VARIABLE, Record, RunOptions, find_result, record_of,
    words_of,
};
use crate::worktree::{Files, Ingredient, write_one_tree, write_trees};

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
        let values: Vec<String> = match range {
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
        Ok(Self {
            name: name.to_owned(),
            values,
        })
    }
}

/// What a sweep is asked for.
#[derive(Debug, Clone, Default)]
pub struct SweepOptions {
    /// The grid: every value of each with every value of the others.
    pub axes: Vec<Axis>,
    /// So many points at once; 0 counts as 1.
    pub jobs: usize,
    /// Command, interpreter and the rest, as for any run.
    pub run: RunOptions,
}

/// What a point came to.
#[derive(Debug)]
pub struct SweepPoint {
    /// Its values, in the order of the axes.
    pub values: Vec<String>,
    /// Its run; `None`: it was not reached.
    pub run: Option<(RunId, Run)>,
    /// Whether the result was known.
    pub reused: bool,
}

/// What a sweep came to.
#[derive(Debug)]
pub struct SweepOutcome {
    /// The run that holds the points together.
    pub id: RunId,
    /// Every point of the grid, the last axis varying fastest.
    pub points: Vec<SweepPoint>,
    /// Whether it was stopped.
    pub interrupted: bool,
}

impl SweepOutcome {
    /// The finished point with the largest (or smallest) value of a metric.
    ///
    /// # Errors
    /// No finished point has a number of that name.
    pub fn best(&self, metric: &str, smallest: bool) -> Result<&(RunId, Run)> {
        let number = |run: &Run| run.metrics.get(metric)?.as_f64().filter(|n| !n.is_nan());
        let runs = self.points.iter().filter_map(|p| p.run.as_ref());
        let finished = runs.filter(|(_, run)| run.status == Status::Finished);
        let ranked = finished.filter_map(|found| Some((number(&found.1)?, found)));
        let best = ranked.min_by(|a, b| {
            if smallest {
                a.0.total_cmp(&b.0)
            } else {
                b.0.total_cmp(&a.0)
            }
        });
        best.map(|(_, found)| found)
            .ok_or_else(|| Error::not_found("metric", metric))
    }
}

/// A point that is prepared: stored, and not executed yet.
struct Point {
    values: Vec<String>,
    label: String,
    files: Files,
    recipe: Recipe,
}

struct Sweep<'a> {
    repo: &'a mut Repo,
    options: &'a SweepOptions,
    watch: &'a dyn Watch,
    ctx: &'a Ctx<'a>,
    command: Vec<OsString>,
    parent: [u8; 16],
    points: Vec<Point>,
    next: usize,
    known: Vec<(RunId, Run)>,
    active: HashMap<usize, (Record, CleanTree)>,
    done: BTreeMap<usize, ((RunId, Run), bool)>,
}

impl Repo {
    /// Runs every point of a grid of parameters.
    ///
    /// # Errors
    /// A merge is open, a parameter is in no configuration file or can't be set, or something can't be
    /// read or written. Points that fail are no error.
    pub fn sweep(
        &mut self,
        options: &SweepOptions,
        watch: &dyn Watch,
        ctx: &Ctx<'_>,
    ) -> Result<SweepOutcome> {
        self.refuse_while_merging("run")?;
        let command = self.command_of(&options.run)?;
        let mut words: Vec<String> = ["modelv", "run"].map(str::to_owned).to_vec();
        for axis in &options.axes {
            words.push("--sweep".into());
            words.push(format!("{}={}", axis.name, axis.values.join(",")));
        }
        words.push("--".into());
        words.extend(words_of(&command));
        // Its points are executed in folders of their own: it need not have the working tree.
        let whole = self.begin_held(&options.run, &words, Hold::Free, ctx)?;
        let session = self.store.begin()?;
        let points =
            points(self, &whole, options, &session).inspect_err(|_| whole.record.forget())?;
        session.finish()?;
        let trees = points
            .iter()
            .flat_map(|p| [p.recipe.code, p.recipe.data, p.recipe.config]);
        let items: Vec<Item> = trees.map(|t| Item::Object(Kind::Tree, t.0)).collect();
        let _lease = self.lease(&items)?;
        let mut sweep = Sweep {
            known: if options.run.force {
                Vec::new()
            } else {
                self.runs()?
            },
            parent: whole.record.draft.nonce,
            repo: self,
            options,
            watch,
            ctx,
            command,
            points,
            next: 0,
            active: HashMap::new(),
            done: BTreeMap::new(),
        };
        let worked = pool::carry_out(&mut sweep, options.jobs, watch, ctx);
        let Sweep {
            points, mut done, ..
        } = sweep;
        let is_ok = done.len() == points.len()
            && done
                .values()
                .all(|((_, run), _)| run.status == Status::Finished);
        let ending = Ending::of(match ctx.cancel.is_cancelled() {
            true => None,
            false => Some(i32::from(!is_ok || worked.is_err())),
        });
        let id = self.finish_group(&whole, ending)?;
        worked?;
        let point = |(at, point): (usize, Point)| {
            let (run, reused) = done
                .remove(&at)
                .map_or((None, false), |(run, reused)| (Some(run), reused));
            SweepPoint {
                values: point.values,
                run,
                reused,
            }
        };
        Ok(SweepOutcome {
            id,
            points: points.into_iter().enumerate().map(point).collect(),
            interrupted: ctx.cancel.is_cancelled(),
        })
    }
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
fn points(
    repo: &Repo,
    whole: &ActiveRun,
    options: &SweepOptions,
    session: &Session<'_>,
) -> Result<Vec<Point>> {
    let places = options
        .axes
        .iter()
        .map(|axis| place_of(repo, &whole.files, &axis.name))
        .collect::<Result<Vec<_>>>()?;
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

impl Sweep<'_> {
    fn close(&mut self, at: usize, found: (RunId, Run), reused: bool) {
        let (id, run) = &found;
        let done = match (run.status, reused) {
            (_, true) => StageDone::UpToDate,
            (Status::Finished, _) => StageDone::Finished,
            (Status::Interrupted, _) => StageDone::Interrupted,
            (Status::Failed, _) => {
                let code = run.exit_code.unwrap_or(1);
                StageDone::Failed(format!("its command ended with status {code}"))
            }
        };
        let outcome = StageOutcome {
            name: self.points[at].label.clone(),
            done,
            run: Some(*id),
            duration_ms: run.duration_ms,
            why: Vec::new(),
        };
        self.watch.tell(&outcome.name, StageEvent::Ends(&outcome));
        self.done.insert(at, (found, reused));
    }

    fn start(&mut self, at: usize) -> Result<Option<Start>> {
        let point = &self.points[at];
        let mut words = words_of(&self.command);
        secrets::mask_words(&mut words);
        let given = &self.options.run.params;
        let known = self.known.iter().cloned();
        if let Some(found) = find_result(known, point.recipe.id(), &words, given) {
            self.close(at, found, true);
            return Ok(None);
        }
        self.watch.tell(&point.label, StageEvent::Starts(&[]));
        let tree = self.repo.clean_tree(&point.files, self.ctx)?;
        let mut params = self.repo.params_of(&point.files)?;
        params.extend(given.clone());
        secrets::mask_values(&mut params);
        let record = self.repo.begin_record(Beginning {
            command: words,
            recipe: point.recipe,
            params,
            host: self.repo.host_facts(&point.files)?,
            origin: Origin {
                parent: Some(self.parent),
                ..Origin::default()
            },
        })?;
        let variable = |name: &str, value: OsString| (OsString::from(name), value);
        let start = Start {
            at,
            name: point.label.clone(),
            command: self.command.clone(),
            cwd: tree.root(),
            env: vec![
                variable("MODELV_RECIPE", record.draft.recipe.to_hex().into()),
                variable(RUN_VARIABLE, record.folder.clone().into()),
            ],
            log: record.log_path(),
        };
        self.active.insert(at, (record, tree));
        Ok(Some(start))
    }
}

impl Work for Sweep<'_> {
    fn next(&mut self) -> Result<Option<Start>> {
        while self.next < self.points.len() {
            self.next += 1;
            if let Some(start) = self.start(self.next - 1)? {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    fn end(&mut self, at: usize, execution: Result<Execution>) -> Result<()> {
        let Some((record, tree)) = self.active.remove(&at) else {
            return Ok(());
        };
        let execution = execution.inspect_err(|_| record.forget())?;
        let ending = Ending::of(execution.exit_code);
        let (mut run, _) = self.repo.close_record(&record, ending)?;
        let session = self.repo.store.begin()?;
        if ending.status != Status::Interrupted {
            run.metrics.extend(tree.metrics(self.ctx));
        }
        if ending.status == Status::Finished {
            let made = tree.outputs(self.repo, &session, self.ctx)?;
            let made = (!made.is_empty()).then(|| write_one_tree(&made, Some(&session)));
            run.outputs = made.transpose()?;
        }
        let id = RunId(session.put_object(&run)?);
        session.finish()?;
        self.repo.update_refs(vec![record_of(id)])?;
        record.forget();
        self.close(at, (id, run), false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_lists_or_ranges() {
        let values = |text: &str| Axis::parse(text).map(|a| a.values.join(" "));
        assert_eq!(values("lr=1e-4, 1e-3").unwrap(), "1e-4 1e-3");
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
