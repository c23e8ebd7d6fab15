//! The environment document of an interpreter: asked once, then read from the installed metadata.
//!
//! A cache keyed by what an installation must change answers later calls without starting the
//! interpreter. Whether a package was edited in place is looked at every time ([`super::installed`]).

use std::path::{Path, PathBuf};
use std::process::Command;

use modelv_core::canon;
use modelv_core::env::{Env, Interpreter, Lock};

use super::describe::describe;
use super::imports::Modules;
use super::installed::{self, Care};
use super::libraries;
use super::locks::{self, Locked};
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
pub(super) struct Answer {
    pub(super) implementation: String,
    pub(super) version: String,
    pub(super) abi: String,
    /// What it says of how it was built.
    #[serde(default)]
    pub(super) build: String,
    /// The folder that it came in.
    #[serde(default)]
    pub(super) prefix: PathBuf,
    /// Folders that the session adds to those of the interpreter, whether packages are there or not.
    #[serde(default)]
    added: Vec<PathBuf>,
    pub(super) sites: Vec<PathBuf>,
}

/// Whose packages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Those that were installed into the interpreter's own folders.
    Own,
    /// Those that a program finds that is started now: with `PYTHONPATH` and the folder of the user.
    Session,
}

/// The variables that decide what a session adds.
const SESSION: [&str; 4] = ["PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "HOME"];

/// Two changes of a folder within this time can have one and the same time: file systems take it from a clock
/// that ticks.
const TICK_NS: i64 = 20_000_000;

#[derive(serde::Deserialize, serde::Serialize)]
struct Cached {
    key: String,
    /// Whether the folders had rested when they were looked at: what changes them later shows.
    settled: bool,
    /// What the document says of more than the packages is made of.
    around: String,
    answer: Answer,
    env: String,
    /// Distributions by the modules they bring.
    modules: Modules,
}

/// Lock files of the working tree, and how their content is had where it is asked for.
pub struct Locks<'a> {
    /// What the document names.
    pub list: Vec<Lock>,
    /// The content of one; `None`: it can't be had.
    pub read: &'a dyn Fn(&Lock) -> Option<Vec<u8>>,
}

impl std::fmt::Debug for Locks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locks")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

impl Locks<'_> {
    /// No lock files.
    #[must_use]
    pub fn none() -> Self {
        Self {
            list: Vec::new(),
            read: &|_| None,
        }
    }

    /// What all of them say together.
    fn together(&self) -> Locked {
        let mut out = Locked::default();
        for lock in &self.list {
            let name = lock.path.rsplit(|b| *b == b'/').next().unwrap_or(b"");
            if let Some(bytes) = (self.read)(lock)
                && bytes.len() <= locks::BYTES_MAX
            {
                out.add(&String::from_utf8_lossy(name), &bytes);
            }
        }
        out
    }
}

/// The environment document of `python` as it is now, without what this session adds to it.
///
/// # Errors
/// The interpreter does not answer.
pub fn capture(python: &Path, locks: &Locks<'_>) -> Result<Env> {
    let answer = probe(python, Whose::Own)?;
    let env = describe(&answer, locks.together())?.0;
    let env = Env {
        locks: sorted(locks.list.clone()),
        ..env
    };
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

/// The folders in which an interpreter finds packages, in this session.
///
/// # Errors
/// It does not answer.
pub fn sites(python: &Path) -> Result<Vec<PathBuf>> {
    Ok(probe(python, Whose::Session)?.sites)
}

/// The same, whatever this session adds.
///
/// # Errors
/// It does not answer.
pub fn own_sites(python: &Path) -> Result<Vec<PathBuf>> {
    Ok(probe(python, Whose::Own)?.sites)
}

/// What an interpreter says it is.
///
/// # Errors
/// It does not answer.
pub fn interpreter(python: &Path) -> Result<Interpreter> {
    let answer = probe(python, Whose::Own)?;
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
pub fn capture_cached(cache: &Path, python: Option<&Path>, locks: Locks<'_>) -> Result<Env> {
    let locks = Locks {
        list: sorted(locks.list),
        ..locks
    };
    let Some(python) = python else {
        return Ok(Env {
            locks: locks.list,
            ..platform()
        });
    };
    let known = std::fs::read(cache).ok();
    let known = known.and_then(|b| read_cache::<Cached>(&b));
    let is_so = |known: &Cached| {
        let is_same = known.key == key(python, &known.answer);
        known.settled && is_same && known.around == around(&locks.list)
    };
    let known = known.filter(is_so);
    let known = known.and_then(|known| Some((unpack(&known.env)?, known.answer.sites)));
    let (env, sites) = match known {
        Some(known) => known,
        None => describe_anew(cache, python, &locks)?,
    };
    let hashed = cache.with_file_name(installed::CACHE);
    let patched = installed::patched(&sites, Care::Quick(&hashed));
    Ok(Env {
        locks: locks.list,
        ..with_patches(env, patched)
    })
}

/// The document without locks and patches, and the folders of packages; both go into the cache.
fn describe_anew(cache: &Path, python: &Path, locks: &Locks<'_>) -> Result<(Env, Vec<PathBuf>)> {
    let begun_ns = now_ns();
    let answer = probe(python, Whose::Session)?;
    // Before anything is read: what is installed meanwhile must make another key.
    let key = key(python, &answer);
    let settled = newest_ns(&answer) < begun_ns.saturating_sub(TICK_NS);
    let (env, modules) = describe(&answer, locks.together())?;
    let bytes = canon::encode(&env).map_err(modelv_store::Error::from)?;
    let sites = answer.sites.clone();
    let cached = Cached {
        key,
        settled,
        around: around(&locks.list),
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
    let known = known.filter(|known| known.settled && known.key == key(python, &known.answer));
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

pub(super) fn platform() -> Env {
    let (os, arch) = (std::env::consts::OS.into(), std::env::consts::ARCH.into());
    Env {
        os,
        arch,
        ..Env::none()
    }
}

/// Changes whenever the interpreter or a folder of packages does. Canonical bytes are checked when
/// they are read back, so a damaged cache is no environment.
fn key(python: &Path, answer: &Answer) -> String {
    let stamp = |path: &Path| StatStamp::text(path);
    let venv = python
        .parent()
        .and_then(Path::parent)
        .map(|p| stamp(&p.join("pyvenv.cfg")));
    let folders = watched(answer);
    let sites: Vec<String> = folders.iter().map(|s| stamp(s)).collect();
    // A change inside of one is none of its folder.
    let pointers: Vec<String> = folders.iter().flat_map(|s| pointers(s)).collect();
    let session = SESSION.map(std::env::var_os);
    format!(
        "{} {} {venv:?} {sites:?} {pointers:?} {session:?} v4",
        python.display(),
        stamp(python)
    )
}

/// The folders that an installation changes.
fn watched(answer: &Answer) -> Vec<PathBuf> {
    let conda = answer.prefix.join("conda-meta");
    let folders = answer.sites.iter().chain(&answer.added).cloned();
    folders.chain([conda]).collect()
}

/// Files of a folder that bring packages in from elsewhere, with their stamps.
fn pointers(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_pointer = |path: &PathBuf| {
        let end = path.extension();
        end.is_some_and(|end| end == "pth" || end == "egg-link")
    };
    let mut out: Vec<String> = paths
        .filter(is_pointer)
        .map(|path| format!("{} {}", path.display(), StatStamp::text(&path)))
        .collect();
    out.sort();
    out
}

/// When a folder of packages changed last.
fn newest_ns(answer: &Answer) -> i64 {
    let folders = watched(answer).into_iter();
    let times = folders.filter_map(|folder| std::fs::metadata(folder).ok());
    times
        .map(|meta| installed::changed_ns(&meta))
        .max()
        .unwrap_or(0)
}

fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// Changes whenever a lock file or a package of the system does.
fn around(locks: &[Lock]) -> String {
    let locks = locks.iter().map(|l| format!("{:?} {} ", l.path, l.blob));
    locks.collect::<String>() + &libraries::stamp()
}

fn unpack(hex: &str) -> Option<Env> {
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    canon::decode(&bytes?).ok()
}

fn probe(python: &Path, whose: Whose) -> Result<Answer> {
    let failed = |detail: String| Error::Program {
        program: python.display().to_string(),
        detail,
    };
    let output = Command::new(python)
        .args(["-I", "-c", PROBE])
        .args((whose == Whose::Session).then_some("session"))
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(failed(
            words.lines().last().unwrap_or("no answer").to_owned(),
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| {
        failed(format!(
            "it does not answer as a Python interpreter does: {e}"
        ))
    })
}
