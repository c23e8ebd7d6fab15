//! Golden requests: requests with the answers that were recorded to them, and how an answer is compared.
//! Numbers that are no integers may differ a little, for other processors add in another order; all else is
//! the same or it is not.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Largest difference between two numbers, as a share of the larger one, unless `[serve]` says another.
pub(crate) const TOLERANCE: f64 = 1e-6;
/// Numbers that are closer than this are equal, however small they are: a sum that would be nought.
const NOUGHT: f64 = 1e-12;
/// Largest file of golden requests, in bytes.
pub(crate) const GOLDEN_BYTES_MAX: u64 = 64 << 20;
/// Longest text of a value in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// A request and the answer that was recorded to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// What people call the request.
    pub name: Option<String>,
    /// The body of a prediction.
    pub request: Value,
    /// What was predicted; `None`: nothing is recorded yet.
    pub response: Option<Value>,
}

/// A place where an answer is not the one that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Name or number of the request.
    pub request: String,
    /// Where in the answer, such as `[0].score`; empty for all of it.
    pub field: String,
    /// What was recorded.
    pub expected: String,
    /// What was answered.
    pub got: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = match self.field.as_str() {
            "" => String::new(),
            field => format!(" at `{field}`"),
        };
        let Self {
            request,
            expected,
            got,
            ..
        } = self;
        write!(f, "{request}{at}: expected {expected}, got {got}")
    }
}

impl Golden {
    /// Reads one JSON value a line: `{"request": …, "response": …, "name": …}`, or a request alone.
    ///
    /// # Errors
    /// A line is no JSON, or there is none; what is said is the reason.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, String> {
        let mut rows = Vec::new();
        for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value: Value = serde_json::from_slice(line)
                .map_err(|e| format!("line {} is not JSON: {e}", number + 1))?;
            rows.push(Self::of(value));
        }
        match rows.is_empty() {
            true => Err("it holds no request".into()),
            false => Ok(rows),
        }
    }

    fn of(value: Value) -> Self {
        let keys = ["name", "request", "response"];
        let is_row = |map: &Map<String, Value>| {
            map.contains_key("request")
                && map.keys().all(|key| keys.contains(&key.as_str()))
                && map.get("name").is_none_or(Value::is_string)
        };
        match value {
            Value::Object(mut map) if is_row(&map) => Self {
                name: map.get("name").and_then(Value::as_str).map(str::to_owned),
                request: map.remove("request").unwrap_or_default(),
                response: map.remove("response"),
            },
            request => Self {
                name: None,
                request,
                response: None,
            },
        }
    }

    /// The line of a file.
    #[must_use]
    pub fn line(&self) -> String {
        let mut row = Map::new();
        if let Some(name) = &self.name {
            row.insert("name".into(), json!(name));
        }
        row.insert("request".into(), self.request.clone());
        if let Some(response) = &self.response {
            row.insert("response".into(), response.clone());
        }
        format!("{}\n", Value::Object(row))
    }

    /// What people call it; `number` counts from 1.
    pub(crate) fn label(&self, number: usize) -> String {
        match &self.name {
            Some(name) => format!("request {number} (`{}`)", shorten(name)),
            None => format!("request {number}"),
        }
    }

    /// The first place where an answer is not the recorded one.
    pub(crate) fn compare(&self, got: &Value, number: usize, tolerance: f64) -> Option<Mismatch> {
        let expected = self.response.as_ref()?;
        let mut field = String::new();
        let (expected, got) = first_difference(expected, got, tolerance, &mut field)?;
        Some(Mismatch {
            request: self.label(number),
            field,
            expected,
            got,
        })
    }
}

/// A text that fits into a line.
pub(crate) fn shorten(text: &str) -> String {
    let plain: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let plain = plain.escape_debug().to_string().replace("\\\"", "\"");
    match text.chars().nth(SHOWN_CHARS_MAX) {
        Some(_) => format!("{plain}…"),
        None => plain,
    }
}

fn show(value: &Value) -> String {
    shorten(&value.to_string())
}

/// Walks both values; `field` is left at the first place where they differ.
fn first_difference(
    want: &Value,
    got: &Value,
    tolerance: f64,
    field: &mut String,
) -> Option<(String, String)> {
    let length = field.len();
    match (want, got) {
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                let count = |list: &[Value]| format!("a list of {}", list.len());
                return Some((count(a), count(b)));
            }
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                field.push_str(&format!("[{number}]"));
                let found = first_difference(a, b, tolerance, field);
                if found.is_some() {
                    return found;
                }
                field.truncate(length);
            }
            None
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let dot = if length == 0 { "" } else { "." };
                field.push_str(&format!("{dot}{}", shorten(key)));
                let found = match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => first_difference(a, b, tolerance, field),
                    (a, b) => {
                        let or_nothing = |v: Option<&Value>| v.map_or("nothing".into(), show);
                        Some((or_nothing(a), or_nothing(b)))
                    }
                };
                if found.is_some() {
                    return found;
                }
                field.truncate(length);
            }
            None
        }
        (Value::Number(a), Value::Number(b)) if is_close(a, b, tolerance) => None,
        (a, b) if a == b => None,
        (a, b) => Some((show(a), show(b))),
    }
}

fn is_close(a: &serde_json::Number, b: &serde_json::Number, tolerance: f64) -> bool {
    if !a.is_f64() && !b.is_f64() {
        return a == b;
    }
    let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else {
        return false;
    };
    (a - b).abs() <= (tolerance * a.abs().max(b.abs())).max(NOUGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(want: Value, got: &Value) -> Option<String> {
        let row = Golden {
            name: None,
            request: Value::Null,
            response: Some(want),
        };
        row.compare(got, 3, TOLERANCE).map(|m| m.to_string())
    }

    #[test]
    fn floats_may_differ_a_little_and_nothing_else() {
        for (want, got) in [
            (
                json!([1, 2.5, "a", null]),
                json!([1, 2.500_000_1, "a", null]),
            ),
            (
                json!({"a": 1e9, "b": true}),
                json!({"b": true, "a": 1_000_000_100.0}),
            ),
            (json!(0.0), json!(1e-17)),
            // What Python calls another type is the same number.
            (json!(2), json!(2.0)),
        ] {
            assert_eq!(compare(want, &got), None);
        }
        for (want, got, said) in [
            (
                json!([1.0, 2.0]),
                json!([1.0, 2.1]),
                "at `[1]`: expected 2.0, got 2.1",
            ),
            (json!(7), json!(8), "request 3: expected 7, got 8"),
            (
                json!(9_007_199_254_740_993_u64),
                json!(9_007_199_254_740_992_u64),
                "expected",
            ),
            (json!(1e-3), json!(1.01e-3), "expected 0.001"),
            (
                json!([1]),
                json!([1, 2]),
                "expected a list of 1, got a list of 2",
            ),
            (
                json!([{"label": "a", "score": 0.5}]),
                json!([{"label": "b", "score": 0.5}]),
                "at `[0].label`: expected \"a\", got \"b\"",
            ),
            (
                json!({"a": 1}),
                json!({}),
                "at `a`: expected 1, got nothing",
            ),
            (
                json!({}),
                json!({"b": 1}),
                "at `b`: expected nothing, got 1",
            ),
            (json!("1"), json!(1), "expected \"1\", got 1"),
            (json!(null), json!(0), "expected null, got 0"),
        ] {
            let found = compare(want, &got).unwrap();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn rows_are_read_and_written() {
        let text =
            b"{\"request\": [1], \"response\": [2.5], \"name\": \"one\"}\n\n{\"inputs\": [1]}\n\
                     {\"request\": 1, \"other\": 2}\n{\"request\": 1}";
        let rows = Golden::read_all(text).unwrap();
        assert_eq!(rows[0].response, Some(json!([2.5])));
        assert_eq!(rows[0].label(1), "request 1 (`one`)");
        // Requests of their own, whatever keys they have.
        assert_eq!(rows[1].request, json!({"inputs": [1]}));
        assert_eq!(rows[2].request, json!({"request": 1, "other": 2}));
        assert_eq!((&rows[3].request, &rows[3].response), (&json!(1), &None));
        let again: String = rows.iter().map(Golden::line).collect();
        assert_eq!(Golden::read_all(again.as_bytes()).unwrap(), rows);
        assert!(Golden::read_all(b"\n").unwrap_err().contains("no request"));
        let said = Golden::read_all(b"[1]\nnot json\n").unwrap_err();
        assert!(said.starts_with("line 2 is not JSON"), "{said}");
    }

    #[test]
    fn long_values_are_cut() {
        let long = "ü".repeat(500);
        let said = compare(json!(long), &json!("x\u{1b}[2J")).unwrap();
        assert!(said.chars().count() < 400 && said.contains('…'), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }
}
