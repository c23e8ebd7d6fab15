//! Runs that MLflow tracked on this machine: parameters, metrics with their series, tags, artifacts and
//! logged models, from its folder `mlruns` or its SQLite database. What MLflow knows a run by is its nonce
//! here: importing again takes only what is new.

mod database;
mod folder;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use modelv_core::commit::{Recipe, Time};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, RunId, TreeId};
use modelv_core::path::RepoPath;
use modelv_core::run::{Determinism, Origin, Run, Status};
use modelv_core::value::Value;
use modelv_store::{Session, Store};

use super::places::files_below;
use crate::capture::installed::unescaped;
use crate::capture::secrets;
use crate::commit::write_recipe;
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::run::{self, Point, point_line, record_of};
use crate::worktree::{Files, hash_file, write_one_tree};

/// Tags that are long and say what is imported anyway.
const LEFT_OUT: [&str; 2] = ["mlflow.log-model.history", "mlflow.note.content"];
/// Longest value of a tag that is kept, in bytes.
const TAG_BYTES_MAX: usize = 4096;

/// What `import mlflow` took.
#[derive(Debug, Default)]
pub struct ImportedRuns {
    /// Runs that are new, in the order they began.
    pub runs: Vec<RunId>,
    /// Runs that are here already.
    pub known: usize,
    /// Runs that were not over, or were deleted there.
    pub left: usize,
    /// Where artifacts are that did not come, for they are not on this machine.
    pub elsewhere: Vec<String>,
}

/// A run as MLflow has it.
#[derive(Debug, Default)]
struct Foreign {
    /// 32 hexadecimal digits.
    id: String,
    experiment: String,
    name: String,
    /// `FINISHED`, `FAILED` or `KILLED`.
    status: String,
    /// Milliseconds since 1970.
    start: i64,
    end: i64,
    params: Vec<(String, String)>,
    tags: BTreeMap<String, String>,
    /// Where its artifacts are, and the logged models by name.
    artifacts: Vec<(String, String)>,
}

/// Somewhere MLflow keeps runs.
trait Tracked {
    /// All runs, oldest first, without their points.
    fn runs(&self, ctx: &Ctx<'_>) -> Result<Vec<Foreign>>;

    /// Gives the points of a run, metric by metric in the order they were logged.
    fn points(&self, run: &Foreign, each: &mut dyn FnMut(Point) -> Result<()>) -> Result<()>;

    /// Where an address that MLflow noted is here; `None`: on another machine.
    fn place(&self, uri: &str) -> Option<PathBuf>;
}

fn bad(place: &Path, reason: impl std::fmt::Display) -> Error {
    let name = place.display().to_string();
    Error::invalid("MLflow store", name, reason.to_string())
}

/// A local path of a `file:` address, or of a plain path, which is as it stands.
fn local(uri: &str) -> Option<PathBuf> {
    let path = uri
        .strip_prefix("file://")
        .or_else(|| uri.strip_prefix("file:"));
    match path {
        Some(path) => Some(PathBuf::from(unescaped(path))),
        None if uri.contains("://") => None,
        None => Some(PathBuf::from(uri)),
    }
}

impl Repo {
    /// Takes the runs at `place`: a folder `mlruns`, the folder it is in, or a database.
    ///
    /// # Errors
    /// MLflow keeps nothing there, or it can't be read. Nothing has changed then.
    pub fn import_mlflow(&mut self, place: &Path, ctx: &Ctx<'_>) -> Result<ImportedRuns> {
        let tracked = open(place)?;
        let found = tracked.runs(ctx)?;
        let known: HashMap<[u8; 16], RunId> = self
            .runs()?
            .into_iter()
            .map(|(id, run)| (run.nonce, id))
            .collect();
        let mut out = ImportedRuns::default();
        let session = self.store.begin()?;
        let (recipe, _) = write_recipe(&Files::new(), &Env::none(), None, &session)?;
        ctx.progress
            .start("importing runs", Unit::Items, Some(found.len() as u64));
        let taking = Taking {
            tracked: &*tracked,
            session: &session,
            store: &self.store,
            recipe,
            ctx,
        };
        let mut made = Vec::new();
        for run in &found {
            ctx.cancel.check()?;
            ctx.progress.advance(1);
            let Some(nonce) = nonce_of(&run.id) else {
                return Err(bad(
                    place,
                    format!("`{}` is no id of a run", run.id.escape_debug()),
                ));
            };
            if known.contains_key(&nonce) {
                out.known += 1;
            } else if ["FINISHED", "FAILED", "KILLED"].contains(&run.status.as_str()) {
                let run = foreign(run, nonce, &taking, &mut out)?;
                made.push(RunId(session.put_object(&run)?));
            } else {
                out.left += 1;
            }
        }
        ctx.progress.finish();
        session.finish()?;
        if !made.is_empty() {
            let changes = made.iter().copied().map(record_of).collect();
            self.update_refs(changes)?;
        }
        out.runs = made;
        Ok(out)
    }
}

/// Finds what MLflow keeps at a place.
fn open(place: &Path) -> Result<Box<dyn Tracked>> {
    if place.is_file() {
        return Ok(Box::new(database::Database::open(place)?));
    }
    let database = place.join("mlflow.db");
    if database.is_file() {
        return Ok(Box::new(database::Database::open(&database)?));
    }
    let below = place.join("mlruns");
    let folder = if below.is_dir() {
        below
    } else {
        place.to_owned()
    };
    Ok(Box::new(folder::Folder::open(&folder)?))
}

/// What it takes to take a run.
struct Taking<'a> {
    tracked: &'a dyn Tracked,
    session: &'a Session<'a>,
    store: &'a Store,
    /// Of the runs: MLflow knows no ingredients.
    recipe: Recipe,
    ctx: &'a Ctx<'a>,
}

/// A run of ours for one of MLflow's.
fn foreign(
    run: &Foreign,
    nonce: [u8; 16],
    taking: &Taking<'_>,
    out: &mut ImportedRuns,
) -> Result<Run> {
    let recipe = taking.recipe;
    let mut params: BTreeMap<String, Value> = run
        .params
        .iter()
        .map(|(name, text)| (name.clone(), value_of(text)))
        .collect();
    secrets::mask_values(&mut params);
    let (metrics, series) = series(run, taking.tracked, taking.session)?;
    let outputs = artifacts(run, taking, out)?;
    let parent = run.tags.get("mlflow.parentRunId");
    let source = run.tags.get("mlflow.source.name").filter(|s| !s.is_empty());
    let mut command = vec![source.map_or("mlflow", String::as_str).to_owned()];
    secrets::mask_words(&mut command);
    let (status, exit_code) = match run.status.as_str() {
        "FINISHED" => (Status::Finished, Some(0)),
        "FAILED" => (Status::Failed, Some(1)),
        _ => (Status::Interrupted, None),
    };
    Ok(Run {
        command,
        recipe: recipe.id(),
        commit: None,
        params,
        metrics,
        series,
        outputs,
        status,
        exit_code,
        started: Time {
            seconds: run.start.div_euclid(1000),
            offset_minutes: 0,
        },
        duration_ms: u64::try_from(run.end.saturating_sub(run.start)).unwrap_or(0),
        host: facts(run),
        determinism: Determinism::Unknown,
        log: None,
        nonce,
        origin: Origin {
            ingredients: Some(recipe),
            parent: parent.and_then(|id| nonce_of(id)),
            ..Origin::default()
        },
    })
}

/// What MLflow knew of a run besides, by name.
fn facts(run: &Foreign) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([
        ("mlflow.run_id".to_owned(), run.id.clone()),
        ("mlflow.experiment".to_owned(), run.experiment.clone()),
    ]);
    for (name, text) in &run.tags {
        if !LEFT_OUT.contains(&name.as_str()) && text.len() <= TAG_BYTES_MAX {
            out.insert(name.clone(), secrets::mask_text(text));
        }
    }
    if !run.name.is_empty() {
        out.insert("mlflow.runName".to_owned(), run.name.clone());
    }
    out
}

/// The last value of every metric, and all points as a stored series.
fn series(
    run: &Foreign,
    tracked: &dyn Tracked,
    session: &Session<'_>,
) -> Result<(BTreeMap<String, Value>, Option<BlobId>)> {
    let mut last = BTreeMap::new();
    let mut file = tempfile::tempfile().map_err(Error::io("create", std::env::temp_dir()))?;
    let mut size = 0;
    {
        let mut out = std::io::BufWriter::new(&mut file);
        tracked.points(run, &mut |point| {
            let line = point_line(&point);
            size += line.len() as u64;
            std::io::Write::write_all(&mut out, &line)
                .map_err(Error::io("write", std::env::temp_dir()))?;
            last.insert(point.name, point.value);
            Ok(())
        })?;
        std::io::Write::flush(&mut out).map_err(Error::io("write", std::env::temp_dir()))?;
    }
    if size == 0 {
        return Ok((last, None));
    }
    std::io::Seek::rewind(&mut file).map_err(Error::io("read", std::env::temp_dir()))?;
    let (blob, _) = session.put_blob(&mut file, size)?;
    Ok((last, Some(blob)))
}

/// Stores artifacts and logged models; `None`: there are none.
fn artifacts(run: &Foreign, taking: &Taking<'_>, out: &mut ImportedRuns) -> Result<Option<TreeId>> {
    let keep = Some((taking.session, taking.store));
    let mut files = Files::new();
    for (below, uri) in &run.artifacts {
        let Some(root) = taking.tracked.place(uri) else {
            out.elsewhere.push(uri.clone());
            continue;
        };
        for (inside, _) in files_below(&root)? {
            let read = RepoPath::new(inside.as_slice())?;
            let Some((_, file)) = hash_file(&root, &read, &|_| None, keep, taking.ctx)? else {
                continue;
            };
            let path = if below.is_empty() {
                read
            } else {
                RepoPath::new([below.as_bytes(), b"/", &inside].concat())?
            };
            files.insert(path, file);
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    write_one_tree(&files, Some(taking.session)).map(Some)
}

/// MLflow keeps parameters as text: numbers and truth values are such again.
fn value_of(text: &str) -> Value {
    match text {
        "True" | "true" => Value::Bool(true),
        "False" | "false" => Value::Bool(false),
        "None" => Value::Null,
        _ => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(number @ serde_json::Value::Number(_)) => Value::from_json(&number),
            _ => Value::Str(text.to_owned()).or_summary(),
        },
    }
}

/// A run's id of 32 digits is as long as a nonce.
fn nonce_of(id: &str) -> Option<[u8; 16]> {
    let is_hex = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(id, 16).ok().filter(|_| is_hex)?;
    Some(run::nonce_of(number))
}

/// A metric as MLflow logged it.
fn point(name: &str, value: f64, step: i64, millis: i64) -> Point {
    Point {
        name: name.to_owned(),
        step: Some(step),
        value: Value::Float(value),
        time: std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_it_was() {
        assert_eq!(value_of("0.1"), Value::Float(0.1));
        assert_eq!(value_of("3"), Value::Int(3));
        assert_eq!(value_of("True"), Value::Bool(true));
        assert_eq!(value_of("None"), Value::Null);
        assert_eq!(value_of("[1, 2]"), Value::Str("[1, 2]".into()));
        assert_eq!(value_of("adam"), Value::Str("adam".into()));
    }

    #[test]
    fn an_id_is_a_nonce() {
        let nonce = nonce_of("71498469a59041fa8506464944018a4b").unwrap();
        assert_eq!((nonce[0], nonce[15]), (0x71, 0x4b));
        assert_eq!(nonce_of("71498469"), None);
        assert_eq!(nonce_of(&"+".repeat(32)), None);
    }

    #[test]
    fn an_address_is_a_path_or_elsewhere() {
        assert_eq!(local("file:///a/b"), Some("/a/b".into()));
        assert_eq!(local("file:///a%20b/c"), Some("/a b/c".into()));
        assert_eq!(local("/a%20b"), Some("/a%20b".into()));
        assert_eq!(local("s3://bucket/a"), None);
    }
}
