//! Which packs there are: those in `packs/`, and the condemned ones in `condemned/SECONDS/`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use modelv_core::id::from_hex;

use crate::error::{Error, Result};
use crate::fs;
use crate::gc::State;

/// Where condemned packs lie, in a folder for each time.
pub(crate) const CONDEMNED: &str = "condemned";

/// A pack file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: [u8; 32],
    pub(crate) path: PathBuf,
    /// When it was condemned, in seconds since 1970.
    pub(crate) since: Option<i64>,
}

/// Lists all packs, kept ones first; and how often packs had been taken away. Lists again when that
/// changes meanwhile: what moves from a folder that is listed later to one that was, would be missed.
pub(crate) fn list_steady(dir: &Path) -> Result<(Vec<Found>, Option<u64>)> {
    let epoch = || State::read(dir).ok().map(|s| s.epoch);
    loop {
        let before = epoch();
        let found = list(dir)?;
        if epoch() == before {
            return Ok((found, before));
        }
    }
}

/// Lists all packs, kept ones first.
pub(crate) fn list(dir: &Path) -> Result<Vec<Found>> {
    let mut found = list_dir(&dir.join("packs"), None)?;
    for (since, path) in generations(dir)? {
        match list_dir(&path, Some(since)) {
            Err(e) if e.is_gone() => {}
            more => found.extend(more?),
        }
    }
    Ok(found)
}

/// Packs of one folder, by name.
pub(crate) fn list_dir(dir: &Path, since: Option<i64>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let name = path
            .file_stem()
            .and_then(|s| s.to_str())
            .and_then(|s| from_hex(s).ok());
        if let (Some(name), Some("pack")) = (name, path.extension().and_then(|e| e.to_str())) {
            found.push(Found { name, path, since });
        }
    }
    found.sort_by_key(|f| f.name);
    Ok(found)
}

/// The folders of condemned packs, oldest first.
pub(crate) fn generations(dir: &Path) -> Result<Vec<(i64, PathBuf)>> {
    let dir = dir.join(CONDEMNED);
    let entries = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", &dir))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", &dir))?.path();
        let since = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.parse().ok());
        found.extend(since.map(|since| (since, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens a file that is there to be locked. The kernel's locks die with their holders.
pub(crate) fn open_lock(dir: &Path, name: &str) -> io::Result<File> {
    if !dir.is_dir() {
        fs::create_dirs(dir)?;
    }
    fs::open_or_create(&dir.join(name))
}
