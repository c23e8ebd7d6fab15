//! Running programs, several at once. One thread decides what comes next and records what has ended; each
//! program has a thread that waits for it. A cancellation ends the programs and starts no others.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;

use crate::capture::exec::{self, Execution};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::pipeline::{StageEvent, Watch};

/// A program that is to be started.
pub(crate) struct Start {
    /// Its number, for who asked.
    pub(crate) at: usize,
    /// What people call it.
    pub(crate) name: String,
    pub(crate) command: Vec<OsString>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) log: PathBuf,
}

/// Decides what comes next, and takes what has ended.
pub(crate) trait Work {
    /// The next program; `None`: none until another has ended, or none at all.
    ///
    /// # Errors
    /// No other is started then.
    fn next(&mut self) -> Result<Option<Start>>;

    /// A program has ended.
    ///
    /// # Errors
    /// No other is started then.
    fn end(&mut self, at: usize, execution: Result<Execution>) -> Result<()>;
}

/// Does all of the work, `jobs` programs at a time.
///
/// # Errors
/// The first of [`Work`]; the programs that ran then were waited for.
pub(crate) fn carry_out(
    work: &mut dyn Work,
    jobs: usize,
    watch: &dyn Watch,
    ctx: &Ctx<'_>,
) -> Result<()> {
    let cancel = ctx.cancel;
    let (tell, hear) = mpsc::channel();
    let (mut active, mut failed) = (0, None);
    std::thread::scope(|scope| {
        loop {
            while active < jobs.max(1) && failed.is_none() && !cancel.is_cancelled() {
                match work.next() {
                    Ok(None) => break,
                    Err(e) => failed = Some(e),
                    Ok(Some(start)) => {
                        active += 1;
                        let tell = tell.clone();
                        scope.spawn(move || {
                            let mut echo = Echo(watch, &start.name);
                            let job = exec::Job {
                                command: &start.command,
                                cwd: &start.cwd,
                                env: &start.env,
                                log: &start.log,
                                own_group: true,
                                grace: exec::GRACE,
                            };
                            // The other end is there as long as a program is active.
                            let _ = tell.send((start.at, exec::execute(&job, &mut echo, cancel)));
                        });
                    }
                }
            }
            if active == 0 {
                break;
            }
            let Ok((at, execution)) = hear.recv() else {
                break;
            };
            active -= 1;
            if let Err(e) = work.end(at, execution) {
                failed.get_or_insert(e);
            }
        }
    });
    failed.map_or(Ok(()), Err)
}

/// Passes on what a program prints.
struct Echo<'a>(&'a dyn Watch, &'a str);

impl Write for Echo<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.tell(self.1, StageEvent::Prints(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
