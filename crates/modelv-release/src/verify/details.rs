//! Why a part of two images differs, for people: files of a layer, values of a configuration.

use std::collections::BTreeSet;
use std::path::Path;

use modelv_repo::Cancel;
use serde_json::Value;

use crate::diff::{Change, Found, files, read_blob};
use crate::error::Result;
use crate::layout::blob_path;
use crate::pull::{Pulled, text};

/// Most of what is told.
const TOLD_MAX: usize = 10;
/// Most characters of a value.
const VALUE_MAX: usize = 80;

/// Files that differ between a layer of an image and one that was built again.
pub(super) fn of_layer(
    image: &mut Pulled<'_>,
    theirs: Option<&str>,
    place: &Path,
    ours: Option<&str>,
    cancel: &Cancel,
) -> Result<Vec<String>> {
    let (mut there, mut here) = (Found::new(), Found::new());
    if let Some(digest) = theirs {
        let layers = image.layers();
        let found = layers.iter().find(|l| text(&l["digest"]) == digest);
        let most = found.and_then(|l| l["size"].as_u64()).unwrap_or(u64::MAX);
        read_blob(&image.blob(digest, most)?, digest, &mut there, cancel)?;
    }
    if let Some(digest) = ours {
        read_blob(&blob_path(place, digest)?, digest, &mut here, cancel)?;
    }
    let told = |(path, change): (&String, &Change)| {
        let how = match change {
            Change::Added => "is not in the image",
            Change::Removed => "is in the image alone",
            Change::Changed => "has other bytes or another mode",
        };
        format!("file {path} {how}")
    };
    Ok(short(files(&there, &here).iter().map(told).collect()))
}

/// Values that differ between what an image says of itself and what is said of one that was built again.
pub(super) fn of_values(theirs: &Value, ours: &Value) -> Vec<String> {
    let mut out = Vec::new();
    compare("", Some(theirs), Some(ours), &mut out);
    short(out)
}

fn compare(at: &str, theirs: Option<&Value>, ours: Option<&Value>, out: &mut Vec<String>) {
    let below = |key: &str| match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    };
    match (theirs, ours) {
        (a, b) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                compare(&below(key), a.get(key), b.get(key), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for i in 0..a.len().max(b.len()) {
                compare(&below(&i.to_string()), a.get(i), b.get(i), out);
            }
        }
        (a, b) => out.push(format!("{at}: {} -> {}", shown(a), shown(b))),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or("nothing".into(), Value::to_string);
    match text.chars().count() > VALUE_MAX {
        true => text.chars().take(VALUE_MAX).chain(['…']).collect(),
        false => text,
    }
}

fn short(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        all.truncate(TOLD_MAX);
        all.push(format!("and {more} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_differ_are_named_with_both() {
        let theirs =
            json!({"config": {"User": "0", "Env": ["A=1", "B=2"], "same": [1]}, "only": 1});
        let ours = json!({"config": {"User": "65532", "Env": ["A=1"], "same": [1]}});
        let want = [
            "config.Env.1: \"B=2\" -> nothing",
            "config.User: \"0\" -> \"65532\"",
            "only: 1 -> nothing",
        ];
        assert_eq!(of_values(&theirs, &ours), want);
        assert!(of_values(&ours, &ours).is_empty());
        let long = json!("x".repeat(200));
        assert!(of_values(&long, &json!(1))[0].chars().count() < 100);
        let many = json!((0..30).collect::<Vec<_>>());
        let told = of_values(&many, &json!([]));
        assert_eq!((told.len(), told[10].as_str()), (11, "and 20 more"));
    }
}
