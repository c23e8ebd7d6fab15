//! OCI image layouts: manifest, configuration and index as canonical JSON, and the tar `docker load`
//! takes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use modelv_repo::Cancel;
use modelv_repo::core::id::to_hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::layer::{Layer, digits};
use crate::place::write_file;
use crate::reference::check_reference;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// What it holds.
    pub name: String,
    /// SHA-256 of the blob.
    pub digest: String,
    /// SHA-256 of the tar inside.
    pub diff_id: String,
    /// Bytes of the blob.
    pub size: u64,
    /// Whether it was there already.
    pub cached: bool,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Largest index, manifest or configuration that is read. Registries take 4 MiB.
const JSON_BYTES_MAX: u64 = 16 << 20;
/// Nobody, by number: an image need not have a table of users.
const USER: &str = "65532:65532";
const SERVER: &str = "/opt/modelv/bin/modelv";
const IMAGE_FILE: &str = "/opt/modelv/image.json";

/// Facts of an image beside its layers.
pub(crate) struct About {
    pub(crate) created: String,
    pub(crate) architecture: &'static str,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) env: Vec<String>,
    pub(crate) reference: String,
}

/// Writes a blob named by its digest. `serde_json` sorts keys, so equal values are equal bytes.
fn put_json(blobs: &Path, value: &Value) -> Result<(String, usize)> {
    let bytes = value.to_string().into_bytes();
    let digest = format!("sha256:{}", to_hex(&Sha256::digest(&bytes)));
    let path = blobs.join(digits(&digest));
    std::fs::write(&path, &bytes).map_err(Error::io("write", &path))?;
    Ok((digest, bytes.len()))
}

/// Writes configuration, manifest and index; returns the digests of manifest and configuration.
pub(crate) fn write(
    dir: &Path,
    layers: &[(String, Layer)],
    about: &About,
) -> Result<(String, String)> {
    let blobs = dir.join("blobs/sha256");
    let history: Vec<Value> = layers
        .iter()
        .map(|(name, _)| json!({"created": about.created, "created_by": format!("modelv: {name}")}))
        .collect();
    let config = json!({
        "architecture": about.architecture,
        "os": "linux",
        "created": about.created,
        "config": run_config(about),
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|(_, l)| l.diff_id.clone()).collect::<Vec<_>>(),
        },
        "history": history,
    });
    let (config_digest, config_size) = put_json(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config_digest, "size": config_size},
        "layers": layers.iter().map(|(name, l)| json!({
            "mediaType": LAYER, "digest": l.digest, "size": l.size,
            "annotations": {"dev.modelv.layer": name},
        })).collect::<Vec<_>>(),
        "annotations": about.labels,
    });
    let (digest, size) = put_json(&blobs, &manifest)?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": {"architecture": about.architecture, "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": about.reference},
        }],
    });
    for (name, value) in [
        ("index.json", index),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, value.to_string()).map_err(Error::io("write", &path))?;
    }
    Ok((digest, config_digest))
}

/// How the image is started. OCI reserves `Healthcheck` for engines that know it, as Docker does;
/// its times are nanoseconds.
fn run_config(about: &About) -> Value {
    const SECOND: u64 = 1_000_000_000;
    let serve = [SERVER, "serve", "--image", IMAGE_FILE];
    json!({
        "User": USER,
        "ExposedPorts": {"8080/tcp": {}},
        "Env": about.env,
        "Entrypoint": serve,
        "WorkingDir": "/opt/modelv/app",
        "Labels": about.labels,
        "StopSignal": "SIGTERM",
        "Healthcheck": {
            "Test": ["CMD", SERVER, "serve", "--image", IMAGE_FILE, "--probe"],
            "Interval": 10 * SECOND,
            "Timeout": 5 * SECOND,
            "StartPeriod": 60 * SECOND,
            "Retries": 3,
        },
    })
}

pub(crate) fn check_digest(image: &Path, digest: &str, bytes: &[u8]) -> Result<()> {
    if digits(digest) == to_hex(&Sha256::digest(bytes)) {
        return Ok(());
    }
    let detail = format!("blob `{digest}` has other bytes");
    Err(damaged(image, detail))
}

/// Where a blob lies. A digest comes from a file that anyone may have written, so nothing but one
/// becomes a path.
pub(crate) fn blob_path(dir: &Path, digest: &str) -> Result<PathBuf> {
    let digits = digits(digest);
    let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() == 64 && digits.bytes().all(is_lower_hex) {
        return Ok(dir.join("blobs/sha256").join(digits));
    }
    let detail = format!("`{}` is no SHA-256 digest", digest.escape_debug());
    Err(damaged(dir, detail))
}

fn damaged(dir: &Path, detail: String) -> Error {
    Error::Image {
        image: dir.display().to_string(),
        detail,
    }
}

/// Reads a file of a layout that is JSON, and so is small.
pub(crate) fn read_bounded(dir: &Path, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(JSON_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        let detail = format!("`{}` has more than 16 MiB", path.display());
        return Err(damaged(dir, detail));
    }
    Ok(bytes)
}

/// Reads and checks a JSON blob.
pub(crate) fn read_json(dir: &Path, digest: &str) -> Result<Value> {
    let bytes = read_bounded(dir, &blob_path(dir, digest)?)?;
    check_digest(dir, digest, &bytes)?;
    serde_json::from_slice(&bytes).map_err(|e| damaged(dir, e.to_string()))
}

/// The manifest of a layout for this machine's platform, and its digest. An index may name other
/// indexes: one for each platform, as `docker buildx` writes them.
pub(crate) fn read_manifest(dir: &Path) -> Result<(String, Value)> {
    let path = dir.join("index.json");
    if !path.is_file() {
        return Err(damaged(dir, "it has no index.json".into()));
    }
    let bytes = read_bounded(dir, &path)?;
    let mut index: Value =
        serde_json::from_slice(&bytes).map_err(|e| damaged(dir, e.to_string()))?;
    // Two levels are what tools write; more would be a way to keep us busy.
    for _ in 0..4 {
        let digest = choose(dir, &index)?;
        let value = read_json(dir, &digest)?;
        if value["layers"].is_array() {
            return Ok((digest, value));
        }
        index = value;
    }
    Err(damaged(dir, "its index names no manifest".into()))
}

/// The one descriptor of an index that fits: no attestation, no other platform.
fn choose(dir: &Path, index: &Value) -> Result<String> {
    let empty = Vec::new();
    let all = index["manifests"].as_array().unwrap_or(&empty);
    let fits = |d: &&Value| {
        let says = |key: &str, want: &str| d["platform"][key].as_str().is_none_or(|v| v == want);
        says("os", "linux") && says("architecture", oci_arch())
    };
    let fitting: Vec<&str> = all
        .iter()
        .filter(fits)
        .filter_map(|d| d["digest"].as_str())
        .collect();
    match fitting.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] if all.is_empty() => Err(damaged(dir, "its index names no manifest".into())),
        [] => {
            let detail = format!("it holds no image for linux/{}", oci_arch());
            Err(damaged(dir, detail))
        }
        [first, rest @ ..] if rest.iter().all(|d| d == first) => Ok((*first).to_owned()),
        _ => {
            let detail = format!(
                "it holds {} images: which one is meant is not said",
                fitting.len()
            );
            Err(damaged(dir, detail))
        }
    }
}

/// What OCI calls this machine's architecture.
pub(crate) fn oci_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes the tar that `docker load` and `podman load` take: the layout, and beside it the older
/// `manifest.json`.
///
/// # Errors
/// The reference is none, the layout is damaged, the tar can't be written, or it was interrupted:
/// then there is no tar.
pub fn write_docker_tar(
    layout: &Path,
    tar_path: &Path,
    reference: &str,
    cancel: &Cancel,
) -> Result<()> {
    check_reference(reference)?;
    let (_, manifest) = read_manifest(layout)?;
    let blob = |d: &Value| format!("blobs/sha256/{}", digits(d.as_str().unwrap_or_default()));
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let old = json!([{
        "Config": blob(&manifest["config"]["digest"]),
        "RepoTags": [reference],
        "Layers": layers.iter().map(|l| blob(&l["digest"])).collect::<Vec<_>>(),
    }]);
    let mut names = vec!["index.json".to_owned(), "oci-layout".to_owned()];
    let mut blobs: Vec<String> = std::fs::read_dir(layout.join("blobs/sha256"))
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(Error::io("read", layout))?
        .iter()
        .map(|e| format!("blobs/sha256/{}", e.file_name().to_string_lossy()))
        .collect();
    blobs.sort();
    names.extend(blobs);
    write_file(tar_path, |out| {
        let mut tar = tar::Builder::new(out);
        tar.mode(tar::HeaderMode::Deterministic);
        let io = |e| Error::io("write", tar_path)(e);
        for name in names {
            cancel.check()?;
            let path = layout.join(&name);
            let mut file = File::open(&path).map_err(Error::io("read", &path))?;
            tar.append_file(&name, &mut file).map_err(io)?;
        }
        let bytes = old.to_string().into_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "manifest.json", bytes.as_slice())
            .map_err(io)?;
        tar.finish().map_err(io)
    })
}
