//! The pager: started as Git starts it, and waited for. Never without a terminal.

use std::ffi::OsStr;
use std::io::{BufWriter, Result, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::interrupt;

/// A program that shows what it reads. Dropping it waits until it has ended.
pub(crate) struct Pager {
    child: Child,
    pipe: Option<BufWriter<ChildStdin>>,
    _terminal: interrupt::Lent,
}

impl Pager {
    /// Starts what `MODELV_PAGER` or `PAGER` names, or `less`; `None`: none is wanted, or there is
    /// no such program.
    pub(crate) fn start() -> Option<Self> {
        let named = ["MODELV_PAGER", "PAGER"]
            .into_iter()
            .find_map(std::env::var_os);
        let line = named.unwrap_or_else(|| "less".into());
        if line.is_empty() || line == "cat" || !is_there(&line) {
            return None;
        }
        let mut command = Command::new("sh");
        command.arg("-c").arg(&line).stdin(Stdio::piped());
        for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        let terminal = interrupt::lend();
        let mut child = command.spawn().ok()?;
        let pipe = child.stdin.take()?;
        Some(Self {
            child,
            pipe: Some(BufWriter::with_capacity(1 << 16, pipe)),
            _terminal: terminal,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.pipe {
            Some(pipe) => pipe.write_all(bytes),
            None => Ok(()),
        }
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        // A reader that has seen enough is no error.
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.flush();
        }
        let _ = self.child.wait();
    }
}

/// Whether the shell knows the first word of a line: without it the result would be lost.
fn is_there(line: &OsStr) -> bool {
    let text = line.to_string_lossy();
    let Some(word) = text.split_whitespace().find(|w| !w.contains('=')) else {
        return false;
    };
    let known = Command::new("sh")
        .args(["-c", "command -v \"$0\"", word])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    known.is_ok_and(|s| s.success())
}
