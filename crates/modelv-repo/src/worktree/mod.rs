//! The working tree: which files there are, what they hold, and writing them.
//!
//! Everything here works on [`Files`], the flat view of a commit or of the working tree.

mod beneath;
pub mod checkout;
mod fold;
pub(crate) mod ignores;
mod ingredient;
mod known;
mod left_out;
mod origin;
mod scan;
mod scope;
mod serving;
mod snapshot;
pub(crate) mod sparse;
pub(crate) mod statcache;
mod status;
mod write;

use std::collections::BTreeMap;

use modelv_core::canon::{Kind, Source};
use modelv_core::commit::{Commit, Model, Recipe};
use modelv_core::id::{BlobId, TreeId};
use modelv_core::path::{RepoPath, parent_of};
use modelv_core::tree::{self, FileEntry, Mode, Sink, WriteError};
use modelv_store::Session;

pub(crate) use beneath::{replace_file, replace_file_from};
pub use ingredient::{Ingredient, Reason, Rules};
pub use left_out::{left_out_by_default, never_taken};
pub use scan::Skipped;
pub(crate) use scope::Scope;
pub use serving::ServeRules;
pub use snapshot::{Keep, Look, Since, Snapshot, look, place};
pub(crate) use snapshot::{hash_file, keep_file};
pub use statcache::{Stamp as StatStamp, StatCache};
pub(crate) use status::differing;
pub use status::{ChangeKind, FileChange, compare};

use crate::error::{Error, Result};

/// Whether a name inside of a folder that a stage declares is left out all the same: version control,
/// caches of tools, files that are being written.
pub(crate) fn is_left_out_of_stages(name: &[u8]) -> bool {
    ignores::is_never(name) || ignores::is_by_default(name) || name.starts_with(write::TEMP_PREFIX)
}

/// One file of a commit or of the working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapFile {
    /// Where it belongs.
    pub ingredient: Ingredient,
    /// Never [`Mode::Tree`].
    pub mode: Mode,
    /// Bytes of the content.
    pub size: u64,
    /// The content.
    pub blob: BlobId,
}

/// The flat view of a commit or of the working tree.
pub type Files = BTreeMap<RepoPath, SnapFile>;

/// Roots of the trees of [`Files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trees {
    /// Code.
    pub code: TreeId,
    /// Data.
    pub data: TreeId,
    /// Configuration.
    pub config: TreeId,
    /// Model; `None` without a file.
    pub model: Option<TreeId>,
}

/// Reads the trees of a commit.
///
/// # Errors
/// A node is missing or damaged, or two ingredients hold one path.
pub fn files_of<S: Source>(
    source: &S,
    code: TreeId,
    data: TreeId,
    config: TreeId,
    model: Option<TreeId>,
) -> Result<Files>
where
    Error: From<S::Error>,
{
    let roots = [
        (Ingredient::Code, Some(code)),
        (Ingredient::Data, Some(data)),
        (Ingredient::Config, Some(config)),
        (Ingredient::Model, model),
    ];
    let mut listed = Vec::new();
    for (ingredient, root) in roots {
        let Some(root) = root else { continue };
        for FileEntry {
            path,
            mode,
            size,
            blob,
        } in tree::list(source, root)?
        {
            let file = SnapFile {
                ingredient,
                mode,
                size,
                blob,
            };
            listed.push((path, file));
        }
    }
    // Sorted, they are a map at once.
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(two) = listed.windows(2).find(|two| two[0].0 == two[1].0) {
        return Err(in_two(&two[0].0));
    }
    let files: Files = listed.into_iter().collect();
    match file_and_directory(&files) {
        Some(path) => Err(in_two(&path)),
        None => Ok(files),
    }
}

fn in_two(path: &RepoPath) -> Error {
    Error::Corrupt {
        what: "commit".into(),
        detail: format!("`{path}` is in two ingredients"),
    }
}

/// A path that one ingredient has as a file and another as a directory (COMMIT-4).
fn file_and_directory(files: &Files) -> Option<RepoPath> {
    let mut last: &[u8] = b"";
    for path in files.keys() {
        let dir = parent_of(path.as_bytes());
        // Those of one directory mostly follow each other.
        if dir == last {
            continue;
        }
        last = dir;
        let mut above = dir;
        while !above.is_empty() {
            if let Some((clash, _)) = files.get_key_value(above) {
                return Some(clash.clone());
            }
            above = parent_of(above);
        }
    }
    None
}

impl Trees {
    /// What stands for these trees, as these rules made them of files, in the stat cache.
    #[must_use]
    pub fn mark(&self, rules: &Rules) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(rules.fingerprint());
        for tree in [self.code, self.data, self.config] {
            hasher.update(&tree.0);
        }
        hasher.update(&self.model.map_or([0; 32], |m| m.0));
        *hasher.finalize().as_bytes()
    }

    /// The trees of a commit.
    #[must_use]
    pub fn of(commit: &Commit) -> Self {
        Self::of_recipe(&commit.recipe, commit.model.as_ref())
    }

    /// The trees of a recipe and the model that lies beside it.
    #[must_use]
    pub fn of_recipe(recipe: &Recipe, model: Option<&Model>) -> Self {
        Self {
            code: recipe.code,
            data: recipe.data,
            config: recipe.config,
            model: model.map(|m| m.tree),
        }
    }
}

struct SessionSink<'a, 'b>(&'a Session<'b>);

impl Sink for SessionSink<'_, '_> {
    type Error = modelv_store::Error;

    fn put_node(&mut self, _: TreeId, bytes: Vec<u8>) -> Result<(), Self::Error> {
        self.0.put_object_bytes(Kind::Tree, &bytes).map(|_| ())
    }
}

/// Stores the trees of `files`.
///
/// # Errors
/// A path is both a file and a directory, or the store can't write.
pub fn write_trees(files: &Files, session: &Session<'_>) -> Result<Trees> {
    write_trees_to(files, &mut SessionSink(session))
}

/// Computes the ids of the trees of `files` without storing them.
///
/// # Errors
/// A path is both a file and a directory.
pub fn tree_ids(files: &Files) -> Result<Trees> {
    write_trees_to(files, &mut tree::IdOnly)
}

/// The id of one tree with all of `files`, whatever they belong to; stored where there is a session.
///
/// # Errors
/// A path is both a file and a directory, or the store can't write.
pub(crate) fn write_one_tree(files: &Files, session: Option<&Session<'_>>) -> Result<TreeId> {
    let listed: Vec<FileEntry> = files.iter().map(entry_of).collect();
    match session {
        Some(session) => tree::write_tree(&listed, &mut SessionSink(session)).map_err(clash_or),
        None => tree::write_tree(&listed, &mut tree::IdOnly).map_err(clash_or),
    }
}

fn entry_of((path, file): (&RepoPath, &SnapFile)) -> FileEntry {
    FileEntry {
        path: path.clone(),
        mode: file.mode,
        size: file.size,
        blob: file.blob,
    }
}

fn write_trees_to<S: Sink>(files: &Files, sink: &mut S) -> Result<Trees>
where
    S::Error: IntoError,
{
    let mut write = |ingredient| {
        let listed: Vec<FileEntry> = files
            .iter()
            .filter(|(_, f)| f.ingredient == ingredient)
            .map(entry_of)
            .collect();
        tree::write_tree(&listed, sink).map_err(clash_or)
    };
    let has_model = files.values().any(|f| f.ingredient == Ingredient::Model);
    Ok(Trees {
        code: write(Ingredient::Code)?,
        data: write(Ingredient::Data)?,
        config: write(Ingredient::Config)?,
        model: if has_model {
            Some(write(Ingredient::Model)?)
        } else {
            None
        },
    })
}

/// Stores the trees that come of `trees` where files that were `since.old` are `since.new`.
///
/// # Errors
/// A path is both a file and a directory, a tree can't be read, or the store can't write.
pub fn patch_trees(trees: &Trees, since: &Since, session: &Session<'_>) -> Result<Trees> {
    let mut sink = SessionSink(session);
    let mut write = |ingredient, root: Option<TreeId>| {
        let edits = edits_of(since, ingredient);
        if edits.is_empty() {
            return Ok(root);
        }
        // The empty tree may not be stored: nothing is read from it.
        let root = root.filter(|id| *id != tree::empty_id());
        tree::patch_tree(session, root, &edits, &mut sink).map_err(clash_or)
    };
    let code = write(Ingredient::Code, Some(trees.code))?;
    let data = write(Ingredient::Data, Some(trees.data))?;
    let config = write(Ingredient::Config, Some(trees.config))?;
    let model = write(Ingredient::Model, trees.model)?;
    let mut or_empty = |tree: Option<TreeId>| match tree {
        Some(id) => Ok(id),
        None => tree::write_directory(Vec::new(), &mut sink).map(|(id, _)| id),
    };
    Ok(Trees {
        code: or_empty(code)?,
        data: or_empty(data)?,
        config: or_empty(config)?,
        model,
    })
}

fn edits_of(since: &Since, ingredient: Ingredient) -> Vec<tree::Edit> {
    let here = |file: &&SnapFile| file.ingredient == ingredient;
    let gone = since.old.iter().filter(|(_, f)| here(f));
    let gone = gone.filter(|(path, _)| since.new.get(*path).filter(here).is_none());
    let gone = gone.map(|(path, _)| (path, None));
    let new = since.new.iter().filter(|(_, f)| here(f));
    let new = new.map(|(path, f)| (path, Some((f.mode, f.size, f.blob))));
    gone.chain(new)
        .map(|(path, file)| tree::Edit {
            path: path.clone(),
            file,
        })
        .collect()
}

fn clash_or<E: IntoError>(e: WriteError<E>) -> Error {
    match e {
        WriteError::Clash(clash) => Error::invalid(
            "path",
            clash.path.to_string(),
            "it is a file and a directory",
        ),
        WriteError::Sink(e) => e.into_error(),
    }
}

/// Turns a sink's error into the library's.
trait IntoError {
    fn into_error(self) -> Error;
}

impl IntoError for modelv_store::Error {
    fn into_error(self) -> Error {
        self.into()
    }
}

impl IntoError for std::convert::Infallible {
    fn into_error(self) -> Error {
        match self {}
    }
}

#[cfg(test)]
mod tests;
