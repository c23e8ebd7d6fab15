//! The model alone, as a CNCF ModelPack (model-spec, `docs/spec.md` and `docs/config.md`): a manifest beside the
//! image that names the layers of the image which hold the model. No byte of it is stored or sent twice.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::layout::{MANIFEST, damaged, put_json, read_bounded};
use crate::packing::Packing;
use crate::steps::{BUNDLE, Made, SINGLE};

pub(crate) const KIND: &str = "application/vnd.cncf.model.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.tar";

/// What its configuration says, beside the layers.
pub(crate) struct About {
    pub(crate) created: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) commit: String,
}

/// The file that a layer holds alone.
fn single(made: &Made) -> Option<&str> {
    made.name.strip_prefix(SINGLE)
}

fn is_model(made: &&Made) -> bool {
    made.name == BUNDLE || single(made).is_some()
}

fn media_type(packing: Packing) -> String {
    match packing {
        Packing::None => WEIGHT.to_owned(),
        Packing::Gzip => format!("{WEIGHT}+gzip"),
        Packing::Zstd => format!("{WEIGHT}+zstd"),
    }
}

/// What every tar of ours says of a file (`layer.rs`).
fn metadata(path: &str, size: u64) -> String {
    json!({
        "name": path, "mode": 0o644, "uid": 0, "gid": 0, "size": size, "mtime": "1970-01-01T00:00:00Z",
        "typeflag": b'0',
    })
    .to_string()
}

fn layer(made: &Made) -> Value {
    let mut notes = json!({});
    match (single(made), made.unpacked) {
        (Some(path), Some(size)) => {
            notes["org.cncf.model.filepath"] = json!(path);
            notes["org.cncf.model.file.metadata+json"] = json!(metadata(path, size));
        }
        // Weights and what describes them, in one.
        _ => notes["org.cncf.model.file.mediatype.untested"] = json!("true"),
    }
    json!({
        "mediaType": media_type(made.layer.packing), "digest": made.layer.digest, "size": made.layer.size,
        "annotations": notes,
    })
}

/// The format of the weights, where all files that lie alone have the same.
fn format_of(layers: &[&Made]) -> Option<String> {
    let mut ends = layers.iter().filter_map(|made| {
        let (_, end) = single(made)?.rsplit_once('.')?;
        Some(end.to_ascii_lowercase())
    });
    let first = ends.next()?;
    ends.all(|end| end == first).then_some(first)
}

/// Writes a ModelPack of the layers of an image beside it.
pub(crate) fn attach(dir: &Path, layers: &[Made], about: &About) -> Result<()> {
    let layers: Vec<&Made> = layers.iter().filter(is_model).collect();
    if layers.is_empty() {
        return Err(Error::NoWeights {
            commit: about.version.clone(),
        });
    }
    let blobs = dir.join("blobs/sha256");
    let mut config = json!({
        "descriptor": {
            "createdAt": about.created, "name": about.name, "version": about.version,
            "description": about.description, "revision": about.commit,
        },
        "config": {},
        "modelfs": {
            "type": "layers",
            "diffIds": layers.iter().map(|made| made.layer.diff_id.clone()).collect::<Vec<_>>(),
        },
    });
    if let Some(format) = format_of(&layers) {
        config["config"]["format"] = json!(format);
    }
    let (digest, size) = put_json(&blobs, &config)?;
    let path = dir.join("index.json");
    let bytes = read_bounded(dir, &path)?;
    let mut index: Value =
        serde_json::from_slice(&bytes).map_err(|e| damaged(dir, e.to_string()))?;
    let image = &index["manifests"][0];
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": KIND,
        "config": {"mediaType": CONFIG, "digest": digest, "size": size},
        "layers": layers.iter().map(|made| layer(made)).collect::<Vec<_>>(),
        "subject": {"mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"]},
        "annotations": {
            "org.opencontainers.image.created": about.created,
            "org.opencontainers.image.revision": about.commit,
            "org.opencontainers.image.title": about.name,
        },
    });
    let (digest, size) = put_json(&blobs, &manifest)?;
    if let Some(list) = index["manifests"].as_array_mut() {
        list.push(json!({
            "mediaType": MANIFEST, "artifactType": KIND, "digest": digest, "size": size,
            "annotations": {"org.opencontainers.image.ref.name": tag_of(&about.name)},
        }));
    }
    std::fs::write(&path, index.to_string()).map_err(Error::io("write", &path))
}

/// The tag of the model beside the image with a tag.
pub(crate) fn tag_of(tag: &str) -> String {
    const END: &str = "-model";
    // Registries take tags of so many characters; all of them are ASCII.
    let most = crate::reference::TAG_BYTES_MAX - END.len();
    let start = tag.get(..most).unwrap_or(tag);
    format!("{start}{END}")
}
