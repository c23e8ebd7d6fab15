//! Bases: an OCI layout, a root file system as folder or tar, or the interpreter of this machine.
//! What others made is checked while it is taken: nothing of it is trusted, and nothing is started.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use modelv_repo::Cancel;
use modelv_repo::core::env::Env;
use serde_json::Value;

use crate::debian::{self, Deb};
use crate::demands::{Demands, Offers, add_offers, has_versions};
use crate::error::{Error, Result};
use crate::interpreter::{from_interpreter, from_libraries};
use crate::layer::{Content, Files, HashingRead, Layer, Node, check_name, digits, write_tar};
use crate::layout::{blob_path, oci_arch, read_json, read_manifest};
use crate::packer::{Packer, Watched};
use crate::packing::Packing;
use crate::pull::{Source, pull_to};
use crate::reference::{Reference, at_hub};
use crate::registry::Credentials;

/// What an image stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A folder in OCI image layout.
    Layout(PathBuf),
    /// A folder with a root file system.
    Folder(PathBuf),
    /// A tar of a root file system or of an OCI layout; plain, gzip or zstd.
    Tar(PathBuf),
    /// The interpreter of this machine.
    Interpreter,
    /// A root file system of Debian's packages: of the release that is named, or the one that fits.
    Debian(Option<String>),
    /// An image in a registry.
    Registry(Box<Source>),
}

impl Base {
    /// Reads `python`, `debian`, `debian:RELEASE`, a path, or the name of an image in a registry, and looks what is
    /// there.
    /// `credentials` says what is told to a registry.
    ///
    /// # Errors
    /// There is nothing.
    pub fn parse(
        text: &str,
        dir: &Path,
        credentials: &dyn Fn(&str) -> Option<Credentials>,
    ) -> Result<Self> {
        if text == "python" {
            return Ok(Self::Interpreter);
        }
        match text.split_once(':') {
            None if text == "debian" => return Ok(Self::Debian(None)),
            Some(("debian", suite)) if debian::is_suite(suite) => {
                return Ok(Self::Debian(Some(suite.to_owned())));
            }
            _ => {}
        }
        let path = dir.join(text);
        let bad = |detail: &str| Error::Base {
            base: text.into(),
            detail: detail.into(),
        };
        let Ok(meta) = std::fs::metadata(&path) else {
            let named = Reference::parse_pulled(text);
            let at = named.map_err(|_| match at_hub(text) {
                Some(full) => bad(&format!(
                    "there is no such file or folder; an image is named with its registry, as `{full}`"
                )),
                None => bad("there is no such file or folder"),
            })?;
            let told = credentials(&at.registry);
            return Ok(Self::Registry(Box::new(Source::Registry(at, told))));
        };
        if meta.is_file() {
            return Ok(Self::Tar(path));
        }
        if path.join("oci-layout").exists() {
            return Ok(Self::Layout(path));
        }
        Ok(Self::Folder(path))
    }
}

/// The layers of a base and what is known of their content.
pub(crate) struct Ground {
    /// Bottom to top, and whether each was known before.
    pub(crate) layers: Vec<(Layer, bool)>,
    /// What is in them.
    pub(crate) seen: Seen,
    /// Its identity, for the record in the image. Never the name of a file or folder: the same base
    /// at another place must give the same image.
    pub(crate) name: String,
    /// Variables its configuration sets.
    pub(crate) env: Vec<String>,
    /// Bytes of it that came from a registry, and were not here.
    pub(crate) brought: u64,
    /// What has to be done before anything is known of it, where nothing is made now.
    pub(crate) unmade: Option<String>,
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layout(p) | Self::Folder(p) | Self::Tar(p) => p.display().fmt(f),
            Self::Interpreter => f.write_str("python"),
            Self::Debian(None) => f.write_str("debian"),
            Self::Debian(Some(suite)) => write!(f, "debian:{suite}"),
            Self::Registry(source) => match &**source {
                Source::Registry(at, _) => at.fmt(f),
                Source::Path(path) => path.display().fmt(f),
            },
        }
    }
}

fn bad(base: &Path, detail: String) -> Error {
    Error::Base {
        base: base.display().to_string(),
        detail,
    }
}

/// What is to stand on a base.
pub(crate) struct Stand<'a> {
    /// The interpreter of this machine, and its version.
    pub(crate) python: Option<(&'a Path, &'a str)>,
    /// The program that serves, where it needs no interpreter.
    pub(crate) alone: Option<&'a Path>,
    pub(crate) env: &'a Env,
}

/// Brings the layers of a base to where blobs go. `above` tells the interpreter base which shared
/// libraries will be needed, the environment tells Debian's which packages.
pub(crate) fn prepare(
    base: &Base,
    packer: &Packer<'_>,
    stand: &Stand<'_>,
    above: &Demands,
) -> Result<Ground> {
    match base {
        Base::Layout(path) => from_layout(path, packer),
        Base::Folder(path) => from_folder(path, packer),
        Base::Tar(path) => from_tar(path, packer),
        Base::Interpreter => match stand.alone {
            Some(program) => from_libraries(packer, program, above),
            None => from_interpreter(packer, stand.python, above),
        },
        Base::Debian(suite) => from_debian(suite.as_deref(), packer, stand),
        Base::Registry(source) => {
            let dir = layout_beside(packer)?;
            let brought = pull_to(source, dir.path(), packer)?;
            Ok(Ground {
                brought,
                ..from_layout(dir.path(), packer)?
            })
        }
    }
}

/// Debian's packages, as a tar that was made of them.
fn from_debian(suite: Option<&str>, packer: &Packer<'_>, stand: &Stand<'_>) -> Result<Ground> {
    let bad = |detail: &str| Error::Base {
        base: "debian".into(),
        detail: detail.to_owned(),
    };
    let repo = packer.repo.ok_or_else(|| bad("there is no repository"))?;
    let recipe = match stand.alone {
        Some(_) => debian::Recipe::alone(repo, suite),
        None => debian::Recipe::of(repo, stand.env, suite)?,
    };
    match recipe.tar(packer, repo)? {
        Some(tar) => from_tar(&tar, packer),
        None => Ok(Ground {
            name: String::new(),
            layers: vec![(Layer::unknown(packer.packing), false)],
            seen: Seen::default(),
            env: vec![],
            brought: 0,
            unmade: Some(recipe.told()),
        }),
    }
}

fn from_layout(dir: &Path, packer: &Packer<'_>) -> Result<Ground> {
    let (name, manifest) = read_manifest(dir)?;
    let config = read_json(
        dir,
        manifest["config"]["digest"].as_str().unwrap_or_default(),
    )?;
    let made_for = config["architecture"].as_str().unwrap_or_default();
    if made_for != oci_arch() {
        let detail = format!("it was made for `{made_for}`, this is {}", oci_arch());
        return Err(bad(dir, detail));
    }
    let empty = Vec::new();
    let env = config["config"]["Env"].as_array().unwrap_or(&empty);
    let mut ground = Ground {
        layers: vec![],
        seen: Seen::default(),
        name,
        env: env
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
        brought: 0,
        unmade: None,
    };
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap_or(&empty);
    if layers.len() != diff_ids.len() {
        let detail = format!(
            "it has {} layers, its configuration names {}",
            layers.len(),
            diff_ids.len()
        );
        return Err(bad(dir, detail));
    }
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let diff_id = diff_id.as_str().unwrap_or_default();
        let taken = take_layer(dir, layer, diff_id, packer, &mut ground.seen)?;
        ground.layers.push(taken);
    }
    Ok(ground)
}

/// A gzip layer is taken as it is, byte for byte, and so is one that is packed as ours are; others are
/// packed anew.
fn take_layer(
    dir: &Path,
    layer: &Value,
    diff_id: &str,
    packer: &Packer<'_>,
    seen: &mut Seen,
) -> Result<(Layer, bool)> {
    let media = layer["mediaType"].as_str().unwrap_or_default();
    let unread = || {
        let detail = format!("its layers are `{media}`; tar, plain or packed, is needed");
        bad(dir, detail)
    };
    let packing = Packing::of_media(media).ok_or_else(unread)?;
    let digest = layer["digest"].as_str().unwrap_or_default().to_owned();
    let from = blob_path(dir, &digest)?;
    let size = packer.copy_checked(&from, &digest)?;
    let copy = packer.blobs.join(digits(&digest));
    let found = list_tar(packer.watch(packing.open(&copy)?), seen)
        .map_err(|e| bad(dir, format!("layer `{digest}`: {e}")))?;
    if found != diff_id {
        let detail = format!("layer `{digest}` holds `{found}`, not `{diff_id}`");
        return Err(bad(dir, detail));
    }
    if packing == Packing::Gzip || packing == packer.packing {
        let diff_id = found;
        let layer = Layer {
            digest,
            diff_id,
            size,
            packing,
        };
        return Ok((layer, false));
    }
    let taken = packer.by_content(|out| copy_all(packing.open(&copy)?, out, &copy))?;
    std::fs::remove_file(&copy).map_err(Error::io("delete", &copy))?;
    Ok(taken)
}

fn copy_all(mut input: impl Read, out: &mut dyn Write, path: &Path) -> Result<()> {
    std::io::copy(&mut input, out).map_err(Error::io("read", path))?;
    Ok(())
}

/// What is in the layers of a base.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Paths of all files, without a leading slash.
    pub(crate) paths: BTreeSet<Vec<u8>>,
    /// Versions of the libraries that others depend on.
    pub(crate) offers: Offers,
    /// Packages of Debian that are said to be installed.
    pub(crate) debs: Vec<Deb>,
}

/// Largest list of packages that is read.
const STATUS_BYTES_MAX: u64 = 64 << 20;

/// Largest library that is looked into.
const LIBRARY_BYTES_MAX: u64 = 64 << 20;

/// Adds the paths of a layer, takes away what it whites out, and returns the digest of the tar.
pub(crate) fn list_tar(input: impl Read, seen: &mut Seen) -> std::io::Result<String> {
    let mut input = HashingRead::new(input);
    let paths = &mut seen.paths;
    for entry in tar::Archive::new(&mut input).entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path_bytes());
        if path.split(|b| *b == b'/').any(|part| part == b"..") {
            let shown = String::from_utf8_lossy(&path).into_owned();
            return Err(std::io::Error::other(format!("path `{shown}` leads out")));
        }
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => path.split_at(at + 1),
            None => (&[][..], path.as_slice()),
        };
        match name.strip_prefix(b".wh.") {
            Some(b".wh..opq") => paths.retain(|p| !p.starts_with(parent)),
            Some(gone) => {
                let gone = [parent, gone].concat();
                let below = [gone.as_slice(), b"/"].concat();
                paths.retain(|p| *p != gone && !p.starts_with(&below));
            }
            None => {
                let is_small = entry.size() <= LIBRARY_BYTES_MAX;
                if is_small && entry.header().entry_type().is_file() && has_versions(name) {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    add_offers(&mut seen.offers, &bytes);
                } else if debian::is_status(&path) && entry.size() <= STATUS_BYTES_MAX {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    // A layer above another one has the whole list again.
                    seen.debs.retain(|_| path != b"var/lib/dpkg/status");
                    seen.debs.extend(debian::read_status(&bytes));
                }
                paths.insert(path);
            }
        }
    }
    // What follows the last entry counts too.
    std::io::copy(&mut input, &mut std::io::sink())?;
    Ok(input.digest())
}

fn clean(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path).to_vec()
}

fn from_folder(dir: &Path, packer: &Packer<'_>) -> Result<Ground> {
    let mut files = Files::default();
    add_folder(dir, b"", &mut files)?;
    let (layer, cached) = packer.by_content(|out| write_tar(out, &files, None))?;
    Ok(Ground {
        name: layer.diff_id.clone(),
        layers: vec![(layer, cached)],
        seen: see(files)?,
        env: vec![],
        brought: 0,
        unmade: None,
    })
}

/// What is in files that are on this machine.
pub(crate) fn see(files: Files) -> Result<Seen> {
    let mut offers = Offers::new();
    let mut debs = Vec::new();
    for (path, node) in &files.nodes {
        if let (Node::File { content, .. }, true) = (node, debian::is_status(path))
            && let Content::Path(file) = content
        {
            let bytes = std::fs::read(file).map_err(Error::io("read", file))?;
            debs.extend(debian::read_status(&bytes));
        }
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let Node::File { content, .. } = node else {
            continue;
        };
        if !has_versions(name) {
            continue;
        }
        match content {
            Content::Bytes(bytes) => add_offers(&mut offers, bytes),
            Content::Path(file) => {
                let bytes = std::fs::read(file).map_err(Error::io("read", file))?;
                add_offers(&mut offers, &bytes);
            }
            Content::Blob(..) | Content::Zipped(_) => {}
        }
    }
    Ok(Seen {
        paths: files.nodes.into_keys().collect(),
        offers,
        debs,
    })
}

/// What a folder holds, sorted by name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(Error::io("read", dir))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    Ok(entries)
}

/// A folder's files, links and directories; devices, sockets and pipes have no place in an image.
fn add_folder(dir: &Path, prefix: &[u8], files: &mut Files) -> Result<()> {
    for entry in entries(dir)? {
        let path = entry.path();
        let name = [prefix, entry.file_name().as_bytes()].concat();
        check_name(entry.file_name().as_bytes())?;
        let meta = std::fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if meta.is_dir() {
            files.add(
                name.clone(),
                Node::Dir {
                    sticky: meta.mode() & 0o1000 != 0,
                },
            );
            add_folder(&path, &[name.as_slice(), b"/"].concat(), files)?;
        } else if meta.file_type().is_symlink() {
            let target = std::fs::read_link(&path).map_err(Error::io("read", &path))?;
            files.add(name, Node::Link(target.as_os_str().as_bytes().to_vec()));
        } else if meta.is_file() {
            files.add_file(name, meta.mode() & 0o111 != 0, Content::Path(path));
        }
    }
    Ok(())
}

fn from_tar(path: &Path, packer: &Packer<'_>) -> Result<Ground> {
    let packing = Packing::of(path)?.map_err(|e| bad(path, e))?;
    let mut seen = Seen::default();
    let found = list_tar(packer.watch(packing.open(path)?), &mut seen)
        .map_err(|e| bad(path, e.to_string()))?;
    let has = |name: &str| seen.paths.contains(name.as_bytes());
    if has("oci-layout") && has("index.json") {
        return from_archive(path, packing, packer);
    }
    if has("manifest.json") && !has("usr") {
        let detail = "it is an image in the form of `docker save`, not a root file system; \
                      `skopeo copy docker-archive:FILE oci:DIR` makes a layout of it";
        return Err(bad(path, detail.into()));
    }
    // Its digest is known already, so that a known layer costs one reading.
    let (layer, cached) = packer.by_key(&format!("tar {found}"), || {
        packer.pack(|out| copy_all(packing.open(path)?, out, path))
    })?;
    if layer.is_known() && layer.diff_id != found {
        return Err(bad(path, "it changed while it was read".into()));
    }
    Ok(Ground {
        name: found,
        layers: vec![(layer, cached)],
        seen,
        env: vec![],
        brought: 0,
        unmade: None,
    })
}

/// A layout in a tar, as newer engines save images and as we write them.
fn from_archive(path: &Path, packing: Packing, packer: &Packer<'_>) -> Result<Ground> {
    let dir = layout_beside(packer)?;
    extract(path, packing, dir.path(), packer.cancel)?;
    from_layout(dir.path(), packer)
}

/// An empty layout beside the blobs, where there is room for an image.
fn layout_beside(packer: &Packer<'_>) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir_in(&packer.blobs).map_err(Error::io("create", &packer.blobs))?;
    let blobs = dir.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
    Ok(dir)
}

/// Takes the layout out of a tar; whatever else is in it stays there.
pub(crate) fn extract(path: &Path, packing: Packing, dir: &Path, cancel: &Cancel) -> Result<()> {
    let io = |e: std::io::Error| bad(path, e.to_string());
    let mut archive = tar::Archive::new(Watched::new(packing.open(path)?, cancel));
    for entry in archive.entries().map_err(io)? {
        let mut entry = entry.map_err(io)?;
        let name = clean(&entry.path_bytes());
        let name = String::from_utf8_lossy(&name);
        let to = match name.strip_prefix("blobs/sha256/") {
            _ if !entry.header().entry_type().is_file() => continue,
            Some(digest) => blob_path(dir, digest)?,
            None if name == "index.json" || name == "oci-layout" => dir.join(&*name),
            None => continue,
        };
        let mut out = File::create(&to).map_err(Error::io("write", &to))?;
        std::io::copy(&mut entry, &mut out).map_err(io)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
