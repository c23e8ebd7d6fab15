//! Log lines: one JSON object a line, each with the commit it is about.
//!
//! A thread writes them. Must never make a prediction wait: what can't be written in time is dropped and
//! counted.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use serde_json::Value;

/// Lines that may wait to be written.
const LINES_MAX: usize = 16_384;
/// Longest line of a worker, in bytes; the rest is a line of its own.
const LINE_BYTES_MAX: u64 = 64 << 10;

enum Entry {
    Line(Value),
    /// Everything before is to be written; then this is told.
    Flush(Sender<()>),
}

/// Writes log lines from many threads.
pub(crate) struct Log {
    lines: Sender<Entry>,
    /// What lines are about that are about no commit in particular.
    commit: Mutex<String>,
    dropped: AtomicU64,
}

impl Log {
    pub(crate) fn new(out: Box<dyn Write + Send>, commit: &str) -> Self {
        let (lines, entries) = crossbeam_channel::bounded(LINES_MAX);
        std::thread::spawn(move || write(&entries, out));
        Self {
            lines,
            commit: Mutex::new(commit.to_owned()),
            dropped: AtomicU64::new(0),
        }
    }

    /// From here on another commit is the one that is served.
    pub(crate) fn now_about(&self, commit: &str) {
        commit.clone_into(&mut self.commit.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes one line about the commit that is served.
    pub(crate) fn line(&self, level: &str, event: &str, fields: Value) {
        let commit = self
            .commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.line_of(&commit, level, event, fields);
    }

    /// Writes one line about a commit.
    pub(crate) fn line_of(&self, commit: &str, level: &str, event: &str, mut fields: Value) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        fields["time"] = serde_json::json!(now.as_millis() as u64);
        fields["level"] = level.into();
        fields["event"] = event.into();
        fields["commit"] = commit.into();
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Entry::Line(fields)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that could not be written in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what a worker says, line by line, until it ends.
    pub(crate) fn follow(self: &Arc<Self>, commit: &str, from: impl Read + Send + 'static) {
        let (log, commit) = (self.clone(), commit.to_owned());
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut from)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
            {
                let text = String::from_utf8_lossy(&line);
                let fields = serde_json::json!({"text": text.trim_end_matches('\n')});
                log.line_of(&commit, "info", "worker_output", fields);
                line.clear();
            }
        });
    }

    /// Waits until all is written.
    pub(crate) fn flush(&self) {
        let (done, wait) = crossbeam_channel::bounded(1);
        if self.lines.send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

fn write(entries: &Receiver<Entry>, out: Box<dyn Write + Send>) {
    let mut out = BufWriter::new(out);
    for entry in entries {
        match entry {
            Entry::Line(fields) => {
                let _ = writeln!(out, "{fields}");
            }
            Entry::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        // Lines that come close together are one write.
        if entries.is_empty() {
            let _ = out.flush();
        }
    }
}
