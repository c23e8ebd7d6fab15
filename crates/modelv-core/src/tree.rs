//! Trees: sorted directory values, split into nodes by the hash of names, so that a large
//! directory costs what changed in it. See `spec/tree.md`.
//!
//! The split depends on the set of names and on nothing else: equal directories have equal ids
//! whatever their history.

mod patch;

use std::collections::{HashMap, HashSet};

use bincode::{Decode, Encode};

use crate::canon::{self, DecodeError, Kind, Object, Source};
use crate::id::{BlobId, TreeId};
use crate::path::{DEPTH_MAX, RepoPath, check_name};

pub use patch::{Edit, patch_tree};

/// Most entries of one leaf and children of one inner node; a run without a border is cut here.
pub const NODE_ENTRIES_MAX: usize = 4096;

/// Highest level of a node; enough for more entries than there are atoms in a file system.
const LEVEL_MAX: u8 = 30;

/// What an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Mode {
    /// A regular file.
    File,
    /// A regular file its owner may execute.
    Executable,
    /// A symbolic link; the blob holds the target's bytes.
    Symlink,
    /// A directory; the id is a [`TreeId`].
    Tree,
    /// Data by reference: the blob holds the description of an external source.
    External,
}

/// One named row of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Name, one path component.
    pub name: Vec<u8>,
    /// What `id` names.
    pub mode: Mode,
    /// Bytes of the file, or of all files below the directory.
    pub size: u64,
    /// [`BlobId`] or, for [`Mode::Tree`], [`TreeId`].
    pub id: [u8; 32],
}

impl Entry {
    /// The directory's id.
    #[must_use]
    pub fn tree_id(&self) -> Option<TreeId> {
        (self.mode == Mode::Tree).then_some(TreeId(self.id))
    }

    /// The content's id, for everything but directories.
    #[must_use]
    pub fn blob_id(&self) -> Option<BlobId> {
        (self.mode != Mode::Tree).then_some(BlobId(self.id))
    }
}

/// Reference from an inner node to a node one level below.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Child {
    /// Last (greatest) name below.
    pub last: Vec<u8>,
    /// The node.
    pub id: TreeId,
    /// Entries below.
    pub entries: u64,
    /// Sum of the entries' sizes.
    pub bytes: u64,
}

/// A tree node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Node {
    /// Level 0.
    Leaf(Vec<Entry>),
    /// Level 1 and above.
    Inner {
        /// Distance from the leaves.
        level: u8,
        /// At least two children.
        children: Vec<Child>,
    },
}

impl Object for Node {
    const KIND: Kind = Kind::Tree;

    fn check(&self) -> Result<(), DecodeError> {
        let bad = |what| Err(DecodeError::NotCanonical(what));
        let (names, count): (Vec<&[u8]>, usize) = match self {
            Self::Leaf(entries) => (
                entries.iter().map(|e| e.name.as_slice()).collect(),
                entries.len(),
            ),
            Self::Inner { level, children } => {
                if *level == 0 || *level > LEVEL_MAX || children.len() < 2 {
                    return bad("inner node with a wrong level or fewer than two children");
                }
                (
                    children.iter().map(|c| c.last.as_slice()).collect(),
                    children.len(),
                )
            }
        };
        if count > NODE_ENTRIES_MAX {
            return bad("node with too many entries");
        }
        if names.iter().any(|n| check_name(n).is_err()) {
            return bad("forbidden name in a tree");
        }
        if names.windows(2).any(|w| w[0] >= w[1]) {
            return bad("names not sorted or not unique");
        }
        Ok(())
    }
}

/// Takes new tree nodes.
pub trait Sink {
    /// Why a node can't be kept.
    type Error;

    /// Keeps the canonical bytes of a node under its id.
    ///
    /// # Errors
    /// The sink can't write.
    fn put_node(&mut self, id: TreeId, bytes: Vec<u8>) -> Result<(), Self::Error>;
}

/// A sink that forgets: for computing ids alone.
#[derive(Debug, Default)]
pub struct IdOnly;

impl Sink for IdOnly {
    type Error = std::convert::Infallible;
    fn put_node(&mut self, _: TreeId, _: Vec<u8>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Id and canonical bytes of a node.
#[must_use]
pub fn node_id(node: &Node) -> (TreeId, Vec<u8>) {
    let bytes = canon::encode_unchecked(node);
    (TreeId(canon::hash(Kind::Tree, &bytes)), bytes)
}

/// The id of the directory with no entries.
#[must_use]
pub fn empty_id() -> TreeId {
    node_id(&Node::Leaf(Vec::new())).0
}

/// Whether a node of `level` ends after `name`.
fn is_border(name: &[u8], level: usize) -> bool {
    blake3::hash(name).as_bytes()[level] == 0
}

/// Cuts a sorted sequence behind every border name, and behind every [`NODE_ENTRIES_MAX`] items.
fn split<T>(items: Vec<T>, level: usize, name: impl Fn(&T) -> &[u8]) -> Vec<Vec<T>> {
    let mut nodes = Vec::new();
    let mut node = Vec::new();
    for item in items {
        let ends = is_border(name(&item), level) || node.len() + 1 == NODE_ENTRIES_MAX;
        node.push(item);
        if ends {
            nodes.push(std::mem::take(&mut node));
        }
    }
    if !node.is_empty() {
        nodes.push(node);
    }
    nodes
}

/// Writes one directory from its sorted entries; returns its id and the sum of sizes.
///
/// # Errors
/// The sink's.
pub fn write_directory<S: Sink + ?Sized>(
    entries: Vec<Entry>,
    sink: &mut S,
) -> Result<(TreeId, u64), S::Error> {
    debug_assert!(
        entries.windows(2).all(|w| w[0].name < w[1].name),
        "sorted and unique"
    );
    let mut put = |node: &Node| {
        let (id, bytes) = node_id(node);
        sink.put_node(id, bytes).map(|()| id)
    };
    if entries.is_empty() {
        return Ok((put(&Node::Leaf(entries))?, 0));
    }
    let mut children = Vec::new();
    for leaf in split(entries, 0, |e| &e.name) {
        let last = leaf.last().map(|e| e.name.clone()).unwrap_or_default();
        let bytes = sum(leaf.iter().map(|e| e.size));
        let count = leaf.len() as u64;
        children.push(Child {
            last,
            id: put(&Node::Leaf(leaf))?,
            entries: count,
            bytes,
        });
    }
    let mut level = 1;
    while children.len() > 1 {
        let mut above = Vec::new();
        for group in split(children, level, |c| &c.last) {
            if let [only] = group.as_slice() {
                above.push(only.clone());
                continue;
            }
            let last = group.last().map(|c| c.last.clone()).unwrap_or_default();
            let entries = sum(group.iter().map(|c| c.entries));
            let bytes = sum(group.iter().map(|c| c.bytes));
            let node = Node::Inner {
                level: u8::try_from(level).unwrap_or(LEVEL_MAX),
                children: group,
            };
            above.push(Child {
                last,
                id: put(&node)?,
                entries,
                bytes,
            });
        }
        children = above;
        level += 1;
    }
    Ok((children[0].id, children[0].bytes))
}

/// A file in a flat listing: path, mode, size, content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Path from the root of the tree.
    pub path: RepoPath,
    /// Never [`Mode::Tree`].
    pub mode: Mode,
    /// Bytes of the content.
    pub size: u64,
    /// The content.
    pub blob: BlobId,
}

/// A listing that no tree can hold: a path is a file and a directory at once, or is there twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is named twice, or is both a file and a directory")]
pub struct Clash {
    /// The path.
    pub path: RepoPath,
}

/// Why a tree was not written.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The listing contradicts itself.
    Clash(Clash),
    /// The sink failed.
    Sink(E),
}

/// Writes the tree of a flat listing, whatever its order; returns the root.
///
/// # Errors
/// Two files clash, or the sink fails.
pub fn write_tree<S: Sink + ?Sized>(
    files: &[FileEntry],
    sink: &mut S,
) -> Result<TreeId, WriteError<S::Error>> {
    let mut sorted: Vec<&FileEntry> = files.iter().collect();
    // By components, so that `a/x` follows `a` before `a.b`: each directory is one run.
    sorted.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    write_level(&sorted, 0, sink).map(|(id, _)| id)
}

fn write_level<S: Sink + ?Sized>(
    files: &[&FileEntry],
    depth: usize,
    sink: &mut S,
) -> Result<(TreeId, u64), WriteError<S::Error>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = files;
    while let Some(first) = rest.first() {
        let name = first.path.names().nth(depth).unwrap_or_default();
        let run = rest
            .iter()
            .take_while(|f| f.path.names().nth(depth) == Some(name))
            .count();
        let (group, tail) = rest.split_at(run);
        let is_file = first.path.names().nth(depth + 1).is_none();
        if is_file && run > 1 {
            return Err(WriteError::Clash(Clash {
                path: first.path.clone(),
            }));
        }
        entries.push(if is_file {
            Entry {
                name: name.to_vec(),
                mode: first.mode,
                size: first.size,
                id: first.blob.0,
            }
        } else {
            let (id, size) = write_level(group, depth + 1, sink)?;
            Entry {
                name: name.to_vec(),
                mode: Mode::Tree,
                size,
                id: id.0,
            }
        });
        rest = tail;
    }
    write_directory(entries, sink).map_err(WriteError::Sink)
}

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
struct Expected {
    id: TreeId,
    parent: Option<Parent>,
}

struct Parent {
    level: u8,
    child: Child,
    /// The last name of the child before; none for the first below the root.
    after: Option<Vec<u8>>,
}

impl Expected {
    fn root(id: TreeId) -> Self {
        Self { id, parent: None }
    }

    /// The children of this node in order, each with what this node says of it.
    fn below(
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
    fn load<S: Source + ?Sized>(&self, source: &S) -> Result<Node, S::Error> {
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

/// First and last name, number of entries and sum of sizes of a node. The first of an inner node
/// is only a bound: its first child's last name. `None` for an empty leaf, which is never a child.
fn summary(node: &Node) -> Option<(&[u8], &[u8], u64, u64)> {
    Some(match node {
        Node::Leaf(entries) => (
            &entries.first()?.name,
            &entries.last()?.name,
            entries.len() as u64,
            sum(entries.iter().map(|e| e.size)),
        ),
        Node::Inner { children, .. } => (
            &children.first()?.last,
            &children.last()?.last,
            sum(children.iter().map(|c| c.entries)),
            sum(children.iter().map(|c| c.bytes)),
        ),
    })
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
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
struct Bound {
    roots: Vec<TreeId>,
    seen: HashSet<TreeId>,
    repeats: bool,
    checked: bool,
}

impl Bound {
    fn new(roots: &[Option<TreeId>]) -> Self {
        Self {
            roots: roots.iter().flatten().copied().collect(),
            seen: HashSet::new(),
            repeats: false,
            checked: false,
        }
    }

    /// Called for each directory, with the number of files found so far.
    fn enter<S: Source + ?Sized>(
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

fn join<S: Source + ?Sized>(prefix: &[u8], name: &[u8]) -> Result<RepoPath, S::Error> {
    let mut bytes = prefix.to_vec();
    if !bytes.is_empty() {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(name);
    RepoPath::new(bytes)
        .map_err(|_| DecodeError::NotCanonical("path in a tree breaks a rule").into())
}

fn file_entry(path: RepoPath, entry: &Entry) -> FileEntry {
    FileEntry {
        path,
        mode: entry.mode,
        size: entry.size,
        blob: BlobId(entry.id),
    }
}

/// One path that differs between two trees. Directories never appear, only files below them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: RepoPath,
    /// What it was.
    pub old: Option<FileEntry>,
    /// What it is.
    pub new: Option<FileEntry>,
}

/// Compares two trees; costs what differs, not what is equal. Sorted by path components.
///
/// # Errors
/// A node is missing or damaged.
pub fn diff<S: Source + ?Sized>(
    source: &S,
    old: TreeId,
    new: TreeId,
) -> Result<Vec<Difference>, S::Error> {
    let mut out = Vec::new();
    let mut bound = Bound::new(&[Some(old), Some(new)]);
    diff_into(source, Some(old), Some(new), &[], &mut out, &mut bound)?;
    out.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    Ok(out)
}

fn diff_into<S: Source + ?Sized>(
    source: &S,
    old: Option<TreeId>,
    new: Option<TreeId>,
    prefix: &[u8],
    out: &mut Vec<Difference>,
    bound: &mut Bound,
) -> Result<(), S::Error> {
    if old == new {
        return Ok(());
    }
    for dir in [old, new].into_iter().flatten() {
        bound.enter(source, dir, out.len())?;
    }
    let (old, new) = differing_entries(source, old, new)?;
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        if a == b {
            continue;
        }
        let name = a
            .as_ref()
            .or(b.as_ref())
            .map(|e| e.name.clone())
            .unwrap_or_default();
        let path = join::<S>(prefix, &name)?;
        let dirs = (
            a.as_ref().and_then(Entry::tree_id),
            b.as_ref().and_then(Entry::tree_id),
        );
        let a = a
            .filter(|e| e.mode != Mode::Tree)
            .map(|e| file_entry(path.clone(), &e));
        let b = b
            .filter(|e| e.mode != Mode::Tree)
            .map(|e| file_entry(path.clone(), &e));
        if a.is_some() || b.is_some() {
            out.push(Difference {
                path: path.clone(),
                old: a,
                new: b,
            });
        }
        diff_into(source, dirs.0, dirs.1, path.as_bytes(), out, bound)?;
    }
}

/// Entries of two directories without those in nodes that both share.
fn differing_entries<S: Source + ?Sized>(
    source: &S,
    old: Option<TreeId>,
    new: Option<TreeId>,
) -> Result<(Vec<Entry>, Vec<Entry>), S::Error> {
    // Nodes still to open, with the level of their parent. The highest level is opened first, so
    // that shared nodes of two trees of different height meet.
    let mut sides = [Frontier::new(source, old)?, Frontier::new(source, new)?];
    loop {
        let shared: HashSet<TreeId> = {
            let ids: HashSet<TreeId> = sides[0].nodes.iter().map(|n| n.0.id).collect();
            sides[1]
                .nodes
                .iter()
                .map(|n| n.0.id)
                .filter(|id| ids.contains(id))
                .collect()
        };
        for side in &mut sides {
            side.nodes.retain(|n| !shared.contains(&n.0.id));
        }
        let level = sides.iter().filter_map(Frontier::level).max().unwrap_or(0);
        if level == 0 {
            let [a, b] = sides;
            return Ok((a.entries(), b.entries()));
        }
        for side in &mut sides {
            side.open(source, level)?;
        }
    }
}

struct Frontier {
    nodes: Vec<(Expected, Node)>,
}

impl Frontier {
    fn new<S: Source + ?Sized>(source: &S, root: Option<TreeId>) -> Result<Self, S::Error> {
        let nodes = match root {
            Some(id) => {
                let expected = Expected::root(id);
                let node = expected.load(source)?;
                vec![(expected, node)]
            }
            None => Vec::new(),
        };
        Ok(Self { nodes })
    }

    fn level(&self) -> Option<u8> {
        self.nodes.iter().map(|(_, n)| level_of(n)).max()
    }

    fn open<S: Source + ?Sized>(&mut self, source: &S, level: u8) -> Result<(), S::Error> {
        let mut opened = Vec::new();
        for (expected, node) in std::mem::take(&mut self.nodes) {
            match node {
                Node::Inner {
                    level: at,
                    children,
                } if at == level => {
                    for child in expected.below(at, children) {
                        let node = child.load(source)?;
                        opened.push((child, node));
                    }
                }
                other => opened.push((expected, other)),
            }
        }
        self.nodes = opened;
        Ok(())
    }

    fn entries(self) -> Vec<Entry> {
        self.nodes
            .into_iter()
            .flat_map(|(_, n)| match n {
                Node::Leaf(entries) => entries,
                Node::Inner { .. } => Vec::new(),
            })
            .collect()
    }
}

fn level_of(node: &Node) -> u8 {
    match node {
        Node::Leaf(_) => 0,
        Node::Inner { level, .. } => *level,
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
