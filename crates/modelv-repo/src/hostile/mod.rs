//! Names that no tree may hold, tried at every gate; and checkouts of hostile commits into hostile
//! working trees, after which nothing outside has changed. Tests alone.
//!
//! Trees are encoded by hand here, for no function of the product makes such ones.

mod checkout;
mod gates;

use modelv_core::canon::{self, Kind};
use modelv_core::tree::Mode;

/// Paths of `spec/vectors/path`: the name of the vector, the bytes, and whether it must be refused.
fn paths() -> Vec<(String, Vec<u8>, bool)> {
    let each = crate::vectors::of("path").into_iter().map(|vector| {
        let name = vector.said["name"].as_str().unwrap().to_owned();
        (name, vector.bytes, !vector.said["breaks"].is_null())
    });
    each.collect()
}

/// An entry of a tree, with whatever name.
#[derive(Clone)]
struct RawEntry {
    name: Vec<u8>,
    mode: Mode,
    size: u64,
    id: [u8; 32],
}

fn number(n: u64) -> Vec<u8> {
    match n {
        0..251 => vec![u8::try_from(n).unwrap()],
        251..0x1_0000 => [&[251], &n.to_le_bytes()[..2]].concat(),
        _ => [&[253], &n.to_le_bytes()[..]].concat(),
    }
}

/// The bytes of a leaf (spec/tree.md), whatever its entries are; and its id.
fn raw_leaf(entries: &[RawEntry]) -> ([u8; 32], Vec<u8>) {
    let mut out = b"MODELV\x01\x01\x00".to_vec();
    out.extend(number(entries.len() as u64));
    for entry in entries {
        out.extend(number(entry.name.len() as u64));
        out.extend(&entry.name);
        out.push(entry.mode as u8);
        out.extend(number(entry.size));
        out.extend(entry.id);
    }
    (canon::hash(Kind::Tree, &out), out)
}

/// Nodes from the leaf up whose one file has this path; the last is the root.
fn raw_path(names: &[&[u8]], file: &RawEntry) -> Vec<([u8; 32], Vec<u8>)> {
    let mut nodes: Vec<([u8; 32], Vec<u8>)> = Vec::new();
    for name in names.iter().rev() {
        let mut entry = RawEntry {
            name: name.to_vec(),
            ..file.clone()
        };
        if let Some((below, _)) = nodes.last() {
            (entry.mode, entry.id) = (Mode::Tree, *below);
        }
        nodes.push(raw_leaf(&[entry]));
    }
    nodes
}

/// How often a test with random cases tries, unless the long form says another number.
fn cases(usual: usize) -> usize {
    let told = std::env::var("MODELV_HOSTILE_CASES").ok();
    told.map_or(usual, |n| n.parse().unwrap())
}

#[test]
fn raw_trees_are_those_of_the_encoder() {
    use modelv_core::tree::{Entry, Node};
    let id = [7; 32];
    for (name, mode, size) in [("a", Mode::File, 3), ("long", Mode::Symlink, 1 << 20)] {
        let entry = Entry {
            name: name.into(),
            mode,
            size: size >> 12,
            id,
        };
        let raw = RawEntry {
            name: name.into(),
            mode,
            size: size >> 12,
            id,
        };
        let (raw_id, bytes) = raw_leaf(&[raw]);
        let node = Node::Leaf(vec![entry]);
        assert_eq!(canon::encode(&node).unwrap(), bytes);
        assert_eq!(canon::id_of(&node), raw_id);
    }
}
