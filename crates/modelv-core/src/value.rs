//! Configuration values: exact and typed. `1`, `1.0`, `"1"` and `true` are four different values.

use std::collections::BTreeMap;
use std::fmt;

/// One configuration value, parameter or metric.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub enum Value {
    /// JSON's `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits 64 signed bits.
    Int(i64),
    /// A whole number above `i64::MAX`.
    UInt(u64),
    /// A floating point number, bit for bit.
    Float(f64),
    /// Text.
    Str(String),
    /// Ordered values.
    List(Vec<Value>),
    /// Values by key, sorted by key bytes.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Equality by type and bits: NaN equals itself, `0.0` and `-0.0` differ.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.same(y))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((k, x), (l, y))| k == l && x.same(y))
            }
            _ => self == other,
        }
    }

    /// The number, if it is one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "for display and comparison only"
    )]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::UInt(n) => Some(*n as f64),
            Self::Float(n) => Some(*n),
            _ => None,
        }
    }

    /// The same value in JSON's model. NaN and infinities become text, for JSON has none.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match self {
            Self::Null => J::Null,
            Self::Bool(b) => J::Bool(*b),
            Self::Int(n) => J::from(*n),
            Self::UInt(n) => J::from(*n),
            Self::Float(n) => {
                serde_json::Number::from_f64(*n).map_or_else(|| J::String(n.to_string()), J::Number)
            }
            Self::Str(s) => J::String(s.clone()),
            Self::List(l) => J::Array(l.iter().map(Self::to_json).collect()),
            Self::Map(m) => J::Object(m.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
        }
    }

    /// Takes a JSON value over, keeping whole numbers whole.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as J;
        match json {
            J::Null => Self::Null,
            J::Bool(b) => Self::Bool(*b),
            J::Number(n) => n.as_i64().map_or_else(
                || {
                    n.as_u64()
                        .map_or_else(|| Self::Float(n.as_f64().unwrap_or(f64::NAN)), Self::UInt)
                },
                Self::Int,
            ),
            J::String(s) => Self::Str(s.clone()),
            J::Array(a) => Self::List(a.iter().map(Self::from_json).collect()),
            J::Object(o) => Self::Map(
                o.iter()
                    .map(|(k, v)| (k.clone(), Self::from_json(v)))
                    .collect(),
            ),
        }
    }
}

impl fmt::Display for Value {
    /// JSON, but floats keep a decimal point so that `1.0` does not read as `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(n) => write!(f, "{n:?}"),
            other => write!(f, "{}", other.to_json()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_kept_apart() {
        let four = [
            Value::Int(1),
            Value::Float(1.0),
            Value::Str("1".into()),
            Value::Bool(true),
        ];
        for (i, a) in four.iter().enumerate() {
            for (j, b) in four.iter().enumerate() {
                assert_eq!(a.same(b), i == j);
            }
        }
        let shown: Vec<String> = four.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1", "1.0", "\"1\"", "true"]);
    }

    #[test]
    fn json_numbers_keep_their_kind() {
        for text in [
            "1",
            "1.5",
            "18446744073709551615",
            "-3",
            "1e-50",
            "null",
            "[1,\"a\"]",
        ] {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(Value::from_json(&json).to_json(), json, "{text}");
        }
    }
}
