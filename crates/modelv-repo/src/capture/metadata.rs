//! What the metadata folder of an installed distribution says: name, version, where it came from, its
//! list of files. Reads files alone; must never start a program.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use modelv_core::env::{Package, normal_name};
use sha2::{Digest, Sha256};

/// What installers write beside the metadata that came with a distribution.
pub(crate) const INSTALLER_FILES: [&str; 6] = [
    "INSTALLER",
    "REQUESTED",
    "RECORD",
    "direct_url.json",
    "uv_cache.json",
    "uv_build.json",
];
/// Largest metadata file that is read, in bytes.
pub(super) const METADATA_BYTES_MAX: u64 = 16 << 20;

pub(super) fn read_small(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.len() > METADATA_BYTES_MAX {
        return None;
    }
    std::fs::read(path)
        .ok()
        .map(|b| String::from_utf8_lossy(&b).into_owned())
}

/// Name and version from the head of METADATA or PKG-INFO.
fn read_head(path: &Path) -> Option<(String, String)> {
    let (mut name, mut version) = (None, None);
    for line in BufReader::new(File::open(path).ok()?).lines().take(200) {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("Name", value)) => name = Some(value.trim().to_owned()),
            Some(("Version", value)) => version = Some(value.trim().to_owned()),
            _ => {}
        }
        if name.is_some() && version.is_some() {
            break;
        }
    }
    Some((name?, version?))
}

/// The metadata folder of a distribution in a folder of packages, by its normal name.
pub(crate) fn metadata_dir(site: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(site).ok()?.flatten();
    let is_it = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        path.extension().is_some_and(|e| e == "dist-info")
            && stem
                .split_once('-')
                .is_some_and(|(n, _)| normal_name(n) == name)
    };
    entries.map(|e| e.path()).find(is_it)
}

/// What the metadata folder of a distribution says.
#[cfg(test)]
pub(crate) fn read_dist_info(dir: &Path) -> Option<Package> {
    read_metadata(dir).map(|(package, _)| package)
}

/// The same with its RECORD, if it has one.
pub(super) fn read_metadata(dir: &Path) -> Option<(Package, Option<String>)> {
    let (name, version) = read_head(&dir.join("METADATA"))?;
    let direct = read_small(&dir.join("direct_url.json"))
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let record = read_small(&dir.join("RECORD"));
    let folder = dir.file_name()?.to_string_lossy().into_owned();
    let editable = direct
        .as_ref()
        .is_some_and(|d| d["dir_info"]["editable"].as_bool() == Some(true));
    let package = Package {
        name: normal_name(&name),
        version,
        archive_sha256: direct.as_ref().and_then(archive_sha256),
        source: direct.as_ref().and_then(source),
        record_sha256: record.as_ref().map(|text| record_sha256(text, &folder)),
        editable,
    };
    Some((package, record))
}

pub(super) fn read_egg_info(path: &Path) -> Option<Package> {
    let file = if path.is_dir() {
        path.join("PKG-INFO")
    } else {
        path.to_owned()
    };
    let (name, version) = read_head(&file)?;
    Some(Package {
        name: normal_name(&name),
        version,
        archive_sha256: None,
        source: None,
        record_sha256: None,
        editable: false,
    })
}

fn archive_sha256(direct: &serde_json::Value) -> Option<[u8; 32]> {
    let info = &direct["archive_info"];
    let hex = info["hashes"]["sha256"].as_str().or_else(|| {
        info["hash"]
            .as_str()
            .and_then(|h| h.strip_prefix("sha256="))
    })?;
    modelv_core::id::from_hex(&hex.to_ascii_lowercase()).ok()
}

/// URL of a direct reference, with the commit of a version control system; never credentials, and
/// never a folder of this machine.
fn source(direct: &serde_json::Value) -> Option<String> {
    let url = strip_credentials(direct["url"].as_str()?);
    if url.starts_with("file:") {
        return Some("file".into());
    }
    match (
        direct["vcs_info"]["vcs"].as_str(),
        direct["vcs_info"]["commit_id"].as_str(),
    ) {
        (Some(vcs), Some(commit)) => Some(format!("{vcs}+{url}@{commit}")),
        _ => Some(url),
    }
}

/// A URL without user, password and query.
#[must_use]
pub fn strip_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        // `user@host:path`, as SSH has it.
        let user = url
            .split_once('@')
            .filter(|(user, _)| !user.contains(['/', ':']));
        return user.map_or(url, |(_, rest)| rest).to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// Whether a row of RECORD is of a file that came with the distribution and lies where it was put: none
/// that an installer writes, compiles or adapts.
pub(crate) fn is_of_distribution(path: &str, hash: &str, dist_info: &str) -> bool {
    let own = path
        .strip_prefix(dist_info)
        .and_then(|p| p.strip_prefix('/'));
    let installer = own.is_some_and(|p| INSTALLER_FILES.contains(&p));
    let script = path.starts_with("../") || path.contains(".data/scripts/");
    !hash.is_empty() && !installer && !script && !path.ends_with(".pyc")
}

/// SHA-256 over the sorted (path, hash) rows of a RECORD, without what installers write: equal for
/// the wheel and for every tree it was installed to.
#[must_use]
pub fn record_sha256(record: &str, dist_info: &str) -> [u8; 32] {
    let mut rows: Vec<(&str, &str)> = record
        .lines()
        .filter_map(|line| {
            let (rest, _size) = line.rsplit_once(',')?;
            let (path, hash) = rest.rsplit_once(',')?;
            let keep = is_of_distribution(path, hash, dist_info);
            keep.then_some((path, hash))
        })
        .collect();
    rows.sort_unstable();
    let mut hasher = Sha256::new();
    for (path, hash) in rows {
        hasher.update(path.as_bytes());
        hasher.update(b",");
        hasher.update(hash.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().into()
}
