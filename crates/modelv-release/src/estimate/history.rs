//! The builds of a repository, one line of JSON each (spec/builds.md). A line that can't be read is passed
//! over: nothing but estimates is made of them. Must never stop a release.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use modelv_repo::Repo;
use serde::{Deserialize, Serialize};

use crate::packing::Compression;
use crate::release::{Built, Image, ReleaseOptions};
use crate::steps::Made;

/// Version of a line.
pub(crate) const VERSION: u32 = 1;
/// Bytes that are read, from the end.
const READ_BYTES_MAX: u64 = 16 << 20;
/// Builds that are learned from, the newest.
const BUILDS_MAX: usize = 2000;

/// A layer of an image that was built, or is going to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct BuiltLayer {
    /// What it holds, as a release calls it.
    pub(crate) name: String,
    /// Whether it came from the cache of layers.
    pub(crate) cached: bool,
    /// Bytes of its files, where they were counted.
    pub(crate) unpacked: Option<u64>,
    /// Its packages, `NAME VERSION`.
    pub(crate) packages: Vec<String>,
    /// Wall time of this layer; layers are made side by side.
    pub(crate) milliseconds: u64,
}

/// A build of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Build {
    /// Version of this record.
    pub(crate) version: u32,
    /// Digest of the image.
    pub(crate) image: String,
    /// `gzip` or `zstd`.
    pub(crate) compression: String,
    /// Bottom to top.
    pub(crate) layers: Vec<BuiltLayer>,
    /// Packages that had to be fetched, `NAME VERSION`.
    pub(crate) fetched: Vec<String>,
    /// Wall time of all.
    pub(crate) milliseconds: u64,
}

impl Build {
    /// What was built, and how long that took.
    pub(crate) fn of(
        image: &Image,
        built: &Built,
        options: &ReleaseOptions,
        took: Duration,
    ) -> Self {
        Self {
            image: image.digest.clone(),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ..Self::planned(built, options)
        }
    }

    /// What is going to be built.
    pub(crate) fn planned(built: &Built, options: &ReleaseOptions) -> Self {
        let layers = built.layers.iter().map(BuiltLayer::from).collect();
        Self {
            fetched: built.absent.iter().map(|a| a.label.clone()).collect(),
            ..Self::of_layers(layers, options)
        }
    }

    /// What these layers are a build of.
    pub(crate) fn of_layers(layers: Vec<BuiltLayer>, options: &ReleaseOptions) -> Self {
        Self {
            version: VERSION,
            compression: word(options.compression),
            layers,
            ..Self::default()
        }
    }
}

impl From<&Made> for BuiltLayer {
    fn from(made: &Made) -> Self {
        Self {
            name: made.name.clone(),
            cached: made.cached,
            unpacked: made.unpacked,
            packages: made.packages.clone(),
            milliseconds: made.took,
        }
    }
}

fn word(compression: Compression) -> String {
    match compression {
        Compression::Gzip => "gzip".into(),
        Compression::Zstd => "zstd".into(),
    }
}

/// Where the builds are noted.
pub(crate) fn path(repo: &Repo) -> PathBuf {
    repo.dir().join("builds.jsonl")
}

/// Adds a build. One write at the end of the file: two releases at once lose nothing.
pub(crate) fn append(path: &Path, build: &Build) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(build)?;
    line.push(b'\n');
    let mut open = std::fs::OpenOptions::new();
    open.append(true).create(true).open(path)?.write_all(&line)
}

/// The newest builds, oldest first.
pub(crate) fn read(path: &Path) -> Vec<Build> {
    let read = || {
        let mut file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(READ_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read().unwrap_or_default();
    let lines = bytes.split(|b| *b == b'\n');
    let builds = lines.filter_map(|line| serde_json::from_slice::<Build>(line).ok());
    let mut out: Vec<Build> = builds.filter(|b| b.version == VERSION).collect();
    out.drain(..out.len().saturating_sub(BUILDS_MAX));
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A build that made a layer for each package.
    pub(crate) fn build(names: &[&str], milliseconds: u64) -> Build {
        let layer = |name: &str| BuiltLayer {
            name: format!("env: {name} 1.0"),
            unpacked: Some(4 << 20),
            packages: vec![format!("{name} 1.0")],
            ..BuiltLayer::default()
        };
        Build {
            version: VERSION,
            compression: "gzip".into(),
            layers: names.iter().map(|name| layer(name)).collect(),
            milliseconds,
            ..Build::default()
        }
    }

    #[test]
    fn builds_come_back_and_damage_costs_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("builds.jsonl");
        assert!(read(&path).is_empty());
        append(&path, &build(&["numpy"], 10)).unwrap();
        append(&path, &build(&["scipy"], 20)).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":9");
        text.push_str("{\"version\": 1, \"image\n");
        text.push_str(&newer);
        std::fs::write(&path, text).unwrap();
        append(&path, &build(&["pandas"], 30)).unwrap();
        let found: Vec<u64> = read(&path).iter().map(|b| b.milliseconds).collect();
        assert_eq!(found, [10, 20, 30]);
    }

    #[test]
    fn old_builds_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("builds.jsonl");
        let line = |n| serde_json::to_string(&build(&["numpy"], n)).unwrap();
        let lines: Vec<String> = (0..BUILDS_MAX as u64 + 5).map(line).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let found = read(&path);
        assert_eq!((found.len(), found[0].milliseconds), (BUILDS_MAX, 5));
    }
}
