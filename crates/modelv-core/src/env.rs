//! The environment document: what a recipe needs around its files. See `spec/env.md`.
//!
//! Only identity: what changes results and can be installed again. Hardware, kernel and host are
//! facts of a [`crate::run::Run`] and never part of an id.

use bincode::{Decode, Encode};

use crate::canon::{self, DecodeError, Kind, Object};
use crate::id::{BlobId, EnvId};
use crate::path::RepoPath;

/// The language interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Interpreter {
    /// For example `cpython`.
    pub implementation: String,
    /// Full version, for example `3.11.7` or `3.13.0rc1`.
    pub version: String,
    /// ABI tag, for example `cp311`.
    pub abi: String,
}

/// One installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Package {
    /// Name in PEP 503 normal form.
    pub name: String,
    /// Exact version as the distribution gives it, with suffix and local part.
    pub version: String,
    /// SHA-256 of the archive it was installed from, where the installer kept it.
    pub archive_sha256: Option<[u8; 32]>,
    /// Where it came from, when not from an index: URL, VCS reference; without credentials.
    pub source: Option<String>,
    /// SHA-256 over the sorted (path, hash) rows of RECORD without installer files: equal for the
    /// wheel and for the installed files.
    pub record_sha256: Option<[u8; 32]>,
    /// Installed in place from a folder.
    pub editable: bool,
}

impl Package {
    /// The demand that only this version fulfils: `name==version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// The tags of a wheel of exactly this version, by its file name without `.whl`
    /// (`name-version[-build]-python-abi-platform`, PEP 427); `None`: it is another package's.
    #[must_use]
    pub fn wheel_tags<'a>(&self, stem: &'a str) -> Option<Vec<&'a str>> {
        // Names of wheels have `_` where a local version may have `-`.
        let plain = |v: &str| v.to_ascii_lowercase().replace('_', "-");
        let mut parts = stem.split('-');
        let (name, version) = (parts.next()?, parts.next()?);
        let same = normal_name(name) == self.name && plain(version) == plain(&self.version);
        same.then(|| parts.collect())
    }
}

/// A lock file found in the working tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Lock {
    /// Its path.
    pub path: Vec<u8>,
    /// Its content.
    pub blob: BlobId,
}

/// The environment document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Env {
    /// Operating system family, for example `linux`; empty when nothing was captured.
    pub os: String,
    /// Machine architecture, for example `x86_64`; empty when nothing was captured.
    pub arch: String,
    /// The interpreter, if there is one.
    pub interpreter: Option<Interpreter>,
    /// Installed distributions, sorted by name.
    pub packages: Vec<Package>,
    /// Lock files, sorted by path.
    pub locks: Vec<Lock>,
}

impl Object for Env {
    const KIND: Kind = Kind::Env;

    fn check(&self) -> Result<(), DecodeError> {
        canon::check_lengths(&[self.packages.len(), self.locks.len()])?;
        if self.packages.windows(2).any(|w| w[0].name >= w[1].name) {
            return Err(DecodeError::NotCanonical(
                "packages not sorted or not unique",
            ));
        }
        if self
            .packages
            .iter()
            .any(|p| p.name.is_empty() || normal_name(&p.name) != p.name)
        {
            return Err(DecodeError::NotCanonical(
                "package name not in PEP 503 normal form",
            ));
        }
        if self.locks.windows(2).any(|w| w[0].path >= w[1].path) {
            return Err(DecodeError::NotCanonical("locks not sorted or not unique"));
        }
        if self
            .locks
            .iter()
            .any(|l| RepoPath::new(l.path.as_slice()).is_err())
        {
            return Err(DecodeError::NotCanonical("path of a lock breaks a rule"));
        }
        Ok(())
    }
}

impl Env {
    /// The document of a project whose environment is not captured.
    #[must_use]
    pub fn none() -> Self {
        Self {
            os: String::new(),
            arch: String::new(),
            interpreter: None,
            packages: Vec::new(),
            locks: Vec::new(),
        }
    }

    /// The environment's id.
    #[must_use]
    pub fn id(&self) -> EnvId {
        EnvId(canon::id_of(self))
    }

    /// Finds a package by its normal name.
    #[must_use]
    pub fn find_package(&self, name: &str) -> Option<&Package> {
        self.packages
            .binary_search_by(|p| p.name.as_str().cmp(name))
            .ok()
            .map(|i| &self.packages[i])
    }
}

/// A distribution name in PEP 503 normal form: lower case, runs of `-`, `_`, `.` as one `-`.
#[must_use]
pub fn normal_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.trim().chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            archive_sha256: None,
            source: None,
            record_sha256: None,
            editable: false,
        }
    }

    fn with(version: &str, packages: Vec<Package>) -> Env {
        Env {
            os: "linux".into(),
            arch: "x86_64".into(),
            interpreter: Some(Interpreter {
                implementation: "cpython".into(),
                version: version.into(),
                abi: "cp311".into(),
            }),
            packages,
            locks: vec![],
        }
    }

    #[test]
    fn every_part_of_a_version_counts() {
        let ids: Vec<EnvId> = ["1.0.0", "1.0.0rc1", "1.0.0+cpu", "1.0", "1!1.0.0"]
            .iter()
            .map(|v| with("3.11.7", vec![package("torch", v)]).id())
            .collect();
        for (i, a) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(a));
        }
        assert_ne!(with("3.11.7", vec![]).id(), with("3.11.8", vec![]).id());
    }

    #[test]
    fn packages_are_sorted_and_in_normal_form() {
        for names in [["b", "a"], ["a", "a"], ["A", "b"], ["a_b", "c"], ["", "a"]] {
            let env = with("3.11.7", names.map(|n| package(n, "1")).to_vec());
            assert!(canon::encode(&env).is_err(), "{names:?}");
            assert!(canon::decode::<Env>(&canon::encode_unchecked(&env)).is_err());
        }
    }

    #[test]
    fn wheels_are_known_by_name_and_exact_version() {
        let bird = package("early-bird", "1.0+cpu");
        assert_eq!(bird.label(), "early-bird==1.0+cpu");
        let tags = bird.wheel_tags("Early_Bird-1.0+cpu-1-py3-none-any");
        assert_eq!(tags, Some(vec!["1", "py3", "none", "any"]));
        for other in [
            "early_bird-1.0-py3-none-any",
            "early-1.0+cpu-py3-none-any",
            "early_bird",
            "",
        ] {
            assert_eq!(bird.wheel_tags(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_normalised() {
        assert_eq!(normal_name("Zope._.Interface"), "zope-interface");
        assert_eq!(normal_name("scikit_learn"), "scikit-learn");
    }
}
