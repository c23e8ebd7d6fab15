//! A folder, the real binary, and a fixed environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// What is not there by then is taken for lost. No measure of speed: a machine may be busy, its disk slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_modelv");

/// A working tree.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
}

/// What a command came to.
#[must_use]
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn new(output: &Output) -> Self {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        Self {
            status: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Standard output of a command that must have succeeded.
    pub(crate) fn success(self) -> String {
        assert_eq!(self.status, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// Standard error of a command that must have ended with `status`.
    pub(crate) fn fails_with(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}{}", self.out, self.err);
        self.err
    }
}

impl Tree {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A repository without capture of the interpreter, so that ids don't depend on the machine.
    pub(crate) fn repo() -> Self {
        let tree = Self::empty();
        tree.mv(&["init"]).success();
        tree.put("modelv.toml", "[env]\ncapture = \"none\"\n");
        tree
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn put(&self, path: &str, content: &str) {
        let full = self.path(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, content).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// The command, ready to be changed.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("no-home"))
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .env("MODELV_AUTHOR_NAME", "Ada")
            .env("MODELV_AUTHOR_EMAIL", "ada@example.org");
        command
    }

    /// The command in a process whose clock is off by so much (`+1y`). Files keep their times.
    pub(crate) fn with_clock(&self, offset: &str, args: &[&str]) -> Command {
        let inner = self.command(args);
        let mut command = Command::new("faketime");
        command
            .args(["-f", offset])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(self.root())
            .env_clear()
            .envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .env_remove("SOURCE_DATE_EPOCH")
            .env("NO_FAKE_STAT", "1");
        command
    }

    pub(crate) fn mv(&self, args: &[&str]) -> Done {
        Done::new(&self.command(args).output().unwrap())
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.mv(&["commit", "-m", message]).success();
        self.id("HEAD")
    }

    pub(crate) fn id(&self, revision: &str) -> String {
        self.mv(&["rev-parse", revision])
            .success()
            .trim()
            .to_owned()
    }

    pub(crate) fn recipe(&self) -> String {
        self.mv(&["rev-parse", "HEAD", "--recipe"])
            .success()
            .trim()
            .to_owned()
    }

    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.mv(args).success()).unwrap()
    }
}
