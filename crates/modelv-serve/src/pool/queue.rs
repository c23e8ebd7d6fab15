//! Requests that wait for a worker, with a bound, and the batches that are made of them.
//!
//! While one worker waits for company of a request, the others leave what comes to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Answer;
use crate::config::ServeOptions;

/// Most bytes of bodies that are asked together. One body alone may have more.
pub(super) const BATCH_BYTES_MAX: usize = 64 << 20;

pub(super) struct Job {
    pub(super) body: Bytes,
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) queued: Instant,
    pub(super) deadline: Instant,
    /// Asked together with no other: it may be what ended a batch.
    pub(super) alone: bool,
}

/// What waits, and who waits for it.
pub(super) struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    /// For workers that have nothing.
    bell: Notify,
    /// For the worker that waits for more.
    company: Notify,
    is_filling: AtomicBool,
    closed: AtomicBool,
    idle: AtomicUsize,
    /// Most requests of a batch.
    batch: usize,
    wait: Duration,
}

impl Queue {
    pub(super) fn new(options: &ServeOptions, batch: usize) -> Self {
        Self {
            jobs: Mutex::new(VecDeque::new()),
            bell: Notify::new(),
            company: Notify::new(),
            is_filling: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
            batch,
            wait: options.batch_wait,
        }
    }

    /// Adds a job, unless so many wait already.
    pub(super) fn push(&self, job: Job, most: usize) -> bool {
        let mut jobs = self.lock();
        // Who has gone holds no place, and no memory for longer than until the next one comes.
        jobs.retain(|job| !job.reply.is_closed());
        if jobs.len() >= most {
            return false;
        }
        jobs.push_back(job);
        drop(jobs);
        self.ring();
        true
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever is to take what waits.
    fn ring(&self) {
        if self.is_filling.load(Ordering::Relaxed) {
            self.company.notify_one();
        } else {
            self.bell.notify_one();
        }
    }

    /// What is to be asked next; `None` at the end. Nothing is lost where it is dropped before.
    pub(super) async fn next(&self) -> Option<Vec<Job>> {
        loop {
            let bell = self.bell.notified();
            if let Some(first) = self.take_first() {
                let mut filling = Filling {
                    queue: self,
                    batch: vec![first],
                    waits: false,
                };
                self.fill(&mut filling).await;
                return Some(std::mem::take(&mut filling.batch));
            }
            if self.is_closed() {
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
    async fn fill(&self, filling: &mut Filling<'_>) {
        if self.batch == 1 || filling.batch[0].alone {
            return;
        }
        let share = |waiting: usize| waiting.div_ceil(self.idle.load(Ordering::Relaxed) + 1);
        let waiting = share(self.lock().len());
        let mut has_room = self.take(&mut filling.batch, waiting.min(self.batch - 1));
        // From when it came: whoever waited for a worker has waited enough.
        let until = filling.batch[0].queued + self.wait;
        if self.wait.is_zero() || self.is_filling.swap(true, Ordering::Relaxed) {
            return;
        }
        filling.waits = true;
        while has_room && filling.batch.len() < self.batch {
            let rung = tokio::time::timeout_at(until, self.company.notified()).await;
            let most = self.batch - filling.batch.len();
            has_room = self.take(&mut filling.batch, most);
            if rung.is_err() {
                return;
            }
        }
    }

    /// The first job that somebody waits for.
    fn take_first(&self) -> Option<Job> {
        if self.is_filling.load(Ordering::Relaxed) {
            return None;
        }
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
    pub(super) fn again(&self, batch: Vec<Job>, alone: bool) {
        let mut jobs = self.lock();
        for mut job in batch.into_iter().rev() {
            job.alone |= alone;
            jobs.push_front(job);
        }
        drop(jobs);
        self.ring();
    }
}

/// A batch that no worker has seen yet: its jobs go back if the worker that was to get it ends first.
struct Filling<'a> {
    queue: &'a Queue,
    batch: Vec<Job>,
    /// Whether it waits for company, and others leave it what comes.
    waits: bool,
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.queue.is_filling.store(false, Ordering::Relaxed);
        }
        if !self.batch.is_empty() {
            self.queue.again(std::mem::take(&mut self.batch), false);
        } else if !self.queue.lock().is_empty() {
            self.queue.bell.notify_one();
        }
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
