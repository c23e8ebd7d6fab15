//! Executing a command: its output live to the caller and into a log, its end as a record.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use modelv_core::commit::Time;
use modelv_store::fs;

use super::clock;
use crate::ctx::Cancel;
use crate::error::{Error, Result};

/// How an execution went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// Exit status, if it ended by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it started.
    pub started: Time,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Runs a command in `cwd`. Both its streams go to `echo` and into `log` as they come. Ctrl-C
/// reaches the command by itself, for it stays in the terminal's group; it counts as its end.
///
/// # Errors
/// The program can't be started, or the log can't be written.
pub fn execute(
    command: &[OsString],
    cwd: &Path,
    env: &[(OsString, OsString)],
    echo: &mut dyn Write,
    log: &Path,
    cancel: &Cancel,
) -> Result<Execution> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::State("no command given".into()))?;
    let mut log_file = fs::create(log).map_err(Error::io("create", log))?;
    let (mut reader, writer) = std::io::pipe().map_err(Error::io("open", log))?;
    let second = writer.try_clone().map_err(Error::io("open", log))?;
    let started = clock::now();
    let clock = std::time::Instant::now();
    let mut child = {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(cwd)
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(second);
        // The command holds our ends of the pipe: it must be gone before we read to the end.
        command.spawn().map_err(|e| Error::Program {
            program: program.to_string_lossy().into_owned(),
            detail: match e.kind() {
                std::io::ErrorKind::NotFound => "there is no such program".into(),
                _ => e.to_string(),
            },
        })?
    };
    let mut buffer = [0; 8192];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", log)(e)),
        };
        if n == 0 {
            break;
        }
        // A terminal that went away must not end a training.
        let _ = echo.write_all(&buffer[..n]).and_then(|()| echo.flush());
        fs::write_all(&mut log_file, &buffer[..n]).map_err(Error::io("write", log))?;
    }
    let status = child.wait().map_err(Error::io("wait for", cwd))?;
    let interrupted = cancel.is_cancelled();
    Ok(Execution {
        exit_code: status.code().filter(|_| !interrupted),
        signal: status.signal(),
        started,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}
