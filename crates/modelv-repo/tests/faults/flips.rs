//! Damage on the disk: bits that flip, files that are cut off, blanked, swapped or gone. Each is
//! found by `fsck`; what sits in a derived file changes no answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use modelv_repo::{Ctx, Repo, SwitchTo};
use modelv_store::fs::faults::disk::Image;

use crate::scene::{commit, folder, noise, number, put};

/// Bits of the short form.
const FLIPS: u64 = 20_000;

/// A repository of 64 KiB with refs, configuration, packs, indexes and caches.
fn build(root: &Path) {
    let mut repo = Repo::init(root).unwrap();
    put(root, "modelv.toml", b"[env]\ncapture = \"none\"\n");
    put(root, "train.py", b"print('train')\n");
    put(root, "params.toml", b"lr = 0.1\n");
    put(root, "models/w.bin", &noise(1, 21_000));
    commit(&mut repo, "first").unwrap();
    repo.set_config("user.name", Some("Ada")).unwrap();
    repo.set_config("user.email", Some("ada@example.org"))
        .unwrap();
    let at = repo.head().unwrap();
    repo.create_tag("v1", at).unwrap();
    repo.switch(&SwitchTo::New("topic".into(), None), &Ctx::quiet())
        .unwrap();
    put(root, "data/rows.csv", &noise(2, 9_000));
    commit(&mut repo, "rows").unwrap();
    repo.switch(&SwitchTo::Branch("main".into()), &Ctx::quiet())
        .unwrap();
    put(root, "models/w.bin", &noise(3, 24_000));
    commit(&mut repo, "weights").unwrap();
    repo.status(None, &Ctx::quiet()).unwrap();
    // What an interpreter would have left here.
    let cached = br#"{"key":"k","env":"00","answer":{}}"#;
    let hash = blake3::derive_key("modelv 2026-11 envcache v1", cached);
    put(root, ".mv/envcache", &[cached.as_slice(), &hash].concat());
}

/// What people see of a repository.
fn answer(root: &Path) -> Result<String, String> {
    let repo = Repo::open(root).map_err(|e| e.to_string())?;
    let status = repo
        .status(None, &Ctx::quiet())
        .map_err(|e| e.to_string())?;
    let mut contents = BTreeMap::new();
    for id in repo.refs_below("refs/") {
        for (path, file) in repo.files(id.1).map_err(|e| e.to_string())? {
            let bytes = repo.read_blob(file.blob).map_err(|e| e.to_string())?;
            contents.insert((id.0.clone(), path.to_string()), blake3::hash(&bytes));
        }
    }
    Ok(format!(
        "{:?} {:?} {:?} {contents:?}",
        repo.oplog().refs,
        status.head,
        status.changes
    ))
}

/// Whether `fsck` says anything.
fn is_noticed(root: &Path) -> bool {
    let Ok(repo) = Repo::open(root) else {
        return true;
    };
    let Ok(report) = repo.store().verify(&mut |_, _| {}) else {
        return true;
    };
    !report.problems.is_empty()
        || !report.remade.is_empty()
        || !repo.check_derived().is_empty()
        || repo.check_reachable().map_or(true, |p| !p.is_empty())
}

fn is_derived(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.ends_with(".idx") || ["statcache", "envcache", "oplog.tip"].contains(&&*name)
}

/// Files of the repository that hold something.
fn parts(image: &Image) -> Vec<(PathBuf, Vec<u8>)> {
    let files = image.files().filter(|p| p.starts_with(".mv"));
    files
        .map(|p| (p.to_owned(), image.file(p).unwrap().to_vec()))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect()
}

struct Wreck {
    image: Image,
    parts: Vec<(PathBuf, Vec<u8>)>,
    right: String,
    wrong: Mutex<Vec<String>>,
}

impl Wreck {
    fn new() -> Self {
        let dir = folder();
        build(dir.path());
        let image = Image::read(dir.path()).unwrap();
        assert!(!is_noticed(dir.path()));
        let right = answer(dir.path()).unwrap();
        let parts = parts(&image);
        Self {
            image,
            parts,
            right,
            wrong: Mutex::default(),
        }
    }

    /// Looks at a repository one of whose files was damaged.
    fn look(&self, root: &Path, path: &Path, what: &dyn Fn() -> String) {
        let note = |text: &str| {
            let text = format!("`{}`, {}: {text}", path.display(), what());
            self.wrong.lock().unwrap().push(text);
        };
        // Answers first: fsck makes derived files again.
        if is_derived(path) {
            match answer(root) {
                Ok(answer) if answer == self.right => {}
                Ok(_) => note("another answer"),
                Err(e) => note(&e),
            }
        } else if answer(root).is_ok_and(|a| a != self.right) {
            note("a wrong answer, and no error");
        }
    }

    fn damage(
        &self,
        root: &Path,
        path: &Path,
        bytes: &[u8],
        answers: bool,
        what: &dyn Fn() -> String,
    ) {
        let full = root.join(path);
        if answers {
            std::fs::write(&full, bytes).unwrap();
            self.look(root, path, what);
        }
        std::fs::write(&full, bytes).unwrap();
        if !is_noticed(root) {
            let text = format!("`{}`, {}: not noticed", path.display(), what());
            self.wrong.lock().unwrap().push(text);
        }
    }

    /// Runs jobs on all cores, each core with a copy of its own.
    fn on_all(&self, jobs: usize, work: &(dyn Fn(&Path, usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let dir = folder();
                    self.image.write(dir.path()).unwrap();
                    loop {
                        let job = next.fetch_add(1, Ordering::Relaxed);
                        if job >= jobs {
                            return;
                        }
                        work(dir.path(), job);
                    }
                });
            }
        });
        let wrong = self.wrong.lock().unwrap();
        let some: Vec<_> = wrong.iter().take(20).cloned().collect();
        assert!(
            wrong.is_empty(),
            "{} wrong:\n{}",
            wrong.len(),
            some.join("\n")
        );
    }

    /// Puts one file back as it was, and those that are derived from others.
    fn heal(&self, root: &Path) {
        for (path, bytes) in &self.parts {
            let full = root.join(path);
            if std::fs::read(&full).ok().as_ref() != Some(bytes) {
                std::fs::write(&full, bytes).unwrap();
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let wreck = Wreck::new();
    let bits: u64 = wreck.parts.iter().map(|(_, b)| b.len() as u64 * 8).sum();
    assert!(bits >= 524_288, "the repository has only {bits} bits");
    let long = number("MODELV_FAULT_LONG").is_some();
    // A step without small factors, so that every position within a byte comes.
    let usual = if long { bits } else { FLIPS };
    let wanted = number("MODELV_FAULT_FLIPS").unwrap_or(usual).clamp(1, bits);
    let step = if wanted == bits {
        1
    } else {
        (bits / wanted) | 1
    };
    let jobs = usize::try_from(bits.div_ceil(step)).unwrap();
    let answers = AtomicU64::new(0);
    wreck.on_all(jobs, &|root, job| {
        let mut bit = usize::try_from(job as u64 * step).unwrap();
        let part = wreck.parts.iter().find(|(_, bytes)| {
            let here = bit < bytes.len() * 8;
            if !here {
                bit -= bytes.len() * 8;
            }
            here
        });
        let (path, whole) = part.unwrap();
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Looking at the answers costs more than looking for damage.
        let ask = job % 16 == 0;
        answers.fetch_add(u64::from(ask), Ordering::Relaxed);
        wreck.damage(root, path, &bytes, ask, &|| format!("bit {bit}"));
        wreck.heal(root);
    });
    eprintln!(
        "{jobs} of {bits} bits flipped, answers compared for {}",
        answers.into_inner()
    );
}

#[test]
fn every_file_that_is_cut_off_is_noticed() {
    let wreck = Wreck::new();
    let long = number("MODELV_FAULT_LONG").is_some();
    let mut jobs = Vec::new();
    for (number, (_, bytes)) in wreck.parts.iter().enumerate() {
        let step = if long { 1 } else { bytes.len() / 100 + 1 };
        jobs.extend((0..bytes.len()).step_by(step).map(|len| (number, len)));
    }
    wreck.on_all(jobs.len(), &|root, job| {
        let (number, len) = jobs[job];
        let (path, bytes) = &wreck.parts[number];
        wreck.damage(root, path, &bytes[..len], job % 8 == 0, &|| {
            format!("cut off at {len}")
        });
        wreck.heal(root);
    });
    eprintln!("{} lengths", jobs.len());
}

#[test]
fn blanked_swapped_doubled_and_lost_files_are_noticed() {
    let wreck = Wreck::new();
    let mut jobs: Vec<(usize, Vec<u8>, String)> = Vec::new();
    for (number, (path, bytes)) in wreck.parts.iter().enumerate() {
        for start in (0..bytes.len()).step_by(4096) {
            let mut blank = bytes.clone();
            let end = (start + 4096).min(bytes.len());
            blank[start..end].fill(0);
            jobs.push((number, blank, format!("zeros from {start}")));
        }
        let alike = |p: &Path| p.extension() == path.extension();
        for (other, content) in wreck.parts.iter().filter(|(p, _)| alike(p) && p != path) {
            jobs.push((
                number,
                content.clone(),
                format!("content of {}", other.display()),
            ));
        }
    }
    wreck.on_all(jobs.len(), &|root, job| {
        let (number, bytes, what) = &jobs[job];
        wreck.damage(root, &wreck.parts[*number].0, bytes, true, &|| what.clone());
        wreck.heal(root);
    });
    let lost: Vec<_> = wreck.parts.iter().filter(|(p, _)| !is_derived(p)).collect();
    wreck.on_all(lost.len(), &|root, job| {
        std::fs::remove_file(root.join(&lost[job].0)).unwrap();
        if !is_noticed(root) {
            let text = format!("`{}` is gone: not noticed", lost[job].0.display());
            wreck.wrong.lock().unwrap().push(text);
        }
        wreck.heal(root);
    });
    let derived: Vec<_> = wreck.parts.iter().filter(|(p, _)| is_derived(p)).collect();
    wreck.on_all(derived.len(), &|root, job| {
        std::fs::remove_file(root.join(&derived[job].0)).unwrap();
        wreck.look(root, &derived[job].0, &|| "gone".into());
        wreck.heal(root);
    });
    eprintln!(
        "{} files blanked or swapped, {} lost",
        jobs.len(),
        wreck.parts.len()
    );
}
