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

use clap::FromArgMatches;
use modelv_repo::Cancel;

/// Set by the first Ctrl-C; long work stops at the next file or object.
static CANCEL: Cancel = Cancel::new();

fn main() -> ExitCode {
    // Before everything else: called as `mv`, most command lines are not ours.
    let args = match argv0::route(std::env::args_os().collect()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let matches = commands::command().get_matches_from(args);
    let cli = match commands::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    watch_ctrl_c();
    let mut ui = ui::Ui::new(cli.color);
    match commands::run(cli, &mut ui, &CANCEL) {
        Ok(code) => code,
        Err(e) => e.report(&mut ui),
    }
}

/// The first Ctrl-C asks work to stop, the second ends the process at once.
fn watch_ctrl_c() {
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
