//! Environments of commits on this machine: how it differs from one, and making one again as a
//! virtual environment.
//!
//! A virtual environment is a folder somebody asked for; this module writes nowhere else, and what
//! it could not make exactly it names.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;

use modelv_core::env::{Env, Interpreter, Package};
use modelv_core::id::CommitId;
use sha2::{Digest, Sha256};

use crate::capture::{env, python};
use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// How this machine differs from the environment of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvCheck {
    /// What the commit records and is not so here: results may differ.
    pub matters: Vec<EnvChange>,
    /// What is here in addition.
    pub more: Vec<EnvChange>,
}

/// What `recreate` is asked for.
#[derive(Debug, Clone, Default)]
pub struct RecreateOptions {
    /// The new folder.
    pub output: PathBuf,
    /// Folders with wheels. Without an index they are the only source.
    pub wheels: Vec<PathBuf>,
    /// Package indexes, the first before the others; none and no wheels: pip's own.
    pub indexes: Vec<String>,
    /// This interpreter, whatever was recorded.
    pub python: Option<PathBuf>,
}

/// What `recreate` made.
#[derive(Debug)]
pub struct Recreated {
    /// The interpreter inside.
    pub python: PathBuf,
    /// What is in it now.
    pub env: Env,
    /// Distributions whose RECORD is the recorded one.
    pub verified: usize,
    /// Packages that can't be installed again, with the reason.
    pub left_out: Vec<(String, &'static str)>,
    /// How it differs from the recorded environment; empty: not at all.
    pub changes: Vec<EnvChange>,
}

impl Repo {
    /// Compares this machine with the environment of a commit. Lock files are files of the working
    /// tree and don't count.
    ///
    /// # Errors
    /// The commit records no environment, or the interpreter does not answer.
    pub fn check_env(&self, id: CommitId, explicit: Option<&Path>) -> Result<EnvCheck> {
        let want = self.recorded_env(id)?;
        let configured = self
            .config("env.python")
            .or_else(|| self.rules().ok()?.env_python());
        let found = python::find(self.root(), explicit, configured.as_deref())?;
        let cache = self.dir().join("envcache");
        let here = env::capture_cached(&cache, found.as_deref(), want.locks.clone())?;
        let (more, matters) = diff_env(&want, &here)
            .into_iter()
            .partition(|c| c.old.is_none());
        Ok(EnvCheck { matters, more })
    }

    fn recorded_env(&self, id: CommitId) -> Result<Env> {
        let env = self.env_object(self.commit_object(id)?.recipe.env)?;
        if env == Env::none() {
            let text = format!("commit `{}` records no environment", id.short());
            return Err(Error::State(text));
        }
        Ok(env)
    }

    /// Makes the environment of a commit again.
    ///
    /// # Errors
    /// There is no such interpreter here, the folder is not empty, or a package can't be had.
    /// The folder is gone again then.
    pub fn recreate_env(&self, id: CommitId, options: &RecreateOptions) -> Result<Recreated> {
        let want = self.recorded_env(id)?;
        let interpreter = want.interpreter.as_ref().ok_or_else(|| {
            Error::State(format!("commit `{}` records no interpreter", id.short()))
        })?;
        let base = find_interpreter(interpreter, options.python.as_deref())?;
        let occupied = std::fs::read_dir(&options.output).is_ok_and(|mut d| d.next().is_some());
        if occupied || options.output.is_file() {
            return Err(Error::Exists {
                what: "folder",
                name: options.output.display().to_string(),
            });
        }
        let made = recreate(&want, &base, options);
        if made.is_err() {
            // It was empty or missing before; half an environment helps nobody.
            let _ = std::fs::remove_dir_all(&options.output);
        }
        made
    }
}

fn recreate(want: &Env, base: &Path, options: &RecreateOptions) -> Result<Recreated> {
    let output =
        std::path::absolute(&options.output).map_err(Error::io("open", &options.output))?;
    run(
        Command::new(base).args(["-I", "-m", "venv"]).arg(&output),
        None,
    )?;
    let python = output.join("bin/python");
    // The interpreter brings its own pip: what is there as recorded stays.
    let fresh = env::capture(&python)?;
    let (mut left_out, mut plain, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    for package in &want.packages {
        if fresh.find_package(&package.name) == Some(package) {
            continue;
        }
        match (&package.source, package.editable) {
            (_, true) => left_out.push((
                package.label(),
                "it was installed in place from a folder, and its files are those of that folder: \
                 `pip install -e FOLDER` puts it in",
            )),
            (Some(source), _) if source == "file" && !is_in(&options.wheels, package)? => {
                left_out.push((
                    package.label(),
                    "it was installed from a file of another machine: `--wheels DIR` takes it from a folder",
                ));
            }
            (Some(source), _) if source != "file" => direct.push(package),
            _ => plain.push(package),
        }
    }
    install(&python, &output, &plain, options)?;
    for package in direct {
        let url = package.source.as_deref().unwrap_or_default();
        let hash = package
            .archive_sha256
            .map(|h| format!("#sha256={}", modelv_core::id::to_hex(&h)));
        let demand = format!("{} @ {url}{}", package.name, hash.unwrap_or_default());
        pip(
            &python,
            &["install", "--no-deps", "--no-compile", &demand],
            &package.label(),
        )?;
    }
    remove_others(&python, want)?;
    let env = Env {
        locks: want.locks.clone(),
        ..env::capture(&python)?
    };
    let verified = want.packages.iter().filter(|p| {
        let here = env.find_package(&p.name);
        p.record_sha256.is_some() && here.is_some_and(|h| h.record_sha256 == p.record_sha256)
    });
    Ok(Recreated {
        verified: verified.count(),
        changes: diff_env(want, &env),
        python,
        env,
        left_out,
    })
}

/// Runs a program to its end; its last words are the error.
fn run(command: &mut Command, package: Option<&str>) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(std::process::Stdio::null())
        .env_remove("PYTHONPATH")
        .env_remove("PIP_REQUIRE_VIRTUALENV")
        .output()
        .map_err(Error::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let telling = said
        .lines()
        .find(|l| l.starts_with("ERROR:") || l.contains("Error:"))
        .or_else(|| said.lines().rfind(|l| !l.trim().is_empty()))
        .unwrap_or("it ended without a word");
    let detail = telling
        .trim()
        .trim_start_matches("ERROR:")
        .trim()
        .to_owned();
    Err(match package {
        Some(package) => Error::Package {
            package: package.to_owned(),
            detail,
        },
        None => Error::Program { program, detail },
    })
}

fn pip(python: &Path, args: &[&str], package: &str) -> Result<()> {
    let mut command = Command::new(python);
    command
        .args([
            "-I",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args(args);
    run(&mut command, Some(package))
}

/// Where wheels come from, in pip's words.
fn sources(options: &RecreateOptions) -> Vec<String> {
    let mut out = Vec::new();
    for (i, index) in options.indexes.iter().enumerate() {
        out.push(
            if i == 0 {
                "--index-url"
            } else {
                "--extra-index-url"
            }
            .to_owned(),
        );
        out.push(index.clone());
    }
    if options.indexes.is_empty() && !options.wheels.is_empty() {
        out.push("--no-index".into());
    }
    for dir in &options.wheels {
        out.push("--find-links".into());
        out.push(dir.display().to_string());
    }
    out
}

/// Fetches wheels of exactly these versions, checks them, and installs them by name, so that no
/// trace of the folder they lay in goes into the environment.
fn install(
    python: &Path,
    output: &Path,
    packages: &[&Package],
    options: &RecreateOptions,
) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let temp = tempfile::tempdir_in(output).map_err(Error::io("create", output))?;
    let into = temp.path().display().to_string();
    let sources = sources(options);
    let fetch = |verb: &[&str], demands: &[String], package: &str| {
        let mut args: Vec<&str> = verb.to_vec();
        args.extend([into.as_str(), "--no-deps"]);
        args.extend(sources.iter().map(String::as_str));
        args.extend(demands.iter().map(String::as_str));
        pip(python, &args, package)
    };
    let demands: Vec<String> = packages.iter().map(|p| p.label()).collect();
    // All at once is quick; one by one afterwards finds who is to blame, and builds what has no
    // wheel.
    let quick = ["download", "--only-binary", ":all:", "-d"];
    if fetch(&quick, &demands, "all").is_err() {
        for demand in &demands {
            fetch(&["wheel", "-w"], std::slice::from_ref(demand), demand)?;
        }
    }
    for package in packages {
        check_archive(temp.path(), package)?;
    }
    let mut args = vec![
        "install",
        "--no-deps",
        "--no-compile",
        "--no-index",
        "--force-reinstall",
    ];
    args.extend(["--no-warn-script-location", "--find-links", &into]);
    args.extend(demands.iter().map(String::as_str));
    pip(python, &args, &demands.join(" "))
}

/// The wheel of a package in a folder, by its file name.
fn wheel_of(dir: &Path, package: &Package) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Some(stem) = name.strip_suffix(".whl") else {
            continue;
        };
        if package.wheel_tags(stem).is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn is_in(dirs: &[PathBuf], package: &Package) -> Result<bool> {
    for dir in dirs {
        if wheel_of(dir, package)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_archive(dir: &Path, package: &Package) -> Result<()> {
    let Some(want) = package.archive_sha256 else {
        return Ok(());
    };
    let path = wheel_of(dir, package)?.ok_or_else(|| Error::Package {
        package: package.label(),
        detail: "no wheel of exactly this version was found".into(),
    })?;
    let file = std::fs::File::open(&path).map_err(Error::io("read", &path))?;
    let mut reader = std::io::BufReader::with_capacity(1 << 18, file);
    let mut hasher = Sha256::new();
    loop {
        let bytes = reader.fill_buf().map_err(Error::io("read", &path))?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        let n = bytes.len();
        reader.consume(n);
    }
    if <[u8; 32]>::from(hasher.finalize()) == want {
        return Ok(());
    }
    Err(Error::Package {
        package: package.label(),
        detail: "the wheel is not the one that was installed (SHA-256 differs)".into(),
    })
}

/// What came with the new environment and was not recorded, pip itself last.
fn remove_others(python: &Path, want: &Env) -> Result<()> {
    let here = env::capture(python)?;
    let mut others: Vec<&str> = here
        .packages
        .iter()
        .map(|p| p.name.as_str())
        .filter(|name| want.find_package(name).is_none())
        .collect();
    others.sort_by_key(|name| *name == "pip");
    if others.is_empty() {
        return Ok(());
    }
    let args = [&["uninstall", "-y"], others.as_slice()].concat();
    pip(python, &args, &others.join(" "))
}

/// An interpreter of exactly the recorded version.
fn find_interpreter(want: &Interpreter, explicit: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = explicit {
        let found = python::find(Path::new("."), Some(path), None)?;
        return found.ok_or_else(|| Error::not_found("interpreter", path.display().to_string()));
    }
    let mut seen = Vec::new();
    for candidate in python::candidates(&want.version) {
        // One that does not start is none.
        let Ok(here) = env::interpreter(&candidate) else {
            continue;
        };
        if (&here.implementation, &here.version) == (&want.implementation, &want.version) {
            return Ok(candidate);
        }
        seen.push(format!("{} ({})", here.version, candidate.display()));
    }
    let found = if seen.is_empty() {
        "none at all".into()
    } else {
        seen.join(", ")
    };
    Err(Error::State(format!(
        "{} {} was recorded and is not on this machine; found: {found}",
        want.implementation, want.version
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            archive_sha256: None,
            source: None,
            record_sha256: None,
            editable: false,
        }
    }

    #[test]
    fn wheels_are_found_by_name_and_exact_version() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["Early_Bird-1.0+cpu-py3-none-any.whl", "other-1.0.tar.gz"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let has = |name, version| {
            wheel_of(dir.path(), &package(name, version))
                .unwrap()
                .is_some()
        };
        assert!(has("early-bird", "1.0+cpu"));
        assert!(!has("early-bird", "1.0"));
        assert!(!has("other", "1.0"));
        let mut pinned = package("early-bird", "1.0+cpu");
        assert!(check_archive(dir.path(), &pinned).is_ok());
        let bytes = b"Early_Bird-1.0+cpu-py3-none-any.whl";
        pinned.archive_sha256 = Some(Sha256::digest(bytes).into());
        assert!(check_archive(dir.path(), &pinned).is_ok());
        pinned.archive_sha256 = Some([0; 32]);
        let error = check_archive(dir.path(), &pinned).unwrap_err().to_string();
        assert_eq!(
            error,
            "package `early-bird==1.0+cpu` can't be installed: the wheel is not the one that was installed (SHA-256 differs)"
        );
    }

    #[test]
    fn pip_is_told_where_to_look() {
        let mut options = RecreateOptions::default();
        assert_eq!(sources(&options), [""; 0]);
        options.wheels.push("w".into());
        assert_eq!(sources(&options), ["--no-index", "--find-links", "w"]);
        options.indexes = vec!["https://a".into(), "https://b".into()];
        assert_eq!(
            sources(&options),
            [
                "--index-url",
                "https://a",
                "--extra-index-url",
                "https://b",
                "--find-links",
                "w"
            ]
        );
    }

    #[test]
    fn a_version_that_nobody_has_is_named_with_what_there_is() {
        let want = Interpreter {
            implementation: "cpython".into(),
            version: "3.3.99".into(),
            abi: "cp33".into(),
        };
        let error = find_interpreter(&want, None).unwrap_err().to_string();
        assert!(
            error.starts_with("cpython 3.3.99 was recorded and is not on this machine; found: "),
            "{error}"
        );
    }
}
