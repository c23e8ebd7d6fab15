//! Installed distributions looked at file by file: what was changed after it was installed, and what is
//! used in place from a folder. Must never change what it reads.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::env::normal_name;

use super::env;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::wheels::record::{Record, sha256_of};

/// A distribution whose files are not those that were installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patched {
    /// Its normal name.
    pub package: String,
    /// Files that differ or are gone, as RECORD has them.
    pub files: Vec<String>,
}

/// Compares every installed file of an interpreter with the RECORD of its distribution. Distributions without
/// one can't be looked at.
///
/// # Errors
/// The interpreter does not answer, or it was interrupted.
pub fn patched(python: &Path, ctx: &Ctx<'_>) -> Result<Vec<Patched>> {
    let found = distributions(python)?;
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (next, out) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, site, dist_info)) =
                    found.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if ctx.cancel.is_cancelled() {
                        return;
                    }
                    let files = changed_files(site, dist_info);
                    if !files.is_empty() {
                        let package = name.clone();
                        let mut out = out
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner);
                        out.push(Patched { package, files });
                    }
                }
            });
        }
    });
    ctx.cancel.check()?;
    let mut out = out
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    out.sort();
    Ok(out)
}

/// Normal name, folder and metadata folder of each distribution; the first on the path counts.
fn distributions(python: &Path) -> Result<Vec<(String, PathBuf, String)>> {
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    for site in env::sites(python)? {
        for entry in std::fs::read_dir(&site).into_iter().flatten().flatten() {
            let folder = entry.file_name().to_string_lossy().into_owned();
            let stem = folder.strip_suffix(".dist-info");
            let Some((name, _)) = stem.and_then(|s| s.split_once('-')) else {
                continue;
            };
            let name = normal_name(name);
            if seen.insert(name.clone()) {
                out.push((name, site.clone(), folder));
            }
        }
    }
    Ok(out)
}

/// Files that RECORD has a hash of and that are others, or none. What is compiled anew and what
/// installers write for themselves doesn't count.
fn changed_files(site: &Path, dist_info: &str) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(site.join(dist_info).join("RECORD")) else {
        return Vec::new();
    };
    let record = Record::parse(dist_info, text);
    let mut out: Vec<String> = record
        .rows()
        .filter(|(name, hash)| hash.starts_with("sha256=") && !name.ends_with(".pyc"))
        .filter(|(name, _)| {
            let own = name
                .strip_prefix(dist_info)
                .and_then(|n| n.strip_prefix('/'));
            !own.is_some_and(|n| env::INSTALLER_FILES.contains(&n))
        })
        .filter(|(name, _)| {
            let found = File::open(site.join(name)).and_then(|f| sha256_of(f, u64::MAX));
            !found.is_ok_and(|(sha256, _)| record.check(name, &sha256).is_ok())
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    out.sort();
    out
}

/// Distributions that an interpreter uses in place, and the folder of each.
///
/// # Errors
/// The interpreter does not answer.
pub fn in_place(python: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut out = Vec::new();
    for (name, site, dist_info) in distributions(python)? {
        let direct = std::fs::read(site.join(dist_info).join("direct_url.json"));
        let direct: Option<serde_json::Value> =
            direct.ok().and_then(|b| serde_json::from_slice(&b).ok());
        let Some(direct) = direct.filter(|d| d["dir_info"]["editable"] == true) else {
            continue;
        };
        let folder = direct["url"]
            .as_str()
            .and_then(|u| u.strip_prefix("file://"));
        out.extend(folder.map(|f| (name, PathBuf::from(unescaped(f)))));
    }
    out.sort();
    Ok(out)
}

/// A path of a URL with its `%20` and the like as they are meant.
fn unescaped(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    std::ffi::OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::wheels::record::base64url;

    #[test]
    fn what_was_changed_in_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let info = "bird-1.0.dist-info";
        std::fs::create_dir_all(dir.path().join(info)).unwrap();
        let hash = base64url(&Sha256::digest("same"));
        let rows = ["a.py", "b.py", "c.py", "bird-1.0.dist-info/INSTALLER"]
            .map(|n| format!("{n},sha256={hash},4\n"));
        std::fs::write(
            dir.path().join(info).join("RECORD"),
            rows.concat() + "x.pyc,,\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("a.py"), "same").unwrap();
        std::fs::write(dir.path().join("b.py"), "other").unwrap();
        assert_eq!(changed_files(dir.path(), info), ["b.py", "c.py"]);
        assert_eq!(changed_files(dir.path(), "none-1.dist-info"), [""; 0]);
    }

    #[test]
    fn folders_are_read_from_urls() {
        assert_eq!(unescaped("/a%20b/%C3%BC%"), "/a b/\u{fc}%");
    }
}
