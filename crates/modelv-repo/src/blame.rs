//! Blame: which commit gave each part of a file what it holds now. Parts are what the file's driver
//! has: lines, keys, demands, rows; of the environment, packages. Reads only.

use std::collections::HashMap;

use modelv_core::driver::{self, Driver, Unit, Units};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::path::RepoPath;
use modelv_core::tree::{self, Mode};

use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::history::LogOptions;
use crate::repo::Repo;

/// One part and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blamed {
    /// Number of the line from 1, key, package, or key of the row.
    pub name: String,
    /// What stands there; hidden where it looks secret.
    pub text: String,
    /// The commit that gave it this.
    pub commit: CommitId,
}

/// All parts of a file or environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// What the parts are: `line`, `key`, `package`, `row`.
    pub kind: &'static str,
    /// In the order of the file.
    pub parts: Vec<Blamed>,
}

/// One version of what is blamed.
struct Version {
    /// Equal when the versions are.
    id: [u8; 32],
    path: Option<RepoPath>,
    units: Units,
}

/// Where versions come from.
enum Subject {
    File { driver: Driver },
    Env,
}

impl Repo {
    /// Blames the parts of a file as a commit has it. `lines`: by line, whatever the file is.
    ///
    /// # Errors
    /// The commit has no such file, or the file has no parts.
    pub fn blame(&self, id: CommitId, path: &RepoPath, lines: bool) -> Result<Blame> {
        let Some(blob) = self.blob_at(id, path)? else {
            let files = self.files(id)?;
            let is_folder = files.keys().any(|p| p.is_within(path.as_bytes()));
            let reason = match files.get(path) {
                Some(file) if file.mode == Mode::Symlink => "it is a link",
                Some(_) => "it is data by reference",
                None if is_folder => "it is a folder",
                None => return Err(Error::not_found("path", path.to_string())),
            };
            return Err(Error::invalid("blame", path.to_string(), reason));
        };
        let content = self.read_blob(blob)?;
        let driver = match lines {
            true => Driver::Text,
            false => driver::choose(path.as_bytes(), &content),
        };
        let Some(units) = Units::of(driver, &content, None) else {
            let reason = "a binary file has neither lines, keys nor rows";
            return Err(Error::invalid("blame", path.to_string(), reason));
        };
        let first = Version {
            id: blob.0,
            path: Some(path.clone()),
            units,
        };
        let mut blame = self.trace(id, first, &Subject::File { driver })?;
        for part in &mut blame.parts {
            let key = if blame.kind == "key" {
                part.name.as_str()
            } else {
                ""
            };
            if driver::is_secret(path.as_bytes(), key, &part.text) {
                part.text = "(hidden)".into();
            }
        }
        Ok(blame)
    }

    /// Whether the working tree has a file with other content than a commit.
    ///
    /// # Errors
    /// The commit is damaged, or the file can't be read.
    pub fn is_edited(&self, id: CommitId, path: &RepoPath) -> Result<bool> {
        let full = crate::worktree::place(self.root(), path);
        let found = match std::fs::symlink_metadata(&full) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("read", &full)(e)),
        };
        if self.is_bare() || !found.is_file() {
            return Ok(false);
        }
        let content = std::fs::read(&full).map_err(Error::io("read", &full))?;
        Ok(self.blob_at(id, path)? != Some(BlobId::of(&content)))
    }

    /// Blames the packages of the environment of a commit.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub fn blame_env(&self, id: CommitId) -> Result<Blame> {
        let env = self.commit_object(id)?.recipe.env;
        let first = Version {
            id: env.0,
            path: None,
            units: env_units(&self.env_object(env)?),
        };
        self.trace(id, first, &Subject::Env)
    }

    /// Goes back through the history, children before parents, and hands every part to the parent
    /// that has it, the first one before the others.
    fn trace(&self, id: CommitId, first: Version, subject: &Subject) -> Result<Blame> {
        let count = first.units.list.len();
        let mut blamed: Vec<Option<CommitId>> = vec![None; count];
        let (kind, names) = (first.units.kind, first.units.list.clone());
        let like = first.units.clone();
        // For each commit its version, and the parts of the first that are these of its own.
        let whole = (0..count).map(|i| (i, i)).collect();
        let mut open: HashMap<CommitId, (Version, Vec<(usize, usize)>)> = HashMap::new();
        open.insert(id, (first, whole));
        let span = LogOptions {
            start: vec![id],
            ..LogOptions::default()
        };
        for (id, commit) in self.history(&span)? {
            let Some((version, mut parts)) = open.remove(&id) else {
                continue;
            };
            for parent in self.parents_of_commit(&commit)? {
                if parts.is_empty() {
                    break;
                }
                let Some(old) = self.version_in(parent, &version, &like, subject)? else {
                    continue;
                };
                let found = match old.id == version.id {
                    true => (0..version.units.list.len()).map(Some).collect(),
                    false => version.units.found_in(&old.units),
                };
                let (taken, kept) = parts.iter().partition(|(_, at)| found[*at].is_some());
                let taken: Vec<(usize, usize)> = taken;
                parts = kept;
                let slot = open.entry(parent).or_insert((old, Vec::new()));
                slot.1
                    .extend(taken.iter().filter_map(|(i, at)| Some((*i, found[*at]?))));
            }
            for (i, _) in parts {
                blamed[i] = Some(id);
            }
            if open.is_empty() {
                break;
            }
        }
        let parts = names.into_iter().zip(blamed).map(|(unit, commit)| Blamed {
            name: unit.name,
            text: unit.text,
            commit: commit.unwrap_or(id),
        });
        let parts = parts.collect();
        Ok(Blame { kind, parts })
    }

    /// What a parent has of it; a file that was only moved is followed.
    fn version_in(
        &self,
        parent: CommitId,
        child: &Version,
        like: &Units,
        subject: &Subject,
    ) -> Result<Option<Version>> {
        let Subject::File { driver } = subject else {
            let env = self.commit_object(parent)?.recipe.env;
            let units = match env.0 == child.id {
                true => child.units.clone(),
                false => env_units(&self.env_object(env)?),
            };
            return Ok(Some(Version {
                id: env.0,
                path: None,
                units,
            }));
        };
        let Some(path) = child.path.clone() else {
            return Ok(None);
        };
        let found = match self.blob_at(parent, &path)? {
            Some(blob) => Some((blob, path)),
            None => self
                .files(parent)?
                .into_iter()
                .find(|(_, f)| f.blob.0 == child.id && f.size > 0)
                .map(|(path, f)| (f.blob, path)),
        };
        let Some((blob, path)) = found else {
            return Ok(None);
        };
        let units = match blob.0 == child.id {
            true => Some(child.units.clone()),
            false => Units::of(*driver, &self.read_blob(blob)?, Some(like)),
        };
        Ok(units.map(|units| Version {
            id: blob.0,
            path: Some(path),
            units,
        }))
    }

    /// The content of a regular file of a commit.
    pub(crate) fn blob_at(&self, id: CommitId, path: &RepoPath) -> Result<Option<BlobId>> {
        let commit = self.commit_object(id)?;
        let (recipe, model) = (commit.recipe, commit.model.map(|m| m.tree));
        let roots = [
            Some(recipe.code),
            Some(recipe.data),
            Some(recipe.config),
            model,
        ];
        for root in roots.into_iter().flatten() {
            if let Some(entry) = tree::find(&self.store, root, path)?
                && matches!(entry.mode, Mode::File | Mode::Executable)
            {
                return Ok(Some(BlobId(entry.id)));
            }
        }
        Ok(None)
    }
}

fn env_units(env: &Env) -> Units {
    let unit = |change: EnvChange| Unit {
        name: change.item,
        text: change.new.unwrap_or_default(),
    };
    let all = diff_env(&Env::none(), env);
    Units {
        kind: "package",
        column: None,
        list: all.into_iter().map(unit).collect(),
    }
}
