//! `metrics.json`: what a training script says of its result. An object of numbers, nested or not;
//! its leaves are named by dotted keys.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::value::Value;

use crate::error::{Error, Result};
use crate::worktree::StatStamp;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Tells whether the file was written between two looks.
pub type Stamp = StatStamp;

/// A look at the file; `None` when it is not there.
#[must_use]
pub fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|m| StatStamp::of(&m))
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
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    let serde_json::Value::Object(object) = json else {
        return Err(bad("it is not a JSON object".into()));
    };
    let mut out = BTreeMap::new();
    flatten("", &serde_json::Value::Object(object), &mut out);
    Ok(super::params::bounded(out))
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
            out.insert(prefix.to_owned(), Value::from_json(leaf).or_summary());
        }
    }
}
