//! Whether an image is what a commit gives: it is built again from nothing, and compared layer by layer.

use std::path::Path;

use modelv_repo::core::id::CommitId;
use modelv_repo::{Ctx, Repo};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inspect::{Inspection, inspect};
use crate::packing::{Compression, Packing};
use crate::place::Place;
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
}

/// The commit that an image says it was made from.
///
/// # Errors
/// It is no layout, or names no commit.
pub fn commit_of(layout: &Path) -> Result<String> {
    let (_, manifest) = crate::layout::read_manifest(layout)?;
    let named = manifest["annotations"]["dev.modelv.commit"].as_str();
    named.map(str::to_owned).ok_or_else(|| Error::Image {
        image: layout.display().to_string(),
        detail: "it names no commit that it was made from".into(),
    })
}

fn compression_of(layout: &Path) -> Result<Compression> {
    let (_, manifest) = crate::layout::read_manifest(layout)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let mut media = layers.filter_map(|layer| layer["mediaType"].as_str());
    let is_zstd = media.any(|media| Packing::of_media(media) == Some(Packing::Zstd));
    Ok(match is_zstd {
        true => Compression::Zstd,
        false => Compression::Gzip,
    })
}

/// Builds `id` again, packed as the image is and without any layer that was made before, and compares.
///
/// # Errors
/// The image is damaged, the commit can't be built, or it was interrupted.
pub fn verify(
    repo: &Repo,
    layout: &Path,
    id: CommitId,
    options: &ReleaseOptions,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<Verification> {
    let seen = inspect(layout, ctx.cancel)?;
    // In a place that goes away again.
    let place = Place::new(&repo.dir().join("tmp/verified"))?;
    let options = ReleaseOptions {
        papers: false,
        sign_key: None,
        // What the image says of its layers; how it says it is compared with the rest.
        compression: compression_of(layout)?,
        ..options.clone()
    };
    let (built, _) = build(repo, id, &options, &place, None, ctx, talk)?;
    Ok(Verification {
        commit: id.to_hex(),
        difference: first_difference(&seen, &built),
        image: seen.digest,
        rebuilt: built.digest,
    })
}

fn first_difference(seen: &Inspection, built: &Image) -> Option<Difference> {
    let differs = |part: String, image: Option<&str>, rebuilt: Option<&str>| Difference {
        part,
        image: image.map(str::to_owned),
        rebuilt: rebuilt.map(str::to_owned),
    };
    for i in 0..seen.layers.len().max(built.layers.len()) {
        let (a, b) = (seen.layers.get(i), built.layers.get(i));
        let (there, here) = (a.map(|l| l.digest.as_str()), b.map(|l| l.digest.as_str()));
        if there != here {
            let name = b.map(|l| &l.name).or(a.map(|l| &l.name));
            let part = format!("layer `{}`", name.map_or("", String::as_str));
            return Some(differs(part, there, here));
        }
    }
    [
        ("configuration", &seen.config, &built.config_digest),
        ("manifest", &seen.digest, &built.digest),
    ]
    .into_iter()
    .find(|(_, there, here)| there != here)
    .map(|(part, there, here)| differs(part.to_owned(), Some(there), Some(here)))
}
