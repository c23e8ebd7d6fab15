//! Starting an unpacked image as an engine would, without one: in a mount namespace of its own, on its own
//! root, with its own programs, user and environment, and the network of this machine. Or closed in, to be
//! asked: with processes of its own, on a root that can't be written.
//!
//! Nothing of an image is believed: what is put beside its files is never put through a link of it, and it has no
//! rights, whoever starts it.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::layout::{damaged, oci_arch};
use crate::unpack::RunConfig;

/// Folders that something is mounted on: what every engine gives an image.
const SHARED: [&str; 4] = ["dev", "proc", "sys", "tmp"];
/// Files that tell programs how to find others; an image has them from its engine.
const NETWORK: [&str; 2] = ["etc/resolv.conf", "etc/hosts"];
/// Where programs of the administrator are, which need not be on a user's path.
const PATHS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Shares the folders, then becomes what follows the root. But for `/tmp` nothing of it can be written: who starts
/// it without rights owns its files, and what a request has changed there would be served from then on.
const SCRIPT: &str = "\
mount=$1 root=$2; shift 3
\"$mount\" --bind \"$root\" \"$root\" || exit
for name in dev proc sys; do \"$mount\" --rbind \"/$name\" \"$root/$name\" || exit; done
\"$mount\" --bind \"$root/tmp\" \"$root/tmp\" || exit
\"$mount\" -o remount,bind,ro,nosuid,nodev \"$root\" || exit
exec \"$@\"";

/// The same closed in. A root that can't be made read-only is no reason to know nothing of its answers.
const SCRIPT_CLOSED: &str = "\
mount=$1 root=$2 inside=$3; shift 3
\"$mount\" --bind \"$root\" \"$root\" || exit
\"$mount\" --rbind /dev \"$root/dev\" || exit
\"$mount\" -t proc proc \"$root/proc\" 2>/dev/null || \"$mount\" --rbind /proc \"$root/proc\" || exit
\"$mount\" -t tmpfs tmpfs \"$root/tmp\" || exit
\"$mount\" -o remount,bind,ro,nosuid,nodev \"$root\" 2>/dev/null
echo \"$inside\" >&2
exec \"$@\"";
/// What that says once nothing but the image can keep it from starting.
pub(crate) const INSIDE: &str = "modelv: inside the image";

/// A folder that nobody else may enter. It goes when this, and what was told to hold it, has ended, however
/// that comes about: a process of its own waits for it.
pub struct PrivateFolder {
    path: PathBuf,
    hold: PipeWriter,
}

impl PrivateFolder {
    /// Makes one among the temporary files.
    ///
    /// # Errors
    /// It can't be made, or there is no shell.
    pub fn new() -> Result<Self> {
        let top = std::env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix("modelv-image-")
            .tempdir()
            .map_err(Error::io("create a folder in", &top))?;
        let (end, hold) = std::io::pipe().map_err(Error::io("watch", &top))?;
        // In a group of its own: Ctrl-C is for what is served.
        Command::new("sh")
            .args(["-c", "cat; rm -rf -- \"$1\"", "sh"])
            .arg(dir.path())
            .stdin(end)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("watch", dir.path()))?;
        Ok(Self {
            path: dir.keep(),
            hold,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on it stays until the program ends that this command becomes.
    pub fn held_by(self, command: &mut Command) {
        command.stdin(self.hold);
    }
}

/// What starts the image that was unpacked into `root`. `variables` go before those of the image, `args`
/// behind its arguments.
///
/// # Errors
/// It was made for another kind of machine or not by a release, or this machine makes no namespace for who asks.
pub fn start(
    shown: &str,
    run: &RunConfig,
    root: &Path,
    variables: &[(&str, String)],
    args: &[String],
) -> Result<Command> {
    let mut command = enter(shown, run, root, variables, false)?;
    command.args(args);
    Ok(command)
}

/// What starts it closed in; it ends, and all that it has started, when its process does.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_closed(
    shown: &str,
    run: &RunConfig,
    root: &Path,
    variables: &[(&str, String)],
) -> Result<Command> {
    enter(shown, run, root, variables, true)
}

fn enter(
    shown: &str,
    run: &RunConfig,
    root: &Path,
    variables: &[(&str, String)],
    closed: bool,
) -> Result<Command> {
    let refuse = |detail: String| Error::Start {
        image: shown.to_owned(),
        detail,
    };
    let here = format!("linux/{}", oci_arch());
    if run.platform != here {
        return Err(Error::Platform {
            image: shown.to_owned(),
            detail: format!("it was made for {}, this is {here}", run.platform),
        });
    }
    if run.commit.is_none() || run.entrypoint.is_empty() {
        return Err(refuse("it was not made by `modelv release`".into()));
    }
    let (uid, gid) = run.check().map_err(refuse)?;
    let find = |name: &str| {
        find(name).ok_or_else(|| refuse(format!("there is no program `{name}` on this machine")))
    };
    prepare(root).map_err(|e| damaged(Path::new(shown), e.to_string()))?;
    let own_user = namespace(&find("unshare")?, &find("true")?).map_err(refuse)?;
    let mut command = Command::new(find("unshare")?);
    command.arg("--mount");
    if own_user {
        command.arg("--map-root-user");
    }
    if closed {
        command.args(["--pid", "--fork", "--kill-child"]);
    }
    let script = if closed { SCRIPT_CLOSED } else { SCRIPT };
    command.arg(find("sh")?).args(["-c", script, "sh"]);
    command.arg(find("mount")?).arg(root).arg(INSIDE);
    command.arg(find("env")?).arg("-i").args(&run.env);
    command.args(
        variables
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    if own_user {
        // There are no others to become in a namespace of users: one within, whose only user is the image's and
        // has no rights over what is around.
        let mut dir = OsString::from("--root=");
        dir.push(root);
        command
            .arg(find("unshare")?)
            .arg("--user")
            .arg(format!("--map-user={uid}"))
            .arg(format!("--map-group={gid}"))
            .args([dir, OsString::from("--wd=/")]);
    } else {
        command
            .arg(find("chroot")?)
            .args([format!("--userspec={uid}:{gid}"), "--groups=".to_owned()])
            .arg(root);
    }
    command.args(&run.entrypoint);
    Ok(command)
}

/// Whether a namespace of mounts needs one of users.
fn namespace(unshare: &Path, does_nothing: &Path) -> Result<bool, String> {
    let mut said = String::new();
    for own_user in [false, true] {
        let mut command = Command::new(unshare);
        command.arg("--mount");
        if own_user {
            command.arg("--map-root-user");
        }
        let output = command.arg(does_nothing).stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("`unshare` can't be run: {e}"))?;
        if output.status.success() {
            return Ok(own_user);
        }
        said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    }
    Err(format!("this machine makes no namespace for it ({said})"))
}

fn find(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let all = [own, OsString::from(PATHS)];
    let folders = all.iter().flat_map(std::env::split_paths);
    let mut places = folders
        .filter(|f| f.is_absolute())
        .map(|f| f.join(OsStr::new(name)));
    places.find(|p| p.is_file())
}

/// Makes what is mounted on, and what a network needs.
fn prepare(root: &Path) -> std::io::Result<()> {
    for name in SHARED {
        folder(&root.join(name))?;
    }
    folder(&root.join("etc"))?;
    for name in NETWORK {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        let is_missing =
            std::fs::symlink_metadata(&to).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        if is_missing && from.is_file() {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// A folder that is one, and no link to another.
fn folder(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => {
            let text = format!("`{}` is no folder", path.display());
            Err(std::io::Error::other(text))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => std::fs::create_dir(path),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn config() -> RunConfig {
        RunConfig {
            entrypoint: vec!["/bin/server".into()],
            env: vec!["A=b".into()],
            workdir: "/".into(),
            user: "65532:65532".into(),
            platform: format!("linux/{}", oci_arch()),
            commit: Some("c".repeat(64)),
        }
    }

    #[test]
    fn what_can_not_be_started_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let said = |config: &RunConfig| {
            let made = start("image", config, dir.path(), &[], &[]);
            made.unwrap_err().to_string()
        };
        let other = RunConfig {
            platform: "linux/s390x".into(),
            ..config()
        };
        assert!(said(&other).starts_with("image `image` is not for this machine"));
        let foreign = RunConfig {
            commit: None,
            ..config()
        };
        assert!(said(&foreign).contains("not made by `modelv release`"));
        for user in ["0:0", "65532:0", "root", "nobody:nobody", ""] {
            let root = RunConfig {
                user: user.into(),
                ..config()
            };
            assert!(said(&root).contains("a release runs as nobody"), "{user}");
        }
        for odd in [
            "sh",
            "-S",
            "=x",
            "1A=x",
            "A B=x",
            "LD_PRELOAD=./x.so",
            "GLIBC_TUNABLES=x",
        ] {
            let odd = RunConfig {
                env: vec!["PATH=/x".into(), odd.into()],
                ..config()
            };
            let said = said(&odd);
            assert!(
                said.contains("is no variable") || said.contains("outside of it"),
                "{said}"
            );
        }
    }

    #[test]
    fn nothing_is_put_through_a_link_of_an_image() {
        for name in ["dev", "etc"] {
            let dir = tempfile::tempdir().unwrap();
            let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
            std::fs::create_dir(&root).unwrap();
            std::fs::create_dir(&outside).unwrap();
            symlink(&outside, root.join(name)).unwrap();
            let made = start("image", &config(), &root, &[], &[]);
            let said = made.unwrap_err().to_string();
            assert!(said.contains("is no folder"), "{said}");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_private_folder_goes_with_who_holds_it() {
        let folder = PrivateFolder::new().unwrap();
        let path = folder.path().to_owned();
        std::fs::create_dir(path.join("root")).unwrap();
        let mut command = Command::new("cat");
        folder.held_by(command.stdout(Stdio::null()));
        // A pipe has no end to read from: `cat` ends at once, with an error.
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        drop(command);
        child.wait().unwrap();
        while path.exists() {
            std::thread::yield_now();
        }
    }
}
