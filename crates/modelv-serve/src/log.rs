//! Log lines: one JSON object a line, each with the commit.

use std::io::Write;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes log lines from many threads.
pub(crate) struct Log {
    out: Mutex<Box<dyn Write + Send>>,
    commit: String,
}

impl Log {
    pub(crate) fn new(out: Box<dyn Write + Send>, commit: &str) -> Self {
        Self {
            out: Mutex::new(out),
            commit: commit.to_owned(),
        }
    }

    /// Writes one line. A log that can't be written must not stop a prediction.
    pub(crate) fn line(&self, level: &str, event: &str, mut fields: serde_json::Value) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        fields["time"] = serde_json::json!(now.as_millis() as u64);
        fields["level"] = level.into();
        fields["event"] = event.into();
        fields["commit"] = self.commit.as_str().into();
        if let Ok(mut out) = self.out.lock() {
            let _ = writeln!(out, "{fields}").and_then(|()| out.flush());
        }
    }
}
