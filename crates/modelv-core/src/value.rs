//! Configuration values: exact and typed. `1`, `1.0`, `"1"` and `true` are four different values.

use std::collections::BTreeMap;
use std::fmt;

use bincode::Decode;
use bincode::de::Decoder;
use bincode::error::DecodeError;

/// Deepest nesting: a value inside 63 lists or maps is the last that is read or written.
pub const DEPTH_MAX: usize = 64;
/// Most elements of one list or map.
pub const ELEMENTS_MAX: usize = 65_536;

/// One configuration value, parameter or metric.
#[derive(Debug, Clone, PartialEq, bincode::Encode)]
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
    /// Whether the value can be stored: not nested too deep, no list or map too long, no number in
    /// a second form. Walks no deeper than [`DEPTH_MAX`].
    ///
    /// # Errors
    /// The rule that is broken, as text.
    pub fn check(&self) -> Result<(), &'static str> {
        self.check_below(DEPTH_MAX)
    }

    fn check_below(&self, levels: usize) -> Result<(), &'static str> {
        let Some(below) = levels.checked_sub(1) else {
            return Err(TOO_DEEP);
        };
        match self {
            Self::UInt(n) if i64::try_from(*n).is_ok() => Err(SECOND_FORM),
            Self::List(l) if l.len() > ELEMENTS_MAX => Err(TOO_LONG),
            Self::Map(m) if m.len() > ELEMENTS_MAX => Err(TOO_LONG),
            Self::List(l) => l.iter().try_for_each(|v| v.check_below(below)),
            Self::Map(m) => m.values().try_for_each(|v| v.check_below(below)),
            _ => Ok(()),
        }
    }

    /// The value, or a text that says what it is when it can't be stored whole.
    #[must_use]
    pub fn or_summary(self) -> Self {
        match self.check() {
            Ok(()) => self,
            Err(reason) => Self::Str(match &self {
                Self::List(l) => format!("(list of {} elements: {reason})", l.len()),
                Self::Map(m) => format!("(map of {} keys: {reason})", m.len()),
                _ => format!("(value: {reason})"),
            }),
        }
    }

    /// Decodes one value that may nest `levels` deep.
    fn decode_below<D: Decoder>(decoder: &mut D, levels: usize) -> Result<Self, DecodeError> {
        let Some(below) = levels.checked_sub(1) else {
            return Err(DecodeError::Other(TOO_DEEP));
        };
        Ok(match u32::decode(decoder)? {
            0 => Self::Null,
            1 => Self::Bool(bool::decode(decoder)?),
            2 => Self::Int(i64::decode(decoder)?),
            3 => Self::UInt(u64::decode(decoder)?),
            4 => Self::Float(f64::decode(decoder)?),
            5 => Self::Str(String::decode(decoder)?),
            6 => {
                let len = decode_len::<Self, D>(decoder)?;
                let mut list = Vec::with_capacity(len.min(256));
                for _ in 0..len {
                    list.push(Self::decode_below(decoder, below)?);
                }
                Self::List(list)
            }
            7 => {
                let len = decode_len::<(String, Self), D>(decoder)?;
                let mut map = BTreeMap::new();
                for _ in 0..len {
                    let key = String::decode(decoder)?;
                    map.insert(key, Self::decode_below(decoder, below)?);
                }
                Self::Map(map)
            }
            _ => return Err(DecodeError::Other("unknown type of value")),
        })
    }

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

const TOO_DEEP: &str = "nested more than 64 deep";
const TOO_LONG: &str = "more than 65536 elements";
const SECOND_FORM: &str = "a number in a second form";

/// Length of a list or map, checked against the limits before anything is allocated for it.
fn decode_len<T, D: Decoder>(decoder: &mut D) -> Result<usize, DecodeError> {
    let len = usize::try_from(u64::decode(decoder)?).unwrap_or(usize::MAX);
    if len > ELEMENTS_MAX {
        return Err(DecodeError::Other(TOO_LONG));
    }
    decoder.claim_container_read::<T>(len)?;
    // Each element claims its own bytes while it is read.
    decoder.unclaim_bytes_read(len * size_of::<T>());
    Ok(len)
}

impl<C> Decode<C> for Value {
    /// By hand, not derived: a derived one nests as deep as the bytes say and overflows the stack.
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode_below(decoder, DEPTH_MAX)
    }
}

bincode::impl_borrow_decode!(Value);

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

    fn nested(depth: usize) -> Value {
        (1..depth).fold(Value::Null, |v, _| Value::List(vec![v]))
    }

    fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
        bincode::decode_from_slice(bytes, bincode::config::standard()).map(|(v, _)| v)
    }

    fn encode(value: &Value) -> Vec<u8> {
        bincode::encode_to_vec(value, bincode::config::standard()).unwrap()
    }

    #[test]
    fn depth_is_bounded_on_both_sides() {
        let deepest = nested(DEPTH_MAX);
        assert_eq!(deepest.check(), Ok(()));
        assert_eq!(decode(&encode(&deepest)).unwrap(), deepest);
        assert_eq!(nested(DEPTH_MAX + 1).check(), Err(TOO_DEEP));
        // Six thousand bytes that would nest as deep: refused, and no stack overflows.
        for deep in [[6u8, 1].repeat(3_000), [7u8, 1, 0].repeat(100_000)] {
            assert!(decode(&deep).unwrap_err().to_string().contains("64 deep"));
        }
    }

    #[test]
    fn every_kind_survives_a_round_trip() {
        let map = BTreeMap::from([
            ("a".to_owned(), Value::Null),
            ("b".to_owned(), Value::Bool(true)),
        ]);
        for value in [
            Value::Int(-3),
            Value::UInt(u64::MAX),
            Value::Float(-0.0),
            Value::Str("x".into()),
            Value::List(vec![Value::Map(map.clone()), Value::Null]),
            Value::Map(map),
        ] {
            assert!(decode(&encode(&value)).unwrap().same(&value));
        }
        assert!(decode(&[8]).is_err());
    }

    #[test]
    fn lengths_are_bounded_on_both_sides() {
        let longest = Value::List(vec![Value::Null; ELEMENTS_MAX]);
        assert_eq!(longest.check(), Ok(()));
        assert_eq!(decode(&encode(&longest)).unwrap(), longest);
        let longer = Value::List(vec![Value::Null; ELEMENTS_MAX + 1]);
        assert_eq!(longer.check(), Err(TOO_LONG));
        assert!(decode(&encode(&longer)).is_err());
        assert_eq!(
            longer.or_summary().to_string(),
            "\"(list of 65537 elements: more than 65536 elements)\""
        );
    }

    #[test]
    fn a_small_number_is_never_unsigned() {
        assert_eq!(Value::UInt(5).check(), Err(SECOND_FORM));
        assert_eq!(Value::UInt(1 << 63).check(), Ok(()));
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
