//! What long work needs from its caller: where to show progress, and when to stop.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustix::process::{Pid, Signal};

use crate::error::{Error, Result};

/// Shows how far work has come. Called from several threads.
pub trait Progress: Sync {
    /// Work starts: its name, and its size in bytes or items where known.
    fn start(&self, task: &str, unit: Unit, total: Option<u64>);
    /// So much more is done.
    fn advance(&self, amount: u64);
    /// The work that was started last has ended.
    fn finish(&self);
    /// Something people should know, that stops nothing.
    fn note(&self, _text: &str) {}
}

/// What amounts of progress count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files, objects, steps.
    Items,
}

/// Shows nothing.
#[derive(Debug)]
pub struct Quiet;

impl Progress for Quiet {
    fn start(&self, _: &str, _: Unit, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
}

/// A flag that asks work to stop; set by a signal.
#[derive(Debug, Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    programs: Mutex<Programs>,
}

/// Process groups that were started and not waited for yet.
#[derive(Debug, Default)]
struct Programs {
    groups: BTreeSet<i32>,
    /// Nothing may be started any more.
    is_over: bool,
}

/// A program in a process group of its own, until it was waited for.
#[derive(Debug)]
pub(crate) struct Started<'a> {
    pub(crate) child: Child,
    cancel: &'a Cancel,
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let mut programs = self.cancel.programs();
        programs.groups.remove(&self.child.id().cast_signed());
    }
}

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The flag itself, for who sets it from a signal handler, where little else is allowed.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// The flag that says that the wish came as a request to terminate, which is passed on as such; set
    /// before the other.
    #[must_use]
    pub fn termination_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.terminate)
    }

    /// Whether it is a request to terminate, which reached this process alone.
    pub fn is_termination(&self) -> bool {
        self.terminate.load(Ordering::Relaxed)
    }

    /// Starts a program that is in a process group of its own, so that [`Cancel::end_programs`] reaches it.
    pub(crate) fn start(&self, command: &mut Command) -> std::io::Result<Started<'_>> {
        let mut programs = self.programs();
        if programs.is_over {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        programs.groups.insert(child.id().cast_signed());
        Ok(Started {
            child,
            cancel: self,
        })
    }

    /// Ends every program that runs in a process group of its own, with all that it has started, at once. For a
    /// process that is about to end without waiting for them; none starts after this.
    pub fn end_programs(&self) {
        let mut programs = self.programs();
        programs.is_over = true;
        for group in programs.groups.iter().filter_map(|id| Pid::from_raw(*id)) {
            // It may have ended by itself a moment ago.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    fn programs(&self) -> std::sync::MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Stops here if asked to. Called once per file or object.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// Progress and cancellation, handed to everything that can take long.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// Where to show progress.
    pub progress: &'a dyn Progress,
    /// When to stop.
    pub cancel: &'a Cancel,
}

static NEVER: LazyLock<Cancel> = LazyLock::new(Cancel::new);

impl Ctx<'static> {
    /// Shows nothing and never stops.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            progress: &Quiet,
            cancel: &NEVER,
        }
    }
}

impl std::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ctx")
    }
}
