//! Paths in what other tools left: of files below a folder, and those that their files name. Reads
//! folders; must never give a path that leads out of one.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What is in a folder and in the folders below it, but no folder itself, by paths from it with `/` between;
/// sorted. Links are not followed. A folder that is not there holds nothing.
///
/// # Errors
/// A folder can't be read.
pub(super) fn files_below(dir: &Path) -> Result<Vec<(Vec<u8>, PathBuf)>> {
    let (mut out, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = open.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && folder == dir => break,
            entries => entries.map_err(Error::io("read", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(path);
            } else {
                let inside = path.strip_prefix(dir).unwrap_or(&path);
                out.push((inside.as_os_str().as_bytes().to_vec(), path));
            }
        }
    }
    out.sort();
    Ok(out)
}

/// The path from the top of one that a file in `dir` names; empty is the top itself. `None`: it is an
/// address, or lies outside.
pub(super) fn joined(dir: &[u8], path: &str) -> Option<Vec<u8>> {
    if path.starts_with('/') || path.contains("://") {
        return None;
    }
    let slash = |b: &u8| *b == b'/';
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in dir.split(slash).chain(path.as_bytes().split(slash)) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn files_of_all_folders_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a b").join(OsStr::from_bytes(b"\xff"));
        std::fs::create_dir_all(dir.path().join("a b/empty")).unwrap();
        std::fs::write(&odd, "x").unwrap();
        std::fs::write(dir.path().join("z"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        let found = files_below(dir.path()).unwrap();
        let names: Vec<&[u8]> = found.iter().map(|(name, _)| name.as_slice()).collect();
        assert_eq!(names, [b"a b/\xff".as_slice(), b"link", b"z"]);
        assert_eq!(found[0].1, odd);
        assert!(files_below(&dir.path().join("none")).unwrap().is_empty());
        assert!(files_below(&odd).is_err());
    }

    #[test]
    fn a_path_leads_to_a_place_below_the_top_or_nowhere() {
        let of = |dir: &str, path: &str| {
            joined(dir.as_bytes(), path).map(|p| String::from_utf8(p).unwrap())
        };
        assert_eq!(of("a/b", "../c").as_deref(), Some("a/c"));
        assert_eq!(of("", "./c//d").as_deref(), Some("c/d"));
        assert_eq!(of("a", "..").as_deref(), Some(""));
        assert_eq!(of("a", "../../c"), None);
        assert_eq!(of("a", "/etc/passwd"), None);
        assert_eq!(of("a", "s3://b/c"), None);
    }
}
