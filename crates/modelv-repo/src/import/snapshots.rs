//! Git's trees as files of ours, one commit after the other: only what differs from the tree before is
//! looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::path::Path;
use std::rc::Rc;

use gix::ObjectId;
use gix::objs::tree::EntryKind;
use modelv_core::id::BlobId;
use modelv_core::path::{RepoPath, parent_of};
use modelv_core::tree::Mode;
use modelv_store::Session;

use super::git::Unreadable;
use super::pointers::{Place, Pointers, Stood};
use crate::error::{Error, Result};
use crate::worktree::{
    Files, Ingredient, Rules, Since, SnapFile, Trees, is_left_out_of_stages, patch_trees,
    write_trees,
};

/// Most names that are kept of what could not be taken.
const NAMES_MAX: usize = 20;

/// What of a Git repository was not taken as it is, over all commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Files of Git LFS and DVC that came with their content.
    pub resolved: usize,
    /// Those whose content is not at hand: their pointers came instead. At most 20.
    pub unresolved: BTreeSet<String>,
    /// Submodules; their content is in another repository. At most 20.
    pub submodules: BTreeSet<String>,
    /// Files that commits leave out unless somebody names them. At most 20.
    pub left_out: BTreeSet<String>,
    /// Paths, names and parents that no repository of ours can hold. At most 20.
    pub unfit: BTreeSet<String>,
}

/// A file of a Git tree.
#[derive(Clone, Copy, PartialEq, Eq)]
struct GitFile {
    kind: EntryKind,
    id: ObjectId,
}

/// The content of a blob of Git's.
#[derive(Clone, Copy)]
struct Content {
    blob: BlobId,
    size: u64,
}

/// Turns trees into files. Remembers the tree before and every blob.
pub(super) struct Snapshots<'g> {
    git: &'g gix::Repository,
    bad: Unreadable,
    pointers: Pointers,
    known: HashMap<ObjectId, Content>,
    /// Outputs that pointers of DVC stand for, by the pointer's blob and folder.
    outputs: HashMap<(ObjectId, Vec<u8>), Outputs>,
    root: Option<ObjectId>,
    entries: BTreeMap<Vec<u8>, GitFile>,
    rules: Option<Rules>,
    files: Files,
    trees: Option<Trees>,
    left: Left,
}

/// What a pointer of DVC stands for; `None`: not all of it is at hand.
type Outputs = Option<Rc<Stored>>;

/// What a pointer of DVC stands for, stored.
struct Stored {
    roots: Vec<RepoPath>,
    files: Vec<(RepoPath, SnapFile)>,
}
type Changed = BTreeMap<Vec<u8>, Option<GitFile>>;

impl<'g> Snapshots<'g> {
    pub(super) fn new(git: &'g gix::Repository, place: &Path) -> Self {
        Self {
            git,
            bad: Unreadable::new(place),
            pointers: Pointers::find(git.common_dir(), git.workdir()),
            known: HashMap::new(),
            outputs: HashMap::new(),
            root: None,
            entries: BTreeMap::new(),
            rules: None,
            files: Files::new(),
            trees: None,
            left: Left::default(),
        }
    }

    pub(super) fn left(self) -> Left {
        self.left
    }

    /// The files of a tree, stored, with the trees they make here.
    pub(super) fn at(&mut self, root: ObjectId, session: &Session<'_>) -> Result<(Trees, &Files)> {
        if let (Some(trees), true) = (self.trees, self.root == Some(root)) {
            return Ok((trees, &self.files));
        }
        let mut changed = Changed::new();
        self.compare(self.root, Some(root), &mut Vec::new(), &mut changed)?;
        // What a pointer stands for may be anywhere, and rules hold for every file.
        let has_outputs = self.outputs.values().any(Option::is_some);
        let is_far = |path: &[u8]| {
            let is_rule = has_outputs && path.ends_with(b".gitignore");
            is_rule || path == b"modelv.toml" || Pointers::is_dvc(path)
        };
        let is_near = !changed.keys().any(|path| is_far(path));
        for (path, file) in &changed {
            match file {
                Some(file) => self.entries.insert(path.clone(), *file),
                None => self.entries.remove(path),
            };
        }
        let trees = match self.trees.filter(|_| is_near) {
            Some(trees) => self.patch(&trees, &changed, session)?,
            None => self.rebuild(session)?,
        };
        (self.root, self.trees) = (Some(root), Some(trees));
        Ok((trees, &self.files))
    }

    fn patch(&mut self, trees: &Trees, changed: &Changed, session: &Session<'_>) -> Result<Trees> {
        let mut since = Since {
            old: Files::new(),
            new: Files::new(),
        };
        for (path, file) in changed {
            let Some(path) = self.fit(path) else { continue };
            if let Some(old) = self.files.remove(&path) {
                since.old.insert(path.clone(), old);
            }
            let new = file.map(|f| self.file(&path, f, session)).transpose()?;
            if let Some(new) = new.flatten() {
                self.files.insert(path.clone(), new.clone());
                since.new.insert(path, new);
            }
        }
        patch_trees(trees, &since, session)
    }

    fn rebuild(&mut self, session: &Session<'_>) -> Result<Trees> {
        let rules = match self.entries.get(b"modelv.toml".as_slice()) {
            Some(file) => self.blob(file.id)?,
            None => Vec::new(),
        };
        // What is no rule today was none then.
        let rules = std::str::from_utf8(&rules).ok().map(Rules::parse);
        self.rules = rules.and_then(Result::ok);
        self.files = Files::new();
        let entries: Vec<(Vec<u8>, GitFile)> =
            self.entries.iter().map(|(p, f)| (p.clone(), *f)).collect();
        let (mut outputs, mut roots) = (Vec::new(), Vec::new());
        for (path, file) in entries {
            let is_pointer = Pointers::is_dvc(&path);
            let Some(path) = self.fit(&path) else {
                continue;
            };
            if is_pointer && let Some(found) = self.outputs_of(&path, file, session)? {
                outputs.extend_from_slice(&found.files);
                roots.extend_from_slice(&found.roots);
                // `dvc.lock` says more than what the outputs are.
                if path.as_bytes().ends_with(b".dvc") {
                    continue;
                }
            }
            if let Some(new) = self.file(&path, file, session)? {
                self.files.insert(path, new);
            }
        }
        for (path, mut file) in outputs {
            file.ingredient = self.ingredient(&path);
            self.files.entry(path).or_insert(file);
        }
        self.unignore(&roots, session)?;
        write_trees(&self.files, session)
    }

    /// Takes out the lines by which DVC has Git ignore its outputs: they are files like others here.
    fn unignore(&mut self, roots: &[RepoPath], session: &Session<'_>) -> Result<()> {
        let mut lines: BTreeMap<RepoPath, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for root in roots {
            let dir = parent_of(root.as_bytes());
            let mut path = dir.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(b".gitignore");
            let line = [b"/", root.name()].concat();
            lines.entry(RepoPath::new(path)?).or_default().insert(line);
        }
        for (path, gone) in lines {
            let Some(GitFile { id, .. }) = self.entries.get(path.as_bytes()) else {
                continue;
            };
            let text = self.blob(*id)?;
            let kept: Vec<&[u8]> = text
                .split_inclusive(|b| *b == b'\n')
                .filter(|line| !gone.contains(line.trim_ascii_end()))
                .collect();
            let kept = kept.concat();
            if kept.is_empty() {
                self.files.remove(&path);
            } else if let Some(file) = self.files.get_mut(&path) {
                let size = kept.len() as u64;
                (file.blob, file.size) = session.put_file(&mut Cursor::new(kept), size, None)?;
            }
        }
        Ok(())
    }

    /// One file as ours; `None`: there is nothing to take.
    fn file(
        &mut self,
        path: &RepoPath,
        file: GitFile,
        session: &Session<'_>,
    ) -> Result<Option<SnapFile>> {
        let mode = match file.kind {
            EntryKind::Blob => Mode::File,
            EntryKind::BlobExecutable => Mode::Executable,
            EntryKind::Link => Mode::Symlink,
            EntryKind::Commit => {
                note(&mut self.left.submodules, path);
                return Ok(None);
            }
            EntryKind::Tree => return Ok(None),
        };
        let content = match self.known.get(&file.id) {
            Some(content) => *content,
            None => {
                let content = self.store(path, file.id, session)?;
                self.known.insert(file.id, content);
                content
            }
        };
        Ok(Some(SnapFile {
            ingredient: self.ingredient(path),
            mode,
            size: content.size,
            blob: content.blob,
        }))
    }

    fn ingredient(&self, path: &RepoPath) -> Ingredient {
        let rules = self.rules.as_ref();
        rules.map_or(Ingredient::Code, |r| r.classify(path).ingredient)
    }

    fn blob(&self, id: ObjectId) -> Result<Vec<u8>> {
        let mut blob = self.git.find_blob(id).map_err(|e| self.bad.because(e))?;
        Ok(blob.take_data())
    }

    /// Stores the content of a blob, or of what it points to.
    fn store(&mut self, path: &RepoPath, id: ObjectId, session: &Session<'_>) -> Result<Content> {
        let bytes = self.blob(id)?;
        if let Some(pointer) = Pointers::lfs(&bytes) {
            match self.pointers.open_lfs(pointer) {
                Some(place) => {
                    self.left.resolved += 1;
                    return put_place(&place, session);
                }
                None => note(&mut self.left.unresolved, path),
            }
        }
        let size = bytes.len() as u64;
        let (blob, size) = session.put_file(&mut Cursor::new(bytes), size, None)?;
        Ok(Content { blob, size })
    }

    /// Stores what a pointer stands for.
    fn outputs_of(
        &mut self,
        path: &RepoPath,
        file: GitFile,
        session: &Session<'_>,
    ) -> Result<Outputs> {
        let key = (file.id, path.as_bytes().to_vec());
        if let Some(known) = self.outputs.get(&key) {
            return Ok(known.clone());
        }
        let text = self.blob(file.id)?;
        let found = match self.pointers.dvc(path, &text)? {
            None => {
                note(&mut self.left.unresolved, path);
                None
            }
            Some(Stood { roots, files }) => {
                let mut out = Vec::with_capacity(files.len());
                for (path, place) in files {
                    let Content { blob, size } = put_place(&place, session)?;
                    let file = SnapFile {
                        ingredient: Ingredient::Data,
                        mode: Mode::File,
                        size,
                        blob,
                    };
                    out.push((path, file));
                }
                self.left.resolved += out.len();
                Some(Rc::new(Stored { roots, files: out }))
            }
        };
        self.outputs.insert(key, found.clone());
        Ok(found)
    }

    /// A path that we can hold, and would.
    fn fit(&mut self, path: &[u8]) -> Option<RepoPath> {
        match RepoPath::new(path) {
            Ok(path) if path.names().any(is_left_out_of_stages) => {
                note(&mut self.left.left_out, &path);
                None
            }
            Ok(path) => Some(path),
            Err(e) => {
                self.unfit(e.to_string());
                None
            }
        }
    }

    /// Notes what can't be had here.
    pub(super) fn unfit(&mut self, text: String) {
        if self.left.unfit.len() < NAMES_MAX {
            self.left.unfit.insert(text);
        }
    }

    /// Files that differ between two trees, with what they are in the second.
    fn compare(
        &self,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        dir: &mut Vec<u8>,
        out: &mut Changed,
    ) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let (old, new) = (self.entries_of(old)?, self.entries_of(new)?);
        let names: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (was, is) = (old.get(name), new.get(name));
            if was == is {
                continue;
            }
            let length = dir.len();
            if length > 0 {
                dir.push(b'/');
            }
            dir.extend_from_slice(name);
            let tree = |file: Option<&GitFile>| {
                let file = file.filter(|f| f.kind == EntryKind::Tree);
                file.map(|f| f.id)
            };
            let (was_tree, is_tree) = (tree(was), tree(is));
            if was.is_some() && was_tree.is_none() {
                out.entry(dir.clone()).or_insert(None);
            }
            if was_tree.is_some() || is_tree.is_some() {
                self.compare(was_tree, is_tree, dir, out)?;
            }
            if let (Some(file), None) = (is, is_tree) {
                out.insert(dir.clone(), Some(*file));
            }
            dir.truncate(length);
        }
        Ok(())
    }

    fn entries_of(&self, tree: Option<ObjectId>) -> Result<BTreeMap<Vec<u8>, GitFile>> {
        let Some(id) = tree else {
            return Ok(BTreeMap::new());
        };
        let tree = self.git.find_tree(id).map_err(|e| self.bad.because(e))?;
        let decoded = tree.decode().map_err(|e| self.bad.because(e))?;
        let entry = |e: &gix::objs::tree::EntryRef<'_>| {
            let file = GitFile {
                kind: e.mode.kind(),
                id: e.oid.to_owned(),
            };
            (e.filename.to_vec(), file)
        };
        Ok(decoded.entries.iter().map(entry).collect())
    }
}

fn note(list: &mut BTreeSet<String>, path: &RepoPath) {
    if list.len() < NAMES_MAX {
        list.insert(path.to_string());
    }
}

/// Stores a file that lies outside of the repository.
fn put_place(place: &Place, session: &Session<'_>) -> Result<Content> {
    place.check()?;
    let path = &place.path;
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let (blob, size) = session.put_file(&mut file, size, None)?;
    Ok(Content { blob, size })
}
