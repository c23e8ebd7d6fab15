//! What the metadata folder of an installed distribution says: name, version, where it came from, its
//! list of files. Reads files alone; must never start a program.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
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

/// What the head of METADATA or PKG-INFO says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// As it is written.
    pub(super) name: String,
    pub(super) version: String,
    /// Demands on others, as PEP 508 writes them.
    pub(super) requires: Vec<String>,
}

/// Reads the head of METADATA or PKG-INFO: the lines before the first blank one.
pub(super) fn read_head(path: &Path) -> Option<Head> {
    let (mut name, mut version, mut requires) = (None, None, Vec::new());
    let file = File::open(path).ok()?.take(METADATA_BYTES_MAX);
    for line in BufReader::new(file).split(b'\n') {
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("Name", value)) => name = Some(value.trim().to_owned()),
            Some(("Version", value)) => version = Some(value.trim().to_owned()),
            Some(("Requires-Dist", value)) => requires.push(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(Head {
        name: name?,
        version: version?,
        requires,
    })
}

/// The metadata folder of a distribution in a folder of packages, by its normal name.
pub(crate) fn metadata_dir(site: &Path, name: &str) -> Option<PathBuf> {
    let mut all = metadata_dirs(site);
    all.find_map(|(n, folder)| (n == name).then(|| site.join(folder)))
}

/// The distributions in a folder of packages: their normal names, and the names of their metadata folders
/// (`NAME-VERSION.dist-info`). An entry of `sys.path` that is no folder holds none.
pub(crate) fn metadata_dirs(site: &Path) -> impl Iterator<Item = (String, String)> {
    let entries = std::fs::read_dir(site).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let folder = entry.file_name().into_string().ok()?;
        let (name, _) = folder.strip_suffix(".dist-info")?.split_once('-')?;
        Some((normal_name(name), folder))
    })
}

/// What the metadata folder of a distribution says.
#[cfg(test)]
pub(crate) fn read_dist_info(dir: &Path) -> Option<Package> {
    read_metadata(dir).map(|found| found.package)
}

/// What is known of an installed distribution.
#[derive(Debug)]
pub(super) struct Distribution {
    pub(super) package: Package,
    /// Its list of files, if it has one.
    pub(super) record: Option<String>,
    /// Demands on others.
    pub(super) requires: Vec<String>,
    /// For which machines its wheel was made.
    pub(super) tags: BTreeSet<String>,
}

/// Reads the metadata folder of a distribution.
pub(super) fn read_metadata(dir: &Path) -> Option<Distribution> {
    let head = read_head(&dir.join("METADATA"))?;
    let direct = read_small(&dir.join("direct_url.json"))
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let record = read_small(&dir.join("RECORD"));
    let folder = dir.file_name()?.to_string_lossy().into_owned();
    let editable = direct
        .as_ref()
        .is_some_and(|d| d["dir_info"]["editable"].as_bool() == Some(true));
    let wheel = read_small(&dir.join("WHEEL")).unwrap_or_default();
    let tags = wheel.lines().filter_map(|l| l.strip_prefix("Tag: "));
    let package = Package {
        name: normal_name(&head.name),
        version: head.version,
        archive_sha256: direct.as_ref().and_then(archive_sha256),
        source: direct.as_ref().and_then(source),
        // The RECORD of one that is used in place names a folder of this machine.
        record_sha256: record
            .as_ref()
            .filter(|_| !editable)
            .map(|text| record_sha256(text, &folder)),
        editable,
    };
    Some(Distribution {
        package,
        record,
        requires: head.requires,
        tags: tags.map(|t| t.trim().to_owned()).collect(),
    })
}

/// Reads what came before wheels: a file, or a folder with one.
pub(super) fn read_egg_info(path: &Path) -> Option<Distribution> {
    let file = if path.is_dir() {
        path.join("PKG-INFO")
    } else {
        path.to_owned()
    };
    let head = read_head(&file)?;
    let package = Package::new(normal_name(&head.name), head.version);
    Some(Distribution {
        package,
        record: None,
        requires: head.requires,
        tags: BTreeSet::new(),
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
