//! `[serve]`: which function serves, and how.

use modelv_core::path::RepoPath;
use toml_edit::Item;

use crate::error::{Error, Result};

/// Most requests of one batch.
const BATCH_MAX: u64 = 65_536;

/// What `[serve]` of a `modelv.toml` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServeRules {
    /// `entry`: `module:function`.
    pub entry: Option<String>,
    /// `model`: an ONNX model, which is run by the server itself instead of a function.
    pub model: Option<String>,
    /// `batch`: so many requests at most are predicted in one call of a function that takes and gives lists.
    pub batch: Option<u64>,
    /// `batch-wait-ms`: so long a request waits for others before it is asked alone.
    pub batch_wait_ms: Option<u64>,
    /// `data-frame`: the function takes a data frame.
    pub data_frame: bool,
    /// `spare`: one more worker is kept loaded, to take the place of one that dies.
    pub spare: bool,
    /// `warm`: a file with a request a line that is predicted before the first of a client.
    pub warm: Option<String>,
    /// `golden`: a file with a request and the answer to it a line, which an image must give before it is released.
    pub golden: Option<String>,
    /// `golden-tolerance`: by how much of its size a number may differ from the recorded one.
    pub golden_tolerance: Option<f64>,
    /// `body-bytes-max`: largest request.
    pub body_bytes_max: Option<u64>,
    /// `timeout-ms`: longest prediction.
    pub timeout_ms: Option<u64>,
    /// `queue`: requests that may wait.
    pub queue: Option<u64>,
}

fn invalid(key: &str, want: &str) -> Error {
    Error::invalid(
        "file",
        "modelv.toml",
        format!("`serve.{key}` is not {want}"),
    )
}

impl ServeRules {
    /// Reads the section.
    ///
    /// # Errors
    /// A value is of another type, or out of bounds.
    pub(super) fn parse(section: Option<&Item>) -> Result<Self> {
        let Some(section) = section else {
            return Ok(Self::default());
        };
        let text = |key: &str| match section.get(key) {
            None => Ok(None),
            Some(item) => {
                let text = item.as_str().map(|t| Some(t.to_owned()));
                text.ok_or_else(|| invalid(key, "a string"))
            }
        };
        let path = |key: &str| match text(key)? {
            None => Ok(None),
            Some(text) if RepoPath::new(text.as_str()).is_ok() => Ok(Some(text)),
            Some(_) => Err(invalid(key, "the path of a file of the repository")),
        };
        let number = |key: &str, least: u64, most: u64| match section.get(key) {
            None => Ok(None),
            Some(item) => {
                let number = item.as_integer().and_then(|n| u64::try_from(n).ok());
                let number = number.filter(|n| (least..=most).contains(n)).map(Some);
                number.ok_or_else(|| invalid(key, &format!("a number from {least} to {most}")))
            }
        };
        let flag = |key: &str| match section.get(key) {
            None => Ok(false),
            Some(item) => item.as_bool().ok_or_else(|| invalid(key, "true or false")),
        };
        let golden_tolerance = match section.get("golden-tolerance") {
            None => None,
            Some(item) => {
                let whole = || i32::try_from(item.as_integer()?).ok().map(f64::from);
                let number = item.as_float().or_else(whole);
                let number = number.filter(|n| (0.0..1.0).contains(n)).map(Some);
                number.ok_or_else(|| invalid("golden-tolerance", "a number from 0 to below 1"))?
            }
        };
        let (entry, model) = (text("entry")?, path("model")?);
        if entry.is_some() && model.is_some() {
            let detail = "`serve.entry` and `serve.model` name two things to serve; leave one out";
            return Err(Error::invalid("file", "modelv.toml", detail));
        }
        Ok(Self {
            entry,
            model,
            batch: number("batch", 1, BATCH_MAX)?,
            batch_wait_ms: number("batch-wait-ms", 0, 10_000)?,
            data_frame: flag("data-frame")?,
            spare: flag("spare")?,
            warm: text("warm")?,
            golden: path("golden")?,
            golden_tolerance,
            body_bytes_max: number("body-bytes-max", 1, 1 << 30)?,
            timeout_ms: number("timeout-ms", 1, 86_400_000)?,
            queue: number("queue", 1, 1 << 20)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::{Ingredient, Rules};

    #[test]
    fn what_is_served_and_how() {
        let text = "[serve]\nentry = \"a:b\"\nbatch = 64\nbatch-wait-ms = 2\ndata-frame = true\nspare = true\n\
                    warm = \"warm.jsonl\"\ngolden = \"golden.jsonl\"\n\
                    golden-tolerance = 1e-3\nbody-bytes-max = 1000\ntimeout-ms = 500\nqueue = 10\n";
        let rules = Rules::parse(text).unwrap();
        assert!(rules.unknown().is_empty(), "{:?}", rules.unknown());
        let serve = rules.serve();
        assert_eq!(
            (serve.entry.as_deref(), serve.batch, serve.queue),
            (Some("a:b"), Some(64), Some(10))
        );
        assert!(serve.data_frame && serve.spare);
        assert_eq!(
            (serve.golden.as_deref(), serve.golden_tolerance),
            (Some("golden.jsonl"), Some(1e-3))
        );
        // What it records is an output: another answer is no other recipe.
        let of = |path: &str| rules.classify(&RepoPath::new(path).unwrap()).ingredient;
        assert_eq!(of("golden.jsonl"), Ingredient::Model);
        assert_eq!(of("other.jsonl"), Ingredient::Data);
        assert_eq!(Rules::parse("").unwrap().serve(), &ServeRules::default());
        for wrong in [
            "entry = 1",
            "batch = 0",
            "batch = \"x\"",
            "timeout-ms = -1",
            "data-frame = 1",
            "spare = \"yes\"",
            "queue = 0",
            "golden = \"../x\"",
            "model = \"/x.onnx\"",
            "model = 1",
            "entry = \"a:b\"\nmodel = \"x.onnx\"",
            "golden-tolerance = 1",
            "golden-tolerance = -0.5",
            "golden-tolerance = \"x\"",
        ] {
            assert!(
                Rules::parse(&format!("[serve]\n{wrong}\n")).is_err(),
                "{wrong}"
            );
        }
    }
}
