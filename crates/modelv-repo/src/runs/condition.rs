//! What is asked of runs, as typed: conditions and orders. Looks at no file.

use std::cmp::Ordering;

use modelv_core::run::Run;
use modelv_core::value::Value;

use crate::error::{Error, Result};

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// A parameter.
    Param,
    /// A metric.
    Metric,
}

impl Field {
    pub(super) fn of(self, run: &Run) -> &std::collections::BTreeMap<String, Value> {
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
        let rest = &text[at + sign.len()..];
        // `=>` would be a demand for the text `> 0.8`, which nothing is.
        if rest.starts_with(['<', '>', '=', '!']) {
            return bad(
                "expected one of < <= = != >= >, and a space before a value that begins with one",
            );
        }
        let (key, value) = (text[..at].trim(), rest.trim());
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
        let found = self.field.of(run).get(&self.key);
        found.is_some_and(|found| self.holds_for(found))
    }

    /// What of a run it is about.
    pub(super) fn about(&self) -> (Field, &str) {
        (self.field, &self.key)
    }

    /// The key it is about.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The number that it compares with.
    pub(crate) fn number(&self) -> Option<f64> {
        self.value.parse().ok()
    }

    /// Whether it demands at least what another one does: the same, or a number that is further up or down.
    pub(crate) fn is_as_strict_as(&self, other: &Self) -> bool {
        let is_further = match (self.number(), other.number()) {
            (Some(ours), Some(theirs)) => match self.op {
                Op::Less | Op::LessEqual => ours <= theirs,
                Op::Greater | Op::GreaterEqual => ours >= theirs,
                Op::Equal | Op::NotEqual => false,
            },
            _ => false,
        };
        self == other || (&self.key, self.op) == (&other.key, other.op) && is_further
    }

    /// Whether it holds for a value.
    pub(crate) fn holds_for(&self, found: &Value) -> bool {
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

    /// What of a run decides its place.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Numbers before texts before what has no such key, whatever the direction.
    pub(super) fn compare(&self, a: &Place, b: &Place) -> Ordering {
        let turn = |o: Ordering| if self.descending { o.reverse() } else { o };
        match (a, b) {
            (Place::Number(x), Place::Number(y)) => turn(x.total_cmp(y)),
            (Place::Text(x), Place::Text(y)) => turn(x.cmp(y)),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

/// What a run is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Number(f64),
    Text(String),
    None,
}

impl Place {
    /// Where a value belongs; what is no number has no place among them.
    pub(super) fn of(value: Option<&Value>) -> Self {
        match value.map(|v| (v, v.as_f64())) {
            Some((_, Some(n))) if n.is_nan() => Self::None,
            Some((_, Some(n))) => Self::Number(n),
            Some((v, None)) => Self::Text(v.to_string()),
            None => Self::None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Text(_) => 1,
            Self::None => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{adam, run};
    use super::*;

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
        for bad in [
            "f1", "f1!0.8", ">0.8", "f1>", "opt>adam", "f1=>0.8", "f1 =<1", "f1<>1",
        ] {
            assert!(Condition::parse(Field::Metric, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_has_no_number_comes_last_in_both_directions() {
        let places = [0.5, f64::NAN, f64::NAN, 0.9].map(|n| Place::of(Some(&Value::Float(n))));
        for (text, want) in [("f1", [0, 3, 1, 2]), ("-f1", [3, 0, 1, 2])] {
            let order = Order::parse(text).unwrap();
            let mut numbers: Vec<usize> = (0..4).collect();
            numbers.sort_by(|a, b| order.compare(&places[*a], &places[*b]));
            assert_eq!(numbers, want, "{text}");
        }
        assert!(Order::parse("-").is_err());
    }
}
