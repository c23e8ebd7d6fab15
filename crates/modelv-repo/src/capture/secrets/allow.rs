//! `[secrets] allow` of `modelv.toml`: what is no secret, or may be one.

use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};
use modelv_core::path::RepoPath;
use toml_edit::Item;

use super::check::Finding;
use super::rules::RULES;
use crate::error::{Error, Result};

/// Patterns of paths that are not checked, and single findings that are known.
#[derive(Debug, Default)]
pub struct Allow {
    paths: GlobSet,
    /// Each `rule@path:hash`.
    known: Vec<String>,
}

impl Allow {
    /// Reads the section `[secrets]`.
    ///
    /// # Errors
    /// `allow` is no list of strings, or an entry is neither a pattern nor names a rule.
    pub(crate) fn parse(section: Option<&Item>) -> Result<Self> {
        let bad = |reason: &str| Error::invalid("file", "modelv.toml", reason);
        let Some(list) = section.and_then(|s| s.get("allow")) else {
            return Ok(Self::default());
        };
        let list = list
            .as_array()
            .ok_or_else(|| bad("`secrets.allow` is not a list"))?;
        let (mut paths, mut known) = (GlobSetBuilder::new(), Vec::new());
        for entry in list {
            let text = entry
                .as_str()
                .ok_or_else(|| bad("`secrets.allow` holds more than strings"))?;
            match text.split_once('@') {
                Some((rule, place)) if RULES.iter().any(|r| r.id == rule) => {
                    let hash = place.rsplit_once(':').map_or("", |(_, hash)| hash);
                    if hash.len() != 12 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                        return Err(bad(&format!(
                            "`{text}` in `secrets.allow` is not RULE@PATH:HASH"
                        )));
                    }
                    known.push(text.to_owned());
                }
                _ => {
                    let full = if text.contains('/') {
                        text.into()
                    } else {
                        format!("**/{text}")
                    };
                    let glob = Glob::new(&full)
                        .map_err(|e| bad(&format!("pattern `{text}`: {}", e.kind())))?;
                    paths.add(glob);
                }
            }
        }
        Ok(Self {
            paths: paths.build().map_err(|e| bad(&e.to_string()))?,
            known,
        })
    }

    /// Whether a whole file is let through.
    #[must_use]
    pub fn allows_path(&self, path: &RepoPath) -> bool {
        use std::os::unix::ffi::OsStrExt;
        !self.paths.is_empty()
            && self
                .paths
                .is_match(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())))
    }

    /// Whether one finding is known.
    #[must_use]
    pub fn allows(&self, finding: &Finding) -> bool {
        self.known.contains(&finding.key)
    }
}
