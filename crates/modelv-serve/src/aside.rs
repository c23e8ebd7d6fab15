//! What is done with large bodies: on another thread, so that no other request waits for it, and one at a
//! time, since what is taken apart takes a multiple of its bytes.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::predict::{Failure, failure};

/// Bytes from which on something is large.
pub(crate) const LARGE_BYTES: usize = 64 << 10;

/// The place for large bodies.
pub(crate) struct Aside {
    turn: Arc<Semaphore>,
    /// Longest wait for it.
    patience: Duration,
}

impl Aside {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            patience,
        }
    }

    /// Does something with so many bytes. Whatever they take is to be owned by `work`: who asked may go away
    /// before it ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if bytes < LARGE_BYTES {
            return work();
        }
        let turn = self.turn.clone().acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(self.patience, turn).await else {
            let text = "too many large requests wait to be read";
            return Err(failure(StatusCode::TOO_MANY_REQUESTS, "overloaded", text));
        };
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await
            .unwrap_or_else(|_| Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "")))
    }

    /// Lets nobody have a turn.
    #[cfg(test)]
    pub(crate) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        self.turn.clone().acquire_owned().await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::run;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn others_go_on_while_something_large_is_read() {
        run(async {
            let aside = Aside::new(LONG);
            let (say, hear) = mpsc::channel();
            let large = aside.run(LARGE_BYTES, move || {
                Ok::<bool, Failure>(hear.recv_timeout(LONG).is_ok())
            });
            let other = async { say.send(()).unwrap() };
            let (heard, ()) = futures_util::join!(large, other);
            assert!(heard.unwrap());
        });
    }

    #[test]
    fn one_that_was_given_up_keeps_its_turn_until_it_ends() {
        run(async {
            let aside = Aside::new(LONG);
            let ended = Arc::new(AtomicBool::new(false));
            let (begun, begins) = tokio::sync::oneshot::channel();
            let (end, ends) = mpsc::channel::<()>();
            let flag = ended.clone();
            let first = aside.run(LARGE_BYTES, move || {
                let _ = begun.send(());
                let _ = ends.recv();
                flag.store(true, Ordering::SeqCst);
                Ok::<(), Failure>(())
            });
            tokio::select! {
                _ = first => panic!("it can't have ended"),
                begun = begins => begun.unwrap(),
            }
            let impatient = Aside {
                turn: aside.turn.clone(),
                patience: Duration::from_millis(1),
            };
            let said = impatient.run(LARGE_BYTES, || Ok(())).await.unwrap_err();
            assert_eq!((said.code.as_u16(), said.kind), (429, "overloaded"));
            let second = aside.run(LARGE_BYTES, move || Ok(ended.load(Ordering::SeqCst)));
            drop(end);
            assert!(second.await.unwrap(), "both at a time");
        });
    }
}

#[cfg(test)]
#[path = "aside_tests.rs"]
mod requests;
