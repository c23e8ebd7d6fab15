//! Wheels of packages that are used in place from folders outside of the repository: no commit has their code, so
//! `env vendor` builds one from a copy of the folder. Must never write into that folder.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::env::{Env, Package};
use modelv_store::fs;

use super::search::Search;
use super::{VendorOptions, pip, python_with_pip};
use crate::capture::{installed, python};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;

/// Most bytes of a folder that are copied.
const BYTES_MAX: u64 = 1 << 30;
/// Folders that belong to a project and not to its code.
const SKIPPED: [&str; 7] = [
    ".git",
    ".hg",
    ".mv",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
];

impl Repo {
    /// Builds the wheels of open packages that the active interpreter uses in place, and lets them be found.
    pub(super) fn build_in_place(
        &self,
        want: &Env,
        open: &[&Package],
        options: &VendorOptions,
        (temp, search): (&Path, &mut Search),
        reasons: &mut BTreeMap<String, String>,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let mut open = open.iter().filter(|p| p.editable).peekable();
        if open.peek().is_none() {
            return Ok(());
        }
        let configured = self
            .config("env.python")
            .or_else(|| self.rules().ok()?.env_python());
        let explicit = options.python.as_deref();
        let active = python::find(self.root(), explicit, configured.as_deref())?;
        let folders: BTreeMap<_, _> = match &active {
            Some(active) => installed::in_place(active)?.into_iter().collect(),
            None => BTreeMap::new(),
        };
        for package in open {
            ctx.cancel.check()?;
            let built = match folders.get(&package.name) {
                Some(folder) => {
                    let active = active.as_deref().unwrap_or(folder);
                    build(want, package, (folder, temp), active, options, ctx)?
                }
                None => Err("it was used in place from a folder, and is not here".into()),
            };
            match built {
                Ok(()) => search.add_folder(&temp.join("built").join(&package.name)),
                Err(why) => {
                    reasons.insert(package.name.clone(), why);
                }
            }
        }
        Ok(())
    }
}

fn build(
    want: &Env,
    package: &Package,
    (folder, temp): (&Path, &Path),
    active: &Path,
    options: &VendorOptions,
    ctx: &Ctx<'_>,
) -> Result<std::result::Result<(), String>> {
    if !package.is_plain() {
        return Ok(Err("its name or version is none".into()));
    }
    let copy = temp.join("source").join(&package.name);
    let into = temp.join("built").join(&package.name);
    fs::create_dirs(&into).map_err(Error::io("create", &into))?;
    let mut left = BYTES_MAX;
    if let Err(why) = copy_folder(folder, &copy, &mut left, ctx) {
        ctx.cancel.check()?;
        return Ok(Err(format!(
            "`{}` can't be copied: {why}",
            folder.display()
        )));
    }
    ctx.progress.note(&format!(
        "building a wheel of {} from {}",
        package.label(),
        folder.display()
    ));
    let sources = pip::Sources {
        indexes: &options.indexes,
        folders: &[],
    };
    let said = match options.offline {
        // What it is built with has to be installed already: where the package is used.
        true => pip::build(active, &copy, &package.version, &into, None, ctx.cancel)?,
        false => {
            let python = python_with_pip(want, &into, options, ctx)?;
            pip::build(
                &python,
                &copy,
                &package.version,
                &into,
                Some(sources),
                ctx.cancel,
            )?
        }
    };
    Ok(match said.success {
        true => Ok(()),
        false => Err(format!(
            "no wheel can be built of `{}`: {}",
            folder.display(),
            said.reason()
        )),
    })
}

/// Copies files and links; what is neither is no code.
fn copy_folder(from: &Path, to: &Path, left: &mut u64, ctx: &Ctx<'_>) -> std::io::Result<()> {
    fs::create_dirs(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let target = to.join(entry.file_name());
        let is_skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        if ctx.cancel.is_cancelled() {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        if kind.is_dir() && !is_skipped {
            copy_folder(&path, &target, left, ctx)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path)?, &target)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            *left = left
                .checked_sub(size)
                .ok_or_else(|| std::io::Error::other("it holds more than a gigabyte"))?;
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_without_what_is_no_code() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        for name in ["src/p", ".git", ".venv/lib"] {
            std::fs::create_dir_all(from.join(name)).unwrap();
            std::fs::write(from.join(name).join("x.py"), "12").unwrap();
        }
        std::os::unix::fs::symlink("src", from.join("link")).unwrap();
        copy_folder(&from, &to, &mut 4, &Ctx::quiet()).unwrap();
        assert!(to.join("src/p/x.py").is_file() && to.join("link").is_symlink());
        assert!(!to.join(".git").exists() && !to.join(".venv").exists());
        let again = dir.path().join("c");
        assert!(copy_folder(&from, &again, &mut 1, &Ctx::quiet()).is_err());
    }
}
