//! Bases: an OCI layout, a root file system as folder or tar, or the interpreter of this machine
//! with the shared libraries it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;

use crate::elf;
use crate::error::{Error, Result};
use crate::layer::{
    Content, Files, HashingRead, Layer, Node, copy_checked, digits, pack, pack_files,
};
use crate::layout::{blob_path, oci_arch, read_json, read_manifest};

/// What an image stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A folder in OCI image layout.
    Layout(PathBuf),
    /// A folder with a root file system.
    Folder(PathBuf),
    /// A tar of a root file system, gzip or plain.
    Tar(PathBuf),
    /// The interpreter of this machine.
    Interpreter,
}

impl Base {
    /// Reads `python` or a path, and looks what is there.
    ///
    /// # Errors
    /// There is nothing.
    pub fn parse(text: &str, dir: &Path) -> Result<Self> {
        if text == "python" {
            return Ok(Self::Interpreter);
        }
        let path = dir.join(text);
        let bad = |detail: &str| Error::Base {
            base: text.into(),
            detail: detail.into(),
        };
        let meta = std::fs::metadata(&path).map_err(|_| bad("there is no such file or folder"))?;
        if meta.is_file() {
            return Ok(Self::Tar(path));
        }
        if path.join("oci-layout").exists() {
            return Ok(Self::Layout(path));
        }
        Ok(Self::Folder(path))
    }
}

/// The layers of a base and what is known of their content.
pub(crate) struct Ground {
    pub(crate) layers: Vec<Layer>,
    /// Paths of all files, without a leading slash.
    pub(crate) paths: BTreeSet<Vec<u8>>,
    /// Its identity, for the record in the image. Never the name of a file or folder: the same base
    /// at another place must give the same image.
    pub(crate) name: String,
    /// Variables its configuration sets.
    pub(crate) env: Vec<String>,
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layout(p) | Self::Folder(p) | Self::Tar(p) => p.display().fmt(f),
            Self::Interpreter => f.write_str("python"),
        }
    }
}

/// Brings the layers of a base into `blobs`. `programs` and `libraries` tell the interpreter base
/// which shared libraries will be needed above it.
pub(crate) fn prepare(
    base: &Base,
    blobs: &Path,
    python: Option<(&Path, &str)>,
    above: &Demands,
) -> Result<Ground> {
    match base {
        Base::Layout(path) => from_layout(path, blobs),
        Base::Folder(path) => from_folder(path, blobs),
        Base::Tar(path) => from_tar(path, blobs),
        Base::Interpreter => from_interpreter(blobs, python, above),
    }
}

fn from_layout(dir: &Path, blobs: &Path) -> Result<Ground> {
    let bad = |detail: String| Error::Base {
        base: dir.display().to_string(),
        detail,
    };
    let (name, manifest) = read_manifest(dir)?;
    let config = read_json(
        dir,
        manifest["config"]["digest"].as_str().unwrap_or_default(),
    )?;
    let made_for = config["architecture"].as_str().unwrap_or_default();
    if made_for != oci_arch() {
        let detail = format!("it was made for `{made_for}`, this is {}", oci_arch());
        return Err(bad(detail));
    }
    let empty = Vec::new();
    let env = config["config"]["Env"].as_array().unwrap_or(&empty);
    let mut ground = Ground {
        layers: vec![],
        paths: BTreeSet::new(),
        name,
        env: env
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
    };
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap_or(&empty);
    if layers.len() != diff_ids.len() {
        let detail = format!(
            "it has {} layers, its configuration names {}",
            layers.len(),
            diff_ids.len()
        );
        return Err(bad(detail));
    }
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let media = layer["mediaType"].as_str().unwrap_or_default();
        if !media.ends_with("tar+gzip") && !media.ends_with("tar.gzip") {
            return Err(bad(format!("its layers are `{media}`; gzip is needed")));
        }
        let digest = layer["digest"].as_str().unwrap_or_default().to_owned();
        let from = blob_path(dir, &digest)?;
        let size = copy_checked(&from, &blobs.join(digits(&digest)), &digest)?;
        let file = File::open(&from).map_err(Error::io("read", &from))?;
        let found = list_tar(GzDecoder::new(file), &mut ground.paths)
            .map_err(|e| bad(format!("layer `{digest}`: {e}")))?;
        let diff_id = diff_id.as_str().unwrap_or_default().to_owned();
        if found != diff_id {
            let detail = format!("layer `{digest}` holds `{found}`, not `{diff_id}`");
            return Err(bad(detail));
        }
        ground.layers.push(Layer {
            digest,
            diff_id,
            size,
        });
    }
    Ok(ground)
}

/// Adds the paths of a layer, takes away what it whites out, and returns the digest of the tar.
fn list_tar(input: impl Read, paths: &mut BTreeSet<Vec<u8>>) -> std::io::Result<String> {
    let mut input = HashingRead::new(input);
    for entry in tar::Archive::new(&mut input).entries()? {
        let path = clean(&entry?.path_bytes());
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => path.split_at(at + 1),
            None => (&[][..], path.as_slice()),
        };
        match name.strip_prefix(b".wh.") {
            Some(b".wh..opq") => paths.retain(|p| !p.starts_with(parent)),
            Some(gone) => {
                let gone = [parent, gone].concat();
                let below = [gone.as_slice(), b"/"].concat();
                paths.retain(|p| *p != gone && !p.starts_with(&below));
            }
            None => {
                paths.insert(path);
            }
        }
    }
    // What follows the last entry counts too.
    std::io::copy(&mut input, &mut std::io::sink())?;
    Ok(input.digest())
}

fn clean(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path).to_vec()
}

fn from_folder(dir: &Path, blobs: &Path) -> Result<Ground> {
    let mut files = Files::default();
    add_folder(dir, b"", &mut files)?;
    let layer = pack_files(blobs, &files, None)?;
    Ok(Ground {
        name: layer.diff_id.clone(),
        layers: vec![layer],
        paths: files.nodes.into_keys().collect(),
        env: vec![],
    })
}

/// A folder's files, links and directories; devices, sockets and pipes have no place in an image.
fn add_folder(dir: &Path, prefix: &[u8], files: &mut Files) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(Error::io("read", dir))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = [prefix, entry.file_name().as_bytes()].concat();
        let meta = std::fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if meta.is_dir() {
            files.add(
                name.clone(),
                Node::Dir {
                    sticky: meta.mode() & 0o1000 != 0,
                },
            );
            add_folder(&path, &[name.as_slice(), b"/"].concat(), files)?;
        } else if meta.file_type().is_symlink() {
            let target = std::fs::read_link(&path).map_err(Error::io("read", &path))?;
            files.add(name, Node::Link(target.as_os_str().as_bytes().to_vec()));
        } else if meta.is_file() {
            files.add_file(name, meta.mode() & 0o111 != 0, Content::Path(path));
        }
    }
    Ok(())
}

fn from_tar(path: &Path, blobs: &Path) -> Result<Ground> {
    let open = || -> Result<Box<dyn Read>> {
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let mut magic = [0; 2];
        let n = file.read(&mut magic).map_err(Error::io("read", path))?;
        let file = File::open(path).map_err(Error::io("read", path))?;
        Ok(if n == 2 && magic == [0x1f, 0x8b] {
            Box::new(GzDecoder::new(file))
        } else {
            Box::new(file)
        })
    };
    let mut paths = BTreeSet::new();
    list_tar(open()?, &mut paths).map_err(|e| Error::Base {
        base: path.display().to_string(),
        detail: e.to_string(),
    })?;
    let mut input = open()?;
    let layer = pack(blobs, |out| {
        std::io::copy(&mut input, out)
            .map(|_| ())
            .map_err(Error::io("read", path))
    })?;
    Ok(Ground {
        name: layer.diff_id.clone(),
        layers: vec![layer],
        paths,
        env: vec![],
    })
}

/// Shared libraries that the layers above the base ask for and bring along.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// Name of a library, and who asks for it first.
    pub(crate) needed: BTreeMap<String, String>,
    /// File names of libraries the layers bring.
    pub(crate) brought: BTreeSet<String>,
}

/// Libraries of a driver come from the machine that runs the image.
const FROM_THE_DRIVER: [&str; 4] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvcuvid.so.1",
    "libnvidia-encode.so.1",
];

impl Demands {
    /// Takes a file into account.
    pub(crate) fn look_at(&mut self, path: &[u8], bytes: &[u8]) -> Option<elf::Needs> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let name = shown.rsplit('/').next().unwrap_or(&shown).to_owned();
        if name.contains(".so") {
            self.brought.insert(name);
        }
        let needs = elf::needs(bytes)?;
        for library in &needs.libraries {
            self.needed
                .entry(library.clone())
                .or_insert_with(|| shown.clone());
        }
        Some(needs)
    }

    /// Looks at all files of a layer that may be programs or libraries.
    pub(crate) fn look_at_all(&mut self, files: &Files) -> Result<()> {
        for (path, node) in &files.nodes {
            let Node::File {
                executable,
                content,
            } = node
            else {
                continue;
            };
            let is_library = path.windows(3).any(|w| w == b".so");
            if !executable && !is_library {
                continue;
            }
            match content {
                Content::Bytes(bytes) => {
                    self.look_at(path, bytes);
                }
                Content::Path(file) => {
                    let bytes = std::fs::read(file).map_err(Error::io("read", file))?;
                    self.look_at(path, &bytes);
                }
                Content::Blob(..) => {}
            }
        }
        Ok(())
    }

    /// Libraries neither the layers nor the base provide.
    pub(crate) fn missing(&self, paths: &BTreeSet<Vec<u8>>) -> Vec<String> {
        let in_base: BTreeSet<&[u8]> = paths
            .iter()
            .filter_map(|p| p.rsplit(|b| *b == b'/').next())
            .collect();
        self.needed
            .iter()
            .filter(|(name, _)| {
                !self.brought.contains(*name)
                    && !in_base.contains(name.as_bytes())
                    && !FROM_THE_DRIVER.contains(&name.as_str())
            })
            .map(|(name, by)| format!("{name} (needed by {by})"))
            .collect()
    }
}

const PROBE: &str = "import json,os,sys,sysconfig\n\
v=sys.version_info\n\
s={'alpha':'a','beta':'b','candidate':'rc'}.get(v.releaselevel,'')\n\
print(json.dumps({'exe':os.path.realpath(sys.executable),'minor':'%d.%d'%v[:2],\
'version':'%d.%d.%d'%v[:3]+('%s%d'%(s,v.serial) if s else ''),\
'stdlib':sysconfig.get_path('stdlib'),'libdir':sysconfig.get_config_var('LIBDIR') or ''}))";

/// Folders of the standard library that programs don't import.
const LEFT_OUT: [&str; 10] = [
    "test",
    "tests",
    "idlelib",
    "ensurepip",
    "tkinter",
    "turtledemo",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib2to3",
];

fn from_interpreter(
    blobs: &Path,
    python: Option<(&Path, &str)>,
    above: &Demands,
) -> Result<Ground> {
    let bad = |detail: String| Error::Base {
        base: "python".into(),
        detail,
    };
    let (python, version) =
        python.ok_or_else(|| bad("the commit records no interpreter".into()))?;
    let output = Command::new(python)
        .args(["-I", "-c", PROBE])
        .output()
        .map_err(Error::io("run", python))?;
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| bad(e.to_string()))?;
    let word = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    let (minor, here) = (word("minor"), word("version"));
    if version != here {
        let text = format!(
            "the commit was made with Python {version}, `{}` is {here}",
            python.display()
        );
        return Err(bad(text));
    }
    let mut files = Files::default();
    files.add_file(
        format!("usr/local/bin/python{minor}"),
        true,
        Content::Path(word("exe").into()),
    );
    add_stdlib(
        Path::new(&word("stdlib")),
        &format!("usr/local/lib/python{minor}"),
        &mut files,
    )?;
    files.add("tmp", Node::Dir { sticky: true });
    for dir in ["proc", "sys", "dev", "etc", "run"] {
        files.add(dir, Node::Dir { sticky: false });
    }
    let passwd =
        b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/tmp:/sbin/nologin\n";
    files.add_file("etc/passwd", false, Content::Bytes(passwd.to_vec()));
    let group = b"root:x:0:\nnonroot:x:65532:\n";
    files.add_file("etc/group", false, Content::Bytes(group.to_vec()));
    add_libraries(&mut files, above, &word("libdir"))?;
    let layers = vec![pack_files(blobs, &files, None)?];
    let name = format!("python {version}");
    Ok(Ground {
        layers,
        paths: files.nodes.into_keys().collect(),
        name,
        env: vec![],
    })
}

fn add_stdlib(dir: &Path, to: &str, files: &mut Files) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(Error::io("read", dir))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(meta) = std::fs::metadata(&path) else {
            continue;
        };
        if LEFT_OUT.contains(&name.as_str()) || name.starts_with("config-") {
            continue;
        }
        if meta.is_dir() {
            add_stdlib(&path, &format!("{to}/{name}"), files)?;
        } else if !name.ends_with(".pyc") && !name.ends_with(".a") {
            files.add_file(format!("{to}/{name}"), false, Content::Path(path));
        }
    }
    Ok(())
}

/// Adds the shared libraries that everything in the image needs, where they lie on this machine.
fn add_libraries(files: &mut Files, above: &Demands, libdir: &str) -> Result<()> {
    let mut demands = Demands {
        needed: above.needed.clone(),
        brought: above.brought.clone(),
    };
    demands.look_at_all(files)?;
    let places = library_places(libdir);
    let system = places
        .iter()
        .find(|p| p.join("libc.so.6").exists())
        .cloned();
    let mut loader = None;
    let mut done = BTreeSet::new();
    loop {
        let next: Vec<String> = demands
            .needed
            .keys()
            .filter(|n| !demands.brought.contains(*n) && !done.contains(*n))
            .cloned()
            .collect();
        if next.is_empty() {
            break;
        }
        for name in next {
            done.insert(name.clone());
            let Some(found) = places.iter().map(|p| p.join(&name)).find(|p| p.exists()) else {
                continue;
            };
            let bytes = std::fs::read(&found).map_err(Error::io("read", &found))?;
            // Only the system's folders are searched in the image.
            let is_system = ["/lib", "/usr/lib"]
                .iter()
                .any(|d| found.starts_with(d) || found.starts_with(format!("{d}64")));
            let place = if is_system {
                Some(found.clone())
            } else {
                system.as_ref().map(|s| s.join(&name))
            };
            let Some(place) = place else { continue };
            let inside = place
                .as_os_str()
                .as_bytes()
                .strip_prefix(b"/")
                .unwrap_or_default()
                .to_vec();
            demands.look_at(&inside, &bytes);
            files.add_file(inside, true, Content::Bytes(bytes));
        }
    }
    for node in files.nodes.values() {
        if let Node::File {
            executable: true,
            content: Content::Path(path),
        } = node
            && let Ok(bytes) = std::fs::read(path)
            && let Some(needs) = elf::needs(&bytes)
        {
            loader = loader.or(needs.loader);
        }
    }
    if let Some(path) = loader {
        let bytes = std::fs::read(&path).map_err(Error::io("read", Path::new(&path)))?;
        files.add_file(
            path.trim_start_matches('/').as_bytes(),
            true,
            Content::Bytes(bytes),
        );
    }
    Ok(())
}

/// Folders with shared libraries: the interpreter's own, which its run path names first, then the
/// usual ones. A system may well have the library of another patch level beside it.
fn library_places(libdir: &str) -> Vec<PathBuf> {
    let arch = std::env::consts::ARCH;
    let usual = [
        format!("/lib/{arch}-linux-gnu"),
        format!("/usr/lib/{arch}-linux-gnu"),
        "/lib64".into(),
        "/usr/lib64".into(),
        "/lib".into(),
        "/usr/lib".into(),
        "/usr/local/lib".into(),
    ];
    let own = (!libdir.is_empty()).then(|| libdir.to_owned());
    own.into_iter().chain(usual).map(PathBuf::from).collect()
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
