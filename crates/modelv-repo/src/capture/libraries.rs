//! Shared libraries that installed packages load from outside of their folders, and who owns them: found as
//! the dynamic linker finds them, but without its environment, so that two shells give one answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::env::{Library, SystemPackage};

use super::elf::{self, Dynamic, Machine};
use super::owners;
use crate::wheels::record::sha256_of;
use crate::worktree::StatStamp;

/// Largest library that no package owns and that is hashed, in bytes.
const HASHED_BYTES_MAX: u64 = 64 << 20;
/// How deep configuration of the linker may include other files.
const INCLUDES_MAX: usize = 8;
/// Libraries of an accelerator's driver: they go with the machine, and are observed facts.
const DRIVERS: [&str; 6] = [
    "libcuda.so",
    "libnvidia-",
    "libnvcuvid.so",
    "libdrm",
    "libhsa-runtime64.so",
    "libze_intel_gpu.so",
];

/// What changes whenever libraries or their owners may have: the linker's cache and the databases of packages.
pub(super) fn stamp() -> String {
    let mut out = StatStamp::text(Path::new("/etc/ld.so.cache"));
    for path in owners::DATABASES {
        out.push_str(&StatStamp::text(Path::new(path)));
    }
    out
}

/// The owners of what `modules` ask for, directly or through others, and what nobody owns. `inside` are the
/// names of libraries that packages bring themselves; `prefix` is the folder of the interpreter.
pub(super) fn of_modules(
    modules: &[PathBuf],
    inside: &BTreeSet<String>,
    prefix: &Path,
) -> (Vec<SystemPackage>, Vec<Library>) {
    let places = Places::new(prefix);
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut open: VecDeque<(String, Machine)> = VecDeque::new();
    let mut seen = BTreeSet::new();
    for (_, dynamic) in read_all(modules) {
        open.extend(dynamic.needed.into_iter().map(|n| (n, dynamic.machine)));
    }
    while let Some((name, machine)) = open.pop_front() {
        let is_driver = DRIVERS.iter().any(|d| name.starts_with(d));
        if is_driver || inside.contains(&name) || !seen.insert(name.clone()) {
            continue;
        }
        // What is nowhere is not loaded: the module that asks for it does not start.
        let Some((path, dynamic)) = places.find(&name, machine) else {
            continue;
        };
        open.extend(dynamic.needed.into_iter().map(|n| (n, machine)));
        if !places.is_interpreters(&path) {
            found.insert(name, path);
        }
    }
    with_owners(&found, places.conda.as_deref())
}

/// What each file asks for, read on all cores.
fn read_all(files: &[PathBuf]) -> Vec<(usize, Dynamic)> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (next, out) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        let mut own = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = files.get(at) else {
                break;
            };
            own.extend(elf::read(path).map(|dynamic| (at, dynamic)));
        }
        let mut out = out
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        out.extend(own);
    };
    std::thread::scope(|scope| {
        (1..threads.min(files.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut out = out
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    out.sort_by_key(|(at, _)| *at);
    out
}

/// Where libraries are looked for.
struct Places {
    /// The interpreter's own folder, where it is not the system's.
    prefix: Option<PathBuf>,
    /// The same, where conda looks after it.
    conda: Option<PathBuf>,
    dirs: Vec<PathBuf>,
}

impl Places {
    fn new(prefix: &Path) -> Self {
        let is_own = !["", "/", "/usr", "/usr/local"]
            .map(Path::new)
            .contains(&prefix);
        let conda = prefix.join("conda-meta");
        let mut dirs = Vec::new();
        if is_own {
            dirs.push(prefix.join("lib"));
        }
        add_configured(Path::new("/etc/ld.so.conf"), 0, &mut dirs);
        let musl = format!("/etc/ld-musl-{}.path", std::env::consts::ARCH);
        let musl = std::fs::read_to_string(musl).unwrap_or_default();
        let named = musl.split([':', '\n']).filter(|d| !d.is_empty());
        dirs.extend(named.map(PathBuf::from));
        dirs.extend(
            ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from),
        );
        Self {
            conda: (is_own && conda.is_dir()).then(|| prefix.to_owned()),
            prefix: is_own.then(|| prefix.to_owned()),
            dirs,
        }
    }

    /// The file that is loaded under a name: the first one for the same machine.
    fn find(&self, name: &str, machine: Machine) -> Option<(PathBuf, Dynamic)> {
        if name.contains('/') {
            return None;
        }
        self.dirs.iter().find_map(|dir| {
            let path = dir.join(name);
            let dynamic = elf::read(&path).filter(|d| d.machine == machine)?;
            Some((path, dynamic))
        })
    }

    /// Whether a file came with the interpreter, and is told by its version.
    fn is_interpreters(&self, path: &Path) -> bool {
        let is_below = self.prefix.as_ref().is_some_and(|p| path.starts_with(p));
        is_below && self.conda.is_none()
    }
}

/// Folders from the linker's configuration, in its order.
fn add_configured(path: &Path, depth: usize, dirs: &mut Vec<PathBuf>) {
    if depth > INCLUDES_MAX {
        return;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some(pattern) = line.strip_prefix("include ") else {
            let dir = PathBuf::from(line);
            if dir.is_absolute() && !dirs.contains(&dir) {
                dirs.push(dir);
            }
            continue;
        };
        let pattern = Path::new(pattern.trim());
        let parent = pattern.parent().unwrap_or(Path::new("/"));
        let name = pattern.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let (before, behind) = name.split_once('*').unwrap_or((name, ""));
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .filter(|e| {
                let name = e.file_name();
                let name = name.to_string_lossy();
                name.starts_with(before) && name.ends_with(behind)
            })
            .map(|e| e.path())
            .collect();
        files.sort();
        files
            .iter()
            .for_each(|f| add_configured(f, depth + 1, dirs));
    }
}

fn with_owners(
    found: &BTreeMap<String, PathBuf>,
    conda: Option<&Path>,
) -> (Vec<SystemPackage>, Vec<Library>) {
    let owners = owners::of(&found.values().cloned().collect::<Vec<_>>(), conda);
    let mut system: BTreeMap<String, SystemPackage> = BTreeMap::new();
    let mut libraries = Vec::new();
    for (name, path) in found {
        if let Some(owner) = owners.get(path) {
            let known = system
                .entry(owner.name.clone())
                .or_insert_with(|| SystemPackage {
                    name: owner.name.clone(),
                    version: owner.version.clone(),
                    manager: owner.manager.to_owned(),
                    libraries: Vec::new(),
                });
            known.libraries.push(name.clone());
            continue;
        }
        let small = std::fs::metadata(path).is_ok_and(|m| m.len() <= HASHED_BYTES_MAX);
        let hash = || sha256_of(File::open(path).ok()?, HASHED_BYTES_MAX).ok();
        libraries.push(Library {
            name: name.clone(),
            sha256: if small { hash().map(|(h, _)| h) } else { None },
        });
    }
    (system.into_values().collect(), libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_program_loads_is_found_and_owned() {
        let own = [std::env::current_exe().unwrap()];
        let (system, libraries) = of_modules(&own, &BTreeSet::new(), Path::new("/usr"));
        let both = (system.clone(), libraries.clone());
        let names: BTreeSet<&str> = system
            .iter()
            .flat_map(|s| &s.libraries)
            .chain(libraries.iter().map(|l| &l.name))
            .map(String::as_str)
            .collect();
        assert!(names.iter().any(|n| n.starts_with("libc.")), "{names:?}");
        // Of the same machine: what one finds, the other does, too.
        assert_eq!(of_modules(&own, &BTreeSet::new(), Path::new("/")), both);
        let all: BTreeSet<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let none = of_modules(&own, &all, Path::new("/usr"));
        assert_eq!(none, (Vec::new(), Vec::new()), "packages bring them");
    }

    #[test]
    fn the_linkers_configuration_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let more = dir.path().join("more");
        std::fs::create_dir(&more).unwrap();
        let main = dir.path().join("ld.so.conf");
        let text = format!(
            "# comment\n/a # b\ninclude {0}/*.conf\ninclude {1}\n",
            more.display(),
            main.display()
        );
        std::fs::write(&main, text).unwrap();
        for (name, line) in [("2.conf", "/c\n"), ("1.conf", "  /b\n"), ("x.old", "/no\n")] {
            std::fs::write(more.join(name), line).unwrap();
        }
        let mut dirs = Vec::new();
        add_configured(&main, 0, &mut dirs);
        assert_eq!(dirs, ["/a", "/b", "/c"].map(PathBuf::from));
    }
}
