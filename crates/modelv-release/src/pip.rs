//! pip, which fetches wheels and builds those that nobody publishes. The only program a release
//! starts beside the interpreter itself.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use modelv_repo::Cancel;
use modelv_repo::core::env::Package;

use crate::error::{Error, Result};
use crate::wheel::list;

/// Most of what pip says that is kept.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// How pip ended, and what it said.
struct Said {
    success: bool,
    words: String,
}

/// Fetches wheels into `cache`: all that are missing, or none.
pub(crate) fn fetch(
    missing: &[&Package],
    cache: &Path,
    python: &Path,
    cancel: &Cancel,
) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let temp = tempfile::tempdir_in(cache).map_err(Error::io("create", cache))?;
    // All at once is quick; one by one afterwards finds who is to blame, and builds what has no
    // wheel.
    let download = ["download", "--only-binary", ":all:", "-d"];
    if !pip(python, &download, missing, temp.path(), cancel)?.success {
        for package in missing {
            let one = pip(python, &["wheel", "-w"], &[package], temp.path(), cancel)?;
            if !one.success {
                let mut lines = one.words.lines().rev();
                let words = lines.find(|l| l.to_lowercase().contains("error"));
                return Err(Error::Package {
                    package: package.label(),
                    detail: words.unwrap_or("pip failed").trim().to_owned(),
                });
            }
        }
    }
    for path in list(temp.path())? {
        let to = cache.join(path.file_name().unwrap_or_default());
        std::fs::rename(&path, &to).map_err(Error::io("write", &to))?;
    }
    Ok(())
}

fn pip(
    python: &Path,
    verb: &[&str],
    packages: &[&Package],
    into: &Path,
    cancel: &Cancel,
) -> Result<Said> {
    let demands = packages.iter().map(|p| match &p.source {
        Some(url) if !url.starts_with("file") => format!("{} @ {url}", p.name),
        _ => p.label(),
    });
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "--disable-pip-version-check", "--no-input"])
        .args(verb)
        .arg(into)
        .arg("--no-deps")
        // A name is from a commit, which others may have written: it must not become an option.
        .arg("--")
        .args(demands);
    let mut said = run(&mut command, cancel).map_err(Error::io("run", python))?;
    cancel.check()?;
    if said.words.contains("No module named pip") {
        said.words = format!(
            "error: `{}` has no pip to fetch wheels with",
            python.display()
        );
    }
    Ok(said)
}

/// Runs a program to its end, or until it is asked to stop: an interrupt need not have reached it.
fn run(command: &mut Command, cancel: &Cancel) -> std::io::Result<Said> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut words = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr
                .by_ref()
                .take(WORDS_BYTES_MAX)
                .read_to_end(&mut words);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&words).into_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if cancel.is_cancelled() {
            child.kill()?;
            // What it has started may hold the pipe open: its words are of no use now.
            child.wait()?;
            return Ok(Said {
                success: false,
                words: String::new(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Ok(Said {
        success: status.success(),
        words: reader.join().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_ends_by_itself_or_when_it_is_asked_to() {
        let never = Cancel::new();
        let said = run(&mut shell("echo talk; echo words >&2; exit 3"), &never).unwrap();
        assert_eq!((said.success, said.words.as_str()), (false, "words\n"));
        assert!(run(&mut shell("exit 0"), &never).unwrap().success);
        let now = Cancel::new();
        now.cancel();
        assert!(!run(&mut shell("exec sleep 600"), &now).unwrap().success);
    }
}
