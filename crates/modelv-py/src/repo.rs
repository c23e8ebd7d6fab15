//! The repository as a Python object: the verbs of the command line as methods.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelv_repo::core::path::RepoPath;
use modelv_repo::core::tree::Mode;
use modelv_repo::{
    CommitOptions, DiffFilter, Error, LogOptions, MergeOptions, MergeOutcome, SwitchTo, json, names,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::file::Reader;
use crate::value::{Commit, Recipe};
use crate::work::work;
use crate::{convert, error, run};

/// A repository. Every call opens it anew, so it always sees what other processes did, and one
/// object can be used from several threads and after a fork.
#[pyclass(frozen, module = "modelv")]
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    pub(crate) fn open_as(&self, command: &str) -> Result<modelv_repo::Repo, Error> {
        let mut repo = modelv_repo::Repo::open(&self.root)?;
        repo.set_command(format!("python: {command}"));
        Ok(repo)
    }
}

#[pymethods]
impl Repo {
    /// Opens the repository that `path` lies in.
    #[staticmethod]
    fn discover(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let root = work(py, |_| {
            Ok(modelv_repo::Repo::discover(&path)?.root().to_owned())
        })?;
        Ok(Self { root })
    }

    /// Makes a repository in `path`, which is created if it is missing.
    #[staticmethod]
    fn init(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let root = work(py, |_| {
            Ok(modelv_repo::Repo::init(&path)?.root().to_owned())
        })?;
        Ok(Self { root })
    }

    /// Root of the working tree.
    #[getter]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Id of the checked-out commit; `None` before the first one.
    #[getter]
    fn head(&self, py: Python<'_>) -> PyResult<Option<String>> {
        work(py, |_| {
            Ok(self.open_as("head")?.head().map(|id| id.to_hex()))
        })
    }

    /// Name of the branch that is checked out; `None` when HEAD is detached.
    #[getter]
    fn current_branch(&self, py: Python<'_>) -> PyResult<Option<String>> {
        work(py, |_| {
            let repo = self.open_as("branch")?;
            Ok(repo.head_ref().map(|name| names::short(name).to_owned()))
        })
    }

    /// Records the working tree, or the part of it that `paths` name, and gives the new commit.
    /// The environment is that of the running interpreter.
    #[pyo3(signature = (message, paths=None, author=None, *, allow_empty=false, allow_secret=false))]
    fn commit(
        &self,
        py: Python<'_>,
        message: String,
        paths: Option<Vec<PathBuf>>,
        author: Option<String>,
        allow_empty: bool,
        allow_secret: bool,
    ) -> PyResult<Commit> {
        let python = interpreter(py)?;
        work(py, |ctx| {
            let mut repo = self.open_as("commit")?;
            let paths = match paths {
                None => Vec::new(),
                Some(given) if given.is_empty() => {
                    let text = "an empty list of paths commits nothing; None stands for all".into();
                    return Err(Error::State(text));
                }
                Some(given) => below(&repo, &given)?,
            };
            let options = CommitOptions {
                message,
                author,
                paths,
                python,
                allow_empty,
                allow_secret,
                no_hooks: false,
            };
            let done = repo.commit(&options, ctx)?;
            Commit::load(&repo, done.id)
        })
    }

    /// Commits from `rev` back, newest first; `A..B` and `A...B` are understood too. With `paths`,
    /// only those that change something at or below them.
    #[pyo3(signature = (rev="HEAD", limit=None, paths=None))]
    fn log<'py>(
        &self,
        py: Python<'py>,
        rev: &str,
        limit: Option<usize>,
        paths: Option<Vec<PathBuf>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let commits = work(py, |_| {
            let repo = self.open_as("log")?;
            let span = repo.span(rev)?;
            let options = LogOptions {
                limit,
                paths: below(&repo, &paths.unwrap_or_default())?,
                ..span
            };
            if limit == Some(0) {
                return Ok(Vec::new());
            }
            let commits = repo.history(&options)?;
            commits
                .into_iter()
                .map(|(id, commit)| Commit::with(&repo, id, commit))
                .collect::<Result<Vec<Commit>, Error>>()
        })?;
        convert::view(py, "Commits", commits)
    }

    /// What differs between the working tree and HEAD, as `modelv status --json` has it.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let python = interpreter(py)?;
        let status = work(py, |ctx| {
            let status = self.open_as("status")?.status(python, ctx)?;
            Ok(json::status(&status))
        })?;
        convert::from_json(py, &status)
    }

    /// What differs between two revisions, as `modelv diff --json` has it. Without `b`: between
    /// `a` and the working tree.
    #[pyo3(signature = (a="HEAD", b=None, *, paths=None))]
    fn diff<'py>(
        &self,
        py: Python<'py>,
        a: &str,
        b: Option<&str>,
        paths: Option<Vec<PathBuf>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let python = interpreter(py)?;
        let report = work(py, |ctx| {
            let repo = self.open_as("diff")?;
            let old = repo.diff_commit(repo.resolve(a)?, a)?;
            let new = match b {
                Some(b) => repo.diff_commit(repo.resolve(b)?, b)?,
                None => repo.diff_worktree(python, ctx)?,
            };
            let paths = below(&repo, &paths.unwrap_or_default())?;
            let report = repo.diff(&old, &new, &DiffFilter::paths(paths))?;
            Ok(json::diff(&report, &old, &new))
        })?;
        convert::view(py, "Diff", convert::from_json(py, &report)?)
    }

    /// The commit a revision names.
    #[pyo3(signature = (rev="HEAD"))]
    fn show(&self, py: Python<'_>, rev: &str) -> PyResult<Commit> {
        work(py, |_| {
            let repo = self.open_as("show")?;
            Commit::load(&repo, repo.resolve(rev)?)
        })
    }

    /// The id of the commit a revision names.
    fn rev_parse(&self, py: Python<'_>, rev: &str) -> PyResult<String> {
        work(py, |_| {
            Ok(self.open_as("rev-parse")?.resolve(rev)?.to_hex())
        })
    }

    /// The recipe of the commit a revision names.
    #[pyo3(signature = (rev="HEAD"))]
    fn recipe(&self, py: Python<'_>, rev: &str) -> PyResult<Recipe> {
        work(py, |_| {
            let repo = self.open_as("rev-parse")?;
            let commit = repo.commit_object(repo.resolve(rev)?)?;
            Ok(Recipe::from(&commit.recipe))
        })
    }

    /// Opens a file of a commit for reading; `path` counts from the root of the working tree.
    fn read<'py>(&self, py: Python<'py>, rev: &str, path: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        let name = format!("{rev}:{}", path.display());
        let reader = work(py, |_| {
            let path = RepoPath::new(path.as_os_str().as_bytes())?;
            Arc::new(self.open_as("cat")?).open_file(rev, &path)
        })?;
        let class = py.import("modelv._file")?.getattr("BlobFile")?;
        class.call1((Reader::new(reader), name))
    }

    /// Loads a file of tensors of a commit; see `modelv.load`.
    #[pyo3(signature = (rev, path, *, framework="numpy", names=None))]
    fn load<'py>(
        slf: &Bound<'py, Self>,
        rev: &str,
        path: PathBuf,
        framework: &str,
        names: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let load = slf.py().import("modelv._load")?.getattr("load")?;
        load.call1((slf, rev, path, framework, names))
    }

    /// All files of a commit by path: dicts with `path`, `size`, `ingredient`, `kind` (`file`,
    /// `executable` or `link`) and `id`, the id of the content.
    #[pyo3(signature = (rev="HEAD"))]
    fn files<'py>(&self, py: Python<'py>, rev: &str) -> PyResult<Bound<'py, PyList>> {
        let files = work(py, |_| {
            let repo = self.open_as("show")?;
            repo.files(repo.resolve(rev)?)
        })?;
        let list = PyList::empty(py);
        for (path, file) in &files {
            let dict = PyDict::new(py);
            dict.set_item("path", OsStr::from_bytes(path.as_bytes()))?;
            dict.set_item("size", file.size)?;
            dict.set_item("ingredient", file.ingredient.word())?;
            dict.set_item("kind", kind(file.mode))?;
            dict.set_item("id", file.blob.to_hex())?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// All branches: name to commit id.
    fn branches(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        self.list(py, names::HEADS)
    }

    /// All tags: name to commit id.
    fn tags(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        self.list(py, names::TAGS)
    }

    /// Makes a branch at a revision, and gives the commit id. The working tree stays as it is.
    #[pyo3(signature = (name, rev="HEAD"))]
    fn branch(&self, py: Python<'_>, name: &str, rev: &str) -> PyResult<String> {
        work(py, |_| {
            let mut repo = self.open_as(&format!("branch {name}"))?;
            let at = repo.resolve(rev)?;
            repo.create_branch(name, at)?;
            Ok(at.to_hex())
        })
    }

    /// Makes a tag at a revision, and gives the commit id. Tags don't move.
    #[pyo3(signature = (name, rev="HEAD"))]
    fn tag(&self, py: Python<'_>, name: &str, rev: &str) -> PyResult<String> {
        work(py, |_| {
            let mut repo = self.open_as(&format!("tag {name}"))?;
            let at = repo.resolve(rev)?;
            repo.create_tag(name, at)?;
            Ok(at.to_hex())
        })
    }

    /// Checks a branch out, with `create` a new one, and gives the commit id. Uncommitted changes
    /// are never lost: a switch that would overwrite some raises `ConflictError`.
    #[pyo3(signature = (name, *, create=false))]
    fn switch(&self, py: Python<'_>, name: &str, create: bool) -> PyResult<String> {
        work(py, |ctx| {
            let mut repo = self.open_as(&format!("switch {name}"))?;
            let to = if create {
                SwitchTo::New(name.to_owned(), None)
            } else {
                SwitchTo::Branch(name.to_owned())
            };
            Ok(repo.switch(&to, ctx)?.to_hex())
        })
    }

    /// Merges a revision into HEAD and gives the commit HEAD then is. When something is left to
    /// decide it raises `ConflictError`, and the merge stays open: see `modelv resolve`.
    #[pyo3(signature = (rev, message=None, *, author=None))]
    fn merge(
        &self,
        py: Python<'_>,
        rev: &str,
        message: Option<String>,
        author: Option<String>,
    ) -> PyResult<Commit> {
        let (commit, open) = work(py, |ctx| {
            let mut repo = self.open_as(&format!("merge {rev}"))?;
            let options = MergeOptions {
                message,
                author,
                ..MergeOptions::default()
            };
            let open: Vec<String> = match repo.merge(rev, &options, ctx)? {
                MergeOutcome::Conflicts(open) => open.into_iter().map(|c| c.item).collect(),
                _ => Vec::new(),
            };
            Ok((Commit::load(&repo, repo.get_head()?)?, open))
        })?;
        if open.is_empty() {
            return Ok(commit);
        }
        let text = format!(
            "merge of `{rev}` left {} to decide: {}",
            open.len(),
            open.join(", ")
        );
        Err(error::conflicts(text, open))
    }

    /// Gives an open merge up: what it has written is what it was before.
    fn merge_abort(&self, py: Python<'_>) -> PyResult<()> {
        work(py, |ctx| {
            self.open_as("merge --abort")?.merge_abort(ctx).map(drop)
        })
    }

    /// All recorded runs, newest first, each a dict.
    fn runs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        run::list(py, self)
    }

    /// The metric points of a run, or those of one metric, in the order they were noted: dicts
    /// with `name`, `step`, `value` and `time`. The run is named by the first digits of its id, or by
    /// a commit that has one. With `columns=True` it is one dict of four lists, which is quicker for
    /// many points and what tables are made of: `pandas.DataFrame(repo.series(run, columns=True))`.
    #[pyo3(signature = (run, name=None, *, columns=false))]
    fn series<'py>(
        &self,
        py: Python<'py>,
        run: &str,
        name: Option<&str>,
        columns: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        match columns {
            true => run::columns(py, self, run, name),
            false => run::points(py, self, run, name),
        }
    }

    /// What a path of the working tree belongs to: `code`, `data`, `config` or `model`.
    fn ingredient(&self, py: Python<'_>, path: PathBuf) -> PyResult<&'static str> {
        work(py, |_| {
            let repo = self.open_as("track")?;
            let path = below(&repo, &[path])?.pop();
            let path = path.ok_or_else(|| Error::State("the root is no file".into()))?;
            Ok(repo.rules()?.classify(&path).ingredient.word())
        })
    }

    fn __repr__(&self) -> String {
        format!("<Repo {}>", self.root.display())
    }
}

impl Repo {
    fn list(&self, py: Python<'_>, prefix: &str) -> PyResult<BTreeMap<String, String>> {
        work(py, |_| {
            let refs = self.open_as("branch")?.refs_below(prefix);
            Ok(refs.into_iter().map(|(n, id)| (n, id.to_hex())).collect())
        })
    }
}

/// What a file is, in the words of `Repo.files`.
fn kind(mode: Mode) -> &'static str {
    match mode {
        Mode::File => "file",
        Mode::Executable => "executable",
        Mode::Symlink => "link",
        Mode::Tree => "folder",
        Mode::External => "external",
    }
}

/// The running interpreter; `None` where Python is embedded and does not know its own path.
pub(crate) fn interpreter(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    let path: Option<PathBuf> = py.import("sys")?.getattr("executable")?.extract()?;
    Ok(path.filter(|p| !p.as_os_str().is_empty()))
}

/// Paths as given, absolute or from the root of the working tree, as paths of the repository. The
/// root itself stands for everything.
fn below(repo: &modelv_repo::Repo, given: &[PathBuf]) -> Result<Vec<RepoPath>, Error> {
    let mut out = Vec::new();
    for path in given {
        let found = repo.relative(path).ok_or_else(|| {
            let name = path.display().to_string();
            Error::invalid("path", name, "it is outside of the working tree")
        })?;
        if found == Path::new("") {
            return Ok(Vec::new());
        }
        out.push(RepoPath::new(found.as_os_str().as_bytes())?);
    }
    Ok(out)
}
