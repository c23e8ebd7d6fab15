//! Unpacking an image into a folder, to be started in a namespace of its own. Every digest is
//! checked, and nothing is written outside of the folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use modelv_repo::Cancel;
use modelv_repo::core::id::to_hex;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::layer::digits;
use crate::layout::{damaged, oci_arch};
use crate::packer::Watched;
use crate::packing::Packing;
use crate::pull::{Pulled, Source, text};

/// How an image wants to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunConfig {
    /// Program and arguments.
    pub entrypoint: Vec<String>,
    /// Environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Current folder.
    pub workdir: String,
    /// `user:group`.
    pub user: String,
    /// System and architecture it was made for, as `linux/amd64`.
    pub platform: String,
    /// The commit it was made from, if its labels name one.
    pub commit: Option<String>,
}

/// Variables that change what any program loads: on the way into its root, an image would give them to
/// programs of this machine.
const LOADER: [&str; 2] = ["LD_", "GLIBC_TUNABLES"];

impl RunConfig {
    /// The user and group that it runs as, if it asks for nothing that reaches beyond its own root.
    ///
    /// # Errors
    /// It runs as root or as a user by name, or a variable is none or is one for the loader of programs.
    pub(crate) fn check(&self) -> std::result::Result<(u32, u32), String> {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        for variable in &self.env {
            let shown = variable.escape_debug();
            match variable.split_once('=') {
                Some((name, _)) if LOADER.iter().any(|l| name.starts_with(l)) => {
                    return Err(format!(
                        "its variable `{shown}` would reach programs outside of it"
                    ));
                }
                Some((name, _)) if is_name(name) => {}
                _ => return Err(format!("`{shown}` is no variable")),
            }
        }
        let ids = self.user.split_once(':');
        let ids = ids.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        ids.filter(|(uid, gid)| *uid != 0 && *gid != 0)
            .ok_or_else(|| {
                format!(
                    "it runs as `{}`, and a release runs as nobody",
                    self.user.escape_debug()
                )
            })
    }
}

/// Unpacks the layers of a layout, or of a tar of one, into `dest`, which is empty or missing.
///
/// # Errors
/// A digest does not match, a path leads out, something can't be written, or it was interrupted.
pub fn unpack(image: &Path, dest: &Path, cancel: &Cancel) -> Result<RunConfig> {
    let (config, modes) = lay_out(image, dest, cancel)?;
    close(&modes).map_err(Error::io("set modes below", dest))?;
    Ok(config)
}

/// The same, with folders that their owner may write into whatever their mode: who starts an image wants it gone
/// afterwards.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_to_start(image: &Path, dest: &Path, cancel: &Cancel) -> Result<RunConfig> {
    Ok(lay_out(image, dest, cancel)?.0)
}

/// Modes of folders into which not even their owner may write. They are set when nothing more goes into them:
/// bases have such folders with files in them, and only root could put those there.
pub(crate) type Modes = BTreeMap<PathBuf, u32>;

/// Sets them, what is inside before what it is in.
fn close(modes: &Modes) -> std::io::Result<()> {
    for (path, mode) in modes.iter().rev() {
        // Another layer may have put something else in its place.
        let is_same = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
            && path.canonicalize().is_ok_and(|found| found == *path);
        if is_same {
            std::fs::set_permissions(path, Permissions::from_mode(*mode))?;
        }
    }
    Ok(())
}

fn lay_out(image: &Path, dest: &Path, cancel: &Cancel) -> Result<(RunConfig, Modes)> {
    let mut modes = Modes::new();
    let bad = |detail: String| damaged(image, detail);
    let source = Source::Path(image.to_owned());
    let mut pulled = Pulled::open(&source, cancel)?;
    std::fs::create_dir_all(dest).map_err(Error::io("create", dest))?;
    let mut inside = std::fs::read_dir(dest).map_err(Error::io("read", dest))?;
    if inside.next().is_some() {
        return Err(Error::Taken {
            path: dest.to_owned(),
        });
    }
    for layer in pulled.layers() {
        let digest = text(&layer["digest"]);
        let path = pulled.blob(&digest, u64::MAX)?;
        check_blob(&path, &digest).map_err(&bad)?;
        let packing = Packing::of(&path)?.map_err(&bad)?;
        let applied = apply(Watched::new(packing.open(&path)?, cancel), dest, &mut modes);
        // Whatever an interrupt broke, the interrupt is the reason.
        cancel.check()?;
        applied.map_err(|e| bad(format!("layer `{digest}`: {e}")))?;
    }
    Ok((run_config(&pulled), modes))
}

fn run_config(pulled: &Pulled<'_>) -> RunConfig {
    let c = &pulled.config["config"];
    let list = |v: &Value| {
        let texts = v.as_array().into_iter().flatten();
        texts
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect()
    };
    let text = |v: &Value, or: &str| v.as_str().unwrap_or(or).to_owned();
    RunConfig {
        entrypoint: list(&c["Entrypoint"]),
        env: list(&c["Env"]),
        workdir: text(&c["WorkingDir"], "/"),
        user: text(&c["User"], "0:0"),
        platform: format!(
            "{}/{}",
            text(&pulled.config["os"], "linux"),
            text(&pulled.config["architecture"], oci_arch())
        ),
        commit: pulled.label("dev.modelv.commit"),
    }
}

fn check_blob(path: &Path, digest: &str) -> Result<(), String> {
    let mut file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer).map_err(|e| e.to_string())?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    if to_hex(&hasher.finalize()) == digits(digest) {
        return Ok(());
    }
    Err(format!("blob `{digest}` has other bytes"))
}

pub(crate) fn apply(input: impl Read, dest: &Path, modes: &mut Modes) -> std::io::Result<()> {
    let refuse = |text: String| Err(std::io::Error::other(text));
    let mut archive = tar::Archive::new(input);
    archive.set_preserve_permissions(true);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let relative: PathBuf = path
            .components()
            .filter(|c| !matches!(c, Component::CurDir | Component::RootDir))
            .collect();
        if relative
            .components()
            .any(|c| !matches!(c, Component::Normal(_)))
        {
            return refuse(format!("path `{}` leads out", path.display()));
        }
        let name = relative.file_name().unwrap_or_default();
        let parent = relative.parent().unwrap_or(Path::new(""));
        if let Some(gone) = name.as_bytes().strip_prefix(b".wh.") {
            white_out(dest, parent, gone)?;
            continue;
        }
        // The engine that starts an image makes its devices; a file in their place would only be
        // one that looks like a device.
        let kind = entry.header().entry_type();
        if kind.is_block_special() || kind.is_character_special() || kind.is_fifo() {
            continue;
        }
        // `unpack_in` refuses to follow links out of `dest`.
        if !entry.unpack_in(dest)? {
            return refuse(format!("path `{}` leads out", path.display()));
        }
        if kind.is_dir() && name != OsStr::new("") {
            open(&dest.join(&relative), entry.header().mode()?, modes)?;
        }
    }
    Ok(())
}

/// Lets the owner into a folder, and notes the mode that it is to have.
fn open(path: &Path, mode: u32, modes: &mut Modes) -> std::io::Result<()> {
    const OWNER: u32 = 0o700;
    // It was made a moment ago, below the root: no link of the image leads further.
    let path = path.canonicalize()?;
    if mode & OWNER == OWNER {
        modes.remove(&path);
        return Ok(());
    }
    std::fs::set_permissions(&path, Permissions::from_mode(mode | OWNER))?;
    modes.insert(path, mode & 0o7777);
    Ok(())
}

/// A whiteout removes what a layer below has put there.
fn white_out(dest: &Path, parent: &Path, name: &[u8]) -> std::io::Result<()> {
    // `.wh...` would take the folder above, `.wh.` and `.wh..` the folder itself.
    if matches!(name, b"" | b"." | b"..") {
        return Err(std::io::Error::other("a whiteout leads out"));
    }
    let dir = dest.join(parent);
    let canonical = match dir.canonicalize() {
        Ok(path) => path,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    // Never through a link.
    if !canonical.starts_with(dest.canonicalize()?) {
        return Err(std::io::Error::other("a whiteout leads out"));
    }
    let targets: Vec<PathBuf> = if name == b".wh..opq" {
        std::fs::read_dir(&dir)?
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<_, _>>()?
    } else {
        vec![dir.join(OsStr::from_bytes(name))]
    };
    for target in targets {
        match std::fs::symlink_metadata(&target) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&target)?,
            Ok(_) => std::fs::remove_file(&target)?,
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
