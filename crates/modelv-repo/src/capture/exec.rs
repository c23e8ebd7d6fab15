//! Executing a command: its output live to the caller and into a log, its end as a record.

use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modelv_core::commit::Time;
use modelv_store::fs;
use rustix::process::{Pid, Signal};

use super::clock;
use crate::ctx::{Cancel, Started};
use crate::error::{Error, Result};

/// How an execution went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// Exit status; 128 and the number of the signal that ended it, as shells say; `None`: it was
    /// cancelled.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it started.
    pub started: Time,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What is to be executed.
#[derive(Debug)]
pub struct Job<'a> {
    /// Program and arguments.
    pub command: &'a [OsString],
    /// Where.
    pub cwd: &'a Path,
    /// Variables beside those of this process.
    pub env: &'a [(OsString, OsString)],
    /// Where what it prints is kept.
    pub log: &'a Path,
    /// Whether it gets a process group of its own, which a cancellation ends as a whole. Otherwise it
    /// stays in the terminal's group, and Ctrl-C reaches it by itself.
    pub own_group: bool,
    /// How long it has from the wish to end to its end.
    pub grace: Duration,
}

/// How often a job of its own group is asked whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// From the wish to end to the end, for one of many programs.
pub const GRACE: Duration = Duration::from_secs(5);
/// The same for a training that may have to save its state; schedulers wait half a minute before they kill.
pub const LONG_GRACE: Duration = Duration::from_secs(20);

/// Runs a command. Both its streams go to `echo` and into the log as they come. A cancellation counts
/// as its end.
///
/// # Errors
/// The program can't be started, or the log can't be written.
pub fn execute(job: &Job<'_>, echo: &mut dyn Write, cancel: &Cancel) -> Result<Execution> {
    let log = job.log;
    let mut log_file = fs::create(log).map_err(Error::io("create", log))?;
    let (mut reader, writer) = std::io::pipe().map_err(Error::io("open", log))?;
    let started = clock::now();
    let clock = Instant::now();
    let mut child = spawn(job, writer, cancel)?;
    let done = (Mutex::new(false), Condvar::new());
    let pid = i32::try_from(child.process().id())
        .ok()
        .and_then(Pid::from_raw);
    let status = std::thread::scope(|scope| {
        scope.spawn(|| end_when_cancelled(pid, job, &done, cancel));
        let copied = copy(&mut reader, &mut log_file, echo, log);
        let status = child
            .process()
            .wait()
            .map_err(Error::io("wait for", job.cwd));
        *done.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        done.1.notify_all();
        copied.and(status)
    })?;
    let interrupted = cancel.is_cancelled();
    Ok(Execution {
        exit_code: status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .filter(|_| !interrupted),
        signal: status.signal(),
        started,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// A program that runs, in the terminal's group or in one of its own.
enum Running<'a> {
    Beside(Child),
    Apart(Started<'a>),
}

impl Running<'_> {
    fn process(&mut self) -> &mut Child {
        match self {
            Self::Beside(child) => child,
            Self::Apart(started) => &mut started.child,
        }
    }
}

fn spawn<'a>(job: &Job<'_>, writer: PipeWriter, cancel: &'a Cancel) -> Result<Running<'a>> {
    let (program, arguments) = job
        .command
        .split_first()
        .ok_or_else(|| Error::State("no command given".into()))?;
    let second = writer.try_clone().map_err(Error::io("open", job.log))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(job.cwd)
        .envs(job.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second);
    // The command holds our ends of the pipe: it must be gone before we read to the end.
    let started = match job.own_group {
        true => cancel.start(command.process_group(0)).map(Running::Apart),
        false => command.spawn().map(Running::Beside),
    };
    started.map_err(|e| Error::Program {
        program: program.to_string_lossy().into_owned(),
        detail: match e.kind() {
            std::io::ErrorKind::NotFound => "there is no such program".into(),
            _ => e.to_string(),
        },
    })
}

fn copy(
    reader: &mut PipeReader,
    log_file: &mut File,
    echo: &mut dyn Write,
    log: &Path,
) -> Result<()> {
    let mut buffer = [0; 8192];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", log)(e)),
        };
        // A terminal that went away must not end a training.
        let _ = echo.write_all(&buffer[..n]).and_then(|()| echo.flush());
        fs::write_all(log_file, &buffer[..n]).map_err(Error::io("write", log))?;
    }
}

/// Passes a cancellation on to the program, first politely.
fn end_when_cancelled(
    pid: Option<Pid>,
    job: &Job<'_>,
    done: &(Mutex<bool>, Condvar),
    cancel: &Cancel,
) {
    let Some(pid) = pid else { return };
    let mut asked: Option<Instant> = None;
    let mut is_done = done.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let waited = done
            .1
            .wait_timeout_while(is_done, LOOK, |is_done| !*is_done);
        is_done = waited.unwrap_or_else(PoisonError::into_inner).0;
        if *is_done {
            return;
        }
        // The terminal has told all of its group by itself, and waits as long as the program takes.
        if !cancel.is_cancelled() || !(job.own_group || cancel.is_termination()) {
            continue;
        }
        let signal = match asked {
            None if cancel.is_termination() => Signal::TERM,
            None => Signal::INT,
            Some(since) if since.elapsed() > job.grace => Signal::KILL,
            Some(_) => continue,
        };
        asked.get_or_insert_with(Instant::now);
        // They may have ended by themselves a moment ago.
        if job.own_group {
            let _ = rustix::process::kill_process_group(pid, signal);
        } else {
            for one in family_of(pid) {
                let _ = rustix::process::kill_process(one, signal);
            }
        }
    }
}

/// A process and all that it has started, as far as the system tells.
fn family_of(first: Pid) -> Vec<Pid> {
    let children: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|e| {
            let pid: i32 = e.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in brackets may hold anything; the state and the parent follow it.
            let rest = stat.rsplit_once(')')?.1;
            Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut family = vec![first];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let own = children
            .iter()
            .filter(|(_, of)| *of == parent.as_raw_nonzero().get());
        family.extend(own.filter_map(|(pid, _)| Pid::from_raw(*pid)));
        at += 1;
    }
    family
}
