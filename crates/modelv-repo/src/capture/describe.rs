//! The environment document made from what is installed: metadata, lists of files, lock files, libraries.
//! Must never start a program, nor tell two machines apart that hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use modelv_core::env::{Env, Extras, Interpreter, Package};
use modelv_core::requirement::Requirement;

use super::env::{Answer, platform};
use super::imports::{Modules, modules_in_record};
use super::locks::Locked;
use super::metadata::{Distribution, read_egg_info, read_metadata};
use super::{libraries, requires};
use crate::error::{Error, Result};
use crate::wheels::record;

/// The document without lock files and patches, and which distributions bring which modules.
///
/// # Errors
/// A folder of packages can't be read.
pub(super) fn describe(answer: &Answer, mut locked: Locked) -> Result<(Env, Modules)> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    let mut found = Found::default();
    for site in &answer.sites {
        // Entries of sys.path need not exist.
        let Ok(entries) = std::fs::read_dir(site) else {
            continue;
        };
        for entry in entries {
            let path = entry.map_err(Error::io("read", site))?.path();
            let distribution = match path.extension().and_then(|e| e.to_str()) {
                Some("dist-info") => read_metadata(&path),
                Some("egg-info") => read_egg_info(&path),
                _ => None,
            };
            // The first on the path is the one that is imported.
            if let Some(distribution) = distribution
                && !packages.contains_key(&distribution.package.name)
            {
                let package = found.take(site, distribution, &locked);
                packages.insert(package.name.clone(), package);
            }
        }
    }
    let mut env = Env {
        interpreter: Some(Interpreter {
            implementation: answer.implementation.clone(),
            version: answer.version.clone(),
            abi: answer.abi.clone(),
        }),
        packages: packages.into_values().collect(),
        ..platform()
    };
    for text in &found.requires {
        ask_for_extras(text, &env, &mut locked);
    }
    let extras = locked.extras.into_iter();
    let extras = extras.filter(|(name, _)| env.find_package(name).is_some());
    env.details.extras = extras
        .map(|(package, names)| Extras {
            package,
            names: names.into_iter().collect(),
        })
        .collect();
    (env.details.system, env.details.libraries) =
        libraries::of_modules(&found.binaries, &found.inside, &answer.prefix);
    Ok((env, found.modules))
}

/// What all distributions together say of more than themselves.
#[derive(Default)]
struct Found {
    modules: Modules,
    /// Demands with extras.
    requires: Vec<String>,
    /// Shared libraries and extension modules, and their file names.
    binaries: Vec<PathBuf>,
    inside: BTreeSet<String>,
}

impl Found {
    fn take(&mut self, site: &Path, distribution: Distribution, locked: &Locked) -> Package {
        let Distribution {
            mut package,
            record,
            requires,
            tags,
        } = distribution;
        let record = record.unwrap_or_default();
        for module in modules_in_record(&record) {
            let known = self.modules.entry(module.to_owned()).or_default();
            known.push(package.name.clone());
        }
        for (path, _, _) in record.lines().filter_map(record::parts) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let is_binary = name.ends_with(".so") || name.contains(".so.");
            if is_binary && !path.starts_with(['/', '.', '"']) {
                self.binaries.push(site.join(path));
                self.inside.insert(name.to_owned());
            }
        }
        self.requires
            .extend(requires.into_iter().filter(|r| r.contains('[')));
        if package.archive_sha256.is_none() && package.source.is_none() {
            package.archive_sha256 = locked.archive_of(&package, &tags);
        }
        package
    }
}

/// Notes the extras that a demand asks for, where it holds. What only an extra of the asking package wants
/// is wanted by nobody, as far as its metadata tells.
fn ask_for_extras(text: &str, env: &Env, locked: &mut Locked) {
    let Some(demand) = Requirement::parse(text) else {
        return;
    };
    let value = |name: &str| requires::marker_value(env, name);
    if demand.marker.is_none_or(|marker| marker.holds(&value)) {
        demand
            .extras
            .iter()
            .for_each(|extra| locked.ask_for(&demand.name, extra));
    }
}
