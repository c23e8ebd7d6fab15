//! Images wherever they are: a layout, a tar of one, or a registry, from which no more comes than is
//! asked for. Every digest is checked: nobody is believed.

use std::path::{Path, PathBuf};

use modelv_repo::Cancel;
use serde_json::Value;

use crate::attest::attached;
use crate::base::extract;
use crate::error::{Error, Result};
use crate::layout::{
    MANIFEST_MAX, blob_path, check_digest, choose, damaged, read_json, read_manifest,
};
use crate::packer::Packer;
use crate::packing::Packing;
use crate::reference::Reference;
use crate::registry::{Access, Credentials, Registry};

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder in OCI image layout, or a tar of one.
    Path(PathBuf),
    /// In a registry.
    Registry(Reference, Option<Credentials>),
}

/// An image that can be read.
pub(crate) struct Pulled<'a> {
    /// What it was called.
    pub(crate) shown: String,
    pub(crate) digest: String,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    dir: PathBuf,
    /// Goes away with the image.
    _temp: Option<tempfile::TempDir>,
    registry: Option<Registry<'a>>,
}

impl<'a> Pulled<'a> {
    /// Opens an image; of one in a registry, manifest and configuration come.
    pub(crate) fn open(source: &'a Source, cancel: &'a Cancel) -> Result<Self> {
        match source {
            Source::Path(path) if path.is_dir() => {
                Self::in_layout(path.clone(), path.display().to_string(), None)
            }
            Source::Path(path) => {
                let bad = |detail: String| damaged(path, detail);
                let packing = Packing::of(path)?.map_err(bad)?;
                let temp = temp_layout()?;
                extract(path, packing, temp.path(), cancel)?;
                let dir = temp.path().to_owned();
                let opened = Self::in_layout(dir, path.display().to_string(), Some(temp));
                opened.map_err(|e| e.of(path))
            }
            Source::Registry(at, credentials) => Self::remote(at, credentials.clone(), cancel),
        }
    }

    fn in_layout(dir: PathBuf, shown: String, temp: Option<tempfile::TempDir>) -> Result<Self> {
        let (digest, manifest) = read_manifest(&dir)?;
        let config = text(&manifest["config"]["digest"]);
        Ok(Self {
            shown,
            digest,
            config: read_json(&dir, &config)?,
            manifest,
            dir,
            _temp: temp,
            registry: None,
        })
    }

    fn remote(
        at: &'a Reference,
        credentials: Option<Credentials>,
        cancel: &'a Cancel,
    ) -> Result<Self> {
        let temp = temp_layout()?;
        let dir = temp.path().to_owned();
        let shown = at.to_string();
        let mut registry = Registry::new(at, credentials, Access::Pull, cancel);
        let mut wanted = at.digest.clone().unwrap_or_else(|| at.tag.clone());
        let mut found = None;
        // Two levels are what tools write; more would be a way to keep us busy.
        for _ in 0..4 {
            let bytes = registry.get_manifest(&wanted)?;
            let digest = crate::layout::digest_of(&bytes);
            if wanted.starts_with("sha256:") {
                check_digest(Path::new(&shown), &wanted, &bytes)?;
            }
            let value: Value = serde_json::from_slice(&bytes)
                .map_err(|e| damaged(Path::new(&shown), e.to_string()))?;
            if value["layers"].is_array() {
                let path = blob_path(&dir, &digest)?;
                std::fs::write(&path, &bytes).map_err(Error::io("write", &path))?;
                found = Some((digest, value));
                break;
            }
            wanted = choose(Path::new(&shown), &value)?;
        }
        let none = || damaged(Path::new(&shown), "its index names no manifest".into());
        let (digest, manifest) = found.ok_or_else(none)?;
        let mut pulled = Self {
            shown,
            digest,
            config: Value::Null,
            manifest,
            dir,
            _temp: Some(temp),
            registry: Some(registry),
        };
        let config = text(&pulled.manifest["config"]["digest"]);
        pulled.blob(&config, MANIFEST_MAX)?;
        pulled.config = read_json(&pulled.dir, &config)?;
        Ok(pulled)
    }

    /// Where a blob lies, of at most so many bytes; it is brought first if it has to be.
    pub(crate) fn blob(&mut self, digest: &str, most: u64) -> Result<PathBuf> {
        let path = blob_path(&self.dir, digest)?;
        if let (Some(registry), false) = (&mut self.registry, path.exists()) {
            registry.get_blob(digest, &path, most)?;
        }
        Ok(path)
    }

    /// The parts of the manifest with a tag; none if there is no such tag.
    pub(crate) fn tagged(&mut self, tag: &str) -> Result<Vec<Value>> {
        let manifest = match &mut self.registry {
            Some(registry) => match registry.find_manifest(tag)? {
                None => return Ok(Vec::new()),
                Some(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|e| damaged(Path::new(&self.shown), e.to_string()))?,
            },
            None => {
                let all = attached(&self.dir)?;
                let name =
                    |d: &&Value| d["annotations"]["org.opencontainers.image.ref.name"] == tag;
                match all.iter().find(name) {
                    None => return Ok(Vec::new()),
                    Some(descriptor) => read_json(&self.dir, &text(&descriptor["digest"]))?,
                }
            }
        };
        Ok(manifest["layers"].as_array().cloned().unwrap_or_default())
    }

    /// Descriptors of what names the image as its subject.
    pub(crate) fn beside(&mut self) -> Result<Vec<Value>> {
        match &mut self.registry {
            Some(registry) => registry.referrers(&self.digest),
            None => attached(&self.dir),
        }
    }

    /// The bytes of a small blob.
    pub(crate) fn paper(&mut self, descriptor: &Value, most: u64) -> Result<Vec<u8>> {
        let digest = text(&descriptor["digest"]);
        let path = self.blob(&digest, most)?;
        let bytes = crate::layout::read_bounded(&self.dir, &path)?;
        check_digest(Path::new(&self.shown), &digest, &bytes)?;
        Ok(bytes)
    }

    /// The layout in which what came is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Layers, bottom to top.
    pub(crate) fn layers(&self) -> Vec<Value> {
        self.manifest["layers"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// What a label of its configuration says.
    pub(crate) fn label(&self, name: &str) -> Option<String> {
        let labels = &self.config["config"]["Labels"];
        labels[name].as_str().map(str::to_owned)
    }
}

/// A whole image in a layout.
pub(crate) struct Whole {
    pub(crate) dir: PathBuf,
    /// What it was called.
    shown: String,
    /// Goes away with it.
    _temp: Option<tempfile::TempDir>,
}

impl Whole {
    /// Takes an image out of its tar, or brings all of it from its registry; a layout is taken as it is.
    pub(crate) fn open(source: &Source, cancel: &Cancel) -> Result<Self> {
        let mut pulled = Pulled::open(source, cancel)?;
        if pulled.registry.is_some() {
            for part in pulled.layers() {
                let most = part["size"].as_u64().unwrap_or(u64::MAX);
                pulled.blob(&text(&part["digest"]), most)?;
            }
            crate::layout::write_index(&pulled.dir, &pulled.manifest, &pulled.digest)?;
        }
        Ok(Self {
            dir: pulled.dir,
            shown: pulled.shown,
            _temp: pulled._temp,
        })
    }

    /// What a call says of it, by its own name.
    pub(crate) fn ask<T>(&self, call: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        call(&self.dir).map_err(|e| e.of(Path::new(&self.shown)))
    }
}

/// Brings a whole image into a layout; returns how many bytes came. Blobs that `packer` knows from before do not
/// come again.
pub(crate) fn pull_to(source: &Source, dir: &Path, packer: &Packer<'_>) -> Result<u64> {
    let mut brought = 0;
    let mut pulled = Pulled::open(source, packer.cancel)?;
    let size = |d: &Value| d["size"].as_u64().unwrap_or(u64::MAX);
    let config = pulled.manifest["config"].clone();
    let mut wanted = vec![(pulled.digest.clone(), MANIFEST_MAX)];
    let parts = pulled.layers().into_iter().chain([config]);
    wanted.extend(parts.map(|d| (text(&d["digest"]), size(&d))));
    for (digest, most) in wanted {
        let to = blob_path(dir, &digest)?;
        if packer.recall(&digest, &to) {
            continue;
        }
        let from = pulled.blob(&digest, most)?;
        brought += std::fs::copy(&from, &to).map_err(Error::io("write", &to))?;
        packer.remember(&digest, &to);
        if pulled.registry.is_some() {
            std::fs::remove_file(&from).map_err(Error::io("delete", &from))?;
        }
    }
    crate::layout::write_index(dir, &pulled.manifest, &pulled.digest)?;
    Ok(brought)
}

fn temp_layout() -> Result<tempfile::TempDir> {
    let top = std::env::temp_dir();
    let temp = tempfile::tempdir().map_err(Error::io("create", &top))?;
    let blobs = temp.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
    Ok(temp)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
