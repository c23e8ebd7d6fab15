//! Comparing trees: nodes that both share are never opened.

use std::collections::HashSet;

use super::read::{Bound, Expected, file_entry, join};
use super::{Entry, FileEntry, Mode, Node, level_of};
use crate::canon::Source;
use crate::id::TreeId;
use crate::path::RepoPath;

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
