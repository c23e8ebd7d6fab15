//! The commit's own files in an image: code, configuration and model below one folder, and the links
//! among them. A link that would lead out of that folder is refused, for what it names on the machine
//! that runs the image is not what it named when the commit was made.

use std::collections::BTreeMap;

use modelv_repo::Repo;
use modelv_repo::core::tree::Mode;
use modelv_repo::worktree::{Files as RepoFiles, Ingredient, Rules};

use crate::error::{Error, Result};
use crate::golden::{self, GOLDEN_BYTES_MAX};
use crate::layer::{Content, Files, Node, check_name};

/// Where they lie, without a leading slash.
pub(crate) const APP: &str = "opt/modelv/app";
/// What of a commit is served.
const SERVED: [Ingredient; 3] = [Ingredient::Code, Ingredient::Config, Ingredient::Model];
/// Longest path a link may name: what Linux takes.
const TARGET_BYTES_MAX: u64 = 4095;
/// Links the kernel follows for one path.
const HOPS_MAX: usize = 40;

/// What a commit says of how it is served.
pub(crate) fn rules_of(repo: &Repo, files: &RepoFiles) -> Result<Rules> {
    let text = match files.get(b"modelv.toml".as_slice()) {
        Some(file) => repo.read_blob(file.blob)?,
        None => Vec::new(),
    };
    Ok(Rules::parse(&String::from_utf8_lossy(&text))?)
}

/// Takes a file that the server reads into the image, although it is data.
pub(crate) fn take_in(files: &mut RepoFiles, path: Option<&str>) {
    let file = path.and_then(|path| files.get_mut(path.as_bytes()));
    if let Some(file) = file.filter(|file| file.ingredient == Ingredient::Data) {
        file.ingredient = Ingredient::Code;
    }
}

/// Whether a commit records golden requests, which it must have if it names them.
pub(crate) fn check_golden(repo: &Repo, files: &RepoFiles, rules: &Rules) -> Result<bool> {
    let Some(path) = rules.serve().golden.as_deref() else {
        return Ok(false);
    };
    let bad = |detail: &str| Error::GoldenFile {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let file = files.get(path.as_bytes());
    let file = file.ok_or_else(|| bad("the commit has no such file"))?;
    if file.mode != Mode::File && file.mode != Mode::Executable {
        return Err(bad("it is no plain file"));
    }
    if file.size > GOLDEN_BYTES_MAX {
        return Err(bad("it has more than 64 MiB"));
    }
    golden::check(path, &repo.read_blob(file.blob)?)?;
    Ok(true)
}

/// Links of a commit by path, and where they lead.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<Vec<u8>, Vec<u8>>);

impl Links {
    /// Reads all links that will be in an image, and refuses those that lead out.
    pub(crate) fn read(repo: &Repo, files: &RepoFiles) -> Result<Self> {
        let mut links = BTreeMap::new();
        for (path, file) in files.iter() {
            if file.mode != Mode::Symlink || !SERVED.contains(&file.ingredient) {
                continue;
            }
            let path = path.as_bytes().to_vec();
            if file.size > TARGET_BYTES_MAX {
                return Err(refused(
                    &path,
                    "it is a link with a target of over 4095 bytes",
                ));
            }
            links.insert(path, repo.read_blob(file.blob)?);
        }
        let links = Self(links);
        links.check()?;
        Ok(links)
    }

    fn check(&self) -> Result<()> {
        for (path, target) in &self.0 {
            let shown = String::from_utf8_lossy(target);
            if target.starts_with(b"/") {
                let detail = format!("it is a link to `{shown}`, an absolute path");
                return Err(refused(path, &detail));
            }
            if self.leads_out(path) {
                let detail = format!("it is a link to `{shown}`, which is outside of the commit");
                return Err(refused(path, &detail));
            }
        }
        Ok(())
    }

    /// Follows a link as the kernel would, through the other links: each alone may stay inside while
    /// two together do not (`d -> .`, `x -> d/../..`).
    fn leads_out(&self, link: &[u8]) -> bool {
        let split = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|b| *b == b'/')
                .filter(|part| !part.is_empty() && *part != b".")
                .map(<[u8]>::to_vec)
                .rev()
                .collect()
        };
        // What is still to be walked, the next part last; and where we are.
        let mut ahead = split(link);
        let mut here: Vec<Vec<u8>> = Vec::new();
        let mut hops = 0;
        while let Some(part) = ahead.pop() {
            if part == b".." {
                if here.pop().is_none() {
                    return true;
                }
                continue;
            }
            here.push(part);
            let Some(target) = self.0.get(&here.join(&b'/')) else {
                continue;
            };
            hops += 1;
            // The kernel gives up here: such a link leads nowhere.
            if hops > HOPS_MAX {
                return false;
            }
            if target.starts_with(b"/") {
                return true;
            }
            here.pop();
            ahead.extend(split(target));
        }
        false
    }
}

fn refused(path: &[u8], detail: &str) -> Error {
    Error::File {
        path: String::from_utf8_lossy(path).into_owned(),
        detail: detail.to_owned(),
    }
}

/// The files of some ingredients, where they lie in an image.
pub(crate) fn files_of(files: &RepoFiles, wanted: &[Ingredient], links: &Links) -> Result<Files> {
    let mut out = Files::default();
    for (path, file) in files.iter().filter(|(_, f)| wanted.contains(&f.ingredient)) {
        check_name(path.as_bytes())?;
        let place = [APP.as_bytes(), b"/", path.as_bytes()].concat();
        match file.mode {
            Mode::Symlink => {
                if let Some(target) = links.0.get(path.as_bytes()) {
                    out.add(place, Node::Link(target.clone()));
                }
            }
            Mode::Tree | Mode::External => {}
            mode => {
                let content = Content::Blob(file.blob, file.size);
                out.add_file(place, mode == Mode::Executable, content);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(links: &[(&str, &str)]) -> Result<(), String> {
        let map =
            |(path, target): &(&str, &str)| (path.as_bytes().into(), target.as_bytes().into());
        Links(links.iter().map(map).collect())
            .check()
            .map_err(|e| e.to_string())
    }

    #[test]
    fn links_that_stay_inside_are_kept() {
        for links in [
            &[("current", "models/w.json")][..],
            &[("a/b/c", "../../x")],
            &[("a/b/c", "..")],
            &[("a", ".")],
            &[("a/self", "self"), ("b", "c"), ("c", "b")],
            &[("gone", "not/there")],
            // `d` leads one deeper, so that two steps up from it are inside.
            &[("d", "one/two"), ("x", "d/../..")],
            &[("a//odd", ".//./x/")],
        ] {
            assert_eq!(check(links), Ok(()), "{links:?}");
        }
    }

    #[test]
    fn links_that_lead_out_are_refused_by_name() {
        for (links, want) in [
            (
                &[("passwd", "/etc/passwd")][..],
                "`passwd` can't be put into an image: it is a link to `/etc/passwd`, an absolute path",
            ),
            (
                &[("a/up", "../../x")],
                "`a/up` can't be put into an image: it is a link to `../../x`, which is outside of the commit",
            ),
            (&[("up", "..")], "`up` can't"),
            (&[("x", "a/../../y")], "`x` can't"),
            // Each alone is inside; `d/..` is the folder above.
            (&[("d", "."), ("x", "d/../y")], "`x` can't"),
            (&[("a/d", ".."), ("x", "a/d/../y")], "`x` can't"),
            (&[("e", "x/../.."), ("x", ".")], "`e` can't"),
        ] {
            let said = check(links).unwrap_err();
            assert!(said.starts_with(want), "{said}");
        }
    }
}
