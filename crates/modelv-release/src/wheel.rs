//! Wheels: found or fetched by exact version, and checked. How their files lie in a layer is in
//! `wheel/lay_out.rs`.

mod lay_out;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use modelv_repo::core::env::{Env, Package};
use modelv_repo::core::id::to_hex;
use modelv_repo::core::path::RepoPath;
use modelv_repo::wheels::archive;
use modelv_repo::wheels::pip::{self, Sources};
use modelv_repo::wheels::record::sha256_of;
use modelv_repo::{Cancel, Repo, StoredWheel};

use crate::error::{Error, Result};
use crate::packer::Packer;
use crate::sbom::Packed;

pub(crate) use lay_out::lay_out;

/// Where packages lie in an image.
pub(crate) const SITE: &str = "opt/modelv/site-packages";
/// What scripts begin with: a link to the interpreter of the image, so that a layer of a package is the
/// same on every base.
pub(crate) const INTERPRETER: &str = "/opt/modelv/bin/python";

/// A wheel on disk.
#[derive(Debug, Clone)]
pub(crate) struct Wheel {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
    /// Name and version of the package, for people.
    pub(crate) label: String,
    /// Whether it has other files than those that were installed, as far as that is recorded.
    pub(crate) is_other: bool,
}

impl Wheel {
    /// For the papers of an image.
    pub(crate) fn packed(&self) -> Packed {
        let (name, version) = self.label.split_once(' ').unwrap_or((&self.label, ""));
        Packed {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: self.sha256.clone(),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }
}

/// A package whose wheel is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Absent {
    pub(crate) label: String,
    /// Whether the repository has it vendored: then nothing is fetched.
    pub(crate) is_stored: bool,
}

/// The wheels of a commit's packages.
pub(crate) struct Wanted<'a> {
    pub(crate) repo: &'a Repo,
    pub(crate) env: &'a Env,
    /// Wheels that were found before are here, and what is fetched.
    pub(crate) cache: PathBuf,
    /// Fetches what is nowhere else.
    pub(crate) python: &'a Path,
    /// Of the interpreter in the image.
    pub(crate) minor: String,
    /// Packages whose code is that of the commit.
    pub(crate) in_place: &'a BTreeMap<String, Vec<RepoPath>>,
}

impl Wanted<'_> {
    /// Finds the wheels of all packages: vendored ones before those that were fetched; and says which were not
    /// here. Where no layers are made, nothing is fetched or written either.
    pub(crate) fn find_all(&self, packer: &Packer<'_>) -> Result<(Vec<Wheel>, Vec<Absent>)> {
        let own = |p: &&Package| !self.in_place.contains_key(&p.name);
        let packages: Vec<&Package> = self.env.packages.iter().filter(own).collect();
        let (vendored, stored) = match packer.is_dry() {
            true => (BTreeMap::new(), self.repo.vendored(self.env.id())?),
            false => (self.vendored()?, Vec::new()),
        };
        let known = self.known()?;
        let minor = &self.minor;
        let is_stored = |p: &Package| {
            let is_its = |s: &StoredWheel| archive::is_for(&s.name, p, minor);
            stored.iter().any(is_its)
        };
        let has = |p: &Package| vendored.contains_key(&p.name) || self.find(&known, p).is_some();
        let missing: Vec<&Package> = packages.iter().copied().filter(|p| !has(p)).collect();
        for package in &missing {
            let is_local = package.editable || package.source.as_deref() == Some("file");
            if is_local && !is_stored(package) {
                let detail = "it was installed from a folder of the machine it trained on, and no wheel of it is vendored";
                packer.refuse(Error::Package {
                    package: package.label(),
                    detail: detail.into(),
                })?;
            }
        }
        let absent = |p: &&Package| Absent {
            label: p.label(),
            is_stored: is_stored(p),
        };
        let absent = missing.iter().map(absent).collect();
        if packer.is_dry() {
            let here = packages.iter().filter(|p| self.find(&known, p).is_some());
            let wheels = here.map(|p| self.wheel(p, None, &known, packer));
            return Ok((wheels.collect::<Result<_>>()?, absent));
        }
        self.fetch(&missing, packer.cancel)?;
        let known = self.known()?;
        let found = packages
            .iter()
            .map(|p| self.wheel(p, vendored.get(&p.name).cloned(), &known, packer));
        Ok((found.collect::<Result<_>>()?, absent))
    }

    /// Wheels that were fetched before.
    fn known(&self) -> Result<Vec<PathBuf>> {
        match self.cache.is_dir() {
            true => Ok(archive::list(&self.cache)?),
            false => Ok(Vec::new()),
        }
    }

    /// The wheel of a package, which must be the one that was installed.
    fn wheel(
        &self,
        package: &Package,
        path: Option<PathBuf>,
        known: &[PathBuf],
        packer: &Packer<'_>,
    ) -> Result<Wheel> {
        let bad = |detail: String| Error::Package {
            package: package.label(),
            detail,
        };
        let path = path.or_else(|| self.find(known, package)).ok_or_else(|| {
            let minor = &self.minor;
            bad(format!(
                "no wheel of exactly this version was found for Python {minor}"
            ))
        })?;
        let digest = digest_of(&path, packer)?;
        // What was built from an archive, or put together again, is proved by its files.
        if package.record_sha256.is_none()
            && package.archive_sha256.is_some_and(|want| want != digest)
        {
            let detail = "the wheel is not the one that was installed (SHA-256 differs)";
            return Err(bad(detail.into()));
        }
        let is_recorded = package.record_sha256.is_some();
        Ok(Wheel {
            is_other: is_recorded && archive::prove(&path, package).is_err(),
            path,
            sha256: to_hex(&digest),
            label: format!("{} {}", package.name, package.version),
        })
    }

    /// Vendored wheels, written to a folder of their own in the cache, by package.
    fn vendored(&self) -> Result<BTreeMap<String, PathBuf>> {
        let stored = self.repo.vendored(self.env.id())?;
        let mut out = BTreeMap::new();
        if stored.is_empty() {
            return Ok(out);
        }
        let dir = self
            .cache
            .join(format!("vendored-{}", self.env.id().short()));
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let own = |p: &&Package| !self.in_place.contains_key(&p.name);
        for package in self.env.packages.iter().filter(own) {
            let path = self
                .repo
                .write_vendored(&stored, package, &self.minor, &dir)?;
            out.extend(path.map(|p| (package.name.clone(), p)));
        }
        Ok(out)
    }

    /// Fetches wheels into the cache: all that are missing, or none.
    fn fetch(&self, missing: &[&Package], cancel: &Cancel) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let cache = &self.cache;
        std::fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
        let temp = tempfile::tempdir_in(cache).map_err(Error::io("create", cache))?;
        let failed = pip::fetch(
            self.python,
            missing,
            temp.path(),
            Sources::default(),
            cancel,
        )?;
        if let Some((package, detail)) = failed.into_iter().next() {
            let package = package.label();
            return Err(Error::Package { package, detail });
        }
        for path in archive::list(temp.path())? {
            let to = cache.join(path.file_name().unwrap_or_default());
            std::fs::rename(&path, &to).map_err(Error::io("write", &to))?;
        }
        Ok(())
    }

    /// The wheel of a package for this machine, by its file name; one that is what was recorded
    /// before others.
    fn find(&self, known: &[PathBuf], package: &Package) -> Option<PathBuf> {
        let name = |path: &PathBuf| {
            path.file_name()
                .and_then(|n| n.to_str())
                .unwrap_or("")
                .to_owned()
        };
        let fitting = known
            .iter()
            .filter(|p| archive::is_for(&name(p), package, &self.minor));
        let fitting: Vec<&PathBuf> = fitting.collect();
        let proved = fitting.iter().find(|p| archive::prove(p, package).is_ok());
        proved.or(fitting.first()).map(|p| (*p).clone())
    }
}

/// SHA-256 of a wheel, which is noted: an environment has gigabytes of them. What is made of one is compared
/// with its RECORD all the same.
fn digest_of(path: &Path, packer: &Packer<'_>) -> Result<[u8; 32]> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let meta = file.metadata().map_err(Error::io("read", path))?;
    let (len, inode) = (meta.len(), meta.ino());
    let (mtime, ctime) = (
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    );
    let key = format!("wheel {path:?} {len} {inode} {mtime:?} {ctime:?}");
    let known = packer.cache.as_ref().and_then(|cache| cache.note(&key));
    if let Some(digest) = known {
        return Ok(digest);
    }
    let input = packer.watch(file);
    let (digest, _) = sha256_of(input, u64::MAX).map_err(Error::io("read", path))?;
    if let (Some(cache), false) = (&packer.cache, packer.is_dry()) {
        cache.put_note(&key, &digest);
    }
    Ok(digest)
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
