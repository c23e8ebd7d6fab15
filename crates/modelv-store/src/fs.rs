//! The only place where the store changes the file system, so that a test can make any one of
//! these calls fail.
//!
//! A name is durable when its directory is synced; [`publish`] does both.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Decides whether calls succeed. Shared by a thread and those that work for it, so that after a
/// power cut every one of them stands still.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    /// How many more calls succeed before every call fails.
    #[cfg(test)]
    left: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
}

#[cfg(test)]
thread_local! {
    static GATE: std::cell::RefCell<Gate> = std::cell::RefCell::default();
}

/// The gate of this thread.
pub(crate) fn gate() -> Gate {
    #[cfg(test)]
    return GATE.with_borrow(Clone::clone);
    #[cfg(not(test))]
    Gate::default()
}

/// Puts this thread under a gate.
pub(crate) fn enter(gate: Gate) {
    #[cfg(test)]
    GATE.set(gate);
    #[cfg(not(test))]
    let _ = gate;
}

/// Lets so many calls of this thread and its helpers succeed; all, when `None`.
#[cfg(test)]
pub(crate) fn cut_power_after(calls: Option<i64>) {
    let left = calls.map(|n| std::sync::Arc::new(n.into()));
    GATE.set(Gate { left });
}

/// Counts a mutation; in tests, fails it when its turn has come.
fn pass() -> io::Result<()> {
    #[cfg(test)]
    if let Some(left) = gate().left
        && left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0
    {
        return Err(io::Error::other("power cut (test)"));
    }
    Ok(())
}

pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    pass()?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

pub(crate) fn create_dirs(path: &Path) -> io::Result<()> {
    pass()?;
    std::fs::create_dir_all(path)
}

pub(crate) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    pass()?;
    io::Write::write_all(file, bytes)
}

pub(crate) fn sync(file: &File) -> io::Result<()> {
    pass()?;
    file.sync_data()
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    pass()?;
    File::open(path)?.sync_all()
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    pass()?;
    std::fs::remove_file(path)
}

/// Gives a finished file its name, over whatever has it.
pub(crate) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    pass()?;
    std::fs::rename(from, to)
}

/// Gives a finished file its name, never over an existing one: a file of that name has the same
/// content, for it is named by its hash.
pub(crate) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    pass()?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => std::fs::remove_file(from),
        // File systems without the flag: the name is a hash, so replacing changes nothing.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(from, to),
        Err(e) => Err(e.into()),
    }
}
