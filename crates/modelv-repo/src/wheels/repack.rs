//! A wheel made from files that lie unpacked: an installed distribution, or an entry of uv's cache.
//!
//! Every file is compared with RECORD on the way: one that was patched in place makes no wheel. The
//! same files make the same bytes. Must never change what it reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use modelv_core::env::Package;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use super::archive::is_inside;
use super::record::{Record, base64url, quoted};
use crate::capture::metadata::INSTALLER_FILES;
use crate::ctx::Cancel;

/// Scripts above this size are no launchers.
const LAUNCHER_BYTES_MAX: usize = 4096;
/// From this size on a file needs the long form of its entry.
const LARGE_BYTES: u64 = 4_000_000_000;

/// A file on its way into a wheel.
struct Member {
    path: PathBuf,
    /// As RECORD has it.
    hash: String,
    /// Whether it is a script whose first line names the interpreter it was installed for.
    script: bool,
}

/// Makes the wheel of the distribution in `site` whose metadata is the folder `dist_info`, in `into`.
///
/// # Errors
/// A file is not what RECORD says, or can't be read or written. No wheel is left then.
pub(super) fn repack(
    site: &Path,
    dist_info: &str,
    package: &Package,
    into: &Path,
    cancel: &Cancel,
) -> Result<PathBuf, String> {
    let read = |name: &str| std::fs::read_to_string(site.join(dist_info).join(name));
    let text = read("RECORD").map_err(|_| "it has no RECORD")?;
    let record = Record::parse(dist_info, text);
    if package
        .record_sha256
        .is_some_and(|want| want != record.installed_sha256())
    {
        return Err("it holds other files than those that were installed".into());
    }
    let points = EntryPoints::parse(&read("entry_points.txt").unwrap_or_default());
    let members = members(site, &record, &points)?;
    let about = read("WHEEL").map_err(|_| "it has no WHEEL")?;
    let name = file_name(dist_info, &about, package).ok_or("its WHEEL names no tags")?;
    let path = into.join(name);
    let made = write(&path, dist_info, &members, cancel);
    if made.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    made.map(|()| path)
}

/// What goes into the wheel, by its name there.
fn members(
    site: &Path,
    record: &Record,
    points: &EntryPoints,
) -> Result<BTreeMap<String, Member>, String> {
    let dist_info = record.dist_info.as_str();
    let stem = dist_info.trim_end_matches(".dist-info");
    let mut out = BTreeMap::new();
    for (name, hash) in record.rows() {
        let own = name
            .strip_prefix(dist_info)
            .and_then(|n| n.strip_prefix('/'));
        if own.is_some_and(|n| INSTALLER_FILES.contains(&n)) || name.ends_with(".pyc") {
            continue;
        }
        if hash.is_empty() {
            return Err(format!("`{name}` has no hash in RECORD"));
        }
        let up = name.matches("../").count();
        let rest = name.trim_start_matches("../");
        if !is_inside(rest) || up > 4 {
            return Err(format!(
                "RECORD holds the file name `{}`",
                name.escape_debug()
            ));
        }
        let path = site.join(name);
        let (to, script) = match (up, rest.strip_prefix("bin/")) {
            (0, _) => (name.to_owned(), false),
            (_, Some(program)) if points.made(program, &path) => continue,
            (_, Some(program)) => (format!("{stem}.data/scripts/{program}"), true),
            _ => (format!("{stem}.data/data/{rest}"), false),
        };
        let hash = hash.to_owned();
        out.insert(to, Member { path, hash, script });
    }
    Ok(out)
}

/// The name that WHEEL gives a wheel. Tags of one wheel are all combinations of its parts.
fn file_name(dist_info: &str, about: &str, package: &Package) -> Option<String> {
    let mut parts: [Vec<&str>; 3] = Default::default();
    let mut build = String::new();
    for line in about.lines() {
        match line.split_once(':').map(|(k, v)| (k, v.trim())) {
            Some(("Tag", tag)) => {
                for (i, part) in tag.splitn(3, '-').enumerate() {
                    if !parts[i].contains(&part) {
                        parts[i].push(part);
                    }
                }
            }
            Some(("Build", number)) => build = format!("-{number}"),
            _ => {}
        }
    }
    if parts.iter().any(Vec::is_empty) {
        return None;
    }
    let tags = parts.map(|p| p.join(".")).join("-");
    let stem = dist_info.trim_end_matches(".dist-info");
    let plain = format!("{}-{}", package.name.replace('-', "_"), package.version);
    let known = package.wheel_tags(stem).is_some_and(|t| t.is_empty());
    let stem = if known { stem } else { &plain };
    let name = format!("{stem}{build}-{tags}.whl");
    (is_inside(&name) && !name.contains('/')).then_some(name)
}

/// Entries are not compressed: the store does that, better, and finds what versions share.
fn write(
    path: &Path,
    dist_info: &str,
    members: &BTreeMap<String, Member>,
    cancel: &Cancel,
) -> Result<(), String> {
    let file = File::create_new(path).map_err(|e| e.to_string())?;
    let mut zip = zip::ZipWriter::new(std::io::BufWriter::with_capacity(1 << 18, file));
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    let mut record = String::new();
    // Metadata comes last, as installers of parts of a wheel like it.
    let is_metadata = |name: &str| name.starts_with(dist_info);
    let (last, first): (Vec<_>, Vec<_>) = members.iter().partition(|(n, _)| is_metadata(n));
    for (name, member) in first.into_iter().chain(last) {
        if cancel.is_cancelled() {
            return Err("interrupted".into());
        }
        let said = |e: std::io::Error| format!("`{}`: {e}", member.path.display());
        let input = File::open(&member.path).map_err(said)?;
        let meta = input.metadata().map_err(said)?;
        let bits = if meta.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        let options = options
            .unix_permissions(bits)
            .large_file(meta.len() >= LARGE_BYTES);
        zip.start_file(name.as_str(), options)
            .map_err(|e| e.to_string())?;
        let (hash, size) = copy(input, member, &mut zip)?;
        record += &format!("{},sha256={hash},{size}\n", quoted(name));
    }
    let name = format!("{dist_info}/RECORD");
    record += &format!("{},,\n", quoted(&name));
    zip.start_file(name, options.unix_permissions(0o644))
        .map_err(|e| e.to_string())?;
    zip.write_all(record.as_bytes())
        .map_err(|e| e.to_string())?;
    let out = zip.finish().map_err(|e| e.to_string())?;
    out.into_inner().map(drop).map_err(|e| e.to_string())
}

/// Copies a file that must be what RECORD says; gives hash and size of what was written.
fn copy(mut input: File, member: &Member, out: &mut impl Write) -> Result<(String, u64), String> {
    let said = |e: std::io::Error| format!("`{}`: {e}", member.path.display());
    let (mut read, mut written) = (Sha256::new(), Sha256::new());
    let mut size = 0;
    let mut buffer = vec![0; 1 << 18];
    let mut is_first = true;
    loop {
        let n = input.read(&mut buffer).map_err(said)?;
        if n == 0 {
            break;
        }
        read.update(&buffer[..n]);
        let bytes = match member.script && is_first {
            true => neutral(&buffer[..n]),
            false => buffer[..n].to_vec(),
        };
        is_first = false;
        written.update(&bytes);
        size += bytes.len() as u64;
        out.write_all(&bytes).map_err(said)?;
    }
    let found = base64url(&read.finalize());
    if member
        .hash
        .strip_prefix("sha256=")
        .map(|h| h.trim_end_matches('='))
        != Some(found.as_str())
    {
        return Err(format!(
            "`{}` is not what RECORD says: it was changed after it was installed",
            member.path.display()
        ));
    }
    Ok((base64url(&written.finalize()), size))
}

/// A script as it was before an installer put its interpreter into the first line.
fn neutral(bytes: &[u8]) -> Vec<u8> {
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let is_python = line.starts_with(b"#!") && String::from_utf8_lossy(line).contains("python");
    match is_python {
        true => [b"#!python".as_slice(), rest].concat(),
        false => bytes.to_vec(),
    }
}

/// Programs that installers make for functions.
struct EntryPoints {
    names: Vec<String>,
    modules: Vec<String>,
}

impl EntryPoints {
    fn parse(text: &str) -> Self {
        let (mut names, mut modules) = (Vec::new(), Vec::new());
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[console_scripts]" || line == "[gui_scripts]";
            } else if inside && let Some((name, target)) = line.split_once('=') {
                names.push(name.trim().to_owned());
                let module = target.split(':').next().unwrap_or("").trim();
                modules.push(format!("from {module} import "));
            }
        }
        Self { names, modules }
    }

    /// Whether an installer made a program: those of pip are more than it declares (`pip3.11`).
    fn made(&self, program: &str, path: &Path) -> bool {
        if self.names.iter().any(|n| n == program) {
            return true;
        }
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.len() <= LAUNCHER_BYTES_MAX && {
            let text = String::from_utf8_lossy(&bytes);
            self.modules.iter().any(|m| text.contains(m.as_str()))
        }
    }
}

#[cfg(test)]
#[path = "repack_tests.rs"]
mod tests;
