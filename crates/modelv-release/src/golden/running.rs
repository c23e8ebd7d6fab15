//! A server of predictions that was started to be asked, and what it answers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use modelv_repo::Cancel;
use serde_json::Value;
use ureq::Agent;

use super::rows::shorten;
use crate::error::{Error, Result};
use crate::start::INSIDE;

/// How often a wait looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time until it takes requests.
const START: Duration = Duration::from_mins(30);
/// Longest line of its log that is kept, in bytes; the rest of it is a line of its own.
const LINE_BYTES_MAX: u64 = 1 << 16;
/// Longest time for one answer: servers have a limit of their own, and say so.
const ANSWER: Duration = Duration::from_mins(60);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Last lines of the log that are kept for the message when it ends.
const LINES_KEPT: usize = 12;

/// Said by the server once it takes requests.
const READY: &str = "serving on http://";
/// Why a server did not start.
#[derive(Debug)]
pub(super) enum Unstarted {
    /// What would start it can't on this machine.
    Elsewhere(String),
    /// It ended by itself.
    Ended(String),
}

/// A server that runs; it ends when this is dropped.
pub(super) struct Running {
    child: Child,
    address: String,
    agent: Agent,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// Reads what the server says to its end, or it would stop at a full pipe; passes on what it waits for.
fn follow(errors: impl Read + Send + 'static, tail: Tail) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(errors);
        let mut line = Vec::new();
        while matches!(reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(n) if n > 0)
        {
            let bytes = std::mem::take(&mut line);
            let text = String::from_utf8_lossy(&bytes);
            let line = text.strip_suffix('\n').unwrap_or(&text).to_owned();
            if let Ok(mut tail) = tail.lock() {
                tail.truncate(LINES_KEPT - 1);
                tail.push_front(line.clone());
            }
            // Nobody waits any more once it is ready.
            let _ = send.send(line);
        }
    });
    lines
}

impl Running {
    /// Starts a server and waits until it takes requests.
    pub(super) fn start(
        mut command: Command,
        cancel: &Cancel,
    ) -> Result<std::result::Result<Self, Unstarted>> {
        let elsewhere = |text: String| Ok(Err(Unstarted::Elsewhere(text)));
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(e) => {
                let program = command.get_program().to_string_lossy().into_owned();
                return elsewhere(format!("`{program}`: {e}"));
            }
        };
        let tail = Tail::default();
        let Some(errors) = child.stderr.take() else {
            return elsewhere("it has no output".into());
        };
        let lines = follow(errors, tail.clone());
        let mut running = Self {
            child,
            address: String::new(),
            agent: Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .timeout_global(Some(ANSWER))
                .build()
                .into(),
        };
        let mut is_inside = false;
        let begun = Instant::now();
        loop {
            cancel.check()?;
            if begun.elapsed() > START {
                let said = "it takes no requests after half an hour".to_owned();
                return Ok(Err(Unstarted::Ended(said)));
            }
            match lines.recv_timeout(LOOK) {
                Ok(line) if line == INSIDE => is_inside = true,
                Ok(line) => {
                    if let Some(address) = line.strip_prefix(READY) {
                        address.clone_into(&mut running.address);
                        return Ok(Ok(running));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    cancel.check()?;
                    let said = last_words(&tail);
                    return Ok(Err(match is_inside {
                        true => Unstarted::Ended(said),
                        false => Unstarted::Elsewhere(said),
                    }));
                }
            }
        }
    }

    /// What is predicted for a request; the other way around: what is said instead.
    pub(super) fn ask(
        &self,
        request: &Value,
        cancel: &Cancel,
    ) -> Result<std::result::Result<Value, String>> {
        let url = format!("http://{}/predict", self.address);
        let asked = self
            .agent
            .post(&url)
            .header("content-type", "application/json")
            .send(request.to_string().as_bytes());
        cancel.check()?;
        let answer = match asked {
            Ok(answer) => answer,
            Err(e) => return Ok(Err(format!("no answer: {e}"))),
        };
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type");
        let is_stream = kind.is_some_and(|k| k.as_bytes() == b"application/x-ndjson");
        let body = answer.into_body().into_with_config();
        let text = match body.limit(ANSWER_BYTES_MAX).read_to_string() {
            Ok(text) => text,
            Err(e) => return Ok(Err(format!("an answer that can't be read: {e}"))),
        };
        cancel.check()?;
        Ok(match is_stream {
            true => streamed(&text),
            false => whole(status, &text),
        })
    }
}

/// What it said last, without the lines of a log that only say that it ends.
fn last_words(tail: &Tail) -> String {
    let Ok(tail) = tail.lock() else {
        return String::new();
    };
    let of_interest = |line: &&String| !line.is_empty() && line.as_str() != INSIDE;
    let is_error = |line: &&String| line.starts_with("error:");
    let found = tail.iter().find(is_error);
    let found = found.or_else(|| tail.iter().find(of_interest));
    found.map_or("it says nothing".into(), |line| {
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    })
}

fn whole(status: u16, text: &str) -> std::result::Result<Value, String> {
    let mut answer: Value = serde_json::from_str(text).unwrap_or_default();
    match answer.get_mut("predictions") {
        Some(found) if status == 200 => Ok(found.take()),
        _ => {
            let error = &answer["error"];
            let word = |key: &str| shorten(error[key].as_str().unwrap_or_default());
            Err(format!("{status} {}: {}", word("code"), word("message")))
        }
    }
}

/// The results of a function that gives them one by one, as a list.
fn streamed(text: &str) -> std::result::Result<Value, String> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut row: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(found) = row.get_mut("prediction") {
            all.push(found.take());
        } else if row["done"] == true {
            return Ok(Value::Array(all));
        } else {
            let message = row["error"]["message"].as_str().unwrap_or_default();
            return Err(format!("{} after {} results", shorten(message), all.len()));
        }
    }
    Err(format!("an end after {} results", all.len()))
}

/// Reads a server's own file, bounded.
pub(super) fn read_bounded(path: &std::path::Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let meta = std::fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    if !meta.is_file() {
        return Err(Error::File {
            path: path.display().to_string(),
            detail: "it is no plain file".into(),
        });
    }
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    match bytes.len() as u64 > most {
        true => Err(Error::File {
            path: path.display().to_string(),
            detail: format!("it has more than {most} bytes"),
        }),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelv_repo::Ctx;
    use serde_json::json;

    fn start(script: &str) -> std::result::Result<Running, Unstarted> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start(command, Ctx::quiet().cancel).unwrap()
    }

    #[test]
    fn it_is_said_who_kept_it_from_starting() {
        let inside = format!("echo '{INSIDE}' >&2; ");
        for (script, want, is_ours) in [
            (
                "echo unshare: no >&2; exit 1".to_owned(),
                "unshare: no",
                false,
            ),
            (format!("{inside}exit 1"), "it says nothing", true),
            (
                format!("{inside}echo error: cannot load >&2; echo '  caused by: x' >&2"),
                "cannot load",
                true,
            ),
        ] {
            let (said, inside) = match start(&script) {
                Err(Unstarted::Elsewhere(said)) => (said, false),
                Err(Unstarted::Ended(said)) => (said, true),
                Ok(_) => panic!("{script}"),
            };
            assert_eq!((said.as_str(), inside), (want, is_ours), "{script}");
        }
        let gone = Command::new("/no/such/program");
        let gone = Running::start(gone, Ctx::quiet().cancel).unwrap();
        assert!(matches!(gone, Err(Unstarted::Elsewhere(_))));
        let running = start("echo 'serving on http://127.0.0.1:9' >&2; exec cat")
            .unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(running.address, "127.0.0.1:9");
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(
            whole(200, "{\"predictions\":[1],\"commit\":\"x\"}"),
            Ok(json!([1]))
        );
        let failed = "{\"error\":{\"code\":\"unfit\",\"message\":\"no list\"},\"commit\":\"x\"}";
        assert_eq!(whole(422, failed), Err("422 unfit: no list".into()));
        let lines = "{\"prediction\":1}\n{\"prediction\":2}\n";
        let done = format!("{lines}{{\"done\":true}}\n");
        assert_eq!(streamed(&done), Ok(json!([1, 2])));
        assert_eq!(streamed(lines), Err("an end after 2 results".into()));
        let failed = format!("{lines}{{\"error\":{{\"message\":\"bad\"}}}}\n");
        assert_eq!(streamed(&failed), Err("bad after 2 results".into()));
    }
}
