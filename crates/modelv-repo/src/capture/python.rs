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

/// Interpreters of this machine that may be of `version`, each once: `PATH`, the usual folders, and
/// where uv and pyenv put theirs.
#[must_use]
pub fn candidates(version: &str) -> Vec<PathBuf> {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    let names = [format!("python{minor}"), "python3".into(), "python".into()];
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let var = |name: &str, default: &str| {
        std::env::var_os(name).map_or_else(|| home.join(default), PathBuf::from)
    };
    let managed = [
        var("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"),
        var("PYENV_ROOT", ".pyenv").join("versions"),
    ];
    let mut dirs: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .filter(|dir| dir.is_absolute())
            .chain(["/usr/local/bin".into(), "/usr/bin".into()])
            .collect();
    for root in managed {
        let inside = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = inside.map(|e| e.path().join("bin")).collect();
        found.sort();
        dirs.append(&mut found);
    }
    let mut seen = std::collections::HashSet::new();
    dirs.iter()
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .filter(|path| path.canonicalize().is_ok_and(|real| seen.insert(real)))
        .collect()
}

fn existing(path: &Path) -> Result<PathBuf> {
    let found = match path.components().count() {
        1 => path.to_str().and_then(on_path),
        _ => path.exists().then(|| path.to_owned()),
    };
    found.ok_or_else(|| Error::not_found("interpreter", path.display().to_string()))
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}
