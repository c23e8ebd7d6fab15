//! Working on a repository without holding the interpreter back, and stopping at Ctrl-C.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use modelv_repo::ctx::Quiet;
use modelv_repo::{Cancel, Ctx, Error};
use pyo3::prelude::*;

use crate::error;

/// How often a signal is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Does `job` on another thread, without the interpreter's lock, and looks for signals meanwhile:
/// Python only notes a signal, so somebody has to ask. A handler that raises, as that of Ctrl-C
/// does, makes the job stop at its next file or object, and its exception is the result.
pub(crate) fn work<T: Send>(
    py: Python<'_>,
    job: impl FnOnce(&Ctx<'_>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let cancel = Cancel::new();
    let (result, raised) = py.detach(|| {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let cancel = &cancel;
            scope.spawn(move || {
                let ctx = Ctx {
                    progress: &Quiet,
                    cancel,
                };
                // The receiver waits for as long as there is a sender.
                let _ = sender.send(job(&ctx));
            });
            let mut raised: Option<PyErr> = None;
            loop {
                match receiver.recv_timeout(TICK) {
                    Ok(result) => return (result, raised),
                    Err(RecvTimeoutError::Timeout) if raised.is_none() => {
                        raised = Python::attach(signals).err();
                        if raised.is_some() {
                            cancel.cancel();
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    // The job panicked; so does the scope, now.
                    Err(RecvTimeoutError::Disconnected) => return (Err(Error::Cancelled), raised),
                }
            }
        })
    });
    match (result, raised) {
        (_, Some(raised)) => Err(raised),
        (Ok(value), None) => Ok(value),
        (Err(e), None) => Err(error::to_py(&e)),
    }
}

/// Lets Python act on the signals it has noted.
fn signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}
