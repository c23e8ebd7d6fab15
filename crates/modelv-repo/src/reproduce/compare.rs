//! How far two models are equal: bit for bit, within a tolerance (tensors and JSON numbers), or not.

use modelv_core::commit::Commit;
use modelv_core::driver::{Change, TensorChange, TensorFile};
use modelv_core::id::CommitId;
use modelv_core::merge::join;
use modelv_core::path::RepoPath;
use modelv_core::value::Value;

use crate::error::Result;
use crate::repo::{DOCUMENT_BYTES_MAX, Repo};
use crate::worktree::{Files, SnapFile};

/// How one file came out.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// The same bytes.
    Equal,
    /// Every number within the tolerance; the largest distance.
    Within(f64),
    /// Other content: where it first differs, and the largest distance there if it has one.
    Different {
        /// Tensor or key; `None`: the file as a whole.
        at: Option<String>,
        /// Largest distance of two numbers in that place.
        max_abs: Option<f64>,
        /// What differs, in words.
        how: String,
    },
    /// It was not made this time.
    Missing,
    /// It is not in the commit.
    Extra,
}

impl Comparison {
    /// 0 equal, 1 within the tolerance, 2 different.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Equal => 0,
            Self::Within(_) => 1,
            _ => 2,
        }
    }

    /// The word for people and JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Equal => "bit-equal",
            Self::Within(_) => "tolerance",
            Self::Different { .. } => "different",
            Self::Missing => "missing",
            Self::Extra => "extra",
        }
    }
}

/// One file of either side.
#[derive(Debug, Clone, PartialEq)]
pub struct FileVerdict {
    /// Its path.
    pub path: RepoPath,
    /// How it came out.
    pub verdict: Comparison,
}

impl Repo {
    /// Compares the model of a commit with what a repetition made. What lay there as it is when the run
    /// began, in `start`, was not made by it.
    pub(super) fn compare_models(
        &self,
        commit: &Commit,
        start: Option<CommitId>,
        made: &Files,
        tolerance: Option<f64>,
    ) -> Result<Vec<FileVerdict>> {
        let mut before = Files::new();
        if let Some(model) = commit.model {
            before = crate::pipeline::files_of_tree(self, model.tree)?;
        }
        // It need not be stored: then all of the model counts as made.
        let start = start.and_then(|id| self.files(id).ok()).unwrap_or_default();
        let kept =
            |path: &RepoPath, old: &SnapFile| start.get(path).is_some_and(|f| f.blob == old.blob);
        let mut out = Vec::new();
        for (path, old, new) in join(&before, made) {
            if new.is_none() && old.is_some_and(|old| kept(path, old)) {
                continue;
            }
            let verdict = match (old, new) {
                (Some(old), Some(new)) => self.compare_files(path, old, new, tolerance)?,
                (Some(_), None) => Comparison::Missing,
                _ => Comparison::Extra,
            };
            out.push(FileVerdict {
                path: path.clone(),
                verdict,
            });
        }
        Ok(out)
    }

    fn compare_files(
        &self,
        path: &RepoPath,
        old: &SnapFile,
        new: &SnapFile,
        tolerance: Option<f64>,
    ) -> Result<Comparison> {
        if old.blob == new.blob {
            let is_same = old.mode == new.mode;
            return Ok(if is_same {
                Comparison::Equal
            } else {
                whole("another mode")
            });
        }
        let found = match TensorFile::of_path(path.as_bytes()) {
            Some(kind) => {
                let mut a = self.store.open_blob(&old.blob)?;
                let mut b = self.store.open_blob(&new.blob)?;
                kind.diff(Some(&mut a), Some(&mut b)).ok().map(tensors)
            }
            None if path.as_bytes().ends_with(b".json") => self.numbers(old, new)?,
            None => None,
        };
        Ok(found.map_or_else(|| whole("other bytes"), |found| found.verdict(tolerance)))
    }

    /// Compares two JSON documents by their leaves.
    fn numbers(&self, old: &SnapFile, new: &SnapFile) -> Result<Option<Found>> {
        if old.size.max(new.size) > DOCUMENT_BYTES_MAX {
            return Ok(None);
        }
        let read = |file: &SnapFile| -> Result<Option<serde_json::Value>> {
            Ok(serde_json::from_slice(&self.read_blob(file.blob)?).ok())
        };
        let (Some(a), Some(b)) = (read(old)?, read(new)?) else {
            return Ok(None);
        };
        let mut found = Found::default();
        found.json("", &a, &b, 0);
        Ok(Some(found))
    }
}

/// What differs between two files.
#[derive(Default)]
struct Found {
    /// The first place, with its distance.
    first: Option<(String, Option<f64>, String)>,
    /// The largest distance; `None` where something differs that has none.
    max_abs: Option<f64>,
    has_more: bool,
}

impl Found {
    fn number(&mut self, at: &str, distance: f64, how: String) {
        self.first
            .get_or_insert_with(|| (at.to_owned(), Some(distance), how));
        self.max_abs = Some(self.max_abs.unwrap_or(0.0).max(distance));
    }

    fn other(&mut self, at: &str, how: impl Into<String>) {
        // What no tolerance covers is shown before what one might.
        if !self.has_more {
            self.first = Some((at.to_owned(), None, how.into()));
        }
        self.has_more = true;
    }

    fn verdict(self, tolerance: Option<f64>) -> Comparison {
        let largest = self.max_abs.unwrap_or(0.0);
        if let (false, Some(tolerance)) = (self.has_more, tolerance)
            && largest <= tolerance
        {
            return Comparison::Within(largest);
        }
        match self.first {
            Some((at, max_abs, how)) => Comparison::Different {
                at: Some(at),
                max_abs,
                how,
            },
            None => whole("the same content in other bytes"),
        }
    }

    fn json(&mut self, at: &str, a: &serde_json::Value, b: &serde_json::Value, depth: usize) {
        use serde_json::Value as J;
        // serde_json reads no deeper than 128.
        let below = |key: &str| {
            if at.is_empty() {
                key.to_owned()
            } else {
                format!("{at}.{key}")
            }
        };
        match (a, b) {
            _ if a == b || depth > 128 => {}
            (J::Object(a), J::Object(b)) => {
                for (key, x) in a {
                    match b.get(key) {
                        Some(y) => self.json(&below(key), x, y, depth + 1),
                        None => self.other(&below(key), "it is gone"),
                    }
                }
                for key in b.keys().filter(|k| !a.contains_key(*k)) {
                    self.other(&below(key), "it is new");
                }
            }
            (J::Array(a), J::Array(b)) if a.len() == b.len() => {
                for (i, (x, y)) in a.iter().zip(b).enumerate() {
                    self.json(&below(&i.to_string()), x, y, depth + 1);
                }
            }
            _ => match (Value::from_json(a).as_f64(), Value::from_json(b).as_f64()) {
                (Some(x), Some(y)) => self.number(at, (x - y).abs(), format!("{a} -> {b}")),
                _ => self.other(at, format!("{a} -> {b}")),
            },
        }
    }
}

fn tensors(changes: Vec<Change>) -> Found {
    let mut found = Found::default();
    for change in changes {
        let Change::Tensor(change) = change else {
            found.other("", "other content");
            continue;
        };
        let TensorChange { name, old, new, .. } = &*change;
        let is_same_kind = old.is_some() && old == new;
        match change.numbers {
            Some(n) if is_same_kind && n.nan[0] == n.nan[1] && n.infinite[0] == n.infinite[1] => {
                found.number(
                    name,
                    n.max_abs,
                    format!("{} of {} numbers differ", n.changed, n.count),
                );
            }
            Some(_) if is_same_kind => found.other(name, "other numbers are infinite or none"),
            _ if old.is_none() => found.other(name, "it is new"),
            _ if new.is_none() => found.other(name, "it is gone"),
            _ if is_same_kind => found.other(name, "other bytes"),
            _ => found.other(name, "another type or shape"),
        }
    }
    found
}

fn whole(how: &str) -> Comparison {
    Comparison::Different {
        at: None,
        max_abs: None,
        how: how.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(a: &str, b: &str, tolerance: Option<f64>) -> Comparison {
        let read = |text: &str| serde_json::from_str(text).unwrap();
        let mut found = Found::default();
        found.json("", &read(a), &read(b), 0);
        found.verdict(tolerance)
    }

    #[test]
    fn numbers_are_equal_within_a_tolerance_and_nothing_else_is() {
        let (a, b) = (
            r#"{"f1": 0.5, "all": [1, 2]}"#,
            r#"{"f1": 0.75, "all": [1, 2.5]}"#,
        );
        assert_eq!(json(a, b, Some(0.5)), Comparison::Within(0.5));
        let Comparison::Different { at, max_abs, .. } = json(a, b, Some(0.3)) else {
            panic!("equal");
        };
        assert_eq!((at.as_deref(), max_abs), (Some("all.1"), Some(0.5)));
        assert_eq!(json(a, b, None).rank(), 2);
        for (a, b) in [
            (r#"{"a": 1}"#, r#"{"a": "1"}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "b": 1}"#),
            (r#"{"a": 1, "b": 1}"#, r#"{"a": 1}"#),
            ("[1]", "[1, 1]"),
        ] {
            assert_eq!(json(a, b, Some(1e9)).rank(), 2, "{a} {b}");
        }
    }
}
