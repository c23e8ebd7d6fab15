//! `modelv`: parses the command line, calls the library, shows the result. No domain logic.

mod argv0;
mod commands;
mod editor;
mod error;
mod graph;
mod html;
mod interrupt;
mod pager;
mod ui;
mod view;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    // Before everything else: called as `mv`, most command lines are not ours.
    let args = match argv0::route(std::env::args_os().collect()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let args = commands::log::spell_counts(args);
    // Fifty verbs and their help are only made for somebody who reads them.
    let bare = commands::bare(&args).and_then(|c| c.try_get_matches_from(&args).ok());
    let parsed = match bare {
        Some(matches) => Ok(matches),
        None => commands::command().try_get_matches_from(&args),
    };
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
    let mut ui = ui::Ui::new(cli.everywhere.color);
    match commands::run(cli, &mut ui, interrupt::cancel()) {
        Ok(code) => code,
        Err(e) => e.report(&mut ui),
    }
}
