//! Hints of what is recorded around the files, and of what comes from other tools and goes to them.

use modelv_repo::Error;
use modelv_repo::capture::secrets::Finding;

/// Hints of what comes from other tools and goes to them.
pub(super) fn interop_hint(e: &Error) -> Option<String> {
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
pub(super) fn record_hint(e: &Error) -> Option<String> {
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
