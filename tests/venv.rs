//! Virtual environments for tests. They stay in cargo's target folder, so that only the first run
//! downloads anything.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program that must succeed, and gives what it printed.
pub(crate) fn must(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The interpreter of an environment of this name that has these packages.
pub(crate) fn python(name: &str, packages: &[&str]) -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = venv.join("bin/python");
    // Names what it was made with: another list makes it anew.
    let ready = venv.join("ready");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&ready).ok() != Some(wanted.clone()) {
        let _ = std::fs::remove_dir_all(&venv);
        must(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        must(Command::new(&python).args(pip).args(packages));
        std::fs::write(&ready, wanted).unwrap();
    }
    python
}
