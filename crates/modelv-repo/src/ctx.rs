//! What long work needs from its caller: where to show progress, and when to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

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
