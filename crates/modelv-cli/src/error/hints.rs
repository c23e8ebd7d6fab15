//! Hints of what the library says: names, words and files.

use modelv_repo::Error;
use modelv_repo::core::weights::WeightsError;

use super::{external, records, states};

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

pub(super) fn hint(e: &Error) -> Option<String> {
    let known = records::record_hint(e)
        .or_else(|| records::interop_hint(e))
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
        Error::State(text) => return states::state_hint(text),
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

/// Hints about files that are where others should be, or can't be at all.
pub(super) fn file_hint(e: &Error) -> Option<String> {
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
