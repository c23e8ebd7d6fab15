//! The journal of a run: what a running program tells of itself, as two files of JSON lines in the
//! run's folder. Written by this process or by any other that knows the folder (`MODELV_RUN`).
//!
//! `series.jsonl` holds metric points and `params.jsonl` parameters; see `spec/run.md`. A writer
//! appends whole lines only, so that several can write and a crash tears at most the last one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modelv_core::value::Value;
use modelv_store::fs;

use super::crash::START_FILE;
use crate::error::{Error, Result};
use crate::repo::Repo;

/// Metric points, in the run's folder.
pub(super) const SERIES_FILE: &str = "series.jsonl";
/// Parameters, in the run's folder.
pub(super) const PARAMS_FILE: &str = "params.jsonl";

/// Longest line that is read, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest name of a metric or parameter, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// So much is held back at most before it is written, in bytes.
const BUFFER_BYTES: usize = 64 << 10;
/// How long a point is held back at most: what a crash can lose.
const DELAY: Duration = Duration::from_millis(100);

/// One point of a metric series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Name of the metric.
    pub name: String,
    /// Step, epoch or whatever the program counts.
    pub step: Option<i64>,
    /// A number, whole or floating point.
    pub value: Value,
    /// Seconds since 1970-01-01 00:00 UTC.
    pub time: f64,
}

/// Writes metric points and parameters of a run. A call only appends to a buffer; a thread of its
/// own writes that to the file ten times a second.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    params: PathBuf,
    writer: Option<std::thread::JoinHandle<()>>,
    /// A forked child has the buffer, but not the thread.
    process: u32,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    failed: Option<std::io::Error>,
    closed: bool,
}

impl Journal {
    /// Opens the journal in the folder of a run, to append to it.
    ///
    /// # Errors
    /// The folder is gone or can't be written.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(SERIES_FILE);
        let file = append_to(&path)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                file,
                path: path.clone(),
                buffer: Vec::with_capacity(BUFFER_BYTES),
                failed: None,
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("modelv-journal".into())
            .spawn(move || theirs.write_until_closed())
            .map_err(Error::io("write", &path))?;
        Ok(Self {
            shared,
            params: folder.join(PARAMS_FILE),
            writer: Some(writer),
            process: std::process::id(),
        })
    }

    /// Notes a metric: a whole or floating point number.
    ///
    /// # Errors
    /// It is no number, its name is empty or too long, this is a forked process, or what came
    /// before could not be written.
    pub fn metric(&self, name: &str, value: &Value, step: Option<i64>) -> Result<()> {
        check_name("metric", name)?;
        if self.process != std::process::id() {
            let text = "metrics of this run come from the process that began it";
            return Err(Error::State(text.into()));
        }
        let mut state = self.shared.lock();
        if let Some(e) = state.failed.take() {
            return Err(Error::io("write", &state.path)(e));
        }
        let was_empty = state.buffer.is_empty();
        let start = state.buffer.len();
        if !write_point(&mut state.buffer, name, value, step, now()) {
            state.buffer.truncate(start);
            return Err(Error::invalid("metric", name, "it is not a number"));
        }
        if state.buffer.len() >= BUFFER_BYTES {
            state.flush();
        } else if was_empty {
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Notes a parameter; a later one of the same name replaces it.
    ///
    /// # Errors
    /// Its name is empty or too long, its value is too large, or it can't be written.
    pub fn param(&self, name: &str, value: &Value) -> Result<()> {
        check_name("parameter", name)?;
        let invalid = |reason: &str| Error::invalid("parameter", name, reason);
        value.check().map_err(invalid)?;
        let mut line = serde_json::json!({"name": name, "value": value.to_json()}).to_string();
        line.push('\n');
        if line.len() > LINE_BYTES_MAX {
            return Err(invalid("it has more than 64 KiB"));
        }
        fs::write_all(&mut append_to(&self.params)?, line.as_bytes())
            .map_err(Error::io("write", &self.params))
    }

    /// Writes what is held back and ends the writing.
    ///
    /// # Errors
    /// It can't be written.
    pub fn close(mut self) -> Result<()> {
        self.end();
        let mut state = self.shared.lock();
        match state.failed.take() {
            Some(e) => Err(Error::io("write", &state.path)(e)),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        // A forked child must neither wait for a thread it does not have, nor write its parent's
        // points a second time.
        if self.process != std::process::id() {
            return;
        }
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            // It only ends by itself; a panic there has lost nothing that a flush could save.
            let _ = writer.join();
        }
        self.shared.lock().flush();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self) {
        let mut state = self.lock();
        while !state.closed {
            if state.buffer.is_empty() {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // More will come; one write for all of it.
            let open = |s: &mut State| !s.closed;
            let waited = self.changed.wait_timeout_while(state, DELAY, open);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.flush();
        }
    }
}

impl State {
    /// Writes the buffer; a failure is told to the next caller.
    fn flush(&mut self) {
        if let Err(e) = fs::write_all(&mut self.file, &self.buffer) {
            self.failed = Some(e);
        }
        self.buffer.clear();
    }
}

fn append_to(path: &Path) -> Result<File> {
    fs::append_to(path).map_err(Error::io("open", path))
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<()> {
    match name.len() {
        0 => Err(Error::invalid(what, name, "its name is empty")),
        1..=NAME_BYTES_MAX => Ok(()),
        _ => {
            let start: String = name.chars().take(40).collect();
            let reason = "its name has more than 1024 bytes";
            Err(Error::invalid(what, start, reason))
        }
    }
}

/// A point as a line, with its end. A value that is no number makes none.
pub(crate) fn point_line(point: &Point) -> Vec<u8> {
    let time = Duration::try_from_secs_f64(point.time).unwrap_or_default();
    let mut out = Vec::new();
    if !write_point(&mut out, &point.name, &point.value, point.step, time) {
        out.clear();
    }
    out
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Appends one line; `false` when the value is no number.
fn write_point(
    out: &mut Vec<u8>,
    name: &str,
    value: &Value,
    step: Option<i64>,
    time: Duration,
) -> bool {
    // Writing to memory does not fail.
    out.extend_from_slice(b"{\"name\":");
    let _ = serde_json::to_writer(&mut *out, name);
    let _ = match step {
        Some(step) => write!(out, ",\"step\":{step},\"value\":"),
        None => write!(out, ",\"step\":null,\"value\":"),
    };
    let _ = match value {
        Value::Int(n) => write!(out, "{n}"),
        Value::UInt(n) => write!(out, "{n}"),
        Value::Float(n) if n.is_finite() => {
            serde_json::to_writer(&mut *out, n).map_err(std::io::Error::other)
        }
        Value::Float(n) => write!(out, "\"{n}\""),
        _ => return false,
    };
    let millis = time.subsec_millis();
    let _ = writeln!(out, ",\"time\":{}.{millis:03}}}", time.as_secs());
    true
}

impl Repo {
    /// Opens the journal of the run that this process belongs to, as `MODELV_RUN` names its folder;
    /// `None` when that is no active run of this repository.
    ///
    /// # Errors
    /// The journal can't be opened.
    pub fn join_run(&self, folder: &Path) -> Result<Option<Journal>> {
        let ours = folder.parent().is_some_and(|p| {
            let tmp = self.dir().join("tmp");
            p == tmp || p.canonicalize().ok() == tmp.canonicalize().ok()
        });
        if !ours || !folder.join(START_FILE).exists() {
            return Ok(None);
        }
        Journal::open(folder).map(Some)
    }
}
