//! Files of a commit as a read-only file system (FUSE), without checking them out: directories are
//! read from their trees when they are opened, and chunks are decoded when their bytes are read.
//!
//! Speaks to the kernel itself: `/dev/fuse`, and for users other than root `fusermount3`; libfuse is
//! not needed. Must never give out a byte that was not checked, and never write.

mod files;
mod nodes;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Config, MountOption, Session, SessionUnmounter};
use modelv_repo::Repo;
use modelv_repo::core::id::CommitId;
use modelv_store::ChunkCache;
use rustix::mount::UnmountFlags;

use files::Commit;
use nodes::Nodes;

/// Decoded bytes that a mount keeps unless told otherwise.
pub const CACHE_BYTES: u64 = 64 << 20;

/// Why a commit is not mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel offers no FUSE here.
    #[error("this machine has no /dev/fuse")]
    NoDevice,
    /// Only root may mount by itself.
    #[error("mounting needs root, or the program `fusermount3`, which is not on the PATH")]
    NoHelper,
    /// The folder can't be mounted on.
    #[error("`{}` can't be mounted on: {reason}", .dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// The kernel or `fusermount3` refused.
    #[error("cannot {op} `{}`", .dir.display())]
    Io {
        /// Verb.
        op: &'static str,
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The commit can't be read.
    #[error(transparent)]
    Repo(#[from] modelv_repo::Error),
}

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Told what readers of a mount get as an I/O error: the path, and why.
pub type OnError = Box<dyn Fn(&str) + Send + Sync>;

/// A commit that is mounted. Unmounted when it is dropped.
pub struct Mount {
    session: Session<Commit>,
    cache: Arc<ChunkCache>,
    dir: PathBuf,
}

/// Ends a mount from another thread.
pub struct Stopper {
    unmounter: SessionUnmounter,
    dir: PathBuf,
}

/// How a mount was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It is gone.
    Now,
    /// Somebody is in it: it is gone from its place, and ends when the last one has left.
    WhenLeft,
}

/// Mounts a commit on an empty folder.
///
/// # Errors
/// There is no FUSE, the folder is not empty, or the commit is missing.
pub fn mount(
    repo: Arc<Repo>,
    id: CommitId,
    dir: &Path,
    cache_bytes: u64,
    on_error: OnError,
) -> Result<Mount> {
    check_folder(dir)?;
    check_fuse(Path::new("/dev/fuse"), std::env::var_os("PATH"))?;
    let commit = repo.commit_object(id)?;
    let time = time_of(commit.time.seconds);
    let cache = Arc::new(ChunkCache::new(cache_bytes));
    let nodes = Nodes::new(repo, &commit)?;
    let files = Commit::new(nodes, Arc::clone(&cache), time, on_error);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
        MountOption::FSName(format!("modelv:{}", id.short())),
        MountOption::Subtype("modelv".into()),
    ];
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    config.n_threads = Some(threads.clamp(2, 8));
    let session = Session::new(files, dir, &config).map_err(|source| Error::Io {
        op: "mount on",
        dir: dir.to_owned(),
        source,
    })?;
    Ok(Mount {
        session,
        cache,
        dir: dir.to_owned(),
    })
}

fn check_folder(dir: &Path) -> Result<()> {
    let refuse = |reason: &str| Error::Folder {
        dir: dir.to_owned(),
        reason: reason.to_owned(),
    };
    match std::fs::read_dir(dir).map(|mut inside| inside.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(refuse("it is not empty")),
        // Left by a process that was killed.
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) => {
            Err(refuse("a mount lies on it whose process has ended"))
        }
        Err(source) => Err(Error::Io {
            op: "read",
            dir: dir.to_owned(),
            source,
        }),
    }
}

fn check_fuse(device: &Path, path: Option<std::ffi::OsString>) -> Result<()> {
    if !device.exists() {
        return Err(Error::NoDevice);
    }
    let path = path.unwrap_or_default();
    let has_helper = || {
        std::env::split_paths(&path).any(|dir| {
            ["fusermount3", "fusermount"]
                .iter()
                .any(|n| dir.join(n).exists())
        })
    };
    if !rustix::process::geteuid().is_root() && !has_helper() {
        return Err(Error::NoHelper);
    }
    Ok(())
}

fn time_of(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

impl Mount {
    /// What ends the mount while [`Mount::run`] serves it.
    pub fn stopper(&mut self) -> Stopper {
        Stopper {
            unmounter: self.session.unmount_callable(),
            dir: self.dir.clone(),
        }
    }

    /// The chunks that are kept, and how many were decoded.
    #[must_use]
    pub fn cache(&self) -> Arc<ChunkCache> {
        Arc::clone(&self.cache)
    }

    /// Answers the kernel until the mount is ended, by [`Stopper::stop`] or by `umount`.
    ///
    /// # Errors
    /// The connection to the kernel broke.
    pub fn run(self) -> Result<()> {
        self.session.run().map_err(|source| Error::Io {
            op: "serve",
            dir: self.dir,
            source,
        })
    }
}

impl Stopper {
    /// Unmounts. Somebody who is in it can finish.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(mut self) -> Result<Stopped> {
        let Err(first) = self.unmounter.unmount() else {
            return Ok(Stopped::Now);
        };
        match rustix::mount::unmount(&self.dir, UnmountFlags::DETACH) {
            Ok(()) => Ok(Stopped::WhenLeft),
            Err(_) => Err(Error::Io {
                op: "unmount",
                dir: self.dir,
                source: first,
            }),
        }
    }
}
