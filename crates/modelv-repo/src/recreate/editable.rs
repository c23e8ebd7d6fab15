//! A project of a commit, installed in place into a new environment: its files in `src/NAME` of the environment, a
//! line that puts them on the path of imports, and the metadata of a distribution beside the others. No build
//! system runs, and no index is asked. Must never write outside of the environment.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use modelv_core::env::Package;
use modelv_store::fs;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::project::Project;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::wheels::record::base64url;
use crate::worktree::Files;

/// Longest first line that every system takes for the name of an interpreter.
const SHEBANG_BYTES_MAX: usize = 120;

/// What is written, for the list of files.
struct Written<'a> {
    site: &'a Path,
    rows: String,
}

impl Written<'_> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.site.join(name);
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        let hash = base64url(&Sha256::digest(bytes));
        let quoted = match name.contains([',', '"']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.to_owned(),
        };
        self.rows += &format!("{quoted},sha256={hash},{}\n", bytes.len());
        Ok(())
    }
}

impl Repo {
    /// Installs a project in place; gives the folder with its files.
    pub(super) fn install_in_place(
        &self,
        package: &Package,
        project: &Project,
        files: &Files,
        (output, python, site): (&Path, &Path, &Path),
        ctx: &Ctx<'_>,
    ) -> Result<PathBuf> {
        if !package.is_plain() {
            let name = package.label().escape_debug().to_string();
            return Err(Error::invalid(
                "package",
                name,
                "its name or version is none",
            ));
        }
        let src = output.join("src").join(&package.name);
        let own = project.files(files);
        self.bring_files(own.iter(), ctx)?;
        fs::create_dirs(&src).map_err(Error::io("create", &src))?;
        self.write_out(own, &src, ctx)?;
        let stem = format!("{}-{}", package.name.replace('-', "_"), package.version);
        let info = format!("{stem}.dist-info");
        let dir = site.join(&info);
        fs::create_dirs(&dir).map_err(Error::io("create", &dir))?;
        let mut written = Written {
            site,
            rows: String::new(),
        };
        let roots = project.roots.iter().map(|root| match root.as_str() {
            "." => src.clone(),
            root => src.join(root),
        });
        let lines: Vec<String> = roots.map(|r| format!("{}\n", r.display())).collect();
        written.put(
            &format!("__editable__.{stem}.pth"),
            lines.concat().as_bytes(),
        )?;
        for (group, pairs) in &project.entry_points {
            if group == "console_scripts" || group == "gui_scripts" {
                for (name, to) in pairs {
                    script(&output.join("bin"), python, name, to, &mut written)?;
                }
            }
        }
        for (name, text) in metadata(package, project, &src) {
            written.put(&format!("{info}/{name}"), text.as_bytes())?;
        }
        let record = format!("{}{info}/RECORD,,\n", written.rows);
        let path = dir.join("RECORD");
        std::fs::write(&path, record).map_err(Error::io("write", &path))?;
        Ok(src)
    }
}

/// The files of the metadata folder.
fn metadata(package: &Package, project: &Project, src: &Path) -> Vec<(&'static str, String)> {
    let (name, version) = (&package.name, &package.version);
    let mut about = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    for demand in &project.requires {
        about += &format!("Requires-Dist: {demand}\n");
    }
    let mut points = String::new();
    for (group, pairs) in &project.entry_points {
        points += &format!("[{group}]\n");
        for (name, to) in pairs {
            points += &format!("{name} = {to}\n");
        }
    }
    let direct = json!({"url": file_url(src), "dir_info": {"editable": true}});
    let tag = "Wheel-Version: 1.0\nGenerator: modelv\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let mut out = vec![
        ("METADATA", about),
        ("WHEEL", tag.to_owned()),
        ("INSTALLER", "modelv\n".to_owned()),
        ("direct_url.json", direct.to_string()),
    ];
    if !points.is_empty() {
        out.push(("entry_points.txt", points));
    }
    out
}

fn file_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut url = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'+' => url.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => url.push(char::from(*b)),
            b => url += &format!("%{b:02X}"),
        }
    }
    url
}

/// A program that calls a function of the project. What is no plain name is left out: it comes from a file that
/// others may have written.
fn script(
    bin: &Path,
    python: &Path,
    name: &str,
    to: &str,
    written: &mut Written<'_>,
) -> Result<()> {
    let to = to.split('[').next().unwrap_or(to).trim();
    let Some((module, function)) = to.split_once(':').map(|(m, f)| (m.trim(), f.trim())) else {
        return Ok(());
    };
    let is_dotted = |text: &str| {
        let is_word = |w: &str| !w.is_empty() && w.chars().all(|c| c.is_alphanumeric() || c == '_');
        text.split('.').all(is_word)
    };
    let is_name = |text: &str| {
        let mut chars = text.chars();
        chars
            .next()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || "-_.".contains(c))
    };
    let path = bin.join(name);
    let is_taken = std::fs::symlink_metadata(&path).is_ok();
    if !is_dotted(module) || !is_dotted(function) || !is_name(name) || is_taken {
        return Ok(());
    }
    let first = match python.to_str() {
        Some(python) if python.len() <= SHEBANG_BYTES_MAX && !python.contains(' ') => {
            format!("#!{python}\n")
        }
        // As pip does it: the shell reads one line of what is a text to Python.
        _ => format!(
            "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n",
            python.display()
        ),
    };
    let object = function.split('.').next().unwrap_or(function);
    let text = format!(
        "{first}import sys\nfrom {module} import {object}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
    );
    std::fs::write(&path, &text).map_err(Error::io("write", &path))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).map_err(Error::io("write", &path))?;
    let ups = "../".repeat(written.site.components().count() - bin.components().count() + 1);
    let hash = base64url(&Sha256::digest(&text));
    written.rows += &format!("{ups}bin/{name},sha256={hash},{}\n", text.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_made_of_plain_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, site) = (dir.path().join("bin"), dir.path().join("lib/python3/site"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("python"), "").unwrap();
        let mut written = Written {
            site: &site,
            rows: String::new(),
        };
        for (name, to) in [
            ("good-one", "pack.mod:obj.run [extra]"),
            ("python", "a:b"),
            ("../up", "a:b"),
            ("-x", "a:b"),
            ("bad", "a;import os:b"),
            ("bad2", "a:b()"),
            ("module", "only.module"),
        ] {
            script(&bin, Path::new("/a b/python"), name, to, &mut written).unwrap();
        }
        let names: Vec<_> = std::fs::read_dir(&bin).unwrap().collect();
        assert_eq!(names.len(), 2);
        let text = std::fs::read_to_string(bin.join("good-one")).unwrap();
        assert!(
            text.starts_with("#!/bin/sh\n'''exec' \"/a b/python\""),
            "{text}"
        );
        assert!(
            text.contains("from pack.mod import obj\n") && text.contains("sys.exit(obj.run())")
        );
        assert!(
            written.rows.starts_with("../../../bin/good-one,sha256="),
            "{}",
            written.rows
        );
        assert_eq!(file_url(Path::new("/a b/\u{e4}")), "file:///a%20b/%C3%A4");
    }
}
