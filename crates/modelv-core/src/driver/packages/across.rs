//! Demands on one package in several files of a folder, which one environment has to meet together:
//! what a merge brought together, and neither side had.
//!
//! Tells; decides nothing. Files of different folders are taken for different environments.

use std::collections::BTreeMap;

use super::super::config::{Format, config_values};
use super::{conda, parts, requirement};
use crate::path::{RepoPath, parent_of};
use crate::requirement::Requirement;
use crate::value::Value;

/// A file that lists demands, with its content after the merge, on our side and on theirs.
#[derive(Debug)]
pub struct Asking<'p> {
    /// Its path.
    pub path: &'p RepoPath,
    /// After the merge.
    pub merged: Vec<u8>,
    /// On our and on their side; `None`: absent.
    pub sides: [Option<Vec<u8>>; 2],
}

/// Demands as they stand in a file, and what they say.
type Asked = BTreeMap<String, Requirement>;

/// Whether the name of a file is one of those that list demands on packages.
#[must_use]
pub fn is_asking(path: &RepoPath) -> bool {
    kind_of(path).is_some()
}

#[derive(Clone, Copy)]
enum Kind {
    Lines,
    Project,
    Conda,
}

fn kind_of(path: &RepoPath) -> Option<Kind> {
    let name = path.name().to_ascii_lowercase();
    match name.as_slice() {
        b"pyproject.toml" => Some(Kind::Project),
        b"environment.yml" | b"environment.yaml" => Some(Kind::Conda),
        n if n.starts_with(b"requirements") && n.ends_with(b".txt") => Some(Kind::Lines),
        _ => None,
    }
}

/// The demands of a file that we can read.
fn asked(kind: Kind, content: &[u8]) -> Asked {
    let Ok(text) = std::str::from_utf8(content) else {
        return Asked::new();
    };
    let read = |text: &str| Some((super::demand(text), requirement(text)?));
    match kind {
        Kind::Lines => parts(text).iter().filter_map(|p| read(&p.lines)).collect(),
        Kind::Project => {
            let values = config_values(Format::Toml, content).unwrap_or_default();
            let Some(Value::List(items)) = values.get("project.dependencies") else {
                return Asked::new();
            };
            let text = |item: &Value| match item {
                Value::Str(text) => read(text),
                _ => None,
            };
            items.iter().filter_map(text).collect()
        }
        Kind::Conda => {
            let blocks = conda::split(&text.replace("\r\n", "\n"))
                .unwrap_or_default()
                .blocks;
            let plain = |says: &str| {
                let says = says.trim_matches(['"', '\'']);
                read(says.rsplit("::").next().unwrap_or(says))
            };
            blocks.iter().filter_map(|b| plain(&b.says)).collect()
        }
    }
}

/// One file, taken apart.
struct File<'p> {
    path: &'p RepoPath,
    merged: Asked,
    sides: [Asked; 2],
}

/// Pairs of demands in two files of one folder that no version meets together and that neither
/// side had both of, each as a sentence.
#[must_use]
pub fn clashes(files: &[Asking<'_>]) -> Vec<String> {
    let mut folders: BTreeMap<&[u8], Vec<File<'_>>> = BTreeMap::new();
    for file in files {
        let Some(kind) = kind_of(file.path) else {
            continue;
        };
        let side = |side: &Option<Vec<u8>>| side.as_deref().map(|b| asked(kind, b));
        let [ours, theirs] = &file.sides;
        let taken = File {
            path: file.path,
            merged: asked(kind, &file.merged),
            sides: [
                side(ours).unwrap_or_default(),
                side(theirs).unwrap_or_default(),
            ],
        };
        let folder = parent_of(file.path.as_bytes());
        folders.entry(folder).or_default().push(taken);
    }
    let mut out = Vec::new();
    for files in folders.values() {
        for (i, a) in files.iter().enumerate() {
            for b in &files[i + 1..] {
                pair(a, b, &mut out);
            }
        }
    }
    out
}

fn pair(a: &File<'_>, b: &File<'_>, out: &mut Vec<String>) {
    for (x_text, x) in &a.merged {
        for (y_text, y) in b.merged.iter().filter(|(_, y)| y.name == x.name) {
            let has = |side: &Asked, r: &Requirement| side.values().any(|s| s == r);
            let known = (0..2).any(|n| has(&a.sides[n], x) && has(&b.sides[n], y));
            if !known && !x.agrees_with(y) {
                out.push(format!(
                    "no version meets `{x_text}` in {} and `{y_text}` in {} together",
                    a.path, b.path
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str, &str, &str)]) -> Vec<String> {
        let paths: Vec<RepoPath> = files.iter().map(|f| RepoPath::new(f.0).unwrap()).collect();
        let bytes = |text: &str| text.as_bytes().to_vec();
        let asking = files
            .iter()
            .zip(&paths)
            .map(|((_, merged, ours, theirs), path)| Asking {
                path,
                merged: bytes(merged),
                sides: [
                    Some(bytes(ours)),
                    (!theirs.is_empty()).then(|| bytes(theirs)),
                ],
            });
        clashes(&asking.collect::<Vec<_>>())
    }

    #[test]
    fn what_a_merge_brought_together_over_two_files_is_told_once() {
        let project =
            |demand: &str| format!("[project]\nname = \"x\"\ndependencies = [\"{demand}\"]\n");
        let (old, new) = (project("numpy"), project("numpy<2"));
        let lines = |demand: &str| format!("# comment\n{demand}  # why\nscipy\n");
        let (any, two) = (lines("numpy"), lines("NumPy>=2.0"));
        let merged = [
            ("requirements.txt", &*two, &*any, &*two),
            ("pyproject.toml", &*new, &*new, &*old),
        ];
        assert_eq!(
            told(&merged),
            [
                "no version meets `NumPy>=2.0` in requirements.txt and `numpy<2` in pyproject.toml together"
            ]
        );
        // One side had both already.
        assert!(
            told(&[
                ("requirements.txt", &two, &two, &any),
                ("pyproject.toml", &new, &new, &old)
            ])
            .is_empty()
        );
        // Another folder is another environment; a demand for other machines does not meet.
        assert!(
            told(&[
                ("a/requirements.txt", &two, &any, &two),
                ("pyproject.toml", &new, &new, &old)
            ])
            .is_empty()
        );
        let win = lines("numpy>=2 ; sys_platform == 'win32'");
        let linux = project("numpy<2 ; sys_platform == 'linux'");
        assert!(
            told(&[
                ("requirements.txt", &win, &any, &win),
                ("pyproject.toml", &linux, &linux, &old)
            ])
            .is_empty()
        );
    }

    #[test]
    fn conda_and_files_that_are_none_are_read_as_far_as_they_go() {
        let conda = "dependencies:\n  - conda-forge::numpy>=2\n  - pip:\n    - torch==2.1\n";
        let lines = "numpy<2\ntorch>=2.2\n-r other.txt\n";
        let found = told(&[
            ("environment.yml", conda, conda, ""),
            ("requirements-dev.txt", lines, "", lines),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        for bad in [
            "\u{0}",
            "dependencies = ",
            "[project]\ndependencies = 1\n",
            "",
        ] {
            assert!(
                told(&[
                    ("pyproject.toml", bad, bad, bad),
                    ("requirements.txt", lines, "", lines)
                ])
                .is_empty()
            );
        }
    }
}
