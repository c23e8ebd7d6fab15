//! Files of a model: bounded, and never outside of its folder.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use crate::error::{Error, Result};

/// Largest file of a model, in bytes: what its format can say.
pub const FILE_BYTES_MAX: u64 = 2 << 30;
/// Most bytes of all files of a model together.
pub const FILES_BYTES_MAX: u64 = 16 << 30;

/// Reads a file below a folder, whatever links lie there.
pub(crate) fn read(root: &Path, path: &Path) -> Result<Vec<u8>> {
    let bad = |detail: String| Error::Read {
        path: path.display().to_string(),
        detail,
    };
    let io = |e: std::io::Error| bad(e.to_string());
    if path
        .components()
        .any(|c| !matches!(c, Component::Normal(_)))
    {
        return Err(bad("it is no path below the model's folder".into()));
    }
    let root = root.canonicalize().map_err(io)?;
    let real = root.join(path).canonicalize().map_err(io)?;
    if !real.starts_with(&root) {
        return Err(bad("it leads out of the folder that is served".into()));
    }
    let file = File::open(&real).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(bad("it is no file".into()));
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if read.map_err(io)? as u64 > FILE_BYTES_MAX {
        return Err(bad("it has more than 2 GiB".into()));
    }
    Ok(bytes)
}
