//! An unpacked image in namespaces of its own, started with `unshare` of util-linux: as the user that the
//! image names where we may choose one, on a root that can't be written, with nothing of this machine but
//! its devices, its processors and its network.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::running::INSIDE;
use crate::error::{Error, Result};
use crate::unpack::RunConfig;

/// Where `unshare`, `mount` and `chroot` are, whatever the image says of `PATH`.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `$1`: the root, `$2`: an option of `chroot` or nothing; then the program and its arguments. A root that
/// can't be made read-only is no reason to know nothing of its answers.
fn script() -> String {
    format!(
        "set -e; root=$1; user=$2; shift 2; mount --bind \"$root\" \"$root\"; \
         mount --rbind /dev \"$root/dev\"; \
         mount -t proc proc \"$root/proc\" 2>/dev/null || mount --rbind /proc \"$root/proc\"; \
         mount -t tmpfs tmpfs \"$root/tmp\"; mount -o remount,bind,ro \"$root\" 2>/dev/null || :; \
         echo '{INSIDE}' >&2; exec chroot $user \"$root\" \"$@\""
    )
}

/// The command that starts an image which is unpacked in `root`. It ends, and all that it has started, when
/// its process does.
pub(super) fn command(root: &Path, config: &RunConfig) -> Result<Command> {
    for name in ["dev", "proc", "tmp"] {
        let dir = root.join(name);
        if dir.symlink_metadata().is_err() {
            std::fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        }
    }
    let owner = std::fs::metadata(root).map_err(Error::io("read", root))?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut user = String::new();
    let mut command = Command::new("unshare");
    match config.user.split_once(':') {
        // What we have just made is ours: root's, if we are root.
        Some((uid, gid)) if owner.uid() == 0 && is_number(uid) && is_number(gid) => {
            user = format!("--userspec={uid}:{gid}");
        }
        _ if owner.uid() == 0 => {}
        _ => {
            command.arg("--map-root-user");
        }
    }
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c"])
        .args([script().as_str(), "sh"])
        .arg(root)
        .arg(user)
        .args(&config.entrypoint)
        .env_clear();
    for variable in &config.env {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    let path = config.env.iter().find_map(|v| v.strip_prefix("PATH="));
    let path = path.map_or(SYSTEM_PATH.into(), |path| format!("{path}:{SYSTEM_PATH}"));
    command
        .env("PATH", path)
        .env("MODELV_LISTEN", "127.0.0.1:0");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_our_environment_gets_in() {
        let root = tempfile::tempdir().unwrap();
        let config = RunConfig {
            entrypoint: vec!["/bin/x".into(), "serve".into()],
            env: vec!["A=1".into(), "PATH=/opt/bin".into()],
            workdir: "/".into(),
            user: "65532:65532".into(),
            platform: String::new(),
            commit: None,
        };
        let made = command(root.path(), &config).unwrap();
        let env: Vec<_> = made
            .get_envs()
            .map(|(name, value)| (name.to_str().unwrap(), value.unwrap().to_str().unwrap()))
            .collect();
        let path = format!("/opt/bin:{SYSTEM_PATH}");
        let want = [
            ("A", "1"),
            ("MODELV_LISTEN", "127.0.0.1:0"),
            ("PATH", &path),
        ];
        assert_eq!(env, want);
        let args: Vec<_> = made.get_args().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(args[args.len() - 2..], ["/bin/x", "serve"]);
        assert!(root.path().join("proc").is_dir());
        // The folders of an image that has them are its own.
        command(root.path(), &config).unwrap();
    }
}
