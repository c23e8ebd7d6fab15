//! The folder of an environment while it is made: a marker inside says that it is not whole yet, and a lock
//! of the kernel on the marker that somebody is at work. Programs that fill the folder inherit the lock: the next
//! one ends those that a killed process has left, and clears away what they made; a folder without a marker is
//! never touched.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use modelv_store::fs;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::run::holders_of;

/// Name of the marker. Who makes the folder is in it, for people.
const MARKER: &str = ".modelv-unfinished";
/// How often one that waits looks again.
const LOOK: Duration = Duration::from_millis(50);
/// So often is what ends tried to be cleared away, before the next one has to.
const TRIES: usize = 40;

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
    /// It holds something else, somebody is making it, it was cancelled, or it can't be written.
    pub(super) fn begin(path: &Path, ctx: &Ctx<'_>) -> Result<Self> {
        let taken = || Error::Exists {
            what: "folder",
            name: path.display().to_string(),
        };
        let marker = path.join(MARKER);
        let occupied = std::fs::read_dir(path).is_ok_and(|mut d| d.next().is_some());
        if occupied {
            let _left = take_over(path, ctx)?.ok_or_else(taken)?;
            clear(path).map_err(Error::io("remove", path))?;
        } else if path.is_file() {
            return Err(taken());
        }
        fs::create_dirs(path).map_err(Error::io("create", path))?;
        let file = File::create_new(&marker).map_err(Error::io("create", &marker))?;
        file.try_lock()
            .map_err(|e| Error::io("lock", &marker)(e.into()))?;
        fs::write_all_at(&file, std::process::id().to_string().as_bytes(), 0)
            .map_err(Error::io("write", &marker))?;
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())
            .map_err(|e| Error::io("open", &marker)(e.into()))?;
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
            // It was empty or missing before; half an environment helps nobody. What was killed may write for
            // another moment.
            for _ in 0..TRIES {
                if clear(&self.path).is_ok() {
                    return;
                }
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// The lock of a folder whose maker is gone; `None`: it is somebody else's. Programs that it has left at work are
/// ended: nobody waits for what they make.
fn take_over(path: &Path, ctx: &Ctx<'_>) -> Result<Option<File>> {
    let name = path.join(MARKER);
    loop {
        let Ok(marker) = File::open(&name) else {
            return Ok(None);
        };
        if marker.try_lock().is_ok() {
            // Another one may have cleared the folder and begun anew meanwhile.
            match is_there(&marker, &name) {
                true => return Ok(Some(marker)),
                false => continue,
            }
        }
        let maker = std::fs::read_to_string(&name).ok();
        let maker = maker.and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        if maker.is_none_or(|pid| test_kill_process(pid).is_ok()) {
            let text = format!("`{}` is being made by another process", path.display());
            return Err(Error::State(text));
        }
        ctx.cancel.check()?;
        for pid in holders_of(&name).into_iter().filter_map(Pid::from_raw) {
            // It may have ended by itself a moment ago.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether an open file is the one of that name.
fn is_there(file: &File, name: &Path) -> bool {
    let (open, named) = (file.metadata(), std::fs::metadata(name));
    let id = |m: std::fs::Metadata| (m.dev(), m.ino());
    open.ok().map(id) == named.ok().map(id)
}

/// Removes the folder, the marker last: what can't be removed is still known for what it is.
fn clear(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    match std::fs::remove_file(path.join(MARKER)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn begin(path: &Path) -> Result<Making> {
        Making::begin(path, &Ctx::quiet())
    }

    #[test]
    fn a_folder_is_whole_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/env");
        let making = begin(&path).unwrap();
        std::fs::write(path.join("half"), "x").unwrap();
        let said = begin(&path).unwrap_err().to_string();
        assert!(said.contains("is being made by another process"), "{said}");
        drop(making);
        assert!(!path.exists());
        begin(&path).unwrap().finish().unwrap();
        assert!(std::fs::read_dir(&path).unwrap().next().is_none());
        // A killed process drops nothing, and its lock is gone.
        std::fs::write(path.join(MARKER), "").unwrap();
        std::fs::write(path.join("half"), "x").unwrap();
        let making = begin(&path).unwrap();
        assert!(!path.join("half").exists());
        making.finish().unwrap();
    }

    /// As a process leaves it that was killed while a program of its own writes.
    #[test]
    fn what_a_killed_process_left_at_work_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::create_dir(&path).unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let marker = path.join(MARKER);
        std::fs::write(&marker, gone.id().to_string()).unwrap();
        let file = File::open(&marker).unwrap();
        file.lock().unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        let script = "while :; do mkdir -p a; echo >> a/late; done";
        let mut program = Command::new("sh");
        program.args(["-c", script]).current_dir(&path);
        let mut program = program.stdin(Stdio::null()).spawn().unwrap();
        drop(file);
        while !path.join("a/late").exists() {
            std::thread::yield_now();
        }
        let making = begin(&path).unwrap();
        assert!(!path.join("a").exists());
        assert!(!program.wait().unwrap().success());
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
            let said = begin(path).unwrap_err();
            assert!(matches!(said, Error::Exists { .. }), "{said}");
        }
        assert!(full.join("mine").exists() && file.exists());
    }
}
