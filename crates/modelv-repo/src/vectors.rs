//! The vectors of `spec/vectors`, which another reader reads too. Tests alone.

use std::path::Path;

use serde_json::Value;

/// One vector: what is said of it, and the bytes it describes.
pub(crate) struct Vector {
    pub(crate) said: Value,
    pub(crate) bytes: Vec<u8>,
}

/// All vectors of a kind.
pub(crate) fn of(kind: &str) -> Vec<Vector> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors");
    let index = std::fs::read(all.join(kind).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let vectors = index["vectors"].as_array().unwrap().clone();
    assert!(vectors.len() > 10);
    let read = |said: Value| Vector {
        bytes: said["bytes"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(part)
            .collect(),
        said,
    };
    vectors.into_iter().map(read).collect()
}

/// Digits, or digits that are repeated.
fn part(part: &Value) -> Vec<u8> {
    match part.as_str() {
        Some(digits) => bytes_of(digits),
        None => bytes_of(part["repeat"].as_str().unwrap())
            .repeat(usize::try_from(part["times"].as_u64().unwrap()).unwrap()),
    }
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    pairs.map(byte).collect()
}
