//! The release of a commit: from its id to an image.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use modelv_repo::capture::python;
use modelv_repo::core::commit::Commit;
use modelv_repo::core::env::Env;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::path::RepoPath;
use modelv_repo::wheels::{archive, pip};
use modelv_repo::worktree::{Files as RepoFiles, Ingredient};
use modelv_repo::{Ctx, Repo};
use modelv_serve::ImageConfig;

use crate::app::{self, APP, Links};
use crate::base::{Base, Ground, Stand, prepare};
use crate::demands::Demands;
use crate::entry::{self, Entry, Origin};
use crate::error::{Error, Result};
use crate::estimate::{self, Build};
use crate::golden::{self, Replay};
use crate::layer::{Content, Files, Node};
use crate::layout::LayerInfo;
use crate::packer::{Cache, Packer};
use crate::packing::Compression;
use crate::place::Place;
use crate::sbom::Packed;
use crate::sign::Key;
use crate::steps::{self, Made, Step};
use crate::wheel::{self, Absent, Wanted, Wheel};

mod describe;

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
    /// How layers are packed.
    pub compression: Compression,
    /// Whether papers lie beside the image: its bill of materials and its provenance.
    pub papers: bool,
    /// Whether the model lies beside the image as a CNCF ModelPack, too.
    pub modelpack: bool,
    /// The private key that signs the image and its papers.
    pub sign_key: Option<PathBuf>,
    /// Whether golden requests of the commit are put to the image before it counts.
    pub replay: bool,
    /// Whether a commit is taken that declares how its model is made, and has none.
    pub without_model: bool,
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
    /// What is worth a word and no reason to refuse.
    pub notes: Vec<String>,
    /// What came of the golden requests; `None`: they were not asked for.
    pub replay: Option<Replay>,
}

/// Builds the image of a commit. `talk` is told what is being done.
///
/// # Errors
/// The base, a package, a library or the function to serve is missing, a file has no place in an
/// image, the image does not answer as recorded, or it was interrupted. No image is left behind.
pub fn release(
    repo: &Repo,
    id: CommitId,
    options: &ReleaseOptions,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<Image> {
    let clock = Instant::now();
    let cache = Cache::open(repo.dir().join("cache/layers"))?;
    let place = Place::new(&options.output)?;
    let (mut image, built) = build(repo, id, options, &place, Some(cache), ctx, talk)?;
    // What is told before the next build is how long it takes to build.
    let took = clock.elapsed();
    if options.replay {
        image.replay = Some(match built.has_golden {
            true => {
                talk("golden requests");
                let found = golden::replay_once(repo, place.path(), &image.digest, ctx.cancel)?;
                if found.requests == 0 {
                    return Err(Error::GoldenFile {
                        path: "modelv.toml".into(),
                        detail: "it names golden requests and is not in the image, as `[ingredients]` makes it data"
                            .into(),
                    });
                }
                found
            }
            false => Replay::default(),
        });
    }
    place.publish()?;
    estimate::note(repo, Build::of(&image, &built, options, took));
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
) -> Result<(Image, Built)> {
    let packer = Packer {
        blobs: place.blobs(),
        repo: Some(repo),
        cancel: ctx.cancel,
        cache,
        packing: options.compression.into(),
        hurdles: None,
    };
    let built = Plan::read(repo, id, options).and_then(|plan| {
        let key = options.sign_key.as_deref().map(Key::read).transpose()?;
        let built = plan.build(&packer, talk)?;
        let image = plan.write(place.path(), &built)?;
        if options.modelpack {
            plan.offer_model(place.path(), &built)?;
        }
        if options.papers || key.is_some() {
            talk("papers");
            plan.attach(place.path(), &built, &image, key.as_ref())?;
        }
        Ok((image, built))
    });
    // Whatever an interrupt broke, the interrupt is the reason.
    ctx.cancel.check()?;
    built
}

/// All that decides an image, read before anything is made.
pub(crate) struct Plan<'a> {
    repo: &'a Repo,
    options: &'a ReleaseOptions,
    id: CommitId,
    commit: Commit,
    env: Env,
    files: RepoFiles,
    links: Links,
    /// What is served: a function or a model.
    entry: Entry,
    /// The module of the entry, where the commit has no such file: some package must have it.
    module: Option<entry::Wanted>,
    /// Whether it records golden requests.
    has_golden: bool,
    /// What is worth a word of the commit itself.
    notes: Vec<String>,
    python: Option<PathBuf>,
    /// Packages that were installed in place, and where their modules are in the commit.
    in_place: BTreeMap<String, Vec<RepoPath>>,
}

/// The layers of an image, bottom to top.
pub(crate) struct Built {
    pub(crate) layers: Vec<Made>,
    pub(crate) ground: Ground,
    /// Packages that were not here: their layers can't be made yet, where it is a plan and nothing is fetched.
    pub(crate) absent: Vec<Absent>,
    /// What is worth a word and no reason to refuse.
    pub(crate) notes: Vec<String>,
    /// Whether the commit records golden requests.
    pub(crate) has_golden: bool,
    packages: Vec<Packed>,
}

/// Most layers that engines take.
const LAYERS_MAX: usize = 127;

impl<'a> Plan<'a> {
    pub(crate) fn read(repo: &'a Repo, id: CommitId, options: &'a ReleaseOptions) -> Result<Self> {
        let commit = repo.commit_object(id)?;
        let mut env = repo.env_object(commit.recipe.env)?;
        let mut files = repo.files(id)?;
        // The data stays outside; what is served and is elsewhere comes in.
        let parts = [Ingredient::Code, Ingredient::Config, Ingredient::Model];
        repo.resolve_externals(&mut files, &parts, &Ctx::quiet())?;
        let rules = app::rules_of(repo, &files)?;
        let served = Entry::of(&rules).ok_or_else(|| Error::NoEntry { commit: id.short() })?;
        let links = Links::read(repo, &files)?;
        let mut module = None;
        match &served {
            Entry::Function(_) => {}
            Entry::Model(path) => {
                entry::take_model(repo, id, &mut files, path)?;
                // Nobody asks for Python, whatever trained the model.
                env.interpreter = None;
                env.packages.clear();
                env.details = Default::default();
            }
        }
        let in_place = repo.roots_in_place(&files, &env)?;
        if let Entry::Function(name) = &served {
            let found = entry::find(repo, &files, &in_place, name)?;
            module = match found.map_err(|detail| no_entry(id, name, detail))? {
                Origin::Commit => None,
                Origin::Package(wanted) => Some(wanted),
            };
        }
        let makes_model = rules.train_command().is_some() || !rules.stages().is_empty();
        if commit.model.is_none() && makes_model && !options.without_model {
            return Err(Error::NoModel { commit: id.short() });
        }
        app::take_in(&mut files, rules.serve().warm.as_deref());
        Ok(Self {
            repo,
            options,
            id,
            module,
            has_golden: app::check_golden(repo, &files, &rules)?,
            notes: notes_of(&commit),
            entry: served,
            links,
            python: find_python(repo, &env, options)?,
            in_place,
            commit,
            env,
            files,
        })
    }

    pub(crate) fn build(&self, packer: &Packer<'_>, talk: &mut dyn FnMut(&str)) -> Result<Built> {
        let (wheels, absent) = self.wheels(packer, talk)?;
        if let Some(wanted) = &self.module
            && absent.is_empty()
            && !entry::is_in(&wheels, wanted)
        {
            let detail = wanted.missing.clone();
            packer.refuse(no_entry(self.id, self.entry.name(), detail))?;
        }
        let packages = wheels.iter().map(Wheel::packed).collect();
        let others = others(&wheels, self.id);
        let mut steps = steps::of_packages(wheels);
        steps.extend(self.steps()?);
        for step in &steps {
            talk(&step.name);
        }
        let made = steps::make_all(&steps, packer)?;
        packer.cancel.check()?;
        talk("base");
        let (ground, mut notes) = self.ground(packer, &made)?;
        notes.extend_from_slice(&self.notes);
        notes.extend(others);
        let interpreter = match self.python_in(&ground) {
            Ok(path) => path,
            Err(e) => {
                packer.refuse(e)?;
                String::new()
            }
        };
        let mut layers: Vec<Made> = Vec::new();
        for (layer, cached) in &ground.layers {
            layers.push(Made {
                name: "base".into(),
                layer: layer.clone(),
                cached: *cached,
                unpacked: None,
                demands: Demands::default(),
                packages: Vec::new(),
                took: 0,
            });
        }
        layers.extend(clear(packer, &ground)?);
        layers.extend(made);
        let about = Step::of_files("commit", None, self.about_files(interpreter));
        layers.push(about.make(packer)?);
        if layers.len() > LAYERS_MAX {
            let detail = format!(
                "on it, the image has {} layers; engines take {LAYERS_MAX}",
                layers.len()
            );
            packer.refuse(Error::Base {
                base: self.options.base.to_string(),
                detail,
            })?;
        }
        Ok(Built {
            layers,
            ground,
            absent,
            notes,
            has_golden: self.has_golden,
            packages,
        })
    }

    /// The server, the model, and the code with its configuration.
    fn steps(&self) -> Result<Vec<Step>> {
        let mut server = Files::default();
        let program = Content::Path(self.options.server.clone());
        server.add_file("opt/modelv/bin/modelv", true, program);
        let key = format!("server {}", sha256_of(&self.options.server)?);
        let mut out = vec![Step::of_files("server", Some(key), server)];
        let files = |wanted: &[Ingredient]| app::files_of(&self.files, wanted, &self.links);
        out.extend(steps::of_model(files(&[Ingredient::Model])?));
        let code = files(&[Ingredient::Code, Ingredient::Config])?;
        if !code.nodes.is_empty() {
            let name = "code and config";
            out.push(Step::of_files(name, Some(format!("{name} {code:?}")), code));
        }
        Ok(out)
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

    /// The packages of the commit. What they ask for decides what the interpreter base brings.
    fn wheels(
        &self,
        packer: &Packer<'_>,
        talk: &mut dyn FnMut(&str),
    ) -> Result<(Vec<Wheel>, Vec<Absent>)> {
        let Some(python) = &self.python else {
            return Ok((Vec::new(), Vec::new()));
        };
        let packages = &self.env.packages;
        talk(&format!("finding {} packages", packages.len()));
        let wanted = Wanted {
            repo: self.repo,
            env: &self.env,
            cache: self.repo.dir().join("cache/wheels"),
            python,
            minor: self.minor().unwrap_or_default(),
            in_place: &self.in_place,
        };
        wanted.find_all(packer)
    }

    /// Addresses of the wheels that would be fetched, as far as an index tells them.
    pub(crate) fn locate(
        &self,
        absent: &[Absent],
        cancel: &modelv_repo::Cancel,
    ) -> Result<Vec<String>> {
        let is_fetched = |label: String| absent.iter().any(|a| !a.is_stored && a.label == label);
        let packages = self.env.packages.iter();
        let packages: Vec<_> = packages.filter(|p| is_fetched(p.label())).collect();
        match &self.python {
            Some(python) => Ok(pip::locate(python, &packages, cancel)?),
            None => Ok(Vec::new()),
        }
    }

    /// The base, with every library that the layers above it need.
    fn ground(&self, packer: &Packer<'_>, above: &[Made]) -> Result<(Ground, Vec<String>)> {
        let mut demands = Demands::default();
        for made in above {
            demands.add(&made.demands);
        }
        let pair = self.python.as_deref().zip(self.version());
        let stand = Stand {
            python: pair,
            alone: self.entry.is_model().then_some(&*self.options.server),
            env: &self.env,
        };
        let ground = prepare(&self.options.base, packer, &stand, &demands)?;
        if let Some(told) = ground.unmade.clone() {
            return Ok((ground, vec![told]));
        }
        let mut notes = match self.libraries() {
            Some(known) => demands.forget_unused(&known, &ground.seen.paths),
            None => Vec::new(),
        };
        let missing = demands.missing(&ground.seen.paths, &ground.seen.offers);
        if !missing.is_empty() {
            packer.refuse(Error::Libraries { missing })?;
        }
        notes.extend(demands.elsewhere(&ground.seen.paths));
        Ok((ground, notes))
    }

    /// The libraries that packages found where the commit was made; `None`: nobody looked.
    fn libraries(&self) -> Option<BTreeSet<&str>> {
        let details = &self.env.details;
        let owned = details.system.iter().flat_map(|s| &s.libraries);
        let free = details.libraries.iter().map(|l| &l.name);
        let known: BTreeSet<&str> = owned.chain(free).map(String::as_str).collect();
        Some(known).filter(|known| !known.is_empty())
    }

    /// The interpreter in the base; nothing where none is needed.
    fn python_in(&self, ground: &Ground) -> Result<String> {
        if self.entry.is_model() {
            return Ok(String::new());
        }
        let bad = |detail: String| Error::Base {
            base: self.options.base.to_string(),
            detail,
        };
        let minor = self
            .minor()
            .ok_or_else(|| bad("the commit records no interpreter".into()))?;
        if ground.unmade.is_some() {
            return Ok(format!("/usr/bin/python{minor}"));
        }
        ["usr/local/bin", "usr/bin", "bin", "opt/venv/bin"]
            .iter()
            .map(|dir| format!("{dir}/python{minor}"))
            .find(|path| ground.seen.paths.contains(path.as_bytes()))
            .map(|path| format!("/{path}"))
            .ok_or_else(|| {
                let text = format!("it has no python{minor}, which the commit was made with");
                bad(text)
            })
    }

    /// Where modules are imported from: packages, and what was installed in place.
    fn site_dirs(&self) -> Vec<PathBuf> {
        if self.entry.is_model() {
            return Vec::new();
        }
        let app = PathBuf::from(format!("/{APP}"));
        let roots = self.in_place.values().flatten();
        let roots = roots.map(|root| app.join(OsStr::from_bytes(root.as_bytes())));
        let mut dirs = vec![format!("/{}", wheel::SITE).into()];
        dirs.extend(roots);
        dirs
    }

    /// What the server reads when it starts.
    fn about_files(&self, interpreter: String) -> Files {
        let config = ImageConfig {
            app_dir: format!("/{APP}").into(),
            commit: self.id.to_hex(),
            entry: self.entry.function().to_owned(),
            listen: ([0, 0, 0, 0], 8080).into(),
            model: self.entry.model(),
            name: self.name(),
            python: interpreter.into(),
            recipe: self.commit.recipe.id().to_hex(),
            site_dirs: self.site_dirs(),
            workers: 1,
        };
        let mut files = Files::default();
        if !self.entry.is_model() {
            // Relative, so that it leads to the same file in an unpacked image.
            let python = config.python.display();
            let link = Node::Link(format!("../../..{python}").into_bytes());
            files.add(&wheel::INTERPRETER[1..], link);
        }
        // A commit without files would leave no folder to work in.
        files.add(APP, Node::Dir { sticky: false });
        let bytes = serde_json::to_vec_pretty(&config).unwrap_or_default();
        files.add_file("opt/modelv/image.json", false, Content::Bytes(bytes));
        files
    }
}

fn no_entry(id: CommitId, entry: &str, detail: String) -> Error {
    Error::Entry {
        commit: id.short(),
        entry: entry.to_owned(),
        detail,
    }
}

/// What is to be said of a commit whose image may be built all the same.
fn notes_of(commit: &Commit) -> Vec<String> {
    let model = commit.model.filter(|_| commit.is_stale());
    let note = |recipe: String| {
        format!("its model is stale: recipe {recipe} made it, which is not that of this commit")
    };
    model.map(|m| note(m.recipe.short())).into_iter().collect()
}

/// An image of ours may be the base of the next one: what it served must not show through.
fn clear(packer: &Packer<'_>, ground: &Ground) -> Result<Option<Made>> {
    let below = |path: &Vec<u8>| path.starts_with(b"opt/modelv/");
    if !ground.seen.paths.iter().any(below) {
        return Ok(None);
    }
    let mut files = Files::default();
    files.add_file("opt/.wh.modelv", false, Content::Bytes(vec![]));
    Step::of_files("clear", None, files).make(packer).map(Some)
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

/// What is said of wheels that are not those that were installed: a patched package, or one that was built on the
/// machine it trained on.
fn others(wheels: &[Wheel], id: CommitId) -> Option<String> {
    let labels = wheels.iter().filter(|w| w.is_other).map(|w| &*w.label);
    let labels: Vec<&str> = labels.collect();
    let first = labels.first()?;
    let more = match labels.len() - 1 {
        0 => String::new(),
        n => format!(" and of {n} more"),
    };
    Some(format!(
        "the wheel of {first}{more} has other files than those that were installed; where they are still there, \
         `modelv env vendor {}` keeps those",
        id.short()
    ))
}

/// SHA-256 of a file of any size, in digits.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    let (digest, _) =
        modelv_repo::wheels::record::sha256_of(file, u64::MAX).map_err(Error::io("read", path))?;
    Ok(modelv_repo::core::id::to_hex(&digest))
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
