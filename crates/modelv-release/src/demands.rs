//! Which shared libraries an image needs, and whether it has them where they are looked for, in versions
//! that do: asked before it is built, not when it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use modelv_repo::Repo;
use object::{ReadCache, ReadRef};
use serde::{Deserialize, Serialize};

use crate::elf;
use crate::error::{Error, Result};
use crate::layer::{Files, Node};

/// Versions of symbols by the name of the library that has them.
pub(crate) type Offers = BTreeMap<String, BTreeSet<String>>;

/// A library that a file asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) library: String,
    /// The file's path in the image.
    pub(crate) by: String,
    /// Where it looks first.
    pub(crate) run_path: Vec<String>,
    /// Versions of symbols that the library has to have.
    pub(crate) versions: Vec<String>,
}

/// Shared libraries that layers ask for and bring along.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Demands {
    pub(crate) asks: Vec<Ask>,
    /// Folders in which the layers bring a library, by its file name.
    pub(crate) brought: BTreeMap<String, BTreeSet<String>>,
    pub(crate) offers: Offers,
}

/// Largest program that is looked at in memory, in bytes.
const IN_MEMORY_MAX: u64 = 16 << 20;

/// Libraries of a driver come from the machine that runs the image.
const FROM_THE_DRIVER: [&str; 4] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvcuvid.so.1",
    "libnvidia-encode.so.1",
];

/// Libraries of a system whose versions decide whether others run on it.
const WITH_VERSIONS: [&str; 10] = [
    "libc.so",
    "libc-2.",
    "libm.so",
    "libm-2.",
    "libstdc++.so",
    "libgcc_s.so",
    "libgomp.so",
    "libgfortran.so",
    "libcrypto.so",
    "libssl.so",
];

/// Whether the versions of a file of a base are worth a look, by its file name.
pub(crate) fn has_versions(name: &[u8]) -> bool {
    WITH_VERSIONS
        .iter()
        .any(|start| name.starts_with(start.as_bytes()))
}

/// Adds what a library offers.
pub(crate) fn add_offers(offers: &mut Offers, bytes: &[u8]) {
    if let Some(needs) = elf::needs(bytes)
        && let Some(name) = needs.name
    {
        offers.entry(name).or_default().extend(needs.offers);
    }
}

/// Folder and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A path without `.` and `..`.
fn plain(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        match part {
            ".." => drop(out.pop()),
            part => out.push(part),
        }
    }
    out.join("/")
}

impl Ask {
    /// Folders that it names itself, without a leading slash.
    fn folders(&self) -> BTreeSet<String> {
        let (origin, _) = split(&self.by);
        let expand = |folder: &String| {
            let origin = format!("/{origin}");
            let folder = folder.replace("${ORIGIN}", &origin);
            plain(&folder.replace("$ORIGIN", &origin))
        };
        self.run_path.iter().map(expand).collect()
    }
}

fn may_be_program(path: &[u8], executable: bool) -> bool {
    executable || path.windows(3).any(|w| w == b".so")
}

/// Looks at files that pass, so that no file is unpacked twice.
pub(crate) struct Look<'a> {
    pub(crate) demands: &'a mut Demands,
    /// A folder for what is too large for memory.
    pub(crate) room: &'a Path,
}

impl Look<'_> {
    /// Takes a file into account if it may be a program or a library; gives its bytes back.
    pub(crate) fn at<'r>(
        &mut self,
        path: &[u8],
        executable: bool,
        mut reader: Box<dyn Read + 'r>,
        size: u64,
    ) -> std::io::Result<Box<dyn Read + 'r>> {
        if !may_be_program(path, executable) {
            return Ok(reader);
        }
        let mut head = Vec::new();
        reader
            .by_ref()
            .take(elf::MAGIC.len() as u64)
            .read_to_end(&mut head)?;
        let is_elf = head == elf::MAGIC;
        if is_elf && size > IN_MEMORY_MAX {
            let mut file = tempfile::tempfile_in(self.room)?;
            std::io::copy(&mut Cursor::new(head).chain(reader), &mut file)?;
            self.demands.look_at(path, &ReadCache::new(&mut file));
            file.rewind()?;
            return Ok(Box::new(file));
        }
        if is_elf {
            reader.read_to_end(&mut head)?;
            self.demands.look_at(path, head.as_slice());
            return Ok(Box::new(Cursor::new(head)));
        }
        self.demands.look_at(path, head.as_slice());
        Ok(Box::new(Cursor::new(head).chain(reader)))
    }
}

impl Demands {
    /// Takes a file into account.
    pub(crate) fn look_at<'d>(
        &mut self,
        path: &[u8],
        bytes: impl ReadRef<'d>,
    ) -> Option<elf::Needs> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let (folder, name) = split(&shown);
        if name.contains(".so") {
            let folders = self.brought.entry(name.to_owned()).or_default();
            folders.insert(folder.to_owned());
        }
        let needs = elf::needs(bytes)?;
        for library in &needs.libraries {
            let of_it = needs.versions.iter().filter(|(of, _)| of == library);
            self.asks.push(Ask {
                library: library.clone(),
                by: shown.clone(),
                run_path: needs.run_path.clone(),
                versions: of_it.map(|(_, version)| version.clone()).collect(),
            });
        }
        if let Some(name) = &needs.name {
            let offers = self.offers.entry(name.clone()).or_default();
            offers.extend(needs.offers.iter().cloned());
        }
        Some(needs)
    }

    /// Looks at all files of a layer that may be programs or libraries. Large ones are unpacked in `room`.
    pub(crate) fn look_at_all(
        &mut self,
        files: &Files,
        repo: Option<&Repo>,
        room: &Path,
    ) -> Result<()> {
        let mut look = Look {
            demands: self,
            room,
        };
        for (path, node) in &files.nodes {
            if let Node::File {
                executable,
                content,
            } = node
                && may_be_program(path, *executable)
            {
                let (reader, size) = content.open(repo)?;
                let shown = Path::new(std::ffi::OsStr::from_bytes(path));
                look.at(path, *executable, reader, size)
                    .map_err(Error::io("read", shown))?;
            }
        }
        Ok(())
    }

    /// Adds those of another layer.
    pub(crate) fn add(&mut self, other: &Self) {
        self.asks.extend(other.asks.iter().cloned());
        for (all, more) in [
            (&mut self.brought, &other.brought),
            (&mut self.offers, &other.offers),
        ] {
            for (name, values) in more {
                let known = all.entry(name.clone()).or_default();
                known.extend(values.iter().cloned());
            }
        }
    }

    /// Names that are asked for and that no layer brings.
    pub(crate) fn unmet(&self) -> BTreeSet<String> {
        let names = self.asks.iter().map(|ask| &ask.library);
        names
            .filter(|name| !self.brought.contains_key(*name))
            .cloned()
            .collect()
    }

    /// Forgets demands for libraries that are nowhere in the image and were not there either when the model was
    /// trained, among the `known` ones: what asks for them is a part of a package that does not load, and nobody
    /// missed it (numba has such a one for Intel's TBB). Says which.
    pub(crate) fn forget_unused(
        &mut self,
        known: &BTreeSet<&str>,
        paths: &BTreeSet<Vec<u8>>,
    ) -> Vec<String> {
        let in_base = names_of(paths);
        let mut gone = BTreeMap::new();
        let brought = &self.brought;
        self.asks.retain(|ask| {
            let library = ask.library.as_str();
            let is_anywhere = brought.contains_key(library)
                || in_base.contains(library.as_bytes())
                || known.contains(library)
                || FROM_THE_DRIVER.contains(&library);
            if !is_anywhere {
                gone.entry(ask.library.clone())
                    .or_insert_with(|| ask.by.clone());
            }
            is_anywhere
        });
        let say = |(library, by): (String, String)| {
            format!(
                "`{by}` does not load without {library}, which was not there at training either"
            )
        };
        gone.into_iter().map(say).collect()
    }

    /// Libraries, and versions of them, that neither the layers nor the base provide.
    pub(crate) fn missing(&self, paths: &BTreeSet<Vec<u8>>, base: &Offers) -> Vec<String> {
        let in_base = names_of(paths);
        let mut said = BTreeSet::new();
        let mut out = Vec::new();
        for ask in &self.asks {
            let Ask { library, by, .. } = ask;
            if FROM_THE_DRIVER.contains(&library.as_str()) {
                continue;
            }
            if !self.brought.contains_key(library) && !in_base.contains(library.as_bytes()) {
                if said.insert(library.clone()) {
                    out.push(format!("{library} (needed by {by})"));
                }
                continue;
            }
            let known = [base.get(library), self.offers.get(library)];
            let mut known = known.into_iter().flatten().filter(|v| !v.is_empty());
            let Some(first) = known.next() else { continue };
            let second = known.next();
            for version in &ask.versions {
                let has = |all: &BTreeSet<String>| all.contains(version);
                let is_there = has(first) || second.is_some_and(has);
                if !is_there && said.insert(format!("{library} {version}")) {
                    out.push(format!("{version} of {library} (needed by {by})"));
                }
            }
        }
        out
    }

    /// Whether the file that asks looks in one of these folders, or what loads that file does: a run path holds for
    /// all that is loaded on the way.
    fn looks_in(ask: &Ask, askers: &BTreeMap<&str, Vec<&Ask>>, folders: &BTreeSet<String>) -> bool {
        let (mut open, mut seen) = (vec![ask], BTreeSet::from([&ask.by]));
        while let Some(ask) = open.pop() {
            if ask.folders().iter().any(|f| folders.contains(f)) {
                return true;
            }
            let (_, name) = split(&ask.by);
            let above = askers.get(name).into_iter().flatten();
            open.extend(above.filter(|above| seen.insert(&above.by)));
        }
        false
    }

    /// Libraries that are brought, but not where the file that asks for them looks. A package may well
    /// load them itself before they are asked for, so this refuses nothing.
    pub(crate) fn elsewhere(&self, paths: &BTreeSet<Vec<u8>>) -> Vec<String> {
        let in_base = names_of(paths);
        let mut askers: BTreeMap<&str, Vec<&Ask>> = BTreeMap::new();
        for ask in &self.asks {
            askers.entry(&ask.library).or_default().push(ask);
        }
        let mut said = BTreeSet::new();
        let mut out = Vec::new();
        for ask in &self.asks {
            let Some(folders) = self.brought.get(&ask.library) else {
                continue;
            };
            let is_found = in_base.contains(ask.library.as_bytes())
                || folders.iter().any(|f| is_searched(f))
                || Self::looks_in(ask, &askers, folders);
            if !is_found && said.insert(&ask.library) {
                let folder = folders.first().map_or("", String::as_str);
                out.push(format!(
                    "{} lies in {folder}, where {} does not look for it",
                    ask.library, ask.by
                ));
            }
        }
        out
    }
}

/// Folders that a loader searches by itself.
fn is_searched(folder: &str) -> bool {
    let folder = folder.strip_prefix("usr/").unwrap_or(folder);
    let folder = folder.strip_prefix("local/").unwrap_or(folder);
    folder == "lib" || folder == "lib64" || folder.starts_with("lib/") && folder.ends_with("-gnu")
}

fn names_of(paths: &BTreeSet<Vec<u8>>) -> BTreeSet<&[u8]> {
    let name = |p: &'_ Vec<u8>| p.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    paths.iter().map(|p| &p[name(p)..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(library: &str, by: &str, run_path: &[&str], versions: &[&str]) -> Ask {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Ask {
            library: library.into(),
            by: by.into(),
            run_path: owned(run_path),
            versions: owned(versions),
        }
    }

    fn brought(name: &str, folder: &str) -> (String, BTreeSet<String>) {
        (name.into(), BTreeSet::from([folder.into()]))
    }

    #[test]
    fn libraries_nobody_brings_are_named_with_who_needs_them() {
        let mut demands = Demands::default();
        for (library, by) in [
            ("libbase.so.1", "a.so"),
            ("libbrought.so.2", "b.so"),
            ("libcuda.so.1", "c.so"),
            ("libgone.so.3", "opt/x/d.so"),
            ("libgone.so.3", "opt/x/e.so"),
        ] {
            demands.asks.push(ask(library, by, &[], &[]));
        }
        demands.brought.extend([brought("libbrought.so.2", "opt")]);
        let paths = BTreeSet::from([b"usr/lib/libbase.so.1".to_vec()]);
        assert_eq!(
            demands.missing(&paths, &Offers::new()),
            ["libgone.so.3 (needed by opt/x/d.so)"]
        );
    }

    #[test]
    fn what_was_not_there_at_training_is_not_demanded() {
        let mut demands = Demands::default();
        for library in [
            "libtbb.so.12",
            "libbase.so.1",
            "libknown.so.2",
            "libcuda.so.1",
        ] {
            demands
                .asks
                .push(ask(library, "numba/tbbpool.so", &[], &[]));
        }
        let known = BTreeSet::from(["libknown.so.2"]);
        let paths = BTreeSet::from([b"usr/lib/libbase.so.1".to_vec()]);
        let notes = demands.forget_unused(&known, &paths);
        let want = "`numba/tbbpool.so` does not load without libtbb.so.12, which was not there at training either";
        assert_eq!(notes, [want]);
        let missing = demands.missing(&paths, &Offers::new());
        assert_eq!(missing, ["libknown.so.2 (needed by numba/tbbpool.so)"]);
    }

    #[test]
    fn a_version_that_the_base_does_not_have_is_named() {
        let mut demands = Demands::default();
        let versions = ["GLIBC_2.17", "GLIBC_2.38"];
        demands.asks.push(ask("libc.so.6", "x.so", &[], &versions));
        demands.asks.push(ask("libm.so.6", "x.so", &[], &versions));
        let paths = BTreeSet::from([b"lib/libc.so.6".to_vec(), b"lib/libm.so.6".to_vec()]);
        let has = BTreeSet::from(["GLIBC_2.17".to_owned()]);
        let mut base = Offers::from([("libc.so.6".to_owned(), has)]);
        let want = ["GLIBC_2.38 of libc.so.6 (needed by x.so)"];
        assert_eq!(demands.missing(&paths, &base), want);
        // A layer may bring a newer one.
        let newer = BTreeSet::from(["GLIBC_2.38".to_owned()]);
        demands.offers.insert("libc.so.6".into(), newer.clone());
        assert!(demands.missing(&paths, &base).is_empty());
        demands.offers.clear();
        base.insert("libc.so.6".into(), newer);
        let want = ["GLIBC_2.17 of libc.so.6 (needed by x.so)"];
        assert_eq!(demands.missing(&paths, &base), want);
    }

    #[test]
    fn a_library_is_looked_for_where_the_file_says() {
        let by = "opt/site/pkg/sub/x.so";
        for (run_path, folder, is_found) in [
            (&["$ORIGIN/../../pkg.libs"][..], "opt/site/pkg.libs", true),
            (&["${ORIGIN}"], "opt/site/pkg/sub", true),
            (&["/opt/site/pkg.libs"], "opt/site/pkg.libs", true),
            (&["$ORIGIN"], "opt/site/pkg.libs", false),
            (&[], "usr/lib/x86_64-linux-gnu", true),
            (&[], "opt/site/pkg/sub", false),
        ] {
            let mut demands = Demands::default();
            demands.asks.push(ask("liba.so", by, run_path, &[]));
            demands.brought.extend([brought("liba.so", folder)]);
            let notes = demands.elsewhere(&BTreeSet::new());
            assert_eq!(notes.is_empty(), is_found, "{run_path:?} {folder}");
            let in_base = BTreeSet::from([b"x/liba.so".to_vec()]);
            assert!(demands.elsewhere(&in_base).is_empty());
        }
    }

    #[test]
    fn what_loads_a_library_looks_for_what_that_needs() {
        let libs = "site/scipy.libs";
        let mut demands = Demands::default();
        demands.asks.push(ask(
            "libf.so.5",
            "site/scipy/x.so",
            &["$ORIGIN/../scipy.libs"],
            &[],
        ));
        demands
            .asks
            .push(ask("libq.so.0", "site/scipy.libs/libf.so.5", &[], &[]));
        demands
            .brought
            .extend([brought("libf.so.5", libs), brought("libq.so.0", libs)]);
        assert_eq!(demands.elsewhere(&BTreeSet::new()), Vec::<String>::new());
        // Two that ask for each other look nowhere.
        demands.asks[0] = ask("libf.so.5", "site/scipy.libs/libq.so.0", &[], &[]);
        let notes = demands.elsewhere(&BTreeSet::new());
        assert_eq!(notes.len(), 2, "{notes:?}");
    }
}
