//! The vectors of `spec/vectors` through this crate's codec, their law, and the examples of the pages.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

#[path = "vectors/read.rs"]
mod read;

use std::collections::{BTreeMap, HashMap};

use modelv_core::canon::{self, DecodeError, Kind, Object, Source};
use modelv_core::commit::{Commit, Recipe};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, ChunkId, TreeId, to_hex};
use modelv_core::path::RepoPath;
use modelv_core::run::Run;
use modelv_core::stage::Stage;
use modelv_core::tree::{self, Entry, IdOnly, Mode, Node};
use serde_json::{Value, json};

use read::{Vector, check, content, load, root, unhex};

/// Decodes, encodes again, and names the object.
fn object<T: Object>(bytes: &[u8]) -> Result<Value, String> {
    let value: T = canon::decode(bytes).map_err(|e| e.to_string())?;
    if canon::encode(&value).map_err(|e| e.to_string())? != bytes {
        return Err("encoded to other bytes".into());
    }
    Ok(json!({"id": to_hex(&canon::hash(T::KIND, bytes))}))
}

fn read_object(vector: &Vector) -> Result<Value, String> {
    match vector.kind() {
        "directory" => return directory(vector),
        "names" => return Ok(json!({"id": names(vector).to_hex()})),
        _ => {}
    }
    let bytes = vector.bytes();
    match vector.kind() {
        "tree" => object::<Node>(&bytes),
        "env" => object::<Env>(&bytes),
        "recipe" => object::<Recipe>(&bytes),
        "commit" => object::<Commit>(&bytes),
        "run" => object::<Run>(&bytes),
        "stage" => object::<Stage>(&bytes),
        "blob" => Ok(json!({"id": BlobId::of(&bytes).to_hex()})),
        "path" => {
            let path = RepoPath::new(bytes).map_err(|e| e.to_string())?;
            Ok(json!({"names": path.names().count()}))
        }
        "chunk" => Ok(json!({"id": ChunkId::of(&bytes).to_hex()})),
        "text-id" => {
            let text = std::str::from_utf8(&bytes).map_err(|e| e.to_string())?;
            let id = TreeId::from_hex(text).map_err(|e| e.to_string())?;
            Ok(json!({"id": id.to_hex()}))
        }
        other => panic!("unknown kind {other}"),
    }
}

struct Nodes(HashMap<[u8; 32], Vec<u8>>);

#[derive(Debug, thiserror::Error)]
enum NodeError {
    #[error("a node is missing")]
    Missing,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Source for Nodes {
    type Error = NodeError;
    fn load_bytes(&self, _: Kind, id: &[u8; 32]) -> Result<Vec<u8>, NodeError> {
        self.0.get(id).cloned().ok_or(NodeError::Missing)
    }
}

fn directory(vector: &Vector) -> Result<Value, String> {
    let nodes = vector.json["nodes"].as_array().unwrap();
    let nodes = Nodes(
        nodes
            .iter()
            .map(content)
            .map(|b| (canon::hash(Kind::Tree, &b), b))
            .collect(),
    );
    let id = TreeId::from_hex(vector.json["root"].as_str().unwrap()).unwrap();
    let entries = tree::verify_directory(&nodes, id).map_err(|e| e.to_string())?;
    let bytes: u64 = entries.iter().map(|e| e.size).sum();
    Ok(json!({"entries": entries.len(), "bytes": bytes}))
}

fn names(vector: &Vector) -> TreeId {
    let any = vector.json["without_borders"].is_null();
    let entries = (0u64..)
        .map(|n| (n, format!("{n:05}").into_bytes()))
        .filter(|(_, name)| any || blake3::hash(name).as_bytes()[0] != 0)
        .take(usize::try_from(vector.json["count"].as_u64().unwrap()).unwrap())
        .map(|(size, name)| Entry {
            name,
            mode: Mode::File,
            size,
            id: [0; 32],
        })
        .collect();
    let Ok((id, _)) = tree::write_directory(entries, &mut IdOnly);
    id
}

#[test]
fn ids() {
    check(&load("ids"), read_object);
}

#[test]
fn objects() {
    check(&load("object"), read_object);
}

#[test]
fn trees() {
    check(&load("tree"), read_object);
}

#[test]
fn paths() {
    let vectors = load("path");
    let refused = vectors.iter().filter(|v| v.breaks().is_some()).count();
    assert!(refused >= 150, "{refused}");
    check(&vectors, read_object);
}

#[test]
fn commits() {
    check(&load("commit"), read_object);
}

#[test]
fn envs() {
    check(&load("env"), read_object);
}

#[test]
fn runs() {
    check(&load("run"), read_object);
}

const FOLDERS: [&str; 15] = [
    "ids",
    "object",
    "tree",
    "commit",
    "env",
    "run",
    "blob",
    "pack",
    "pack-index",
    "oplog",
    "path",
    "layout",
    "gc",
    "merge-state",
    "external",
];

/// BLAKE3 of what stands in `spec/vectors`, by name.
fn sums() -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for vector in FOLDERS.iter().flat_map(|folder| load(folder)) {
        let sum = blake3::hash(vector.json.to_string().as_bytes());
        out.insert(vector.name, sum.to_hex().to_string());
    }
    let mut folders = vec![root().join("repository-1")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let sum = blake3::hash(&std::fs::read(&path).unwrap());
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            out.insert(name, sum.to_hex().to_string());
        }
    }
    out
}

#[test]
fn no_vector_changes_or_vanishes() {
    let sums = sums();
    let lines = std::fs::read_to_string(root().join("CHECKSUMS")).unwrap();
    let known: BTreeMap<&str, &str> = lines
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(sum, name)| (name, sum))
        .collect();
    for (name, sum) in &known {
        let now = sums.get(*name).map(String::as_str);
        assert_eq!(now, Some(*sum), "`{name}` changed or vanished");
    }
    for name in sums.keys() {
        assert!(
            known.contains_key(name.as_str()),
            "`{name}` has no checksum"
        );
    }
}

/// The bytes of a block of the form `offset  digits  words`, with `*` for lines that repeat.
fn dump(block: &str) -> Vec<u8> {
    let (mut out, mut line_before, mut repeats) = (Vec::new(), Vec::new(), false);
    for line in block.lines() {
        if line == "*" {
            repeats = true;
            continue;
        }
        let offset = usize::from_str_radix(&line[..4], 16).unwrap();
        while std::mem::take(&mut repeats) || out.len() < offset {
            assert!(out.len() < offset, "{line}");
            out.extend(&line_before);
        }
        assert_eq!(out.len(), offset, "{line}");
        line_before = unhex(&line[6..line.len().min(53)].replace(' ', ""));
        out.extend(&line_before);
    }
    out
}

#[test]
fn examples_of_the_pages_are_vectors() {
    // The last five are described on pages of others, too large to print, or plain text.
    for &folder in &FOLDERS[..FOLDERS.len() - 5] {
        let page = root().join(format!("../{folder}.md"));
        let text = std::fs::read_to_string(&page).unwrap();
        let (_, rest) = text.split_once("```hex ").unwrap();
        let (name, rest) = rest.split_once('\n').unwrap();
        let (block, _) = rest.split_once("\n```").unwrap();
        let vector = load(folder)
            .into_iter()
            .find(|v| v.name == name)
            .unwrap_or_else(|| panic!("{name} is no vector"));
        let bytes = match vector.json["files"].as_object() {
            Some(files) => {
                let suffix = if folder == "pack" { ".pack" } else { ".idx" };
                content(files.iter().find(|(k, _)| k.ends_with(suffix)).unwrap().1)
            }
            None => vector.bytes(),
        };
        assert_eq!(to_hex(&dump(block)), to_hex(&bytes), "{name}");
    }
}
