//! Where wheels may be on this machine: folders of wheels, what pip and uv keep, installed trees.
//! Each is believed only if it is what was recorded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use modelv_core::env::Package;

use super::archive::{Proof, check_files, is_for, prove};
use super::repack::repack;
use crate::capture::metadata::metadata_dirs;
use crate::ctx::Cancel;
use crate::dirs::{set, user_cache};
use crate::error::Result;

/// pip's cache is this deep: four folders of a hash, then the wheel.
const CACHE_DEPTH_MAX: usize = 6;
/// Wheels and distributions that are looked at, in all.
const FOUND_MAX: usize = 100_000;

/// What lies around, found once and looked up for each package.
#[derive(Debug, Default)]
pub(super) struct Search {
    wheels: Vec<PathBuf>,
    /// Unpacked distributions by normal name: the folder that holds them, and their metadata's name.
    trees: HashMap<String, Vec<(PathBuf, String)>>,
}

/// A wheel that is what was recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) proof: Proof,
    /// Whether it was put together from files that lay unpacked.
    pub(super) repacked: bool,
}

impl Search {
    /// Takes all wheels of a folder and the folders in it.
    pub(super) fn add_folder(&mut self, dir: &Path) {
        self.add_below(dir, 0);
        self.wheels.sort();
    }

    fn add_below(&mut self, dir: &Path, depth: usize) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "whl") && self.wheels.len() < FOUND_MAX {
                self.wheels.push(path);
            } else if depth < CACHE_DEPTH_MAX && entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.add_below(&path, depth + 1);
            }
        }
    }

    /// Takes all distributions that lie unpacked in a folder.
    pub(super) fn add_site(&mut self, site: &Path) {
        for (package, folder) in metadata_dirs(site) {
            let known = self.trees.entry(package).or_default();
            if known.len() < FOUND_MAX {
                known.push((site.to_owned(), folder));
            }
        }
    }

    /// Takes what pip and uv keep for this user.
    pub(super) fn add_caches(&mut self) {
        let own = |name: &str, folder: &str| set(name).unwrap_or_else(|| user_cache().join(folder));
        self.add_folder(&own("PIP_CACHE_DIR", "pip").join("wheels"));
        let archives = own("UV_CACHE_DIR", "uv").join("archive-v0");
        for entry in std::fs::read_dir(archives).into_iter().flatten().flatten() {
            self.add_site(&entry.path());
        }
    }

    /// A wheel of exactly this package; one that lies unpacked is put together in `into`. `Err`
    /// names what is here and is not what was recorded.
    pub(super) fn find(
        &self,
        package: &Package,
        minor: &str,
        into: &Path,
        cancel: &Cancel,
    ) -> Result<std::result::Result<Found, Option<String>>> {
        let mut refused = None;
        let mut refuse = |place: &Path, why: String| {
            refused.get_or_insert_with(|| format!("{}: {why}", place.display()));
        };
        for path in &self.wheels {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if !is_for(name, package, minor) {
                continue;
            }
            match prove(path, package).and_then(|p| check_files(path, cancel).map(|()| p)) {
                Ok(proof) => {
                    let (path, repacked) = (path.clone(), false);
                    return Ok(Ok(Found {
                        path,
                        proof,
                        repacked,
                    }));
                }
                Err(why) => refuse(path, why),
            }
            cancel.check()?;
        }
        for (site, dist_info) in self.trees.get(&package.name).into_iter().flatten() {
            let stem = dist_info.trim_end_matches(".dist-info");
            // What nothing was recorded of could be anything.
            if package.wheel_tags(stem).is_none() || package.record_sha256.is_none() {
                continue;
            }
            match repack(site, dist_info, package, into, cancel) {
                Ok(path) => {
                    let (proof, repacked) = (Proof::Record, true);
                    return Ok(Ok(Found {
                        path,
                        proof,
                        repacked,
                    }));
                }
                Err(why) => refuse(&site.join(dist_info), why),
            }
            cancel.check()?;
        }
        Ok(Err(refused))
    }
}
