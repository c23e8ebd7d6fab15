//! Vendored wheels: the packages of an environment, kept in the store beside the commits that were
//! made with them, so that the environment can be made again without a network. See `spec/wheels.md`.
//!
//! They are a commit of their own that `refs/wheels/ENV` names: collected, checked, pushed and
//! fetched like every other. Must never take a wheel in that is not what the environment records.

pub mod archive;
mod in_place;
pub mod pip;
pub mod record;
mod repack;
mod search;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_core::commit::{Commit, Time};
use modelv_core::env::{Env, Package};
use modelv_core::id::{BlobId, CommitId, EnvId};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::fs;

use crate::capture::{env, python};
use crate::commit::{nobody, write_recipe};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::recreate::find_interpreter;
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, SnapFile};
use archive::{Proof, check_files, minor_of, prove};
use search::Search;

/// What such a commit says of itself.
const FACT: &str = "wheels";

/// Where `vendor_env` looks for wheels, beside this machine's caches and installed packages.
#[derive(Debug, Clone, Default)]
pub struct VendorOptions {
    /// Folders with wheels.
    pub folders: Vec<PathBuf>,
    /// Package indexes, the first before the others; none: pip's own.
    pub indexes: Vec<String>,
    /// Ask no index.
    pub offline: bool,
    /// The interpreter whose packages are taken, and which fetches the rest.
    pub python: Option<PathBuf>,
}

/// A wheel in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWheel {
    /// Its file name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    blob: BlobId,
}

impl StoredWheel {
    fn is_of(&self, package: &Package) -> bool {
        let stem = self.name.strip_suffix(".whl");
        stem.is_some_and(|s| package.wheel_tags(s).is_some())
    }
}

/// What `vendor_env` did.
#[derive(Debug)]
pub struct Vendored {
    /// The environment.
    pub env: EnvId,
    /// All wheels that are in the store for it now.
    pub wheels: Vec<StoredWheel>,
    /// Packages that came now.
    pub added: usize,
    /// Of those, packages that were put together from files that lay unpacked.
    pub repacked: usize,
    /// Packages of which nothing was recorded but name and version.
    pub unproved: Vec<String>,
    /// Packages that were installed in place from the repository: the commit has their code, and needs no wheel.
    pub in_commit: Vec<String>,
    /// Packages that can't be had, with the reason.
    pub missing: Vec<(String, String)>,
}

/// Whether a commit holds vendored wheels.
pub(crate) fn holds_wheels(commit: &Commit) -> bool {
    commit.extra.contains_key(FACT) && commit.parents.is_empty()
}

/// The ref that names the wheels of an environment.
pub(crate) fn ref_of(env: EnvId) -> String {
    format!("{}{env}", names::WHEELS)
}

impl Repo {
    /// The wheels that are in the store for an environment.
    ///
    /// # Errors
    /// They are damaged.
    pub fn vendored(&self, env: EnvId) -> Result<Vec<StoredWheel>> {
        let Some(id) = self.ref_commit(&ref_of(env)) else {
            return Ok(Vec::new());
        };
        self.wheels_of(id)
    }

    pub(crate) fn wheels_of(&self, id: CommitId) -> Result<Vec<StoredWheel>> {
        let is_wheel = |name: &str| name.ends_with(".whl") && !name.contains('/');
        let files = self.files(id)?.into_iter().filter_map(|(path, file)| {
            let name = String::from_utf8(path.as_bytes().to_vec()).ok()?;
            let (size, blob) = (file.size, file.blob);
            is_wheel(&name).then_some(StoredWheel { name, size, blob })
        });
        Ok(files.collect())
    }

    /// Puts the wheels of a commit's environment into the store: those that lie on this machine,
    /// then those that an index has. What is there already stays.
    ///
    /// # Errors
    /// The commit records no environment, or one of another kind of machine; there is no such
    /// interpreter here; nothing can be written. A package that can't be had is no error.
    pub fn vendor_env(
        &mut self,
        id: CommitId,
        options: &VendorOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Vendored> {
        // Who comes second finds what the first has brought.
        let path = self.dir().join("wheels.lock");
        let lock = fs::open_or_create(&path).map_err(Error::io("open", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        self.log.catch_up()?;
        let want = self.recorded_env(id)?;
        let minor = self.check_platform(id, &want)?;
        let mut out = Vendored {
            env: want.id(),
            wheels: self.vendored(want.id())?,
            added: 0,
            repacked: 0,
            unproved: Vec::new(),
            in_commit: Vec::new(),
            missing: Vec::new(),
        };
        let mut open: Vec<&Package> = Vec::new();
        let files = match want.packages.iter().any(|p| p.editable) {
            true => self.files(id)?,
            false => Files::new(),
        };
        for package in &want.packages {
            if package.editable && self.project_of(&files, package)?.is_some() {
                out.in_commit.push(package.label());
            } else if !out.wheels.iter().any(|w| w.is_of(package)) {
                open.push(package);
            }
        }
        let temp = self.dir().join("tmp");
        fs::create_dirs(&temp).map_err(Error::io("create", &temp))?;
        let temp = tempfile::tempdir_in(&temp).map_err(Error::io("create", &temp))?;
        let found = self.gather(&want, &minor, &open, options, temp.path(), &mut out, ctx)?;
        out.added = found.len();
        if !found.is_empty() {
            out.wheels = match self.keep_wheels(want.id(), &found, ctx) {
                // What it found in the store was collected before it could name it.
                Err(Error::Collected { .. }) => self.keep_wheels(want.id(), &found, ctx)?,
                done => done?,
            };
        }
        Ok(out)
    }

    /// Takes the vendored wheels of an environment out of the repository: `gc` collects them.
    ///
    /// # Errors
    /// There are none.
    pub fn drop_vendored(&mut self, env: EnvId) -> Result<()> {
        let name = ref_of(env);
        let old = self.log.refs.get(&name).cloned();
        if old.is_none() {
            return Err(Error::not_found("vendored environment", env.short()));
        }
        let new = None;
        self.update_refs(vec![RefChange { name, old, new }])
            .map(drop)
    }

    /// Minor version of the recorded interpreter. Wheels for another kind of machine can't be tried
    /// here, nor fetched by this machine's pip.
    fn check_platform(&self, id: CommitId, want: &Env) -> Result<String> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        if (want.os.as_str(), want.arch.as_str()) != (os, arch) {
            return Err(Error::State(format!(
                "commit `{}` was made on {} {}, this machine is {os} {arch}",
                id.short(),
                want.os,
                want.arch
            )));
        }
        let interpreter = want.interpreter.as_ref().ok_or_else(|| {
            Error::State(format!("commit `{}` records no interpreter", id.short()))
        })?;
        Ok(minor_of(&interpreter.version))
    }

    /// Wheels of the open packages, proved, each a file.
    #[expect(clippy::too_many_arguments, reason = "one call, from one place")]
    fn gather(
        &self,
        want: &Env,
        minor: &str,
        open: &[&Package],
        options: &VendorOptions,
        temp: &Path,
        out: &mut Vendored,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<PathBuf>> {
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let mut search = self.search(options)?;
        let (mut found, mut away, mut reasons) = (Vec::new(), Vec::new(), BTreeMap::new());
        self.build_in_place(want, open, options, (temp, &mut search), &mut reasons, ctx)?;
        ctx.progress
            .start("vendoring", Unit::Items, Some(open.len() as u64));
        for package in open {
            ctx.cancel.check()?;
            match search.find(package, minor, temp, ctx.cancel)? {
                Ok(wheel) => {
                    ctx.progress.advance(1);
                    out.repacked += usize::from(wheel.repacked);
                    out.unproved
                        .extend((wheel.proof == Proof::Name).then(|| package.label()));
                    found.push(wheel.path);
                }
                Err(why) => {
                    away.push(*package);
                    if let Some(why) = why {
                        reasons.entry(package.name.clone()).or_insert(why);
                    }
                }
            }
        }
        if !away.is_empty() && !options.offline {
            let into = temp.join("fetched");
            fs::create_dirs(&into).map_err(Error::io("create", &into))?;
            let public: Vec<&Package> = away.iter().copied().filter(|p| !p.editable).collect();
            fetch_from_index(want, &public, &into, options, &mut reasons, ctx)?;
            let mut fetched = Search::default();
            fetched.add_folder(&into);
            let still = std::mem::take(&mut away);
            for package in still {
                match fetched.find(package, minor, temp, ctx.cancel)? {
                    Ok(wheel) => {
                        ctx.progress.advance(1);
                        out.unproved
                            .extend((wheel.proof == Proof::Name).then(|| package.label()));
                        found.push(wheel.path);
                    }
                    Err(why) => {
                        away.push(package);
                        reasons.extend(why.map(|w| (package.name.clone(), w)));
                    }
                }
            }
        }
        ctx.progress.finish();
        let none = || "no wheel of exactly this version is on this machine".to_owned();
        out.missing = away
            .iter()
            .map(|p| (p.label(), reasons.remove(&p.name).unwrap_or_else(none)))
            .collect();
        Ok(found)
    }

    fn search(&self, options: &VendorOptions) -> Result<Search> {
        let mut search = Search::default();
        for dir in &options.folders {
            std::fs::read_dir(dir).map_err(Error::io("read", dir))?;
            search.add_folder(dir);
        }
        search.add_folder(&self.dir().join("cache/wheels"));
        let configured = self
            .config("env.python")
            .or_else(|| self.rules().ok()?.env_python());
        let active = python::find(
            self.root(),
            options.python.as_deref(),
            configured.as_deref(),
        )?;
        // An interpreter that does not start has nothing installed.
        for site in active
            .and_then(|p| env::sites(&p).ok())
            .into_iter()
            .flatten()
        {
            search.add_site(&site);
        }
        search.add_caches();
        Ok(search)
    }

    /// Stores wheels beside those that are there, and lets the ref name all of them.
    fn keep_wheels(
        &mut self,
        env: EnvId,
        wheels: &[PathBuf],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<StoredWheel>> {
        let known = self.vendored(env)?;
        let session = self.store.begin()?;
        let mut files = Files::new();
        let mut add = |name: &str, size: u64, blob: BlobId| -> Result<()> {
            let file = SnapFile {
                ingredient: Ingredient::Model,
                mode: Mode::File,
                size,
                blob,
            };
            files.insert(RepoPath::new(name.as_bytes())?, file);
            Ok(())
        };
        for wheel in &known {
            add(&wheel.name, wheel.size, wheel.blob)?;
        }
        for path in wheels {
            ctx.cancel.check()?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
            let size = file.metadata().map_err(Error::io("read", path))?.len();
            let (blob, size) = session.put_blob(&mut file, size)?;
            add(&name, size, blob)?;
        }
        let document = self.env_object(env)?;
        let (recipe, model) = write_recipe(&files, &document, None, &session)?;
        // Nobody's and timeless: whoever vendors the same wheels makes the same commit.
        let commit = Commit {
            recipe,
            model,
            parents: Vec::new(),
            author: nobody(),
            committer: nobody(),
            time: Time {
                seconds: 0,
                offset_minutes: 0,
            },
            message: format!("wheels of environment {}", env.short()),
            runs: Vec::new(),
            extra: BTreeMap::from([(FACT.to_owned(), env.to_hex())]),
        };
        let id = CommitId(session.put_object(&commit)?);
        session.finish()?;
        let change = self.ref_change(&ref_of(env), Some(Target::Commit(id)));
        if change.old != change.new {
            self.update_refs(vec![change])?;
        }
        self.wheels_of(id)
    }

    /// Writes the vendored wheel of a package into a folder, if there is one for Python `minor` that
    /// is what was recorded.
    ///
    /// # Errors
    /// It can't be read or written, or a file of it is not what its RECORD says.
    pub fn write_vendored(
        &self,
        wheels: &[StoredWheel],
        package: &Package,
        minor: &str,
        into: &Path,
    ) -> Result<Option<PathBuf>> {
        let named = wheels
            .iter()
            .find(|w| archive::is_for(&w.name, package, minor));
        let Some(wheel) = named else {
            return Ok(None);
        };
        let path = into.join(&wheel.name);
        let temp = tempfile::NamedTempFile::new_in(into).map_err(Error::io("create", into))?;
        let write = |offset: u64, bytes: &[u8]| fs::write_all_at(temp.as_file(), bytes, offset);
        let missing = |e: modelv_store::Error| match e {
            modelv_store::Error::NotFound { .. } if self.is_partial() => Error::State(format!(
                "this clone does not hold the vendored wheel `{}`",
                wheel.name
            )),
            other => other.into(),
        };
        self.store
            .fetch_blob(&wheel.blob, &write)
            .map_err(missing)?;
        let never = crate::ctx::Cancel::new();
        let proved = prove(temp.path(), package).and_then(|_| check_files(temp.path(), &never));
        proved.map_err(|detail| Error::Package {
            package: package.label(),
            detail: format!("its vendored wheel can't be used: {detail}"),
        })?;
        temp.persist(&path)
            .map_err(|e| Error::io("write", &path)(e.error))?;
        Ok(Some(path))
    }

    /// Whether a set of wheels is to take the place of another: where there is none, or where it
    /// has all of them and more.
    pub(crate) fn is_better_set(&self, old: Option<CommitId>, new: CommitId) -> Result<bool> {
        let Some(old) = old else {
            return Ok(true);
        };
        let (old, new) = (self.wheels_of(old)?, self.wheels_of(new)?);
        let has = |wheel: &StoredWheel| new.iter().any(|n| n.name == wheel.name);
        Ok(new.len() > old.len() && old.iter().all(has))
    }
}

/// Lets pip fetch what is nowhere on this machine.
fn fetch_from_index(
    want: &Env,
    packages: &[&Package],
    into: &Path,
    options: &VendorOptions,
    reasons: &mut BTreeMap<String, String>,
    ctx: &Ctx<'_>,
) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let python = python_with_pip(want, into, options, ctx)?;
    let sources = pip::Sources {
        indexes: &options.indexes,
        folders: &[],
    };
    pip::announce(packages, sources, ctx);
    for (package, why) in pip::fetch(&python, packages, into, sources, ctx.cancel)? {
        reasons.entry(package.name).or_insert(why);
    }
    Ok(())
}

/// An interpreter as it was recorded, with a pip: itself, or an environment of it beside `near`.
fn python_with_pip(
    want: &Env,
    near: &Path,
    options: &VendorOptions,
    ctx: &Ctx<'_>,
) -> Result<PathBuf> {
    let interpreter = want.interpreter.as_ref();
    let interpreter =
        interpreter.ok_or_else(|| Error::State("no interpreter is recorded".into()))?;
    let base = find_interpreter(interpreter, options.python.as_deref())?;
    if !pip::run(pip::pip(&base).arg("--version"), ctx.cancel)?.success {
        let venv = near.with_file_name("venv");
        let python = venv.join("bin/python");
        if python.exists() {
            return Ok(python);
        }
        let mut command = std::process::Command::new(&base);
        command.args(["-I", "-m", "venv"]).arg(&venv);
        let said = pip::run(&mut command, ctx.cancel)?;
        if !said.success {
            return Err(Error::Program {
                program: base.display().to_string(),
                detail: format!(
                    "it has no pip, and no environment with one can be made: {}",
                    said.reason()
                ),
            });
        }
        return Ok(python);
    }
    Ok(base)
}
