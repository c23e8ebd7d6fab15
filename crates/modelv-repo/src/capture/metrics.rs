//! `metrics.json`: what a training script says of its result. An object of numbers, nested or not;
//! its leaves are named by dotted keys.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::value::Value;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::worktree::StatStamp;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Tells whether the file was written between two looks.
pub type Stamp = StatStamp;

/// A look at the file; `None` when it is not there.
#[must_use]
pub fn stamp(path: &Path) -> Option<Stamp> {
    StatStamp::at(path)
}

/// Reads the file; a missing one is empty.
///
/// # Errors
/// It is no JSON object, or too large.
pub fn read(path: &Path) -> Result<BTreeMap<String, Value>> {
    let bad = |reason: String| Error::invalid("file", path.display().to_string(), reason);
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    if meta.len() > FILE_BYTES_MAX {
        return Err(bad("it has more than 16 MiB".into()));
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes)
        .or_else(|e| serde_json::from_slice(&quoted(&bytes)).map_err(|_| e))
        .map_err(|e| bad(e.to_string()))?;
    let serde_json::Value::Object(object) = json else {
        return Err(bad("it is not a JSON object".into()));
    };
    let mut out = BTreeMap::new();
    flatten("", &serde_json::Value::Object(object), &mut out);
    Ok(super::params::bounded(out))
}

/// What the file says; where it can't be read, nothing, and people are told: a result that took hours is
/// not given up for it.
pub(crate) fn read_or_tell(path: &Path, ctx: &Ctx<'_>) -> BTreeMap<String, Value> {
    read(path).unwrap_or_else(|e| {
        ctx.progress
            .note(&format!("{e}: the run is kept without its metrics"));
        BTreeMap::new()
    })
}

/// The bytes with `NaN`, `Infinity` and `-Infinity` as texts: Python writes them, and JSON has none.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let (mut rest, mut in_text) = (bytes, false);
    while let Some((&first, after)) = rest.split_first() {
        let word = [&b"NaN"[..], b"-Infinity", b"Infinity"]
            .into_iter()
            .find(|w| !in_text && rest.starts_with(w));
        if let Some(word) = word {
            out.extend([b"\"", word, b"\""].concat());
            rest = &rest[word.len()..];
            continue;
        }
        out.push(first);
        rest = after;
        match first {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                out.extend(rest.first());
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => {}
        }
    }
    out
}

fn flatten(prefix: &str, json: &serde_json::Value, out: &mut BTreeMap<String, Value>) {
    match json {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                let name = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&name, value, out);
            }
        }
        leaf => {
            let value = match leaf.as_str() {
                Some("NaN") => Value::Float(f64::NAN),
                Some("Infinity") => Value::Float(f64::INFINITY),
                Some("-Infinity") => Value::Float(f64::NEG_INFINITY),
                _ => Value::from_json(leaf).or_summary(),
            };
            out.insert(prefix.to_owned(), value);
        }
    }
}
