//! Writing directories, and trees of flat listings.

use super::{Child, Entry, LEVEL_MAX, Mode, Node, Sink, node_id, split, sum};
use crate::id::{BlobId, TreeId};
use crate::path::RepoPath;

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
