//! The release of a commit: from its id to an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_repo::capture::{clock, python};
use modelv_repo::core::commit::Commit;
use modelv_repo::core::env::Env;
use modelv_repo::core::id::CommitId;
use modelv_repo::wheels::archive;
use modelv_repo::worktree::{Files as RepoFiles, Ingredient};
use modelv_repo::{Ctx, Repo};
use modelv_serve::ImageConfig;
use sha2::{Digest, Sha256};

use crate::app::{self, APP, Links};
use crate::base::{Base, Ground, prepare};
use crate::demands::Demands;
use crate::error::{Error, Result};
use crate::layer::{Content, Files, Layer, Node};
use crate::layout::{About, LayerInfo, oci_arch, write};
use crate::packer::{Cache, Packer};
use crate::place::Place;
use crate::wheel::{self, Wanted, Wheel};

/// What a release is made from, beside the commit.
#[derive(Debug, Clone)]
pub struct ReleaseOptions {
    /// Folder of the image layout; made, or replaced if it is one already.
    pub output: PathBuf,
    /// What the image stands on.
    pub base: Base,
    /// The interpreter that fetches wheels (and is packed by [`Base::Interpreter`]).
    pub python: Option<PathBuf>,
    /// The program that serves in the image.
    pub server: PathBuf,
    /// What people call the commit, for the labels.
    pub name: Option<String>,
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the manifest: the image's identity.
    pub digest: String,
    /// Digest of the configuration: what `docker images` shows as its id.
    pub config_digest: String,
    /// Bottom to top.
    pub layers: Vec<LayerInfo>,
}

/// Builds the image of a commit. `talk` is told what is being done.
///
/// # Errors
/// The base, a package, a library or the function to serve is missing, a file has no place in an
/// image, or it was interrupted. No image is left behind.
pub fn release(
    repo: &Repo,
    id: CommitId,
    options: &ReleaseOptions,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<Image> {
    let cache = Cache::open(repo.dir().join("cache/layers"))?;
    let place = Place::new(&options.output)?;
    let image = build(repo, id, options, &place, Some(cache), ctx, talk)?;
    place.publish()?;
    Ok(image)
}

/// Builds into a place that nobody sees yet. Layers that were made before are used if there is a
/// cache of them.
pub(crate) fn build(
    repo: &Repo,
    id: CommitId,
    options: &ReleaseOptions,
    place: &Place,
    cache: Option<Cache>,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<Image> {
    let packer = Packer {
        blobs: place.blobs(),
        repo: Some(repo),
        cancel: ctx.cancel,
        cache,
    };
    let plan = Plan::read(repo, id, options)?;
    let built = plan.build(&packer, place.path(), talk);
    // Whatever an interrupt broke, the interrupt is the reason.
    ctx.cancel.check()?;
    built
}

/// All that decides an image, read before anything is made.
struct Plan<'a> {
    repo: &'a Repo,
    options: &'a ReleaseOptions,
    id: CommitId,
    commit: Commit,
    env: Env,
    files: RepoFiles,
    links: Links,
    entry: String,
    python: Option<PathBuf>,
}

/// Layers from bottom to top: what they hold, and whether they were known.
type Layers = Vec<(String, Layer, bool)>;

impl<'a> Plan<'a> {
    fn read(repo: &'a Repo, id: CommitId, options: &'a ReleaseOptions) -> Result<Self> {
        let commit = repo.commit_object(id)?;
        let env = repo.env_object(commit.recipe.env)?;
        let files = repo.files(id)?;
        let entry = app::entry_of(repo, &files)?;
        Ok(Self {
            repo,
            options,
            id,
            entry: entry.ok_or_else(|| Error::NoEntry { commit: id.short() })?,
            links: Links::read(repo, &files)?,
            python: find_python(repo, &env, options)?,
            commit,
            env,
            files,
        })
    }

    fn build(&self, packer: &Packer<'_>, dir: &Path, talk: &mut dyn FnMut(&str)) -> Result<Image> {
        let mut server = Files::default();
        let program = Content::Path(self.options.server.clone());
        server.add_file("opt/modelv/bin/modelv", true, program);
        let wheels = self.wheels(packer, talk)?;
        let mut site = Files::default();
        for wheel in &wheels {
            wheel::lay_out(wheel, &self.shebang(), &mut site)?;
        }
        talk("base");
        let ground = self.ground(packer, &[&server, &site])?;
        let interpreter = self.python_in(&ground)?;
        let mut layers: Layers = ground
            .layers
            .iter()
            .map(|(layer, cached)| ("base".to_owned(), layer.clone(), *cached))
            .collect();
        layers.extend(clear(packer, &ground)?);
        let mut add = |name: String, key: &str, files: &Files| -> Result<()> {
            talk(&name);
            let (layer, cached) = packer.by_key(key, || packer.pack_files(files))?;
            layers.push((name, layer, cached));
            Ok(())
        };
        if !wheels.is_empty() {
            let keys: Vec<&str> = wheels.iter().map(|w| w.sha256.as_str()).collect();
            let key = format!("wheels {} {}", self.shebang(), keys.join(" "));
            add(format!("env: {} packages", wheels.len()), &key, &site)?;
        }
        let key = format!("server {}", sha256_of(&self.options.server)?);
        add("server".into(), &key, &server)?;
        for (name, wanted) in [
            ("model", &[Ingredient::Model][..]),
            ("code and config", &[Ingredient::Code, Ingredient::Config]),
        ] {
            let files = app::files_of(&self.files, wanted, &self.links)?;
            if !files.nodes.is_empty() {
                add(name.into(), &format!("{name} {files:?}"), &files)?;
            }
        }
        let about = packer.pack_files(&self.about_files(interpreter))?;
        layers.push(("commit".into(), about, false));
        self.write(dir, layers, &ground)
    }

    fn version(&self) -> Option<&str> {
        self.env.interpreter.as_ref().map(|i| i.version.as_str())
    }

    fn minor(&self) -> Option<String> {
        self.version().map(archive::minor_of)
    }

    fn name(&self) -> String {
        let short = || self.id.short();
        self.options.name.clone().unwrap_or_else(short)
    }

    /// What scripts begin with. The interpreter alone brings no `env`.
    fn shebang(&self) -> String {
        let start = match self.options.base {
            Base::Interpreter => "/usr/local/bin/python",
            _ => "/usr/bin/env python",
        };
        format!("{start}{}", self.minor().unwrap_or_default())
    }

    /// The packages of the commit. What they ask for decides what the interpreter base brings.
    fn wheels(&self, packer: &Packer<'_>, talk: &mut dyn FnMut(&str)) -> Result<Vec<Wheel>> {
        let Some(python) = &self.python else {
            return Ok(Vec::new());
        };
        let packages = &self.env.packages;
        talk(&format!("finding {} packages", packages.len()));
        let wanted = Wanted {
            repo: self.repo,
            env: &self.env,
            cache: self.repo.dir().join("cache/wheels"),
            python,
            minor: self.minor().unwrap_or_default(),
        };
        wanted.find_all(packer.cancel)
    }

    /// The base, with every library that the layers `above` it need.
    fn ground(&self, packer: &Packer<'_>, above: &[&Files]) -> Result<Ground> {
        let mut demands = Demands::default();
        for files in above {
            demands.look_at_all(files)?;
        }
        let pair = self.python.as_deref().zip(self.version());
        let ground = prepare(&self.options.base, packer, pair, &demands)?;
        let missing = demands.missing(&ground.paths);
        if missing.is_empty() {
            return Ok(ground);
        }
        Err(Error::Libraries { missing })
    }

    fn python_in(&self, ground: &Ground) -> Result<String> {
        let bad = |detail: String| Error::Base {
            base: self.options.base.to_string(),
            detail,
        };
        let minor = self
            .minor()
            .ok_or_else(|| bad("the commit records no interpreter".into()))?;
        ["usr/local/bin", "usr/bin", "bin", "opt/venv/bin"]
            .iter()
            .map(|dir| format!("{dir}/python{minor}"))
            .find(|path| ground.paths.contains(path.as_bytes()))
            .map(|path| format!("/{path}"))
            .ok_or_else(|| {
                let text = format!("it has no python{minor}, which the commit was made with");
                bad(text)
            })
    }

    /// What the server reads when it starts.
    fn about_files(&self, interpreter: String) -> Files {
        let config = ImageConfig {
            app_dir: format!("/{APP}").into(),
            commit: self.id.to_hex(),
            entry: self.entry.clone(),
            listen: ([0, 0, 0, 0], 8080).into(),
            name: self.name(),
            python: interpreter.into(),
            recipe: self.commit.recipe.id().to_hex(),
            site_dirs: vec![format!("/{}", wheel::SITE).into()],
            workers: 1,
        };
        let mut files = Files::default();
        // A commit without files would leave no folder to work in.
        files.add(APP, Node::Dir { sticky: false });
        let bytes = serde_json::to_vec_pretty(&config).unwrap_or_default();
        files.add_file("opt/modelv/image.json", false, Content::Bytes(bytes));
        files
    }

    fn write(&self, dir: &Path, layers: Layers, ground: &Ground) -> Result<Image> {
        let about = About {
            created: clock::format_rfc3339(self.commit.time.seconds),
            architecture: oci_arch(),
            labels: self.labels(&ground.name),
            env: image_env(&ground.env),
            reference: self.name(),
        };
        let pairs: Vec<(String, Layer)> = layers
            .iter()
            .map(|(name, layer, _)| (name.clone(), layer.clone()))
            .collect();
        let (digest, config_digest) = write(dir, &pairs, &about)?;
        let layers = layers.into_iter().map(|(name, l, cached)| LayerInfo {
            name,
            digest: l.digest,
            diff_id: l.diff_id,
            size: l.size,
            cached,
        });
        Ok(Image {
            digest,
            config_digest,
            layers: layers.collect(),
        })
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

/// An image of ours may be the base of the next one: what it served must not show through.
fn clear(packer: &Packer<'_>, ground: &Ground) -> Result<Option<(String, Layer, bool)>> {
    let below = |path: &Vec<u8>| path.starts_with(b"opt/modelv/");
    if !ground.paths.iter().any(below) {
        return Ok(None);
    }
    let mut files = Files::default();
    files.add_file("opt/.wh.modelv", false, Content::Bytes(vec![]));
    Ok(Some(("clear".into(), packer.pack_files(&files)?, false)))
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

/// The interpreter that fetches wheels: of the commit's own minor version.
fn find_python(repo: &Repo, env: &Env, options: &ReleaseOptions) -> Result<Option<PathBuf>> {
    if env.interpreter.is_none() {
        return Ok(None);
    }
    let configured = repo
        .config("env.python")
        .or_else(|| repo.rules().ok()?.env_python());
    let found = python::find(
        repo.root(),
        options.python.as_deref(),
        configured.as_deref(),
    )?;
    found
        .map(Some)
        .ok_or_else(|| modelv_repo::Error::not_found("interpreter", "python3").into())
}

fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(modelv_repo::core::id::to_hex(&Sha256::digest(&bytes)))
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
