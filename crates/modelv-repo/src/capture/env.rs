//! The environment document of an interpreter: asked once, then read from the installed metadata.
//!
//! A cache keyed by what an installation must change answers later calls without starting the
//! interpreter. Whether a package was edited in place is looked at every time ([`super::installed`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use modelv_core::canon;
use modelv_core::env::{Env, Interpreter, Lock, Package};

use super::imports::{Modules, modules_in_record};
use super::installed::{self, Care};
use super::metadata::{read_egg_info, read_metadata};
pub use super::metadata::{record_sha256, strip_credentials};
use crate::error::{Error, Result};
use crate::worktree::StatStamp;

const PROBE: &str = include_str!("probe.py");
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
    /// What it says of how it was built.
    #[serde(default)]
    build: String,
    sites: Vec<PathBuf>,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Cached {
    key: String,
    answer: Answer,
    env: String,
    /// Distributions by the modules they bring.
    modules: Modules,
}

/// The environment document of `python` as it is now, without lock files.
///
/// # Errors
/// The interpreter does not answer.
pub fn capture(python: &Path) -> Result<Env> {
    let answer = probe(python)?;
    let env = describe(&answer)?.0;
    Ok(with_patches(
        env,
        installed::patched(&answer.sites, Care::Whole),
    ))
}

/// The environment with what was found changed in it.
fn with_patches(mut env: Env, found: Vec<installed::Patched>) -> Env {
    let known = found
        .iter()
        .filter(|p| env.find_package(&p.package).is_some());
    env.details.patched = known.map(installed::Patched::to_patch).collect();
    env
}

/// How the interpreter that was captured last was built, and which distributions bring which modules.
#[must_use]
pub fn last_look(cache: &Path) -> Option<(String, Modules)> {
    let known: Cached = read_cache(&std::fs::read(cache).ok()?)?;
    Some((known.answer.build, known.modules))
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

/// The environment document of `python`, from the cache where nothing was installed since. A second
/// file beside the cache remembers which files were hashed.
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
    let known = std::fs::read(cache).ok();
    let known = known.and_then(|b| read_cache::<Cached>(&b));
    let known = known.filter(|known| known.key == key(python, &known.answer.sites));
    let known = known.and_then(|known| Some((unpack(&known.env)?, known.answer.sites)));
    let (env, sites) = match known {
        Some(known) => known,
        None => describe_anew(cache, python)?,
    };
    let hashed = cache.with_file_name(installed::CACHE);
    let patched = installed::patched(&sites, Care::Quick(&hashed));
    Ok(Env {
        locks: sorted(locks),
        ..with_patches(env, patched)
    })
}

/// The document without locks and patches, and the folders of packages; both go into the cache.
fn describe_anew(cache: &Path, python: &Path) -> Result<(Env, Vec<PathBuf>)> {
    let answer = probe(python)?;
    let (env, modules) = describe(&answer)?;
    let bytes = canon::encode(&env).map_err(modelv_store::Error::from)?;
    let sites = answer.sites.clone();
    let cached = Cached {
        key: key(python, &answer.sites),
        env: modelv_core::id::to_hex(&bytes),
        answer,
        modules,
    };
    write_cache(cache, &cached);
    Ok((env, sites))
}

/// Writes a value with a hash behind it. A cache that can't be written makes the next call slower,
/// nothing else.
pub(super) fn write_cache(path: &Path, value: &impl serde::Serialize) {
    if let Ok(mut bytes) = serde_json::to_vec(value) {
        let hash = cache_hash(&bytes);
        bytes.extend_from_slice(&hash);
        let _ = modelv_store::fs::write_unsynced(path, &bytes);
    }
}

/// The folders in which an interpreter finds packages, from the cache where nothing was installed
/// since.
pub(super) fn known_sites(cache: &Path, python: &Path) -> Result<Vec<PathBuf>> {
    let known = std::fs::read(cache).ok();
    let known = known.and_then(|b| read_cache::<Cached>(&b));
    let known = known.filter(|known| known.key == key(python, &known.answer.sites));
    Ok(match known {
        Some(known) => known.answer.sites,
        None => sites(python)?,
    })
}

/// The cache, if its bytes are those that were written.
pub(super) fn read_cache<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
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
        "{} {} {venv:?} {sites:?} v2",
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

fn describe(answer: &Answer) -> Result<(Env, Modules)> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    let mut modules = Modules::new();
    for site in &answer.sites {
        // Entries of sys.path need not exist.
        let Ok(entries) = std::fs::read_dir(site) else {
            continue;
        };
        for entry in entries {
            let path = entry.map_err(Error::io("read", site))?.path();
            let found = match path.extension().and_then(|e| e.to_str()) {
                Some("dist-info") => read_metadata(&path),
                Some("egg-info") => read_egg_info(&path).map(|p| (p, None)),
                _ => None,
            };
            // The first on the path is the one that is imported.
            if let Some((package, record)) = found
                && !packages.contains_key(&package.name)
            {
                for module in record.iter().flat_map(|r| modules_in_record(r)) {
                    let known = modules.entry(module.to_owned()).or_default();
                    known.push(package.name.clone());
                }
                packages.insert(package.name.clone(), package);
            }
        }
    }
    let env = Env {
        interpreter: Some(Interpreter {
            implementation: answer.implementation.clone(),
            version: answer.version.clone(),
            abi: answer.abi.clone(),
        }),
        packages: packages.into_values().collect(),
        ..platform()
    };
    Ok((env, modules))
}
