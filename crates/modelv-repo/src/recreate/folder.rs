//! The folder of an environment while it is made: a marker inside says that it is not whole yet, and a lock
//! of the kernel on the marker that somebody is at work. What a killed process has left is cleared away by
//! the next one; a folder without a marker is never touched.

use std::fs::File;
use std::path::{Path, PathBuf};

use modelv_store::fs;

use crate::error::{Error, Result};

/// Name of the marker.
const MARKER: &str = ".modelv-unfinished";

/// A folder that is being filled. Without [`Making::finish`] it is gone again once this is dropped.
#[derive(Debug)]
pub(super) struct Making {
    path: PathBuf,
    /// Holds the lock.
    _marker: File,
    is_done: bool,
}

impl Making {
    /// Takes a folder that is not there, is empty, or was left unfinished by a process that is gone.
    ///
    /// # Errors
    /// It holds something else, somebody is making it, or it can't be written.
    pub(super) fn begin(path: &Path) -> Result<Self> {
        let taken = || Error::Exists {
            what: "folder",
            name: path.display().to_string(),
        };
        let marker = path.join(MARKER);
        let occupied = std::fs::read_dir(path).is_ok_and(|mut d| d.next().is_some());
        if occupied {
            let left = File::open(&marker).map_err(|_| taken())?;
            if left.try_lock().is_err() {
                return Err(Error::State(format!(
                    "`{}` is being made by another process",
                    path.display()
                )));
            }
            std::fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
        } else if path.is_file() {
            return Err(taken());
        }
        fs::create_dirs(path).map_err(Error::io("create", path))?;
        let file = File::create_new(&marker).map_err(Error::io("create", &marker))?;
        file.try_lock()
            .map_err(|e| Error::io("lock", &marker)(e.into()))?;
        Ok(Self {
            path: path.to_owned(),
            _marker: file,
            is_done: false,
        })
    }

    /// The folder is whole.
    ///
    /// # Errors
    /// The marker can't be removed.
    pub(super) fn finish(mut self) -> Result<()> {
        let marker = self.path.join(MARKER);
        std::fs::remove_file(&marker).map_err(Error::io("remove", &marker))?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.is_done {
            // It was empty or missing before; half an environment helps nobody.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_whole_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/env");
        let making = Making::begin(&path).unwrap();
        std::fs::write(path.join("half"), "x").unwrap();
        let said = Making::begin(&path).unwrap_err().to_string();
        assert!(said.contains("is being made by another process"), "{said}");
        drop(making);
        assert!(!path.exists());
        Making::begin(&path).unwrap().finish().unwrap();
        assert!(std::fs::read_dir(&path).unwrap().next().is_none());
        // A killed process drops nothing, and its lock is gone.
        std::fs::write(path.join(MARKER), "").unwrap();
        std::fs::write(path.join("half"), "x").unwrap();
        let making = Making::begin(&path).unwrap();
        assert!(!path.join("half").exists());
        making.finish().unwrap();
    }

    #[test]
    fn what_somebody_else_has_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, full) = (dir.path().join("file"), dir.path().join("full"));
        std::fs::write(&file, "x").unwrap();
        std::fs::create_dir(&full).unwrap();
        std::fs::write(full.join("mine"), "x").unwrap();
        for path in [&file, &full] {
            let said = Making::begin(path).unwrap_err();
            assert!(matches!(said, Error::Exists { .. }), "{said}");
        }
        assert!(full.join("mine").exists() && file.exists());
    }
}
