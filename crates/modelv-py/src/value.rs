//! Commits and recipes as immutable Python objects.

use std::collections::BTreeMap;

use modelv_repo::core::commit;
use modelv_repo::core::id::{CommitId, RunId};
use modelv_repo::core::value::Value;
use modelv_repo::{Error, Repo};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::convert;

/// The four ingredients of a commit, as ids, and the id they have together.
#[pyclass(frozen, eq, hash, get_all, module = "modelv")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Recipe {
    /// The recipe id: depends on the four ids below and on nothing else.
    id: String,
    /// Tree of the source files.
    code: String,
    /// Tree of the data sets.
    data: String,
    /// Tree of the configuration files.
    config: String,
    /// The environment document.
    env: String,
}

impl From<&commit::Recipe> for Recipe {
    fn from(recipe: &commit::Recipe) -> Self {
        Self {
            id: recipe.id().to_hex(),
            code: recipe.code.to_hex(),
            data: recipe.data.to_hex(),
            config: recipe.config.to_hex(),
            env: recipe.env.to_hex(),
        }
    }
}

#[pymethods]
impl Recipe {
    fn __repr__(&self) -> String {
        format!("<Recipe {}>", &self.id[..12])
    }
}

/// One commit. Two are equal when their ids are.
#[pyclass(frozen, eq, hash, module = "modelv")]
pub(crate) struct Commit {
    id: CommitId,
    commit: commit::Commit,
    metrics: BTreeMap<String, Value>,
}

impl PartialEq for Commit {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl std::hash::Hash for Commit {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Commit {
    /// Loads a commit and the metrics of its last run.
    pub(crate) fn load(repo: &Repo, id: CommitId) -> Result<Self, Error> {
        Self::with(repo, id, repo.commit_object(id)?)
    }

    /// A commit that is loaded already.
    pub(crate) fn with(repo: &Repo, id: CommitId, commit: commit::Commit) -> Result<Self, Error> {
        let metrics = repo.metrics(&commit)?;
        Ok(Self {
            id,
            commit,
            metrics,
        })
    }
}

#[pymethods]
impl Commit {
    /// The commit id.
    #[getter]
    fn id(&self) -> String {
        self.id.to_hex()
    }

    /// The recipe.
    #[getter]
    fn recipe(&self) -> Recipe {
        Recipe::from(&self.commit.recipe)
    }

    /// Tree of the model; `None` when there is no model.
    #[getter]
    fn model(&self) -> Option<String> {
        self.commit.model.map(|m| m.tree.to_hex())
    }

    /// Whether the model was made by another recipe than this commit's.
    #[getter]
    fn stale(&self) -> bool {
        self.commit.is_stale()
    }

    /// Ids of the commits this one follows.
    #[getter]
    fn parents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.commit.parents.iter().map(CommitId::to_hex))
    }

    /// `Name <mail>` of who wrote the change.
    #[getter]
    fn author(&self) -> String {
        self.commit.author.to_string()
    }

    /// When it was made: a `datetime` in UTC.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let module = py.import("datetime")?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        module
            .getattr("datetime")?
            .call_method1("fromtimestamp", (self.commit.time.seconds, utc))
    }

    /// The whole message.
    #[getter]
    fn message(&self) -> &str {
        &self.commit.message
    }

    /// First line of the message.
    #[getter]
    fn subject(&self) -> &str {
        self.commit.subject()
    }

    /// Ids of the runs that belong to it.
    #[getter]
    fn runs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.commit.runs.iter().map(RunId::to_hex))
    }

    /// Metrics of its last run, by dotted key.
    #[getter]
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::from_values(py, &self.metrics)
    }

    /// Further facts, for example Git's HEAD.
    #[getter]
    fn extra(&self) -> BTreeMap<String, String> {
        self.commit.extra.clone()
    }

    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let shown = slf.py().import("modelv._views")?.getattr("commit")?;
        shown.call1((slf,))
    }

    fn __repr__(&self) -> String {
        format!("<Commit {} {:?}>", self.id.short(), self.commit.subject())
    }
}
