//! What a release would do: which layers are known, what would have to be fetched and pushed, and what is
//! in its way. Makes no layer, fetches no package, and leaves nothing behind.

use std::sync::Mutex;

use modelv_repo::core::id::CommitId;
use modelv_repo::ctx::Quiet;
use modelv_repo::{Cancel, Ctx, Repo};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::estimate::{Estimate, estimate};
use crate::packer::{Cache, Packer};
use crate::pull::Source;
use crate::registry::{Access, Registry, index_agent, size_at};
use crate::release::{Built, Plan, ReleaseOptions};
use crate::steps::Made;

/// What a release would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReleasePlan {
    /// The commit.
    pub commit: String,
    /// Bottom to top.
    pub layers: Vec<PlannedLayer>,
    /// Packages that would be fetched.
    pub fetch: Vec<String>,
    /// Bytes of what would be fetched: of packages, as far as an index tells them, and of the base.
    pub fetch_bytes: u64,
    /// Packages among them of whose size nothing is known.
    pub fetch_unknown: usize,
    /// Packages that would be taken from the repository, where they are vendored.
    pub vendored: Vec<String>,
    /// What is in the way; a release would end with the first of it.
    pub problems: Vec<String>,
    /// What may be in the way when the image runs.
    pub notes: Vec<String>,
    /// Digest of the image, if all its layers are known.
    pub digest: Option<String>,
    /// What a push would send.
    pub push: Option<PlannedPush>,
    /// How long it would take; not told where something is in the way.
    pub estimate: Option<Estimate>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedLayer {
    /// What it holds.
    pub name: String,
    /// Whether it is there already.
    pub cached: bool,
    /// SHA-256 of the blob, if it is known.
    pub digest: Option<String>,
    /// Bytes of the blob, if it is known.
    pub size: Option<u64>,
    /// Bytes of its files, if they were counted.
    pub unpacked: Option<u64>,
}

/// What a push would send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedPush {
    /// Where to.
    pub reference: String,
    /// Bytes of layers that are there.
    pub present: u64,
    /// Bytes of layers that would be sent.
    pub send: u64,
    /// Layers whose size is not known before they are made.
    pub unknown: usize,
}

impl From<&Made> for PlannedLayer {
    fn from(made: &Made) -> Self {
        let known = made.layer.is_known();
        Self {
            name: made.name.clone(),
            cached: made.cached,
            digest: known.then(|| made.layer.digest.clone()),
            size: known.then_some(made.layer.size),
            unpacked: made.unpacked,
        }
    }
}

/// Whom a plan asks beside this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The index of packages: how large those are that would be fetched.
    pub index: bool,
    /// A registry: what a push there would send.
    pub registry: Option<&'a Source>,
}

/// Looks what a release of `id` would do. The output that `options` names is not looked at.
///
/// # Errors
/// The repository can't be read, the registry can't be reached, or it was interrupted. What is in the way
/// of the release is no error: the plan says it.
pub fn plan(
    repo: &Repo,
    id: CommitId,
    options: &ReleaseOptions,
    asked: Asked<'_>,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<ReleasePlan> {
    let top = std::env::temp_dir();
    let temp = tempfile::tempdir().map_err(Error::io("create", &top))?;
    let blobs = temp.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
    let packer = Packer {
        blobs,
        repo: Some(repo),
        cancel: ctx.cancel,
        progress: &Quiet,
        cache: Some(Cache::at(repo.dir().join("cache/layers"))),
        packing: options.compression.into(),
        hurdles: Some(Mutex::default()),
    };
    let mut out = ReleasePlan {
        commit: id.to_hex(),
        ..ReleasePlan::default()
    };
    let planned = Plan::read(repo, id, options)
        .and_then(|plan| plan.build(&packer, talk).map(|built| (plan, built)));
    ctx.cancel.check()?;
    match planned {
        Ok((plan, built)) => {
            out.take(&built);
            if asked.index {
                let urls = plan.locate(&built.absent, ctx.cancel)?;
                out.weigh(&urls, ctx.cancel)?;
            }
            out.fetch_bytes += built.ground.brought;
            let hurdles = packer.hurdles.as_ref().and_then(|h| h.lock().ok());
            out.problems = hurdles.map(|h| h.clone()).unwrap_or_default();
            if out.problems.is_empty() {
                out.estimate = Some(estimate(repo, &built, options));
            }
            let all_known = built.layers.iter().all(|m| m.layer.is_known());
            if all_known && built.absent.is_empty() && out.problems.is_empty() {
                out.digest = Some(plan.write(temp.path(), &built)?.digest);
            }
        }
        // What kept it from being looked at to the end is one more.
        Err(e) => {
            let hurdles = packer.hurdles.as_ref().and_then(|h| h.lock().ok());
            out.problems = hurdles.map(|h| h.clone()).unwrap_or_default();
            out.problems.push(e.to_string());
        }
    }
    if let Some(Source::Registry(at, credentials)) = asked.registry {
        let mut registry = Registry::new(at, credentials.clone(), Access::Pull, ctx.cancel);
        out.push = Some(out.ask(&mut registry, at.to_string())?);
    }
    Ok(out)
}

impl ReleasePlan {
    fn take(&mut self, built: &Built) {
        self.layers = built.layers.iter().map(PlannedLayer::from).collect();
        self.notes.clone_from(&built.notes);
        for absent in &built.absent {
            let list = match (absent.is_stored, absent.is_local) {
                (true, _) => &mut self.vendored,
                (false, false) => &mut self.fetch,
                // It is in the way, and nothing that is fetched.
                (false, true) => continue,
            };
            list.push(absent.label.clone());
        }
    }

    /// Asks how large the wheels are that would be fetched.
    fn weigh(&mut self, urls: &[String], cancel: &Cancel) -> Result<()> {
        let agent = index_agent();
        let mut known = 0;
        for url in urls {
            cancel.check()?;
            // What lies in a folder of this machine is not fetched, and its size is told by nobody.
            let size = url
                .starts_with("http")
                .then(|| size_at(&agent, url))
                .flatten();
            self.fetch_bytes += size.unwrap_or(0);
            known += usize::from(size.is_some());
        }
        self.fetch_unknown = self.fetch.len().saturating_sub(known);
        Ok(())
    }

    fn ask(&self, registry: &mut Registry<'_>, reference: String) -> Result<PlannedPush> {
        let mut push = PlannedPush {
            reference,
            present: 0,
            send: 0,
            unknown: self.fetch.len() + self.vendored.len(),
        };
        for layer in &self.layers {
            match (&layer.digest, layer.size) {
                (Some(digest), Some(size)) => match registry.has_blob(digest)? {
                    true => push.present += size,
                    false => push.send += size,
                },
                _ => push.unknown += 1,
            }
        }
        Ok(push)
    }
}
