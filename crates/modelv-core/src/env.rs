//! The environment document: what a recipe needs around its files. See `spec/env.md`.
//!
//! Only identity: what changes results and can be installed again. Hardware, kernel and host are
//! facts of a [`crate::run::Run`] and never part of an id.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::{Decode, Encode, error};

use crate::canon::{self, DecodeError, Kind, Object, Version};
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
    /// SHA-256 of the archive it was installed from, where the installer kept it or a lock file tells.
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
    /// One of which nothing but name and version is known.
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            archive_sha256: None,
            source: None,
            record_sha256: None,
            editable: false,
        }
    }

    /// The demand that only this version fulfils: `name==version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// Whether name and version are such as packages have (PEP 503, PEP 440), so that files and folders can be
    /// called by them. A document from elsewhere may hold others.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_version = |c: char| c.is_ascii_alphanumeric() || ".!+_-".contains(c);
        let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
        begins(&self.name)
            && begins(&self.version)
            && self.name.chars().all(is_name)
            && self.version.chars().all(is_version)
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

/// Files of a distribution that are not those that were installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Patch {
    /// The distribution, in normal form.
    pub package: String,
    /// SHA-256 over a row for each such file: its path, and what it is now.
    pub sha256: [u8; 32],
    /// How many files there are.
    pub count: u64,
    /// The first of them, at most [`PATCHED_NAMES_MAX`], by path.
    pub files: Vec<String>,
}

/// Names of files that a [`Patch`] holds at most.
pub const PATCHED_NAMES_MAX: usize = 16;

/// Optional parts of a distribution that something asks for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Extras {
    /// The distribution, in normal form.
    pub package: String,
    /// Names of the extras in normal form, sorted.
    pub names: Vec<String>,
}

/// A package of the operating system that owns shared libraries which installed distributions load.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SystemPackage {
    /// Its name.
    pub name: String,
    /// Its version, with the distribution's own part.
    pub version: String,
    /// Who installed it: `dpkg`, `rpm`, `apk`, `conda`.
    pub manager: String,
    /// The libraries, by the names under which they are asked for, sorted.
    pub libraries: Vec<String>,
}

/// A shared library outside of the folders of packages that no system package owns.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Library {
    /// The name under which it is asked for.
    pub name: String,
    /// SHA-256 of the file; `None`: it is too large to be looked through.
    pub sha256: Option<[u8; 32]>,
}

/// What goes beyond names and versions. Documents of format version 1 have none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Distributions that were changed after they were installed, sorted.
    pub patched: Vec<Patch>,
    /// Extras that are asked for, sorted by distribution.
    pub extras: Vec<Extras>,
    /// System packages, sorted by name.
    pub system: Vec<SystemPackage>,
    /// Libraries that none of them owns, sorted by name.
    pub libraries: Vec<Library>,
}

impl Details {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first rule that is broken, of an environment with these packages.
    fn broken(&self, packages: &[Package]) -> Option<&'static str> {
        fn ascends<T, K: Ord>(list: &[T], key: impl Fn(&T) -> K) -> bool {
            list.windows(2).all(|w| key(&w[0]) < key(&w[1]))
        }
        let is_there = |name: &String| {
            packages
                .binary_search_by(|p| p.name.as_str().cmp(name))
                .is_ok()
        };
        let lists = ascends(&self.patched, |p| p.package.clone())
            && ascends(&self.extras, |e| e.package.clone())
            && ascends(&self.system, |s| s.name.clone())
            && ascends(&self.libraries, |l| l.name.clone());
        if !lists {
            return Some("details not sorted or not unique");
        }
        let named = self.patched.iter().map(|p| &p.package);
        if !named
            .chain(self.extras.iter().map(|e| &e.package))
            .all(is_there)
        {
            return Some("details of a package that is not there");
        }
        let names = self.extras.iter().map(|e| &e.names);
        let mut names = names.chain(self.system.iter().map(|s| &s.libraries));
        if !names.all(|n| !n.is_empty() && ascends(n, String::clone)) {
            return Some("names in details not sorted, not unique, or none");
        }
        let is_whole = |p: &Patch| {
            let shown = u64::try_from(p.files.len()).unwrap_or(u64::MAX);
            let most = u64::try_from(PATCHED_NAMES_MAX).unwrap_or(u64::MAX);
            p.count > 0 && shown == p.count.min(most) && ascends(&p.files, String::clone)
        };
        (!self.patched.iter().all(is_whole))
            .then_some("names of patched files do not fit their number")
    }
}

impl Encode for Details {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        if self.is_empty() {
            return Ok(());
        }
        self.patched.encode(encoder)?;
        self.extras.encode(encoder)?;
        self.system.encode(encoder)?;
        self.libraries.encode(encoder)
    }
}

impl Decode<Version> for Details {
    fn decode<D: Decoder<Context = Version>>(decoder: &mut D) -> Result<Self, error::DecodeError> {
        if decoder.context().0 < WITH_DETAILS {
            return Ok(Self::default());
        }
        Ok(Self {
            patched: Decode::decode(decoder)?,
            extras: Decode::decode(decoder)?,
            system: Decode::decode(decoder)?,
            libraries: Decode::decode(decoder)?,
        })
    }
}

bincode::impl_borrow_decode_with_context!(Details, Version);

/// The format version of environments with [`Details`].
const WITH_DETAILS: u8 = 2;

/// The environment document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[bincode(decode_context = "Version")]
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
    /// What goes beyond names and versions.
    pub details: Details,
}

impl Object for Env {
    const KIND: Kind = Kind::Env;
    const VERSION: u8 = WITH_DETAILS;

    fn version(&self) -> u8 {
        if self.details.is_empty() {
            1
        } else {
            WITH_DETAILS
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let d = &self.details;
        canon::check_lengths(&[self.packages.len(), self.locks.len()])?;
        canon::check_lengths(&[d.patched.len(), d.extras.len()])?;
        canon::check_lengths(&[d.system.len(), d.libraries.len()])?;
        let names = d.extras.iter().map(|e| e.names.len());
        let names: Vec<usize> = names
            .chain(d.system.iter().map(|s| s.libraries.len()))
            .collect();
        canon::check_lengths(&names)?;
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
        d.broken(&self.packages)
            .map_or(Ok(()), |rule| Err(DecodeError::NotCanonical(rule)))
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
            details: Details::default(),
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

    /// How a package was changed after it was installed, if it was.
    #[must_use]
    pub fn find_patch(&self, name: &str) -> Option<&Patch> {
        self.details.patched.iter().find(|p| p.package == name)
    }

    /// The extras of a package that something asks for.
    #[must_use]
    pub fn extras_of(&self, name: &str) -> &[String] {
        let found = self.details.extras.iter().find(|e| e.package == name);
        found.map_or(&[], |e| &e.names)
    }
}

impl Patch {
    /// Its first files, and how many more there are.
    #[must_use]
    pub fn shown(&self) -> String {
        const SHOWN: usize = 5;
        let shown = &self.files[..self.files.len().min(SHOWN)];
        let more = self
            .count
            .saturating_sub(u64::try_from(shown.len()).unwrap_or(0));
        match more {
            0 => shown.join(", "),
            n => format!("{} and {n} more", shown.join(", ")),
        }
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
            details: Details::default(),
        }
    }

    fn patch(package: &str, count: u64, files: &[&str]) -> Patch {
        Patch {
            package: package.into(),
            sha256: [7; 32],
            count,
            files: files.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn details_make_it_version_2_and_only_they() {
        let mut env = with(
            "3.11.7",
            vec![Package::new("a", "1"), Package::new("b", "1")],
        );
        let plain = canon::encode(&env).unwrap();
        assert_eq!(plain[7], 1);
        env.details.patched = vec![patch("b", 1, &["b.py"])];
        env.details.system = vec![SystemPackage {
            name: "libgomp1".into(),
            version: "12.2.0-14".into(),
            manager: "dpkg".into(),
            libraries: vec!["libgomp.so.1".into()],
        }];
        let whole = canon::encode(&env).unwrap();
        assert_eq!(whole[7], 2);
        assert_eq!(canon::decode::<Env>(&whole).unwrap(), env);
        assert_eq!(env.find_patch("b").unwrap().shown(), "b.py");
        assert!(env.find_patch("a").is_none() && env.extras_of("a").is_empty());
        // One document has one form: nothing of version 2 in version 1, nor the other way round.
        let mut forged = plain;
        forged[7] = 2;
        assert!(canon::decode::<Env>(&forged).is_err());
        forged.extend([0; 4]);
        assert!(canon::decode::<Env>(&forged).is_err());
    }

    #[test]
    fn details_obey_their_rules() {
        let refused = |patched: Vec<Patch>, extras: &[(&str, &[&str])]| {
            let mut env = with(
                "3.11.7",
                vec![Package::new("a", "1"), Package::new("b", "1")],
            );
            env.details.patched = patched;
            let extra = |(package, names): &(&str, &[&str])| Extras {
                package: (*package).into(),
                names: names.iter().map(|n| (*n).to_owned()).collect(),
            };
            env.details.extras = extras.iter().map(extra).collect();
            canon::encode(&env).is_err()
        };
        assert!(!refused(
            vec![patch("a", 2, &["x", "y"]), patch("b", 1, &["x"])],
            &[("a", &["s"])]
        ));
        assert!(refused(
            vec![patch("b", 1, &["x"]), patch("a", 1, &["x"])],
            &[]
        ));
        assert!(refused(vec![patch("c", 1, &["x"])], &[]));
        for (count, files) in [
            (0, &[][..]),
            (2, &["x"]),
            (2, &["y", "x"]),
            (1, &["x", "y"]),
        ] {
            assert!(refused(vec![patch("a", count, files)], &[]), "{count}");
        }
        assert!(refused(vec![], &[("a", &[])]));
        assert!(refused(vec![], &[("a", &["t", "s"])]));
        assert!(refused(vec![], &[("c", &["s"])]));
    }

    #[test]
    fn every_part_of_a_version_counts() {
        let ids: Vec<EnvId> = ["1.0.0", "1.0.0rc1", "1.0.0+cpu", "1.0", "1!1.0.0"]
            .iter()
            .map(|v| with("3.11.7", vec![Package::new("torch", *v)]).id())
            .collect();
        for (i, a) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(a));
        }
        assert_ne!(with("3.11.7", vec![]).id(), with("3.11.8", vec![]).id());
    }

    #[test]
    fn packages_are_sorted_and_in_normal_form() {
        for names in [["b", "a"], ["a", "a"], ["A", "b"], ["a_b", "c"], ["", "a"]] {
            let env = with("3.11.7", names.map(|n| Package::new(n, "1")).to_vec());
            assert!(canon::encode(&env).is_err(), "{names:?}");
            assert!(canon::decode::<Env>(&canon::encode_unchecked(&env)).is_err());
        }
    }

    #[test]
    fn wheels_are_known_by_name_and_exact_version() {
        let bird = Package::new("early-bird", "1.0+cpu");
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
