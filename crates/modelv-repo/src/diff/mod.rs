//! What differs between two sides: commits, or a commit and the working tree.
//!
//! A plan says which files differ, and how environment and metrics do; files are then read and
//! compared one by one, so that a large difference needs no more memory than its largest file.

pub(crate) mod aside;
mod file;
mod metric;
mod renames;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use modelv_core::commit::Commit;
use modelv_core::driver::{Change, Driver, LineOps};
use modelv_core::env::Env;
use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use modelv_core::run::Run;
use modelv_core::value::Value;

pub use metric::{Better, better};
pub use tally::Tally;

use crate::ctx::Ctx;
use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{ChangeKind, FileChange, Files, Ingredient, compare};

/// One side of a comparison.
#[derive(Debug)]
pub struct DiffSide {
    /// What people call it.
    pub label: String,
    /// The commit; `None`: the working tree, or nothing.
    pub commit: Option<CommitId>,
    /// What the commit says of itself.
    pub object: Option<Commit>,
    /// Its environment.
    pub env: Env,
    files: Files,
    metrics: BTreeMap<String, Value>,
}

/// What a difference can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Configuration files.
    Config,
    /// Code files.
    Code,
    /// The environment.
    Env,
    /// Data files.
    Data,
    /// Files of the model.
    Model,
}

impl Part {
    /// All of them, what matters first first.
    pub const ALL: [Self; 5] = [Self::Config, Self::Code, Self::Env, Self::Data, Self::Model];

    /// The word for people and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Code => "code",
            Self::Env => "env",
            Self::Data => "data",
            Self::Model => "model",
        }
    }
}

impl From<Ingredient> for Part {
    fn from(ingredient: Ingredient) -> Self {
        match ingredient {
            Ingredient::Code => Self::Code,
            Ingredient::Data => Self::Data,
            Ingredient::Config => Self::Config,
            Ingredient::Model => Self::Model,
        }
    }
}

/// What is wanted of a difference.
#[derive(Debug, Clone, Default)]
pub struct DiffFilter {
    /// Files at and below these; empty: all.
    pub paths: Vec<RepoPath>,
    /// These parts; empty: all, and the metrics.
    pub parts: Vec<Part>,
}

impl DiffFilter {
    /// Everything at and below some paths.
    #[must_use]
    pub fn paths(paths: Vec<RepoPath>) -> Self {
        Self {
            paths,
            parts: Vec::new(),
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    fn wants_file(&self, change: &FileChange) -> bool {
        let from = match &change.kind {
            ChangeKind::Renamed { from } => Some(from),
            _ => None,
        };
        let below = |p: &RepoPath| {
            self.paths
                .iter()
                .any(|wanted| p.is_within(wanted.as_bytes()))
        };
        let is_there = self.paths.is_empty() || below(&change.path) || from.is_some_and(below);
        let of = [&change.old, &change.new];
        let mut parts = of.into_iter().flatten().map(|f| Part::from(f.ingredient));
        is_there && parts.any(|part| self.wants(part))
    }
}

/// One file that differs, not compared yet.
#[derive(Debug, Clone)]
pub struct FileToDiff {
    /// The path and how it differs.
    pub change: FileChange,
    /// After a rename, how much of its content it kept, in per cent.
    pub percent: Option<u8>,
}

/// One file that differs.
#[derive(Debug)]
pub struct FileDiff {
    /// The path and how it differs.
    pub change: FileChange,
    /// After a rename, how much of its content it kept, in per cent.
    pub percent: Option<u8>,
    /// By which rules it was compared.
    pub driver: Driver,
    /// What differs inside; empty when it is too large to look.
    pub inside: Vec<Change>,
    /// Old content, where it was read; without secrets where the name says that it may have some.
    pub old: Option<Vec<u8>>,
    /// New content, likewise.
    pub new: Option<Vec<u8>>,
    /// What people should know: that it is not what its name claims.
    pub notes: Vec<String>,
    ops: Option<LineOps>,
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

impl MetricChange {
    /// By how much it grew, where both are numbers.
    #[must_use]
    pub fn delta(&self) -> Option<f64> {
        Some(self.new.as_ref()?.as_f64()? - self.old.as_ref()?.as_f64()?)
    }

    /// Whether it got better, where its name says which way that is.
    #[must_use]
    pub fn is_better(&self) -> Option<bool> {
        let delta = self.delta().filter(|d| *d != 0.0 && !d.is_nan())?;
        better(&self.key).map(|way| (delta > 0.0) == (way == Better::Higher))
    }
}

/// How far two sides are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Equal in all ingredients, model and metrics.
    Equal,
    /// Only the environment, as it was observed on the machine, or its lock files differ.
    Environment,
    /// Only the metrics of their runs differ.
    Metrics,
    /// Only files of the model, and what its run measured, differ: the recipe is the same.
    Model,
    /// Anything else.
    Several,
}

impl Extent {
    /// The word for JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Environment => "environment",
            Self::Metrics => "metrics",
            Self::Model => "model",
            Self::Several => "several",
        }
    }
}

/// What differs, before any file is read.
#[derive(Debug)]
pub struct DiffPlan {
    /// Files, what matters first first, then by path.
    pub files: Vec<FileToDiff>,
    /// Environment.
    pub env: Vec<EnvChange>,
    /// Metrics of the runs behind both sides.
    pub metrics: Vec<MetricChange>,
    /// How far both are apart, whatever the filter left.
    pub extent: Extent,
}

impl DiffPlan {
    /// Whether both sides are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.env.is_empty() && self.metrics.is_empty()
    }
}

/// Everything that differs.
#[derive(Debug)]
pub struct DiffReport {
    /// Files, what matters first first, then by path.
    pub files: Vec<FileDiff>,
    /// Environment.
    pub env: Vec<EnvChange>,
    /// Metrics of the runs behind both sides.
    pub metrics: Vec<MetricChange>,
    /// How far both are apart, whatever the filter left.
    pub extent: Extent,
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
            object: Some(commit),
        })
    }

    /// Nothing, as one side.
    #[must_use]
    pub fn diff_nothing(&self) -> DiffSide {
        DiffSide {
            label: "nothing".into(),
            commit: None,
            object: None,
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
            object: None,
            files,
            env,
            metrics,
        })
    }

    /// Metrics of a commit: those of its last run.
    ///
    /// # Errors
    /// The run is missing or damaged.
    pub fn metrics(&self, commit: &Commit) -> Result<BTreeMap<String, Value>> {
        match commit.runs.last() {
            Some(id) => Ok(self.run_object(*id)?.metrics),
            None => Ok(BTreeMap::new()),
        }
    }

    /// The last run of a commit, if it was of the commit's own recipe. A commit that keeps the model
    /// of an older one keeps its runs too: what they measured says nothing of the new recipe.
    pub(crate) fn own_run(&self, commit: &Commit) -> Result<Option<Run>> {
        let Some(id) = commit.runs.last() else {
            return Ok(None);
        };
        let run = self.run_object(*id)?;
        Ok((run.recipe == commit.recipe.id()).then_some(run))
    }

    /// Finds what differs between two sides, without comparing files.
    ///
    /// # Errors
    /// Content is missing, damaged or unreadable.
    pub fn diff_plan(
        &self,
        old: &DiffSide,
        new: &DiffSide,
        filter: &DiffFilter,
    ) -> Result<DiffPlan> {
        let changes = compare(&old.files, &new.files);
        let all_env = diff_env(&old.env, &new.env);
        let all_metrics = metric_changes(&old.metrics, &new.metrics);
        let extent = extent(&changes, &all_env, &all_metrics);
        let mut files = self.find_renames(changes, old, new)?;
        files.retain(|f| filter.wants_file(&f.change));
        files.sort_by(|a, b| {
            let key = |f: &FileToDiff| Part::from(f.change.ingredient());
            (key(a), &a.change.path).cmp(&(key(b), &b.change.path))
        });
        let everywhere = filter.paths.is_empty();
        let env = everywhere && filter.wants(Part::Env);
        let metrics = everywhere && filter.parts.is_empty();
        Ok(DiffPlan {
            files,
            env: if env { all_env } else { Vec::new() },
            metrics: if metrics { all_metrics } else { Vec::new() },
            extent,
        })
    }

    /// Compares two sides as a whole, or what a filter leaves.
    ///
    /// # Errors
    /// Content is missing, damaged or unreadable.
    pub fn diff(&self, old: &DiffSide, new: &DiffSide, filter: &DiffFilter) -> Result<DiffReport> {
        let plan = self.diff_plan(old, new, filter)?;
        let compared = plan.files.into_iter().map(|f| self.diff_file(f, old, new));
        Ok(DiffReport {
            files: compared.collect::<Result<_>>()?,
            env: plan.env,
            metrics: plan.metrics,
            extent: plan.extent,
        })
    }
}

impl std::str::FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|p| p.word() == text);
        found.ok_or_else(|| {
            Error::invalid(
                "ingredient",
                text,
                "expected code, data, config, env or model",
            )
        })
    }
}

fn metric_changes(
    old: &BTreeMap<String, Value>,
    new: &BTreeMap<String, Value>,
) -> Vec<MetricChange> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let both = keys.into_iter().map(|key| MetricChange {
        key: key.clone(),
        old: old.get(key).cloned(),
        new: new.get(key).cloned(),
    });
    both.filter(|m| m.old != m.new).collect()
}

fn extent(files: &[FileChange], env: &[EnvChange], metrics: &[MetricChange]) -> Extent {
    let of_model = |c: &FileChange| c.ingredient() == Ingredient::Model;
    match (files.is_empty(), env.is_empty(), metrics.is_empty()) {
        (true, true, true) => Extent::Equal,
        (true, false, true) => Extent::Environment,
        (true, true, false) => Extent::Metrics,
        (false, true, _) if files.iter().all(of_model) => Extent::Model,
        _ => Extent::Several,
    }
}

#[cfg(test)]
mod tests;
