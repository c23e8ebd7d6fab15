//! Finding the interpreter a project is worked on with.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Looks, in this order, at: the argument, the configuration, `VIRTUAL_ENV`, `CONDA_PREFIX`, a
/// `.venv` or `venv` in the working tree, and `PATH`.
///
/// # Errors
/// One was named and is not there.
pub fn find(
    root: &Path,
    explicit: Option<&Path>,
    configured: Option<&str>,
) -> Result<Option<PathBuf>> {
    if let Some(path) = explicit {
        return existing(path).map(Some);
    }
    if let Some(text) = configured {
        return existing(&root.join(text)).map(Some);
    }
    let around = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .iter()
        .filter_map(std::env::var_os)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
        .chain([root.join(".venv"), root.join("venv")])
        .map(|dir| dir.join("bin/python"))
        .find(|p| p.exists());
    if around.is_some() {
        return Ok(around);
    }
    Ok(["python3", "python"].iter().find_map(|name| on_path(name)))
}

fn existing(path: &Path) -> Result<PathBuf> {
    let found = match path.components().count() {
        1 => path.to_str().and_then(on_path),
        _ => path.exists().then(|| path.to_owned()),
    };
    found.ok_or_else(|| Error::not_found("interpreter", path.display().to_string()))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}
