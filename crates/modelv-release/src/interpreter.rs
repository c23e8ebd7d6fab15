//! The interpreter of this machine as a base: the program, its standard library, and the shared
//! libraries that it and the layers above it need; or these alone.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::base::{Ground, entries, see};
use crate::demands::Demands;
use crate::elf;
use crate::error::{Error, Result};
use crate::layer::{Content, Files, Node, write_tar};
use crate::packer::Packer;

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

/// What the interpreter says of itself.
#[derive(serde::Deserialize)]
struct Answer {
    exe: PathBuf,
    minor: String,
    version: String,
    stdlib: PathBuf,
    libdir: String,
}

fn bad(detail: String) -> Error {
    Error::Base {
        base: "python".into(),
        detail,
    }
}

/// Packs the interpreter `python`, which must be of exactly `version`.
pub(crate) fn from_interpreter(
    packer: &Packer<'_>,
    python: Option<(&Path, &str)>,
    above: &Demands,
) -> Result<Ground> {
    let (python, version) =
        python.ok_or_else(|| bad("the commit records no interpreter".into()))?;
    let output = Command::new(python)
        .args(["-I", "-c", PROBE])
        .output()
        .map_err(Error::io("run", python))?;
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|e| bad(e.to_string()))?;
    if version != answer.version {
        let text = format!(
            "the commit was made with Python {version}, `{}` is {}",
            python.display(),
            answer.version
        );
        return Err(bad(text));
    }
    let mut files = Files::default();
    files.add_file(
        format!("usr/local/bin/python{}", answer.minor),
        true,
        Content::Path(answer.exe),
    );
    let stdlib = format!("usr/local/lib/python{}", answer.minor);
    add_stdlib(&answer.stdlib, &stdlib, &mut files)?;
    add_system(&mut files);
    add_libraries(&mut files, above, &answer.libdir, &packer.blobs)?;
    let mut programs = files.nodes.values().filter_map(program);
    let loader = programs.find_map(loader_of);
    add_loader(&mut files, loader)?;
    let (layer, cached) = packer.by_content(|out| write_tar(out, &files, None))?;
    Ok(Ground {
        layers: vec![(layer, cached)],
        seen: see(files)?,
        name: format!("python {version}"),
        env: vec![],
        brought: 0,
        unmade: None,
    })
}

/// Packs what `program` and the layers above need of this machine, and no interpreter.
pub(crate) fn from_libraries(
    packer: &Packer<'_>,
    program: &Path,
    above: &Demands,
) -> Result<Ground> {
    let mut files = Files::default();
    add_system(&mut files);
    add_libraries(&mut files, above, "", &packer.blobs)?;
    add_loader(&mut files, loader_of(program))?;
    let (layer, cached) = packer.by_content(|out| write_tar(out, &files, None))?;
    Ok(Ground {
        layers: vec![(layer, cached)],
        seen: see(files)?,
        name: "libraries".into(),
        env: vec![],
        brought: 0,
        unmade: None,
    })
}

/// The folders and the two tables without which a system is none.
fn add_system(files: &mut Files) {
    files.add("tmp", Node::Dir { sticky: true });
    for dir in ["proc", "sys", "dev", "etc", "run"] {
        files.add(dir, Node::Dir { sticky: false });
    }
    let passwd =
        b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/tmp:/sbin/nologin\n";
    files.add_file("etc/passwd", false, Content::Bytes(passwd.to_vec()));
    let group = b"root:x:0:\nnonroot:x:65532:\n";
    files.add_file("etc/group", false, Content::Bytes(group.to_vec()));
}

fn add_stdlib(dir: &Path, to: &str, files: &mut Files) -> Result<()> {
    for entry in entries(dir)? {
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
fn add_libraries(files: &mut Files, above: &Demands, libdir: &str, room: &Path) -> Result<()> {
    let mut demands = above.clone();
    demands.look_at_all(files, None, room)?;
    let places = library_places(libdir);
    let system = places
        .iter()
        .find(|p| p.join("libc.so.6").exists())
        .cloned();
    let mut done = BTreeSet::new();
    loop {
        let next: Vec<String> = demands
            .unmet()
            .into_iter()
            .filter(|n| !done.contains(n))
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
            demands.look_at(&inside, bytes.as_slice());
            files.add_file(inside, true, Content::Bytes(bytes));
        }
    }
    Ok(())
}

fn program(node: &Node) -> Option<&Path> {
    match node {
        Node::File {
            executable: true,
            content: Content::Path(path),
        } => Some(path),
        _ => None,
    }
}

/// The dynamic loader that a program names.
fn loader_of(program: &Path) -> Option<String> {
    elf::needs(std::fs::read(program).ok()?.as_slice())?.loader
}

/// The dynamic loader, where programs say it is.
fn add_loader(files: &mut Files, loader: Option<String>) -> Result<()> {
    if let Some(path) = loader {
        let bytes = std::fs::read(&path).map_err(Error::io("read", Path::new(&path)))?;
        let inside = path.trim_start_matches('/').as_bytes();
        files.add_file(inside, true, Content::Bytes(bytes));
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
