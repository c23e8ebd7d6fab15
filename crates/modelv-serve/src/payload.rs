//! The log of inputs and outputs: off unless asked for, sampled, with named fields taken out.
//!
//! Must never write the value of a field that is to be redacted.

use serde_json::{Map, Value, json};

use crate::arms::mix;
use crate::log::Log;

/// Longest input or output that is logged, in bytes.
const BYTES_MAX: usize = 64 << 10;
const REDACTED: &str = "[redacted]";

/// Which inputs and outputs are logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Payloads {
    /// Share of the requests, from 0 to 1.
    pub fraction: f64,
    /// Names of fields whose values are left out, at any depth.
    pub redact: Vec<String>,
}

impl Payloads {
    /// Whether the request with this number is logged: the same share of any stretch of requests.
    #[expect(clippy::cast_precision_loss, reason = "a share of requests")]
    pub(crate) fn takes(&self, number: u64) -> bool {
        (mix(number) >> 11) as f64 / (1u64 << 53) as f64 <= self.fraction && self.fraction > 0.0
    }

    pub(crate) fn write(
        &self,
        log: &Log,
        commit: &str,
        id: &str,
        (input, output): (&[u8], &[u8]),
        names: Names<'_>,
    ) {
        let fields = json!({
            "request_id": id, "input": self.shown(input, names.input),
            "output": self.shown(output, names.output),
        });
        log.line_of(commit, "info", "payload", fields);
    }

    fn is_named(&self, name: &str) -> bool {
        self.redact.iter().any(|r| r.eq_ignore_ascii_case(name))
    }

    fn shown(&self, bytes: &[u8], name: Option<&str>) -> Value {
        if bytes.len() > BYTES_MAX {
            return json!({"bytes": bytes.len()});
        }
        if name.is_some_and(|n| self.is_named(n)) {
            return REDACTED.into();
        }
        let mut value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        self.redact(&mut value);
        value
    }

    fn redact(&self, value: &mut Value) {
        match value {
            Value::Array(all) => all.iter_mut().for_each(|v| self.redact(v)),
            Value::Object(fields) => {
                self.redact_columns(fields);
                for (name, value) in fields {
                    if self.is_named(name) {
                        *value = REDACTED.into();
                    } else {
                        self.redact(value);
                    }
                }
            }
            _ => {}
        }
    }

    /// A split data frame has its names in one list, and the values of each row in another.
    fn redact_columns(&self, frame: &mut Map<String, Value>) {
        // The name of a column may be a list of names.
        let is_named = |column: &Value| match column {
            Value::Array(levels) => levels
                .iter()
                .filter_map(Value::as_str)
                .any(|l| self.is_named(l)),
            column => column.as_str().is_some_and(|c| self.is_named(c)),
        };
        let Some(columns) = frame.get("columns").and_then(Value::as_array) else {
            return;
        };
        let named: Vec<bool> = columns.iter().map(is_named).collect();
        let Some(data) = frame.get_mut("data").filter(|_| named.contains(&true)) else {
            return;
        };
        let Value::Array(rows) = data else {
            *data = REDACTED.into();
            return;
        };
        for row in rows {
            match row {
                Value::Array(values) => {
                    let values = values.iter_mut().zip(&named).filter(|(_, named)| **named);
                    values.for_each(|(value, _)| *value = REDACTED.into());
                }
                other => *other = REDACTED.into(),
            }
        }
    }
}

/// What a protocol calls values whose names are not among them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    /// The only input.
    pub(crate) input: Option<&'a str>,
    /// The only output.
    pub(crate) output: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_and_named_fields_are_left_out() {
        let mut payloads = Payloads {
            fraction: 0.25,
            redact: vec!["email".into()],
        };
        let taken = (0..10_000).filter(|n| payloads.takes(*n)).count();
        assert!((2_300..2_700).contains(&taken), "{taken}");
        payloads.fraction = 0.0;
        assert!((0..10_000).all(|n| !payloads.takes(n)));
        payloads.fraction = 1.0;
        assert!((0..10_000).all(|n| payloads.takes(n)));
        let shown = payloads.shown(br#"{"inputs": [{"Email": {"a": 1}, "age": 7}]}"#, None);
        assert_eq!(shown, json!({"inputs": [{"Email": REDACTED, "age": 7}]}));
        let long = vec![b' '; BYTES_MAX + 1];
        assert_eq!(payloads.shown(&long, None), json!({"bytes": BYTES_MAX + 1}));
    }

    #[test]
    fn a_value_is_left_out_where_its_name_stands_apart() {
        let payloads = Payloads {
            fraction: 1.0,
            redact: vec!["email".into()],
        };
        let split = |columns: Value, data: Value| json!({"columns": columns, "data": data});
        for (value, want) in [
            (
                split(
                    json!(["age", "EMAIL"]),
                    json!([[7, "a@b"], [8], [9, "c", 1]]),
                ),
                split(
                    json!(["age", "EMAIL"]),
                    json!([[7, REDACTED], [8], [9, REDACTED, 1]]),
                ),
            ),
            (
                json!({"dataframe_split": split(json!([["x", "email"]]), json!([["a@b"]]))}),
                json!({"dataframe_split": split(json!([["x", "email"]]), json!([[REDACTED]]))}),
            ),
            (
                split(json!(["email"]), json!(["a@b"])),
                split(json!(["email"]), json!([REDACTED])),
            ),
            (
                split(json!(["email"]), json!({"0": "a@b"})),
                split(json!(["email"]), json!(REDACTED)),
            ),
            (
                split(json!(["age"]), json!([[7]])),
                split(json!(["age"]), json!([[7]])),
            ),
        ] {
            assert_eq!(payloads.shown(value.to_string().as_bytes(), None), want);
        }
        let shown = |name| payloads.shown(b"{\"inputs\":[\"a@b\"]}", Some(name));
        assert_eq!(shown("Email"), json!(REDACTED));
        assert_eq!(shown("age"), json!({"inputs": ["a@b"]}));
    }
}
