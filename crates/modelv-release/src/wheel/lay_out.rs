//! Where the files of a wheel lie in a layer: where an installer would lay them (binary distribution format,
//! "Installing a wheel"), with a RECORD of what lies there. Every file is checked against the RECORD of the wheel when it is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use modelv_repo::wheels::record::{Record, base64url, quoted};
use sha2::{Digest, Sha256};

use super::{SITE, Wheel};
use crate::error::{Error, Result};
use crate::layer::{Content, Files, check_name};
use crate::zipped::{Archive, Zipped};

/// What is above the folder of packages: scripts and data lie there.
const TOP: &str = "opt/modelv";
/// Largest file of a wheel, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Largest script, list of programs or signature, in bytes.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// How a script begins that is to begin with the interpreter.
const PLACEHOLDER: &[u8] = b"#!python";

/// Lays a wheel out; its scripts begin with `interpreter`.
pub(crate) fn lay_out(wheel: &Wheel, interpreter: &str, files: &mut Files) -> Result<()> {
    let bad = |detail: String| Error::Package {
        package: file_name(&wheel.path),
        detail,
    };
    let file = File::open(&wheel.path).map_err(Error::io("read", &wheel.path))?;
    let archive = Archive {
        file: Arc::new(file),
        name: file_name(&wheel.path).into(),
    };
    let zip = zip::ZipArchive::new(archive.file.as_ref());
    let mut zip = zip.map_err(|e| bad(e.to_string()))?;
    let record = Record::of_wheel(&mut zip).map_err(&bad)?;
    let mut laid = Laid::default();
    let mut entry_points = None;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).map_err(|e| bad(e.to_string()))?;
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
        let want = record.wanted(&name).map_err(&bad)?;
        let zipped = Zipped::of(&archive, &entry, name.clone(), want).map_err(&bad)?;
        if name == format!("{}/entry_points.txt", record.dist_info) {
            let bytes = zipped.read(TEXT_BYTES_MAX).map_err(&bad)?;
            entry_points = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        // What an interpreter makes again, and what is written anew.
        if name.ends_with(".pyc") || name == format!("{}/RECORD", record.dist_info) {
            continue;
        }
        let to = place(&name, executable);
        laid.add(files, to, zipped, want, interpreter)
            .map_err(&bad)?;
    }
    let scripts = format!("{TOP}/bin");
    for (name, module, function) in programs(entry_points.as_deref().unwrap_or("")) {
        let root = function.split('.').next().unwrap_or(&function);
        let text = format!(
            "#!{interpreter}\nimport sys\nsys.path.insert(0, \"/{SITE}\")\nfrom {module} import {root}\n\
             if __name__ == \"__main__\":\n    sys.exit({function}())\n"
        );
        laid.write(files, format!("{scripts}/{name}"), true, text.into_bytes());
    }
    let path = format!("{SITE}/{}/RECORD", record.dist_info);
    let text = laid.record(&path);
    files.add_file(path, false, Content::Bytes(text.into_bytes()));
    Ok(())
}

/// What was laid out: hash and size by path.
#[derive(Default)]
struct Laid(BTreeMap<String, String>);

impl Laid {
    /// Adds a file of the wheel.
    fn add(
        &mut self,
        files: &mut Files,
        to: Placed,
        file: Zipped,
        want: Option<&str>,
        interpreter: &str,
    ) -> std::result::Result<(), String> {
        if to.is_script
            && file.begins_with(PLACEHOLDER)?
            && let Some(script) = with_interpreter(&file.read(TEXT_BYTES_MAX)?, interpreter)
        {
            self.write(files, to.path, true, script);
            return Ok(());
        }
        let Some(sha256) = want else {
            let bytes = file.read(TEXT_BYTES_MAX)?;
            self.write(files, to.path, to.executable, bytes);
            return Ok(());
        };
        self.note(&to.path, sha256, file.size);
        files.add_file(to.path, to.executable, Content::Zipped(file));
        Ok(())
    }

    /// Adds a file that is made here.
    fn write(&mut self, files: &mut Files, path: String, executable: bool, bytes: Vec<u8>) {
        let sha256 = base64url(&Sha256::digest(&bytes));
        self.note(&path, &sha256, bytes.len() as u64);
        files.add_file(path, executable, Content::Bytes(bytes));
    }

    fn note(&mut self, path: &str, sha256: &str, size: u64) {
        let row = format!("sha256={sha256},{size}");
        self.0.insert(relative(path), row);
    }

    /// The RECORD of all, which is to lie at `own`.
    fn record(self, own: &str) -> String {
        let mut rows = self.0;
        rows.insert(relative(own), ",".to_owned());
        let row = |(path, row): (&String, &String)| format!("{},{row}\n", quoted(path));
        rows.iter().map(row).collect()
    }
}

/// A path as RECORD has it: from the folder of packages.
fn relative(path: &str) -> String {
    let inside = path.strip_prefix(SITE).and_then(|p| p.strip_prefix('/'));
    let above = || path.strip_prefix(TOP).map(|p| format!("..{p}"));
    inside
        .map(str::to_owned)
        .or_else(above)
        .unwrap_or_else(|| path.to_owned())
}

/// Where a file of a wheel goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) path: String,
    pub(super) executable: bool,
    is_script: bool,
}

/// `X.data/scheme/…` goes where its scheme says, all else to the packages.
pub(super) fn place(name: &str, executable: bool) -> Placed {
    let (head, rest) = name.split_once('/').unwrap_or(("", name));
    let scheme = match head.ends_with(".data") {
        true => rest.split_once('/'),
        false => None,
    };
    let is_script = matches!(scheme, Some(("scripts", _)));
    Placed {
        path: match scheme {
            Some(("scripts", path)) => format!("{TOP}/bin/{path}"),
            Some(("data", path)) => format!("{TOP}/{path}"),
            Some(("headers", path)) => format!("{TOP}/include/{path}"),
            Some((_, path)) => format!("{SITE}/{path}"),
            None => format!("{SITE}/{name}"),
        },
        executable: executable || is_script,
        is_script,
    }
}

/// A script that asks for an interpreter to be named; `None`: it does not.
pub(super) fn with_interpreter(bytes: &[u8], interpreter: &str) -> Option<Vec<u8>> {
    let tail = bytes.strip_prefix(PLACEHOLDER)?;
    // The one without a window is the same here.
    let tail = tail.strip_prefix(b"w").unwrap_or(tail);
    Some([b"#!", interpreter.as_bytes(), tail].concat())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The programs that an `entry_points.txt` names, as (name, module, function).
pub(super) fn programs(text: &str) -> Vec<(String, String, String)> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[console_scripts]" || line == "[gui_scripts]";
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
