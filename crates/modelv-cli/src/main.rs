//! `modelv`: parses the command line, calls the library, shows the result. No domain logic.

mod argv0;
mod commands;
mod editor;
mod error;
mod graph;
mod html;
mod pager;
mod ui;
mod view;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use clap::{CommandFactory, FromArgMatches};
use modelv_repo::Cancel;

/// Set by the first Ctrl-C; long work stops at the next file or object.
static CANCEL: Cancel = Cancel::new();

fn main() -> ExitCode {
    // Before everything else: called as `mv`, most command lines are not ours.
    let args = match argv0::route(std::env::args_os().collect()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let args = commands::log::spell_counts(args);
    // What stands below the help of each verb is only made for somebody who reads it.
    let parsed = commands::Cli::command().try_get_matches_from(&args);
    let parsed = parsed.or_else(|_| commands::command().try_get_matches_from(&args));
    let matches = match parsed {
        Ok(matches) => matches,
        Err(e) => match error::git::hint(&e, &args) {
            Some(known) => return known.report(&mut ui::Ui::new(ui::Color::Auto)),
            None => e.exit(),
        },
    };
    let cli = match commands::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    let mut ui = ui::Ui::new(cli.color);
    match commands::run(cli, &mut ui, &CANCEL) {
        Ok(code) => code,
        Err(e) => e.report(&mut ui),
    }
}

/// From here on the first Ctrl-C asks work to stop, and the second ends the process at once. Called by
/// whatever asks whether to go on: a command that is done in a moment needs no thread for it.
pub(crate) fn watch_ctrl_c() {
    static WATCHING: std::sync::Once = std::sync::Once::new();
    WATCHING.call_once(watch);
}

fn watch() {
    let count = Arc::new(AtomicUsize::new(0));
    let Ok(mut signals) = signal_hook::iterator::Signals::new([2]) else {
        return;
    };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            CANCEL.cancel();
            // A pager ends its own work at Ctrl-C, and still needs the terminal.
            if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 && !pager::is_open() {
                let _ = signal_hook::low_level::emulate_default_handler(2);
            }
        }
    });
}
