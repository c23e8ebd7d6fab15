//! Errors for people: what failed, what caused it, and the command to type next. The only place
//! where hints are written and kinds become exit codes.

use std::process::ExitCode;

use modelv_repo::capture::secrets::Finding;
use modelv_repo::core::weights::WeightsError;
use modelv_repo::remote::{RemoteError, Trouble};
use modelv_repo::{Error, ErrorKind, StoreError};

use crate::ui::{Style, Ui};

mod external;
pub(crate) mod git;

/// An error with what to do about it.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    code: u8,
}

impl CommandError {
    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self {
            message,
            causes: Vec::new(),
            hint,
            code: 2,
        }
    }

    /// What failed and why, for a log.
    pub(crate) fn in_a_line(&self) -> String {
        let all = std::iter::once(&self.message).chain(&self.causes);
        all.map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// What it says, where another item can still be dealt with; `None`: damage or an interruption.
    pub(crate) fn may_go_on(&self) -> Option<&str> {
        (self.code < 3).then_some(&self.message)
    }

    /// What could not be done, although the command line makes sense.
    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: 1,
            ..Self::usage(message, hint)
        }
    }

    /// A failure outside of the library.
    pub(crate) fn failed(error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self {
            message: error.to_string(),
            causes: causes(error),
            hint,
            code: 1,
        }
    }

    pub(crate) fn report(&self, ui: &mut Ui) -> ExitCode {
        let head = ui.paint(Style::Removed, "error:");
        ui.talk(format!("{head} {}", self.message));
        for cause in &self.causes {
            ui.talk(format!("  caused by: {cause}"));
        }
        if let Some(hint) = &self.hint {
            let head = ui.paint(Style::Strong, "hint:");
            ui.talk(format!("\n{head} {hint}"));
        }
        ExitCode::from(self.code)
    }
}

/// Hints of what comes from other tools and goes to them.
fn interop_hint(e: &Error) -> Option<String> {
    let text = match e {
        Error::Invalid {
            what: "Git repository",
            ..
        } => {
            "name the folder that has `.git` in it, or a bare repository; `git fsck` there checks it"
        }
        Error::Invalid {
            what: "pipeline of DVC",
            ..
        } => {
            "`dvc stage list` there shows whether DVC reads it; anchors and tags of YAML are not read here"
        }
        Error::NotFound {
            what: "pipeline of DVC",
            ..
        } => "`modelv import dvc DIR` names the folder that holds `dvc.yaml`",
        Error::Invalid {
            what: "MLflow store",
            ..
        } => "name a folder `mlruns` or a database; one on a server is not read",
        Error::NotFound {
            what: "snapshot of the Hub",
            ..
        } => "`hf download OWNER/NAME` gets it; a folder of another cache can be named, too",
        Error::Invalid {
            what: "file in a cache",
            ..
        } => "delete it and have the tool that keeps the cache fetch it again",
        Error::Overtaken { .. } => {
            "`modelv merge BRANCH` takes it, `modelv branch -d BRANCH` gives it up"
        }
        Error::State(text) if text.ends_with("is checked out there") => {
            "`--branch NAME` writes another branch"
        }
        Error::State(text) if text.contains("there has commits that") => {
            "`--branch NAME` writes another branch; `--force` moves this one"
        }
        _ => return None,
    };
    Some(text.into())
}

/// Hints of what is recorded around the files: credentials, runs, metrics.
fn record_hint(e: &Error) -> Option<String> {
    let text = match e {
        Error::Secrets { findings } => return Some(secrets_hint(findings)),
        Error::NotFound {
            what: "run" | "metric",
            ..
        } => "`modelv runs` lists them",
        Error::Program { program, .. } if program.starts_with("hook ") => {
            "mend what it found; `--no-hooks` goes on without it"
        }
        Error::Package { detail, .. } if detail.contains("no index may be asked") => {
            "`modelv env vendor REV` puts it into the repository, where an index or the package is at hand; \
             `--wheels DIR` takes it from a folder"
        }
        Error::Package { detail, .. } if detail == modelv_repo::wheels::pip::UNREACHABLE => {
            "`--index URL` names another, `--wheels DIR` a folder; where there is a network, \
             `modelv env vendor REV` puts all packages into the repository"
        }
        Error::Package { detail, .. } if detail.starts_with("its vendored wheel") => {
            "`modelv env vendor REV --drop` takes the wheels out, `modelv env vendor REV` finds others"
        }
        Error::State(text) if text.starts_with("this clone does not hold the vendored wheel") => {
            "`modelv fetch --add model` brings it"
        }
        Error::State(text) if text.contains(", this machine is ") => {
            "its wheels can be vendored on a machine of that kind, and pushed from there"
        }
        Error::NotFound {
            what: "vendored environment",
            ..
        } => "`modelv env vendor REV` makes one, `modelv env show REV` tells whether there is one",
        Error::Package { package, .. } if package.contains('+') => {
            "a local version such as `+cpu` is on no public index: name its own with `--index URL` \
             (PyTorch's is https://download.pytorch.org/whl/cpu), or a folder with `--wheels DIR`"
        }
        Error::Package { .. } => {
            "`--wheels DIR` takes wheels from a folder, `--index URL` from an index"
        }
        Error::Exists { what: "folder", .. } => "name a new folder, or remove this one",
        Error::State(text) if text.contains("was recorded and is not on this machine") => {
            "`uv python install VERSION` gets it; `--python PATH` takes another and says what differs"
        }
        Error::State(text) if text.contains("records no environment") => {
            "`modelv env show` is that of this machine; `[env] capture = \"auto\"` records it"
        }
        Error::Invalid { what: "sweep", .. } => {
            "for example `modelv run --sweep lr=1e-4,1e-3 seed=1..5 -- python train.py`"
        }
        Error::Invalid {
            what: "condition", ..
        } => "for example `--metric 'f1>0.8'` or `--param optimizer=adam`",
        _ => return None,
    };
    Some(text.to_owned())
}

fn secrets_hint(findings: &[Finding]) -> String {
    let mut keys: Vec<String> = findings.iter().map(|f| format!("\"{}\"", f.key)).collect();
    let mut seen = std::collections::HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    let list = match keys.len() {
        0..=3 => keys.join(", "),
        _ => format!("\n        {},\n    ", keys.join(",\n        ")),
    };
    format!(
        "read them from an environment variable, or name the file in .mvignore. What is no secret goes \
         into modelv.toml:\n\n    [secrets]\n    allow = [{list}]\n\nA pattern such as \"tests/**\" allows whole \
         files, `--allow-secret` everything this once"
    )
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = error.source();
    while let Some(cause) = at {
        let text = cause.to_string();
        // Many a library repeats in each error what its cause says.
        if !out
            .last()
            .is_some_and(|before: &String| before.contains(&text))
        {
            out.push(text);
        }
        at = cause.source();
    }
    out
}

impl From<Error> for CommandError {
    fn from(e: Error) -> Self {
        let code = match (&e, e.kind()) {
            (Error::ConflictsRemain { .. }, _) => 3,
            (_, ErrorKind::Corrupt) => 4,
            (_, ErrorKind::Cancelled) => 130,
            _ => 1,
        };
        Self {
            message: e.to_string(),
            causes: causes(&e),
            hint: hint(&e).or_else(|| file_hint(&e)).or_else(|| team_hint(&e)),
            code,
        }
    }
}

/// What to do with a model that the server does not run.
pub(crate) fn model_hint(path: &str, e: &modelv_serve::ModelError) -> String {
    match e {
        modelv_serve::ModelError::Read { .. } => {
            "`modelv show REV` lists the files of a commit; `[serve] model` of modelv.toml names one of them".into()
        }
        _ => format!(
            "a function can serve it: `[serve] entry = \"serve:predict\"` in the place of `model`, and in serve.py \
             `onnxruntime.InferenceSession(\"{path}\").run(None, inputs)`"
        ),
    }
}

impl From<modelv_release::Error> for CommandError {
    fn from(e: modelv_release::Error) -> Self {
        use modelv_release::Error as E;
        let hint = match &e {
            E::Base { detail, .. } if detail.contains("`mmdebstrap` makes it") => Some(
                "`apt-get install mmdebstrap`; or `--base python` packs this machine's interpreter",
            ),
            E::Base { .. } => Some(
                "`--base python` packs this machine's interpreter; `--base PATH` takes a layout, folder or tar",
            ),
            E::Package { .. } => Some("`modelv env REV` lists the packages of the commit"),
            E::NoEntry { .. } => Some(
                "add `[serve]` with `entry = \"serve:predict\"` or `model = \"model.onnx\"` to modelv.toml and commit",
            ),
            E::Model { path, why, .. } => {
                let hint = model_hint(path, why);
                return Self::failed(&e, Some(hint));
            }
            E::NoModel { .. } => Some(
                "`modelv run` makes it, and `modelv commit` takes it in; `--without-model` releases without",
            ),
            E::NoWeights { .. } => {
                Some("`modelv run` makes a model, and `modelv commit` takes it in")
            }
            E::Entry { .. } => Some(
                "`[serve] entry` of modelv.toml is `module:function`; `modelv serve COMMIT` tries it",
            ),
            E::GoldenFile { .. } => Some(
                "`modelv release golden REQUESTS` records answers into the file that `[serve] golden` names; commit it",
            ),
            E::Golden { .. } => Some(
                "mend what has changed; or, if the new answers are right, `modelv release golden` records them anew; \
                 `[serve] golden-tolerance` says how far numbers may differ. `--no-replay` releases all the same",
            ),
            E::Unstarted { .. } | E::Unanswered { .. } => {
                Some("`modelv serve COMMIT` starts the same server without an image")
            }
            E::File { .. } => {
                Some("commit the file itself, or keep it out of commits with a line in `.mvignore`")
            }
            E::Reference { .. } => {
                Some("for example `tweets:latest`, or `registry.example/team/tweets:1` to push")
            }
            E::Registry { .. } => Some(
                "is it running? `docker login REGISTRY`, or MODELV_REGISTRY_USER and MODELV_REGISTRY_PASSWORD, say who pushes",
            ),
            E::Taken { .. } => Some("name another place, or move away what is there"),
            E::NoImage { .. } => Some(
                "`modelv release COMMIT --output DIR` makes one; one in a registry is named like `registry.example/team/tweets:1`",
            ),
            E::Key { .. } => Some(
                "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one, `openssl pkey -pubout` its public half",
            ),
            E::Signature { .. } => {
                Some("`modelv release REV --sign-key FILE` signs; a push takes signatures along")
            }
            E::Platform { .. } => {
                Some("`modelv serve COMMIT` and `modelv release COMMIT` make it for this machine")
            }
            E::Start { .. } => Some(
                "`modelv serve COMMIT` serves a commit with this machine's interpreter; an engine starts an image: \
                 `modelv release COMMIT --load podman`",
            ),
            E::Packing { .. } => Some("build it with `--compression gzip`, or on another base"),
            E::Engine { .. } => {
                Some("is the engine running, and may you use it? `--tar FILE` writes what it loads")
            }
            E::Libraries { .. } => Some("use a base that has them, or `--base python`"),
            _ => None,
        };
        match e {
            E::Repo(inner) => inner.into(),
            other => Self::failed(&other, hint.map(str::to_owned)),
        }
    }
}

impl From<modelv_mount::Error> for CommandError {
    fn from(e: modelv_mount::Error) -> Self {
        use modelv_mount::Error as E;
        let hint = match &e {
            E::NoDevice => Some(
                "`modprobe fuse` as root; a container needs `--device /dev/fuse --cap-add SYS_ADMIN`. \
                 `modelv export COMMIT DIR` writes the files instead",
            ),
            E::NoHelper => Some("install it, for example with `apt-get install fuse3`"),
            E::Folder { reason, .. } if reason.contains("has ended") => {
                Some("`umount DIR` takes it away")
            }
            E::Folder { .. } => Some("name a folder that is empty or missing"),
            E::Io { op: "mount on", .. } => Some(
                "a container needs `--device /dev/fuse --cap-add SYS_ADMIN`; \
                 `modelv export COMMIT DIR` writes the files instead",
            ),
            _ => None,
        };
        match e {
            E::Repo(inner) => inner.into(),
            other => Self::failed(&other, hint.map(str::to_owned)),
        }
    }
}

/// Hints of names that are not there, are there already, or could be several.
fn name_hint(e: &Error) -> Option<&'static str> {
    Some(match e {
        Error::NotARepository { .. } => "`modelv init` makes one here",
        Error::NotFound {
            what: "revision",
            name,
        } if name.contains(['/', '.']) => {
            "it is no revision; `-- PATH` says that a path is meant, also one that is gone"
        }
        Error::NotFound {
            what: "revision", ..
        } => "`modelv log` and `modelv branch` list what there is",
        Error::NotFound { what: "branch", .. } => {
            "`modelv branch` lists branches; `modelv switch -c NAME` makes one"
        }
        Error::NotFound {
            what: "conflict", ..
        } => "`modelv conflicts` lists them",
        Error::NotFound {
            what: "interpreter",
            ..
        } => "name one with `--python PATH`, or set `[env] capture = \"none\"` in modelv.toml",
        Error::NotFound { what: "alias", .. } => {
            "`modelv alias list` lists them; `modelv alias set NAME COMMIT -m WHY` makes one"
        }
        Error::Gated { refused, .. } if refused.iter().any(|r| r.ends_with("is not evaluated")) => {
            "`--evaluate` runs `[evaluate] command` now; `modelv ci run COMMIT` does so, too"
        }
        Error::Gated { .. } => {
            "mend the model; `--force --reason WHY` moves it all the same and is recorded"
        }
        Error::NotFound { what: "stage", .. } => "`modelv pipeline` lists the stages",
        Error::Invalid {
            what: "file",
            reason,
            ..
        } if reason.starts_with("it is a folder") => {
            "`modelv cat REV:PATH` prints one file of it; \
             `modelv mount REV DIR` shows a commit as a folder, `modelv export REV DIR` writes it"
        }
        Error::NotFound { what: "path", .. } => "`modelv status` and `modelv track` list paths",
        Error::Exists { what: "branch", .. } => "`modelv switch NAME` checks it out",
        Error::Exists {
            what: "repository", ..
        } => "`modelv status` shows its state",
        Error::Exists { what: "tag", .. } => "tags don't move; `modelv tag -d NAME` removes one",
        Error::Ambiguous { candidates, .. } if candidates.iter().any(|c| c.contains(':')) => {
            "write it with its quotes, as `modelv conflicts` does"
        }
        Error::CancelledWriting => {
            "`modelv status` shows them; the same command again goes on, `modelv restore .` goes back"
        }
        Error::Ambiguous { .. } => "write more digits, or the full name such as `refs/heads/NAME`",
        _ => return None,
    })
}

fn hint(e: &Error) -> Option<String> {
    let known = record_hint(e)
        .or_else(|| interop_hint(e))
        .or_else(|| external::hint(e))
        .or_else(|| name_hint(e).map(str::to_owned));
    if known.is_some() {
        return known;
    }
    let text = match e {
        Error::Invalid {
            what: "commit message",
            ..
        } => "say what changed: `modelv commit -m \"...\"`",
        Error::Invalid {
            what: "strategy", ..
        } => "for example `--strategy theirs:config` or `--strategy ours:data/x.csv`",
        Error::Invalid {
            what: "configuration filter",
            ..
        } => "for example `--config lr` or `--config lr=0.1`",
        Error::Invalid { what: "blame", .. } => "`modelv log -- PATH` shows who changed it",
        Error::Invalid { what: "parent", .. } => "`modelv show COMMIT` lists its parents",
        Error::Invalid {
            what: "revision", ..
        } => "for example `HEAD~2`, `main`, `1a2b3c4d`, `main@{1}`",
        Error::Invalid {
            what: "file", name, ..
        } if name == "modelv.toml" => {
            "mend it, or `modelv restore modelv.toml` brings the committed one back"
        }
        Error::Invalid { what: "file", .. } => "mend the file and try again",
        Error::NothingToCommit { .. } => {
            "`modelv status` shows what differs; `--allow-empty` commits all the same"
        }
        Error::ConflictsRemain { .. } => {
            "`modelv conflicts` shows them; `modelv resolve ITEM --ours|--theirs` decides one"
        }
        Error::RefMoved { .. } | Error::Collected { .. } => "try again",
        Error::ChangedWhileRead { .. } => "wait until nobody writes to it, and try again",
        Error::Newer { .. } => "install a newer modelv",
        Error::Store(e) if e.is_newer() => "install a newer modelv",
        Error::Corrupt { what, .. } if what.ends_with("oplog`") => {
            "`modelv fsck` checks what is stored; `modelv fsck --rescue` keeps a copy of the log, and \
             gives every commit in the packs a branch"
        }
        Error::Corrupt { .. } => "`modelv fsck` lists all damage",
        Error::Store(e) if e.is_corrupt() => "`modelv fsck` lists all damage",
        Error::Weights(e) => return Some(weights_hint(e).to_owned()),
        Error::State(text) => return state_hint(text),
        _ => return None,
    };
    Some(text.to_owned())
}

fn weights_hint(e: &WeightsError) -> &'static str {
    match e {
        WeightsError::NoBase(_) | WeightsError::OwnBase(_) => "name it with `--base REV:PATH`",
        WeightsError::Base(_) => "leave `--base` out",
        WeightsError::File { .. } => "weights are merged from safetensors files",
        WeightsError::Conflicts(_) => {
            "only models of one architecture can be merged; `modelv diff` shows both"
        }
        _ => "for example `linear=0.5`, `slerp=0.3`, `ties=0.2`, `task=0.5` or `dare=0.9,seed=1`",
    }
}

/// What ends a state in which a command can't be done, by words of its message.
const STATE_HINTS: &[(&str, &str)] = &[
    (
        "who commits",
        "`modelv config user.name \"Your Name\"` and `modelv config user.email you@example.org`",
    ),
    (
        "a run is under way in this working tree",
        "`modelv run --wait` waits for its end; a clone (`modelv clone . DIR`) is a working tree of its own, and so has \
         every point of a sweep",
    ),
    (
        "this working tree holds a part of them",
        "`modelv sparse disable` or `modelv fetch --add code,config,data` brings the rest; `modelv run --sweep` and \
         `modelv reproduce` take them all by themselves",
    ),
    (
        "this clone holds a part of what",
        "where the repository moved, `modelv remote remove NAME` and `modelv remote add NAME URL`; otherwise \
         `modelv fetch --unshallow` and `modelv fetch --add code,config,data,model` bring the rest first",
    ),
    (
        "was killed, and what it started still writes here",
        "end what is left of it with `kill PROCESS`, then try again",
    ),
    (
        "one of them is to go",
        "make the command a stage, `[stage.train]`, or take the stages out",
    ),
    (
        "which is a link to a folder",
        "make it a folder (a mount of the other disk, for example), or declare the folder it leads to if that is in \
         this tree",
    ),
    (
        "merge is not finished",
        "`modelv merge --continue` finishes it, `modelv merge --abort` gives it up",
    ),
    (
        "cherry-pick is not finished",
        "`modelv cherry-pick --continue` goes on, `--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "revert is not finished",
        "`modelv revert --continue` goes on, `--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "rebase is not finished",
        "`modelv rebase --continue` goes on, `--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "say which parent",
        "`-m 1` takes the difference to its first parent, the branch it was merged into",
    ),
    (
        "that this working tree does not hold",
        "`modelv sparse disable`, or `modelv fetch --add INGREDIENT`, and again",
    ),
    (
        "lacks a part of the history",
        "`modelv fetch --unshallow` brings it, `modelv fetch --depth N` more of it",
    ),
    (
        "commits with one parent",
        "`modelv merge UPSTREAM` combines the branches, and keeps the merge",
    ),
    (
        "nothing is left of",
        "`--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "need a message and a commit each",
        "name one commit with `--message` or `--no-commit`",
    ),
    (
        "which is not what was expected",
        "`modelv alias log NAME` shows who moved it; look before you move it again",
    ),
    (
        "no commit yet",
        "`modelv commit -m \"...\"` makes the first",
    ),
    (
        "one name on this file system",
        "rename one of them in a clone on a file system that tells them apart, and commit that",
    ),
    (
        "nothing is decided",
        "`--ours` or `--theirs` takes a side; or change the file, then `modelv resolve PATH`",
    ),
    (
        "conflict markers",
        "edit the file, then `modelv resolve PATH`",
    ),
    (
        "can't fast-forward",
        "without `--ff-only` they are merged; `modelv rebase REV` puts your commits on top",
    ),
    (
        "no bisection is under way",
        "`modelv bisect start BAD GOOD` begins one",
    ),
    (
        "a bisection is under way already",
        "`modelv bisect status` shows it, `modelv bisect reset` ends it",
    ),
    (
        "bisect needs a bad commit",
        "`modelv bisect bad REV` and `modelv bisect good REV`",
    ),
    (
        "does not lie before bad commit",
        "`modelv bisect reset`, then `modelv bisect start BAD GOOD` with another pair",
    ),
    (
        "by the modelv.toml of",
        "take the code of a commit whose modelv.toml knows these files, or change it and commit first",
    ),
    (
        "lie over one another",
        "take the ingredients that share a path from one commit",
    ),
    (
        "nothing to compose",
        "`--data REV` and the others name whose ingredient is taken; `modelv branch NAME REV` only names a commit",
    ),
    ("no command given", "`modelv run -- python train.py`"),
    (
        "is not the environment of commit",
        "`--recreate` makes it again, `--env DIR` takes another all the same; `modelv env check COMMIT` lists what differs",
    ),
    ("could be repeated", "`modelv run` makes commits with a run"),
    (
        "has no model to make again",
        "`modelv run` makes one; `modelv log` marks commits without",
    ),
    (
        "is in more than one place",
        "name one of them: `--sweep params.toml:train.lr=VALUES`",
    ),
    (
        "in no configuration file, and the command",
        "`modelv track` shows which files are configuration, `FILE:KEY` names a key of any file; a flag of the \
         command takes a value as in `-- python train.py --lr {lr}`",
    ),
    (
        "has no stages",
        "for example:\n\n    [stage.train]\n    command = \"python train.py\"\n    inputs = [\"train.py\", \"data\"]\n    params = [\"train\"]\n    outputs = [\"models/model.joblib\"]",
    ),
    (
        "stages and a `[train] command`",
        "make it a stage, or name one to `modelv run -- COMMAND`",
    ),
    (
        "and no stage makes it",
        "bring it here, or declare it under `outputs` of the stage that writes it",
    ),
    (
        "configuration file",
        "`modelv track` shows which files are configuration; `FILE:KEY` names a key of any file",
    ),
];

fn state_hint(text: &str) -> Option<String> {
    let found = STATE_HINTS.iter().find(|(part, _)| text.contains(part));
    found.map(|(_, hint)| (*hint).to_owned())
}

/// Hints about files that are where others should be, or can't be at all.
fn file_hint(e: &Error) -> Option<String> {
    let text = match e {
        Error::Uncommitted { .. } => {
            "`modelv commit -m \"...\"` them first; what is never to be committed belongs in `.mvignore`"
        }
        Error::WouldOverwrite {
            action: "fetch", ..
        } => {
            "no commit has external data: move it away or remove it, then `modelv external fetch PATH`"
        }
        Error::WouldOverwrite { .. } => {
            "`modelv commit -m \"...\"` keeps them; `modelv restore PATH` drops them, \
             and `modelv undo` after it brings them back"
        }
        Error::PutAside { .. } => {
            "`modelv restore --source restore/before PATH` writes what was put aside over them"
        }
        Error::InTheWay { .. } => {
            "move it away or remove it; what is not ignored, `modelv commit -m \"...\"` keeps"
        }
        Error::Exists { what: "output", .. } => {
            "name another file, `modelv commit` this one first, or `--force` writes over it"
        }
        Error::Blocked { by, .. } => return Some(format!("move `{by}` away, then try again")),
        Error::Invalid { what: "path", .. } => {
            "rename it, or keep it out of commits with a line in `.mvignore`"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Hints about remotes and clones.
fn team_hint(e: &Error) -> Option<String> {
    let text = match e {
        Error::Rejected { refs, .. } => return Some(rejected_hint(refs)),
        Error::Remote(e) => return remote_hint(e),
        Error::NotHere {
            source: Some(cause),
            ..
        } => {
            return team_hint(cause).map(|hint| {
                format!(
                    "{hint}\n`modelv fetch PATH` brings contents that are to be read offline later"
                )
            });
        }
        Error::NotHere { .. } => {
            "no remote of this clone has it any more: `modelv remote add NAME URL` names another one"
        }
        Error::Store(StoreError::Elsewhere {
            source: Some(cause),
            ..
        }) => {
            let StoreError::Remote(e) = &**cause else {
                return None;
            };
            return remote_hint(e);
        }
        Error::Store(StoreError::Remote(e)) => return remote_hint(e),
        Error::NotFound { what: "remote", .. } => {
            "`modelv remote list` lists them; `modelv remote add NAME URL` adds one"
        }
        Error::NotFound {
            what: "repository", ..
        } => "check the address; the first `modelv push` makes a repository there",
        Error::Exists { what: "remote", .. } => "`modelv remote remove NAME` forgets it",
        Error::Exists { what: "folder", .. } => "name a folder that is empty or missing",
        Error::Store(StoreError::Busy { .. }) => "wait until it has ended, and try again",
        Error::Store(StoreError::NotFound { what, .. }) => return not_here(what),
        Error::State(text) if text.contains("a working copy, no remote") => {
            "`modelv push` from there to an empty folder, and name that folder here"
        }
        Error::State(text) if text.contains("bare repository") => {
            "`modelv clone URL DIR` makes one with a working tree"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn rejected_hint(refs: &[(String, &'static str)]) -> String {
    let any = |reason: &str| refs.iter().any(|(_, r)| r.contains(reason));
    let text = if any("the alias was moved there") {
        "`modelv fetch` says where to; `modelv alias delete NAME` and another fetch take that move, then move it again"
    } else if any("fetch first") {
        "somebody else has pushed: `modelv pull` merges it, then push again"
    } else if any("nothing there has") {
        "`modelv remote list --json` lists the branches there; `modelv fetch --prune` forgets those that are gone"
    } else if any("since it was last fetched") {
        "`modelv fetch` shows what is there now; look before you replace it"
    } else if any("tag") {
        "tags don't move; `modelv push --delete REMOTE TAG` removes one there"
    } else {
        "push another branch first, or keep this one"
    };
    text.to_owned()
}

/// What a clone may lack without being damaged.
fn not_here(what: &str) -> Option<String> {
    let text = match what {
        "file content" | "chunk" | "cuts record" => {
            "this clone holds a part: `modelv fetch --add data` (or model, code, config) brings it"
        }
        "commit" => {
            "this clone may lack a part of the history: `modelv fetch --unshallow` brings it"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn remote_hint(e: &RemoteError) -> Option<String> {
    let (trouble, url) = match e {
        RemoteError::Access { trouble, url, .. } => (*trouble, url.as_str()),
        RemoteError::Address { .. } => {
            return Some(
                "for example `s3://bucket/prefix`, `file:///srv/models` or `../models`".into(),
            );
        }
        RemoteError::NoSwap { .. } => {
            return Some(
                "two pushes at once would lose one there; use a store with conditional writes, or a folder".into(),
            );
        }
        RemoteError::Unknown { .. } => {
            return Some("`modelv fetch` shows whether it happened; pushing again is safe".into());
        }
        RemoteError::Busy { .. } | RemoteError::Collected { .. } => {
            return Some("try again".into());
        }
        RemoteError::Corrupt { .. } => {
            return Some("nothing has changed here; push again from a clone that has it".into());
        }
        _ => return None,
    };
    let is = |scheme: &str| url.starts_with(scheme);
    let text = match trouble {
        Trouble::Credentials if is("s3:") => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for one of ~/.aws/credentials"
        }
        Trouble::Credentials if is("gs:") => {
            "set GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`"
        }
        Trouble::Credentials if is("az:") => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or a SAS token or client id)"
        }
        Trouble::Denied => {
            "ask for the right to read, list and write there, or use other credentials"
        }
        Trouble::Bucket => "make the bucket first, or check its name and `--endpoint`",
        Trouble::Region => {
            "name the bucket's region: `modelv remote add NAME URL --region REGION`, or AWS_REGION"
        }
        Trouble::Clock => "set this machine's clock: requests are signed with the time",
        Trouble::Name if is("s3:") => {
            "check the region (`--region`, AWS_REGION), which is part of AWS's host, or `--endpoint`, and the network"
        }
        Trouble::Name if is("az:") => {
            "check AZURE_STORAGE_ACCOUNT_NAME, which Azure's host begins with, or `--endpoint`, and the network"
        }
        Trouble::Name => "check the host in `--endpoint` and the network",
        Trouble::Refused => "check that the service runs, and host and port of `--endpoint`",
        Trouble::Tls => {
            "SSL_CERT_FILE names further certificates; plain `http://` to another machine needs AWS_ALLOW_HTTP=true"
        }
        Trouble::Timeout => "check the network and try again: what has arrived is not sent again",
        Trouble::ReadOnly => "push to another remote; this one serves reading",
        Trouble::Gone => {
            "mount or bring back what was there; a remote that has moved: `modelv remote remove NAME`, then \
             `modelv remote add NAME URL`"
        }
        Trouble::Missing => "`modelv fsck` in the clone that pushed last, and push again",
        _ => return None,
    };
    Some(text.to_owned())
}
