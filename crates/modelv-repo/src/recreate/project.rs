//! Projects of a commit that were installed in place (`pip install -e`, `uv sync`): found by the name that they
//! give themselves, and read for where their modules begin. Must never run anything of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use modelv_core::env::{Env, Package, normal_name};
use modelv_core::path::{RepoPath, folders_of, parent_of};
use regex::Regex;
use toml::{Table, Value};

use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient};

/// Largest description of a project that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;
const NAMES: [&[u8]; 3] = [b"pyproject.toml", b"setup.cfg", b"setup.py"];
/// Build systems that always compile.
const COMPILING: [&str; 4] = ["maturin", "scikit_build_core.build", "mesonpy", "skbuild"];

/// A project, by its folder in the commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Project {
    /// The folder with a `/` behind it; empty: the root.
    pub(super) folder: Vec<u8>,
    /// Folders in it that modules are imported from; `.` is itself.
    pub(super) roots: Vec<String>,
    /// Groups of entry points, each with names and what they lead to.
    pub(super) entry_points: Vec<(String, Vec<(String, String)>)>,
    /// What it asks for, as the metadata of a distribution has it.
    pub(super) requires: Vec<String>,
    /// Whether modules of it have to be compiled first.
    pub(super) compiles: bool,
}

/// What describes a project.
#[derive(Default)]
struct Texts {
    pyproject: Table,
    cfg: String,
    py: String,
}

impl Repo {
    /// The project among the files of a commit that a package was installed from in place. The one nearest to the
    /// root counts.
    pub(crate) fn project_of(&self, files: &Files, package: &Package) -> Result<Option<Project>> {
        let mut folders: BTreeSet<(usize, &[u8])> = BTreeSet::new();
        for (path, file) in files {
            if NAMES.contains(&path.name()) && file.size <= BYTES_MAX {
                let folder = parent_of(path.as_bytes());
                folders.insert((folders_of(path.as_bytes()).count(), folder));
            }
        }
        for (_, folder) in folders {
            let texts = self.texts_in(files, folder)?;
            if !texts.names().any(|name| normal_name(&name) == package.name) {
                continue;
            }
            let mut folder = folder.to_vec();
            if !folder.is_empty() {
                folder.push(b'/');
            }
            let has = |inside: &str| {
                let inside = [&folder, inside.as_bytes(), b"/"].concat();
                files.keys().any(|p| p.as_bytes().starts_with(&inside))
            };
            return Ok(Some(Project {
                roots: texts.roots(&has),
                entry_points: texts.entry_points(),
                requires: texts.requires(),
                compiles: texts.compiles(),
                folder,
            }));
        }
        Ok(None)
    }

    /// The folders of a commit from which modules of packages that were installed in place are imported, by the
    /// names of the packages; none: its root. Packages that the commit has no code of are not there.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn roots_in_place(
        &self,
        files: &Files,
        env: &Env,
    ) -> Result<BTreeMap<String, Vec<RepoPath>>> {
        let mut out = BTreeMap::new();
        for package in env.packages.iter().filter(|p| p.editable) {
            let Some(project) = self.project_of(files, package)? else {
                continue;
            };
            let root = |root: &String| {
                let inside = if root == "." { "" } else { root };
                let path = [&project.folder, inside.as_bytes()].concat();
                RepoPath::new(path.strip_suffix(b"/").unwrap_or(&path)).ok()
            };
            // The root itself is on the path of every program that is started there.
            let roots = project.roots.iter().filter_map(root);
            out.insert(package.name.clone(), roots.collect());
        }
        Ok(out)
    }

    fn texts_in(&self, files: &Files, folder: &[u8]) -> Result<Texts> {
        let read = |name: &[u8]| -> Result<String> {
            let path = match folder.is_empty() {
                true => name.to_vec(),
                false => [folder, b"/", name].concat(),
            };
            let file = RepoPath::new(path).ok().and_then(|p| files.get(&p));
            match file.filter(|f| f.size <= BYTES_MAX) {
                Some(file) => {
                    let bytes = self.read_blob(file.blob)?;
                    Ok(String::from_utf8_lossy(&bytes).into_owned())
                }
                None => Ok(String::new()),
            }
        };
        Ok(Texts {
            pyproject: read(NAMES[0])?.parse().unwrap_or_default(),
            cfg: read(NAMES[1])?,
            py: read(NAMES[2])?,
        })
    }
}

impl Project {
    /// The files of it that an installation in place shows, by their names in its folder: code and configuration,
    /// and what lies with the modules of a package.
    pub(super) fn files(&self, files: &Files) -> Files {
        let packages: BTreeSet<&[u8]> = files
            .keys()
            .filter(|p| p.name() == b"__init__.py")
            .map(|p| parent_of(p.as_bytes()))
            .collect();
        let own = files.iter().filter(|(path, file)| {
            let is_code = matches!(file.ingredient, Ingredient::Code | Ingredient::Config);
            is_code || folders_of(path.as_bytes()).any(|f| packages.contains(f))
        });
        own.filter_map(|(path, file)| {
            let inside = path.as_bytes().strip_prefix(&*self.folder)?;
            Some((RepoPath::new(inside).ok()?, file.clone()))
        })
        .collect()
    }
}

impl Texts {
    /// What the project calls itself.
    fn names(&self) -> impl Iterator<Item = String> {
        let at = |path: &[&str]| text_at(&self.pyproject, path);
        let names = [
            at(&["project", "name"]),
            at(&["tool", "poetry", "name"]),
            self.cfg_value("metadata", "name").into_iter().next(),
            first_of(&self.py, r#"(?m)(?-u:\b)name\s*=\s*["']([^"']+)["']"#),
        ];
        names.into_iter().flatten()
    }

    /// The folders that modules are imported from: those that are said, else `src` where there is one.
    fn roots(&self, has: &dyn Fn(&str) -> bool) -> Vec<String> {
        let table = &self.pyproject;
        let hatch = ["tool", "hatch", "build", "targets", "wheel"];
        let mut said: Vec<String> = Vec::new();
        said.extend(texts_at(
            table,
            &["tool", "setuptools", "packages", "find", "where"],
        ));
        said.extend(text_at(table, &["tool", "setuptools", "package-dir", ""]));
        said.extend(text_at(table, &["tool", "pdm", "build", "package-dir"]));
        said.extend(text_at(
            table,
            &["tool", "uv", "build-backend", "module-root"],
        ));
        said.extend(texts_at(
            table,
            &["tool", "hatch", "build", "dev-mode-dirs"],
        ));
        said.extend(texts_at(table, &[&hatch[..], &["sources"]].concat()));
        for package in texts_at(table, &[&hatch[..], &["packages"]].concat()) {
            let parent = package.trim_end_matches('/').rsplit_once('/');
            said.push(parent.map_or(".", |(parent, _)| parent).to_owned());
        }
        let poetry = value_at(table, &["tool", "poetry", "packages"]);
        for package in poetry.and_then(Value::as_array).into_iter().flatten() {
            let from = package.get("from").and_then(Value::as_str);
            said.push(from.unwrap_or(".").to_owned());
        }
        for row in self.cfg_value("options", "package_dir") {
            said.extend(row.strip_prefix('=').map(|dir| dir.trim().to_owned()));
        }
        said.extend(self.cfg_value("options.packages.find", "where"));
        let dirs = r#"package_dir\s*=\s*\{\s*["']["']\s*:\s*["']([^"']+)"#;
        said.extend(first_of(&self.py, dirs));
        let found = r#"find_(?:namespace_)?packages\(\s*(?:where\s*=\s*)?["']([^"']+)"#;
        said.extend(first_of(&self.py, found));
        let mut roots: Vec<String> = Vec::new();
        for text in said {
            let text = text.trim_start_matches("./").trim_end_matches('/');
            let root = if text.is_empty() { "." } else { text };
            // What is said could lead anywhere: only what is in the commit counts.
            // A line of its own in a `.pth` would be executed.
            let is_line = !root.contains(char::is_control);
            if is_line && (root == "." || has(root)) && !roots.iter().any(|r| r == root) {
                roots.push(root.to_owned());
            }
        }
        if roots.is_empty() {
            roots.push(if has("src") { "src" } else { "." }.to_owned());
        }
        roots
    }

    fn entry_points(&self) -> Vec<(String, Vec<(String, String)>)> {
        let pairs = |table: Option<&Value>| -> Vec<(String, String)> {
            let rows = table.and_then(Value::as_table).into_iter().flatten();
            let plain = |text: &str| !text.contains(['\n', '\r']);
            rows.filter_map(|(name, to)| Some((name.clone(), to.as_str()?.to_owned())))
                .filter(|(name, to)| plain(name) && plain(to))
                .collect()
        };
        let at = |path: &[&str]| value_at(&self.pyproject, path);
        let mut out = vec![
            (
                "console_scripts".to_owned(),
                pairs(at(&["project", "scripts"])),
            ),
            (
                "gui_scripts".to_owned(),
                pairs(at(&["project", "gui-scripts"])),
            ),
        ];
        if out[0].1.is_empty() {
            out[0].1 = pairs(at(&["tool", "poetry", "scripts"]));
        }
        let groups = at(&["project", "entry-points"]).and_then(Value::as_table);
        for (group, rows) in groups.into_iter().flatten() {
            out.push((group.clone(), pairs(Some(rows))));
        }
        let mut group = String::new();
        for row in self.cfg_value_rows("options.entry_points") {
            match row.split_once('=') {
                Some((name, "")) => group = name.trim().to_owned(),
                Some((name, to)) if !group.is_empty() => {
                    let pair = (name.trim().to_owned(), to.trim().to_owned());
                    match out.iter_mut().find(|(g, _)| *g == group) {
                        Some((_, pairs)) => pairs.push(pair),
                        None => out.push((group.clone(), vec![pair])),
                    }
                }
                _ => {}
            }
        }
        out.retain(|(_, pairs)| !pairs.is_empty());
        out
    }

    fn requires(&self) -> Vec<String> {
        let mut out = texts_at(&self.pyproject, &["project", "dependencies"]);
        let extras = value_at(&self.pyproject, &["project", "optional-dependencies"]);
        for (extra, list) in extras.and_then(Value::as_table).into_iter().flatten() {
            for demand in list
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let (what, marker) = demand.split_once(';').unwrap_or((demand, ""));
                let only = format!("extra == \"{extra}\"");
                out.push(match marker.trim() {
                    "" => format!("{}; {only}", what.trim()),
                    marker => format!("{}; ({marker}) and {only}", what.trim()),
                });
            }
        }
        out.retain(|demand| !demand.contains(['\n', '\r']));
        out
    }

    fn compiles(&self) -> bool {
        let backend = text_at(&self.pyproject, &["build-system", "build-backend"]);
        let words = ["ext_modules", "Extension(", "cythonize("];
        backend.is_some_and(|b| COMPILING.contains(&b.as_str()))
            || words.iter().any(|word| self.py.contains(word))
            || value_at(&self.pyproject, &["tool", "setuptools", "ext-modules"]).is_some()
    }

    /// The lines of a value in `setup.cfg`, without blank ones.
    fn cfg_value(&self, section: &str, key: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut is_key = false;
        for row in self.cfg_value_rows(section) {
            if let Some(more) = row.strip_prefix(' ') {
                out.extend(is_key.then(|| more.trim().to_owned()));
                continue;
            }
            let (name, value) = row.split_once('=').unwrap_or((&row, ""));
            is_key = name.trim() == key;
            out.extend(is_key.then(|| value.trim().to_owned()));
        }
        out.retain(|line| !line.is_empty());
        out
    }

    /// The rows of a section of `setup.cfg`; a blank before one says that it goes on with the one above.
    fn cfg_value_rows(&self, section: &str) -> Vec<String> {
        let mut is_inside = false;
        let mut out = Vec::new();
        for line in self.cfg.lines() {
            let text = line.trim();
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
                is_inside = name.trim() == section;
            } else if is_inside {
                let blank = if line.starts_with([' ', '\t']) {
                    " "
                } else {
                    ""
                };
                out.push(format!("{blank}{text}"));
            }
        }
        out
    }
}

fn value_at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(table.get(*first)?, |at, key| at.get(key))
}

fn text_at(table: &Table, path: &[&str]) -> Option<String> {
    value_at(table, path)?.as_str().map(str::to_owned)
}

fn texts_at(table: &Table, path: &[&str]) -> Vec<String> {
    let list = value_at(table, path).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// What the first match of a pattern has in its brackets.
fn first_of(text: &str, pattern: &'static str) -> Option<String> {
    static COMMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?m)^\s*#.*$").ok());
    let text = COMMENT
        .as_ref()
        .map_or(text.into(), |c| c.replace_all(text, ""));
    let found = Regex::new(pattern).ok()?.captures(&text)?.get(1)?.as_str();
    Some(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pyproject: &str, cfg: &str, py: &str) -> Texts {
        Texts {
            pyproject: pyproject.parse().unwrap(),
            cfg: cfg.into(),
            py: py.into(),
        }
    }

    #[test]
    fn where_modules_begin_is_what_each_build_system_is_told() {
        for (pyproject, cfg, py, want) in [
            (
                "[tool.setuptools.packages.find]\nwhere = ['lib']",
                "",
                "",
                "lib",
            ),
            (
                "[tool.setuptools.package-dir]\n'' = './lib/'",
                "",
                "",
                "lib",
            ),
            (
                "[[tool.poetry.packages]]\ninclude = 'a'\nfrom = 'lib'",
                "",
                "",
                "lib",
            ),
            ("[tool.pdm.build]\npackage-dir = 'lib'", "", "", "lib"),
            ("[tool.uv.build-backend]\nmodule-root = ''", "", "", "."),
            (
                "[tool.hatch.build.targets.wheel]\npackages = ['lib/a', 'b']",
                "",
                "",
                "lib .",
            ),
            ("", "[options]\npackage_dir =\n    = lib\n", "", "lib"),
            (
                "",
                "[options]\npackages = find:\n[options.packages.find]\nwhere = lib\n",
                "",
                "lib",
            ),
            ("", "", "setup(name='x', package_dir={'': 'lib'})", "lib"),
            (
                "",
                "",
                "setup(packages=find_packages(where=\"lib\"))",
                "lib",
            ),
            ("", "", "setup(packages=find_packages())", "src"),
            (
                "[tool.setuptools.packages.find]\nwhere = ['../out', '/etc', 'none']",
                "",
                "",
                "src",
            ),
        ] {
            let has = |dir: &str| ["lib", "src"].contains(&dir);
            let texts = texts(pyproject, cfg, py);
            assert_eq!(texts.roots(&has).join(" "), want, "{pyproject}{cfg}{py}");
        }
        assert_eq!(texts("", "", "").roots(&|_| false), ["."]);
    }

    #[test]
    fn names_demands_and_entry_points_are_read() {
        let names = |t: &Texts| t.names().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&texts("[project]\nname = 'A.b'", "", "")), "A.b");
        assert_eq!(names(&texts("[tool.poetry]\nname = 'p'", "", "")), "p");
        assert_eq!(names(&texts("", "[metadata]\nname = c\n", "")), "c");
        assert_eq!(
            names(&texts("", "", "# name='old'\nsetup(\n  name = \"s\")")),
            "s"
        );
        let whole = texts(
            "[project]\ndependencies = ['a>1']\n[project.optional-dependencies]\nx = ['b[c]', \"d; os_name=='nt'\"]\n\
             [project.scripts]\nrun = 'm:f'\n[project.entry-points.plug]\nk = 'm'\n",
            "[options.entry_points]\nconsole_scripts =\n    two = m:g\n",
            "",
        );
        assert_eq!(
            whole.requires(),
            [
                "a>1",
                "b[c]; extra == \"x\"",
                "d; (os_name=='nt') and extra == \"x\""
            ]
        );
        let shown: Vec<String> = whole
            .entry_points()
            .iter()
            .map(|(group, pairs)| format!("{group} {pairs:?}"))
            .collect();
        assert_eq!(
            shown,
            [
                r#"console_scripts [("run", "m:f"), ("two", "m:g")]"#,
                r#"plug [("k", "m")]"#
            ]
        );
        assert!(!whole.compiles());
        assert!(texts("[build-system]\nbuild-backend = 'maturin'", "", "").compiles());
        assert!(texts("", "", "setup(ext_modules=[])").compiles());
    }
}
