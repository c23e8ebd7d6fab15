//! Walking the working tree: what is there, and what is left out.
//!
//! `.gitignore` and `.mvignore` are honoured, links are not followed, and no file is read here but
//! those two. Directories are walked on all cores, a large one in pieces; names are looked up
//! relative to their open directory, which costs the kernel half of what a whole path does.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use modelv_core::path::RepoPath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::ignores::{self, Ignores};
use super::ingredient::Rules;
use super::snapshot::place;
use super::statcache::Stamp;
use super::write::TEMP_PREFIX;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::external;
use crate::repo::DIR_NAME;

/// Something in the working tree that can't be versioned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why it is left out.
    pub reason: &'static str,
}

/// Files of one directory, or of a part of a large one, sorted by name.
pub(super) struct Group {
    /// The directory; `None` is the root.
    pub(super) dir: Option<RepoPath>,
    pub(super) files: Vec<(CString, Stamp)>,
}

/// What a walk saw. Groups are sorted by directory, those of one directory by name.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) groups: Vec<Group>,
    pub(super) skipped: Vec<Skipped>,
}

/// Files of one directory that one thread looks up before another may go on with the rest.
const PIECE_NAMES: usize = 2048;

/// A unit of work for one thread.
enum Job {
    /// A directory to open and list.
    List {
        dir: Option<RepoPath>,
        ignores: Arc<Ignores>,
    },
    /// Names to look up in an open directory.
    Look {
        dir: Option<RepoPath>,
        fd: Arc<OwnedFd>,
        names: Vec<CString>,
    },
}

/// Walks the tree below `root` on all cores.
pub(super) fn scan(root: &Path, ctx: &Ctx<'_>) -> Result<Scan> {
    let threads = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(8);
    let walk = Walk {
        root,
        ctx,
        rules: OnceLock::new(),
        state: Mutex::new(State {
            jobs: vec![Job::List {
                dir: None,
                ignores: Arc::new(Ignores::default()),
            }],
            ..State::default()
        }),
        change: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| walk.work());
        }
        walk.work();
    });
    let state = walk
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(e) = state.failed {
        return Err(e);
    }
    let mut scan = state.scan;
    scan.groups.sort_unstable_by(|a, b| {
        let [x, y] = [a, b].map(|g| g.files.first().map(|f| &f.0));
        a.dir.cmp(&b.dir).then_with(|| x.cmp(&y))
    });
    scan.skipped.sort();
    Ok(scan)
}

struct Walk<'a> {
    root: &'a Path,
    ctx: &'a Ctx<'a>,
    /// Read when a name is left out by default; rules that can't be read name nothing.
    rules: OnceLock<Option<Rules>>,
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Threads that are at a job, which may bring more.
    busy: usize,
    failed: Option<Error>,
    scan: Scan,
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes jobs until there are none and no thread can bring one.
    fn work(&self) {
        let mut mine = Scan::default();
        while let Some(job) = self.next_job() {
            let done = self.ctx.cancel.check().and_then(|()| match job {
                Job::List { dir, ignores } => self.list(dir, &ignores, &mut mine),
                Job::Look { dir, fd, names } => self.look(dir, &fd, names, &mut mine),
            });
            let mut state = self.lock();
            state.busy -= 1;
            if let Err(e) = done {
                state.failed.get_or_insert(e);
                state.jobs.clear();
            }
            drop(state);
            self.change.notify_all();
        }
        let mut state = self.lock();
        state.scan.groups.append(&mut mine.groups);
        state.scan.skipped.append(&mut mine.skipped);
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .change
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            self.lock().jobs.extend(jobs);
            self.change.notify_all();
        }
    }

    fn full_path(&self, dir: Option<&RepoPath>) -> PathBuf {
        dir.map_or_else(|| self.root.to_owned(), |d| place(self.root, d))
    }

    /// Lists one directory: its files become names to look up, its directories new jobs.
    fn list(&self, dir: Option<RepoPath>, above: &Arc<Ignores>, out: &mut Scan) -> Result<()> {
        let full = self.full_path(dir.as_ref());
        let fail = |e: Errno| Error::io("read", &full)(e.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = if dir.is_none() {
            // The root itself may be reached through a link.
            flags - OFlags::NOFOLLOW
        } else {
            flags
        };
        let fd = match rustix::fs::open(&full, flags, Mode::empty()) {
            Ok(fd) => fd,
            // Removed, or replaced, since the directory above was read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if dir.is_some() => return Ok(()),
            Err(e) => return Err(fail(e)),
        };
        let listing = Listing::read(&fd).map_err(fail)?;
        if dir.is_some() {
            if listing.special.contains(b"pyvenv.cfg".as_slice()) {
                // A virtual environment is captured as a list of packages.
                return Ok(());
            }
            let nested = listing.special.contains(DIR_NAME.as_bytes());
            if nested && full.join(DIR_NAME).join("oplog").exists() {
                out.skipped.push(Skipped {
                    path: dir.map(|d| d.to_string()).unwrap_or_default(),
                    reason: "another repository",
                });
                return Ok(());
            }
        }
        let ignores = above.with_files_of(dir.as_ref(), &full, &listing.special)?;
        self.split(dir, fd, listing, &ignores, out)
    }

    fn is_left_out(
        &self,
        ignores: &Ignores,
        dir: Option<&RepoPath>,
        name: &CStr,
        is_dir: bool,
    ) -> bool {
        let name = name.to_bytes();
        let rules = || self.rules.get_or_init(|| Rules::load(self.root).ok());
        ignores.is_ignored(dir, name, is_dir)
            || ignores::is_by_default(name)
                && !ignores.takes(dir, name, is_dir, || rules().as_ref())
    }

    /// Leaves out what is ignored; hands directories and all but the first piece of files on.
    fn split(
        &self,
        dir: Option<RepoPath>,
        fd: OwnedFd,
        listing: Listing,
        ignores: &Arc<Ignores>,
        out: &mut Scan,
    ) -> Result<()> {
        let mut jobs = Vec::new();
        for name in listing.dirs {
            if self.is_left_out(ignores, dir.as_ref(), &name, true) {
                continue;
            }
            jobs.push(Job::List {
                dir: Some(RepoPath::below(dir.as_ref(), name.to_bytes())?),
                ignores: ignores.clone(),
            });
        }
        let mut names = listing.files;
        names.retain(|n| !self.is_left_out(ignores, dir.as_ref(), n, false));
        names.sort_unstable();
        self.leave_out_external(dir.as_ref(), &mut names);
        let fd = Arc::new(fd);
        while names.len() > PIECE_NAMES {
            let rest = names.split_off(names.len() - PIECE_NAMES);
            jobs.push(Job::Look {
                dir: dir.clone(),
                fd: fd.clone(),
                names: rest,
            });
        }
        self.push(jobs);
        self.look(dir, &fd, names, out)
    }

    /// Takes out of sorted names what lies beside a description of external data: commits hold that.
    fn leave_out_external(&self, dir: Option<&RepoPath>, names: &mut Vec<CString>) {
        let is_described = |name: &CString| -> Option<CString> {
            let base = name.to_bytes().strip_suffix(external::SUFFIX)?;
            let base = CString::new(base).ok().filter(|b| !b.is_empty())?;
            let path = self.full_path(dir).join(os_name(name));
            external::is_description(&path).then_some(base)
        };
        let described: HashSet<CString> = names.iter().filter_map(is_described).collect();
        if !described.is_empty() {
            names.retain(|name| !described.contains(name));
        }
    }

    fn look(
        &self,
        dir: Option<RepoPath>,
        fd: &OwnedFd,
        names: Vec<CString>,
        out: &mut Scan,
    ) -> Result<()> {
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let stat = match rustix::fs::statat(fd.as_fd(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed since the directory was read.
                Err(Errno::NOENT) => continue,
                Err(e) => {
                    let path = self.full_path(dir.as_ref()).join(os_name(&name));
                    return Err(Error::io("read", path)(e.into()));
                }
            };
            let reason = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if name.to_bytes().starts_with(TEMP_PREFIX) => {
                    "left by a command that was killed while it wrote; delete it"
                }
                FileType::RegularFile | FileType::Symlink => {
                    files.push((name, Stamp::of_stat(&stat)));
                    continue;
                }
                FileType::Socket => "a socket",
                FileType::Fifo => "a named pipe",
                FileType::BlockDevice | FileType::CharacterDevice => "a device",
                // A directory that was a file a moment ago: the next look finds it.
                FileType::Directory | FileType::Unknown => continue,
            };
            let path = RepoPath::below(dir.as_ref(), name.to_bytes())?;
            out.skipped.push(Skipped {
                path: path.to_string(),
                reason,
            });
        }
        if !files.is_empty() {
            out.groups.push(Group { dir, files });
        }
        Ok(())
    }
}

fn os_name(name: &CStr) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(name.to_bytes())
}

/// The names in one directory that are wanted, and those that say something about it.
#[derive(Default)]
struct Listing {
    files: Vec<CString>,
    dirs: Vec<CString>,
    special: HashSet<Vec<u8>>,
}

impl Listing {
    fn read(fd: &OwnedFd) -> Result<Self, Errno> {
        let mut out = Self::default();
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            if bytes == b"pyvenv.cfg" || bytes == DIR_NAME.as_bytes() || Ignores::is_source(bytes) {
                out.special.insert(bytes.to_vec());
            }
            if ignores::is_never(bytes) {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => {
                    match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(Errno::NOENT) => continue,
                        Err(e) => return Err(e),
                    }
                }
                known => known,
            };
            match kind {
                FileType::Directory => out.dirs.push(name.to_owned()),
                _ => out.files.push(name.to_owned()),
            }
        }
        Ok(out)
    }
}
