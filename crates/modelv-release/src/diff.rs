//! What differs between two images, and what a machine that has one of them pulls to get the other. Layers
//! that both have are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use modelv_repo::Cancel;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::layer::HashingRead;
use crate::layout::damaged;
use crate::packer::Watched;
use crate::packing::Packing;
use crate::pull::{Pulled, Source, text};

/// Two images side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageDiff {
    /// The first.
    pub old: Side,
    /// The second.
    pub new: Side,
    /// Bytes that whoever has the first pulls to get the second: layers, configuration and manifest.
    pub pull_bytes: u64,
    /// Layers of the first that the second does not have.
    pub removed: Vec<LayerName>,
    /// Layers of the second that the first does not have.
    pub added: Vec<LayerName>,
    /// How many layers both have.
    pub shared: usize,
    /// Bytes of those.
    pub shared_bytes: u64,
    /// Python packages by name, with the version in each.
    pub packages: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Files by path, and what happened to each.
    pub files: BTreeMap<String, Change>,
}

/// One of the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// What it was called.
    pub image: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The commit it was made from, if it says so.
    pub commit: Option<String>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerName {
    /// What it is said to hold.
    pub name: String,
    /// SHA-256 of the blob.
    pub digest: String,
    /// Bytes of the blob.
    pub size: u64,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, with other bytes or another mode.
    Changed,
}

impl Side {
    fn of(pulled: &Pulled<'_>) -> Self {
        Self {
            image: pulled.shown.clone(),
            digest: pulled.digest.clone(),
            commit: pulled.label("dev.modelv.commit"),
        }
    }
}

/// Files by path: what they hold, how they are.
pub(crate) type Found = BTreeMap<Vec<u8>, (String, u32)>;

/// Compares two images.
///
/// # Errors
/// One of them is missing or damaged, its registry can't be reached, or it was interrupted.
pub fn diff(old: &Source, new: &Source, cancel: &Cancel) -> Result<ImageDiff> {
    let mut a = Pulled::open(old, cancel)?;
    let mut b = Pulled::open(new, cancel)?;
    let (in_a, in_b) = (digests(&a.layers()), digests(&b.layers()));
    let only = |pulled: &Pulled<'_>, other: &BTreeSet<String>| -> Vec<Value> {
        let layers = pulled.layers().into_iter();
        layers
            .filter(|l| !other.contains(&text(&l["digest"])))
            .collect()
    };
    let (removed, added) = (only(&a, &in_b), only(&b, &in_a));
    let shared: Vec<Value> = b
        .layers()
        .into_iter()
        .filter(|l| in_a.contains(&text(&l["digest"])))
        .collect();
    let (mut before, mut after) = (Found::new(), Found::new());
    for (pulled, layers, found) in [
        (&mut a, &removed, &mut before),
        (&mut b, &added, &mut after),
    ] {
        for layer in layers {
            read_layer(pulled, layer, found, cancel)?;
        }
    }
    // Whatever an interrupt broke, the interrupt is the reason.
    cancel.check()?;
    let size = |layers: &[Value]| {
        let sizes = layers.iter().filter_map(|l| l["size"].as_u64());
        sizes.fold(0u64, u64::saturating_add)
    };
    let small = match a.digest == b.digest {
        true => 0,
        false => {
            let config = b.manifest["config"]["size"].as_u64().unwrap_or(0);
            config + b.manifest.to_string().len() as u64
        }
    };
    Ok(ImageDiff {
        old: Side::of(&a),
        new: Side::of(&b),
        pull_bytes: size(&added) + small,
        shared: shared.len(),
        shared_bytes: size(&shared),
        packages: packages(&before, &after),
        files: files(&before, &after),
        removed: removed.iter().map(layer_name).collect(),
        added: added.iter().map(layer_name).collect(),
    })
}

fn digests(layers: &[Value]) -> BTreeSet<String> {
    layers.iter().map(|l| text(&l["digest"])).collect()
}

fn layer_name(layer: &Value) -> LayerName {
    LayerName {
        name: text(&layer["annotations"]["dev.modelv.layer"]),
        digest: text(&layer["digest"]),
        size: layer["size"].as_u64().unwrap_or(0),
    }
}

fn read_layer(
    pulled: &mut Pulled<'_>,
    layer: &Value,
    found: &mut Found,
    cancel: &Cancel,
) -> Result<()> {
    let digest = text(&layer["digest"]);
    let path = pulled.blob(&digest, layer["size"].as_u64().unwrap_or(u64::MAX))?;
    let shown = std::path::PathBuf::from(&pulled.shown);
    read_blob(&path, &digest, found, cancel).map_err(|e| e.of(&shown))
}

/// Adds the files of a layer that lies at `path`.
pub(crate) fn read_blob(
    path: &Path,
    digest: &str,
    found: &mut Found,
    cancel: &Cancel,
) -> Result<()> {
    let bad = |detail: String| damaged(path, format!("layer `{digest}`: {detail}"));
    let packing = Packing::of(path)?.map_err(bad)?;
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut blob = HashingRead::new(Watched::new(file, cancel));
    let read = packing
        .decode(&mut blob)
        .and_then(|input| list(input, found))
        .and_then(|()| std::io::copy(&mut blob, &mut std::io::sink()));
    read.map_err(|e| bad(e.to_string()))?;
    match blob.digest() == digest {
        true => Ok(()),
        false => Err(damaged(path, format!("layer `{digest}` has other bytes"))),
    }
}

/// Adds the files of a tar, and takes away what it takes away.
fn list(input: Box<dyn Read + '_>, found: &mut Found) -> std::io::Result<()> {
    let mut input = input;
    for entry in tar::Archive::new(&mut input).entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        let at = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        if path[at..] == *b".wh..wh..opq" {
            found.retain(|p, _| !p.starts_with(&path[..at]));
            continue;
        }
        if let Some(gone) = path[at..].strip_prefix(b".wh.") {
            let gone = [&path[..at], gone].concat();
            let below = [gone.as_slice(), b"/"].concat();
            found.retain(|p, _| *p != gone && !p.starts_with(&below));
            continue;
        }
        let kind = entry.header().entry_type();
        let mode = entry.header().mode()?;
        if kind.is_dir() {
            continue;
        }
        let content = match entry.link_name_bytes() {
            Some(target) => format!("-> {}", String::from_utf8_lossy(&target)),
            None => {
                let mut hasher = Sha256::new();
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let n = entry.read(&mut buffer)?;
                    if n == 0 {
                        break;
                    }
                    hasher.update(&buffer[..n]);
                }
                modelv_repo::core::id::to_hex(&hasher.finalize())
            }
        };
        found.insert(path, (content, mode & 0o7777));
    }
    std::io::copy(&mut input, &mut std::io::sink())?;
    Ok(())
}

/// Packages by the folders that installers write for them: `NAME-VERSION.dist-info`.
fn versions(found: &Found) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for path in found.keys() {
        let path = String::from_utf8_lossy(path);
        let Some(folder) = path.strip_suffix("/METADATA") else {
            continue;
        };
        let folder = folder.rsplit('/').next().unwrap_or_default();
        let stem = folder.strip_suffix(".dist-info");
        if let Some((name, version)) = stem.and_then(|s| s.split_once('-')) {
            let name = name.to_lowercase().replace(['_', '.'], "-");
            out.insert(name, version.to_owned());
        }
    }
    out
}

fn packages(before: &Found, after: &Found) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let (old, new) = (versions(before), versions(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| {
            (
                name.clone(),
                (old.get(name).cloned(), new.get(name).cloned()),
            )
        })
        .collect()
}

pub(crate) fn files(before: &Found, after: &Found) -> BTreeMap<String, Change> {
    let paths: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let change = |path: &Vec<u8>| match (before.get(path), after.get(path)) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (a, b) => (a != b).then_some(Change::Changed),
    };
    let shown = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    paths
        .into_iter()
        .filter_map(|path| Some((shown(path), change(path)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Content, Files, write_tar};

    fn found(files: &[(&str, &str)], before: Found) -> Found {
        let mut all = Files::default();
        for (name, bytes) in files {
            all.add_file(*name, false, Content::Bytes(bytes.as_bytes().to_vec()));
        }
        let mut tar = Vec::new();
        write_tar(&mut tar, &all, None).unwrap();
        let mut out = before;
        list(Box::new(tar.as_slice()), &mut out).unwrap();
        out
    }

    #[test]
    fn files_and_packages_are_compared() {
        let site = "opt/modelv/site-packages";
        let meta = |name: &str| format!("{site}/{name}.dist-info/METADATA");
        let (one, two, gone) = (meta("Big_One-1.0"), meta("Big_One-2.0"), meta("x-1"));
        let before = found(
            &[("a", "1"), ("b", "2"), (&one, ""), (&gone, "")],
            Found::new(),
        );
        let after = found(
            &[("a", "1"), ("b", "3"), ("c", ""), (&two, "")],
            Found::new(),
        );
        let some = |v: &str| Some(v.to_owned());
        let want = BTreeMap::from([
            ("big-one".to_owned(), (some("1.0"), some("2.0"))),
            ("x".to_owned(), (some("1"), None)),
        ]);
        assert_eq!(packages(&before, &after), want);
        let changes = files(&before, &after);
        assert_eq!(changes.get("a"), None);
        assert_eq!(changes["b"], Change::Changed);
        assert_eq!(changes["c"], Change::Added);
        assert_eq!(changes[&one], Change::Removed);
    }

    #[test]
    fn a_whiteout_takes_away_what_is_below() {
        let below = found(&[("d/x", "1"), ("d/y/z", "2"), ("dx", "3")], Found::new());
        let left = found(&[(".wh.d", "")], below);
        let names: Vec<&[u8]> = left.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"dx"[..]]);
        let below = found(&[("d/x", "1"), ("d/y/z", "2"), ("dx", "3")], Found::new());
        let left = found(&[("d/.wh..wh..opq", ""), ("d/new", "")], below);
        let names: Vec<&[u8]> = left.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"d/new"[..], b"dx"]);
    }
}
