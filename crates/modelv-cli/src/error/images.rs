//! Errors of images, of servers and of mounts, with their hints.

use super::CommandError;

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
            E::Model { path, why, .. } => Some(model_hint(path, why)),
            other => image_hint(other).map(str::to_owned),
        };
        match e {
            E::Repo(inner) => inner.into(),
            other => Self::failed(&other, hint),
        }
    }
}

fn image_hint(e: &modelv_release::Error) -> Option<&'static str> {
    use modelv_release::Error as E;
    match e {
        E::Base { detail, .. } if detail.contains("`mmdebstrap` makes it") => Some(
            "`apt-get install mmdebstrap`; or `--base python` packs this machine's interpreter",
        ),
        E::Base { .. } => Some(
            "`--base python` packs this machine's interpreter; `--base PATH` takes a layout, folder or tar",
        ),
        E::Package { detail, .. } if detail.contains("is vendored") => Some(
            "`modelv env vendor REV` builds wheels of what was installed from folders, and keeps them",
        ),
        E::Package { .. } => Some("`modelv env REV` lists the packages of the commit"),
        E::NoEntry { .. } => Some(
            "add `[serve]` with `entry = \"serve:predict\"` or `model = \"model.onnx\"` to modelv.toml and commit",
        ),
        E::NoModel { .. } => Some(
            "`modelv run` makes it, and `modelv commit` takes it in; `--without-model` releases without",
        ),
        E::NoWeights { .. } => Some("`modelv run` makes a model, and `modelv commit` takes it in"),
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
