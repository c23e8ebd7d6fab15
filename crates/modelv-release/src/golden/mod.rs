//! Golden requests: what a commit has recorded that its function answers. Before a release counts, they are
//! put to the image itself, unpacked and started with nothing else around it.
//!
//! Must never say that an image answers as recorded when nobody has asked it.

mod rows;
mod running;

use std::path::Path;
use std::process::Command;

use modelv_repo::worktree::Rules;
use modelv_repo::{Cancel, Repo};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::APP;
use crate::error::{Error, Result};
use crate::layer::digits;
use crate::start::start_closed;
use crate::unpack::unpack_to_start;

pub(crate) use rows::GOLDEN_BYTES_MAX;
use rows::TOLERANCE;
pub use rows::{Golden, Mismatch};
use running::{Running, Unstarted, read_bounded};

/// Differences that are named.
const NAMED_MAX: usize = 10;
/// Largest `modelv.toml` of an image, in bytes.
const RULES_BYTES_MAX: u64 = 1 << 20;

/// What came of the golden requests of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// How many there are.
    pub requests: usize,
    /// Why they were not put to the image, if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl std::fmt::Display for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.skipped, self.requests) {
            (Some(why), n) => write!(f, "{n} golden requests were not put to the image: {why}"),
            (None, 0) => f.write_str("the commit records no golden requests"),
            (None, n) => write!(f, "{n} golden requests are answered as recorded"),
        }
    }
}

/// The golden requests of a commit.
#[derive(Debug)]
pub struct Recorded {
    rows: Vec<Golden>,
    tolerance: f64,
}

impl Recorded {
    /// Those of the commit whose files are in a folder; `None`: it records none.
    ///
    /// # Errors
    /// Its `modelv.toml` or its file of golden requests can't be read, or one of them has no recorded answer.
    pub fn of(app: &Path) -> Result<Option<Self>> {
        let path = app.join("modelv.toml");
        if !path.is_file() {
            return Ok(None);
        }
        let text = read_bounded(&path, RULES_BYTES_MAX)?;
        let rules = Rules::parse(&String::from_utf8_lossy(&text))?;
        let Some(name) = &rules.serve().golden else {
            return Ok(None);
        };
        let bytes = read_bounded(&app.join(name), GOLDEN_BYTES_MAX)?;
        Ok(Some(Self {
            rows: check(name, &bytes)?,
            tolerance: rules.serve().golden_tolerance.unwrap_or(TOLERANCE),
        }))
    }

    /// The bodies of all of them.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<u8>> {
        let bodies = self.rows.iter().map(|row| row.request.to_string());
        bodies.map(String::into_bytes).collect()
    }

    /// Whether the answer to one of them, JSON or why there is none, is the recorded one.
    ///
    /// # Errors
    /// It is not, and where.
    pub fn check(
        &self,
        at: usize,
        answer: std::result::Result<&[u8], String>,
    ) -> std::result::Result<(), Mismatch> {
        let got = answer.and_then(|text| serde_json::from_slice(text).map_err(|e| e.to_string()));
        self.compare(at, got).map_or(Ok(()), Err)
    }

    fn compare(&self, at: usize, got: std::result::Result<Value, String>) -> Option<Mismatch> {
        let row = self.rows.get(at)?;
        match got {
            Ok(got) => row.compare(&got, at + 1, self.tolerance),
            Err(got) => Some(Mismatch {
                request: row.label(at + 1),
                field: String::new(),
                expected: "an answer".into(),
                got,
            }),
        }
    }
}

/// Reads a file of golden requests, all of which must have an answer.
pub(crate) fn check(name: &str, bytes: &[u8]) -> Result<Vec<Golden>> {
    let bad = |detail: String| Error::GoldenFile {
        path: name.to_owned(),
        detail,
    };
    let rows = Golden::read_all(bytes).map_err(bad)?;
    match rows.iter().position(|row| row.response.is_none()) {
        None => Ok(rows),
        Some(at) => {
            let text = format!("{} has no recorded answer", rows[at].label(at + 1));
            Err(bad(text))
        }
    }
}

/// Unpacks an image beside `near`, starts it closed in, and puts its golden requests to it.
///
/// # Errors
/// It does not start, an answer is not the recorded one, the image is damaged, or it was interrupted. That
/// this machine can't run the image is no error: [`Replay::skipped`] says so.
pub(crate) fn replay(layout: &Path, near: &Path, cancel: &Cancel) -> Result<Replay> {
    let dir = tempfile::Builder::new()
        .prefix("replay-")
        .tempdir_in(near)
        .map_err(Error::io("create", near))?;
    // As open as the root of an image is: it runs as nobody.
    let bits = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), bits).map_err(Error::io("write", dir.path()))?;
    let root = dir.path().join("root");
    let config = unpack_to_start(layout, &root, cancel)?;
    cancel.check()?;
    let Some(recorded) = Recorded::of(&root.join(APP))? else {
        return Ok(Replay::default());
    };
    let requests = recorded.rows.len();
    let skipped = |why: String| Replay {
        requests,
        skipped: Some(why),
    };
    let listen = [("MODELV_LISTEN", "127.0.0.1:0".to_owned())];
    let command = match start_closed("the image", &config, &root, &listen) {
        Ok(command) => command,
        Err(Error::Start { detail, .. } | Error::Platform { detail, .. }) => {
            return Ok(skipped(detail));
        }
        Err(e) => return Err(e),
    };
    match Running::start(command, cancel)? {
        Ok(running) => {
            let found = differences(&running, &recorded, cancel)?;
            match found.is_empty() {
                true => Ok(Replay {
                    requests,
                    skipped: None,
                }),
                false => Err(Error::Golden { found }),
            }
        }
        Err(Unstarted::Elsewhere(why)) => {
            Ok(skipped(format!("this machine can't start it ({why})")))
        }
        Err(Unstarted::Ended(detail)) => Err(Error::Unstarted { detail }),
    }
}

fn differences(running: &Running, recorded: &Recorded, cancel: &Cancel) -> Result<Vec<Mismatch>> {
    let mut out = Vec::new();
    for (at, row) in recorded.rows.iter().enumerate() {
        let got = running.ask(&row.request, cancel)?;
        out.extend(recorded.compare(at, got));
    }
    Ok(out)
}

/// What is in the way, for people: the first differences, and how many there are.
pub(crate) fn told(found: &[Mismatch]) -> String {
    let mut lines: Vec<String> = found
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    if found.len() > NAMED_MAX {
        lines.push(format!("and {} more", found.len() - NAMED_MAX));
    }
    lines.join("; ")
}

/// The same for an image of which it is known already: of equal images the answers are equal.
pub(crate) fn replay_once(
    repo: &Repo,
    layout: &Path,
    digest: &str,
    cancel: &Cancel,
) -> Result<Replay> {
    let dir = repo.dir().join("cache/replays");
    let note = dir.join(format!("{}.json", digits(digest)));
    let known = std::fs::read(&note).ok();
    let known: Option<Replay> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(known) = known.filter(|known| known.skipped.is_none()) {
        return Ok(known);
    }
    let tmp = repo.dir().join("tmp");
    std::fs::create_dir_all(&tmp).map_err(Error::io("create", &tmp))?;
    let found = replay(layout, &tmp, cancel)?;
    if found.skipped.is_none() {
        let json = serde_json::to_vec(&found).unwrap_or_default();
        // What can't be noted is asked again the next time.
        let _ = std::fs::create_dir_all(&dir);
        let _ = crate::place::write_file(&note, |out| {
            out.write_all(&json).map_err(Error::io("write", &note))
        });
    }
    Ok(found)
}

/// Starts a server with `command`, and records what it answers to requests.
///
/// # Errors
/// It does not start, a request is not answered, or it was interrupted.
pub fn record(command: Command, rows: &[Golden], cancel: &Cancel) -> Result<Vec<Golden>> {
    let running = match Running::start(command, cancel)? {
        Ok(running) => running,
        Err(Unstarted::Elsewhere(detail) | Unstarted::Ended(detail)) => {
            return Err(Error::Unstarted { detail });
        }
    };
    let mut out = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        match running.ask(&row.request, cancel)? {
            Ok(response) => out.push(Golden {
                response: Some(response),
                ..row.clone()
            }),
            Err(detail) => {
                let request = row.label(at + 1);
                return Err(Error::Unanswered { request, detail });
            }
        }
    }
    Ok(out)
}
