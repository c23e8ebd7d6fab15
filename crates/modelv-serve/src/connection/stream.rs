//! Streams of a connection of HTTP/2, each of which ends when its client takes nothing more of its answer, whatever
//! the others do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;

tokio::task_local! {
    /// The clock of the stream whose task this is.
    static CLOCK: Arc<Clock>;
}

/// Since when an answer waits for its client.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<Instant>>);

impl Clock {
    /// The one of this task; one that nobody looks at where the task is no stream's.
    pub(super) fn of_stream() -> Arc<Self> {
        CLOCK.try_with(Arc::clone).unwrap_or_default()
    }

    /// What there is was handed over: what follows is asked for when the client has taken some of it.
    pub(super) fn waits_for_client(&self) {
        self.set(Some(Instant::now()));
    }

    /// More was asked for, and is not there yet.
    pub(super) fn waits_for_server(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Returns when the client has let it wait for so long.
    async fn stops(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let due = since.unwrap_or(now) + limit;
            if due <= now {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// Works on streams, each in a task of its own.
#[derive(Clone)]
pub(super) struct Streams {
    idle: Duration,
}

impl Streams {
    /// Each may stand still for so long.
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (idle, clock) = (self.idle, Arc::new(Clock::default()));
        let own = clock.clone();
        tokio::spawn(CLOCK.scope(own, async move {
            // Dropped, it is reset, and its answer is gone.
            tokio::select! {
                () = stream => {}
                () = clock.stops(idle) => {}
            }
        }));
    }
}
