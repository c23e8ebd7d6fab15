//! Called as `mv`: decides whether a command line is ours or the system's file mover's.
//!
//! Law: every command line that the system's `mv` would finish with status 0 goes to it, unchanged.
//! Rule: leaving out leading `-i -f -n -v`, the first word is ours only if it is exactly one of our
//! verbs, and is the only argument or names no file, and no argument abbreviates `--help` or
//! `--version`. The first operand of `mv` is always a source; if it does not exist, no `mv` can
//! finish with 0.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Hands the command line to the system's `mv` where it is not ours. Where it is, gives it back
/// without the flags people alias `mv` with.
pub(crate) fn route(mut args: Vec<OsString>) -> Result<Vec<OsString>, ExitCode> {
    use std::io::Write;
    let called = args.first().and_then(|a| Path::new(a).file_name());
    if called.is_none_or(|name| name != "mv") {
        return Ok(args);
    }
    let flags = args[1..].iter().take_while(|a| is_plain_flag(a)).count();
    if is_ours(&args[1..], flags) {
        args.drain(1..=flags);
        return Ok(args);
    }
    let Some(system) = find_system_mv() else {
        let _ = writeln!(
            std::io::stderr(),
            "mv: no other `mv` found in /usr/bin, /bin or PATH"
        );
        return Err(ExitCode::from(127));
    };
    let error = Command::new(&system).arg0("mv").args(&args[1..]).exec();
    let _ = writeln!(
        std::io::stderr(),
        "mv: cannot execute {}: {error}",
        system.display()
    );
    Err(ExitCode::from(126))
}

fn is_plain_flag(arg: &OsStr) -> bool {
    ["-i", "-f", "-n", "-v"].iter().any(|f| arg == *f)
}

/// Whether the words after the program's name, of which the first `flags` are flags, are ours.
fn is_ours(args: &[OsString], flags: usize) -> bool {
    let Some(word) = args.get(flags) else {
        return false;
    };
    let is_verb = word.to_str().is_some_and(crate::commands::is_verb);
    if !is_verb || args.iter().any(|a| is_long_help(a)) {
        return false;
    }
    args.len() == flags + 1 || std::fs::symlink_metadata(word).is_err()
}

/// Whether getopt would take it for `--help` or `--version`.
fn is_long_help(arg: &OsStr) -> bool {
    let bytes = arg.as_bytes();
    let name = bytes.split(|b| *b == b'=').next().unwrap_or(bytes);
    name.len() > 2 && (b"--help".starts_with(name) || b"--version".starts_with(name))
}

/// The first other `mv`: the usual places, then absolute entries of `PATH`.
fn find_system_mv() -> Option<PathBuf> {
    let me = std::fs::metadata("/proc/self/exe").ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/bin".into(), "/bin".into()]
        .into_iter()
        .chain(std::env::split_paths(&path).filter(|p| p.is_absolute()))
        .map(|dir| dir.join("mv"))
        .find(|mv| {
            std::fs::metadata(mv).is_ok_and(|m| {
                m.is_file() && (m.dev(), m.ino()) != (me.dev(), me.ino()) && m.mode() & 0o111 != 0
            })
        })
}
