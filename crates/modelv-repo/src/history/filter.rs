//! Which commits of a history are wanted: by what they change, who made them, and what their runs
//! measured. Decides by ids first, and reads files only where the ids differ.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use modelv_core::commit::Commit;
use modelv_core::driver::{self, Driver};
use modelv_core::id::TreeId;
use modelv_core::path::RepoPath;
use modelv_core::tree::{self, Mode};
use modelv_core::value::Value;

use super::LogOptions;
use crate::diff::Part;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::runs::is_value;

/// Larger configuration files are left out, in bytes.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

impl Part {
    fn id(self, commit: &Commit) -> Option<[u8; 32]> {
        let recipe = commit.recipe;
        Some(match self {
            Self::Code => recipe.code.0,
            Self::Data => recipe.data.0,
            Self::Config => recipe.config.0,
            Self::Env => recipe.env.0,
            Self::Model => return commit.model.map(|m| m.tree.0),
        })
    }

    /// The part of a commit that holds nothing.
    fn is_empty(self, id: Option<[u8; 32]>) -> bool {
        match (self, id) {
            (_, None) => true,
            (Self::Env, Some(id)) => id == modelv_core::env::Env::none().id().0,
            (_, Some(id)) => id == tree::empty_id().0,
        }
    }
}

/// A key of the configuration whose change is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    key: String,
    value: Option<String>,
}

impl KeyFilter {
    /// Reads `KEY` or `KEY=VALUE`. The key is a dotted one, or the end of one: `lr` is also
    /// `train.lr`.
    ///
    /// # Errors
    /// The key or the value is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        if key.is_empty() || value == Some("") {
            let reason = "expected KEY or KEY=VALUE";
            return Err(Error::invalid("configuration filter", text, reason));
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        })
    }

    fn is_about(&self, key: &str) -> bool {
        let front = key.strip_suffix(self.key.as_str());
        front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }

    /// Whether the key has another value in `new` than in `old`, and the one that is asked for.
    fn fits(&self, old: &Leaves, new: &Leaves) -> bool {
        let keys = old.keys().chain(new.keys());
        keys.filter(|(_, key)| self.is_about(key)).any(|at| {
            let now = new.get(at);
            let is_wanted = match (&self.value, now) {
                (None, _) => true,
                (Some(text), Some(value)) => is_value(value, text),
                (Some(_), None) => false,
            };
            is_wanted && old.get(at) != now
        })
    }
}

/// Values by file and key.
type Leaves = BTreeMap<(RepoPath, String), Value>;

/// Applies the filters of [`LogOptions`] to one commit after the other.
pub(super) struct Filter<'a> {
    repo: &'a Repo,
    options: &'a LogOptions,
    leaves: RefCell<HashMap<TreeId, Rc<Leaves>>>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(repo: &'a Repo, options: &'a LogOptions) -> Self {
        Self {
            repo,
            options,
            leaves: RefCell::default(),
        }
    }

    pub(super) fn wants(&self, commit: &Commit) -> Result<bool> {
        let o = self.options;
        if o.since.is_some_and(|t| commit.time.seconds < t)
            || o.until.is_some_and(|t| commit.time.seconds > t)
        {
            return Ok(false);
        }
        let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let is_by = |author: &String| has(&commit.author.to_string(), author);
        let is_about = |text: &String| has(&commit.message, text);
        if !o.author.as_ref().is_none_or(is_by) || !o.message.as_ref().is_none_or(is_about) {
            return Ok(false);
        }
        if !o.metrics.is_empty() {
            let Some(run) = self.repo.own_run(commit)? else {
                return Ok(false);
            };
            if !o.metrics.iter().all(|c| c.holds(&run)) {
                return Ok(false);
            }
        }
        if o.paths.is_empty() && o.parts.is_empty() && o.keys.is_empty() {
            return Ok(true);
        }
        self.changes(commit)
    }

    /// Whether a commit differs from every parent in what is asked for.
    fn changes(&self, commit: &Commit) -> Result<bool> {
        let parents = self.repo.parents_of_commit(commit)?;
        if parents.is_empty() {
            return self.differs(None, commit);
        }
        for parent in parents {
            let parent = self.repo.commit_object(parent)?;
            if !self.differs(Some(&parent), commit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn differs(&self, old: Option<&Commit>, new: &Commit) -> Result<bool> {
        let o = self.options;
        if !o.parts.is_empty() && !o.parts.iter().any(|p| differs_in(*p, old, new)) {
            return Ok(false);
        }
        if !o.paths.is_empty() && !self.differs_at(old, new)? {
            return Ok(false);
        }
        if o.keys.is_empty() {
            return Ok(true);
        }
        let before = old.map_or_else(tree::empty_id, |c| c.recipe.config);
        if before == new.recipe.config {
            return Ok(false);
        }
        let (before, now) = (self.leaves(before)?, self.leaves(new.recipe.config)?);
        Ok(o.keys.iter().all(|key| key.fits(&before, &now)))
    }

    fn differs_at(&self, old: Option<&Commit>, new: &Commit) -> Result<bool> {
        // What a path names in any of the trees of a commit; equal ids mean equal content below.
        let roots = |c: &Commit| {
            let r = c.recipe;
            let model = c.model.map(|m| m.tree);
            [Some(r.code), Some(r.data), Some(r.config), model]
        };
        for path in &self.options.paths {
            for (i, now) in roots(new).into_iter().enumerate() {
                let before = old.and_then(|o| roots(o)[i]);
                if now == before {
                    continue;
                }
                let entry = |root| tree::find(&self.repo.store, root, path);
                let now = now.map(entry).transpose()?.flatten();
                if now != before.map(entry).transpose()?.flatten() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The values of all configuration files of a tree. Those that don't parse have none.
    fn leaves(&self, root: TreeId) -> Result<Rc<Leaves>> {
        if let Some(found) = self.leaves.borrow().get(&root) {
            return Ok(found.clone());
        }
        let mut out = Leaves::new();
        // The empty tree need not be stored: it stands for what is before the first commit.
        let files = match root == tree::empty_id() {
            true => Vec::new(),
            false => tree::list(&self.repo.store, root)?,
        };
        for file in files {
            let is_file = matches!(file.mode, Mode::File | Mode::Executable);
            if !is_file || file.size > CONFIG_BYTES_MAX {
                continue;
            }
            let content = self.repo.read_blob(file.blob)?;
            if let Driver::Config(format) = driver::choose(file.path.as_bytes(), &content)
                && let Ok(values) = driver::config_values(format, &content)
            {
                let path = &file.path;
                out.extend(values.into_iter().map(|(k, v)| ((path.clone(), k), v)));
            }
        }
        let out = Rc::new(out);
        self.leaves.borrow_mut().insert(root, out.clone());
        Ok(out)
    }
}

fn differs_in(part: Part, old: Option<&Commit>, new: &Commit) -> bool {
    let now = part.id(new);
    match old {
        Some(old) => part.id(old) != now,
        None => !part.is_empty(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_end_and_value() {
        let leaves = |value: f64| -> Leaves {
            let path = RepoPath::new(b"p.toml".to_vec()).unwrap();
            Leaves::from([
                ((path.clone(), "train.lr".into()), Value::Float(value)),
                ((path, "train.xlr".into()), Value::Int(1)),
            ])
        };
        let fits = |text: &str| {
            let filter = KeyFilter::parse(text).unwrap();
            (
                filter.fits(&leaves(0.1), &leaves(0.2)),
                filter.fits(&leaves(0.2), &leaves(0.2)),
            )
        };
        for (text, want) in [
            ("lr", true),
            ("train.lr", true),
            ("lr=0.20", true),
            ("lr=0.1", false),
            ("r", false),
            ("xlr", false),
        ] {
            assert_eq!(fits(text), (want, false), "{text}");
        }
        assert!(KeyFilter::parse("=1").is_err() && KeyFilter::parse("lr=").is_err());
    }
}
