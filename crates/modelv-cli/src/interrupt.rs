//! What Ctrl-C does: the first asks work to stop, the second ends the process. While a pager or an editor has the
//! terminal, it is theirs, and does neither.
//!
//! No thread waits for the signal, as a command that is done in a moment would pay for it: handlers set flags.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once, PoisonError};

use modelv_repo::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

/// Set by the first Ctrl-C; long work stops at the next file or object.
static CANCEL: LazyLock<Cancel> = LazyLock::new(Cancel::new);
/// The next Ctrl-C ends the process.
static LAST: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// The handler that sets [`LAST`]; taken away while the terminal is lent.
static ARMING: Mutex<Option<SigId>> = Mutex::new(None);

/// What work asks whether to go on.
pub(crate) fn cancel() -> &'static Cancel {
    &CANCEL
}

/// From here on Ctrl-C asks work to stop. Called by whatever looks at the flag.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // In the order in which they run: what the first sets is for the second signal. Where the
        // kernel refuses a handler, Ctrl-C just ends the process.
        let _ = flag::register_conditional_default(SIGINT, Arc::clone(&LAST));
        let _ = flag::register(SIGINT, CANCEL.flag());
        *arming() = flag::register(SIGINT, Arc::clone(&LAST)).ok();
    });
}

/// From here on a request to terminate, as schedulers and service managers send it, is as Ctrl-C: a command that
/// has processes of its own must not leave them behind.
pub(crate) fn watch_termination() {
    watch();
    let _ = flag::register_conditional_default(SIGTERM, Arc::clone(&LAST));
    let _ = flag::register(SIGTERM, CANCEL.termination_flag());
    let _ = flag::register(SIGTERM, CANCEL.flag());
    let _ = flag::register(SIGTERM, Arc::clone(&LAST));
}

/// The terminal belongs to another program until this is dropped.
pub(crate) struct Lent {
    cancelled_before: bool,
}

/// Gives the terminal to a program that we wait for: Ctrl-C means something of its own there.
pub(crate) fn lend() -> Lent {
    watch();
    if let Some(id) = arming().take() {
        low_level::unregister(id);
    }
    LAST.store(false, Ordering::Relaxed);
    Lent {
        cancelled_before: CANCEL.is_cancelled(),
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        CANCEL
            .flag()
            .store(self.cancelled_before, Ordering::Relaxed);
        *arming() = flag::register(SIGINT, Arc::clone(&LAST)).ok();
    }
}

fn arming() -> MutexGuard<'static, Option<SigId>> {
    ARMING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the handlers are the process's.
    #[test]
    fn the_first_asks_and_a_lent_terminal_does_nothing() {
        watch();
        assert!(!cancel().is_cancelled());
        let lent = lend();
        for _ in 0..3 {
            low_level::raise(SIGINT).unwrap();
        }
        assert!(!LAST.load(Ordering::Relaxed));
        drop(lent);
        assert!(
            !cancel().is_cancelled(),
            "what an editor was told is not for us"
        );
        low_level::raise(SIGINT).unwrap();
        assert!(cancel().is_cancelled());
        assert!(
            LAST.load(Ordering::Relaxed),
            "the next one would end the process"
        );
        LAST.store(false, Ordering::Relaxed);
        CANCEL.flag().store(false, Ordering::Relaxed);
    }
}
