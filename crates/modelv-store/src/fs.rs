//! The only place where the store changes the file system, so that a test can make any one of
//! these calls fail.
//!
//! A name is durable when its directory is synced; [`publish`] does both.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

#[cfg(test)]
thread_local! {
    /// How many more calls succeed before every call fails, as after a power cut.
    pub(crate) static CALLS_LEFT: std::cell::Cell<Option<usize>> =
        const { std::cell::Cell::new(None) };
}

/// Counts a mutation; in tests, fails it when its turn has come.
fn gate() -> io::Result<()> {
    #[cfg(test)]
    {
        let left = CALLS_LEFT.get();
        if left == Some(0) {
            return Err(io::Error::other("power cut (test)"));
        }
        CALLS_LEFT.set(left.map(|n| n - 1));
    }
    Ok(())
}

pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    gate()?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

pub(crate) fn create_dirs(path: &Path) -> io::Result<()> {
    gate()?;
    std::fs::create_dir_all(path)
}

pub(crate) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    gate()?;
    io::Write::write_all(file, bytes)
}

pub(crate) fn sync(file: &File) -> io::Result<()> {
    gate()?;
    file.sync_data()
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    gate()?;
    File::open(path)?.sync_all()
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    gate()?;
    std::fs::remove_file(path)
}

/// Gives a finished file its name, over whatever has it.
pub(crate) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    gate()?;
    std::fs::rename(from, to)
}

/// Gives a finished file its name, never over an existing one: a file of that name has the same
/// content, for it is named by its hash.
pub(crate) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    gate()?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => std::fs::remove_file(from),
        // File systems without the flag: the name is a hash, so replacing changes nothing.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(from, to),
        Err(e) => Err(e.into()),
    }
}
