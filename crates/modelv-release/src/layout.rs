//! OCI image layouts: manifest, configuration and index as canonical JSON, and the tar `docker load`
//! takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
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

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Largest index, manifest or configuration that is read. Registries take 4 MiB.
const JSON_BYTES_MAX: u64 = 16 << 20;
/// Largest manifest or configuration that is pulled.
pub(crate) const MANIFEST_MAX: u64 = JSON_BYTES_MAX;
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
pub(crate) fn put_json(blobs: &Path, value: &Value) -> Result<(String, usize)> {
    put_bytes(blobs, value.to_string().as_bytes())
}

pub(crate) fn put_bytes(blobs: &Path, bytes: &[u8]) -> Result<(String, usize)> {
    let digest = digest_of(bytes);
    let path = blobs.join(digits(&digest));
    std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
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
            "mediaType": l.packing.media_type(), "digest": l.digest, "size": l.size,
            "annotations": {"dev.modelv.layer": name},
        })).collect::<Vec<_>>(),
        "annotations": about.labels,
    });
    let (digest, size) = put_json(&blobs, &manifest)?;
    write_top(
        dir,
        &json!({
            "mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": {"architecture": about.architecture, "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": about.reference},
        }),
    )?;
    Ok((digest, config_digest))
}

/// Writes the index of a layout with one manifest, and the mark that it is a layout.
fn write_top(dir: &Path, descriptor: &Value) -> Result<()> {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    });
    for (name, value) in [
        ("index.json", index),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, value.to_string()).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// Makes a layout of blobs that are there.
pub(crate) fn write_index(dir: &Path, manifest: &Value, digest: &str) -> Result<()> {
    let path = blob_path(dir, digest)?;
    let meta = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
    let media = manifest["mediaType"].as_str().unwrap_or(MANIFEST);
    write_top(
        dir,
        &json!({"mediaType": media, "digest": digest, "size": meta.len()}),
    )
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", to_hex(&Sha256::digest(bytes)))
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

pub(crate) fn damaged(dir: &Path, detail: String) -> Error {
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
pub(crate) fn choose(dir: &Path, index: &Value) -> Result<String> {
    let empty = Vec::new();
    let all = index["manifests"].as_array().unwrap_or(&empty);
    let fits = |d: &&Value| {
        // What belongs to an image is none.
        let is_paper = d["artifactType"].is_string();
        let says = |key: &str, want: &str| d["platform"][key].as_str().is_none_or(|v| v == want);
        !is_paper && says("os", "linux") && says("architecture", oci_arch())
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
            let has = |d: &Value| d["platform"]["architecture"].as_str().map(str::to_owned);
            let found: BTreeSet<String> = all.iter().filter_map(has).collect();
            let found: Vec<String> = found.into_iter().collect();
            Err(Error::Platform {
                image: dir.display().to_string(),
                detail: format!(
                    "it holds no image for linux/{}, but for {}",
                    oci_arch(),
                    found.join(", ").escape_debug()
                ),
            })
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
/// The reference is none, the layout is damaged, its layers are packed with zstd, the tar can't be
/// written, or it was interrupted: then there is no tar.
pub fn write_docker_tar(
    layout: &Path,
    tar_path: &Path,
    reference: &str,
    cancel: &Cancel,
) -> Result<()> {
    check_reference(reference)?;
    let old = old_manifest(layout, reference)?;
    write_file(tar_path, |out| {
        stream_docker_tar(layout, &old, out, tar_path, cancel)
    })
}

/// What `docker save` wrote before there were layouts, which older engines still want.
pub(crate) fn old_manifest(layout: &Path, reference: &str) -> Result<Value> {
    let (_, manifest) = read_manifest(layout)?;
    let blob = |d: &Value| format!("blobs/sha256/{}", digits(d.as_str().unwrap_or_default()));
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let is_zstd = |l: &Value| l["mediaType"].as_str().is_some_and(|m| m.ends_with("zstd"));
    if layers.iter().any(is_zstd) {
        return Err(Error::Packing {
            image: layout.display().to_string(),
            detail: "`docker load` takes no layers that are packed with zstd".into(),
        });
    }
    Ok(json!([{
        "Config": blob(&manifest["config"]["digest"]),
        "RepoTags": [reference],
        "Layers": layers.iter().map(|l| blob(&l["digest"])).collect::<Vec<_>>(),
    }]))
}

pub(crate) fn stream_docker_tar(
    layout: &Path,
    old: &Value,
    out: &mut dyn Write,
    shown: &Path,
    cancel: &Cancel,
) -> Result<()> {
    // Of the image alone: engines would take what lies beside it for images.
    let (digest, manifest) = read_manifest(layout)?;
    let index = json!({"schemaVersion": 2, "manifests": [top_of(layout, &digest)?]});
    let mut blobs = vec![digest, text(&manifest["config"]["digest"])];
    let layers = manifest["layers"].as_array().into_iter().flatten();
    blobs.extend(layers.map(|l| text(&l["digest"])));
    blobs.sort();
    blobs.dedup();
    let mut tar = tar::Builder::new(out);
    tar.mode(tar::HeaderMode::Deterministic);
    let io = |e| Error::io("write", shown)(e);
    let mark = json!({"imageLayoutVersion": "1.0.0"});
    for (name, value) in [("index.json", &index), ("oci-layout", &mark)] {
        add_bytes(&mut tar, name, value.to_string().as_bytes()).map_err(io)?;
    }
    for digest in blobs {
        cancel.check()?;
        let path = blob_path(layout, &digest)?;
        let mut file = File::open(&path).map_err(Error::io("read", &path))?;
        let name = format!("blobs/sha256/{}", digits(&digest));
        tar.append_file(&name, &mut file).map_err(io)?;
    }
    add_bytes(&mut tar, "manifest.json", old.to_string().as_bytes()).map_err(io)?;
    tar.finish().map_err(io)
}

fn add_bytes<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes)
}

/// The descriptor by which the index of a layout names its image, or one like it.
fn top_of(layout: &Path, digest: &str) -> Result<Value> {
    let bytes = read_bounded(layout, &layout.join("index.json"))?;
    let index: Value =
        serde_json::from_slice(&bytes).map_err(|e| damaged(layout, e.to_string()))?;
    let mut named = index["manifests"].as_array().into_iter().flatten();
    if let Some(found) = named.find(|d| d["digest"] == digest) {
        return Ok(found.clone());
    }
    let path = blob_path(layout, digest)?;
    let size = std::fs::metadata(&path)
        .map_err(Error::io("read", &path))?
        .len();
    Ok(json!({"mediaType": MANIFEST, "digest": digest, "size": size}))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
