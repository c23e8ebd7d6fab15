//! Runs of the training code that calls us. `modelv/_run.py` makes a context manager of it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use modelv_repo::core::run::{Doubt, Status};
use modelv_repo::core::value::Value;
use modelv_repo::{Ending, Error, Journal, Point, RunOptions};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyModule, PyString};

use crate::repo::{Repo, interpreter};
use crate::value::Commit;
use crate::work::work;
use crate::{convert, error};

/// A run that has begun, or the run of another process that this one has joined.
#[pyclass(frozen, module = "modelv._modelv")]
pub(crate) struct ActiveRun {
    repo: Py<Repo>,
    state: Mutex<State>,
    /// Where programs that belong to the run write; `MODELV_RUN` names it to them.
    #[pyo3(get)]
    folder: PathBuf,
    /// Whether another process began it, which will record it.
    #[pyo3(get)]
    joined: bool,
    /// The folder whose files it works on: the working tree, or the clean checkout that it is executed in.
    #[pyo3(get)]
    tree: PathBuf,
}

#[derive(Default)]
struct State {
    /// `None` once it has ended.
    journal: Option<Journal>,
    /// `None` when it is another's, or has ended.
    active: Option<modelv_repo::ActiveRun>,
}

/// What a run came to.
#[pyclass(frozen, get_all, module = "modelv._modelv")]
pub(crate) struct Outcome {
    /// The run id.
    id: String,
    /// The commit of its outputs; `None` when it failed or made none.
    commit: Option<Py<Commit>>,
    /// Files that changed and are no outputs: they stay uncommitted.
    strays: Vec<String>,
    /// Lines of its journal that could not be read.
    bad_lines: u64,
    /// Files that were others at its end than at its beginning.
    moved: Vec<String>,
    /// Whether another run was under way in the same folder.
    beside: bool,
}

impl ActiveRun {
    fn with_journal<T>(&self, act: impl FnOnce(&Journal) -> Result<T, Error>) -> PyResult<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match &state.journal {
            Some(journal) => act(journal),
            None => Err(Error::State("the run has ended".into())),
        };
        done.map_err(|e| error::to_py(&e))
    }
}

#[pymethods]
impl ActiveRun {
    /// Begins a run of the working tree as it is.
    #[staticmethod]
    #[pyo3(signature = (repo, command, message, author, allow_secret))]
    fn begin(
        py: Python<'_>,
        repo: Py<Repo>,
        command: Vec<String>,
        message: Option<String>,
        author: Option<String>,
        allow_secret: bool,
    ) -> PyResult<Self> {
        let options = RunOptions {
            message,
            author,
            allow_secret,
            python: interpreter(py)?,
            ..RunOptions::default()
        };
        let this = repo.get();
        let (active, journal) = work(py, |ctx| {
            let active = this.open_as("run")?.begin_run(&options, &command, ctx)?;
            let journal = Journal::open(active.folder())?;
            Ok((active, journal))
        })?;
        let folder = active.folder().to_owned();
        let tree = this.root().to_owned();
        let state = State {
            journal: Some(journal),
            active: Some(active),
        };
        Ok(Self {
            repo,
            state: Mutex::new(state),
            folder,
            joined: false,
            tree,
        })
    }

    /// Joins the run that `folder` belongs to; `None` when that is no active run of `repo`.
    #[staticmethod]
    fn join(py: Python<'_>, repo: Py<Repo>, folder: PathBuf) -> PyResult<Option<Self>> {
        let this = repo.get();
        let joined = work(py, |_| {
            let found = this.open_as("run")?;
            let journal = found.join_run(&folder)?;
            Ok(journal.map(|journal| (journal, found.tree_of_run())))
        })?;
        Ok(joined.map(|(journal, tree)| Self {
            repo,
            state: Mutex::new(State {
                journal: Some(journal),
                active: None,
            }),
            folder,
            joined: true,
            tree,
        }))
    }

    /// Notes a metric: a number, at a step if there is one. Costs about a microsecond; another
    /// thread writes to the disk ten times a second.
    #[pyo3(signature = (name, value, step=None))]
    fn metric(&self, name: &str, value: &Bound<'_, PyAny>, step: Option<i64>) -> PyResult<()> {
        let value = number(value)?;
        self.with_journal(|journal| journal.metric(name, &value, step))
    }

    /// What a path of its tree belongs to: `code`, `data`, `config` or `model`.
    fn ingredient(&self, py: Python<'_>, path: PathBuf) -> PyResult<&'static str> {
        let this = self.repo.get();
        work(py, |_| {
            let found = this.open_as("track")?.ingredient_in(&self.tree, &path)?;
            Ok(found.word())
        })
    }

    /// Notes a parameter; the keys of a dict become names with dots.
    fn param(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut leaves = Vec::new();
        convert::flatten(name, value, &mut leaves)?;
        self.with_journal(|journal| {
            leaves
                .iter()
                .try_for_each(|(name, value)| journal.param(name, value))
        })
    }

    /// Ends the run as `finished`, `failed` or `interrupted` and records it. A joined run is
    /// recorded by the process that began it: that gives `None`.
    #[pyo3(signature = (status, exit_code=None, log=None))]
    fn finish(
        &self,
        py: Python<'_>,
        status: &str,
        exit_code: Option<i32>,
        log: Option<String>,
    ) -> PyResult<Option<Outcome>> {
        let status = match status {
            "finished" => Status::Finished,
            "failed" => Status::Failed,
            "interrupted" => Status::Interrupted,
            other => {
                let e = Error::invalid("status", other, "expected finished, failed or interrupted");
                return Err(error::to_py(&e));
            }
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { journal, active } = std::mem::take(&mut *state);
        drop(state);
        let this = self.repo.get();
        let done = work(py, |ctx| {
            journal.map_or(Ok(()), Journal::close)?;
            let Some(active) = active else {
                return Ok(None);
            };
            if let Some(log) = log {
                let path = active.log_path();
                std::fs::write(&path, log).map_err(Error::io("write", &path))?;
            }
            let mut repo = this.open_as("run")?;
            let ending = Ending { status, exit_code };
            let done = repo.finish_run(active, ending, ctx)?;
            let commit = done.commit.map(|id| Commit::load(&repo, id)).transpose()?;
            Ok(Some((done, commit)))
        })?;
        let Some((done, commit)) = done else {
            return Ok(None);
        };
        let doubts = &done.run.origin.doubts;
        let beside = doubts.contains(&Doubt::Beside);
        let changed = doubts.iter().filter_map(|d| match d {
            Doubt::Changed(path) => Some(String::from_utf8_lossy(path).into_owned()),
            Doubt::Beside => None,
        });
        let moved: Vec<String> = changed.collect();
        Ok(Some(Outcome {
            id: done.id.to_hex(),
            commit: commit.map(|c| Py::new(py, c)).transpose()?,
            strays: done.strays,
            bad_lines: done.bad_lines,
            moved,
            beside,
        }))
    }
}

/// A number of Python, NumPy or a tensor library, whole or floating point.
fn number(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Some(plain) = plain_number(value)? {
        return Ok(plain);
    }
    // A tensor that records gradients warns when it is made a number in another way.
    if value.hasattr("item")? {
        let item = value.call_method0("item")?;
        return match plain_number(&item)? {
            Some(plain) => Ok(plain),
            None => Ok(Value::Float(item.extract()?)),
        };
    }
    Ok(Value::Float(value.extract()?))
}

fn plain_number(value: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(Some(Value::Float(float.extract()?)));
    }
    if !value.is_instance_of::<PyInt>() {
        return Ok(None);
    }
    Ok(Some(
        match (value.extract::<i64>(), value.extract::<u64>()) {
            (Ok(n), _) => Value::Int(n),
            (Err(_), Ok(n)) => Value::UInt(n),
            // Larger than any integer we store.
            _ => Value::Float(value.extract()?),
        },
    ))
}

/// All recorded runs, newest first, each a dict.
pub(crate) fn list<'py>(py: Python<'py>, repo: &Repo) -> PyResult<Bound<'py, PyAny>> {
    let runs = work(py, |_| repo.open_as("runs")?.runs())?;
    let list = PyList::empty(py);
    for (id, run) in &runs {
        let dict = PyDict::new(py);
        dict.set_item("id", id.to_hex())?;
        dict.set_item("recipe", run.recipe.to_hex())?;
        dict.set_item("commit", run.commit.map(|c| c.to_hex()))?;
        dict.set_item("command", &run.command)?;
        dict.set_item("status", run.status.to_string())?;
        dict.set_item("exit_code", run.exit_code)?;
        dict.set_item("started", run.started.seconds)?;
        dict.set_item("duration_ms", run.duration_ms)?;
        dict.set_item("params", convert::from_values(py, &run.params)?)?;
        dict.set_item("metrics", convert::from_values(py, &run.metrics)?)?;
        dict.set_item("host", &run.host)?;
        list.append(convert::view(py, "RunRecord", dict)?)?;
    }
    convert::view(py, "RunRecords", list)
}

/// The keys of a point, and the columns of many.
const KEYS: [&str; 4] = ["name", "step", "value", "time"];

fn load(py: Python<'_>, repo: &Repo, run: &str, name: Option<&str>) -> PyResult<Vec<Point>> {
    work(py, |_| {
        let repo = repo.open_as("runs")?;
        let (id, _) = repo.find_run(run)?;
        repo.series(id, name)
    })
}

/// Names as Python's texts. Those that are the same are one: making them costs more than all else.
struct Names<'py>(Python<'py>, Option<Bound<'py, PyString>>);

impl<'py> Names<'py> {
    /// The text of a point, and whether it is another than that of the point before.
    fn next(&mut self, name: &str) -> (Bound<'py, PyString>, bool) {
        let last = self.1.take().filter(|last| last == name);
        let is_new = last.is_none();
        let text = last.unwrap_or_else(|| PyString::new(self.0, name));
        self.1 = Some(text.clone());
        (text, is_new)
    }
}

/// The garbage collector at rest: among so many new dicts it looks for cycles again and again, and there are none.
struct Rest<'py>(Bound<'py, PyModule>);

impl<'py> Rest<'py> {
    /// `None` where it rests already.
    fn begin(py: Python<'py>) -> PyResult<Option<Self>> {
        let gc = py.import("gc")?;
        if !gc.call_method0("isenabled")?.is_truthy()? {
            return Ok(None);
        }
        gc.call_method0("disable")?;
        Ok(Some(Self(gc)))
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        // It can't fail, and nobody could be told.
        drop(self.0.call_method0("enable"));
    }
}

/// Metric points of a run, each a dict.
pub(crate) fn points<'py>(
    py: Python<'py>,
    repo: &Repo,
    run: &str,
    name: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let points = load(py, repo, run, name)?;
    let _rest = Rest::begin(py)?;
    let [_, step, value, time] = KEYS.map(|k| PyString::new(py, k));
    let mut names = Names(py, None);
    // A copy has its four keys at once, and looks none of them up.
    let blank = PyDict::new(py);
    for key in KEYS {
        blank.set_item(key, py.None())?;
    }
    let list = PyList::empty(py);
    for point in &points {
        let (name, is_new) = names.next(&point.name);
        if is_new {
            blank.set_item(KEYS[0], name)?;
        }
        let dict = blank.copy()?;
        dict.set_item(&step, point.step)?;
        dict.set_item(&value, convert::from_value(py, &point.value)?)?;
        dict.set_item(&time, point.time)?;
        list.append(dict)?;
    }
    Ok(list.into_any())
}

/// Metric points of a run as columns: a dict of four lists.
pub(crate) fn columns<'py>(
    py: Python<'py>,
    repo: &Repo,
    run: &str,
    name: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let points = load(py, repo, run, name)?;
    let mut names = Names(py, None);
    let texts: Vec<_> = points.iter().map(|p| names.next(&p.name).0).collect();
    let values = points.iter().map(|p| convert::from_value(py, &p.value));
    let values: Vec<_> = values.collect::<PyResult<_>>()?;
    let dict = PyDict::new(py);
    dict.set_item(KEYS[0], PyList::new(py, texts)?)?;
    dict.set_item(KEYS[1], PyList::new(py, points.iter().map(|p| p.step))?)?;
    dict.set_item(KEYS[2], PyList::new(py, values)?)?;
    dict.set_item(KEYS[3], PyList::new(py, points.iter().map(|p| p.time))?)?;
    Ok(dict.into_any())
}
