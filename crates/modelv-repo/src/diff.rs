//! What differs between two sides: commits, or a commit and the working tree.

use std::collections::BTreeMap;
use std::path::PathBuf;

use modelv_core::driver::{self, Change, Driver};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::path::RepoPath;
use modelv_core::value::Value;

use crate::ctx::Ctx;
use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{FileChange, Files, SnapFile, compare, place};

/// Larger files are compared by size only, in bytes.
const CONTENT_BYTES_MAX: u64 = 8 << 20;

/// One side of a comparison.
#[derive(Debug)]
pub struct DiffSide {
    /// What people call it.
    pub label: String,
    /// The commit; `None`: the working tree.
    pub commit: Option<CommitId>,
    files: Files,
    env: Env,
    metrics: BTreeMap<String, Value>,
}

/// One file that differs.
#[derive(Debug)]
pub struct FileDiff {
    /// The path and how it differs.
    pub change: FileChange,
    /// By which rules it was compared.
    pub driver: Driver,
    /// What differs inside; empty when it is too large to look.
    pub inside: Vec<Change>,
    /// Old content, where it was read.
    pub old: Option<Vec<u8>>,
    /// New content, where it was read.
    pub new: Option<Vec<u8>>,
}

/// One metric that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricChange {
    /// Dotted key.
    pub key: String,
    /// Old value.
    pub old: Option<Value>,
    /// New value.
    pub new: Option<Value>,
}

/// Everything that differs.
#[derive(Debug)]
pub struct DiffReport {
    /// Files, by path.
    pub files: Vec<FileDiff>,
    /// Environment.
    pub env: Vec<EnvChange>,
    /// Metrics of the runs behind both sides.
    pub metrics: Vec<MetricChange>,
}

impl DiffReport {
    /// Whether both sides are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.env.is_empty() && self.metrics.is_empty()
    }
}

impl Repo {
    /// A commit as one side.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn diff_commit(&self, id: CommitId, label: &str) -> Result<DiffSide> {
        let commit = self.commit_object(id)?;
        Ok(DiffSide {
            label: label.to_owned(),
            commit: Some(id),
            files: self.files_of_commit(&commit)?,
            env: self.env_object(commit.recipe.env)?,
            metrics: self.metrics(&commit)?,
        })
    }

    /// Nothing, as one side.
    #[must_use]
    pub fn diff_nothing(&self) -> DiffSide {
        DiffSide {
            label: "nothing".into(),
            commit: None,
            files: Files::new(),
            env: Env::none(),
            metrics: BTreeMap::new(),
        }
    }

    /// The working tree as one side.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn diff_worktree(&self, python: Option<PathBuf>, ctx: &Ctx<'_>) -> Result<DiffSide> {
        let rules = self.rules()?;
        let files = self.snapshot(&rules, None, ctx)?.files;
        let env = self.capture_env(&files, &rules, python)?;
        let metrics = match self.head() {
            Some(id) => self.metrics(&self.commit_object(id)?)?,
            None => BTreeMap::new(),
        };
        Ok(DiffSide {
            label: "working tree".into(),
            commit: None,
            files,
            env,
            metrics,
        })
    }

    /// Metrics of a commit: those of its last run.
    ///
    /// # Errors
    /// The run is missing or damaged.
    pub fn metrics(&self, commit: &modelv_core::commit::Commit) -> Result<BTreeMap<String, Value>> {
        match commit.runs.last() {
            Some(id) => Ok(self.run_object(*id)?.metrics),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Compares two sides, at and below `paths` or as a whole.
    ///
    /// # Errors
    /// Content is missing, damaged or unreadable.
    pub fn diff(&self, old: &DiffSide, new: &DiffSide, paths: &[RepoPath]) -> Result<DiffReport> {
        let mut files = Vec::new();
        for change in compare(&old.files, &new.files) {
            let wanted = |p: &RepoPath| change.path.is_within(p.as_bytes());
            if !paths.is_empty() && !paths.iter().any(wanted) {
                continue;
            }
            files.push(self.diff_file(change, old, new)?);
        }
        if !paths.is_empty() {
            return Ok(DiffReport {
                files,
                env: Vec::new(),
                metrics: Vec::new(),
            });
        }
        let keys: std::collections::BTreeSet<&String> =
            old.metrics.keys().chain(new.metrics.keys()).collect();
        let metrics = keys
            .into_iter()
            .map(|key| MetricChange {
                key: key.clone(),
                old: old.metrics.get(key).cloned(),
                new: new.metrics.get(key).cloned(),
            })
            .filter(|m| m.old != m.new)
            .collect();
        Ok(DiffReport {
            files,
            env: diff_env(&old.env, &new.env),
            metrics,
        })
    }

    fn diff_file(&self, change: FileChange, old: &DiffSide, new: &DiffSide) -> Result<FileDiff> {
        let old_path = match &change.kind {
            crate::worktree::ChangeKind::Renamed { from } => from.clone(),
            _ => change.path.clone(),
        };
        let a = self.side_content(old, &old_path, change.old.as_ref())?;
        let b = self.side_content(new, &change.path, change.new.as_ref())?;
        let driver = match (&a, &b) {
            (Some(a), Some(b)) => {
                let (x, y) = (a.as_deref(), b.as_deref());
                let choose = |bytes: Option<&[u8]>| {
                    bytes.map(|bytes| driver::choose(change.path.as_bytes(), bytes))
                };
                match (choose(x), choose(y)) {
                    (Some(x), Some(y)) if x == y => x,
                    (Some(one), None) | (None, Some(one)) => one,
                    (Some(Driver::Binary), _) | (_, Some(Driver::Binary)) => Driver::Binary,
                    _ => Driver::Text,
                }
            }
            // Too large to look inside.
            _ => Driver::Binary,
        };
        let (Some(a), Some(b)) = (a, b) else {
            let size = |f: &Option<SnapFile>| f.as_ref().map_or(0, |f| f.size);
            let inside = vec![Change::Bytes {
                old: size(&change.old),
                new: size(&change.new),
            }];
            return Ok(FileDiff {
                change,
                driver,
                inside,
                old: None,
                new: None,
            });
        };
        let inside = driver::diff(driver, a.as_deref(), b.as_deref());
        Ok(FileDiff {
            change,
            driver,
            inside,
            old: a,
            new: b,
        })
    }

    /// Content of one side: outer `None`: too large; inner `None`: absent.
    #[expect(clippy::option_option, reason = "two different absences")]
    fn side_content(
        &self,
        side: &DiffSide,
        path: &RepoPath,
        file: Option<&SnapFile>,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let Some(file) = file else {
            return Ok(Some(None));
        };
        if file.size > CONTENT_BYTES_MAX {
            return Ok(None);
        }
        if side.commit.is_some() || self.store.has_blob(&file.blob)? {
            return self.read_blob(file.blob).map(|b| Some(Some(b)));
        }
        let full = place(self.root(), path);
        if file.mode == modelv_core::tree::Mode::Symlink {
            use std::os::unix::ffi::OsStrExt;
            let target = std::fs::read_link(&full).map_err(Error::io("read", &full))?;
            return Ok(Some(Some(target.as_os_str().as_bytes().to_vec())));
        }
        let bytes = std::fs::read(&full).map_err(Error::io("read", &full))?;
        if BlobId::of(&bytes) != file.blob {
            return Err(Error::ChangedWhileRead { path: full });
        }
        Ok(Some(Some(bytes)))
    }
}
