//! What installed packages demand of others, as their metadata says. Reads; asks no index.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use modelv_core::env::normal_name;

use super::env::known_sites;
use super::metadata::METADATA_BYTES_MAX;
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
        // Entries of sys.path need not exist.
        let entries = std::fs::read_dir(&site).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            if path.extension().is_none_or(|e| e != "dist-info") {
                continue;
            }
            let Some(found) = read(&path.join("METADATA")) else {
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
    let file = std::fs::File::open(path).ok()?.take(METADATA_BYTES_MAX);
    let (mut name, mut version, mut requires) = (None, None, Vec::new());
    for line in BufReader::new(file).lines() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("Name", value)) => name = Some(normal_name(value.trim())),
            Some(("Version", value)) => version = Some(value.trim().to_owned()),
            Some(("Requires-Dist", value)) => requires.push(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(Demands {
        name: name?,
        version: version?,
        requires,
    })
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
