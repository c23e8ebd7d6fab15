//! What an image is: of which commit, and what each layer holds. Every digest is checked on the way,
//! so what is shown is what is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use modelv_repo::Cancel;
use serde::Serialize;
use serde_json::Value;

use crate::attest::attached;
use crate::error::{Error, Result};
use crate::layer::HashingRead;
use crate::layout::{blob_path, read_json, read_manifest};
use crate::packer::Watched;
use crate::packing::Packing;
use crate::pull::{Source, Whole};

/// Folders of a layer that are shown.
const FOLDERS_MAX: usize = 3;
/// How deep they lie.
const DEPTH: usize = 3;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Digest of the manifest.
    pub digest: String,
    /// Digest of the configuration.
    pub config: String,
    /// The commit it was made from, if its labels name one.
    pub commit: Option<String>,
    /// When that commit was made.
    pub created: String,
    /// `user:group` it runs as.
    pub user: String,
    /// What its labels say.
    pub labels: BTreeMap<String, String>,
    /// Bottom to top.
    pub layers: Vec<LayerContent>,
    /// What lies beside it in its layout.
    pub beside: Vec<Beside>,
}

/// A manifest that belongs to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// Its kind, as a media type.
    pub kind: String,
    /// Digest of the manifest.
    pub digest: String,
    /// Bytes of all that it names.
    pub size: u64,
    /// Bytes of it that the image has, too.
    pub shared: u64,
}

/// A layer and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerContent {
    /// What it is said to hold.
    pub name: String,
    /// SHA-256 of the blob.
    pub digest: String,
    /// SHA-256 of the tar inside.
    pub diff_id: String,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of all files.
    pub unpacked: u64,
    /// Number of files and links.
    pub files: u64,
    /// The folders that weigh most, and what they weigh.
    pub folders: Vec<(String, u64)>,
}

/// Reads an image through, wherever it is.
///
/// # Errors
/// It is none, is damaged, its registry can't be reached, or it was interrupted.
pub fn inspect(source: &Source, cancel: &Cancel) -> Result<Inspection> {
    Whole::open(source, cancel)?.ask(|layout| inspect_layout(layout, cancel))
}

/// Reads an image layout through.
pub(crate) fn inspect_layout(layout: &Path, cancel: &Cancel) -> Result<Inspection> {
    let (digest, manifest) = read_manifest(layout)?;
    let config_digest = text(&manifest["config"]["digest"]);
    let config = read_json(layout, &config_digest)?;
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap_or(&empty);
    if layers.len() != diff_ids.len() {
        let detail = "its manifest and its configuration name different layers".to_owned();
        return Err(damaged(layout, detail));
    }
    let labels: BTreeMap<String, String> = config["config"]["Labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect();
    let layers = layers
        .iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| read_layer(layout, layer, &text(diff_id), cancel))
        .collect::<Result<_>>();
    // Whatever an interrupt broke, the interrupt is the reason.
    cancel.check()?;
    Ok(Inspection {
        digest,
        config: config_digest,
        commit: labels.get("dev.modelv.commit").cloned(),
        created: text(&config["created"]),
        user: text(&config["config"]["User"]),
        labels,
        beside: beside(layout, &manifest)?,
        layers: layers?,
    })
}

fn beside(layout: &Path, image: &Value) -> Result<Vec<Beside>> {
    let layers = image["layers"].as_array().into_iter().flatten();
    let own: Vec<&Value> = layers.map(|layer| &layer["digest"]).collect();
    let mut out = Vec::new();
    for descriptor in attached(layout)? {
        let digest = text(&descriptor["digest"]);
        let manifest = read_json(layout, &digest)?;
        let parts = manifest["layers"].as_array().into_iter().flatten();
        let parts: Vec<(bool, u64)> = parts
            .map(|part| {
                (
                    own.contains(&&part["digest"]),
                    part["size"].as_u64().unwrap_or(0),
                )
            })
            .collect();
        let shared = parts.iter().filter(|(is_shared, _)| *is_shared);
        out.push(Beside {
            kind: text(&descriptor["artifactType"]),
            digest,
            size: parts.iter().map(|(_, size)| size).sum(),
            shared: shared.map(|(_, size)| size).sum(),
        });
    }
    Ok(out)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn damaged(layout: &Path, detail: String) -> Error {
    Error::Image {
        image: layout.display().to_string(),
        detail,
    }
}

fn read_layer(
    layout: &Path,
    layer: &Value,
    diff_id: &str,
    cancel: &Cancel,
) -> Result<LayerContent> {
    let digest = text(&layer["digest"]);
    let path = blob_path(layout, &digest)?;
    let bad = |e: std::io::Error| damaged(layout, format!("layer `{digest}`: {e}"));
    let file = File::open(&path).map_err(Error::io("read", &path))?;
    let size = file.metadata().map_err(Error::io("read", &path))?.len();
    let mut blob = HashingRead::new(Watched::new(file, cancel));
    let media = text(&layer["mediaType"]);
    let unread = || damaged(layout, format!("layer `{digest}` is `{media}`, no tar"));
    let packing = Packing::of_media(&media).ok_or_else(unread)?;
    let (found, weights) = packing.decode(&mut blob).and_then(weigh).map_err(bad)?;
    std::io::copy(&mut blob, &mut std::io::sink()).map_err(bad)?;
    for (found, want) in [(blob.digest(), digest.as_str()), (found, diff_id)] {
        if found != want {
            return Err(damaged(layout, format!("layer `{digest}` has other bytes")));
        }
    }
    let mut folders: Vec<(String, u64)> = weights.folders.into_iter().collect();
    folders.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    folders.truncate(FOLDERS_MAX);
    Ok(LayerContent {
        name: text(&layer["annotations"]["dev.modelv.layer"]),
        digest,
        diff_id: diff_id.to_owned(),
        size,
        unpacked: weights.bytes,
        files: weights.files,
        folders,
    })
}

#[derive(Default)]
struct Weights {
    files: u64,
    bytes: u64,
    folders: BTreeMap<String, u64>,
}

/// Adds up the files of a tar; returns its digest too.
fn weigh(input: impl Read) -> std::io::Result<(String, Weights)> {
    let mut input = HashingRead::new(input);
    let mut out = Weights::default();
    for entry in tar::Archive::new(&mut input).entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut parts: Vec<&str> = path
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        parts.pop();
        parts.truncate(DEPTH);
        out.files += 1;
        out.bytes += entry.size();
        *out.folders.entry(parts.join("/")).or_default() += entry.size();
    }
    std::io::copy(&mut input, &mut std::io::sink())?;
    Ok((input.digest(), out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Content, Files};

    #[test]
    fn a_tar_is_added_up() {
        let mut files = Files::default();
        for (name, len) in [("a/b/c/d/e", 10), ("a/b/c/f", 5), ("a/g", 7), ("top", 1)] {
            files.add_file(name, false, Content::Bytes(vec![0; len]));
        }
        let mut tar = Vec::new();
        crate::layer::write_tar(&mut tar, &files, None).unwrap();
        let (digest, weights) = weigh(tar.as_slice()).unwrap();
        assert_eq!((weights.files, weights.bytes), (4, 23));
        let folders: Vec<(&str, u64)> = weights.folders.iter().map(|(k, v)| (&**k, *v)).collect();
        assert_eq!(folders, [("", 1), ("a", 7), ("a/b/c", 15)]);
        assert_eq!(digest, weigh(tar.as_slice()).unwrap().0);
    }
}
