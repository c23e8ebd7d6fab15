//! Parameters: the leaves of the configuration files, by dotted key.

use std::collections::BTreeMap;

use modelv_core::driver::{self, Driver, Format};
use modelv_core::path::RepoPath;
use modelv_core::value::{ELEMENTS_MAX, Value};

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
        // Variables of an environment hold secrets, and a run's record is shown to everybody.
        if format == Format::Env {
            continue;
        }
        let Ok(values) = driver::config_values(format, bytes) else {
            continue;
        };
        for (key, value) in values {
            let name = if files.len() == 1 {
                key
            } else {
                format!("{path}:{key}")
            };
            out.insert(name, value.or_summary());
        }
    }
    bounded(out)
}

/// Keeps a record within what one object holds; says how many entries it left out. The files they
/// came from are versioned whole.
#[must_use]
pub(crate) fn bounded(mut values: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    if let Some(over) = values.len().checked_sub(ELEMENTS_MAX).filter(|n| *n > 0) {
        let first_out = values.keys().nth(ELEMENTS_MAX - 1).cloned();
        if let Some(key) = first_out {
            values.split_off(&key);
        }
        let note = format!("{} more, see the files", over + 1);
        values.insert("\u{2026}".into(), Value::Str(note));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_record_can_hold_is_named_not_lost_silently() {
        let long = format!(
            "{{\"long\": [{}0], \"lr\": 0.1}}",
            "0,".repeat(ELEMENTS_MAX)
        );
        let path = RepoPath::new("params.json").unwrap();
        let params = collect(&[(path, long.into_bytes())]);
        assert_eq!(params["lr"], Value::Float(0.1));
        assert_eq!(
            params["long"].to_string(),
            "\"(list of 65537 elements: more than 65536 elements)\""
        );
        let many = |n: usize| (0..n).map(|i| (format!("{i:06}"), Value::Null)).collect();
        assert_eq!(bounded(many(ELEMENTS_MAX)).len(), ELEMENTS_MAX);
        let cut = bounded(many(ELEMENTS_MAX + 10));
        assert_eq!(cut.len(), ELEMENTS_MAX);
        assert_eq!(cut["\u{2026}"].to_string(), "\"11 more, see the files\"");
    }

    #[test]
    fn leaves_of_all_formats_are_parameters_but_no_variables_of_an_environment() {
        let file =
            |path: &str, text: &str| (RepoPath::new(path).unwrap(), text.as_bytes().to_vec());
        let files = [
            file("a.yaml", "train:\n  lr: 0.1\n"),
            file("b.json", "{\"k\": 1}"),
            file("c.ini", "[s]\nx = 1\n"),
            file(".env", "TOKEN=secret\n"),
        ];
        let found: Vec<String> = collect(&files)
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            found,
            ["a.yaml:train.lr=0.1", "b.json:k=1", "c.ini:s.x=\"1\""]
        );
    }
}
