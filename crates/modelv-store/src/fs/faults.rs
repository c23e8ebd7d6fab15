//! What tests do to the calls of [`crate::fs`]: count them, fail the Nth, kill the process at the
//! Nth, or record all of them for a simulated power cut ([`disk`]).
//!
//! A plan covers the folder it was made for, in every thread of the process, so that code under
//! test needs no hand-over. A child process under test takes its plan from the environment
//! ([`KILL_VARIABLE`]). Exists only in builds for tests: with the feature `faults`.

pub mod disk;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::Call;
use disk::Disk;

/// `N`: the process kills itself in place of its Nth change; `N+half`: a write is done by half
/// first.
pub const KILL_VARIABLE: &str = "MODELV_TEST_KILL_AT";

/// Files whose path ends so are not synced by this process: the negative control of a test that
/// really cuts the power.
pub const SKIP_VARIABLE: &str = "MODELV_TEST_SKIP_SYNC";

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (`EIO`).
    Io,
    /// No room (`ENOSPC`).
    NoSpace,
    /// Over quota (`EDQUOT`).
    Quota,
    /// A signal came (`EINTR`); where a call is not repeated after that, an error.
    Interrupted,
    /// The file system went read-only (`EROFS`).
    ReadOnly,
    /// A write takes half of the bytes, and that is no error.
    ShortWrite,
    /// A write takes half of the bytes, and there is no room for the rest.
    Torn,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Io,
        Self::NoSpace,
        Self::Quota,
        Self::Interrupted,
        Self::ReadOnly,
        Self::ShortWrite,
        Self::Torn,
    ];

    fn error(self) -> Option<io::Error> {
        use rustix::io::Errno;
        let errno = match self {
            Self::Io => Errno::IO,
            Self::NoSpace | Self::Torn => Errno::NOSPC,
            Self::Quota => Errno::DQUOT,
            Self::Interrupted => Errno::INTR,
            Self::ReadOnly => Errno::ROFS,
            Self::ShortWrite => return None,
        };
        Some(errno.into())
    }
}

/// What is to happen.
#[derive(Debug)]
enum Rule {
    Count,
    Fail { first: u64, last: u64, how: Fault },
    Kill { at: u64, half: bool },
    Record(Box<Mutex<Disk>>),
}

/// What is to happen to the calls below a folder.
#[derive(Debug)]
pub struct Plan {
    root: PathBuf,
    calls: AtomicU64,
    rule: Rule,
}

static PLANS: RwLock<Vec<Arc<Plan>>> = RwLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Keeps a plan in force until it is dropped.
#[derive(Debug)]
pub struct Watch(Arc<Plan>);

impl Drop for Watch {
    fn drop(&mut self) {
        let mut plans = PLANS.write().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|p| !Arc::ptr_eq(p, &self.0));
        COUNT.store(plans.len(), Ordering::SeqCst);
    }
}

impl Watch {
    fn new(root: &Path, rule: Rule) -> Self {
        let plan = Arc::new(Plan {
            root: root.canonicalize().unwrap_or_else(|_| root.to_owned()),
            calls: AtomicU64::new(0),
            rule,
        });
        let mut plans = PLANS.write().unwrap_or_else(PoisonError::into_inner);
        plans.push(Arc::clone(&plan));
        COUNT.store(plans.len(), Ordering::SeqCst);
        Self(plan)
    }

    /// Counts the calls below a folder.
    #[must_use]
    pub fn count(root: &Path) -> Self {
        Self::new(root, Rule::Count)
    }

    /// Fails the call with this number, counted from 0.
    #[must_use]
    pub fn fail_once(root: &Path, call: u64, how: Fault) -> Self {
        let (first, last) = (call, call);
        Self::new(root, Rule::Fail { first, last, how })
    }

    /// Fails that call and every later one.
    #[must_use]
    pub fn fail_from(root: &Path, call: u64, how: Fault) -> Self {
        let (first, last) = (call, u64::MAX);
        Self::new(root, Rule::Fail { first, last, how })
    }

    /// Records every call. What is in the folder now counts as durable.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn record(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let disk = Disk::of(&root)?;
        Ok(Self::new(&root, Rule::Record(Box::new(Mutex::new(disk)))))
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Whether the call that was to fail has come.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.0.rule, Rule::Fail { first, .. } if self.calls() > first)
    }

    /// Adds something to a recording; `None` for other plans.
    pub fn recorded<T>(&self, with: impl FnOnce(&mut Disk) -> T) -> Option<T> {
        match &self.0.rule {
            Rule::Record(disk) => Some(with(&mut lock(disk))),
            _ => None,
        }
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan of this process, if it was started with one.
fn own() -> Option<&'static Arc<Plan>> {
    static OWN: OnceLock<Option<Arc<Plan>>> = OnceLock::new();
    OWN.get_or_init(|| {
        let text = std::env::var(KILL_VARIABLE).ok()?;
        let (number, half) = match text.strip_suffix("+half") {
            Some(number) => (number, true),
            None => (text.as_str(), false),
        };
        Some(Arc::new(Plan {
            root: PathBuf::from("/"),
            calls: AtomicU64::new(0),
            rule: Rule::Kill {
                at: number.parse().ok()?,
                half,
            },
        }))
    })
    .as_ref()
}

/// Whether the sync of a file is left out.
pub(super) fn skips(file: &File) -> bool {
    static SKIP: OnceLock<Option<String>> = OnceLock::new();
    let skip = SKIP.get_or_init(|| std::env::var(SKIP_VARIABLE).ok());
    skip.as_ref()
        .is_some_and(|end| path_of(file).to_string_lossy().ends_with(end))
}

/// Where an open file is now.
fn path_of(file: &File) -> PathBuf {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(link).unwrap_or_default()
}

fn plan_of(call: &Call<'_>) -> Option<Arc<Plan>> {
    if let Some(own) = own() {
        return Some(Arc::clone(own));
    }
    if COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let path = match call {
        Call::Create(p) | Call::MakeDir(p) | Call::Remove(p) | Call::Link(p, _) => p.to_path_buf(),
        Call::Rename(_, p) | Call::Exchange(_, p) => p.to_path_buf(),
        Call::Open(p) | Call::SyncDir(p) | Call::Other(p) => p.to_path_buf(),
        Call::Write(file, ..) | Call::SetLen(file, _) | Call::Sync(file) => path_of(file),
    };
    let path = std::path::absolute(path).ok()?;
    let plans = PLANS.read().unwrap_or_else(PoisonError::into_inner);
    plans.iter().find(|p| path.starts_with(&p.root)).cloned()
}

/// What a call is to do.
enum Turn {
    Go,
    Fail(io::Error),
    /// Only for writes.
    Half(Option<io::Error>),
    Die {
        half: bool,
    },
}

impl Plan {
    fn turn(&self, call: &Call<'_>) -> Turn {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let is_write = matches!(call, Call::Write(..));
        match self.rule {
            Rule::Fail { first, last, how } if (first..=last).contains(&number) => {
                match (how, is_write, how.error()) {
                    (Fault::ShortWrite, true, _) => Turn::Half(None),
                    (Fault::Torn, true, error) => Turn::Half(error),
                    (_, _, Some(error)) => Turn::Fail(error),
                    (_, _, None) => Turn::Go,
                }
            }
            Rule::Kill { at, half } if at == number => Turn::Die {
                half: half && is_write,
            },
            _ => Turn::Go,
        }
    }

    fn record<T>(
        &self,
        call: &Call<'_>,
        real: impl FnOnce() -> io::Result<T>,
        wrote: impl FnOnce(&T) -> usize,
    ) -> io::Result<T> {
        let Rule::Record(disk) = &self.rule else {
            return real();
        };
        // Held over the call: the record has the order in which things happened.
        let mut disk = lock(disk);
        let path = match call {
            Call::Write(file, ..) | Call::SetLen(file, _) | Call::Sync(file) => path_of(file),
            _ => PathBuf::new(),
        };
        let done = real()?;
        disk.note(call, &path, wrote(&done));
        Ok(done)
    }
}

fn die() -> ! {
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    // The signal is not late; this is for the compiler.
    std::process::abort()
}

pub(super) fn pass<T>(call: &Call<'_>, real: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(plan) = plan_of(call) else {
        return real();
    };
    match plan.turn(call) {
        Turn::Fail(e) => Err(e),
        Turn::Die { .. } => die(),
        Turn::Go | Turn::Half(_) => plan.record(call, real, |_| 0),
    }
}

pub(super) fn pass_write(
    file: &File,
    at: Option<u64>,
    bytes: &[u8],
    real: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let call = Call::Write(file, at, bytes);
    let Some(plan) = plan_of(&call) else {
        return real(bytes);
    };
    let half = &bytes[..bytes.len().div_ceil(2)];
    match plan.turn(&call) {
        Turn::Fail(e) => Err(e),
        Turn::Half(None) => real(half),
        Turn::Half(Some(e)) => real(half).and(Err(e)),
        Turn::Die { half: false } => die(),
        Turn::Die { half: true } => {
            let _ = real(half);
            die()
        }
        Turn::Go => plan.record(&call, || real(bytes), |n| *n),
    }
}
