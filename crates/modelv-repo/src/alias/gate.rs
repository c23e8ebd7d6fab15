//! Gates: what the metrics of a commit must be before an alias may name it, by `[evaluate]` of its
//! `modelv.toml`.
//!
//! Must never take a metric of another recipe or model than the commit's own for its metric.

use std::collections::BTreeMap;
use std::fmt;

use globset::{Glob, GlobMatcher};
use modelv_core::id::CommitId;
use modelv_core::value::Value;
use serde::{Deserialize, Serialize};
use toml_edit::Item;

use super::evaluation::subject;
use crate::diff::{Better, better};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::runs::{Condition, Field};

type Metrics = BTreeMap<String, Value>;

/// `[evaluate] require`, `no-worse` and `tolerance`.
#[derive(Debug, Default)]
pub struct Gates {
    require: Vec<Threshold>,
    no_worse: Vec<NoWorse>,
    tolerance: f64,
}

#[derive(Debug)]
struct Threshold {
    text: String,
    keys: GlobMatcher,
    condition: Condition,
}

#[derive(Debug)]
struct NoWorse {
    text: String,
    keys: GlobMatcher,
    /// What is better; `None`: the name of each metric says it.
    better: Option<Better>,
}

/// What gates said of a commit. Kept in the record of the move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The recipe that was looked at.
    pub recipe: String,
    /// The tree of its model.
    pub model: Option<String>,
    /// Every rule for every metric.
    pub checks: Vec<Check>,
    /// Rules of the commit that was named before which this one lacks, or has looser. Each is a check that did
    /// not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

impl Verdict {
    /// What did not pass.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| !c.passed)
    }
}

/// One rule for one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The rule, as written.
    pub rule: String,
    /// The metric.
    pub metric: String,
    /// What it is; none: there is no such number.
    pub found: Option<f64>,
    /// What it is held against.
    pub bound: Option<f64>,
    /// Whose that number is, where it is no threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Whether it passed.
    pub passed: bool,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<f64>| n.map_or("nothing".to_owned(), |n| n.to_string());
        if let Some(note) = &self.note {
            return write!(f, "`{}`: {note}", self.rule);
        }
        match &self.baseline {
            Some(commit) => write!(
                f,
                "`{}`: `{}` is {}, commit {commit} has {}",
                self.rule,
                self.metric,
                number(self.found),
                number(self.bound)
            ),
            None => write!(
                f,
                "`{}`: `{}` is {}",
                self.rule,
                self.metric,
                number(self.found)
            ),
        }
    }
}

fn invalid(reason: &str) -> Error {
    Error::invalid("file", "modelv.toml", reason)
}

/// Keys of metrics, `*` for any part of one.
fn keys(text: &str) -> Result<GlobMatcher> {
    // A key of a metric is a text like any other: only `*` is special.
    let escaped: String = text
        .chars()
        .map(|c| {
            if "?[]{}!\\".contains(c) {
                format!("[{c}]")
            } else {
                c.to_string()
            }
        })
        .collect();
    let glob = Glob::new(&escaped.replace("[!]", "!").replace("[\\]", "\\\\"));
    let glob = glob.map_err(|e| invalid(&format!("`evaluate`: `{text}`: {}", e.kind())))?;
    Ok(glob.compile_matcher())
}

fn texts<'a>(section: &'a Item, key: &str) -> Result<Vec<&'a str>> {
    let Some(item) = section.get(key) else {
        return Ok(Vec::new());
    };
    let list = item
        .as_array()
        .map(|l| l.iter().map(toml_edit::Value::as_str).collect());
    let list: Option<Vec<&str>> = list.flatten();
    list.ok_or_else(|| invalid(&format!("`evaluate.{key}` is not a list of texts")))
}

impl Gates {
    /// Reads `[evaluate]`.
    ///
    /// # Errors
    /// A rule is none.
    pub(crate) fn parse(section: Option<&Item>) -> Result<Self> {
        let Some(section) = section else {
            return Ok(Self::default());
        };
        let require = texts(section, "require")?.into_iter().map(|text| {
            let condition = Condition::parse(Field::Metric, text)
                .map_err(|e| invalid(&format!("`evaluate.require`: {e}")))?;
            Ok(Threshold {
                text: text.to_owned(),
                keys: keys(condition.key())?,
                condition,
            })
        });
        let no_worse = texts(section, "no-worse")?.into_iter().map(|text| {
            let (key, way) = match text.rsplit_once(' ') {
                Some((key, "higher")) => (key.trim(), Some(Better::Higher)),
                Some((key, "lower")) => (key.trim(), Some(Better::Lower)),
                _ => (text, None),
            };
            if way.is_none() && !text.contains('*') && better(text).is_none() {
                let text = format!(
                    "`evaluate.no-worse`: `{text}` does not say which way is better; write `{text} higher` or `{text} lower`"
                );
                return Err(invalid(&text));
            }
            Ok(NoWorse {
                text: text.to_owned(),
                keys: keys(key)?,
                better: way,
            })
        });
        let tolerance = match section.get("tolerance") {
            None => 0.0,
            Some(item) => item
                .as_float()
                .or_else(|| {
                    item.as_integer()
                        .and_then(|n| i32::try_from(n).ok())
                        .map(f64::from)
                })
                .filter(|t| t.is_finite() && *t >= 0.0)
                .ok_or_else(|| invalid("`evaluate.tolerance` is not a number from 0 on"))?,
        };
        Ok(Self {
            require: require.collect::<Result<_>>()?,
            no_worse: no_worse.collect::<Result<_>>()?,
            tolerance,
        })
    }

    fn rules(&self) -> Vec<String> {
        let require = self.require.iter().map(|t| t.text.clone());
        let no_worse = self.no_worse.iter().map(|n| format!("no worse {}", n.text));
        require.chain(no_worse).collect()
    }

    /// What these demand and `new` does not, or less of it.
    fn dropped_by(&self, new: &Self) -> Vec<String> {
        let mut dropped = self.rules();
        let is_required = |old: &Threshold| {
            let mut all = new.require.iter();
            all.any(|n| n.condition.is_as_strict_as(&old.condition))
        };
        let covered: Vec<_> = self.require.iter().filter(|t| is_required(t)).collect();
        let kept = new.rules();
        dropped.retain(|rule| !kept.contains(rule) && !covered.iter().any(|t| t.text == *rule));
        if !self.no_worse.is_empty() && new.tolerance > self.tolerance {
            dropped.push(format!("tolerance {}", self.tolerance));
        }
        dropped
    }

    fn checks(&self, metrics: &Metrics, baseline: Option<(&str, &Metrics)>) -> Vec<Check> {
        let mut out = Vec::new();
        for rule in &self.require {
            rule.check(metrics, &mut out);
        }
        for rule in &self.no_worse {
            if let Some((commit, before)) = baseline {
                rule.check(metrics, commit, before, self.tolerance, &mut out);
            }
        }
        out
    }
}

impl Threshold {
    fn check(&self, metrics: &Metrics, out: &mut Vec<Check>) {
        let before = out.len();
        for (key, value) in metrics
            .iter()
            .filter(|(k, _)| self.keys.is_match(k.as_str()))
        {
            out.push(Check {
                rule: self.text.clone(),
                metric: key.clone(),
                found: value.as_f64(),
                bound: self.condition.number(),
                baseline: None,
                passed: self.condition.holds_for(value),
                note: None,
            });
        }
        if out.len() == before {
            out.push(missing(
                &self.text,
                self.condition.key(),
                self.condition.number(),
            ));
        }
    }
}

impl NoWorse {
    fn check(
        &self,
        metrics: &Metrics,
        commit: &str,
        before: &Metrics,
        tolerance: f64,
        out: &mut Vec<Check>,
    ) {
        let rule = format!("no worse {}", self.text);
        let already = out.len();
        for (key, old) in before
            .iter()
            .filter(|(k, _)| self.keys.is_match(k.as_str()))
        {
            // What can't be compared has not passed: nobody looked at it.
            let Some(way) = self.better.or_else(|| better(key)) else {
                let note = format!("its name does not say which way `{key}` is better");
                out.push(refused(&rule, note));
                continue;
            };
            let Some(bound) = old.as_f64().filter(|bound| !bound.is_nan()) else {
                out.push(refused(
                    &rule,
                    format!("`{key}` of commit {commit} is no number"),
                ));
                continue;
            };
            let found = metrics.get(key).and_then(Value::as_f64);
            // Nothing, and what is no number, is worse than anything.
            let passed = found.is_some_and(|found| match way {
                Better::Higher => found >= bound - tolerance,
                Better::Lower => found <= bound + tolerance,
            });
            out.push(Check {
                rule: rule.clone(),
                metric: key.clone(),
                found,
                bound: Some(bound),
                baseline: Some(commit.to_owned()),
                passed,
                note: None,
            });
        }
        // A metric that is new has nothing to be compared with; one that neither has is a slip in the rule.
        if out.len() == already && !metrics.keys().any(|k| self.keys.is_match(k.as_str())) {
            let note = "neither commit has such a metric".to_owned();
            out.push(refused(&rule, note));
        }
    }
}

fn missing(rule: &str, metric: &str, bound: Option<f64>) -> Check {
    Check {
        rule: rule.to_owned(),
        metric: metric.to_owned(),
        found: None,
        bound,
        baseline: None,
        passed: false,
        note: Some(format!("there is no metric `{metric}`")),
    }
}

fn refused(rule: &str, note: String) -> Check {
    Check {
        note: Some(note),
        ..missing(rule, "", None)
    }
}

impl Repo {
    /// What the gates of a commit say of it beside the commit that it is to replace; `None`: it has none.
    ///
    /// # Errors
    /// Something that is needed can't be read. A gate that does not pass is no error: the verdict says so.
    pub fn gate(&self, id: CommitId, before: Option<CommitId>) -> Result<Option<Verdict>> {
        let rules = self.rules_of(id)?;
        let gates = rules.gates();
        let mut dropped = Vec::new();
        let mut checks = Vec::new();
        if let Some(old) = before {
            let before = self.rules_of(old)?;
            dropped = before.gates().dropped_by(gates);
            // Another command may measure something else under the same name.
            if let Some(command) = before.evaluate_command()
                && !before.gates().rules().is_empty()
                && rules.evaluate_command() != Some(command)
            {
                dropped.push(format!("command {command}"));
            }
            // A commit that could take its own gates away would have none.
            for rule in &dropped {
                let note = format!(
                    "commit {} demands it, commit {} does not, or less of it",
                    old.short(),
                    id.short()
                );
                checks.push(refused(rule, note));
            }
        }
        if gates.rules().is_empty() && dropped.is_empty() {
            return Ok(None);
        }
        let commit = self.commit_object(id)?;
        let (recipe, model) = subject(&commit);
        if !gates.rules().is_empty() {
            match self.measured(id)? {
                Err(note) => checks.push(refused("evaluate", note)),
                Ok(metrics) => {
                    let wants_baseline = !gates.no_worse.is_empty();
                    let baseline = match before.filter(|_| wants_baseline) {
                        None => None,
                        Some(old) => match self.measured(old)? {
                            Ok(found) => Some((old.short(), found)),
                            Err(note) => {
                                checks.push(refused("no-worse", note));
                                None
                            }
                        },
                    };
                    let baseline = baseline.as_ref().map(|(c, m)| (c.as_str(), m));
                    checks.extend(gates.checks(&metrics, baseline));
                }
            }
        }
        Ok(Some(Verdict {
            recipe,
            model,
            checks,
            dropped,
        }))
    }

    /// The metrics of exactly the recipe and model of a commit: what `[evaluate] command` found; without
    /// a command, what the run that made the model told. The other way around: why there are none.
    fn measured(&self, id: CommitId) -> Result<Result<Metrics, String>> {
        let commit = self.commit_object(id)?;
        if commit.is_stale() {
            let text = format!(
                "the model of commit {} was made by another recipe",
                id.short()
            );
            return Ok(Err(text));
        }
        if let Some(command) = self.rules_of(id)?.evaluate_command() {
            return Ok(match self.evaluation(id, command)? {
                Some(e) => {
                    let metrics = e.metrics.iter();
                    Ok(metrics
                        .map(|(k, v)| (k.clone(), Value::from_json(v)))
                        .collect())
                }
                None => Err(format!("commit {} is not evaluated", id.short())),
            });
        }
        Ok(match self.own_run(&commit)? {
            Some(run) => Ok(run.metrics),
            None => Err(format!("no run of commit {} has told metrics", id.short())),
        })
    }
}
