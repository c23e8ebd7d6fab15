//! The layers of an image above its base, each made from what went in alone, on all cores: one for each
//! large package and each large file of the model, so that images share them and a change moves few.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::demands::{Demands, Look};
use crate::error::Result;
use crate::layer::{Content, Files, Layer, Node};
use crate::packer::Packer;
use crate::packing::Packing;
use crate::wheel::{self, Wheel};

/// Smallest wheel, in bytes, that has a layer of its own, and how many have.
const WHEEL_BYTES_MIN: u64 = 1 << 20;
const WHEELS_MAX: usize = 40;
/// Smallest file of a model, in bytes, that has a layer of its own, and how many have.
const WEIGHTS_BYTES_MIN: u64 = 8 << 20;
const WEIGHTS_MAX: usize = 32;

/// Names of layers of a model: its small files, and before the path of a large one.
pub(crate) const BUNDLE: &str = "model";
pub(crate) const SINGLE: &str = "model: ";

/// A layer that is to be made.
pub(crate) struct Step {
    pub(crate) name: String,
    /// What decides its bytes; a layer without one is made each time.
    key: Option<String>,
    /// `None`: as all others.
    packing: Option<Packing>,
    source: Source,
}

enum Source {
    Wheels(Vec<Wheel>),
    Files(Files),
}

/// A layer that was made or found.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) layer: Layer,
    pub(crate) cached: bool,
    /// Bytes of its files, where they were counted.
    pub(crate) unpacked: Option<u64>,
    pub(crate) demands: Demands,
    /// The packages in it.
    pub(crate) packages: Vec<String>,
    /// Milliseconds that it took.
    pub(crate) took: u64,
}

/// What is noted about the files of a layer, so that it need not be unpacked again.
#[derive(Serialize, Deserialize)]
struct Facts {
    demands: Demands,
    unpacked: u64,
}

impl Facts {
    fn of(files: &Files, packer: &Packer<'_>) -> Result<Self> {
        let mut demands = Demands::default();
        demands.look_at_all(files, packer.repo, &packer.blobs)?;
        Ok(Self {
            demands,
            unpacked: files.size(),
        })
    }
}

impl Step {
    pub(crate) fn of_files(name: &str, key: Option<String>, files: Files) -> Self {
        Self {
            name: name.to_owned(),
            key,
            packing: None,
            source: Source::Files(files),
        }
    }

    fn of_wheels(name: String, wheels: Vec<Wheel>) -> Self {
        let hashes: Vec<&str> = wheels.iter().map(|w| w.sha256.as_str()).collect();
        Self {
            name,
            key: Some(format!("wheels {}", hashes.join(" "))),
            packing: None,
            source: Source::Wheels(wheels),
        }
    }

    fn files(&self) -> Result<Cow<'_, Files>> {
        match &self.source {
            Source::Files(files) => Ok(Cow::Borrowed(files)),
            Source::Wheels(wheels) => {
                let mut files = Files::default();
                for wheel in wheels {
                    wheel::lay_out(wheel, wheel::INTERPRETER, &mut files)?;
                }
                Ok(Cow::Owned(files))
            }
        }
    }

    fn packages(&self) -> Vec<String> {
        match &self.source {
            Source::Files(_) => Vec::new(),
            Source::Wheels(wheels) => wheels.iter().map(|w| w.label.clone()).collect(),
        }
    }

    /// What is known of its files: seen just now, noted, or found out.
    fn facts(&self, seen: Option<Facts>, packer: &Packer<'_>) -> Result<Facts> {
        // 2: files of the commit are looked at too.
        let key = self.key.as_ref().map(|key| format!("facts 2 {key}"));
        let known = key.as_ref().zip(packer.cache.as_ref());
        if let (None, Some(facts)) = (&seen, known.and_then(|(key, cache)| cache.note(key))) {
            return Ok(facts);
        }
        let facts = match seen {
            Some(facts) => facts,
            None => Facts::of(self.files()?.as_ref(), packer)?,
        };
        if let (Some((key, cache)), false) = (known, packer.is_dry()) {
            cache.put_note(key, &facts);
        }
        Ok(facts)
    }

    pub(crate) fn make(&self, packer: &Packer<'_>) -> Result<Made> {
        let clock = Instant::now();
        let packing = self.packing.unwrap_or(packer.packing);
        let mut seen = None;
        let mut pack = || {
            let files = self.files()?;
            let mut demands = Demands::default();
            let mut look = Look {
                demands: &mut demands,
                room: &packer.blobs,
            };
            let layer = packer.pack_files_as(packing, &files, &mut look)?;
            seen = Some(Facts {
                demands,
                unpacked: files.size(),
            });
            Ok(layer)
        };
        let (layer, cached) = match &self.key {
            Some(key) => packer.by_key_as(packing, key, pack)?,
            None => (pack()?, false),
        };
        let facts = self.facts(seen, packer)?;
        Ok(Made {
            name: self.name.clone(),
            layer,
            cached,
            unpacked: Some(facts.unpacked),
            demands: facts.demands,
            packages: self.packages(),
            took: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Makes layers on all cores. What they are does not depend on which is made when.
pub(crate) fn make_all(steps: &[Step], packer: &Packer<'_>) -> Result<Vec<Made>> {
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let done: Mutex<BTreeMap<usize, Result<Made>>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(steps.len()) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(step) = steps.get(at) else { break };
                    let made = step.make(packer);
                    has_failed.fetch_or(made.is_err(), Ordering::Relaxed);
                    if let Ok(mut done) = done.lock() {
                        done.insert(at, made);
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_default();
    done.into_values().collect()
}

/// The large ones, at most `most` of them, and the rest; both in the order they came in.
fn split_large<T>(
    items: Vec<T>,
    size: impl Fn(&T) -> u64,
    least: u64,
    most: usize,
) -> (Vec<T>, Vec<T>) {
    let mut sizes: Vec<u64> = items.iter().map(&size).filter(|s| *s >= least).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let bound = match sizes.len() > most {
        // Those of one size stay together.
        true => sizes[most - 1].max(sizes[most] + 1),
        false => least,
    };
    items.into_iter().partition(|item| size(item) >= bound)
}

/// Layers of packages.
pub(crate) fn of_packages(wheels: Vec<Wheel>) -> Vec<Step> {
    let (large, small) = split_large(wheels, Wheel::size, WHEEL_BYTES_MIN, WHEELS_MAX);
    let mut out: Vec<Step> = large
        .into_iter()
        .map(|wheel| Step::of_wheels(format!("env: {}", wheel.label), vec![wheel]))
        .collect();
    match small.as_slice() {
        [] => {}
        [one] => out.push(Step::of_wheels(format!("env: {}", one.label), small)),
        _ => out.push(Step::of_wheels(
            format!("env: {} small packages", small.len()),
            small,
        )),
    }
    out
}

/// Layers of a model, its files where they lie in the image. Weights are numbers that hardly get smaller,
/// and a layer that is not packed is an artifact of weights as well.
pub(crate) fn of_model(files: Files) -> Vec<Step> {
    let size = |(_, node): &(Vec<u8>, Node)| match node {
        Node::File {
            content: Content::Blob(_, size),
            ..
        } => *size,
        _ => 0,
    };
    let nodes = files.nodes.into_iter().collect();
    let (large, small) = split_large(nodes, size, WEIGHTS_BYTES_MIN, WEIGHTS_MAX);
    let mut out: Vec<Step> = Vec::new();
    for (path, node) in large {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let shown = shown.strip_prefix("opt/modelv/app/").unwrap_or(&shown);
        let mut files = Files::default();
        files.add(path.clone(), node);
        let key = format!("model {files:?}");
        let mut step = Step::of_files(&format!("{SINGLE}{shown}"), Some(key), files);
        step.packing = Some(Packing::None);
        out.push(step);
    }
    let is_file = |(_, node): &(Vec<u8>, Node)| !matches!(node, Node::Dir { .. });
    if small.iter().any(is_file) {
        let files = Files {
            nodes: small.into_iter().collect(),
        };
        let key = format!("model {files:?}");
        out.push(Step::of_files(BUNDLE, Some(key), files));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelv_repo::core::id::BlobId;

    #[test]
    fn the_largest_are_alone_and_the_order_stays() {
        let split = |sizes: &[u64]| split_large(sizes.to_vec(), |s| *s, 10, 3);
        assert_eq!(split(&[1, 12, 10, 9]), (vec![12, 10], vec![1, 9]));
        assert_eq!(split(&[11, 12, 13, 14]), (vec![12, 13, 14], vec![11]));
        assert_eq!(split(&[12, 12, 13, 12]), (vec![13], vec![12, 12, 12]));
        assert_eq!(split(&[]), (vec![], vec![]));
    }

    #[test]
    fn a_large_file_of_a_model_is_a_layer_that_is_not_packed() {
        let mut files = Files::default();
        for (name, id, size) in [
            ("a.bin", 1, 9 << 20),
            ("b.bin", 2, 8 << 20),
            ("c.json", 3, 70),
        ] {
            let content = Content::Blob(BlobId([id; 32]), size);
            files.add_file(format!("opt/modelv/app/models/{name}"), false, content);
        }
        let steps = of_model(files);
        let seen: Vec<_> = steps.iter().map(|s| (s.name.as_str(), s.packing)).collect();
        let none = Some(Packing::None);
        let want = [
            ("model: models/a.bin", none),
            ("model: models/b.bin", none),
            ("model", None),
        ];
        assert_eq!(seen, want);
        // Every layer makes its folders.
        for step in &steps {
            let Source::Files(files) = &step.source else {
                panic!()
            };
            assert!(
                files.nodes.contains_key(&b"opt/modelv/app/models"[..]),
                "{}",
                step.name
            );
        }
    }

    #[test]
    fn a_failure_ends_all_and_is_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let step = |name: &str| {
            let mut files = Files::default();
            let path = dir.path().join(name);
            if name != "gone" {
                std::fs::write(&path, name).unwrap();
            }
            files.add_file(name, true, Content::Path(path));
            Step::of_files(name, None, files)
        };
        let packer = Packer::at(dir.path());
        let names = ["a", "b", "c", "d"];
        let made = make_all(&names.map(step), &packer).unwrap();
        assert_eq!(
            made.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
            names
        );
        assert!(made.iter().all(|m| m.unpacked == Some(1)));
        let said = make_all(&["a", "gone"].map(step), &packer).unwrap_err();
        assert!(said.to_string().contains("gone"), "{said}");
    }
}
