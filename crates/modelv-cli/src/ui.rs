//! All output: results on stdout, talk on stderr, progress on a terminal only.

use std::io::{BufWriter, IsTerminal, Stdout, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use modelv_repo::ctx::{Progress, Unit};

use crate::pager::Pager;

mod tame;

pub(crate) use tame::plain;

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// Styles by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Added,
    /// Words that came, in a line of which others stayed.
    AddedWord,
    Removed,
    RemovedWord,
    Changed,
    Id,
    Hunk,
    Strong,
    Faint,
    Warn,
}

/// The terminal, or what stands in for it.
pub(crate) struct Ui {
    color: bool,
    /// Whether the result goes to a terminal: what others wrote must not drive it.
    tames: bool,
    out: Out,
}

/// Where the result goes.
enum Out {
    /// Line by line: other processes may write there too.
    Lines,
    /// A lot at once.
    Blocks(BufWriter<Stdout>),
    /// To a pager, for as long as somebody reads there.
    Pager(Pager),
}

impl Ui {
    pub(crate) fn new(color: Color) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        };
        Self {
            color,
            tames: std::io::stdout().is_terminal(),
            out: Out::Lines,
        }
    }

    /// Whether texts are coloured.
    pub(crate) fn is_colored(&self) -> bool {
        self.color
    }

    /// Columns of the terminal; what `COLUMNS` says, or 80, without one.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn width(&self) -> usize {
        let asked = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let seen = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let seen = seen.map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
        seen.or(asked).unwrap_or(80).clamp(40, 1_000)
    }

    /// From here on the result is long: a terminal shows it in a pager, all else gets it in blocks.
    pub(crate) fn long(&mut self, pager: bool) {
        let pager = (pager && std::io::stdout().is_terminal())
            .then(Pager::start)
            .flatten();
        self.out = match pager {
            Some(pager) => Out::Pager(pager),
            None => Out::Blocks(BufWriter::with_capacity(1 << 16, std::io::stdout())),
        };
    }

    /// A text in a style.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Added => "32",
            Style::AddedWord => "7;32",
            Style::Removed => "31",
            Style::RemovedWord => "7;31",
            Style::Changed | Style::Id => "33",
            Style::Hunk => "36",
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Warn => "35",
        };
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A line of the result. A reader that went away ends the process quietly.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        match self.tames {
            true => self.write_line(&tame::painted(text.as_ref())),
            false => self.write_line(text.as_ref()),
        }
    }

    fn write_line(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let done = match &mut self.out {
            Out::Lines => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.write_all(b"\n"))
            }
            Out::Blocks(out) => out.write_all(bytes).and_then(|()| out.write_all(b"\n")),
            Out::Pager(pager) => pager.write(bytes).and_then(|()| pager.write(b"\n")),
        };
        self.check(done);
    }

    /// Bytes of the result, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let done = match &mut self.out {
            Out::Lines => std::io::stdout().lock().write_all(bytes),
            Out::Blocks(out) => out.write_all(bytes),
            Out::Pager(pager) => pager.write(bytes),
        };
        self.check(done);
    }

    /// A JSON document as the result.
    pub(crate) fn json(&mut self, value: &serde_json::Value) {
        self.write_line(&serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// A JSON list as the result, written as its items come; what stands is no whole list when one fails.
    pub(crate) fn json_list<E>(
        &mut self,
        items: impl Iterator<Item = Result<serde_json::Value, E>>,
    ) -> Result<(), E> {
        let mut before = "[";
        for item in items {
            let item = serde_json::to_string_pretty(&item?).unwrap_or_default();
            let inner = item.replace('\n', "\n  ");
            self.bytes(format!("{before}\n  {inner}").as_bytes());
            before = ",";
        }
        self.write_line(if before == "[" { "[]" } else { "\n]" });
        Ok(())
    }

    /// A line for people only.
    pub(crate) fn talk(&mut self, text: impl AsRef<str>) {
        // What was said before comes before, where both go to one place.
        if let Out::Blocks(out) = &mut self.out {
            let done = out.flush();
            self.check(done);
        }
        let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
    }

    /// A warning for people.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        let head = self.paint(Style::Warn, "warning:");
        self.talk(format!("{head} {}", text.as_ref()));
    }

    fn check(&mut self, done: std::io::Result<()>) {
        if let Err(e) = done {
            // The pager first gives the terminal back.
            self.out = Out::Lines;
            stop(&e);
        }
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        // What waits in a buffer is a part of the result too.
        let done = match &mut self.out {
            Out::Lines => std::io::stdout().flush(),
            Out::Blocks(out) => out.flush(),
            Out::Pager(_) => Ok(()),
        };
        if let Err(e) = done {
            stop(&e);
        }
    }
}

/// Ends the process when the result can't be written. A reader that went away has seen enough; to
/// any other a result that is cut off must not look like a whole one.
#[expect(clippy::exit, reason = "nothing can be told on the way back")]
fn stop(error: &std::io::Error) -> ! {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0)
    }
    let _ = writeln!(
        std::io::stderr(),
        "error: the result can't be written: {error}\n\nhint: what was written is cut off; make room and try again"
    );
    std::process::exit(1)
}

/// Draws a line of progress on a terminal, from a quarter of a second on, at most ten times a
/// second.
pub(crate) struct Bar {
    state: Mutex<Option<State>>,
    live: bool,
}

struct State {
    task: String,
    unit: Unit,
    total: Option<u64>,
    done: u64,
    started: Instant,
    drawn: Option<Instant>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(None),
            live: std::io::stderr().is_terminal(),
        }
    }
}

impl Progress for Bar {
    fn start(&self, task: &str, unit: Unit, total: Option<u64>) {
        let started = Instant::now();
        let state = State {
            task: task.to_owned(),
            unit,
            total,
            done: 0,
            started,
            drawn: None,
        };
        if let Ok(mut slot) = self.state.lock() {
            *slot = Some(state);
        }
    }

    fn advance(&self, amount: u64) {
        if !self.live {
            return;
        }
        let Ok(mut slot) = self.state.lock() else {
            return;
        };
        let Some(state) = slot.as_mut() else { return };
        state.done += amount;
        let now = Instant::now();
        let last = state
            .drawn
            .unwrap_or(state.started + Duration::from_millis(150));
        if now.saturating_duration_since(last) >= Duration::from_millis(100) {
            state.drawn = Some(now);
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", render(state, now));
        }
    }

    fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "note: {text}");
    }

    fn finish(&self) {
        let Ok(mut slot) = self.state.lock() else {
            return;
        };
        if slot.take().is_some_and(|s| s.drawn.is_some()) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn render(state: &State, now: Instant) -> String {
    let seconds = (now - state.started).as_secs_f64();
    let rate = state.done as f64 / seconds.max(0.001);
    let amount = |n: u64| match state.unit {
        Unit::Bytes => size(n),
        Unit::Items => n.to_string(),
    };
    match state.total {
        Some(total) => {
            let left = (total.saturating_sub(state.done)) as f64 / rate.max(1.0);
            format!(
                "{}: {} of {}, {}/s, {}:{:02} left",
                state.task,
                amount(state.done),
                amount(total),
                amount(rate as u64),
                left as u64 / 60,
                left as u64 % 60
            )
        }
        None => format!("{}: {}", state.task, amount(state.done)),
    }
}

/// A size in bytes for people: `812 B`, `3.4 MB`.
#[expect(clippy::cast_precision_loss)]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
