//! What Ctrl-C does: the first asks work to stop, the second ends the process. While a pager or an editor has the
//! terminal, it is theirs, and does neither.
//!
//! No thread waits for the signal, as a command that is done in a moment would pay for it: handlers set flags. A
//! command with programs of its own has such a thread, which ends them before the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use modelv_repo::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{SigId, flag, low_level};

/// Signals that come together are one: `timeout` sends one to the process and one to its group.
const TOGETHER: Duration = Duration::from_millis(250);

/// Set by the first Ctrl-C; long work stops at the next file or object.
static CANCEL: LazyLock<Cancel> = LazyLock::new(Cancel::new);
/// The next Ctrl-C ends the process.
static LAST: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// The handler that sets [`LAST`]; taken away while the terminal is lent.
static ARMING: Mutex<Option<SigId>> = Mutex::new(None);
/// Whether the terminal is lent.
static LENT: AtomicBool = AtomicBool::new(false);

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
    static WATCHING: Once = Once::new();
    watch();
    WATCHING.call_once(|| {
        let _ = flag::register(SIGTERM, CANCEL.termination_flag());
        let _ = flag::register(SIGTERM, CANCEL.flag());
        // Where there can be no such thread, the second signal ends the process alone.
        let Ok(signals) = Signals::new([SIGINT, SIGTERM]) else {
            return;
        };
        disarm();
        std::thread::spawn(move || end_at_the_second(signals));
    });
}

/// Ends this process and all that it has started once it is asked for the second time.
fn end_at_the_second(mut signals: Signals) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        if LENT.load(Ordering::Relaxed) {
            continue;
        }
        match first {
            None => first = Some(Instant::now()),
            Some(first) if first.elapsed() < TOGETHER => {}
            Some(_) => {
                CANCEL.end_programs();
                let _ = low_level::emulate_default_handler(signal);
            }
        }
    }
}

/// From here on no handler ends the process by itself. Gives whether one would have.
fn disarm() -> bool {
    let id = arming().take();
    LAST.store(false, Ordering::Relaxed);
    id.map(low_level::unregister).is_some()
}

/// The terminal belongs to another program until this is dropped.
pub(crate) struct Lent {
    cancelled_before: bool,
    was_armed: bool,
}

/// Gives the terminal to a program that we wait for: Ctrl-C means something of its own there.
pub(crate) fn lend() -> Lent {
    watch();
    LENT.store(true, Ordering::Relaxed);
    Lent {
        was_armed: disarm(),
        cancelled_before: CANCEL.is_cancelled(),
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        CANCEL
            .flag()
            .store(self.cancelled_before, Ordering::Relaxed);
        if self.was_armed {
            *arming() = flag::register(SIGINT, Arc::clone(&LAST)).ok();
        }
        LENT.store(false, Ordering::Relaxed);
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
