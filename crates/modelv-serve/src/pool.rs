//! The workers of one commit: a queue with a bound, and a task for each process that takes batches from
//! it, kills what takes too long and starts it again.
//!
//! Must never let one request cost another: a batch that fails is asked again one by one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::ServeError;
use crate::config::ServeOptions;
use crate::frame::Part;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::process::{About, Process, raised};

/// Longest pause before a worker that keeps dying is started again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Most bytes of bodies that are asked together. One body alone may have more.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The result, as JSON text.
    Result(Vec<u8>),
    /// `predict` raised; the message and the traceback.
    Raised(String, String),
    /// The function does not take this body.
    Unfit(String),
    /// Results that come one by one.
    Stream(mpsc::Receiver<Result<Vec<u8>, String>>),
    /// The worker died with it.
    Died,
    /// It took too long.
    Timeout,
}

struct Job {
    body: Vec<u8>,
    reply: oneshot::Sender<Answer>,
    queued: Instant,
    deadline: Instant,
    /// Asked together with no other: it may be what ended a batch.
    alone: bool,
}

struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    bell: Notify,
    closed: AtomicBool,
    ready: AtomicUsize,
    idle: AtomicUsize,
    options: ServeOptions,
    batch: usize,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
}

/// All workers of a commit. They end when it is dropped, after what was asked before.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.bell.notify_waiters();
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
        let starts = (0..count).map(|_| Process::start(options, log));
        let started = futures_util::future::join_all(starts).await;
        let started: Vec<(Process, About)> = started.into_iter().collect::<Result<_, _>>()?;
        let about = started.first().map(|(_, a)| a.clone()).unwrap_or_default();
        let shared = Arc::new(Shared {
            jobs: Mutex::new(VecDeque::new()),
            bell: Notify::new(),
            closed: AtomicBool::new(false),
            ready: AtomicUsize::new(count),
            idle: AtomicUsize::new(0),
            options: options.clone(),
            batch: if about.stream {
                1
            } else {
                options.batch.max(1)
            },
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

    /// Hands a request over; `None` when too many wait.
    pub(crate) fn submit(&self, body: Vec<u8>) -> Option<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        let limits = self.shared.options.limits;
        let mut jobs = self.shared.lock();
        if jobs.len() >= limits.queue {
            return None;
        }
        jobs.push_back(Job {
            body,
            reply,
            queued: now,
            deadline: now + limits.predict,
            alone: false,
        });
        drop(jobs);
        self.shared.bell.notify_one();
        Some(answer)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be asked next; `None` at the end. Nothing is lost where it is dropped before.
    async fn next(&self) -> Option<Vec<Job>> {
        loop {
            let bell = self.bell.notified();
            if let Some(first) = self.take_first() {
                let mut filling = Filling {
                    shared: self,
                    batch: vec![first],
                };
                self.fill(&mut filling.batch).await;
                return Some(std::mem::take(&mut filling.batch));
            }
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            let _idle = OnDrop(|| {
                self.idle.fetch_sub(1, Ordering::Relaxed);
            });
            bell.await;
        }
    }

    /// Adds what waits already, as far as no idle worker would take it; and what comes in a moment.
    async fn fill(&self, batch: &mut Vec<Job>) {
        if self.batch == 1 || batch[0].alone {
            return;
        }
        let share = |waiting: usize| waiting.div_ceil(self.idle.load(Ordering::Relaxed) + 1);
        let waiting = share(self.lock().len());
        let mut has_room = self.take(batch, waiting.min(self.batch - 1));
        // One request alone goes at once: only where others came together is more to be expected.
        if self.options.batch_wait.is_zero() || batch.len() == 1 {
            return;
        }
        let until = Instant::now() + self.options.batch_wait;
        while has_room && batch.len() < self.batch {
            let rung = tokio::time::timeout_at(until, self.bell.notified()).await;
            has_room = self.take(batch, self.batch - batch.len());
            if rung.is_err() {
                return;
            }
        }
    }

    /// The first job that somebody waits for.
    fn take_first(&self) -> Option<Job> {
        let mut jobs = self.lock();
        let mut first = jobs.pop_front();
        while first.as_ref().is_some_and(|j| j.reply.is_closed()) {
            first = jobs.pop_front();
        }
        if !jobs.is_empty() {
            self.bell.notify_one();
        }
        first
    }

    /// Adds jobs to a batch, except for those that are to be asked alone and what would make it too large;
    /// whether there is room for more.
    fn take(&self, batch: &mut Vec<Job>, most: usize) -> bool {
        let mut jobs = self.lock();
        let mut bytes: usize = batch.iter().map(|j| j.body.len()).sum();
        let mut has_room = true;
        let end = batch.len() + most;
        while batch.len() < end {
            let Some(job) = jobs.pop_front() else {
                break;
            };
            if job.reply.is_closed() {
                continue;
            }
            bytes = bytes.saturating_add(job.body.len());
            if job.alone || bytes > BATCH_BYTES_MAX {
                jobs.push_front(job);
                has_room = false;
                break;
            }
            batch.push(job);
        }
        if !jobs.is_empty() {
            self.bell.notify_one();
        }
        has_room
    }

    /// Puts jobs in front again.
    fn again(&self, batch: Vec<Job>, alone: bool) {
        let mut jobs = self.lock();
        for mut job in batch.into_iter().rev() {
            job.alone |= alone;
            jobs.push_front(job);
        }
        drop(jobs);
        self.bell.notify_one();
    }
}

/// A batch that no worker has seen yet: its jobs go back if the worker that was to get it ends first.
struct Filling<'a> {
    shared: &'a Shared,
    batch: Vec<Job>,
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.shared.again(std::mem::take(&mut self.batch), false);
        }
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Works until there is nothing more to do, with one process after the other.
async fn keep(shared: Arc<Shared>, first: Process) {
    let mut process = first;
    loop {
        let batch = tokio::select! {
            batch = shared.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
            () = process.gone() => Vec::new(),
        };
        if !batch.is_empty() && work(&shared, &mut process, batch).await {
            continue;
        }
        shared.ready.fetch_sub(1, Ordering::Relaxed);
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
    }
}

async fn restart(shared: &Shared) -> Option<Process> {
    let mut pause = Duration::from_millis(50);
    loop {
        if shared.closed.load(Ordering::Acquire) {
            return None;
        }
        match Process::start(&shared.options, &shared.log).await {
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
async fn work(shared: &Arc<Shared>, process: &mut Process, batch: Vec<Job>) -> bool {
    let start = Instant::now();
    let deadline = batch.iter().map(|j| j.deadline).max().unwrap_or(start);
    for job in &batch {
        shared
            .metrics
            .waited(&shared.options.commit, start - job.queued);
    }
    let bodies: Vec<&[u8]> = batch.iter().map(|j| j.body.as_slice()).collect();
    let asked = tokio::time::timeout_at(deadline, process.ask(&bodies)).await;
    let parts = match asked {
        Ok(Ok(parts)) if parts.len() == batch.len() => parts,
        Err(_) => {
            for job in batch {
                let _ = job.reply.send(Answer::Timeout);
            }
            return false;
        }
        Ok(_) if batch.len() > 1 => {
            // One of them may have been the end of it.
            shared.again(batch, true);
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
            Part::End => Answer::Died,
        };
        let _ = job.reply.send(answer);
    }
    true
}

/// Passes results on as they come, until the client has gone; whether the process still lives.
async fn stream(shared: &Shared, process: &mut Process, reply: oneshot::Sender<Answer>) -> bool {
    let (send, receive) = mpsc::channel(1);
    let limit = shared.options.limits.predict;
    if reply.send(Answer::Stream(receive)).is_err() {
        return stop(process, limit).await;
    }
    loop {
        let Ok(room) = send.reserve().await else {
            // The client has gone.
            return stop(process, limit).await;
        };
        match tokio::time::timeout(limit, process.go_on()).await {
            Ok(Ok(Part::Result(text))) => room.send(Ok(text)),
            Ok(Ok(Part::End)) => return true,
            Ok(Ok(Part::Raised(text) | Part::Unfit(text))) => {
                room.send(Err(raised(&text).0));
                return true;
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
async fn stop(process: &mut Process, limit: Duration) -> bool {
    let stopped = tokio::time::timeout(limit, process.stop()).await;
    matches!(stopped, Ok(Ok(())))
}

#[cfg(test)]
pub(crate) mod tests;
