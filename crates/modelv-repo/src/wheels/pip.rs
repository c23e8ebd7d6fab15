//! pip: the program that fetches wheels, builds those that nobody publishes, and installs. The only
//! place that starts it, and uv, which installs faster where it is.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use modelv_core::env::Package;
use modelv_core::id::to_hex;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::capture::env::strip_credentials;
use crate::ctx::{Cancel, Ctx};
use crate::error::{Error, Result};

/// Most of what a program says that is kept.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// Where packages come from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'a> {
    /// Package indexes, the first before the others; none and no folders: pip's own.
    pub indexes: &'a [String],
    /// Folders with wheels. Without an index they are the only source.
    pub folders: &'a [PathBuf],
}

impl Sources<'_> {
    /// In pip's words.
    fn args(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (i, index) in self.indexes.iter().enumerate() {
            let first = i == 0;
            out.push(
                if first {
                    "--index-url"
                } else {
                    "--extra-index-url"
                }
                .to_owned(),
            );
            out.push(index.clone());
        }
        if self.indexes.is_empty() && !self.folders.is_empty() {
            out.push("--no-index".into());
        }
        for dir in self.folders {
            out.push("--find-links".into());
            out.push(dir.display().to_string());
        }
        out
    }
}

/// What pip is asked for: exactly this version, or exactly this source.
fn demand(package: &Package) -> String {
    match &package.source {
        Some(url) if url != "file" => {
            let hash = package
                .archive_sha256
                .map(|h| format!("#sha256={}", to_hex(&h)));
            format!("{} @ {url}{}", package.name, hash.unwrap_or_default())
        }
        _ => package.label(),
    }
}

/// What is said where no index answers: asking it for the other packages would take as long again for each.
pub const UNREACHABLE: &str = "the package index can't be reached";

/// Tells what is going to be fetched, before it takes its time.
pub(crate) fn announce(packages: &[&Package], sources: Sources<'_>, ctx: &Ctx<'_>) {
    const SHOWN: usize = 4;
    let mut shown: Vec<String> = packages.iter().take(SHOWN).map(|p| p.label()).collect();
    if packages.len() > SHOWN {
        shown.push(format!("{} more", packages.len() - SHOWN));
    }
    let from = match sources.indexes {
        [] => "pip's index".to_owned(),
        indexes => indexes
            .iter()
            .map(|url| strip_credentials(url))
            .collect::<Vec<_>>()
            .join(", "),
    };
    ctx.progress
        .note(&format!("fetching {} from {from}", shown.join(", ")));
}

/// How long pip waits for an index, and how often it asks again, unless the user has said so.
fn patience() -> Vec<&'static str> {
    let is_set = |names: &[&str]| names.iter().any(|n| std::env::var_os(n).is_some());
    let mut out = Vec::new();
    if !is_set(&["PIP_RETRIES"]) {
        out.extend(["--retries", "2"]);
    }
    if !is_set(&["PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"]) {
        out.extend(["--timeout", "15"]);
    }
    out
}

/// Fetches wheels into a folder, and builds what has none. Gives the packages that can't be had,
/// with the reason.
///
/// # Errors
/// pip can't be started, or it was interrupted.
pub fn fetch(
    python: &Path,
    packages: &[&Package],
    into: &Path,
    sources: Sources<'_>,
    cancel: &Cancel,
) -> Result<Vec<(Package, String)>> {
    let sources = sources.args();
    let call = |verb: &[&str], packages: &[&Package]| {
        let mut command = pip(python);
        command.args(verb).arg(into).arg("--no-deps").args(&sources);
        command.args(patience());
        // A name is from a commit, which others may have written: it must not become an option.
        command.arg("--").args(packages.iter().map(|p| demand(p)));
        run(&mut command, cancel)
    };
    // All at once is quick; one by one afterwards finds who is to blame, and builds what has no
    // wheel. What comes from a source is always built.
    let (direct, plain): (Vec<&Package>, Vec<&Package>) = packages
        .iter()
        .partition(|p| p.source.as_deref().is_some_and(|s| s != "file"));
    let download = ["download", "--only-binary", ":all:", "-d"];
    let quick = match plain.len() {
        0 | 1 => None,
        _ => Some(call(&download, &plain)?),
    };
    let mut is_away = quick.as_ref().is_some_and(Said::is_unreachable);
    let is_quick = quick.is_some_and(|said| said.success);
    let slow = if is_quick { Vec::new() } else { plain };
    let mut failed = Vec::new();
    for (package, is_plain) in slow
        .into_iter()
        .map(|p| (p, true))
        .chain(direct.into_iter().map(|p| (p, false)))
    {
        if is_plain && is_away {
            failed.push((package.clone(), UNREACHABLE.to_owned()));
            continue;
        }
        let said = call(&["wheel", "-w"], &[package])?;
        if is_plain && said.is_unreachable() {
            is_away = true;
            failed.push((package.clone(), UNREACHABLE.to_owned()));
        } else if !said.success {
            failed.push((package.clone(), said.reason()));
        }
    }
    Ok(failed)
}

/// Largest report of pip that is read.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// Where the wheels of packages would be fetched from: addresses, for those that an index has; none where that
/// can't be told without fetching them.
///
/// # Errors
/// pip can't be started, or it was interrupted.
pub fn locate(python: &Path, packages: &[&Package], cancel: &Cancel) -> Result<Vec<String>> {
    let plain = packages.iter().filter(|p| p.source.is_none());
    let demands: Vec<String> = plain.map(|p| demand(p)).collect();
    if demands.is_empty() {
        return Ok(Vec::new());
    }
    let top = std::env::temp_dir();
    let report = tempfile::NamedTempFile::new().map_err(Error::io("create", &top))?;
    let mut command = pip(python);
    command.args(["install", "--dry-run", "--ignore-installed", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--report"]);
    command.arg(report.path()).args(patience());
    command.arg("--").args(demands);
    if !run(&mut command, cancel)?.success {
        return Ok(Vec::new());
    }
    let mut text = Vec::new();
    let read = report
        .as_file()
        .take(REPORT_BYTES_MAX)
        .read_to_end(&mut text);
    read.map_err(Error::io("read", report.path()))?;
    let report: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let all = report["install"].as_array().into_iter().flatten();
    let urls = all.filter_map(|item| item["download_info"]["url"].as_str());
    Ok(urls.map(str::to_owned).collect())
}

/// Builds the wheel of a project in a folder: with what it asks an index for, or, where none may be asked, with
/// what is installed beside `python`. It is told its version, which may stand in nothing but tags of Git.
///
/// # Errors
/// pip can't be started, or it was interrupted.
pub(crate) fn build(
    python: &Path,
    folder: &Path,
    version: &str,
    into: &Path,
    sources: Option<Sources<'_>>,
    cancel: &Cancel,
) -> Result<Said> {
    let mut command = pip(python);
    command.args(["wheel", "--no-deps", "-w"]).arg(into);
    match sources {
        Some(sources) => command.args(sources.args()).args(patience()),
        None => command.args(["--no-index", "--no-build-isolation"]),
    };
    for name in ["SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION"] {
        command.env(name, version);
    }
    command.arg("--").arg(folder);
    run(&mut command, cancel)
}

/// Installs exactly these versions from a folder of wheels, without what they ask for: by uv if it is
/// here and does it, by pip otherwise.
///
/// # Errors
/// pip can't be started, or it was interrupted.
pub(crate) fn install(
    python: &Path,
    folder: &Path,
    demands: &[String],
    cancel: &Cancel,
) -> Result<Said> {
    if let Some(uv) = crate::capture::python::on_path("uv") {
        let mut command = Command::new(uv);
        // Of what a user has set for uv nothing counts here.
        command.args([
            "pip",
            "install",
            "--no-config",
            "--no-cache",
            "--offline",
            "--no-deps",
        ]);
        command.args(["--no-index", "--reinstall", "--link-mode", "copy"]);
        command.arg("--python").arg(python);
        command
            .arg("--find-links")
            .arg(folder)
            .arg("--")
            .args(demands);
        let said = run(&mut command, cancel)?;
        if said.success {
            return Ok(said);
        }
    }
    let mut command = pip(python);
    command.args(["install", "--no-deps", "--no-compile", "--no-index"]);
    command.args(["--force-reinstall", "--no-warn-script-location"]);
    command
        .arg("--find-links")
        .arg(folder)
        .arg("--")
        .args(demands);
    run(&mut command, cancel)
}

/// pip of an interpreter, ready for a verb.
pub(crate) fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args([
        "-I",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
    ]);
    command
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// Whether it says that it went well.
    pub success: bool,
    /// Its output and its errors, in their order.
    pub words: String,
}

impl Said {
    /// Whether it failed because no index answered, rather than for what the index has.
    fn is_unreachable(&self) -> bool {
        let has = |words: &str| self.words.contains(words);
        let is_empty = has("(from versions: none)") || has("Max retries exceeded");
        !self.success && has("connection broken by") && is_empty
    }

    /// The line that tells why it failed.
    pub(crate) fn reason(&self) -> String {
        let is_error = |l: &&str| l.starts_with("ERROR:") || l.contains("Error:");
        let telling = self
            .words
            .lines()
            .find(|l| is_error(l))
            .or_else(|| self.words.lines().rfind(|l| !l.trim().is_empty()))
            .unwrap_or("it ended without a word");
        telling
            .trim()
            .trim_start_matches("ERROR:")
            .trim()
            .to_owned()
    }
}

/// Runs a program to its end, or until it is asked to stop: an interrupt need not have reached it.
///
/// # Errors
/// It can't be started, or was interrupted.
pub(crate) fn run(command: &mut Command, cancel: &Cancel) -> Result<Said> {
    run_gently(command, cancel, Duration::ZERO)
}

/// The same for a program that has something to put away: it is told to end, and has so much time for that.
///
/// # Errors
/// It can't be started, or was interrupted.
pub fn run_gently(command: &mut Command, cancel: &Cancel, grace: Duration) -> Result<Said> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |e: std::io::Error| Error::io("run", &program)(e);
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let second = writer.try_clone().map_err(failed)?;
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .env_remove("PYTHONPATH")
        .env_remove("PIP_REQUIRE_VIRTUALENV")
        // A group of its own: what it starts in turn ends with it.
        .process_group(0);
    let mut started = cancel.start(command).map_err(failed)?;
    // The command holds our ends of the pipe: they must be closed before it is read to the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reader = std::thread::spawn(move || {
        let mut words = Vec::new();
        let _ = reader
            .by_ref()
            .take(WORDS_BYTES_MAX)
            .read_to_end(&mut words);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
        String::from_utf8_lossy(&words).into_owned()
    });
    let group = Pid::from_child(&started.child);
    let mut told: Option<Instant> = None;
    let status = loop {
        if let Some(status) = started.child.try_wait().map_err(failed)? {
            break status;
        }
        if cancel.is_cancelled() {
            let since = *told.get_or_insert_with(|| {
                // It may have ended by itself a moment ago.
                let _ = kill_process_group(group, Signal::TERM);
                Instant::now()
            });
            if since.elapsed() >= grace {
                let _ = kill_process_group(group, Signal::KILL);
                started.child.wait().map_err(failed)?;
                return Err(Error::Cancelled);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if told.is_some() {
        return Err(Error::Cancelled);
    }
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
        assert_eq!(
            (said.success, said.words.as_str()),
            (false, "talk\nwords\n")
        );
        assert!(run(&mut shell("exit 0"), &never).unwrap().success);
        let now = Cancel::new();
        now.cancel();
        let stopped = run(&mut shell("exec sleep 600"), &now);
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }

    #[test]
    fn who_has_something_to_put_away_has_time_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (trap, grace, is_clean) in [
            ("echo clean > clean; exit 0", Duration::from_secs(60), true),
            ("", Duration::from_millis(50), false),
        ] {
            let _ = std::fs::remove_file(at("on"));
            let _ = std::fs::remove_file(at("clean"));
            let script = format!("trap '{trap}' TERM; touch on; while :; do sleep 1; done");
            let cancel = Cancel::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !at("on").exists() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    cancel.cancel();
                });
                let stopped = run_gently(shell(&script).current_dir(dir.path()), &cancel, grace);
                assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
            });
            assert_eq!(at("clean").exists(), is_clean);
        }
    }

    #[test]
    fn what_a_program_has_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let script = format!(
            "sleep 600 & echo $! > {0}.new && mv {0}.new {0}; wait",
            path.display()
        );
        let cancel = Cancel::new();
        let id = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !path.exists() {
                    std::thread::yield_now();
                }
                cancel.cancel();
            });
            let stopped = run(&mut shell(&script), &cancel);
            assert!(matches!(stopped, Err(Error::Cancelled)));
            std::fs::read_to_string(&path).unwrap().trim().to_owned()
        });
        // It is gone, or waits for somebody to take note of it, in a moment.
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|s| s.chars().next())
        };
        let start = Instant::now();
        while !matches!(state(), None | Some('Z' | 'X')) {
            assert!(start.elapsed().as_secs() < 60, "{:?}", state());
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_ends_in_haste_leaves_no_program_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("on");
        let script = format!("touch {}; sleep 600", path.display());
        let hasty = Cancel::new();
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| run(&mut shell(&script), &hasty));
            while !path.exists() {
                std::thread::yield_now();
            }
            hasty.end_programs();
            assert!(!ended.join().unwrap().unwrap().success);
        });
        assert!(run(&mut shell("exit 0"), &hasty).is_err());
    }

    #[test]
    fn an_index_that_does_not_answer_is_told_from_one_that_lacks_something() {
        let said = |success: bool, words: &str| Said {
            success,
            words: words.into(),
        };
        let broken =
            "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'\n";
        let none = "ERROR: Could not find a version that satisfies x==1 (from versions: none)\n";
        let other = "ERROR: Could not find a version that satisfies x==1 (from versions: 0.9)\n";
        assert!(said(false, &[broken, none].concat()).is_unreachable());
        assert!(!said(false, &[broken, other].concat()).is_unreachable());
        assert!(!said(false, none).is_unreachable());
        assert!(!said(true, &[broken, none].concat()).is_unreachable());
    }

    #[test]
    fn the_line_that_tells_is_found() {
        let said = |words: &str| Said {
            success: false,
            words: words.into(),
        };
        let text = "Looking\nERROR: no such thing\nbye\n";
        assert_eq!(said(text).reason(), "no such thing");
        assert_eq!(said("one\nlast words\n\n").reason(), "last words");
        assert_eq!(said("").reason(), "it ended without a word");
    }

    #[test]
    fn sources_are_said_in_pips_words() {
        assert_eq!(Sources::default().args(), Vec::<String>::new());
        let (folders, indexes) = (["w".into()], ["https://a".to_owned(), "https://b".into()]);
        let mut sources = Sources {
            folders: &folders,
            ..Sources::default()
        };
        assert_eq!(sources.args(), ["--no-index", "--find-links", "w"]);
        sources.indexes = &indexes;
        assert_eq!(
            sources.args().join(" "),
            "--index-url https://a --extra-index-url https://b --find-links w"
        );
    }
}
