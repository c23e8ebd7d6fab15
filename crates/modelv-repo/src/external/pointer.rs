//! What a commit holds of data that is elsewhere: a small file of text beside the place of the data. See
//! `spec/external.md`.

use std::fmt;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_store::remote::ObjectState;

use crate::error::{Error, Result};

/// What is behind the name of the data in the name of the description.
pub(crate) const SUFFIX: &[u8] = b".external";
/// How every description begins, whatever its version.
pub(crate) const MAGIC: &[u8] = b"modelv external ";
/// Longest description.
pub(crate) const BYTES_MAX: u64 = 8192;

const VERSION: &str = "1";

/// Where data is, and which data it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Address of the source.
    pub url: String,
    /// What the store said of it.
    pub state: ObjectState,
    /// Its content; `None`: it was never read.
    pub content: Option<BlobId>,
}

/// The place of the data that a description at `path` is about.
pub(crate) fn base_of(path: &RepoPath) -> Option<RepoPath> {
    let base = path.as_bytes().strip_suffix(SUFFIX)?;
    (path.name().len() > SUFFIX.len()).then(|| RepoPath::new(base).ok())?
}

/// Where the description of the data at `base` is.
///
/// # Errors
/// The name is too long.
pub(crate) fn pointer_of(base: &RepoPath) -> Result<RepoPath> {
    Ok(RepoPath::new([base.as_bytes(), SUFFIX].concat())?)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "modelv external {VERSION}\nurl {}", self.url)?;
        let state = &self.state;
        if let Some(version) = &state.version {
            writeln!(f, "version {version}")?;
        }
        if let Some(tag) = &state.e_tag {
            writeln!(f, "etag {tag}")?;
        }
        if let Some(seconds) = state.modified {
            writeln!(f, "modified {seconds}")?;
        }
        writeln!(f, "size {}", state.size)?;
        match &self.content {
            Some(id) => writeln!(f, "content {}", id.to_hex()),
            None => Ok(()),
        }
    }
}

fn number(text: &str) -> Result<u64, &'static str> {
    let value = text.parse::<u64>().map_err(|_| "it is no number")?;
    match value.to_string() == text {
        true => Ok(value),
        false => Err("it is no number"),
    }
}

/// One line, by its name.
fn take(pointer: &mut Pointer, name: &str, value: &str) -> Result<(), &'static str> {
    let state = &mut pointer.state;
    match name {
        "url" => pointer.url = value.to_owned(),
        "version" => state.version = Some(value.to_owned()),
        "etag" => state.e_tag = Some(value.to_owned()),
        "modified" => state.modified = Some(number(value)?),
        "size" => state.size = number(value)?,
        "content" => {
            let id = BlobId::from_hex(value).map_err(|_| "it is no hash")?;
            pointer.content = Some(id);
        }
        _ => return Err("no such line"),
    }
    Ok(())
}

impl Pointer {
    /// Reads a description (EXTERNAL-1).
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err("it is too long");
        }
        let mut lines = text.split('\n');
        let first = lines.next().unwrap_or_default();
        match first.strip_prefix("modelv external ") {
            Some(VERSION) => {}
            Some(_) => return Err("it has another version than 1"),
            None => return Err("its first line is not `modelv external 1`"),
        }
        let mut pointer = Self {
            url: String::new(),
            state: ObjectState::default(),
            content: None,
        };
        for line in lines.filter(|l| !l.is_empty()) {
            let (name, value) = line.split_once(' ').ok_or("a line has no value")?;
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err("a value is empty, or holds a control character");
            }
            take(&mut pointer, name, value)?;
        }
        // One way to write it: then a line that is missing, twice or elsewhere shows.
        if pointer.url.is_empty() || pointer.to_string() != text {
            return Err("its lines are not those of the format, in their order");
        }
        Ok(pointer)
    }

    /// The same, with the file in the error.
    ///
    /// # Errors
    /// It breaks a rule.
    pub(crate) fn parse(path: &RepoPath, bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).map_err(|reason| Error::Invalid {
            what: "description of external data",
            name: path.to_string(),
            reason: reason.to_owned(),
        })
    }

    /// Whether a store's answer is about the same object as it was recorded.
    pub(crate) fn is_as(&self, now: &ObjectState) -> bool {
        let was = &self.state;
        was.size == now.size && was.version == now.version && was.e_tag == now.e_tag && {
            // A tag says more than a time, which copying changes.
            was.e_tag.is_some() || was.modified == now.modified
        }
    }
}

/// What was recorded of a source, or found there, for people: `size 3, ETag "x", content 64…`.
pub(crate) fn shown(state: &ObjectState, content: Option<&BlobId>) -> String {
    let mut parts = vec![format!("{} bytes", state.size)];
    if let Some(version) = &state.version {
        parts.push(format!("version {version}"));
    }
    if let Some(tag) = &state.e_tag {
        parts.push(format!("ETag {tag}"));
    } else if let Some(seconds) = state.modified {
        parts.push(format!("written at {seconds}"));
    }
    parts.push(match content {
        Some(id) => format!("content {}", id.to_hex()),
        None => "content not read".into(),
    });
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Pointer {
        Pointer {
            url: "s3://b/d/x y.csv".into(),
            state: ObjectState {
                size: 3,
                e_tag: Some("\"9b\"".into()),
                version: Some("v/1+=".into()),
                modified: Some(7),
            },
            content: Some(BlobId(*blake3::hash(b"abc").as_bytes())),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let bare = Pointer {
            state: ObjectState {
                size: 0,
                ..ObjectState::default()
            },
            content: None,
            ..sample()
        };
        for pointer in [sample(), bare] {
            assert_eq!(
                Pointer::read(pointer.to_string().as_bytes()).as_ref(),
                Ok(&pointer)
            );
        }
        let text = sample().to_string();
        for bad in [
            "".to_owned(),
            text.replace("external 1", "external 2"),
            text.replace("size 3", "size 03"),
            text.replace("size 3", "size -3"),
            text.replace("size 3\n", ""),
            text.replace("size 3\n", "size 3\nsize 3\n"),
            text.replace("url s3://b/d/x y.csv\n", ""),
            text.replace("etag \"9b\"", "etag "),
            text.replace("etag", "tag"),
            text.replace("9b", "9\u{7f}b"),
            text.replace('\n', "\r\n"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("{text}x\n"),
            text.replace("d/x", &"x".repeat(9000)),
            text.to_uppercase(),
        ] {
            assert!(Pointer::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Pointer::read(b"modelv external 1\nurl \xff\nsize 1\n").is_err());
    }

    #[test]
    fn the_vectors_are_read_as_they_say() {
        for vector in crate::vectors::of("external") {
            let found = Pointer::read(&vector.bytes).ok().map(|p| {
                serde_json::json!({
                    "url": p.url, "version": p.state.version, "etag": p.state.e_tag,
                    "modified": p.state.modified, "size": p.state.size,
                    "content": p.content.map(|id| id.to_hex()),
                })
            });
            let want = vector.said.get("expect").cloned();
            assert_eq!(found, want, "{}", vector.said["name"]);
        }
    }

    #[test]
    fn it_stands_beside_its_data() {
        let path = |p: &str| RepoPath::new(p).unwrap();
        assert_eq!(base_of(&path("d/x.csv.external")), Some(path("d/x.csv")));
        assert_eq!(base_of(&path("d/.external")), None);
        assert_eq!(base_of(&path("d/x.csv")), None);
        assert_eq!(
            pointer_of(&path("d/x.csv")).unwrap(),
            path("d/x.csv.external")
        );
    }

    #[test]
    fn a_source_is_the_same_by_its_tag_and_else_by_its_time() {
        let pointer = sample();
        let touched = ObjectState {
            modified: Some(8),
            ..pointer.state.clone()
        };
        assert!(pointer.is_as(&touched));
        let other = ObjectState {
            e_tag: Some("\"9c\"".into()),
            ..touched.clone()
        };
        assert!(!pointer.is_as(&other));
        let mut untagged = pointer.clone();
        untagged.state.e_tag = None;
        let now = ObjectState {
            e_tag: None,
            ..touched
        };
        assert!(!untagged.is_as(&now));
    }
}
