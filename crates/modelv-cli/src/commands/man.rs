//! `modelv man`: the manual pages, made from the same text as the help.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use modelv_repo::Error;

use super::{Done, Session};

/// Write the manual pages into a folder, one for each verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder; made if it is missing.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let dir = s.dir.join(&args.dir);
    std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    // Without `help`, which is the same pages once more.
    let mut command = super::help::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command.clone(), &dir).map_err(Error::io("write", &dir))?;
    command.build();
    name_values(&command, &dir)?;
    s.ui.line(dir.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Writes the synopsis of every page anew: the one that is made has no names of values.
fn name_values(command: &Command, dir: &Path) -> Result<(), Error> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = dir.join(format!("{name}.1"));
    let page = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let head = ".SH SYNOPSIS\n";
    if let Some((before, behind)) = page.split_once(head)
        && let Some(end) = behind.find("\n.SH ")
    {
        let page = format!("{before}{head}{}{}", synopsis(command), &behind[end..]);
        std::fs::write(&path, page).map_err(Error::io("write", &path))?;
    }
    let all = command.get_subcommands().filter(|c| !c.is_hide_set());
    all.filter(|c| c.get_name() != "help")
        .try_for_each(|command| name_values(command, dir))
}

/// A command line with all options, in the language of man.
fn synopsis(command: &Command) -> String {
    let plain = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let bin = command.get_bin_name().unwrap_or(command.get_name());
    let mut out = format!("\\fB{}\\fR", plain(bin));
    let shown = || command.get_arguments().filter(|a| !a.is_hide_set());
    for arg in shown().filter(|a| !a.is_positional()) {
        let short = arg.get_short().map(|c| format!("-{c}"));
        let long = arg.get_long().map(|l| format!("--{l}"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        let mut text = format!("\\fB{}\\fR", plain(&names.join("|")));
        if arg.get_action().takes_values() {
            for value in arg.get_value_names().unwrap_or_default() {
                text.push_str(&format!(" \\fI{}\\fR", plain(value)));
            }
        }
        out.push_str(&format!(" [{text}]"));
    }
    for arg in shown().filter(|a| a.is_positional()) {
        out.push_str(&format!(" {}", plain(&arg.to_string())));
    }
    if command.has_subcommands() {
        out.push_str(" \\fICOMMAND\\fR");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synopsis_names_the_values() {
        let mut command = super::super::help::command();
        command.build();
        let merge = command.find_subcommand("merge").unwrap();
        let text = synopsis(merge);
        for part in [
            r"\fBmodelv merge\fR",
            r"[\fB\-m|\-\-message\fR \fITEXT\fR]",
            r"[\fB\-\-abort\fR]",
            r"[REVISIONS]...",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
