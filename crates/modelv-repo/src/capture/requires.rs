//! What installed packages demand of others, as their metadata says. Reads; asks no index.

use std::path::Path;

use modelv_core::env::{Env, normal_name};

use super::env::known_sites;
use super::metadata::{metadata_dirs, read_head};
use crate::error::Result;

/// One installed package and its demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Demands {
    /// Its PEP 503 name.
    pub(crate) name: String,
    pub(crate) version: String,
    /// As PEP 508 writes them.
    pub(crate) requires: Vec<String>,
}

/// The demands of everything that an interpreter finds.
///
/// # Errors
/// The interpreter does not answer.
pub(crate) fn of_installed(cache: &Path, python: &Path) -> Result<Vec<Demands>> {
    let mut out: Vec<Demands> = Vec::new();
    for site in known_sites(cache, python)? {
        for (_, folder) in metadata_dirs(&site) {
            let Some(found) = read(&site.join(folder).join("METADATA")) else {
                continue;
            };
            // The first on the path is the one that is imported.
            if out.iter().all(|known| known.name != found.name) {
                out.push(found);
            }
        }
    }
    Ok(out)
}

/// The head of a METADATA file.
fn read(path: &Path) -> Option<Demands> {
    let head = read_head(path)?;
    Some(Demands {
        name: normal_name(&head.name),
        version: head.version,
        requires: head.requires,
    })
}

/// The value of a variable of markers (PEP 508) where an environment is.
pub(crate) fn marker_value(env: &Env, name: &str) -> String {
    let python = env.interpreter.as_ref();
    let full = python.map_or("", |p| p.version.as_str());
    match name {
        "python_version" => full.split('.').take(2).collect::<Vec<_>>().join("."),
        "python_full_version" => full.to_owned(),
        "implementation_name" => python.map_or("", |p| &p.implementation).to_owned(),
        "platform_python_implementation" => match python.map(|p| p.implementation.as_str()) {
            Some("cpython") => "CPython".into(),
            other => other.unwrap_or("").to_owned(),
        },
        "sys_platform" => env.os.clone(),
        "platform_system" if env.os == "linux" => "Linux".into(),
        "os_name" => "posix".into(),
        "platform_machine" => env.arch.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_stand_in_the_head_of_the_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("METADATA");
        let text = "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nRequires-Dist: numpy<2\n\
                    Requires-Dist: rich ; extra == 'x'\n\nRequires-Dist: no\n";
        std::fs::write(&path, text).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("foo-bar", "1.0")
        );
        assert_eq!(found.requires, ["numpy<2", "rich ; extra == 'x'"]);
        std::fs::write(&path, "Name: x\n").unwrap();
        assert!(read(&path).is_none() && read(dir.path()).is_none());
    }
}
