//! The one error type of the library: variants named by what the caller can do about them.
//!
//! Hints (the command to type next) belong to the command line; here is only what failed, on what.

use std::io;
use std::path::{Path, PathBuf};

use modelv_core::canon::DecodeError;
use modelv_core::path::PathError;

use crate::capture::secrets::Finding;

/// What can go wrong in a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `.mv` here or above.
    #[error("`{}` is not in a modelv repository", .path.display())]
    NotARepository {
        /// Where the search started.
        path: PathBuf,
    },
    /// A revision, path, ref, run or key that does not exist.
    #[error("{what} `{name}` not found")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name as given.
        name: String,
    },
    /// A name that is taken.
    #[error("{what} `{name}` already exists")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An abbreviated id that several objects share.
    #[error("revision `{name}` is ambiguous: {}", .candidates.join(", "))]
    Ambiguous {
        /// As given.
        name: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
    /// Text, a file or an argument that breaks a rule.
    #[error("{what} `{name}` is not valid: {reason}")]
    Invalid {
        /// What kind of thing.
        what: &'static str,
        /// As given.
        name: String,
        /// The rule.
        reason: String,
    },
    /// There is nothing to record.
    #[error("nothing to commit: the working tree is what `{head}` holds")]
    NothingToCommit {
        /// The current commit or branch.
        head: String,
    },
    /// Uncommitted changes would be lost.
    #[error("{action} would overwrite uncommitted changes in {}", list(.paths))]
    WouldOverwrite {
        /// What was asked for.
        action: &'static str,
        /// The paths.
        paths: Vec<String>,
    },
    /// There are uncommitted changes, and what was asked for needs a tree without.
    #[error("{action} needs a working tree without uncommitted changes: {}", list(.paths))]
    Uncommitted {
        /// What was asked for.
        action: &'static str,
        /// The paths.
        paths: Vec<String>,
    },
    /// Files that no commit has would be lost.
    #[error("{action} would overwrite what no commit has: {}", list(.paths))]
    InTheWay {
        /// What was asked for.
        action: &'static str,
        /// The paths.
        paths: Vec<String>,
    },
    /// Files that were put aside can't come back over what lies there now.
    #[error("undo would overwrite {}: other files than those that came in their place", list(.paths))]
    PutAside {
        /// The paths.
        paths: Vec<String>,
    },
    /// A link or a file is where a directory must be. Links are not followed: they may lead out of
    /// the working tree.
    #[error("cannot reach `{path}`: `{by}` is no directory but a link or a file")]
    Blocked {
        /// What was to be written or deleted.
        path: String,
        /// What is in its way.
        by: String,
    },
    /// Conflicts are open.
    #[error("{count} conflict{} not resolved: {}", if *.count == 1 { " is" } else { "s are" }, list(.items))]
    ConflictsRemain {
        /// How many.
        count: usize,
        /// Some of them.
        items: Vec<String>,
    },
    /// Files hold credentials.
    #[error("this would record {} secret{}:{}", .findings.len(), if .findings.len() == 1 { "" } else { "s" }, lines(.findings))]
    Secrets {
        /// Each with its place; never with its value.
        findings: Vec<Finding>,
    },
    /// The state of the repository does not allow it.
    #[error("{0}")]
    State(String),
    /// A ref moved under our feet.
    #[error("`{name}` was moved by another process meanwhile")]
    RefMoved {
        /// The ref.
        name: String,
    },
    /// Other commits were made while a run went on.
    #[error(
        "other commits were made while it ran: what it made is commit {commit} on branch `{branch}`"
    )]
    Overtaken {
        /// The commit of its outputs, short.
        commit: String,
        /// The branch that holds it.
        branch: String,
    },
    /// What a command relied on was collected before it could name it.
    #[error("{what} was collected by `gc` meanwhile; nothing has changed")]
    Collected {
        /// What is gone.
        what: String,
    },
    /// A remote's refs can't move as asked. None of them has.
    #[error("`{remote}` refuses {}", rejected(.refs))]
    Rejected {
        /// Name of the remote.
        remote: String,
        /// Refs and reasons.
        refs: Vec<(String, &'static str)>,
    },
    /// Contents that a clone of a part does not hold, and that no remote gave.
    #[error("not in this clone, and not to be had from {}: {}", places(.remotes), list(.paths))]
    NotHere {
        /// The remotes that were asked: names and addresses.
        remotes: Vec<String>,
        /// The files.
        paths: Vec<String>,
        /// What the first remote that failed said; `None`: none of them has it.
        #[source]
        source: Option<Box<Self>>,
    },
    /// The source of external data is not what was recorded.
    #[error(
        "the source of `{path}` has changed: {url}\n  recorded: {recorded}\n  found:    {found}"
    )]
    SourceChanged {
        /// Where the data belongs.
        path: String,
        /// Where it comes from.
        url: String,
        /// What was recorded of it.
        recorded: String,
        /// What is there.
        found: String,
    },
    /// A commit names an address that is not asked without a question.
    #[error("external data `{path}` is not fetched: {url} is {why}, and a commit names it")]
    NotAllowed {
        /// Where the data belongs.
        path: String,
        /// Where it comes from.
        url: String,
        /// What is the matter with that.
        why: &'static str,
    },
    /// An alias can't move: gates of the commit do not pass.
    #[error("alias `{alias}` does not move to commit `{commit}`: {}", .refused.join("; "))]
    Gated {
        /// The alias.
        alias: String,
        /// The commit, short.
        commit: String,
        /// Each rule with both numbers.
        refused: Vec<String>,
    },
    /// Weights can't be merged.
    #[error(transparent)]
    Weights(modelv_core::weights::WeightsError),
    /// A remote's own error.
    #[error(transparent)]
    Remote(#[from] modelv_store::remote::RemoteError),
    /// A file changed while it was read.
    #[error("`{}` changed while it was read", .path.display())]
    ChangedWhileRead {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error("{what} has format version {found}, this program reads up to {known}")]
    Newer {
        /// What was read.
        what: String,
        /// Its version.
        found: u64,
        /// Newest version known.
        known: u64,
    },
    /// Stored bytes are damaged.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// Which file or object.
        what: String,
        /// What is wrong.
        detail: String,
    },
    /// A program we started failed.
    #[error("`{program}` failed: {detail}")]
    Program {
        /// Its name.
        program: String,
        /// Exit status or last words.
        detail: String,
    },
    /// A package of an environment can't be had.
    #[error("package `{package}` can't be installed: {detail}")]
    Package {
        /// Name and version.
        package: String,
        /// Why.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot {op} `{}`", .path.display())]
    Io {
        /// Verb, for example `read`.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store's own error.
    #[error(transparent)]
    Store(#[from] modelv_store::Error),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Cancelled,
    /// The user pressed Ctrl-C while files of the working tree were written.
    #[error("interrupted: some files may be written already")]
    CancelledWriting,
}

fn lines(findings: &[Finding]) -> String {
    const SHOWN: usize = 20;
    let mut text: String = findings
        .iter()
        .take(SHOWN)
        .map(|f| format!("\n  {f}"))
        .collect();
    if findings.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", findings.len() - SHOWN));
    }
    text
}

fn rejected(refs: &[(String, &'static str)]) -> String {
    let each: Vec<String> = refs
        .iter()
        .map(|(name, reason)| format!("`{name}` ({reason})"))
        .collect();
    each.join(", ")
}

fn places(remotes: &[String]) -> String {
    match remotes {
        [] => "a remote: there is none".into(),
        some => some.join(", "),
    }
}

fn list(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = items
        .iter()
        .take(SHOWN)
        .map(|i| format!("`{i}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > SHOWN {
        text.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    text
}

/// What a caller can do about an error: the one taxonomy behind exit codes, HTTP and Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Something named does not exist.
    NotFound,
    /// A name is taken.
    Exists,
    /// The input breaks a rule.
    InvalidInput,
    /// Two changes contradict each other.
    Conflict,
    /// Stored bytes are damaged.
    Corrupt,
    /// Not permitted.
    Denied,
    /// Needs another version.
    Unsupported,
    /// The operating system or another program failed.
    Io,
    /// Stopped by the user.
    Cancelled,
}

impl Error {
    /// The error's kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotARepository { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::Exists,
            Self::Ambiguous { .. }
            | Self::Invalid { .. }
            | Self::NothingToCommit { .. }
            | Self::Secrets { .. }
            | Self::Weights(_)
            | Self::State(_) => ErrorKind::InvalidInput,
            Self::WouldOverwrite { .. }
            | Self::Uncommitted { .. }
            | Self::InTheWay { .. }
            | Self::PutAside { .. }
            | Self::Blocked { .. }
            | Self::ConflictsRemain { .. }
            | Self::Rejected { .. }
            | Self::Collected { .. }
            | Self::Overtaken { .. }
            | Self::SourceChanged { .. }
            | Self::RefMoved { .. } => ErrorKind::Conflict,
            Self::Remote(e) => remote_kind(e),
            Self::NotHere { source, .. } => match source {
                Some(cause) => cause.kind(),
                None => ErrorKind::NotFound,
            },
            Self::Gated { .. } | Self::NotAllowed { .. } => ErrorKind::Denied,
            Self::Newer { .. } => ErrorKind::Unsupported,
            Self::Store(e) if e.is_newer() => ErrorKind::Unsupported,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Store(e) if e.is_corrupt() => ErrorKind::Corrupt,
            Self::ChangedWhileRead { .. }
            | Self::Package { .. }
            | Self::Program { .. }
            | Self::Io { .. }
            | Self::Store(_) => ErrorKind::Io,
            Self::Cancelled | Self::CancelledWriting => ErrorKind::Cancelled,
        }
    }

    /// Wraps an I/O error with what was attempted on which file.
    pub fn io(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { op, path, source }
    }

    /// Something that does not exist.
    pub fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound {
            what,
            name: name.into(),
        }
    }

    /// Something that breaks a rule.
    pub fn invalid(what: &'static str, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            what,
            name: name.into(),
            reason: reason.into(),
        }
    }
}

impl From<PathError> for Error {
    fn from(e: PathError) -> Self {
        Self::invalid("path", e.path, e.reason)
    }
}

impl From<DecodeError> for Error {
    fn from(e: DecodeError) -> Self {
        Self::Corrupt {
            what: "object".into(),
            detail: e.to_string(),
        }
    }
}

fn remote_kind(e: &modelv_store::remote::RemoteError) -> ErrorKind {
    use modelv_store::remote::{RemoteError as R, Trouble};
    match e {
        R::Stopped => ErrorKind::Cancelled,
        R::Address { .. } => ErrorKind::InvalidInput,
        R::Access {
            trouble: Trouble::Denied | Trouble::Credentials,
            ..
        } => ErrorKind::Denied,
        R::Access {
            trouble: Trouble::Bucket,
            ..
        } => ErrorKind::NotFound,
        R::NoSwap { .. } => ErrorKind::Unsupported,
        e if e.is_corrupt() => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    }
}

/// Result with the library's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
