//! Where results go: made beside their place and renamed into it, so that what failed or was
//! interrupted leaves nothing, and what is there is whole. Never in the place of what others made.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::read_manifest;

/// Says of a folder, to Git and to modelv, that it is in no commit.
const MARK: &str = ".gitignore";

/// The nearest folder above a path that exists: on its file system, whatever is made in between.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors()
        .skip(1)
        .map(|dir| match dir.as_os_str().is_empty() {
            true => Path::new("."),
            false => dir,
        })
        .find(|dir| dir.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => std::fs::create_dir_all(parent).map_err(Error::io("create", parent)),
        None => Ok(()),
    }
}

/// Whether nothing is there, or an empty folder.
fn is_free(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut inside) => inside.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Marks a folder as other tools mark what they make: among the files of a commit, it would be in the next one.
fn mark(dir: &Path) -> Result<()> {
    let path = dir.join(MARK);
    std::fs::write(&path, "*\n").map_err(Error::io("write", &path))
}

/// A folder for an image that is being made.
pub(crate) struct Place {
    temp: tempfile::TempDir,
    output: PathBuf,
}

impl Place {
    /// An image goes where nothing is, or where an image of ours is: never in the place of a file, or
    /// of a layout that others made (a base, for one).
    pub(crate) fn new(output: &Path) -> Result<Self> {
        let is_ours = || {
            let manifest = read_manifest(output);
            manifest.is_ok_and(|(_, m)| m["annotations"]["dev.modelv.commit"].is_string())
        };
        if !is_free(output) && !is_ours() {
            return Err(Error::Taken {
                path: output.to_owned(),
            });
        }
        let beside = nearest(output);
        let temp = tempfile::Builder::new()
            .prefix(".modelv-image-")
            .tempdir_in(&beside)
            .map_err(Error::io("create", &beside))?;
        let blobs = temp.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
        Ok(Self {
            temp,
            output: output.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.path().join("blobs/sha256")
    }

    /// Puts the finished layout in place.
    pub(crate) fn publish(self) -> Result<()> {
        let output = &self.output;
        mark(self.path())?;
        make_parent(output)?;
        let beside = nearest(output);
        // The old image goes away with this folder.
        let old = tempfile::Builder::new()
            .prefix(".modelv-image-")
            .tempdir_in(&beside)
            .map_err(Error::io("create", &beside))?;
        if output.exists() {
            std::fs::rename(output, old.path().join("old"))
                .map_err(Error::io("replace", output))?;
        }
        std::fs::set_permissions(self.temp.path(), PermissionsExt::from_mode(0o755))
            .and_then(|()| std::fs::rename(self.temp.path(), output))
            .map_err(Error::io("write", output))?;
        // Its place is empty now.
        let _ = self.temp.keep();
        Ok(())
    }
}

/// A folder that is being made, where nothing is yet.
pub(crate) struct Folder {
    temp: tempfile::TempDir,
    output: PathBuf,
}

impl Folder {
    pub(crate) fn new(output: &Path) -> Result<Self> {
        if !is_free(output) {
            return Err(Error::Taken {
                path: output.to_owned(),
            });
        }
        let beside = nearest(output);
        let temp = tempfile::Builder::new()
            .prefix(".modelv-folder-")
            .tempdir_in(&beside)
            .map_err(Error::io("create", &beside))?;
        Ok(Self {
            temp,
            output: output.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Puts it in place.
    pub(crate) fn publish(self) -> Result<()> {
        let output = &self.output;
        mark(self.path())?;
        make_parent(output)?;
        std::fs::set_permissions(self.temp.path(), PermissionsExt::from_mode(0o755))
            .and_then(|()| std::fs::rename(self.temp.path(), output))
            .map_err(Error::io("write", output))?;
        // Its place is empty now.
        let _ = self.temp.keep();
        Ok(())
    }
}

/// Writes a file as a whole or not at all.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    if path.is_dir() {
        return Err(Error::Taken {
            path: path.to_owned(),
        });
    }
    let beside = nearest(path);
    let temp = tempfile::Builder::new()
        .prefix(".modelv-tar-")
        .tempfile_in(&beside)
        .map_err(Error::io("create", &beside))?;
    let mut out = std::io::BufWriter::with_capacity(1 << 18, temp);
    fill(&mut out)?;
    let temp = out
        .into_inner()
        .map_err(|e| Error::io("write", path)(e.into_error()))?;
    temp.as_file()
        .set_permissions(PermissionsExt::from_mode(0o644))
        .map_err(Error::io("write", path))?;
    make_parent(path)?;
    temp.persist(path)
        .map_err(|e| Error::io("write", path)(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_up_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("a/b/image");
        let place = Place::new(&output).unwrap();
        std::fs::write(place.blobs().join("x"), "x").unwrap();
        drop(place);
        let left = || std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left(), 0);
        let file = dir.path().join("c/d.tar");
        let said = write_file(&file, |out| {
            out.write_all(b"half").unwrap();
            Err(Error::Taken { path: "x".into() })
        });
        assert!(said.is_err());
        assert_eq!(left(), 0);
        Place::new(&output).unwrap().publish().unwrap();
        write_file(&file, |out| {
            out.write_all(b"whole").map_err(Error::io("write", &file))
        })
        .unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"whole");
        assert!(output.join("blobs/sha256").is_dir());
        assert!(write_file(dir.path(), |_| Ok(())).is_err());
        assert_eq!(left(), 2);
    }
}
