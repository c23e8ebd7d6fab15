//! Whether an image is what a commit gives: it is built again from nothing, and compared layer by layer.

mod details;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use modelv_repo::core::id::CommitId;
use modelv_repo::{Cancel, Ctx, Repo};
use serde::Serialize;

use crate::base::{Seen, list_tar};
use crate::error::{Error, Result};
use crate::golden::{self, Replay};
use crate::inspect::inspect_layout;
use crate::layout::{blob_path, read_json};
use crate::packing::{Compression, Packing};
use crate::place::Place;
use crate::pull::{Pulled, Source, Whole, text};
use crate::release::{Image, ReleaseOptions, build};

/// What came of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The commit it was compared with.
    pub commit: String,
    /// Digest of the image.
    pub image: String,
    /// Digest of what the commit gives.
    pub rebuilt: String,
    /// The first part that differs, bottom to top.
    pub difference: Option<Difference>,
    /// What came of its golden requests; `None`: they were not asked for.
    pub replay: Option<Replay>,
}

/// A part of two images that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `layer NAME`, `configuration` or `manifest`.
    pub part: String,
    /// Digest in the image; none if it has no such part.
    pub image: Option<String>,
    /// Digest in what the commit gives.
    pub rebuilt: Option<String>,
    /// What differs in it: files, or values with that of the image first. The first few.
    pub details: Vec<String>,
    /// Packages of Debian that differ in it, with the version in the image and in what the commit gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

fn compression_of(image: &Pulled<'_>) -> Compression {
    let layers = image.layers();
    let mut media = layers
        .iter()
        .filter_map(|layer| layer["mediaType"].as_str());
    let is_zstd = media.any(|media| Packing::of_media(media) == Some(Packing::Zstd));
    match is_zstd {
        true => Compression::Zstd,
        false => Compression::Gzip,
    }
}

/// The commit that an image says it was made from.
fn commit_of(repo: &Repo, image: &Pulled<'_>) -> Result<CommitId> {
    let named = image.manifest["annotations"]["dev.modelv.commit"].as_str();
    let named = named.ok_or_else(|| Error::Image {
        image: image.shown.clone(),
        detail: "it names no commit that it was made from".into(),
    })?;
    Ok(repo.resolve(named)?)
}

/// Builds a commit again, or the one that the image names, packed as the image is and without any layer that was made
/// before, and compares. Every byte of a layout is read; of an image in a registry only what it says of itself comes,
/// and the first layer that differs. If the options say so, puts the golden requests to the image, whether it was
/// asked before or not.
///
/// # Errors
/// The image is missing or damaged, or does not answer as recorded, the commit can't be built, or it was interrupted.
pub fn verify(
    repo: &Repo,
    source: &Source,
    id: Option<CommitId>,
    options: &ReleaseOptions,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<Verification> {
    let mut image = Pulled::open(source, ctx.cancel)?;
    if let Source::Path(_) = source {
        let shown = PathBuf::from(&image.shown);
        inspect_layout(image.dir(), ctx.cancel).map_err(|e| e.of(&shown))?;
    }
    let id = match id {
        Some(id) => id,
        None => commit_of(repo, &image)?,
    };
    // In a place that goes away again.
    let place = Place::new(&repo.dir().join("tmp/verified"))?;
    let options = ReleaseOptions {
        papers: false,
        modelpack: false,
        sign_key: None,
        // What the image says of its layers; how it says it is compared with the rest.
        compression: compression_of(&image),
        ..options.clone()
    };
    let (built, _) = build(repo, id, &options, &place, None, ctx, talk)?;
    let mut difference = first_difference(&image, &built);
    // What is not of this commit is not started.
    let replay = match options.replay && difference.is_none() {
        true => {
            talk("golden requests");
            let whole = Whole::open(source, ctx.cancel)?;
            let near = repo.dir().join("tmp");
            Some(whole.ask(|layout| golden::replay(layout, &near, ctx.cancel))?)
        }
        false => None,
    };
    if let Some(difference) = &mut difference {
        difference.details = explain(&mut image, place.path(), difference, &built, ctx.cancel)?;
        difference.packages = changed(image.dir(), place.path(), difference);
    }
    Ok(Verification {
        replay,
        commit: id.to_hex(),
        difference,
        image: image.digest.clone(),
        rebuilt: built.digest,
    })
}

/// What differs in the part that does.
fn explain(
    image: &mut Pulled<'_>,
    place: &Path,
    difference: &Difference,
    built: &Image,
    cancel: &Cancel,
) -> Result<Vec<String>> {
    match difference.part.as_str() {
        CONFIGURATION => {
            let ours = read_json(place, &built.config_digest)?;
            Ok(details::of_values(&image.config, &ours))
        }
        MANIFEST => {
            let ours = read_json(place, &built.digest)?;
            Ok(details::of_values(&image.manifest, &ours))
        }
        _ => {
            let (theirs, ours) = (difference.image.as_deref(), difference.rebuilt.as_deref());
            details::of_layer(image, theirs, place, ours, cancel)
        }
    }
}

/// Why a base differs, where both say what is installed: what can't be read is no reason.
fn changed(layout: &Path, place: &Path, difference: &Difference) -> Vec<String> {
    let debs = |dir: &Path, digest: &Option<String>| -> BTreeMap<String, String> {
        let mut seen = Seen::default();
        let path = digest.as_ref().and_then(|d| blob_path(dir, d).ok());
        let packing = path.as_ref().and_then(|path| Packing::of(path).ok()?.ok());
        if let Some((path, packing)) = path.zip(packing)
            && let Ok(input) = packing.open(&path)
        {
            let _ = list_tar(input, &mut seen);
        }
        seen.debs.into_iter().map(|d| (d.name, d.version)).collect()
    };
    let (old, new) = (
        debs(layout, &difference.image),
        debs(place, &difference.rebuilt),
    );
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    let or_none = |version: Option<&String>| version.map_or("none".to_owned(), String::clone);
    differs
        .map(|name| {
            format!(
                "{name} {} -> {}",
                or_none(old.get(name)),
                or_none(new.get(name))
            )
        })
        .collect()
}

/// Parts beside the layers.
const CONFIGURATION: &str = "configuration";
const MANIFEST: &str = "manifest";

fn first_difference(image: &Pulled<'_>, built: &Image) -> Option<Difference> {
    let differs = |part: String, image: Option<&str>, rebuilt: Option<&str>| Difference {
        part,
        image: image.map(str::to_owned),
        rebuilt: rebuilt.map(str::to_owned),
        details: Vec::new(),
        packages: Vec::new(),
    };
    let layers = image.layers();
    for i in 0..layers.len().max(built.layers.len()) {
        let (a, b) = (layers.get(i), built.layers.get(i));
        let there = a.and_then(|l| l["digest"].as_str());
        let here = b.map(|l| l.digest.as_str());
        if there != here {
            let said = || a.and_then(|l| l["annotations"]["dev.modelv.layer"].as_str());
            let name = b.map(|l| l.name.as_str()).or_else(said);
            let part = format!("layer `{}`", name.unwrap_or_default());
            return Some(differs(part, there, here));
        }
    }
    let config = text(&image.manifest["config"]["digest"]);
    [
        (CONFIGURATION, &config, &built.config_digest),
        (MANIFEST, &image.digest, &built.digest),
    ]
    .into_iter()
    .find(|(_, there, here)| there != here)
    .map(|(part, there, here)| differs(part.to_owned(), Some(there), Some(here)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout with one layer that says which packages are installed.
    fn layout(versions: &[(&str, &str)]) -> (tempfile::TempDir, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let paragraph = |(name, version): &(&str, &str)| {
            format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
        };
        let status: String = versions.iter().map(paragraph).collect();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(status.len() as u64);
        tar.append_data(&mut header, "var/lib/dpkg/status", status.as_bytes())
            .unwrap();
        let bytes = tar.into_inner().unwrap();
        let (digest, _) = crate::layout::put_bytes(&blobs, &bytes).unwrap();
        (dir, Some(digest))
    }

    #[test]
    fn packages_say_why_a_base_differs() {
        let (old, image) = layout(&[("libc6", "2.36-9"), ("gone", "1"), ("zlib1g", "1.2")]);
        let (new, rebuilt) = layout(&[("libc6", "2.36-10"), ("zlib1g", "1.2"), ("more", "3")]);
        let mut difference = Difference {
            part: "layer `base`".into(),
            image,
            rebuilt,
            details: Vec::new(),
            packages: Vec::new(),
        };
        let found = changed(old.path(), new.path(), &difference);
        let want = [
            "gone 1 -> none",
            "libc6 2.36-9 -> 2.36-10",
            "more none -> 3",
        ];
        assert_eq!(found, want);
        difference.rebuilt = None;
        assert_eq!(changed(old.path(), new.path(), &difference).len(), 3);
        difference.image = Some("manifest".into());
        assert!(changed(old.path(), new.path(), &difference).is_empty());
    }
}
