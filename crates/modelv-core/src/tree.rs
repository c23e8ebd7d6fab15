//! Trees: sorted directory values, split into nodes by the hash of names, so that a large
//! directory costs what changed in it. See `spec/tree.md`.
//!
//! The split depends on the set of names and on nothing else: equal directories have equal ids
//! whatever their history.

mod diff;
mod patch;
mod read;
mod write;

use bincode::{Decode, Encode};

use crate::canon::{self, DecodeError, Kind, Object};
use crate::id::{BlobId, TreeId};
use crate::path::check_name;

pub use diff::{Difference, diff};
pub use patch::{Edit, patch_tree};
pub use read::{find, list, read_directory, verify_directory};
pub use write::{Clash, FileEntry, WriteError, write_directory, write_tree};

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

fn level_of(node: &Node) -> u8 {
    match node {
        Node::Leaf(_) => 0,
        Node::Inner { level, .. } => *level,
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
