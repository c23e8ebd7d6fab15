//! Wheels as files: for which machine one is, and whether it is what an environment records.
//! Must never believe a name alone where a digest was recorded.

use std::fs::File;
use std::path::{Path, PathBuf};

use modelv_core::env::Package;
use zip::ZipArchive;

use super::record::{Record, sha256_of};
use crate::ctx::Cancel;
use crate::error::{Error, Result};

/// Largest file of a wheel, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 30;

/// How a wheel is known to be the distribution that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its RECORD has the recorded digest.
    Record,
    /// Its own SHA-256 was recorded.
    Archive,
    /// By name and version only: nothing else was recorded.
    Name,
}

/// Whether a wheel is what was recorded of a package, by its list of files alone.
///
/// # Errors
/// It is another, or no wheel.
pub fn prove(path: &Path, package: &Package) -> std::result::Result<Proof, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut zip = ZipArchive::new(&file).map_err(|e| e.to_string())?;
    if let Some(want) = package.record_sha256 {
        return match Record::of_wheel(&mut zip)?.installed_sha256() == want {
            true => Ok(Proof::Record),
            false => Err("it holds other files than those that were installed".into()),
        };
    }
    let Some(want) = package.archive_sha256 else {
        return Ok(Proof::Name);
    };
    let file = File::open(path).map_err(|e| e.to_string())?;
    let (found, _) = sha256_of(file, u64::MAX).map_err(|e| e.to_string())?;
    match found == want {
        true => Ok(Proof::Archive),
        false => Err("the wheel is not the one that was installed (SHA-256 differs)".into()),
    }
}

/// Compares every file of a wheel with its RECORD.
///
/// # Errors
/// A file is another, is missing, or has no place in it.
pub fn check_files(path: &Path, cancel: &Cancel) -> std::result::Result<(), String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut zip = ZipArchive::new(file).map_err(|e| e.to_string())?;
    let record = Record::of_wheel(&mut zip)?;
    let mut found = std::collections::HashSet::new();
    for i in 0..zip.len() {
        if cancel.is_cancelled() {
            return Err("interrupted".into());
        }
        let entry = zip.by_index(i).map_err(|e| e.to_string())?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if name.ends_with('/') {
            continue;
        }
        if !is_inside(&name) {
            return Err(format!("it holds the file name `{}`", name.escape_debug()));
        }
        let (sha256, _) = sha256_of(entry, FILE_BYTES_MAX).map_err(|e| format!("`{name}`: {e}"))?;
        record.check(&name, &sha256)?;
        if !found.insert(name.clone()) {
            return Err(format!("it holds `{name}` twice"));
        }
    }
    let missing = record
        .rows()
        .find(|(p, h)| !h.is_empty() && !found.contains(*p));
    missing.map_or(Ok(()), |(p, _)| {
        Err(format!("`{p}` is in RECORD and not in it"))
    })
}

/// Whether a name in a wheel stays in the folder it is laid out in.
pub(super) fn is_inside(name: &str) -> bool {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    !name.split('/').any(bad)
}

/// The wheels in a folder, sorted.
///
/// # Errors
/// It can't be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        if path.extension().is_some_and(|e| e == "whl") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// Whether a file name is that of a wheel of exactly this package, for Python `minor` and this
/// machine.
#[must_use]
pub fn is_for(file_name: &str, package: &Package, minor: &str) -> bool {
    let tags = file_name
        .strip_suffix(".whl")
        .and_then(|stem| package.wheel_tags(stem));
    tags.is_some_and(|tags| fits(&tags, minor))
}

/// Whether a wheel's tags (`py3-none-any`) are for Python `minor` on this machine: a cache holds the
/// wheels of every commit, and those of two interpreters differ in nothing but the tags.
#[must_use]
pub fn fits(tags: &[&str], minor: &str) -> bool {
    let [.., pythons, abis, platforms] = tags else {
        return false;
    };
    let number = |digits: &str| -> Option<(u32, u32)> {
        let (major, rest) = digits.split_at_checked(1)?;
        Some((major.parse().ok()?, rest.parse().unwrap_or(0)))
    };
    let own = number(&minor.replace('.', "")).unwrap_or_default();
    let is_stable = abis.split('.').any(|a| a == "abi3");
    let for_python = pythons.split('.').any(|tag| {
        let known = tag.strip_prefix("cp").or_else(|| tag.strip_prefix("py"));
        known.and_then(number).is_some_and(|v| {
            v == own || (v.0 == own.0 && v.1 < own.1 && (is_stable || tag.starts_with("py")))
        })
    });
    // What is linked with musl does not start where glibc is.
    let for_machine = |p: &str| {
        let arch = format!("_{}", std::env::consts::ARCH);
        p == "any" || (p.ends_with(&arch) && !p.starts_with("musllinux"))
    };
    for_python && platforms.split('.').any(for_machine)
}

/// `3.11` of `3.11.7`.
#[must_use]
pub fn minor_of(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_taken_for_its_own_interpreter_only() {
        let machine = format!(
            "manylinux_2_17_{0}.manylinux2014_{0}",
            std::env::consts::ARCH
        );
        let fits = |tags: &str, minor: &str| fits(&tags.split('-').collect::<Vec<_>>(), minor);
        assert!(fits("py3-none-any", "3.11"));
        assert!(fits("py2.py3-none-any", "3.11"));
        assert!(fits("1-py3-none-any", "3.11"));
        assert!(fits(&format!("cp311-cp311-{machine}"), "3.11"));
        assert!(!fits(&format!("cp311-cp311-{machine}"), "3.12"));
        assert!(!fits(&format!("cp310-cp310-{machine}"), "3.11"));
        assert!(fits(&format!("cp38-abi3-{machine}"), "3.11"));
        assert!(!fits(&format!("cp312-abi3-{machine}"), "3.11"));
        let musl = format!("cp311-cp311-musllinux_1_2_{}", std::env::consts::ARCH);
        assert!(!fits(&musl, "3.11"));
        assert!(!fits("cp311-cp311-win_amd64", "3.11"));
        assert!(!fits("cp311-cp311-linux_riscv128", "3.11"));
        assert!(!fits("py2-none-any", "3.11"));
        assert!(!fits("none-any", "3.11"));
    }

    #[test]
    fn names_that_lead_out_are_seen() {
        for bad in ["../a", "/a", "a/../b", "a//b", "./a", ""] {
            assert!(!is_inside(bad), "{bad}");
        }
        assert!(is_inside("a/b..c/.d"));
    }
}
