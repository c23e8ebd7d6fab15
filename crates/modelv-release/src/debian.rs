//! Debian as a base: a root file system of its packages, made by mmdebstrap as root or as anyone, and kept. The
//! release that has the interpreter of the commit, and the packages of the system that the commit has found in
//! use. The same list is made once: what Debian has replaced since is in no image until `cache/bases` goes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use modelv_repo::Repo;
use modelv_repo::core::env::Env;
use modelv_repo::core::id::to_hex;
use modelv_repo::wheels::archive;
use modelv_repo::wheels::pip::run_gently;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::packer::Packer;

/// Releases of Debian and their interpreters.
const RELEASES: [(&str, &str); 4] = [
    ("3.9", "bullseye"),
    ("3.11", "bookworm"),
    ("3.13", "trixie"),
    ("3.14", "forky"),
];
/// The release for what has no interpreter.
const ALONE: &str = "trixie";
/// What wheels expect of every system (PEP 600), and what speaks TLS.
const ALWAYS: [&str; 4] = ["ca-certificates", "libgcc-s1", "libstdc++6", "zlib1g"];
/// Where to look for the reason in what mmdebstrap says.
const REASON: &str = "E: ";
/// How long mmdebstrap may take to put away what it has begun.
const GRACE: Duration = Duration::from_secs(20);
/// The configuration value that names another mirror, such as a snapshot of a day.
pub(crate) const MIRROR: &str = "release.debian-mirror";
/// Raise it when the same list would make other bytes.
const FORMAT: &str = "modelv debian 1";

fn bad(detail: String) -> Error {
    Error::Base {
        base: "debian".into(),
        detail,
    }
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    suite: String,
    /// Sorted.
    packages: Vec<String>,
    mirror: Option<String>,
}

impl Recipe {
    /// What a commit needs; `suite`: the release that is wanted.
    pub(crate) fn of(repo: &Repo, env: &Env, suite: Option<&str>) -> Result<Self> {
        let interpreter = env.interpreter.as_ref();
        let version = interpreter.map(|i| i.version.as_str());
        let version = version.ok_or_else(|| bad("the commit records no interpreter".into()))?;
        let minor = archive::minor_of(version);
        let suite = match suite {
            Some(suite) => suite.to_owned(),
            None => suite_of(&minor)?.to_owned(),
        };
        let in_use = env.details.system.iter();
        let in_use = in_use
            .filter(|p| p.manager == "dpkg")
            .map(|p| p.name.clone());
        let own = [
            format!("python{minor}-minimal"),
            format!("libpython{minor}-stdlib"),
        ];
        let always = ALWAYS.iter().map(|name| (*name).to_owned());
        let mut packages: Vec<String> = in_use.chain(own).chain(always).collect();
        packages.sort();
        packages.dedup();
        // Names come from a document that anyone may have written, and go into a command.
        if let Some(wrong) = packages.iter().find(|name| !is_name(name)) {
            let shown = wrong.escape_debug();
            return Err(bad(format!("`{shown}` is no name of a package")));
        }
        Ok(Self {
            suite,
            packages,
            mirror: repo.config(MIRROR),
        })
    }

    /// What a program without an interpreter needs.
    pub(crate) fn alone(repo: &Repo, suite: Option<&str>) -> Self {
        Self {
            suite: suite.unwrap_or(ALONE).to_owned(),
            packages: ALWAYS.iter().map(|name| (*name).to_owned()).collect(),
            mirror: repo.config(MIRROR),
        }
    }

    fn file(&self, dir: &Path) -> PathBuf {
        let arch = std::env::consts::ARCH;
        let mirror = self.mirror.as_deref().unwrap_or_default();
        let text = format!("{FORMAT}\n{arch}\n{mirror}\n{}", self.packages.join("\n"));
        let key = to_hex(&Sha256::digest(text));
        dir.join(format!("{}-{}.tar", self.suite, &key[..16]))
    }

    /// The tar of it, which is made if it is not there; `None`: nothing is made now.
    pub(crate) fn tar(&self, packer: &Packer<'_>, repo: &Repo) -> Result<Option<PathBuf>> {
        let dir = repo.dir().join("cache/bases");
        let tar = self.file(&dir);
        if tar.is_file() {
            return Ok(Some(tar));
        }
        if packer.is_dry() {
            return Ok(None);
        }
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let temp = tempfile::tempdir_in(&dir).map_err(Error::io("create", &dir))?;
        let made = temp.path().join("root.tar");
        self.make(&made, packer)?;
        std::fs::rename(&made, &tar).map_err(Error::io("write", &tar))?;
        Ok(Some(tar))
    }

    fn make(&self, tar: &Path, packer: &Packer<'_>) -> Result<()> {
        let mut command = Command::new("mmdebstrap");
        command
            .arg("--variant=essential")
            .arg(format!("--include={}", self.packages.join(",")))
            .arg(&self.suite)
            .arg(tar)
            .args(&self.mirror)
            .env("SOURCE_DATE_EPOCH", "0")
            .env("LC_ALL", "C");
        // It takes minutes, and a signal may be for this process alone.
        let said = match run_gently(&mut command, packer.cancel, GRACE) {
            Err(modelv_repo::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let text = "`mmdebstrap` makes it, and is not on this machine";
                return Err(bad(text.into()));
            }
            said => said?,
        };
        if said.success {
            return Ok(());
        }
        let lines = || said.words.lines().map(str::trim);
        let reason = lines()
            .find(|line| line.starts_with(REASON))
            .or_else(|| lines().next_back());
        let reason = reason.unwrap_or_default().trim_start_matches(REASON);
        Err(bad(format!("mmdebstrap of `{}`: {reason}", self.suite)))
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        let count = self.packages.len();
        format!(
            "Debian {} is made first, of {count} packages and what they need",
            self.suite
        )
    }
}

fn suite_of(minor: &str) -> Result<&'static str> {
    let found = RELEASES.iter().find(|(python, _)| *python == minor);
    found.map(|(_, suite)| *suite).ok_or_else(|| {
        let all: Vec<String> = RELEASES
            .iter()
            .map(|(p, s)| format!("{s} has {p}"))
            .collect();
        bad(format!(
            "no release of it has python{minor}, which the commit was made with: {}",
            all.join(", ")
        ))
    })
}

/// A name of a package, with the architecture that dpkg may put behind it.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.bytes().next().is_some_and(plain) && name.bytes().all(|b| plain(b) || b"+-.:".contains(&b))
}

/// Whether a text is the name of a release.
pub(crate) fn is_suite(text: &str) -> bool {
    is_name(text) && !text.contains([':', '+'])
}

/// A package that a base says is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
}

/// Whether a path is one where dpkg keeps what is installed; images without it have a file each.
pub(crate) fn is_status(path: &[u8]) -> bool {
    let each = path.strip_prefix(b"var/lib/dpkg/status.d/");
    path == b"var/lib/dpkg/status" || each.is_some_and(|name| !name.ends_with(b".md5sums"))
}

/// Reads what dpkg says is installed.
pub(crate) fn read_status(bytes: &[u8]) -> Vec<Deb> {
    let text = String::from_utf8_lossy(bytes);
    let read = |paragraph: &str| {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.map(|value| value.trim().to_owned())
        };
        let is_there = field("Status").is_none_or(|status| status.ends_with(" installed"));
        let deb = Deb {
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture").unwrap_or_default(),
        };
        is_there.then_some(deb)
    };
    text.split("\n\n").filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_read() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n\
                      Version: 2.36-9\nDescription: a\n Version: 9\n\nPackage: gone\n\
                      Status: deinstall ok config-files\nVersion: 1\n\nPackage: x\nVersion: 1:2\n\n";
        let all = read_status(status.as_bytes());
        let shown: Vec<_> = all
            .iter()
            .map(|d| format!("{} {} {}", d.name, d.version, d.architecture))
            .collect();
        assert_eq!(shown, ["libc6 2.36-9 amd64", "x 1:2 "]);
        assert!(read_status(b"\xff\n\n").is_empty());
        for (path, want) in [
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status.d/libc6", true),
            ("var/lib/dpkg/status.d/libc6.md5sums", false),
            ("var/lib/dpkg/status-old", false),
        ] {
            assert_eq!(is_status(path.as_bytes()), want, "{path}");
        }
    }

    #[test]
    fn the_release_is_the_one_with_the_interpreter() {
        assert_eq!(suite_of("3.11").unwrap(), "bookworm");
        let said = suite_of("3.10").unwrap_err().to_string();
        assert!(
            said.contains("no release of it has python3.10") && said.contains("bookworm has 3.11"),
            "{said}"
        );
    }

    #[test]
    fn names_are_no_options() {
        for name in [
            "libc6",
            "libstdc++6",
            "libgomp1:amd64",
            "python3.11-minimal",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-x", "a,b", "A", "a b", "../x", "?exact"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_suite("bookworm-backports") && !is_suite("a:b"));
    }
}
