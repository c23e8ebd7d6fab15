//! Differences and three-way merges of environment documents, package by package.

use std::collections::BTreeSet;

use modelv_core::env::{Env, Extras, Library, Package, Patch, SystemPackage};

/// One line of an environment's difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvChange {
    /// Package name, or `python`, `platform`, `lock PATH`, `system NAME`, `library NAME`.
    pub item: String,
    /// What it was; `None`: absent.
    pub old: Option<String>,
    /// What it is; `None`: absent.
    pub new: Option<String>,
}

/// Compares two environments. Sorted: platform, interpreter, packages, locks, system
/// packages, libraries.
#[must_use]
pub fn diff_env(old: &Env, new: &Env) -> Vec<EnvChange> {
    let mut out = Vec::new();
    for item in items(&[old, new]) {
        let (a, b) = (text(old, &item), text(new, &item));
        if part(old, &item) == part(new, &item) {
            continue;
        }
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) if a == b => (
                Some(format!("{a} (other files)")),
                Some(format!("{b} (other files)")),
            ),
            other => other,
        };
        out.push(EnvChange {
            item: item.name(),
            old: a,
            new: b,
        });
    }
    out
}

/// A package both sides changed in different ways, or the interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvConflict {
    /// Package name or `python`, `platform`.
    pub item: String,
    /// Value of the merge base.
    pub base: Option<String>,
    /// Our value.
    pub ours: Option<String>,
    /// Their value.
    pub theirs: Option<String>,
}

/// Merges two environments; where both changed one item in different ways, ours is kept and a
/// conflict is listed.
#[must_use]
pub(crate) fn merge_env(base: &Env, ours: &Env, theirs: &Env) -> (Env, Vec<EnvConflict>) {
    let mut merged = Env::none();
    let mut conflicts = Vec::new();
    for item in items(&[base, ours, theirs]) {
        let (b, o, t) = (part(base, &item), part(ours, &item), part(theirs, &item));
        if o != t && o != b && t != b {
            // Lock files are merged as files; their record here follows the files.
            if !matches!(item, Item::Lock(_)) {
                conflicts.push(EnvConflict {
                    item: item.name(),
                    base: text(base, &item),
                    ours: text(ours, &item),
                    theirs: text(theirs, &item),
                });
            }
            put(&mut merged, &o);
        } else {
            put(&mut merged, if t == b { &o } else { &t });
        }
    }
    (merged, conflicts)
}

/// Takes one item of an environment over from another.
#[must_use]
pub(crate) fn take_item(into: &Env, from: &Env, name: &str) -> Env {
    let mut out = Env::none();
    for item in items(&[into, from]) {
        let source = if item.name() == name { from } else { into };
        put(&mut out, &part(source, &item));
    }
    out
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Platform,
    Python,
    Package(String),
    Lock(Vec<u8>),
    System(String),
    Library(String),
}

/// How an item of the operating system is named: nothing here can install it.
const SYSTEM: [&str; 2] = ["system ", "library "];

impl EnvChange {
    /// Whether it is of the operating system: no virtual environment holds it.
    #[must_use]
    pub fn is_of_system(&self) -> bool {
        SYSTEM.iter().any(|s| self.item.starts_with(s))
    }
}

impl Item {
    fn name(&self) -> String {
        match self {
            Self::Platform => "platform".into(),
            Self::Python => "python".into(),
            Self::Package(name) => name.clone(),
            Self::Lock(path) => format!("lock {}", String::from_utf8_lossy(path)),
            Self::System(name) => format!("{}{name}", SYSTEM[0]),
            Self::Library(name) => format!("{}{name}", SYSTEM[1]),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Absent,
    Platform(String, String),
    Python(modelv_core::env::Interpreter),
    Package(Package, Option<Patch>, Vec<String>),
    Lock(modelv_core::env::Lock),
    System(SystemPackage),
    Library(Library),
}

fn items(envs: &[&Env]) -> BTreeSet<Item> {
    let mut out = BTreeSet::from([Item::Platform, Item::Python]);
    for env in envs {
        out.extend(env.packages.iter().map(|p| Item::Package(p.name.clone())));
        out.extend(env.locks.iter().map(|l| Item::Lock(l.path.clone())));
        let (system, libraries) = (&env.details.system, &env.details.libraries);
        out.extend(system.iter().map(|s| Item::System(s.name.clone())));
        out.extend(libraries.iter().map(|l| Item::Library(l.name.clone())));
    }
    out
}

fn part(env: &Env, item: &Item) -> Part {
    match item {
        Item::Platform if env.os.is_empty() => Part::Absent,
        Item::Platform => Part::Platform(env.os.clone(), env.arch.clone()),
        Item::Python => env.interpreter.clone().map_or(Part::Absent, Part::Python),
        Item::Package(name) => env.find_package(name).map_or(Part::Absent, |p| {
            let patch = env.find_patch(name).cloned();
            Part::Package(p.clone(), patch, env.extras_of(name).to_vec())
        }),
        Item::Lock(path) => {
            let found = env.locks.iter().find(|l| l.path == *path);
            found.cloned().map_or(Part::Absent, Part::Lock)
        }
        Item::System(name) => {
            let found = env.details.system.iter().find(|s| s.name == *name);
            found.cloned().map_or(Part::Absent, Part::System)
        }
        Item::Library(name) => {
            let found = env.details.libraries.iter().find(|l| l.name == *name);
            found.cloned().map_or(Part::Absent, Part::Library)
        }
    }
}

fn put(env: &mut Env, part: &Part) {
    match part {
        Part::Absent => {}
        Part::Platform(os, arch) => (env.os, env.arch) = (os.clone(), arch.clone()),
        Part::Python(interpreter) => env.interpreter = Some(interpreter.clone()),
        Part::Package(package, patch, extras) => {
            env.packages.push(package.clone());
            env.details.patched.extend(patch.clone());
            if !extras.is_empty() {
                let (package, names) = (package.name.clone(), extras.clone());
                env.details.extras.push(Extras { package, names });
            }
        }
        Part::Lock(lock) => env.locks.push(lock.clone()),
        Part::System(system) => env.details.system.push(system.clone()),
        Part::Library(library) => env.details.libraries.push(library.clone()),
    }
}

fn text(env: &Env, item: &Item) -> Option<String> {
    match part(env, item) {
        Part::Absent => None,
        Part::Platform(os, arch) => Some(format!("{os} {arch}")),
        Part::Python(i) => Some(format!("{} {}", i.implementation, i.version)),
        Part::Package(p, patch, extras) => {
            let source = p.source.map(|s| format!(" ({s})")).unwrap_or_default();
            let patch = patch.map(|p| format!(" (patched: {})", p.shown()));
            let extras = match extras.as_slice() {
                [] => String::new(),
                names => format!("[{}]", names.join(",")),
            };
            let patch = patch.unwrap_or_default();
            Some(format!("{}{extras}{source}{patch}", p.version))
        }
        Part::Lock(l) => Some(l.blob.short()),
        Part::System(s) => Some(format!("{} ({})", s.version, s.manager)),
        Part::Library(l) => Some(l.sha256.map_or_else(
            || "large".to_owned(),
            |h| modelv_core::id::to_hex(&h)[..12].to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use modelv_core::env::Interpreter;

    use super::*;

    fn env(python: &str, packages: &[(&str, &str)]) -> Env {
        let mut env = Env::none();
        (env.os, env.arch) = ("linux".into(), "x86_64".into());
        env.interpreter = Some(Interpreter {
            implementation: "cpython".into(),
            version: python.into(),
            abi: "cp311".into(),
        });
        env.packages = packages
            .iter()
            .map(|(name, version)| Package::new(*name, *version))
            .collect();
        env.packages.sort_by(|a, b| a.name.cmp(&b.name));
        env
    }

    #[test]
    fn changes_are_listed_by_package() {
        let old = env("3.11.7", &[("a", "1"), ("b", "1")]);
        let new = env("3.11.8", &[("b", "2"), ("c", "1")]);
        let shown: Vec<String> = diff_env(&old, &new)
            .iter()
            .map(|c| format!("{} {:?} {:?}", c.item, c.old, c.new))
            .collect();
        assert_eq!(
            shown,
            [
                r#"python Some("cpython 3.11.7") Some("cpython 3.11.8")"#,
                r#"a Some("1") None"#,
                r#"b Some("1") Some("2")"#,
                r#"c None Some("1")"#,
            ]
        );
    }

    #[test]
    fn merge_takes_one_sided_changes_and_names_the_rest_from_both_directions() {
        let base = env("3.11.7", &[("a", "1"), ("b", "1"), ("c", "1")]);
        let ours = env("3.11.7", &[("a", "2"), ("b", "2"), ("d", "1")]);
        let theirs = env("3.11.8", &[("a", "1"), ("b", "3"), ("c", "2"), ("d", "1")]);
        let (merged, conflicts) = merge_env(&base, &ours, &theirs);
        let names: Vec<&str> = conflicts.iter().map(|c| c.item.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(merged.interpreter, theirs.interpreter);
        assert_eq!(merged.find_package("a").unwrap().version, "2");
        let (mirrored, other) = merge_env(&base, &theirs, &ours);
        assert_eq!(
            other.iter().map(|c| c.item.as_str()).collect::<Vec<_>>(),
            names
        );
        // After the same decisions both directions are the same document.
        let mut settled = (merged, mirrored);
        for item in ["b", "c"] {
            settled.0 = take_item(&settled.0, &theirs, item);
            settled.1 = take_item(&settled.1, &theirs, item);
        }
        assert_eq!(settled.0, settled.1);
        assert_eq!(settled.0.find_package("c").unwrap().version, "2");
    }

    #[test]
    fn a_patch_goes_with_its_package() {
        let plain = env("3.11.7", &[("a", "1"), ("b", "1")]);
        let mut patched = plain.clone();
        patched.details.patched.push(Patch {
            package: "b".into(),
            sha256: [1; 32],
            count: 7,
            files: ["c", "d", "e", "f", "g", "h", "i"]
                .map(String::from)
                .to_vec(),
        });
        let shown = |old: &Env, new: &Env| {
            let change = &diff_env(old, new)[0];
            format!(
                "{} {:?} {:?}",
                change.item,
                change.old.as_deref(),
                change.new.as_deref()
            )
        };
        let want = r#"b Some("1") Some("1 (patched: c, d, e, f, g and 2 more)")"#;
        assert_eq!(shown(&plain, &patched), want);
        assert_eq!(merge_env(&plain, &plain, &patched).0, patched);
        assert_eq!(take_item(&patched, &plain, "b"), plain);
        assert_eq!(take_item(&plain, &patched, "b"), patched);
        let mut other = plain.clone();
        other.details.system.push(SystemPackage {
            name: "libc6".into(),
            version: "2.36-9".into(),
            manager: "dpkg".into(),
            libraries: vec!["libc.so.6".into()],
        });
        assert_eq!(
            shown(&plain, &other),
            r#"system libc6 None Some("2.36-9 (dpkg)")"#
        );
        assert!(diff_env(&plain, &other)[0].is_of_system());
        let (both, conflicts) = merge_env(&plain, &patched, &other);
        assert!(conflicts.is_empty());
        assert_eq!(
            (both.details.patched.len(), both.details.system.len()),
            (1, 1)
        );
    }

    #[test]
    fn merge_laws() {
        let (b, x) = (
            env("3.11.7", &[("a", "1")]),
            env("3.12.0", &[("a", "2"), ("z", "1")]),
        );
        assert_eq!(merge_env(&b, &x, &x), (x.clone(), vec![]));
        assert_eq!(merge_env(&b, &b, &x), (x.clone(), vec![]));
        assert_eq!(merge_env(&b, &x, &b), (x, vec![]));
    }
}
