//! The workers of one commit: a task for each that takes batches from the queue, kills what takes
//! too long and starts it again.
//!
//! Must never let one request cost another: a batch that fails is asked again one by one.

mod queue;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::ServeError;
use crate::config::ServeOptions;
use crate::frame::Part;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::process::{About, raised};
use crate::worker::{Worker, Workshop};
use queue::{Job, Queue};

/// Longest pause before a worker that keeps dying is started again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The result, as JSON text.
    Result(Bytes),
    /// `predict` raised; the message and the traceback.
    Raised(String, String),
    /// The function does not take this body.
    Unfit(String),
    /// Results that come one by one.
    Stream(mpsc::Receiver<Result<Bytes, String>>),
    /// The worker died with it.
    Died,
    /// It took too long.
    Timeout,
    /// Other results take all memory that there is for them.
    NoRoom,
}

/// What is said of a result for which there is none left.
pub(crate) const NO_ROOM: &str =
    "the results of other requests take all memory that there is for them";
/// What is said of a result that is larger than any may be.
const TOO_LARGE: &str = "the result has more bytes than all results may have";

struct Shared {
    queue: Queue,
    /// A worker that has loaded all and waits for another to die.
    spare: Mutex<Option<Worker>>,
    workshop: Workshop,
    ready: AtomicUsize,
    /// Rung when a worker went or came.
    bell: Arc<Notify>,
    options: ServeOptions,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
}

/// All workers of a commit. They end when it is dropped, after what was asked before.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Pool {
    /// Starts the workers, all at a time; the first failure to load the user's function is the error.
    pub(crate) async fn start(
        options: &ServeOptions,
        metrics: &Arc<Metrics>,
        log: &Arc<Log>,
    ) -> Result<(Self, About), ServeError> {
        let count = options.workers.max(1);
        let workshop = Workshop::open(options).await?;
        let spares = usize::from(options.spare && workshop.has_spares());
        let starts = (0..count + spares).map(|_| workshop.start(options, log));
        let started = futures_util::future::join_all(starts).await;
        let mut started: Vec<(Worker, About)> = started.into_iter().collect::<Result<_, _>>()?;
        let about = started.first().map(|(_, a)| a.clone()).unwrap_or_default();
        let batch = if about.stream {
            1
        } else {
            options.batch.max(1)
        };
        let spare = started.split_off(count).pop().map(|(process, _)| process);
        let shared = Arc::new(Shared {
            queue: Queue::new(options, batch),
            spare: Mutex::new(spare),
            workshop,
            ready: AtomicUsize::new(count),
            bell: Arc::new(Notify::new()),
            options: options.clone(),
            metrics: metrics.clone(),
            log: log.clone(),
        });
        for (process, _) in started {
            tokio::spawn(keep(shared.clone(), process));
        }
        Ok((Self { shared }, about))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed) > 0
    }

    /// Returns when a worker has gone or come since this was called.
    pub(crate) fn changed(&self) -> OwnedNotified {
        self.shared.bell.clone().notified_owned()
    }

    /// Hands a request over; `None` when too many wait.
    pub(crate) fn submit(&self, body: impl Into<Bytes>) -> Option<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        let limits = self.shared.options.limits;
        let job = Job {
            body: body.into(),
            reply,
            queued: now,
            deadline: now + limits.predict,
            alone: false,
        };
        self.shared.queue.push(job, limits.queue).then_some(answer)
    }
}

/// Works until there is nothing more to do, with one process after the other.
async fn keep(shared: Arc<Shared>, first: Worker) {
    let mut process = first;
    loop {
        let batch = tokio::select! {
            batch = shared.queue.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
            () = process.gone() => Vec::new(),
        };
        if !batch.is_empty() && work(&shared, &mut process, batch).await {
            continue;
        }
        shared.ready.fetch_sub(1, Ordering::Relaxed);
        shared.bell.notify_waiters();
        let (id, status) = (process.id(), process.status());
        let fields = serde_json::json!({"process": id, "status": status});
        shared
            .log
            .line_of(&shared.options.commit, "error", "worker_died", fields);
        let Some(next) = restart(&shared).await else {
            return;
        };
        process = next;
        shared.metrics.restarted(&shared.options.commit);
        shared.ready.fetch_add(1, Ordering::Relaxed);
        shared.bell.notify_waiters();
    }
}

impl Shared {
    fn spare(&self) -> MutexGuard<'_, Option<Worker>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next process: the spare one, if it lives, or a new one.
async fn restart(shared: &Arc<Shared>) -> Option<Worker> {
    let spare = shared.spare().take();
    if shared.options.spare && shared.workshop.has_spares() {
        let shared = shared.clone();
        tokio::spawn(async move {
            let next = start(&shared).await;
            *shared.spare() = next;
        });
    }
    match spare {
        Some(spare) if spare.gone().now_or_never().is_none() => Some(spare),
        _ => start(shared).await,
    }
}

async fn start(shared: &Shared) -> Option<Worker> {
    let mut pause = Duration::from_millis(50);
    loop {
        if shared.queue.is_closed() {
            return None;
        }
        let next = shared.workshop.start(&shared.options, &shared.log);
        match next.await {
            Ok((process, _)) => return Some(process),
            Err(e) => {
                let fields = serde_json::json!({"error": e.to_string()});
                shared
                    .log
                    .line_of(&shared.options.commit, "error", "worker_failed", fields);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Asks one batch; whether the process still lives.
async fn work(shared: &Arc<Shared>, process: &mut Worker, batch: Vec<Job>) -> bool {
    let start = Instant::now();
    let deadline = batch.iter().map(|j| j.deadline).max().unwrap_or(start);
    for job in &batch {
        shared
            .metrics
            .waited(&shared.options.commit, start - job.queued);
    }
    let bodies: Vec<&[u8]> = batch.iter().map(|j| j.body.as_ref()).collect();
    let asked = tokio::time::timeout_at(deadline, process.ask(&bodies)).await;
    let parts = match asked {
        Ok(Ok(parts)) if batch.len() > 1 && matches!(parts[..], [Part::NoRoom { .. }]) => {
            shared.queue.again(batch, true);
            return true;
        }
        Ok(Ok(parts)) if parts.len() == batch.len() => parts,
        Err(_) => {
            for job in batch {
                let _ = job.reply.send(Answer::Timeout);
            }
            return false;
        }
        Ok(_) if batch.len() > 1 => {
            // One of them may have been the end of it.
            shared.queue.again(batch, true);
            return false;
        }
        Ok(_) => {
            for job in batch {
                let _ = job.reply.send(Answer::Died);
            }
            return false;
        }
    };
    shared
        .metrics
        .batch(&shared.options.commit, batch.len(), start.elapsed());
    for (job, part) in batch.into_iter().zip(parts) {
        let answer = match part {
            Part::Result(text) => Answer::Result(text),
            Part::Raised(text) => {
                let (message, trace) = raised(&text);
                Answer::Raised(message, trace)
            }
            Part::Unfit(text) => Answer::Unfit(raised(&text).0),
            Part::Stream => return stream(shared, process, job.reply).await,
            Part::NoRoom { ever: true } => Answer::NoRoom,
            Part::NoRoom { ever: false } => Answer::Raised(TOO_LARGE.into(), String::new()),
            Part::End => Answer::Died,
        };
        let _ = job.reply.send(answer);
    }
    true
}

/// Passes results on as they come, until the client has gone; whether the process still lives.
async fn stream(shared: &Shared, process: &mut Worker, reply: oneshot::Sender<Answer>) -> bool {
    let (send, receive) = mpsc::channel(1);
    let limit = shared.options.limits.predict;
    if reply.send(Answer::Stream(receive)).is_err() {
        return stop(process, limit).await;
    }
    loop {
        let Ok(Ok(room)) = tokio::time::timeout(limit, send.reserve()).await else {
            // The client has gone, or takes nothing: others wait for this worker.
            return stop(process, limit).await;
        };
        match tokio::time::timeout(limit, process.go_on()).await {
            Ok(Ok(Part::Result(text))) => room.send(Ok(text)),
            Ok(Ok(Part::End)) => return true,
            Ok(Ok(Part::Raised(text) | Part::Unfit(text))) => {
                room.send(Err(raised(&text).0));
                return true;
            }
            Ok(Ok(Part::NoRoom { ever })) => {
                // It may have been the last one: then the worker waits for a request by now.
                room.send(Err(if ever { NO_ROOM } else { TOO_LARGE }.into()));
                return false;
            }
            Ok(_) => {
                room.send(Err(
                    "the worker ended while it worked on this request".into()
                ));
                return false;
            }
            Err(_) => {
                room.send(Err("the next result took too long".into()));
                return false;
            }
        }
    }
}

/// Ends a stream early; whether the process can take the next request.
async fn stop(process: &mut Worker, limit: Duration) -> bool {
    let stopped = tokio::time::timeout(limit, process.stop()).await;
    matches!(stopped, Ok(Ok(())))
}

#[cfg(test)]
pub(crate) mod tests;
