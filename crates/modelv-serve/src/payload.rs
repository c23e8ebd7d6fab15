//! The log of inputs and outputs: off unless asked for, sampled, with named fields taken out.
//!
//! Must never write the value of a field that is to be redacted.

use std::sync::Arc;

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
        // What can't be read can't be looked through either.
        let Ok(mut value) = serde_json::from_slice(bytes) else {
            return json!({"bytes": bytes.len()});
        };
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

/// A request that is logged, whatever becomes of it.
pub(crate) struct Entry {
    payloads: Payloads,
    log: Arc<Log>,
    commit: String,
    id: String,
    input: Value,
}

impl Entry {
    pub(crate) fn new(
        payloads: &Payloads,
        log: &Arc<Log>,
        (commit, id): (&str, &str),
        input: &[u8],
        name: Option<&str>,
    ) -> Self {
        Self {
            payloads: payloads.clone(),
            log: log.clone(),
            commit: commit.to_owned(),
            id: id.to_owned(),
            input: payloads.shown(input, name),
        }
    }

    /// Writes the kind of an error and never its words: they may hold what is to be redacted.
    pub(crate) fn write(
        &self,
        status: u16,
        output: Option<&[u8]>,
        name: Option<&str>,
        error: Option<&str>,
    ) {
        let output = output.map(|o| self.payloads.shown(o, name));
        let fields = json!({
            "request_id": self.id, "input": self.input, "output": output, "status": status,
            "error": error,
        });
        self.log.line_of(&self.commit, "info", "payload", fields);
    }

    /// For results that come one by one.
    pub(crate) fn stream(self) -> StreamEntry {
        StreamEntry {
            entry: self,
            results: Vec::new(),
            error: Some("client_gone"),
        }
    }
}

/// A request whose results come one by one; written when the last has come, or the client has gone.
pub(crate) struct StreamEntry {
    entry: Entry,
    /// The inside of a list, as far as it is logged.
    results: Vec<u8>,
    error: Option<&'static str>,
}

impl StreamEntry {
    /// What came: a result, a failure, or the end.
    pub(crate) fn next(&mut self, next: Option<Result<&[u8], ()>>) {
        match next {
            Some(Ok(result)) if self.results.len() <= BYTES_MAX => {
                if !self.results.is_empty() {
                    self.results.push(b',');
                }
                self.results.extend_from_slice(result);
            }
            Some(Ok(_)) => {}
            Some(Err(())) => self.error = Some("predict_failed"),
            None if self.error == Some("client_gone") => self.error = None,
            None => {}
        }
    }
}

impl Drop for StreamEntry {
    fn drop(&mut self) {
        let list = [b"[", self.results.as_slice(), b"]"].concat();
        // The status of a stream is told before its results.
        self.entry.write(200, Some(&list), None, self.error);
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
#[path = "payload_tests.rs"]
mod tests;
