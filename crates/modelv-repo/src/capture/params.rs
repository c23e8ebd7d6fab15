//! Parameters: the leaves of the configuration files, by dotted key.

use std::collections::BTreeMap;

use modelv_core::driver::{self, Driver};
use modelv_core::path::RepoPath;
use modelv_core::value::Value;

/// Larger configuration files are versioned but not taken apart.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Collects the leaves of all files that parse. With several files the path stands before the key.
#[must_use]
pub fn collect(files: &[(RepoPath, Vec<u8>)]) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (path, bytes) in files {
        let Driver::Config(format) = driver::choose(path.as_bytes(), bytes) else {
            continue;
        };
        let Ok(values) = driver::config_values(format, bytes) else {
            continue;
        };
        for (key, value) in values {
            let name = if files.len() == 1 {
                key
            } else {
                format!("{path}:{key}")
            };
            out.insert(name, value);
        }
    }
    out
}
