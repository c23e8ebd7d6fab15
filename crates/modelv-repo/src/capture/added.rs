//! Files in the folders of installed packages that no installer has put there: named by no RECORD. Must never follow a
//! link, nor look into folders in which nothing was installed.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::ctx::Cancel;
use crate::wheels::record::{self, base64url, sha256_of};

/// Most files that are named.
const FOUND_MAX: usize = 100_000;

/// What the distributions of one folder of packages have installed.
#[derive(Default)]
struct Installed {
    files: HashSet<String>,
    /// Folders of modules, and the distribution of each.
    folders: BTreeMap<String, usize>,
}

/// Files that came later: the key of the distribution whose folder they lie in, their path, and `sha256=` with what
/// they hold. What interpreters compile is none.
pub(super) fn files(
    distributions: &[(String, PathBuf, String)],
    cancel: &Cancel,
) -> Vec<(String, String, String)> {
    let mut sites: BTreeMap<&Path, Installed> = BTreeMap::new();
    for (at, (_, site, dist_info)) in distributions.iter().enumerate() {
        let text = std::fs::read_to_string(site.join(dist_info).join("RECORD")).unwrap_or_default();
        let installed = sites.entry(site).or_default();
        for (path, _, _) in text.lines().filter_map(record::parts) {
            installed.take(at, &record::unquoted(path));
        }
    }
    let mut out = Vec::new();
    for (site, installed) in sites {
        for (folder, at) in &installed.folders {
            if cancel.is_cancelled() {
                return out;
            }
            let (_, _, dist_info) = &distributions[*at];
            let key = format!("{}/{dist_info}", site.display());
            let mut found = Vec::new();
            look(site, folder, &installed, &mut found);
            for path in found.into_iter().take(FOUND_MAX.saturating_sub(out.len())) {
                let hash = File::open(site.join(&path)).and_then(|f| sha256_of(f, u64::MAX));
                let hash = hash.map_or_else(
                    |_| String::new(),
                    |(h, _)| format!("sha256={}", base64url(&h)),
                );
                out.push((key.clone(), path, hash));
            }
        }
    }
    out
}

impl Installed {
    fn take(&mut self, at: usize, path: &str) {
        let is_module = !path.starts_with(['/', '.']);
        let first = path.split('/').next().unwrap_or("");
        let is_metadata = [".dist-info", ".data", ".egg-info"]
            .iter()
            .any(|end| first.ends_with(end));
        if is_module && !is_metadata {
            let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
            for folder in folders.filter(|f| !f.ends_with("__pycache__")) {
                self.folders.entry(folder.to_owned()).or_insert(at);
            }
        }
        self.files.insert(path.to_owned());
    }
}

/// Files in a folder that nobody has installed; of folders in it those alone that hold nothing else.
fn look(site: &Path, folder: &str, installed: &Installed, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(site.join(folder))
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{folder}/{name}");
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            let is_known = installed.folders.contains_key(&path) || name == "__pycache__";
            if !is_known && found.len() < FOUND_MAX {
                look(site, &path, installed, found);
            }
        } else if kind.is_file() && !name.ends_with(".pyc") && !installed.files.contains(&path) {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_installer_has_put_into_a_package_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        let both = [
            ("a", "name/space/a.py,,\nname/space/deep/d/e.py,,\na.py,,\n"),
            ("b", "name/space/b/x.py,,\n"),
        ];
        for (name, rows) in both {
            put(&format!("{name}-1.dist-info/METADATA"));
            let record = dir.path().join(format!("{name}-1.dist-info/RECORD"));
            std::fs::write(record, rows).unwrap();
        }
        for path in [
            "name/space/a.py",
            "name/space/deep/d/e.py",
            "name/space/b/x.py",
            "name/space/__pycache__/a.pyc",
            "a.py",
            // Not installed by anybody.
            "name/space/late.py",
            "name/space/b/new/y.txt",
            "alone/z.py",
        ] {
            put(path);
        }
        let distributions = ["a", "b"].map(|n| {
            (
                n.to_owned(),
                dir.path().to_owned(),
                format!("{n}-1.dist-info"),
            )
        });
        let found = files(&distributions, &Cancel::new());
        let shown: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, path, _)| (key.rsplit('/').next().unwrap(), path.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("a-1.dist-info", "name/space/late.py"),
                ("b-1.dist-info", "name/space/b/new/y.txt")
            ]
        );
        assert!(found[0].2.starts_with("sha256="));
    }
}
