//! Reaching files of the working tree through directory handles, so that nothing outside of it is
//! ever touched: not by a link in a commit, not by one that lies in the working tree already, and
//! not by one that is put there while we work.
//!
//! A path is resolved by the kernel beneath the root, following no link (`openat2`); where the
//! kernel lacks that call, name by name. What is then done to a file is done in the directory that
//! was found, by the file's name alone. Must never hand a path of several names to a call that
//! follows links.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelv_core::path::{RepoPath, parent_of};
use modelv_store::fs;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::statcache::Stamp;
use super::write::TEMP_PREFIX;
use crate::error::{Error, Result};

/// The root of a working tree, held open.
#[derive(Debug, Clone)]
pub(super) struct Root {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    way: Way,
}

/// How directories are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All names at once by `openat2`, or like the other if the kernel lacks it.
    AtOnce,
    /// Name by name.
    ByName,
}

/// What to do about directories that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are an error.
    Fail,
    /// They are made.
    Make,
}

/// A directory of the working tree, held open: it stays the same one whatever happens to its path.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    fd: Arc<OwnedFd>,
    /// For messages alone.
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Times a call is repeated that another process disturbed.
const TRIES: usize = 16;

impl Root {
    /// Opens the root. Its own path may lead through links: where it lies is the user's choice.
    ///
    /// # Errors
    /// It can't be opened, or is no directory.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = DIRECTORY - OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|e| Error::io("open", path)(e.into()))?;
        Ok(Self {
            fd: Arc::new(fd),
            path: path.to_owned(),
            way: Way::AtOnce,
        })
    }

    /// The directory that holds `path`.
    ///
    /// # Errors
    /// [`Error::Blocked`] when a link or a file is where a directory must be; else it is missing, or
    /// can't be opened or made.
    pub(super) fn parent(&self, path: &RepoPath, missing: Missing) -> Result<Folder> {
        self.folder(parent_of(path.as_bytes()), path, missing)
    }

    /// The directory `dir` on the way to `path`; the root's is empty.
    fn folder(&self, dir: &[u8], path: &RepoPath, missing: Missing) -> Result<Folder> {
        let full = self.path.join(OsStr::from_bytes(dir));
        let opened = match self.open_dir(&self.fd, dir) {
            Err(Errno::NOENT) if missing == Missing::Make => self.make(dir),
            other => other,
        };
        match opened {
            Ok(fd) => Ok(Folder { fd, path: full }),
            // No component of a path is a mount point of something else's `..`: this is a link.
            Err(e @ (Errno::LOOP | Errno::NOTDIR | Errno::XDEV)) => match self.first_bad(dir) {
                Some(by) => Err(Error::Blocked {
                    path: path.to_string(),
                    by: RepoPath::new(by).map_or_else(|e| e.path, |p| p.to_string()),
                }),
                None => Err(Error::io("open", full)(e.into())),
            },
            Err(e) => Err(Error::io("open", full)(e.into())),
        }
    }

    /// Opens `dir`, some names below `from`.
    fn open_dir(&self, from: &Arc<OwnedFd>, dir: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        if dir.is_empty() {
            return Ok(Arc::clone(from));
        }
        if self.way == Way::ByName {
            return open_by_name(from, dir);
        }
        let beneath =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match rustix::fs::openat2(from, dir, DIRECTORY, Mode::empty(), beneath) {
                Ok(fd) => return Ok(Arc::new(fd)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Before Linux 5.6; or a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return open_by_name(from, dir),
                Err(e) => return Err(e),
            }
        }
        open_by_name(from, dir)
    }

    /// Opens `dir`, making what is missing of it.
    fn make(&self, dir: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        let mut at = Arc::clone(&self.fd);
        for name in dir.split(|b| *b == b'/') {
            at = match self.open_dir(&at, name) {
                Err(Errno::NOENT) => {
                    match fs::create_dir_at(at.as_fd(), name) {
                        // Another thread was faster.
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO));
                        }
                        _ => {}
                    }
                    self.open_dir(&at, name)?
                }
                other => other?,
            };
        }
        Ok(at)
    }

    /// The first directory on the way to `dir` that is none.
    fn first_bad<'a>(&self, dir: &'a [u8]) -> Option<&'a [u8]> {
        let ends = (0..dir.len())
            .filter(|i| dir[*i] == b'/')
            .chain([dir.len()]);
        ends.map(|end| &dir[..end]).find(|part| {
            matches!(
                self.open_dir(&self.fd, part),
                Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV)
            )
        })
    }

    /// The link or file that is where a directory on the way to `path` must be.
    pub(super) fn blocker(&self, path: &RepoPath) -> Option<RepoPath> {
        let dir = parent_of(path.as_bytes());
        match self.open_dir(&self.fd, dir) {
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                self.first_bad(dir).and_then(|by| RepoPath::new(by).ok())
            }
            _ => None,
        }
    }

    /// Whether names that differ in capital letters alone are one here.
    pub(super) fn folds_names(&self) -> bool {
        if self.is_same(b".mv", b".MV") {
            return true;
        }
        if self.stat(b".mv").is_some() {
            return false;
        }
        let folder = Folder {
            fd: Arc::clone(&self.fd),
            path: self.path.clone(),
        };
        let name = temp_name();
        // Where nothing can be made, the checkout says so in a moment.
        if folder.create(&name, false).is_err() {
            return false;
        }
        let folds = self.is_same(&name, &name.to_ascii_uppercase());
        let _ = folder.delete(&name);
        folds
    }

    fn stat(&self, name: &[u8]) -> Option<rustix::fs::Stat> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    fn is_same(&self, name: &[u8], other: &[u8]) -> bool {
        match (self.stat(name), self.stat(other)) {
            (Some(a), Some(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => false,
        }
    }

    /// Deletes a file, if it is there, and then the directories that are empty without it.
    ///
    /// # Errors
    /// It can't be deleted.
    pub(super) fn delete(&self, path: &RepoPath) -> Result<()> {
        match self.parent(path, Missing::Fail) {
            Ok(folder) => folder.delete(path.name())?,
            // The whole directory is gone already.
            Err(e) if is_missing(&e) => {}
            Err(e) => return Err(e),
        }
        let mut dir = parent_of(path.as_bytes());
        while !dir.is_empty() {
            let above = parent_of(dir);
            let name = dir.strip_prefix(above).unwrap_or(dir);
            let name = name.strip_prefix(b"/").unwrap_or(name);
            let removed = match self.folder(above, path, Missing::Fail) {
                Ok(folder) => folder.remove_dir(name),
                Err(_) => false,
            };
            if !removed {
                break;
            }
            dir = above;
        }
        Ok(())
    }
}

/// Each name on its own, which no link can then redirect: a path that was validated has no `..`.
fn open_by_name(from: &OwnedFd, dir: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
    let mut at: Option<OwnedFd> = None;
    for name in dir.split(|b| *b == b'/') {
        let above = at.as_ref().unwrap_or(from);
        // A link is opened as itself by these flags, and is then no directory.
        let next = rustix::fs::openat(above, name, DIRECTORY, Mode::empty())?;
        at = Some(next);
    }
    at.map(Arc::new).ok_or(Errno::INVAL)
}

fn is_missing(e: &Error) -> bool {
    matches!(e, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// A name for a file that is being written, which nothing else has.
pub(super) fn temp_name() -> Vec<u8> {
    let nonce = modelv_core::id::to_hex(&crate::oplog::nonce());
    [TEMP_PREFIX, nonce.as_bytes()].concat()
}

/// Replaces a file of the working tree at once; it stays executable if it was.
pub(crate) fn replace_file(root: &Path, path: &RepoPath, bytes: &[u8]) -> Result<()> {
    replace_file_from(root, path, &mut io::Cursor::new(bytes))
}

/// The same, from what is read in pieces.
pub(crate) fn replace_file_from(
    root: &Path,
    path: &RepoPath,
    content: &mut dyn io::Read,
) -> Result<()> {
    let folder = Root::open(root)?.parent(path, Missing::Make)?;
    let is_executable = folder.stamp(path.name()).is_some_and(|stamp| {
        let is_file = FileType::from_raw_mode(stamp.mode()) == FileType::RegularFile;
        is_file && stamp.mode() & 0o100 != 0
    });
    let temp = temp_name();
    let file = folder.create(&temp, is_executable)?;
    let done = write_all_from(&file, content)
        .map_err(Error::io("write", folder.full(path.name())))
        .and_then(|()| folder.rename(&temp, path.name()));
    if done.is_err() {
        let _ = folder.delete(&temp);
    }
    done
}

fn write_all_from(file: &File, content: &mut dyn io::Read) -> io::Result<()> {
    let (mut piece, mut at) = (Vec::new(), 0);
    loop {
        piece.clear();
        let mut next = io::Read::take(&mut *content, 1 << 20);
        io::Read::read_to_end(&mut next, &mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        fs::write_all_at(file, &piece, at)?;
        at += piece.len() as u64;
    }
}

impl Folder {
    fn fail(&self, op: &'static str, name: &[u8]) -> impl FnOnce(io::Error) -> Error + use<> {
        let full = self.full(name);
        move |e| Error::io(op, full)(e)
    }

    /// Where a name lies, for messages.
    pub(super) fn full(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// Makes a file that is not there yet, for writing.
    ///
    /// # Errors
    /// The name is taken, or the directory can't be written.
    pub(super) fn create(&self, name: &[u8], is_executable: bool) -> Result<File> {
        let bits = if is_executable { 0o777 } else { 0o666 };
        fs::create_new_at(self.fd.as_fd(), name, bits).map_err(self.fail("write", name))
    }

    /// Makes a symbolic link that is not there yet.
    ///
    /// # Errors
    /// The name is taken, the target is none that a link can have, or the directory can't be written.
    pub(super) fn link(&self, target: &[u8], name: &[u8]) -> Result<()> {
        let target = Path::new(OsStr::from_bytes(target));
        fs::link_at(self.fd.as_fd(), name, target).map_err(self.fail("write", name))
    }

    /// Gives a file of this directory another name, in the place of a file, of a link (not of what it
    /// leads to) or of a directory without entries.
    ///
    /// # Errors
    /// A directory with entries is there, or the directory can't be written.
    pub(super) fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let rename = || fs::replace_at(self.fd.as_fd(), from, to);
        match rename() {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory && self.remove_dir(to) => rename(),
            other => other,
        }
        .map_err(self.fail("write", to))
    }

    /// The same for a temporary file that becomes the real one. What was there is moved away and
    /// then deleted: renaming over it, ext4 would write all of the new file to the disk first.
    ///
    /// # Errors
    /// As [`Folder::rename`].
    pub(super) fn replace(&self, temp: &[u8], name: &[u8]) -> Result<()> {
        let dir = self.fd.as_fd();
        if fs::rename_new_at(dir, temp, name).is_ok() {
            return Ok(());
        }
        if self.is_dir(name) || fs::exchange_at(dir, temp, name).is_err() {
            return self.rename(temp, name);
        }
        self.delete(temp)
    }

    fn is_dir(&self, name: &[u8]) -> bool {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
    }

    /// Deletes a file or link; one that is not there is deleted already.
    ///
    /// # Errors
    /// It is a directory, or the directory can't be written.
    pub(super) fn delete(&self, name: &[u8]) -> Result<()> {
        match fs::remove_at(self.fd.as_fd(), name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.fail("delete", name)(e)),
            _ => Ok(()),
        }
    }

    /// Deletes a directory if it has no entries, and says whether it did.
    fn remove_dir(&self, name: &[u8]) -> bool {
        fs::remove_dir_at(self.fd.as_fd(), name).is_ok()
    }

    /// The stamp of a file or link, if it is there.
    pub(super) fn stamp(&self, name: &[u8]) -> Option<Stamp> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.ok().map(|stat| Stamp::of_stat(&stat))
    }
}

#[cfg(test)]
#[path = "beneath_tests.rs"]
mod tests;
