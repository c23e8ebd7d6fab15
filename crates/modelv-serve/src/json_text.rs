//! Whether bytes are JSON that every reader takes: valid UTF-8, no number out of range, at most 128 levels.
//!
//! Must never keep what it reads: bodies may be large.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// `serde::de::IgnoredAny` looks neither into strings and numbers nor at the depth. Python does, and fails
/// there.
pub(crate) struct Looked;

/// Reads the whole text.
///
/// # Errors
/// It is not JSON, and where.
pub(crate) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Looked>(bytes).map(|Looked| ())
}

impl<'de> Deserialize<'de> for Looked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Looked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_can_not_read_is_refused() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n)).into_bytes();
        for good in [
            br#"{"a": [1, -2, 2.5, 18446744073709551616, null, true, "\u00e9", {}]}"#.to_vec(),
            deep(127),
            b" 1 ".to_vec(),
        ] {
            let text = String::from_utf8_lossy(&good);
            assert!(check(&good).is_ok(), "{text}");
        }
        for bad in [
            b"{\"inputs\":\"\xff\xfe\"}".to_vec(),
            b"{\"\xff\": 1}".to_vec(),
            deep(200),
            b"[".repeat(200_000),
            b"9".repeat(5_000),
            br#""\ud800""#.to_vec(),
            b"[1,]".to_vec(),
            b"1 2".to_vec(),
            b"".to_vec(),
        ] {
            let text = String::from_utf8_lossy(&bad[..bad.len().min(40)]).into_owned();
            assert!(check(&bad).is_err(), "{text}");
        }
    }
}
