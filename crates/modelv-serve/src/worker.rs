//! Worker processes: one thread each starts Python, hands it requests and starts it again when it
//! dies.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use crate::ServeError;
use crate::config::ServeOptions;
use crate::log::Log;
use crate::metrics::Metrics;

const SCRIPT: &str = include_str!("worker.py");
/// Largest answer of a worker, in bytes.
const ANSWER_BYTES_MAX: u32 = 256 << 20;
/// Longest pause before a worker that keeps dying is started again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The result, as JSON text.
    Result(Vec<u8>),
    /// `predict` raised; the message and the traceback.
    Raised(String, String),
    /// The worker died with it.
    Died,
}

struct Job {
    body: Vec<u8>,
    reply: oneshot::Sender<Answer>,
    /// The process that works on it, for whoever has to end it.
    process: Arc<Slot>,
}

/// The process that works on a request.
#[derive(Default)]
pub(crate) struct Slot {
    child: Mutex<Option<Arc<Mutex<Child>>>>,
}

impl Slot {
    /// Ends the process, if it still works on the request.
    pub(crate) fn kill(&self) {
        if let Some(child) = lock(&self.child).take() {
            let _ = lock(&child).kill();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process of a worker, while there is one.
type SharedChild = Arc<Mutex<Option<Arc<Mutex<Child>>>>>;

/// All workers of a server.
pub(crate) struct Pool {
    jobs: Sender<Job>,
    ready: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    children: Vec<SharedChild>,
}

impl Pool {
    /// Starts the workers; the first failure to load the user's function is the error.
    pub(crate) fn start(
        options: &ServeOptions,
        metrics: &Arc<Metrics>,
        log: &Arc<Log>,
    ) -> Result<Self, ServeError> {
        let (jobs, queue) = crossbeam_channel::bounded(options.limits.queue);
        let (ready, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut children = Vec::new();
        for _ in 0..options.workers.max(1) {
            let first = Process::start(options, log)?;
            let shared = Arc::new(Mutex::new(Some(first.child.clone())));
            children.push(shared.clone());
            ready.fetch_add(1, Ordering::Relaxed);
            let keeper = Keeper {
                options: options.clone(),
                queue: queue.clone(),
                ready: ready.clone(),
                stop: stop.clone(),
                shared,
                metrics: metrics.clone(),
                log: log.clone(),
            };
            std::thread::spawn(move || keeper.keep(first));
        }
        Ok(Self {
            jobs,
            ready,
            stop,
            children,
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) > 0
    }

    /// Hands a request over; `None` when too many wait.
    pub(crate) fn submit(&self, body: Vec<u8>) -> Option<(oneshot::Receiver<Answer>, Arc<Slot>)> {
        let (reply, answer) = oneshot::channel();
        let process = Arc::new(Slot::default());
        match self.jobs.try_send(Job {
            body,
            reply,
            process: process.clone(),
        }) {
            Ok(()) => Some((answer, process)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }

    /// Ends all workers.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for shared in &self.children {
            if let Some(child) = lock(shared).take() {
                let mut child = lock(&child);
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

struct Keeper {
    options: ServeOptions,
    queue: Receiver<Job>,
    ready: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    shared: SharedChild,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
}

impl Keeper {
    fn keep(self, first: Process) {
        let mut process = first;
        while !self.stop.load(Ordering::Relaxed) {
            if self.work(&mut process) {
                return;
            }
            self.ready.fetch_sub(1, Ordering::Relaxed);
            let code = lock(&process.child).wait().ok().map(|s| s.to_string());
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.log
                .line("error", "worker_died", serde_json::json!({"status": code}));
            let mut pause = Duration::from_millis(50);
            process = loop {
                match Process::start(&self.options, &self.log) {
                    Ok(process) => break process,
                    Err(e) => self.log.line(
                        "error",
                        "worker_failed",
                        serde_json::json!({"error": e.to_string()}),
                    ),
                }
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::park_timeout(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            };
            *lock(&self.shared) = Some(process.child.clone());
            self.metrics.restarted();
            self.ready.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Works until the process dies (`false`) or nobody can ask any more (`true`).
    fn work(&self, process: &mut Process) -> bool {
        for job in &self.queue {
            // Whoever asked has given up waiting.
            if job.reply.is_closed() {
                continue;
            }
            *lock(&job.process.child) = Some(process.child.clone());
            let answer = process.ask(&job.body);
            let _ = lock(&job.process.child).take();
            let died = answer.is_none();
            let _ = job.reply.send(answer.unwrap_or(Answer::Died));
            if died {
                return false;
            }
        }
        true
    }
}

/// One Python process.
struct Process {
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(options: &ServeOptions, log: &Arc<Log>) -> Result<Self, ServeError> {
        let entry = |detail: String| ServeError::Entry {
            entry: options.entry.clone(),
            detail,
        };
        let settings = serde_json::json!({
            "app_dir": options.app_dir, "site_dirs": options.site_dirs, "entry": options.entry,
        });
        let mut child = Command::new(&options.python)
            .args(["-u", "-B", "-c", SCRIPT])
            .env("MODELV_WORKER", settings.to_string())
            .env("MODELV_COMMIT", &options.commit)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| entry(format!("{}: {e}", options.python.display())))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(entry("the worker has no pipes".into()));
        };
        let log = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line);
                log.line("info", "worker_output", serde_json::json!({"text": text}));
            }
        });
        let mut process = Self {
            child: Arc::new(Mutex::new(child)),
            input,
            output: BufReader::new(output),
        };
        match process.receive() {
            Some(Answer::Result(_)) => Ok(process),
            Some(Answer::Raised(message, _)) => {
                let _ = lock(&process.child).wait();
                Err(entry(message))
            }
            _ => {
                let status = lock(&process.child).wait().map(|s| s.to_string());
                Err(entry(format!(
                    "Python ended early: {}",
                    status.unwrap_or_default()
                )))
            }
        }
    }

    fn ask(&mut self, body: &[u8]) -> Option<Answer> {
        let len = u32::try_from(body.len()).ok()?;
        self.input.write_all(&len.to_le_bytes()).ok()?;
        self.input.write_all(body).ok()?;
        self.input.flush().ok()?;
        self.receive()
    }

    fn receive(&mut self) -> Option<Answer> {
        let mut head = [0; 4];
        self.output.read_exact(&mut head).ok()?;
        let len = u32::from_le_bytes(head);
        if len == 0 || len > ANSWER_BYTES_MAX {
            return None;
        }
        let mut body = vec![0; len as usize];
        self.output.read_exact(&mut body).ok()?;
        let text = body.split_off(1);
        if body == b"k" {
            return Some(Answer::Result(text));
        }
        let error: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let word = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        Some(Answer::Raised(word("message"), word("trace")))
    }
}
