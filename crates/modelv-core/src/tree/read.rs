//! Reading directories: all of one, one path, or all files. What a node says of those below it is held
//! against them, and a tree whose directories name one another without end is refused.

use std::collections::{HashMap, HashSet};

use super::{Child, Entry, FileEntry, IdOnly, Node, level_of, summary, write_directory};
use crate::canon::{self, DecodeError, Source};
use crate::id::{BlobId, TreeId};
use crate::path::{DEPTH_MAX, RepoPath};

/// All entries of one directory, in order of names.
///
/// # Errors
/// A node is missing or damaged, or is not what its parent says of it.
pub fn read_directory<S: Source + ?Sized>(source: &S, id: TreeId) -> Result<Vec<Entry>, S::Error> {
    let mut out = Vec::new();
    let mut stack: Vec<Expected> = vec![Expected::root(id)];
    while let Some(expected) = stack.pop() {
        match expected.load(source)? {
            Node::Leaf(entries) => out.extend(entries),
            Node::Inner { level, children } => stack.extend(expected.below(level, children).rev()),
        }
    }
    Ok(out)
}

/// What is known of a node before it is loaded: nothing of a root, all that its parent says else.
pub(super) struct Expected {
    pub(super) id: TreeId,
    parent: Option<Parent>,
}

struct Parent {
    level: u8,
    child: Child,
    /// The last name of the child before; none for the first below the root.
    after: Option<Vec<u8>>,
}

impl Expected {
    pub(super) fn root(id: TreeId) -> Self {
        Self { id, parent: None }
    }

    /// The children of this node in order, each with what this node says of it.
    pub(super) fn below(
        &self,
        level: u8,
        children: Vec<Child>,
    ) -> impl DoubleEndedIterator<Item = Self> + use<> {
        let mut after = self.parent.as_ref().and_then(|p| p.after.clone());
        let expected: Vec<Self> = children
            .into_iter()
            .map(|child| {
                let before = after.replace(child.last.clone());
                Self {
                    id: child.id,
                    parent: Some(Parent {
                        level,
                        child,
                        after: before,
                    }),
                }
            })
            .collect();
        expected.into_iter()
    }

    /// The one child that can hold `name`.
    fn below_at(&self, level: u8, children: Vec<Child>, name: &[u8]) -> Option<Self> {
        let at = children.partition_point(|c| c.last.as_slice() < name);
        self.below(level, children).nth(at)
    }

    /// Loads the node and refuses one that is not what its parent says, so that depth is bounded
    /// and a directory reads the same from every side.
    pub(super) fn load<S: Source + ?Sized>(&self, source: &S) -> Result<Node, S::Error> {
        let node: Node = canon::load(source, &self.id.0)?;
        match self.check(&node) {
            Some(reason) => Err(DecodeError::NotCanonical(reason).into()),
            None => Ok(node),
        }
    }

    fn check(&self, node: &Node) -> Option<&'static str> {
        let parent = self.parent.as_ref()?;
        let Some((first, last, entries, bytes)) = summary(node) else {
            return Some("empty tree node below another");
        };
        if level_of(node) >= parent.level {
            return Some("tree node not below its parent");
        }
        if last != parent.child.last || entries != parent.child.entries {
            return Some("tree node with other names than its parent says");
        }
        if bytes != parent.child.bytes {
            return Some("tree node with another size than its parent says");
        }
        let before = parent.after.as_deref();
        before
            .is_some_and(|before| first <= before)
            .then_some("tree nodes out of order")
    }
}

/// Checks one directory as a whole: it reads, and its nodes are cut where [`write_directory`]
/// would cut them, so that the same entries have no second id. Returns the entries.
///
/// # Errors
/// A node is missing or damaged, or the directory is cut another way.
pub fn verify_directory<S: Source + ?Sized>(
    source: &S,
    id: TreeId,
) -> Result<Vec<Entry>, S::Error> {
    let entries = read_directory(source, id)?;
    let Ok((again, _)) = write_directory(entries.clone(), &mut IdOnly);
    if again != id {
        return Err(DecodeError::NotCanonical("directory cut into nodes another way").into());
    }
    Ok(entries)
}

/// Finds what a path names.
///
/// # Errors
/// A node is missing or damaged.
pub fn find<S: Source + ?Sized>(
    source: &S,
    root: TreeId,
    path: &RepoPath,
) -> Result<Option<Entry>, S::Error> {
    let mut dir = Some(root);
    let mut found = None;
    for name in path.names() {
        let Some(id) = dir else { return Ok(None) };
        found = find_name(source, id, name)?;
        dir = found.as_ref().and_then(Entry::tree_id);
        if found.is_none() {
            return Ok(None);
        }
    }
    Ok(found)
}

fn find_name<S: Source + ?Sized>(
    source: &S,
    id: TreeId,
    name: &[u8],
) -> Result<Option<Entry>, S::Error> {
    let mut expected = Expected::root(id);
    loop {
        match expected.load(source)? {
            Node::Leaf(entries) => {
                let at = entries.binary_search_by(|e| e.name.as_slice().cmp(name));
                return Ok(at.ok().map(|i| entries[i].clone()));
            }
            Node::Inner { level, children } => {
                let Some(child) = expected.below_at(level, children, name) else {
                    return Ok(None);
                };
                expected = child;
            }
        }
    }
}

/// All files below a root, sorted by path components.
///
/// # Errors
/// A node is missing or damaged, or a path breaks a rule of [`RepoPath`].
pub fn list<S: Source + ?Sized>(source: &S, root: TreeId) -> Result<Vec<FileEntry>, S::Error> {
    let mut out = Vec::new();
    let mut bound = Bound::new(&[Some(root)]);
    list_into(source, root, &[], &mut out, &mut bound)?;
    Ok(out)
}

fn list_into<S: Source + ?Sized>(
    source: &S,
    dir: TreeId,
    prefix: &[u8],
    out: &mut Vec<FileEntry>,
    bound: &mut Bound,
) -> Result<(), S::Error> {
    bound.enter(source, dir, out.len())?;
    for entry in read_directory(source, dir)? {
        let path = join::<S>(prefix, &entry.name)?;
        match entry.tree_id() {
            Some(id) => list_into(source, id, path.as_bytes(), out, bound)?,
            None => out.push(file_entry(path, &entry)),
        }
    }
    Ok(())
}

/// Files of a tree that may be listed however often directories are named again.
const FILES_FREE: u64 = 1 << 20;
/// A larger tree has at most so many times the entries of its different directories.
const REPEATS_MAX: u64 = 64;
/// Listed files from which on a tree is looked at as a whole.
const LOOK_AT: usize = 1 << 16;

/// Refuses a tree that a few directories make endless by naming one another again and again, before
/// memory is gone. Costs nothing where no directory is named twice.
pub(super) struct Bound {
    roots: Vec<TreeId>,
    seen: HashSet<TreeId>,
    repeats: bool,
    checked: bool,
}

impl Bound {
    pub(super) fn new(roots: &[Option<TreeId>]) -> Self {
        Self {
            roots: roots.iter().flatten().copied().collect(),
            seen: HashSet::new(),
            repeats: false,
            checked: false,
        }
    }

    /// Called for each directory, with the number of files found so far.
    pub(super) fn enter<S: Source + ?Sized>(
        &mut self,
        source: &S,
        dir: TreeId,
        found: usize,
    ) -> Result<(), S::Error> {
        if self.checked {
            return Ok(());
        }
        self.repeats |= !self.seen.insert(dir);
        if !self.repeats || found < LOOK_AT {
            return Ok(());
        }
        self.checked = true;
        for root in &self.roots {
            let mut counts = HashMap::new();
            let mut entries = 0;
            let files = count(source, *root, 0, &mut counts, &mut entries)?;
            if files > FILES_FREE && files / REPEATS_MAX > entries {
                let reason = "a tree whose directories name one another too often";
                return Err(DecodeError::NotCanonical(reason).into());
            }
        }
        Ok(())
    }
}

/// Files below a directory; adds the entries of every different directory to `entries`.
fn count<S: Source + ?Sized>(
    source: &S,
    dir: TreeId,
    depth: usize,
    counts: &mut HashMap<TreeId, u64>,
    entries: &mut u64,
) -> Result<u64, S::Error> {
    if let Some(known) = counts.get(&dir) {
        return Ok(*known);
    }
    if depth > DEPTH_MAX {
        return Err(DecodeError::NotCanonical("path in a tree breaks a rule").into());
    }
    let mut files = 0u64;
    for entry in read_directory(source, dir)? {
        *entries += 1;
        let below = match entry.tree_id() {
            Some(id) => count(source, id, depth + 1, counts, entries)?,
            None => 1,
        };
        files = files.saturating_add(below);
    }
    counts.insert(dir, files);
    Ok(files)
}

pub(super) fn join<S: Source + ?Sized>(prefix: &[u8], name: &[u8]) -> Result<RepoPath, S::Error> {
    let mut bytes = prefix.to_vec();
    if !bytes.is_empty() {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(name);
    RepoPath::new(bytes)
        .map_err(|_| DecodeError::NotCanonical("path in a tree breaks a rule").into())
}

pub(super) fn file_entry(path: RepoPath, entry: &Entry) -> FileEntry {
    FileEntry {
        path,
        mode: entry.mode,
        size: entry.size,
        blob: BlobId(entry.id),
    }
}
