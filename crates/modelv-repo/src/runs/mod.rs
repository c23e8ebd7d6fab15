//! Finding runs: by id, by status, by their metrics and parameters; the best one; several side by
//! side. `entry.rs` is what is known of a run in short, `index.rs` the derived file that holds it for all.

mod condition;
mod entry;
mod forget;
mod found;
mod index;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use modelv_core::id::RunId;
use modelv_core::run::{Run, Status};
use modelv_core::value::Value;

use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;

pub(crate) use condition::is_value;
pub use condition::{Condition, Field, Order};
pub(crate) use entry::Entry;
pub use entry::{RunLine, Shown};
pub use forget::{ForgetQuery, Forgotten};
pub use found::FoundRuns;
pub(crate) use index::{RunIndex, is_sound};

/// Fewest digits that name a run.
const PREFIX_MIN: usize = 4;

/// Which runs are wanted, and in what order.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    /// Only these.
    pub status: Option<Status>,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// Newest first otherwise.
    pub order: Option<Order>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// One parameter or metric of several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which of the two.
    pub field: Field,
    /// Its key.
    pub key: String,
    /// One for each run, in order; `None`: the run has no such key.
    pub values: Vec<Option<Value>>,
    /// Whether the runs do not agree.
    pub differs: bool,
}

/// All parameters and metrics of some runs: first what differs, then what is equal; parameters
/// before metrics.
#[must_use]
pub fn compare_runs(runs: &[(RunId, Run)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for field in [Field::Param, Field::Metric] {
        let keys: BTreeSet<&String> = runs.iter().flat_map(|(_, r)| field.of(r).keys()).collect();
        for key in keys {
            let values: Vec<Option<Value>> = runs
                .iter()
                .map(|(_, r)| field.of(r).get(key).cloned())
                .collect();
            let same = |a: &Option<Value>, b: &Option<Value>| match (a, b) {
                (Some(a), Some(b)) => a.same(b),
                (a, b) => a.is_none() == b.is_none(),
            };
            let differs = values.windows(2).any(|w| !same(&w[0], &w[1]));
            rows.push(Row {
                field,
                key: key.clone(),
                values,
                differs,
            });
        }
    }
    rows.sort_by_key(|row| (!row.differs, row.field));
    rows
}

impl Repo {
    /// The runs that fit, newest first or in the order asked for.
    ///
    /// # Errors
    /// A run is missing or damaged.
    pub fn find_runs(&self, query: &RunQuery) -> Result<FoundRuns<'_>> {
        FoundRuns::new(self, query)
    }

    /// A run by the first digits of its id, or the last run of a commit.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find_run(&self, name: &str) -> Result<(RunId, Run)> {
        let is_prefix = name.len() >= PREFIX_MIN && name.bytes().all(|b| b.is_ascii_hexdigit());
        let prefix = format!("{}{}", names::RUNS, name.to_ascii_lowercase());
        let found: Vec<&String> = match is_prefix {
            true => self
                .log
                .refs
                .range(prefix.clone()..)
                .map(|(full, _)| full)
                .take_while(|full| full.starts_with(&prefix))
                .collect(),
            false => Vec::new(),
        };
        let id = match found.as_slice() {
            [one] => RunId::from_hex(&one[names::RUNS.len()..])
                .map_err(|e| Error::invalid("run", name, e.to_string()))?,
            [] => {
                let commit = self
                    .resolve(name)
                    .and_then(|id| self.commit_object(id))
                    .map_err(|_| Error::not_found("run", name))?;
                *commit
                    .runs
                    .last()
                    .ok_or_else(|| Error::State(format!("commit `{name}` has no run")))?
            }
            several => {
                return Err(Error::Ambiguous {
                    name: name.into(),
                    candidates: several
                        .iter()
                        .map(|full| full[names::RUNS.len()..][..12].to_owned())
                        .collect(),
                });
            }
        };
        Ok((id, self.run_object(id)?))
    }

    /// The runs that repeated one, newest first: what they found is how deterministic it is.
    ///
    /// # Errors
    /// One is missing or damaged.
    pub fn repetitions_of(&self, id: RunId, run: &Run) -> Result<Vec<(RunId, Run)>> {
        let index = self.run_index()?;
        let is_meant = |e: &Entry<'_>| e.repeats && e.recipe == run.recipe;
        let mut entries: Vec<Entry<'_>> = index.entries().filter(is_meant).collect();
        entries.sort_by_key(|e| std::cmp::Reverse(e.seq));
        let mut found = Vec::new();
        for entry in entries {
            let other = self.run_object(entry.id)?;
            if other.origin.repeats == Some(id) {
                found.push((entry.id, other));
            }
        }
        Ok(found)
    }

    /// The finished run with the largest (or smallest) value of a metric; of equals, the first that
    /// was started. A run in doubt is none.
    ///
    /// # Errors
    /// No finished run has a number of that name.
    pub fn best_run(&self, metric: &str, smallest: bool) -> Result<(RunId, Run)> {
        let index = self.run_index()?;
        let mut best: Option<(f64, i64, RunId)> = None;
        let mut is_there = false;
        for entry in index.entries() {
            if entry.status != Status::Finished || entry.is_doubtful {
                continue;
            }
            let value = entry.value(self, Field::Metric, metric)?;
            is_there |= value.is_some();
            let Some(number) = value.and_then(|v| v.as_f64()).filter(|n| !n.is_nan()) else {
                continue;
            };
            let key = (
                if smallest { number } else { -number },
                entry.started,
                entry.id,
            );
            let is_better = best.is_none_or(|b| {
                key.0
                    .total_cmp(&b.0)
                    .then((key.1, key.2).cmp(&(b.1, b.2)))
                    .is_lt()
            });
            if is_better {
                best = Some(key);
            }
        }
        let (_, _, id) = best.ok_or_else(|| no_best(metric, is_there))?;
        Ok((id, self.run_object(id)?))
    }
}

/// Why no run is the best by a metric.
pub(crate) fn no_best(metric: &str, is_there: bool) -> Error {
    match is_there {
        true => Error::State(format!(
            "no finished run has a number as metric `{metric}`: NaN and texts can't be compared"
        )),
        false => Error::not_found("metric", metric),
    }
}

#[cfg(test)]
mod compare_tests {
    use super::tests::{adam, run};
    use super::*;

    #[test]
    fn what_differs_comes_first() {
        let id = |n| RunId([n; 32]);
        let runs = [
            (
                id(1),
                run(
                    &[("lr", Value::Float(0.1)), ("opt", adam())],
                    &[("f1", 0.5), ("n", 1.0)],
                ),
            ),
            (
                id(2),
                run(
                    &[("lr", Value::Int(1)), ("opt", adam())],
                    &[("f1", 0.6), ("n", 1.0)],
                ),
            ),
        ];
        let rows = compare_runs(&runs);
        let shown: Vec<(&str, &str, bool)> = rows
            .iter()
            .map(|r| (r.field.word(), r.key.as_str(), r.differs))
            .collect();
        assert_eq!(
            shown,
            [
                ("param", "lr", true),
                ("metric", "f1", true),
                ("param", "opt", false),
                ("metric", "n", false),
            ]
        );
        let lone = compare_runs(&runs[..1]);
        assert!(lone.iter().all(|r| !r.differs));
    }
}
