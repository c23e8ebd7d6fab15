//! Wheels: found or fetched by exact version, checked, and laid out as an installer would (binary
//! distribution format, "Installing a wheel"), straight into a layer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use modelv_repo::Cancel;
use modelv_repo::core::env::Package;
use modelv_repo::core::id::to_hex;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::layer::{Content, Files, check_name};
use crate::pip::fetch;

/// Where packages lie in an image.
pub(crate) const SITE: &str = "opt/modelv/site-packages";
const SCRIPTS: &str = "opt/modelv/bin";
/// Largest file of a wheel, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A wheel on disk.
#[derive(Debug, Clone)]
pub(crate) struct Wheel {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// Finds the wheels of all packages in `cache`, for Python `minor` and this machine; `python`
/// fetches what is not there.
pub(crate) fn find_all(
    packages: &[Package],
    cache: &Path,
    python: &Path,
    minor: &str,
    cancel: &Cancel,
) -> Result<Vec<Wheel>> {
    std::fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
    let missing: Vec<&Package> = {
        let known = list(cache)?;
        packages
            .iter()
            .filter(|p| find(&known, p, minor).is_none())
            .collect()
    };
    for package in &missing {
        if package.editable || package.source.as_deref() == Some("file") {
            let detail = "it was installed from a folder of the machine it trained on";
            return Err(Error::Package {
                package: package.label(),
                detail: detail.into(),
            });
        }
    }
    fetch(&missing, cache, python, cancel)?;
    let known = list(cache)?;
    packages
        .iter()
        .map(|package| {
            let path = find(&known, package, minor).ok_or_else(|| Error::Package {
                package: package.label(),
                detail: format!("no wheel of exactly this version was found for Python {minor}"),
            })?;
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            let digest: [u8; 32] = Sha256::digest(&bytes).into();
            if package.archive_sha256.is_some_and(|want| want != digest) {
                let detail = "the wheel is not the one that was installed (SHA-256 differs)";
                return Err(Error::Package {
                    package: package.label(),
                    detail: detail.into(),
                });
            }
            Ok(Wheel {
                path,
                sha256: to_hex(&digest),
            })
        })
        .collect()
}

/// The wheels in a folder, sorted.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
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

/// Whether a wheel's tags (`py3-none-any`) are for Python `minor` on this machine: a cache holds the
/// wheels of every commit, and those of two interpreters differ in nothing but the tags.
fn fits(tags: &[&str], minor: &str) -> bool {
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

/// The wheel of a package for Python `minor` and this machine, by its file name.
fn find(known: &[PathBuf], package: &Package, minor: &str) -> Option<PathBuf> {
    known
        .iter()
        .find(|path| {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
            package
                .wheel_tags(stem)
                .is_some_and(|tags| fits(&tags, minor))
        })
        .cloned()
}

/// Lays a wheel out. Every file is checked against RECORD.
pub(crate) fn lay_out(wheel: &Wheel, interpreter: &str, files: &mut Files) -> Result<()> {
    let bad = |detail: String| Error::Package {
        package: wheel
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        detail,
    };
    let file = File::open(&wheel.path).map_err(Error::io("read", &wheel.path))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let record = read_record(&mut zip).map_err(&bad)?;
    let mut entry_points = None;
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(|e| bad(e.to_string()))?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if name.ends_with('/') {
            continue;
        }
        let unsafe_part = |p: &str| p.is_empty() || p == "." || p == ".." || p.contains('\0');
        if name.split('/').any(unsafe_part) || entry.size() > FILE_BYTES_MAX {
            return Err(bad(format!(
                "it holds the file name `{}`",
                name.escape_debug()
            )));
        }
        check_name(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
        let executable = entry.unix_mode().is_some_and(|m| m & 0o111 != 0);
        let limit = entry.size();
        let mut bytes = Vec::new();
        entry
            .by_ref()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| bad(e.to_string()))?;
        check_record(&record, &name, &bytes).map_err(&bad)?;
        let (head, rest) = name.split_once('/').unwrap_or(("", name.as_str()));
        if head.ends_with(".dist-info") && rest == "entry_points.txt" {
            entry_points = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        if name.ends_with(".pyc") {
            continue;
        }
        let (path, executable, bytes) = place(&name, executable, bytes, interpreter);
        files.add_file(path.into_bytes(), executable, Content::Bytes(bytes));
    }
    for (name, module, function) in console_scripts(entry_points.as_deref().unwrap_or("")) {
        let root = function.split('.').next().unwrap_or(&function);
        let text = format!(
            "#!{interpreter}\nimport sys\nsys.path.insert(0, \"/{SITE}\")\nfrom {module} import {root}\n\
             if __name__ == \"__main__\":\n    sys.exit({function}())\n"
        );
        files.add_file(
            format!("{SCRIPTS}/{name}"),
            true,
            Content::Bytes(text.into_bytes()),
        );
    }
    Ok(())
}

/// Where a file of a wheel goes: `X.data/scheme/…` by its scheme, all else to the packages.
fn place(
    name: &str,
    executable: bool,
    bytes: Vec<u8>,
    interpreter: &str,
) -> (String, bool, Vec<u8>) {
    let (head, rest) = name.split_once('/').unwrap_or(("", name));
    if let (true, Some((scheme, path))) = (head.ends_with(".data"), rest.split_once('/')) {
        return match scheme {
            "scripts" => {
                let bytes = match bytes.strip_prefix(b"#!python") {
                    Some(tail) => [b"#!", interpreter.as_bytes(), tail].concat(),
                    None => bytes,
                };
                (format!("{SCRIPTS}/{path}"), true, bytes)
            }
            "data" => (format!("opt/modelv/{path}"), executable, bytes),
            "headers" => (format!("opt/modelv/include/{path}"), executable, bytes),
            _ => (format!("{SITE}/{path}"), executable, bytes),
        };
    }
    (format!("{SITE}/{name}"), executable, bytes)
}

type Record = std::collections::HashMap<String, String>;

fn read_record(zip: &mut zip::ZipArchive<File>) -> Result<Record, String> {
    let name = zip
        .file_names()
        .filter_map(|n| n.ok().map(std::borrow::Cow::into_owned))
        .find(|n| {
            n.strip_suffix("/RECORD")
                .is_some_and(|d| d.ends_with(".dist-info") && !d.contains('/'))
        })
        .ok_or("it has no RECORD")?;
    let mut text = String::new();
    let entry = zip.by_name(&name).map_err(|e| e.to_string())?;
    entry
        .take(64 << 20)
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (rest, _size) = line.rsplit_once(',')?;
            let (path, hash) = rest.rsplit_once(',')?;
            Some((path.trim_matches('"').to_owned(), hash.to_owned()))
        })
        .collect())
}

fn check_record(record: &Record, name: &str, bytes: &[u8]) -> Result<(), String> {
    let signature = ["/RECORD", "/RECORD.jws", "/RECORD.p7s"]
        .iter()
        .any(|s| name.ends_with(s));
    match record.get(name).and_then(|h| h.strip_prefix("sha256=")) {
        Some(want)
            if want.trim_end_matches('=') != URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)) =>
        {
            Err(format!("`{name}` is not what RECORD says"))
        }
        None if !signature => Err(format!("`{name}` is not in RECORD with a SHA-256")),
        _ => Ok(()),
    }
}

/// `[console_scripts]` of an `entry_points.txt`, as (name, module, function).
fn console_scripts(text: &str) -> Vec<(String, String, String)> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[console_scripts]";
        } else if inside
            && let Some((name, target)) = line.split_once('=')
            && let Some((module, function)) = target.split('[').next().unwrap_or("").split_once(':')
        {
            let clean = |s: &str| s.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
            let (name, module, function) = (name.trim(), module.trim(), function.trim());
            if clean(name) && clean(module) && clean(function) && !name.is_empty() {
                out.push((name.into(), module.into(), function.into()));
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
