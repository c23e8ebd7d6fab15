//! What is said of the layers of an image: configuration, manifest and index, and what lies beside them.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_repo::capture::clock;

use super::{Built, Image, Plan, sha256_of};
use crate::attest::attach;
use crate::error::Result;
use crate::explain::runs_of;
use crate::layer::Layer;
use crate::layout::{About, LayerInfo, oci_arch, write};
use crate::modelpack;
use crate::packing::Packing;
use crate::sbom::Facts;
use crate::sign::Key;

impl Plan<'_> {
    /// Writes configuration, manifest and index of the layers, which all are known.
    pub(crate) fn write(&self, dir: &Path, built: &Built) -> Result<Image> {
        let about = About {
            created: clock::format_rfc3339(self.commit.time.seconds),
            architecture: oci_arch(),
            labels: self.labels(&built.ground.name),
            env: image_env(&built.ground.env),
            reference: self.name(),
        };
        let pairs: Vec<(String, Layer)> = built
            .layers
            .iter()
            .map(|made| (made.name.clone(), made.layer.clone()))
            .collect();
        let (digest, config_digest) = write(dir, &pairs, &about)?;
        let layers = built.layers.iter().map(|made| LayerInfo {
            name: made.name.clone(),
            digest: made.layer.digest.clone(),
            diff_id: made.layer.diff_id.clone(),
            size: made.layer.size,
            cached: made.cached,
        });
        Ok(Image {
            digest,
            config_digest,
            layers: layers.collect(),
            notes: built.notes.clone(),
            replay: None,
        })
    }

    /// Lays a manifest of the model alone beside the image.
    pub(super) fn offer_model(&self, dir: &Path, built: &Built) -> Result<()> {
        let about = modelpack::About {
            created: clock::format_rfc3339(self.commit.time.seconds),
            name: self.name(),
            version: self.id.short(),
            description: self.commit.subject().to_owned(),
            commit: self.id.to_hex(),
        };
        modelpack::attach(dir, &built.layers, &about)
    }

    /// Lays papers beside the image.
    pub(super) fn attach(
        &self,
        dir: &Path,
        built: &Built,
        image: &Image,
        key: Option<&Key>,
    ) -> Result<()> {
        let facts = Facts {
            repo: self.repo,
            id: self.id,
            commit: &self.commit,
            env: &self.env,
            files: &self.files,
            name: self.name(),
            base: &built.ground.name,
            packages: &built.packages,
            debs: &built.ground.seen.debs,
            runs: &runs_of(self.repo, &self.commit)?,
            digest: &image.digest,
            server: &sha256_of(&self.options.server)?,
            compression: Packing::from(self.options.compression).id(),
        };
        attach(dir, &facts, key)
    }

    fn labels(&self, base: &str) -> BTreeMap<String, String> {
        let created = clock::format_rfc3339(self.commit.time.seconds);
        [
            ("org.opencontainers.image.revision", self.id.to_hex()),
            ("org.opencontainers.image.version", self.id.short()),
            ("org.opencontainers.image.created", created),
            ("org.opencontainers.image.title", self.name()),
            (
                "org.opencontainers.image.description",
                self.commit.subject().to_owned(),
            ),
            ("dev.modelv.base", base.to_owned()),
            ("dev.modelv.commit", self.id.to_hex()),
            ("dev.modelv.recipe", self.commit.recipe.id().to_hex()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

/// The variables of the base, and ours above them.
fn image_env(base: &[String]) -> Vec<String> {
    let ours = [
        "PATH=/opt/modelv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        "HOME=/tmp",
    ];
    let name = |v: &str| v.split('=').next().unwrap_or("").to_owned();
    let kept = base
        .iter()
        .filter(|v| ours.iter().all(|o| name(o) != name(v)));
    kept.cloned()
        .chain(ours.iter().map(|o| (*o).to_owned()))
        .collect()
}
