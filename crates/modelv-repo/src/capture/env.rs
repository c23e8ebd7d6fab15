//! The environment document of an interpreter: asked once, then read from the installed metadata.
//!
//! A cache keyed by what an installation must change answers later calls without starting the
//! interpreter. A package that is edited in place is not seen by it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use modelv_core::canon;
use modelv_core::env::{Env, Interpreter, Lock, Package, normal_name};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::worktree::StatStamp;

/// What installers write beside the metadata that came with a distribution.
pub(crate) const INSTALLER_FILES: [&str; 6] = [
    "INSTALLER",
    "REQUESTED",
    "RECORD",
    "direct_url.json",
    "uv_cache.json",
    "uv_build.json",
];
const PROBE: &str = include_str!("probe.py");
/// Largest metadata file that is read, in bytes.
pub(super) const METADATA_BYTES_MAX: u64 = 16 << 20;

/// Whether a file name is that of a lock file: one that pins the packages of an environment.
#[must_use]
pub fn is_lock_file(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"uv.lock",
        b"poetry.lock",
        b"pdm.lock",
        b"pylock.toml",
        b"Pipfile.lock",
        b"conda-lock.yml",
        b"environment.yml",
        b"Cargo.lock",
    ];
    let is_requirements = name.starts_with(b"requirements") && name.ends_with(b".txt");
    NAMES.contains(&name) || is_requirements
}

/// What the interpreter says of itself.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
struct Answer {
    implementation: String,
    version: String,
    abi: String,
    sites: Vec<PathBuf>,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Cached {
    key: String,
    answer: Answer,
    env: String,
}

/// The environment document of `python` as it is now, without lock files.
///
/// # Errors
/// The interpreter does not answer.
pub fn capture(python: &Path) -> Result<Env> {
    describe(&probe(python)?)
}

/// The folders in which an interpreter looks for packages.
///
/// # Errors
/// It does not answer.
pub fn sites(python: &Path) -> Result<Vec<PathBuf>> {
    Ok(probe(python)?.sites)
}

/// What an interpreter says it is.
///
/// # Errors
/// It does not answer.
pub fn interpreter(python: &Path) -> Result<Interpreter> {
    let answer = probe(python)?;
    Ok(Interpreter {
        implementation: answer.implementation,
        version: answer.version,
        abi: answer.abi,
    })
}

/// The environment document of `python`, from the cache where nothing was installed since.
///
/// # Errors
/// The interpreter does not answer.
pub fn capture_cached(cache: &Path, python: Option<&Path>, locks: Vec<Lock>) -> Result<Env> {
    let Some(python) = python else {
        return Ok(Env {
            locks: sorted(locks),
            ..platform()
        });
    };
    let known = std::fs::read(cache).ok().and_then(|b| read_cache(&b));
    if let Some(known) = known
        && known.key == key(python, &known.answer.sites)
        && let Some(env) = unpack(&known.env)
    {
        return Ok(Env {
            locks: sorted(locks),
            ..env
        });
    }
    let answer = probe(python)?;
    let env = describe(&answer)?;
    let bytes = canon::encode(&env).map_err(modelv_store::Error::from)?;
    let cached = Cached {
        key: key(python, &answer.sites),
        env: modelv_core::id::to_hex(&bytes),
        answer,
    };
    // A cache that can't be written makes the next call slower, nothing else.
    if let Ok(mut bytes) = serde_json::to_vec(&cached) {
        let hash = cache_hash(&bytes);
        bytes.extend_from_slice(&hash);
        let _ = modelv_store::fs::write_unsynced(cache, &bytes);
    }
    Ok(Env {
        locks: sorted(locks),
        ..env
    })
}

/// The folders in which an interpreter finds packages, from the cache where nothing was installed
/// since.
pub(super) fn known_sites(cache: &Path, python: &Path) -> Result<Vec<PathBuf>> {
    let known = std::fs::read(cache).ok().and_then(|b| read_cache(&b));
    let known = known.filter(|known| known.key == key(python, &known.answer.sites));
    Ok(match known {
        Some(known) => known.answer.sites,
        None => probe(python)?.sites,
    })
}

/// The cache, if its bytes are those that were written.
fn read_cache(bytes: &[u8]) -> Option<Cached> {
    serde_json::from_slice(checked(bytes)?).ok()
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (body, hash) = bytes.split_last_chunk::<32>()?;
    (cache_hash(body) == *hash).then_some(body)
}

fn cache_hash(body: &[u8]) -> [u8; 32] {
    blake3::derive_key("modelv 2026-11 envcache v1", body)
}

/// Whether the bytes are those of a cache that would be believed.
pub(crate) fn is_cache_sound(bytes: &[u8]) -> bool {
    checked(bytes).is_some()
}

fn sorted(mut locks: Vec<Lock>) -> Vec<Lock> {
    locks.sort_by(|a, b| a.path.cmp(&b.path));
    locks
}

fn platform() -> Env {
    let (os, arch) = (std::env::consts::OS.into(), std::env::consts::ARCH.into());
    Env {
        os,
        arch,
        ..Env::none()
    }
}

/// Changes whenever the interpreter or a folder of packages does. Canonical bytes are checked when
/// they are read back, so a damaged cache is no environment.
fn key(python: &Path, sites: &[PathBuf]) -> String {
    let stamp = |path: &Path| StatStamp::text(path);
    let venv = python
        .parent()
        .and_then(Path::parent)
        .map(|p| stamp(&p.join("pyvenv.cfg")));
    let sites: Vec<String> = sites.iter().map(|s| stamp(s)).collect();
    format!(
        "{} {} {venv:?} {sites:?} v1",
        python.display(),
        stamp(python)
    )
}

fn unpack(hex: &str) -> Option<Env> {
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    canon::decode(&bytes?).ok()
}

fn probe(python: &Path) -> Result<Answer> {
    let failed = |detail: String| Error::Program {
        program: python.display().to_string(),
        detail,
    };
    let output = Command::new(python)
        .args(["-I", "-c", PROBE])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(failed(
            words.lines().last().unwrap_or("no answer").to_owned(),
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed(format!("odd answer: {e}")))
}

fn describe(answer: &Answer) -> Result<Env> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for site in &answer.sites {
        // Entries of sys.path need not exist.
        let Ok(entries) = std::fs::read_dir(site) else {
            continue;
        };
        for entry in entries {
            let path = entry.map_err(Error::io("read", site))?.path();
            let found = match path.extension().and_then(|e| e.to_str()) {
                Some("dist-info") => read_dist_info(&path),
                Some("egg-info") => read_egg_info(&path),
                _ => None,
            };
            if let Some(package) = found {
                // The first on the path is the one that is imported.
                packages.entry(package.name.clone()).or_insert(package);
            }
        }
    }
    Ok(Env {
        interpreter: Some(Interpreter {
            implementation: answer.implementation.clone(),
            version: answer.version.clone(),
            abi: answer.abi.clone(),
        }),
        packages: packages.into_values().collect(),
        ..platform()
    })
}

fn read_small(path: &Path) -> Option<String> {
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

pub(crate) fn read_dist_info(dir: &Path) -> Option<Package> {
    let (name, version) = read_head(&dir.join("METADATA"))?;
    let direct = read_small(&dir.join("direct_url.json"))
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let record = read_small(&dir.join("RECORD"));
    let folder = dir.file_name()?.to_string_lossy().into_owned();
    let editable = direct
        .as_ref()
        .is_some_and(|d| d["dir_info"]["editable"].as_bool() == Some(true));
    Some(Package {
        name: normal_name(&name),
        version,
        archive_sha256: direct.as_ref().and_then(archive_sha256),
        source: direct.as_ref().and_then(source),
        record_sha256: record.map(|text| record_sha256(&text, &folder)),
        editable,
    })
}

fn read_egg_info(path: &Path) -> Option<Package> {
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

/// SHA-256 over the sorted (path, hash) rows of a RECORD, without what installers write: equal for
/// the wheel and for every tree it was installed to.
#[must_use]
pub fn record_sha256(record: &str, dist_info: &str) -> [u8; 32] {
    let mut rows: Vec<(&str, &str)> = record
        .lines()
        .filter_map(|line| {
            let (rest, _size) = line.rsplit_once(',')?;
            let (path, hash) = rest.rsplit_once(',')?;
            let own = path
                .strip_prefix(dist_info)
                .and_then(|p| p.strip_prefix('/'));
            let installer = own.is_some_and(|p| INSTALLER_FILES.contains(&p));
            let script = path.starts_with("../") || path.contains(".data/scripts/");
            let keep = !hash.is_empty() && !installer && !script && !path.ends_with(".pyc");
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
