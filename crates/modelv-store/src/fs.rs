//! The only place where a repository is changed on disk, for this crate and for those above it.
//!
//! A name is durable when its directory is synced, a file's content when the file is. Nothing here
//! syncs unless its name says so. In tests (feature `faults`) every call can be made to fail, to
//! kill the process, or to be recorded for a simulated power cut: see `faults`. Without the feature
//! each function is the system call and nothing else. Must never decide when something is durable.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

#[cfg(any(test, feature = "faults"))]
pub mod faults;

/// A call that changes the file system, as the test layer sees it.
#[derive(Debug)]
pub enum Call<'a> {
    /// A new, empty file; one that is there is emptied.
    Create(Cow<'a, Path>),
    /// Opens a file to write, making it if it is missing; it keeps its content.
    Open(&'a Path),
    /// A new directory.
    MakeDir(Cow<'a, Path>),
    /// Bytes at a position; `None`: where the file stands.
    Write(&'a File, Option<u64>, &'a [u8]),
    /// A new length.
    SetLen(&'a File, u64),
    /// The content of a file becomes durable.
    Sync(&'a File),
    /// The names in a directory become durable.
    SyncDir(&'a Path),
    /// A name goes.
    Remove(Cow<'a, Path>),
    /// A name moves, over what has the new one.
    Rename(Cow<'a, Path>, Cow<'a, Path>),
    /// Two names change places.
    Exchange(Cow<'a, Path>, Cow<'a, Path>),
    /// A new symbolic link and its target.
    Link(Cow<'a, Path>, &'a Path),
    /// Something that no crash state depends on, such as permissions.
    Other(&'a Path),
}

/// Carries a call out, unless a test has planned something else.
fn pass<'a, T>(
    call: impl FnOnce() -> Call<'a>,
    real: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    #[cfg(any(test, feature = "faults"))]
    return faults::pass(&call(), real);
    #[cfg(not(any(test, feature = "faults")))]
    {
        drop(call);
        real()
    }
}

/// The same for a write; a test may let it take fewer bytes.
fn pass_write(
    file: &File,
    at: Option<u64>,
    bytes: &[u8],
    real: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    #[cfg(any(test, feature = "faults"))]
    return faults::pass_write(file, at, bytes, real);
    #[cfg(not(any(test, feature = "faults")))]
    {
        let _ = (file, at);
        real(bytes)
    }
}

/// The path of a name in an open directory; only ever asked for by tests.
fn beside<'a>(dir: BorrowedFd<'_>, name: &[u8]) -> Cow<'a, Path> {
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let dir = std::fs::read_link(link).unwrap_or_default();
    Cow::Owned(dir.join(std::ffi::OsStr::from_bytes(name)))
}

/// Makes a file that must not be there yet, to read and write.
///
/// # Errors
/// The operating system refuses.
pub fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    pass(|| Call::Create(path.into()), || options.open(path))
}

/// Makes a file, or empties the one that is there.
///
/// # Errors
/// The operating system refuses.
pub fn create(path: &Path) -> io::Result<File> {
    pass(|| Call::Create(path.into()), || File::create(path))
}

/// Makes a file in an open directory that must not have it yet.
///
/// # Errors
/// The operating system refuses.
pub fn create_new_at(dir: BorrowedFd<'_>, name: &[u8], bits: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    pass(
        || Call::Create(beside(dir, name)),
        || {
            let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(bits))?;
            Ok(File::from(fd))
        },
    )
}

/// Opens a file to read and write that is there, or is made empty.
///
/// # Errors
/// The operating system refuses.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    pass(|| Call::Open(path), || options.open(path))
}

/// Opens a file that is there to read and write.
///
/// # Errors
/// The operating system refuses.
pub fn open_rw(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    pass(|| Call::Open(path), || options.open(path))
}

/// Opens a file to append to, making it if it is missing.
///
/// # Errors
/// The operating system refuses.
pub fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    pass(|| Call::Open(path), || options.open(path))
}

/// Makes a directory.
///
/// # Errors
/// The operating system refuses.
pub fn create_dir(path: &Path) -> io::Result<()> {
    pass(|| Call::MakeDir(path.into()), || std::fs::create_dir(path))
}

/// Makes a directory in an open one.
///
/// # Errors
/// The operating system refuses.
pub fn create_dir_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    pass(
        || Call::MakeDir(beside(dir, name)),
        || Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777))?),
    )
}

/// Directories that are missing on the way to `path`, itself included, from the top.
fn missing(path: &Path) -> Vec<&Path> {
    let mut out: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir())
        .collect();
    out.reverse();
    out
}

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// The operating system refuses.
pub fn create_dirs(path: &Path) -> io::Result<()> {
    for dir in missing(path) {
        match create_dir(dir) {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
    }
    Ok(())
}

/// The same, and every one that was made survives a power cut: its parent is synced.
///
/// # Errors
/// The operating system refuses.
pub fn create_dirs_synced(path: &Path) -> io::Result<()> {
    let new = missing(path);
    create_dirs(path)?;
    for dir in new {
        sync_parent(dir)?;
    }
    Ok(())
}

/// Writes all bytes where the file stands.
///
/// # Errors
/// The operating system refuses; a part may be written.
pub fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let file = &*file;
    write_whole(bytes, |_, rest| {
        pass_write(file, None, rest, |rest| io::Write::write(&mut &*file, rest))
    })
}

/// Writes all bytes at a position.
///
/// # Errors
/// The operating system refuses; a part may be written.
pub fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    write_whole(bytes, |done, rest| {
        let at = at + done as u64;
        pass_write(file, Some(at), rest, |rest| file.write_at(rest, at))
    })
}

fn write_whole(
    bytes: &[u8],
    mut write: impl FnMut(usize, &[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match write(done, &bytes[done..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Cuts a file off, or makes it longer with zeros.
///
/// # Errors
/// The operating system refuses.
pub fn set_len(file: &File, len: u64) -> io::Result<()> {
    pass(|| Call::SetLen(file, len), || file.set_len(len))
}

/// Makes the content of a file durable.
///
/// # Errors
/// The operating system refuses. What was written since the last sync may then be lost although
/// it can still be read: it must be written again, into a new file.
pub fn sync(file: &File) -> io::Result<()> {
    pass(
        || Call::Sync(file),
        || {
            #[cfg(any(test, feature = "faults"))]
            if faults::skips(file) {
                return Ok(());
            }
            file.sync_data()
        },
    )
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The operating system refuses.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    pass(
        || Call::SyncDir(path),
        || File::open(path).and_then(|dir| dir.sync_all()),
    )
}

/// Makes the name of a file or directory durable.
///
/// # Errors
/// The operating system refuses.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        None => Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
    }
}

/// Removes a file.
///
/// # Errors
/// The operating system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    pass(|| Call::Remove(path.into()), || std::fs::remove_file(path))
}

/// Removes a file from an open directory.
///
/// # Errors
/// The operating system refuses.
pub fn remove_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    pass(
        || Call::Remove(beside(dir, name)),
        || Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?),
    )
}

/// Removes an empty directory.
///
/// # Errors
/// The operating system refuses.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    pass(|| Call::Remove(path.into()), || std::fs::remove_dir(path))
}

/// The same in an open directory.
///
/// # Errors
/// The operating system refuses.
pub fn remove_dir_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    pass(
        || Call::Remove(beside(dir, name)),
        || Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?),
    )
}

/// Removes a directory and the files in it; it must hold no directories.
///
/// # Errors
/// The operating system refuses.
pub fn remove_flat_dir(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    remove_dir(path)
}

/// Gives a finished file its name, over whatever has it.
///
/// # Errors
/// The operating system refuses.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    pass(
        || Call::Rename(from.into(), to.into()),
        || std::fs::rename(from, to),
    )
}

/// The same in an open directory.
///
/// # Errors
/// The operating system refuses.
pub fn replace_at(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    pass(
        || Call::Rename(beside(dir, from), beside(dir, to)),
        || Ok(rustix::fs::renameat(dir, from, dir, to)?),
    )
}

/// The same, never over anything.
///
/// # Errors
/// The name is taken; or the operating system or file system refuses.
pub fn rename_new_at(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    let flags = RenameFlags::NOREPLACE;
    pass(
        || Call::Rename(beside(dir, from), beside(dir, to)),
        || Ok(rustix::fs::renameat_with(dir, from, dir, to, flags)?),
    )
}

/// Lets two names of an open directory change places.
///
/// # Errors
/// One is not there; or the operating system or file system refuses.
pub fn exchange_at(dir: BorrowedFd<'_>, a: &[u8], b: &[u8]) -> io::Result<()> {
    let flags = RenameFlags::EXCHANGE;
    pass(
        || Call::Exchange(beside(dir, a), beside(dir, b)),
        || Ok(rustix::fs::renameat_with(dir, a, dir, b, flags)?),
    )
}

/// Gives a finished file its name, never over an existing one: a file of that name has the same
/// content, for it is named by its hash.
///
/// # Errors
/// The operating system refuses.
pub fn publish(from: &Path, to: &Path) -> io::Result<()> {
    match rename_new(from, to) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => remove(from),
        other => other,
    }
}

/// Renames a file unless the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let renamed = pass(
        || Call::Rename(from.into(), to.into()),
        || {
            let flags = RenameFlags::NOREPLACE;
            Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
        },
    );
    match renamed {
        // File systems without the flag.
        Err(e) if matches!(e.raw_os_error(), Some(code) if lacks_flag(code)) => {
            if to.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            replace(from, to)
        }
        other => other,
    }
}

fn lacks_flag(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::NOSYS].contains(&Errno::from_raw_os_error(code))
}

/// Makes a symbolic link in an open directory.
///
/// # Errors
/// The operating system refuses.
pub fn link_at(dir: BorrowedFd<'_>, name: &[u8], target: &Path) -> io::Result<()> {
    pass(
        || Call::Link(beside(dir, name), target),
        || Ok(rustix::fs::symlinkat(target, dir, name)?),
    )
}

/// Changes the permissions of a file.
///
/// # Errors
/// The operating system refuses.
pub fn set_permissions(path: &Path, permissions: std::fs::Permissions) -> io::Result<()> {
    pass(
        || Call::Other(path),
        || std::fs::set_permissions(path, permissions),
    )
}

/// Writes a file under another name and renames it into place, so that no reader sees a part of
/// it. Nothing is synced: for what is derived, checks itself, and can be made again.
///
/// # Errors
/// The operating system refuses; the old file is still there.
pub fn write_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = temp_beside(path);
    let done = create(&temp)
        .and_then(|mut file| write_all(&mut file, bytes))
        .and_then(|()| replace(&temp, path));
    if done.is_err() {
        let _ = remove(&temp);
    }
    done
}

/// Makes a file with this content, which is durable under its name. It is there as a whole or not
/// at all.
///
/// # Errors
/// There is a file of that name, or the operating system refuses.
pub fn write_new_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = temp_beside(path);
    let done = create(&temp)
        .and_then(|mut file| write_all(&mut file, bytes).and_then(|()| sync(&file)))
        .and_then(|()| rename_new(&temp, path));
    if done.is_err() {
        let _ = remove(&temp);
    }
    done.and_then(|()| sync_parent(path))
}

/// A name beside `path` that no other thread or process uses.
fn temp_beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp-{}-{count}", std::process::id()));
    path.with_file_name(name)
}
