//! The vectors of `spec/vectors`, as its README describes them. Shared by the tests of several crates.

use std::path::PathBuf;

use serde_json::Value;

/// The folder of all vectors.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors")
}

/// One vector.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) json: Value,
}

/// All vectors of a folder.
pub(crate) fn load(folder: &str) -> Vec<Vector> {
    let path = root().join(folder).join("index.json");
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vectors = json["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty());
    vectors
        .iter()
        .map(|v| Vector {
            name: format!("{folder}/{}", v["name"].as_str().unwrap()),
            json: v.clone(),
        })
        .collect()
}

impl Vector {
    pub(crate) fn kind(&self) -> &str {
        self.json["kind"].as_str().unwrap()
    }

    /// The rule it breaks, if it is hostile.
    pub(crate) fn breaks(&self) -> Option<&str> {
        self.json["breaks"].as_str()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        content(&self.json["bytes"])
    }

    /// Compares what a reader made of the vector with what it says; `None` when that is right.
    pub(crate) fn judge(&self, found: Result<Value, String>) -> Option<String> {
        let name = &self.name;
        match (found, self.breaks()) {
            (Err(_), Some(_)) => None,
            (Ok(_), Some(rule)) => Some(format!("{name}: read, but it breaks {rule}")),
            (Err(e), None) => Some(format!("{name}: refused: {e}")),
            (Ok(found), None) => {
                let expect = self.json["expect"].as_object().unwrap();
                let other = found
                    .as_object()
                    .unwrap()
                    .iter()
                    .find(|(k, v)| expect.get(*k) != Some(v));
                other.map(|(k, v)| format!("{name}: {k} is {v}, expected {:?}", expect.get(k)))
            }
        }
    }
}

/// Judges vectors; fails with all that are wrong.
pub(crate) fn check(vectors: &[Vector], read: impl Fn(&Vector) -> Result<Value, String>) {
    let wrong: Vec<String> = vectors.iter().filter_map(|v| v.judge(read(v))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Bytes of hexadecimal digits.
pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap();
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap())
        .collect()
}

/// The bytes that a list of parts describes.
pub(crate) fn content(parts: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts.as_array().unwrap() {
        let number = |v: &Value| usize::try_from(v.as_u64().unwrap()).unwrap();
        let hex = |key: &str| unhex(part[key].as_str().unwrap());
        if let Some(digits) = part.as_str() {
            out.extend(unhex(digits));
        } else if !part["repeat"].is_null() {
            out.extend(hex("repeat").repeat(number(&part["times"])));
        } else if let Some(text) = part["xof"].as_str() {
            let start = out.len();
            out.resize(start + number(&part["length"]), 0);
            let mut hasher = blake3::Hasher::new();
            hasher.update(text.as_bytes());
            hasher.finalize_xof().fill(&mut out[start..]);
        } else {
            for n in number(&part["numbers"][0])..number(&part["numbers"][1]) {
                out.extend(hex("before"));
                out.extend(format!("{n:05}").bytes());
                out.extend(hex("after"));
            }
        }
    }
    out
}
