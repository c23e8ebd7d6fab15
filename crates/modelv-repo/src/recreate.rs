//! Environments of commits on this machine: how it differs from one, and making one again as a
//! virtual environment.
//!
//! A virtual environment is a folder somebody asked for; this module writes nowhere else, and what
//! it could not make exactly it names.

mod editable;
mod folder;
pub(crate) mod project;

use std::path::{Path, PathBuf};
use std::process::Command;

use modelv_core::env::{Env, Interpreter, Lock, Package, Patch};
use modelv_core::id::CommitId;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::capture::{env, metadata, python};
use crate::ctx::{Cancel, Ctx};
use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::wheels::archive::{self, minor_of};
use crate::wheels::pip::{self, Sources};
use crate::wheels::record::base64url;
use crate::worktree::Files;
use folder::Making;
use project::Project;

/// Why a package that was installed in place is left out.
const COMPILED: &str = "it was installed in place, and modules of it have to be compiled: `pip install -e FOLDER` in a \
                        checkout of the commit puts it in";
const OUTSIDE: &str = "it was installed in place from a folder that is not in the commit: `modelv env vendor` keeps a \
                       wheel of it where that folder is, `--wheels DIR` takes one";

/// How this machine differs from the environment of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvCheck {
    /// What the commit records and is not so here: results may differ.
    pub matters: Vec<EnvChange>,
    /// What is here in addition.
    pub more: Vec<EnvChange>,
    /// Packages of this machine that were changed after they were installed.
    pub patched: Vec<Patch>,
}

/// What `recreate` is asked for.
#[derive(Debug, Clone, Default)]
pub struct RecreateOptions {
    /// The new folder.
    pub output: PathBuf,
    /// Folders with wheels. Without an index they are the only source.
    pub wheels: Vec<PathBuf>,
    /// Package indexes, the first before the others; none and no wheels: pip's own.
    pub indexes: Vec<String>,
    /// Ask no index: what is neither vendored nor in the folders can't be had.
    pub offline: bool,
    /// This interpreter, whatever was recorded.
    pub python: Option<PathBuf>,
}

/// What `recreate` made.
#[derive(Debug)]
pub struct Recreated {
    /// The interpreter inside.
    pub python: PathBuf,
    /// What is in it now.
    pub env: Env,
    /// Distributions whose RECORD is the recorded one.
    pub verified: usize,
    /// Packages that came from vendored wheels.
    pub vendored: usize,
    /// Packages that are used in place, as they were, and the folders with their code as the commit has it.
    pub in_place: Vec<(String, PathBuf)>,
    /// Packages that can't be installed again, with the reason.
    pub left_out: Vec<(String, &'static str)>,
    /// How it differs from the recorded environment; empty: not at all.
    pub changes: Vec<EnvChange>,
}

impl Repo {
    /// Compares this machine with the environment of a commit. Lock files are files of the working
    /// tree and don't count.
    ///
    /// # Errors
    /// The commit records no environment, or the interpreter does not answer.
    pub fn check_env(&self, id: CommitId, explicit: Option<&Path>) -> Result<EnvCheck> {
        let want = self.recorded_env(id)?;
        let configured = self
            .config("env.python")
            .or_else(|| self.rules().ok()?.env_python());
        let found = python::find(self.root(), explicit, configured.as_deref())?;
        let here = self.capture_with_locks(found.as_deref(), want.locks.clone())?;
        let (more, matters) = diff_env(&want, &here)
            .into_iter()
            .partition(|c| c.old.is_none());
        Ok(EnvCheck {
            matters,
            more,
            patched: here.details.patched,
        })
    }

    pub(crate) fn recorded_env(&self, id: CommitId) -> Result<Env> {
        let env = self.env_object(self.commit_object(id)?.recipe.env)?;
        if env == Env::none() {
            let text = format!("commit `{}` records no environment", id.short());
            return Err(Error::State(text));
        }
        Ok(env)
    }

    /// Makes the environment of a commit again: from wheels that are vendored, from folders, then
    /// from an index.
    ///
    /// # Errors
    /// There is no such interpreter here, the folder is not empty, a package can't be had, or it was
    /// interrupted. The folder is gone again then; what a killed process has left is cleared away.
    pub fn recreate_env(
        &self,
        id: CommitId,
        options: &RecreateOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Recreated> {
        let want = self.recorded_env(id)?;
        let interpreter = want.interpreter.as_ref().ok_or_else(|| {
            Error::State(format!("commit `{}` records no interpreter", id.short()))
        })?;
        let base = find_interpreter(interpreter, options.python.as_deref())?;
        let output =
            std::path::absolute(&options.output).map_err(Error::io("open", &options.output))?;
        let making = Making::begin(&output, ctx)?;
        let files = match want.packages.iter().any(|p| p.editable) {
            true => self.files(id)?,
            false => Files::new(),
        };
        let made = self.recreate((&want, &files), &base, &output, options, ctx)?;
        making.finish()?;
        Ok(made)
    }

    fn recreate(
        &self,
        (want, files): (&Env, &Files),
        base: &Path,
        output: &Path,
        options: &RecreateOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Recreated> {
        let mut venv = Command::new(base);
        venv.args(["-I", "-m", "venv"]).arg(output);
        run(&mut venv, None, ctx.cancel)?;
        let python = output.join("bin/python");
        // The interpreter brings its own pip: what is there as recorded stays.
        let read = |lock: &Lock| self.lock_content(lock);
        let locks = env::Locks {
            list: want.locks.clone(),
            read: &read,
        };
        let fresh = env::capture(&python, &locks)?;
        let is_there = |p: &Package| fresh.find_package(&p.name) == Some(p);
        let temp = tempfile::tempdir_in(output).map_err(Error::io("create", output))?;
        let mut supply = Supply::new(temp.path());
        for package in want.packages.iter().filter(|p| !is_there(p)) {
            ctx.cancel.check()?;
            self.choose(package, (want, files), &fresh, options, &mut supply)?;
        }
        supply.fetch(&python, options, ctx)?;
        supply.install(&python, ctx)?;
        let in_place = self.place(&supply, files, (output, &python), ctx)?;
        remove_others(&python, want, ctx.cancel)?;
        let env = env::capture(&python, &locks)?;
        let verified = want.packages.iter().filter(|p| {
            let here = env.find_package(&p.name);
            p.record_sha256.is_some() && here.is_some_and(|h| h.record_sha256 == p.record_sha256)
        });
        Ok(Recreated {
            verified: verified.count(),
            vendored: supply.vendored,
            changes: diff_env(want, &env),
            left_out: supply.left_out,
            in_place,
            python,
            env,
        })
    }

    /// Installs what is used in place from the commit.
    fn place(
        &self,
        supply: &Supply<'_>,
        files: &Files,
        (output, python): (&Path, &Path),
        ctx: &Ctx<'_>,
    ) -> Result<Vec<(String, PathBuf)>> {
        let mut out = Vec::new();
        if supply.placed.is_empty() {
            return Ok(out);
        }
        let sites = env::own_sites(python)?;
        // The interpreter tells folders without links and `..`.
        let real = std::fs::canonicalize(output).map_err(Error::io("read", output))?;
        let site = sites
            .iter()
            .find(|s| s.starts_with(output) || s.starts_with(&real));
        let site = site
            .ok_or_else(|| Error::not_found("folder of packages", python.display().to_string()))?;
        for (package, project) in &supply.placed {
            let to = (output, python, site.as_path());
            let src = self.install_in_place(package, project, files, to, ctx)?;
            out.push((package.label(), src));
        }
        Ok(out)
    }

    /// Decides where a package comes from.
    fn choose<'a>(
        &self,
        package: &'a Package,
        (want, files): (&Env, &Files),
        fresh: &Env,
        options: &RecreateOptions,
        supply: &mut Supply<'a>,
    ) -> Result<()> {
        if package.editable
            && let Some(project) = self.project_of(files, package)?
        {
            match project.compiles {
                false => supply.placed.push((package, project)),
                true => supply.left_out.push((package.label(), COMPILED)),
            }
            return Ok(());
        }
        let minor = fresh.interpreter.as_ref().map(|i| minor_of(&i.version));
        let minor = minor.unwrap_or_default();
        let stored = self.vendored(want.id())?;
        if self
            .write_vendored(&stored, package, &minor, &supply.dir)?
            .is_some()
        {
            supply.vendored += 1;
            supply.ready.push(package);
            return Ok(());
        }
        if let Some(path) = find_in(&options.wheels, package, &minor)? {
            let to = supply.dir.join(path.file_name().unwrap_or_default());
            std::fs::copy(&path, &to).map_err(Error::io("read", &path))?;
            supply.ready.push(package);
        } else if package.editable {
            supply.left_out.push((package.label(), OUTSIDE));
        } else if options.offline {
            return Err(Error::Package {
                package: package.label(),
                detail: "no wheel of it is vendored, and no index may be asked".into(),
            });
        } else if package.source.as_deref() == Some("file") {
            let why = "it was installed from a file of another machine: `--wheels DIR` takes it from a folder";
            supply.left_out.push((package.label(), why));
        } else {
            supply.away.push(package);
        }
        Ok(())
    }
}

/// Wheels on their way into a new environment.
struct Supply<'a> {
    /// The folder they are collected in.
    dir: PathBuf,
    /// Those that lie in it.
    ready: Vec<&'a Package>,
    /// Those that an index is asked for.
    away: Vec<&'a Package>,
    /// Those that are used in place from the commit.
    placed: Vec<(&'a Package, Project)>,
    left_out: Vec<(String, &'static str)>,
    vendored: usize,
}

impl<'a> Supply<'a> {
    fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            ready: Vec::new(),
            away: Vec::new(),
            placed: Vec::new(),
            left_out: Vec::new(),
            vendored: 0,
        }
    }

    /// Fetches what is missing.
    fn fetch(&mut self, python: &Path, options: &RecreateOptions, ctx: &Ctx<'_>) -> Result<()> {
        let sources = Sources {
            indexes: &options.indexes,
            folders: &options.wheels,
        };
        if self.away.is_empty() {
            return Ok(());
        }
        pip::announce(&self.away, sources, ctx);
        let failed = pip::fetch(python, &self.away, &self.dir, sources, ctx.cancel)?;
        if let Some((package, detail)) = failed.into_iter().next() {
            let package = package.label();
            return Err(Error::Package { package, detail });
        }
        self.ready.append(&mut self.away);
        Ok(())
    }

    /// Installs the wheels by name, so that no trace of the folder they lay in goes into the
    /// environment. Each must be whole.
    fn install(&self, python: &Path, ctx: &Ctx<'_>) -> Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        for path in archive::list(&self.dir)? {
            let bad = |detail| Error::Package {
                package: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                detail,
            };
            ctx.cancel.check()?;
            archive::check_files(&path, ctx.cancel).map_err(bad)?;
        }
        let demands: Vec<String> = self.ready.iter().map(|p| p.label()).collect();
        let said = pip::install(python, &self.dir, &demands, ctx.cancel)?;
        if !said.success {
            let (package, detail) = (demands.join(" "), said.reason());
            return Err(Error::Package { package, detail });
        }
        let sites = env::own_sites(python)?;
        for package in &self.ready {
            if let Some(source) = &package.source {
                note_origin(&sites, package, source)?;
            }
        }
        Ok(())
    }
}

/// A wheel in one of the folders that is what was recorded; where nothing but its name was, the first.
/// What is recorded as another is taken too, when nothing else is there: what differs is told.
fn find_in(dirs: &[PathBuf], package: &Package, minor: &str) -> Result<Option<PathBuf>> {
    let mut other = None;
    for dir in dirs {
        for path in archive::list(dir)? {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if !archive::is_for(name, package, minor) {
                continue;
            }
            match archive::prove(&path, package) {
                Ok(_) => return Ok(Some(path)),
                // Its own hash was recorded, and is another: nobody meant this file.
                Err(detail) if package.archive_sha256.is_some() => {
                    let package = package.label();
                    return Err(Error::Package { package, detail });
                }
                Err(_) => other = other.or(Some(path)),
            }
        }
    }
    Ok(other)
}

/// Says where a distribution came from, as an installer does (PEP 610): the wheel does not know.
fn note_origin(sites: &[PathBuf], package: &Package, source: &str) -> Result<()> {
    const NAME: &str = "direct_url.json";
    let Some(dir) = sites
        .iter()
        .find_map(|site| metadata::metadata_dir(site, &package.name))
    else {
        return Ok(());
    };
    let bytes = origin(package, source).to_string();
    let path = dir.join(NAME);
    std::fs::write(&path, &bytes).map_err(Error::io("write", &path))?;
    let folder = dir.file_name().unwrap_or_default().to_string_lossy();
    let hash = base64url(&Sha256::digest(&bytes));
    let row = format!("{folder}/{NAME},sha256={hash},{}\n", bytes.len());
    let path = dir.join("RECORD");
    let record = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    if record
        .lines()
        .any(|l| l.starts_with(&format!("{folder}/{NAME},")))
    {
        return Ok(());
    }
    std::fs::write(&path, record + &row).map_err(Error::io("write", &path))
}

fn origin(package: &Package, source: &str) -> serde_json::Value {
    let hash = package.archive_sha256.map(|h| modelv_core::id::to_hex(&h));
    let archive = |url: &str| match &hash {
        Some(hash) => json!({"url": url, "archive_info": {"hashes": {"sha256": hash}}}),
        None => json!({"url": url, "archive_info": {}}),
    };
    let vcs = source
        .split_once('+')
        .filter(|(vcs, _)| ["git", "hg", "bzr", "svn"].contains(vcs));
    match vcs.and_then(|(vcs, rest)| Some((vcs, rest.rsplit_once('@')?))) {
        Some((vcs, (url, commit))) => {
            json!({"url": url, "vcs_info": {"vcs": vcs, "commit_id": commit}})
        }
        None if source == "file" => archive("file:///"),
        None => archive(source),
    }
}

/// Runs a program to its end; its last words are the error.
fn run(command: &mut Command, package: Option<&str>, cancel: &Cancel) -> Result<()> {
    let said = pip::run(command, cancel)?;
    if said.success {
        return Ok(());
    }
    let detail = said.reason();
    Err(match package {
        Some(package) => Error::Package {
            package: package.to_owned(),
            detail,
        },
        None => Error::Program {
            program: command.get_program().to_string_lossy().into_owned(),
            detail,
        },
    })
}

/// What came with the new environment and was not recorded, pip itself last.
fn remove_others(python: &Path, want: &Env, cancel: &Cancel) -> Result<()> {
    let here = env::capture(python, &env::Locks::none())?;
    let mut others: Vec<&str> = here
        .packages
        .iter()
        .map(|p| p.name.as_str())
        .filter(|name| want.find_package(name).is_none())
        .collect();
    others.sort_by_key(|name| *name == "pip");
    if others.is_empty() {
        return Ok(());
    }
    let mut command = pip::pip(python);
    command.args(["uninstall", "-y", "--"]).args(&others);
    run(&mut command, Some(&others.join(" ")), cancel)
}

/// An interpreter of exactly the recorded version.
pub(crate) fn find_interpreter(want: &Interpreter, explicit: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = explicit {
        let found = python::find(Path::new("."), Some(path), None)?;
        return found.ok_or_else(|| Error::not_found("interpreter", path.display().to_string()));
    }
    let mut seen = Vec::new();
    for candidate in python::candidates(&want.version) {
        // One that does not start is none.
        let Ok(here) = env::interpreter(&candidate) else {
            continue;
        };
        if (&here.implementation, &here.version) == (&want.implementation, &want.version) {
            return Ok(candidate);
        }
        seen.push(format!("{} ({})", here.version, candidate.display()));
    }
    let found = if seen.is_empty() {
        "none at all".into()
    } else {
        seen.join(", ")
    };
    Err(Error::State(format!(
        "{} {} was recorded and is not on this machine; found: {found}",
        want.implementation, want.version
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_found_by_name_and_exact_version() {
        let dir = tempfile::tempdir().unwrap();
        let name = "Early_Bird-1.0+cpu-py3-none-any.whl";
        // Only an empty archive, of which nothing but the name counts.
        let zip = zip::ZipWriter::new(std::fs::File::create(dir.path().join(name)).unwrap());
        zip.finish().unwrap();
        std::fs::write(dir.path().join("other-1.0.tar.gz"), "").unwrap();
        let dirs = [dir.path().to_owned()];
        let find = |p: &Package| find_in(&dirs, p, "3.11");
        let has = |name, version| find(&Package::new(name, version)).unwrap().is_some();
        assert!(has("early-bird", "1.0+cpu"));
        assert!(!has("early-bird", "1.0"));
        assert!(!has("other", "1.0"));
        let mut pinned = Package::new("early-bird", "1.0+cpu");
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        pinned.archive_sha256 = Some(Sha256::digest(bytes).into());
        assert!(find(&pinned).unwrap().is_some());
        pinned.archive_sha256 = Some([0; 32]);
        let error = find(&pinned).unwrap_err().to_string();
        assert_eq!(
            error,
            "package `early-bird==1.0+cpu` can't be installed: the wheel is not the one that was installed \
             (SHA-256 differs)"
        );
    }

    #[test]
    fn where_a_package_came_from_is_said_as_it_was_recorded() {
        let mut bird = Package::new("bird", "1.0");
        for (source, hash) in [
            ("git+https://example.org/a/bird.git@0123abcd", None),
            ("https://example.org/bird-1.0.tar.gz", Some([7; 32])),
            ("https://example.org/a+b@c.tar.gz", None),
            ("file", Some([1; 32])),
            ("file", None),
        ] {
            bird.archive_sha256 = hash;
            let dir = tempfile::tempdir().unwrap();
            let info = dir.path().join("bird-1.0.dist-info");
            std::fs::create_dir(&info).unwrap();
            std::fs::write(info.join("METADATA"), "Name: bird\nVersion: 1.0\n").unwrap();
            std::fs::write(info.join("RECORD"), "bird.py,sha256=x,1\n").unwrap();
            for _ in 0..2 {
                note_origin(&[dir.path().to_owned()], &bird, source).unwrap();
            }
            let found = metadata::read_dist_info(&info).unwrap();
            assert_eq!(found.source.as_deref(), Some(source));
            assert_eq!(found.archive_sha256, hash, "{source}");
            let record = std::fs::read_to_string(info.join("RECORD")).unwrap();
            assert_eq!(record.lines().count(), 2, "{record}");
        }
    }

    #[test]
    fn a_version_that_nobody_has_is_named_with_what_there_is() {
        let want = Interpreter {
            implementation: "cpython".into(),
            version: "3.3.99".into(),
            abi: "cp33".into(),
        };
        let error = find_interpreter(&want, None).unwrap_err().to_string();
        assert!(
            error.starts_with("cpython 3.3.99 was recorded and is not on this machine; found: "),
            "{error}"
        );
    }
}
