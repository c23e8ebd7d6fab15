//! Which package of the operating system owns a file, read from the databases of dpkg, apk, rpm and conda
//! themselves: no program is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What changes when a system package is installed.
pub(super) const DATABASES: [&str; 4] = [
    "/var/lib/dpkg/status",
    "/lib/apk/db/installed",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
];
/// Largest database, or list of files, that is read, in bytes.
const BYTES_MAX: u64 = 256 << 20;

/// A package that owns a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) manager: &'static str,
}

/// The owners of files, where they have any. `conda` is the folder of an environment of conda's.
pub(super) fn of(paths: &[PathBuf], conda: Option<&Path>) -> BTreeMap<PathBuf, Owner> {
    let mut out = BTreeMap::new();
    if let Some(prefix) = conda {
        of_conda(prefix, &Wanted::new(paths), &mut out);
    }
    of_dpkg(Path::new("/var/lib/dpkg"), &left(paths, &out), &mut out);
    of_apk(
        Path::new("/lib/apk/db/installed"),
        &left(paths, &out),
        &mut out,
    );
    for database in &DATABASES[2..] {
        super::rpm::owners(Path::new(database), &left(paths, &out), &mut out);
    }
    out
}

fn left(paths: &[PathBuf], known: &BTreeMap<PathBuf, Owner>) -> Wanted {
    let open = paths.iter().filter(|p| !known.contains_key(*p)).cloned();
    Wanted::new(&open.collect::<Vec<_>>())
}

/// Files that are looked for, by every name under which a database may have them: a link or what it leads
/// to, and below `/usr` or beside it, where the two are one.
pub(super) struct Wanted(BTreeMap<String, PathBuf>);

impl Wanted {
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        let mut out = BTreeMap::new();
        for path in paths {
            let real = path.canonicalize().ok();
            for name in std::iter::once(path).chain(real.as_ref()) {
                out.insert(plain(&name.to_string_lossy()).to_owned(), path.clone());
            }
        }
        Self(out)
    }

    /// The file that a database names so.
    pub(super) fn get(&self, name: &str) -> Option<&PathBuf> {
        self.0.get(plain(name))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn plain(name: &str) -> &str {
    match name.strip_prefix("/usr/") {
        Some(rest) if rest.starts_with("lib") => &name[4..],
        _ => name,
    }
}

fn text_of(path: &Path) -> Option<String> {
    let is_small = std::fs::metadata(path).ok()?.len() <= BYTES_MAX;
    let bytes = is_small.then(|| std::fs::read(path).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn of_dpkg(dir: &Path, wanted: &Wanted, out: &mut BTreeMap<PathBuf, Owner>) {
    let entries = std::fs::read_dir(dir.join("info")).into_iter().flatten();
    let mut lists: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.ends_with(".list"))
        .collect();
    // Libraries are in packages that are named after them: these first, then by name.
    let rank = |name: &str| (!name.starts_with("lib"), !name.starts_with("zlib"));
    lists.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    let mut open: BTreeSet<PathBuf> = wanted.0.values().cloned().collect();
    let mut names: BTreeMap<PathBuf, String> = BTreeMap::new();
    for list in lists {
        if open.is_empty() {
            break;
        }
        let text = text_of(&dir.join("info").join(&list)).unwrap_or_default();
        let is_library = |l: &&str| l.contains(".so");
        for path in text
            .lines()
            .filter(is_library)
            .filter_map(|l| wanted.get(l))
        {
            if open.remove(path) {
                let stem = list.trim_end_matches(".list");
                let name = stem.split(':').next().unwrap_or(stem);
                names.insert(path.clone(), name.to_owned());
            }
        }
    }
    if names.is_empty() {
        return;
    }
    let status = text_of(&dir.join("status")).unwrap_or_default();
    let versions = versions_of(&status, &names.values().map(String::as_str).collect());
    for (path, name) in names {
        if let Some(version) = versions.get(name.as_str()) {
            let (version, manager) = (version.clone(), "dpkg");
            out.insert(
                path,
                Owner {
                    name,
                    version,
                    manager,
                },
            );
        }
    }
}

/// Versions of some packages in the paragraphs of dpkg's `status`.
fn versions_of(status: &str, names: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let (mut out, mut name) = (BTreeMap::new(), "");
    for line in status.lines() {
        if let Some(found) = line.strip_prefix("Package: ") {
            name = found.trim();
        } else if let Some(version) = line.strip_prefix("Version: ")
            && names.contains(name)
        {
            out.entry(name.to_owned())
                .or_insert_with(|| version.trim().to_owned());
        }
    }
    out
}

/// apk has one file: lines of a letter and a value, a blank one between packages.
fn of_apk(path: &Path, wanted: &Wanted, out: &mut BTreeMap<PathBuf, Owner>) {
    if wanted.is_empty() {
        return;
    }
    let text = text_of(path).unwrap_or_default();
    let (mut name, mut version, mut folder) = ("", "", "");
    for line in text.lines() {
        match line.split_once(':') {
            Some(("P", value)) => name = value,
            Some(("V", value)) => version = value,
            Some(("F", value)) => folder = value,
            Some(("R", value)) => {
                if let Some(path) = wanted.get(&format!("/{folder}/{value}")) {
                    let owner = Owner {
                        name: name.to_owned(),
                        version: version.to_owned(),
                        manager: "apk",
                    };
                    out.insert(path.clone(), owner);
                }
            }
            _ => {}
        }
    }
}

/// conda has a JSON file for each package, with paths below the environment.
fn of_conda(prefix: &Path, wanted: &Wanted, out: &mut BTreeMap<PathBuf, Owner>) {
    let entries = std::fs::read_dir(prefix.join("conda-meta"))
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let json: Option<serde_json::Value> =
            text_of(&path).and_then(|text| serde_json::from_str(&text).ok());
        let Some(json) = json else {
            continue;
        };
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        for file in json["files"].as_array().into_iter().flatten() {
            let name = file.as_str().map(|f| prefix.join(f).display().to_string());
            if let Some(path) = name.and_then(|n| wanted.get(&n)) {
                let owner = Owner {
                    name: text("name"),
                    version: format!("{} {}", text("version"), text("build"))
                        .trim()
                        .to_owned(),
                    manager: "conda",
                };
                out.insert(path.clone(), owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(read: impl Fn(&Wanted, &mut BTreeMap<PathBuf, Owner>), paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let mut out = BTreeMap::new();
        read(&Wanted::new(&paths), &mut out);
        let shown = out.iter().map(|(path, owner)| {
            format!(
                "{} {} {} {}",
                path.display(),
                owner.manager,
                owner.name,
                owner.version
            )
        });
        shown.collect()
    }

    #[test]
    fn dpkg_knows_its_libraries_by_either_name() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("info");
        std::fs::create_dir(&info).unwrap();
        let status = "Package: libz\nVersion: 9\n\nPackage: zlib1g\nStatus: install ok installed\n\
                      Version: 1:1.2.13\nDescription: x\n Version: no\n\nPackage: libm\nVersion: 2\n";
        std::fs::write(dir.path().join("status"), status).unwrap();
        std::fs::write(
            info.join("zlib1g:amd64.list"),
            "/.\n/lib/x/libz.so.1.9\n/lib/x/libz.so.1\n",
        )
        .unwrap();
        std::fs::write(info.join("libm.list"), "/usr/lib/x/libm.so.6\n").unwrap();
        std::fs::write(info.join("libm.md5sums"), "/nowhere/libq.so\n").unwrap();
        let found = owned(
            |wanted, out| of_dpkg(dir.path(), wanted, out),
            &["/usr/lib/x/libz.so.1.9", "/lib/x/libm.so.6", "/opt/libq.so"],
        );
        assert_eq!(
            found,
            [
                "/lib/x/libm.so.6 dpkg libm 2",
                "/usr/lib/x/libz.so.1.9 dpkg zlib1g 1:1.2.13"
            ]
        );
    }

    #[test]
    fn apk_and_conda_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let installed = dir.path().join("installed");
        let text = "C:Q1=\nP:musl\nV:1.2.5-r0\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\n\nP:libgomp\nV:14.2\nF:usr/lib\nR:libgomp.so.1\n";
        std::fs::write(&installed, text).unwrap();
        let read = |wanted: &Wanted, out: &mut _| of_apk(&installed, wanted, out);
        let found = owned(
            read,
            &[
                "/lib/ld-musl-x86_64.so.1",
                "/lib/libgomp.so.1",
                "/lib/none.so",
            ],
        );
        assert_eq!(
            found,
            [
                "/lib/ld-musl-x86_64.so.1 apk musl 1.2.5-r0",
                "/lib/libgomp.so.1 apk libgomp 14.2"
            ]
        );
        let meta = dir.path().join("conda-meta");
        std::fs::create_dir(&meta).unwrap();
        std::fs::write(meta.join("history"), "x").unwrap();
        std::fs::write(meta.join("broken.json"), "{").unwrap();
        let json = r#"{"name": "libstdcxx", "version": "15.1", "build": "h8_4", "files": ["lib/libstdc++.so.6"]}"#;
        std::fs::write(meta.join("libstdcxx-15.1-h8_4.json"), json).unwrap();
        let path = dir.path().join("lib/libstdc++.so.6").display().to_string();
        let found = owned(|wanted, out| of_conda(dir.path(), wanted, out), &[&path]);
        assert_eq!(found, [format!("{path} conda libstdcxx 15.1 h8_4")]);
    }
}
