//! Finding runs: by id, by status, by their metrics and parameters; the best one; several side by
//! side. Reads only.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use modelv_core::id::RunId;
use modelv_core::run::{Run, Status};
use modelv_core::value::Value;

use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;

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

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// A parameter.
    Param,
    /// A metric.
    Metric,
}

impl Field {
    fn of(self, run: &Run) -> &std::collections::BTreeMap<String, Value> {
        match self {
            Self::Param => &run.params,
            Self::Metric => &run.metrics,
        }
    }

    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Param => "param",
            Self::Metric => "metric",
        }
    }
}

/// `f1 > 0.8`, `optimizer = adam`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    field: Field,
    key: String,
    op: Op,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Less,
    LessEqual,
    Equal,
    NotEqual,
    GreaterEqual,
    Greater,
}

impl Condition {
    /// Reads `KEY OP VALUE`; the operators are `<`, `<=`, `=`, `!=`, `>=`, `>`. Without one, the run
    /// must have the key at all.
    ///
    /// # Errors
    /// The key or the value is missing, or the order of a text is asked for.
    pub fn parse(field: Field, text: &str) -> Result<Self> {
        const OPS: [(&str, Op); 7] = [
            ("<=", Op::LessEqual),
            (">=", Op::GreaterEqual),
            ("!=", Op::NotEqual),
            ("==", Op::Equal),
            ("<", Op::Less),
            (">", Op::Greater),
            ("=", Op::Equal),
        ];
        let bad = |reason: &str| Err(Error::invalid("condition", text, reason));
        let first = text.find(['<', '>', '=', '!']);
        let Some(at) = first else {
            return bad("expected KEY OP VALUE with one of < <= = != >= >");
        };
        let Some((sign, op)) = OPS
            .into_iter()
            .find(|(sign, _)| text[at..].starts_with(sign))
        else {
            return bad("`!` stands only in `!=`");
        };
        let (key, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        if key.is_empty() || value.is_empty() {
            return bad("the key or the value is missing");
        }
        let needs_order = !matches!(op, Op::Equal | Op::NotEqual);
        if needs_order && value.parse::<f64>().is_err() {
            return bad("only numbers have an order");
        }
        Ok(Self {
            field,
            key: key.into(),
            op,
            value: value.into(),
        })
    }

    /// Whether the run has what it speaks of.
    pub(crate) fn is_about(&self, run: &Run) -> bool {
        self.field.of(run).contains_key(&self.key)
    }

    /// Whether it holds. A run without the key never fits.
    #[must_use]
    pub fn holds(&self, run: &Run) -> bool {
        let Some(found) = self.field.of(run).get(&self.key) else {
            return false;
        };
        let order = match (found.as_f64(), self.value.parse::<f64>()) {
            (Some(a), Ok(b)) => a.partial_cmp(&b),
            _ => None,
        };
        let equal = match order {
            Some(order) => order == Ordering::Equal,
            None => is_text(found, &self.value),
        };
        match self.op {
            Op::Equal => equal,
            Op::NotEqual => !equal,
            Op::Less => order == Some(Ordering::Less),
            Op::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Op::Greater => order == Some(Ordering::Greater),
            Op::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Whether people mean this value: the same number, or the same text.
pub(crate) fn is_value(value: &Value, text: &str) -> bool {
    match (value.as_f64(), text.parse::<f64>()) {
        (Some(a), Ok(b)) => a == b,
        _ => is_text(value, text),
    }
}

/// Whether people would write the value so, with or without quotes.
fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::Str(s) => s == text || value.to_string() == text,
        other => other.to_string() == text,
    }
}

/// What runs are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    key: String,
    descending: bool,
}

impl Order {
    /// Reads `started`, `duration`, or the name of a metric or parameter; `-` before it: largest
    /// first.
    ///
    /// # Errors
    /// It is empty.
    pub fn parse(text: &str) -> Result<Self> {
        let key = text.strip_prefix('-').unwrap_or(text);
        if key.is_empty() {
            return Err(Error::invalid("order", text, "the key is missing"));
        }
        Ok(Self {
            key: key.into(),
            descending: key.len() < text.len(),
        })
    }

    fn number(&self, run: &Run) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "for comparison only")]
        let number = match self.key.as_str() {
            "started" => Some(run.started.seconds as f64),
            "duration" => Some(run.duration_ms as f64),
            key => run
                .metrics
                .get(key)
                .or_else(|| run.params.get(key))?
                .as_f64(),
        };
        number.filter(|n| !n.is_nan())
    }

    fn text(&self, run: &Run) -> Option<String> {
        let found = run
            .metrics
            .get(&self.key)
            .or_else(|| run.params.get(&self.key));
        found.map(Value::to_string)
    }

    /// Numbers before texts before runs without the key, whatever the direction.
    fn compare(&self, a: &Run, b: &Run) -> Ordering {
        let turn = |o: Ordering| if self.descending { o.reverse() } else { o };
        match (self.number(a), self.number(b)) {
            (Some(x), Some(y)) => turn(x.total_cmp(&y)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => match (self.text(a), self.text(b)) {
                (Some(x), Some(y)) => turn(x.cmp(&y)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            },
        }
    }
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
    /// One is missing or damaged.
    pub fn find_runs(&self, query: &RunQuery) -> Result<Vec<(RunId, Run)>> {
        let mut runs = self.runs()?;
        runs.retain(|(_, run)| {
            query.status.is_none_or(|s| s == run.status)
                && query.conditions.iter().all(|c| c.holds(run))
        });
        if let Some(order) = &query.order {
            runs.sort_by(|(_, a), (_, b)| order.compare(a, b));
        }
        runs.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(runs)
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

    /// The finished run with the largest (or smallest) value of a metric; of equals, the first that
    /// was started.
    ///
    /// # Errors
    /// No finished run has a number of that name.
    pub fn best_run(&self, metric: &str, smallest: bool) -> Result<(RunId, Run)> {
        let number = |run: &Run| {
            let value = run.metrics.get(metric).and_then(Value::as_f64);
            value.filter(|n| !n.is_nan())
        };
        let mut runs = self.runs()?;
        runs.retain(|(_, run)| run.status == Status::Finished && number(run).is_some());
        let key = |(id, run): &(RunId, Run)| {
            let value = number(run).unwrap_or_default();
            (
                if smallest { value } else { -value },
                run.started.seconds,
                *id,
            )
        };
        runs.into_iter()
            .min_by(|a, b| {
                let (a, b) = (key(a), key(b));
                a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2)))
            })
            .ok_or_else(|| Error::not_found("metric", metric))
    }
}

#[cfg(test)]
mod tests {
    use modelv_core::commit::Time;
    use modelv_core::id::RecipeId;
    use modelv_core::run::Determinism;

    use super::*;

    fn run(params: &[(&str, Value)], metrics: &[(&str, f64)]) -> Run {
        Run {
            command: vec!["train".into()],
            recipe: RecipeId([1; 32]),
            commit: None,
            params: params
                .iter()
                .map(|(k, v)| ((*k).into(), v.clone()))
                .collect(),
            metrics: metrics
                .iter()
                .map(|(k, v)| ((*k).into(), Value::Float(*v)))
                .collect(),
            series: None,
            outputs: None,
            status: Status::Finished,
            exit_code: Some(0),
            started: Time {
                seconds: 7,
                offset_minutes: 0,
            },
            duration_ms: 5,
            host: Default::default(),
            determinism: Determinism::Unknown,
            log: None,
            nonce: [0; 16],
            origin: Default::default(),
        }
    }

    fn adam() -> Value {
        Value::Str("adam".into())
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let run = run(&[("opt", adam()), ("n", Value::Int(3))], &[("f1", 0.8)]);
        for (field, text, want) in [
            (Field::Metric, "f1>0.7", true),
            (Field::Metric, "f1 > 0.8", false),
            (Field::Metric, "f1>=0.8", true),
            (Field::Metric, "f1<=0.80", true),
            (Field::Metric, "f1 != 0.8", false),
            (Field::Metric, "f2 != 0.8", false),
            (Field::Metric, "f1 < 1", true),
            (Field::Param, "n = 3.0", true),
            (Field::Param, "opt=adam", true),
            (Field::Param, "opt==\"adam\"", true),
            (Field::Param, "opt!=sgd", true),
            (Field::Param, "opt>1", false),
        ] {
            let condition = Condition::parse(field, text).unwrap();
            assert_eq!(condition.holds(&run), want, "{text}");
        }
        for bad in ["f1", "f1!0.8", ">0.8", "f1>", "opt>adam"] {
            assert!(Condition::parse(Field::Metric, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_has_no_number_comes_last_in_both_directions() {
        let runs = [
            run(&[], &[("f1", 0.5)]),
            run(&[], &[]),
            run(&[], &[("f1", f64::NAN)]),
            run(&[], &[("f1", 0.9)]),
        ];
        for (text, want) in [("f1", [0, 3, 2, 1]), ("-f1", [3, 0, 2, 1])] {
            let order = Order::parse(text).unwrap();
            let mut numbers: Vec<usize> = (0..4).collect();
            numbers.sort_by(|a, b| order.compare(&runs[*a], &runs[*b]));
            assert_eq!(numbers, want, "{text}");
        }
        assert!(Order::parse("-").is_err());
    }

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
