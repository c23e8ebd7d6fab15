//! All output: results on stdout, talk on stderr, progress on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use modelv_repo::ctx::{Progress, Unit};

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
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Added,
    Removed,
    Changed,
    Id,
    Strong,
    Faint,
    Warn,
}

/// The terminal, or what stands in for it.
pub(crate) struct Ui {
    color: bool,
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
        Self { color }
    }

    /// A text in a style.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Added => "32",
            Style::Removed => "31",
            Style::Changed | Style::Id => "33",
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
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        let mut out = std::io::stdout().lock();
        let done = out
            .write_all(text.as_ref().as_bytes())
            .and_then(|()| out.write_all(b"\n"));
        if done.is_err() {
            quit();
        }
    }

    /// Bytes of the result, as they are.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if std::io::stdout().lock().write_all(bytes).is_err() {
            quit();
        }
    }

    /// A JSON document as the result.
    pub(crate) fn json(&mut self, value: &serde_json::Value) {
        self.line(serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// A line for people only.
    #[expect(clippy::unused_self, reason = "all output goes through the Ui")]
    pub(crate) fn talk(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
    }

    /// A warning for people.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        let head = self.paint(Style::Warn, "warning:");
        self.talk(format!("{head} {}", text.as_ref()));
    }
}

/// Broken pipe: whoever read has seen enough.
#[expect(clippy::exit, reason = "there is nobody left to tell")]
fn quit() -> ! {
    std::process::exit(0)
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
