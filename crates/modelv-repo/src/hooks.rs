//! Hooks: commands of the user around commits, merges and pushes. Executables in `.mv/hooks` are the user's
//! own; commands of `modelv.toml` come with a clone, and must never run before the user has allowed
//! exactly these commands.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use modelv_core::id::CommitId;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::Rules;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Before a commit is made; a failure stops it.
    PreCommit,
    /// After a commit was made.
    PostCommit,
    /// Before a merge begins; a failure stops it.
    PreMerge,
    /// Before anything is sent; a failure stops it.
    PrePush,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PreCommit,
        Self::PostCommit,
        Self::PreMerge,
        Self::PrePush,
    ];

    /// Name of its file, and its key in `modelv.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreCommit => "pre-commit",
            Self::PostCommit => "post-commit",
            Self::PreMerge => "pre-merge",
            Self::PrePush => "pre-push",
        }
    }
}

/// Where a hook is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookSource {
    /// An executable in `.mv/hooks`.
    File(PathBuf),
    /// A command of `modelv.toml`, and whether the user has allowed it.
    Command(String, bool),
}

/// Configuration key: digests of the commands that the user has allowed.
const ALLOWED: &str = "hooks.allowed";

/// What stands for a command that was allowed.
fn digest(hook: Hook, command: &str) -> String {
    let hash = blake3::hash(format!("{}\0{command}", hook.name()).as_bytes());
    hash.to_hex().to_string()
}

impl Repo {
    /// All hooks, in the order in which they run.
    ///
    /// # Errors
    /// `modelv.toml` can't be read.
    pub fn hooks(&self) -> Result<Vec<(Hook, HookSource)>> {
        let rules = if self.is_bare() {
            Rules::parse("")?
        } else {
            self.rules()?
        };
        let allowed = self.config(ALLOWED).unwrap_or_default();
        let mut out = Vec::new();
        for hook in Hook::ALL {
            let path = self.dir().join("hooks").join(hook.name());
            let is_executable =
                |m: std::fs::Metadata| m.is_file() && m.permissions().mode() & 0o111 != 0;
            if std::fs::metadata(&path).is_ok_and(is_executable) {
                out.push((hook, HookSource::File(path)));
            }
            if let Some(command) = rules.hook(hook.name()) {
                let digest = digest(hook, command);
                let is_allowed = allowed.split(',').any(|a| a == digest);
                out.push((hook, HookSource::Command(command.to_owned(), is_allowed)));
            }
        }
        Ok(out)
    }

    /// Allows the commands that `modelv.toml` has now, or no command any more. Another command that a later
    /// commit brings has to be allowed anew.
    ///
    /// # Errors
    /// `modelv.toml` or the operation log can't be read or written.
    pub fn allow_hooks(&mut self, allow: bool) -> Result<()> {
        let digests: Vec<String> = self
            .hooks()?
            .into_iter()
            .filter_map(|(hook, source)| match source {
                HookSource::Command(command, _) => Some(digest(hook, &command)),
                HookSource::File(_) => None,
            })
            .collect();
        let text = digests.join(",");
        let text = (allow && !text.is_empty()).then_some(text);
        match self.config_change(ALLOWED, text.as_deref()) {
            Some(change) => self.update_refs(vec![change]).map(drop),
            None => Ok(()),
        }
    }

    /// Runs the hooks of an event, with variables and lines for them. What they print goes to standard error.
    /// Nobody may hold a turn meanwhile: a hook may call us.
    ///
    /// # Errors
    /// One of them can't be started, or ended with another status than 0.
    pub(crate) fn run_hooks(
        &self,
        event: Hook,
        variables: &[(&str, String)],
        lines: &str,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        self.tell_of_idle(event, ctx);
        let mut asks = false;
        for (_, source) in self.hooks()?.into_iter().filter(|(hook, _)| *hook == event) {
            let (mut command, shown) = match source {
                HookSource::File(path) => {
                    let shown = format!("hook {}", event.name());
                    (Command::new(path), shown)
                }
                HookSource::Command(text, true) => {
                    let mut command = Command::new("sh");
                    command.args(["-c", &text]);
                    (command, format!("hook {} ({text})", event.name()))
                }
                HookSource::Command(_, false) => {
                    asks = true;
                    continue;
                }
            };
            command
                .current_dir(self.root())
                .env("MODELV_HOOK", event.name())
                .envs(variables.iter().map(|(key, value)| (key, value)));
            execute(&mut command, &shown, lines)?;
            ctx.cancel.check()?;
        }
        if asks {
            ctx.progress.note(
                "modelv.toml asks for hooks, which have not run: `modelv hooks` shows them, `modelv hooks allow` lets them run",
            );
        }
        Ok(())
    }

    /// Says so where a hook's file is there and can't be executed.
    fn tell_of_idle(&self, event: Hook, ctx: &Ctx<'_>) {
        let path = self.dir().join("hooks").join(event.name());
        let is_plain = |m: std::fs::Metadata| m.is_file() && m.permissions().mode() & 0o111 == 0;
        if std::fs::metadata(&path).is_ok_and(is_plain) {
            ctx.progress.note(&format!(
                "`{}` did not run, for it is not executable: `chmod +x` makes it so",
                path.display()
            ));
        }
    }

    /// What runs after a commit; the commit stays whatever comes of it.
    pub(crate) fn after_commit(&self, id: CommitId, ctx: &Ctx<'_>) {
        let variables = [("MODELV_COMMIT", id.to_hex())];
        if let Err(e) = self.run_hooks(Hook::PostCommit, &variables, "", ctx) {
            ctx.progress.note(&format!("{e}; the commit is made"));
        }
    }

    /// What runs before a merge, if there is something to merge.
    pub(crate) fn before_merge(&self, theirs: CommitId, ctx: &Ctx<'_>) -> Result<()> {
        if self
            .head()
            .is_none_or(|ours| self.is_before(theirs, ours).unwrap_or(false))
        {
            return Ok(());
        }
        let variables = [("MODELV_MERGE", theirs.to_hex())];
        self.run_hooks(Hook::PreMerge, &variables, "", ctx)
    }
}

fn execute(command: &mut Command, shown: &str, lines: &str) -> Result<()> {
    let failed = |detail: String| Error::Program {
        program: shown.to_owned(),
        detail,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::from(std::io::stderr()))
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    // One that does not read what it is told is as good as any other.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(lines.as_bytes());
    }
    let status = child.wait().map_err(|e| failed(e.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(status.to_string()))
    }
}
