//! Installed distributions looked at file by file: what was changed after it was installed, and what is
//! used in place from a folder. Must never change what it reads.
//!
//! Installers write RECORD last. A file of the recorded size that was modified before RECORD, and of which the
//! kernel notes no change since they were laid out, is as it was installed, and is not hashed; every other
//! one is, once for each state of it.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::env::{PATCHED_NAMES_MAX, Patch};
use sha2::{Digest, Sha256};

use super::metadata::{is_of_distribution, metadata_dirs};
use super::{added, env};
use crate::ctx::Cancel;
use crate::error::Result;
use crate::wheels::record::{self, base64url, sha256_of};

/// The file that remembers which states of files were hashed.
pub(crate) const CACHE: &str = "filecache";

/// Largest RECORD that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// How much later than RECORD the kernel may have noted a change of a file. An image of a container is laid out
/// file by file, with the modification times that it holds but in an order of its own, and takes minutes.
const LAID_OUT_NS: i64 = 3_600_000_000_000;

/// A distribution whose files are not those that were installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patched {
    /// Its normal name.
    pub package: String,
    /// Files that differ or are gone, as RECORD has them; and, where every file was looked at, those in folders of
    /// its modules that no RECORD names.
    pub files: Vec<String>,
    /// SHA-256 over what they are now.
    pub sha256: [u8; 32],
}

impl Patched {
    /// As an environment document has it.
    #[must_use]
    pub fn to_patch(&self) -> Patch {
        Patch {
            package: self.package.clone(),
            sha256: self.sha256,
            count: u64::try_from(self.files.len()).unwrap_or(u64::MAX),
            files: self.files.iter().take(PATCHED_NAMES_MAX).cloned().collect(),
        }
    }
}

/// How closely files are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Care<'a> {
    /// Every file is hashed, and what lies beside them is looked for.
    All(&'a Cancel),
    /// Files whose times tell that they may have changed are hashed.
    Whole,
    /// The same, and those that were hashed before, as this file remembers, are not hashed again.
    Quick(&'a Path),
}

/// What one look at the files of a distribution found.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
struct Look {
    /// Over path, hash and stamp of every file that was hashed.
    state: String,
    /// The newest time of these files, in nanoseconds.
    newest_ns: i64,
    /// Files that differ, and what they are now: `sha256=…` as RECORD writes it, nothing: gone.
    changed: BTreeMap<String, String>,
}

/// Distributions whose files are not those that RECORD names, by name. Those without a RECORD
/// can't be looked at.
#[must_use]
pub fn patched(sites: &[PathBuf], care: Care<'_>) -> Vec<Patched> {
    let found = distributions(sites);
    let known = match care {
        Care::Quick(cache) => Known::read(cache),
        _ => Known::default(),
    };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (next, looks) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((name, site, dist_info)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            if matches!(care, Care::All(cancel) if cancel.is_cancelled()) {
                return;
            }
            let key = format!("{}/{dist_info}", site.display());
            if let Some(look) = look(site, dist_info, known.get(&key), care) {
                let mut looks = looks
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                looks.insert(key, (name.clone(), look));
            }
        }
    };
    std::thread::scope(|scope| {
        (1..threads.min(found.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut looks = looks
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Care::All(cancel) = care {
        for (key, path, hash) in added::files(&found, cancel) {
            if let Some((_, look)) = looks.get_mut(&key) {
                look.changed.insert(path, hash);
            }
        }
    }
    if let Care::Quick(cache) = care {
        known.keep(cache, &looks);
    }
    let changed = looks.into_values().filter(|(_, l)| !l.changed.is_empty());
    let mut out: Vec<Patched> = changed
        .map(|(package, look)| Patched {
            package,
            sha256: digest_of(&look.changed),
            files: look.changed.into_keys().collect(),
        })
        .collect();
    out.sort();
    out
}

fn digest_of(changed: &BTreeMap<String, String>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for (path, hash) in changed {
        hasher.update(format!("{path},{hash}\n"));
    }
    hasher.finalize().into()
}

/// Looks of earlier calls, and when they were written down.
#[derive(Default)]
struct Known {
    looks: BTreeMap<String, Look>,
    written_ns: i64,
}

impl Known {
    fn read(path: &Path) -> Self {
        let read = || {
            let written_ns = modified_ns(&std::fs::metadata(path).ok()?);
            let looks = env::read_cache(&std::fs::read(path).ok()?)?;
            Some(Self { looks, written_ns })
        };
        read().unwrap_or_default()
    }

    /// A look, unless its files changed in the tick of the clock in which it was written: they could
    /// have changed again without a trace.
    fn get(&self, key: &str) -> Option<&Look> {
        let look = self.looks.get(key)?;
        (look.newest_ns < self.written_ns).then_some(look)
    }

    fn keep(&self, path: &Path, looks: &BTreeMap<String, (String, Look)>) {
        let is_same = looks.len() == self.looks.len()
            && looks
                .iter()
                .all(|(key, (_, look))| self.get(key) == Some(look));
        if !is_same {
            let looks: BTreeMap<_, _> = looks.iter().map(|(key, (_, look))| (key, look)).collect();
            env::write_cache(path, &looks);
        }
    }
}

/// When a file or folder was changed last, its name and rights included.
pub(super) fn changed_ns(meta: &std::fs::Metadata) -> i64 {
    nanoseconds(meta.ctime(), meta.ctime_nsec()).max(modified_ns(meta))
}

fn modified_ns(meta: &std::fs::Metadata) -> i64 {
    nanoseconds(meta.mtime(), meta.mtime_nsec())
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Looks at the files of a distribution; `None`: times and sizes tell that nothing has changed.
fn look(site: &Path, dist_info: &str, known: Option<&Look>, care: Care<'_>) -> Option<Look> {
    let path = site.join(dist_info).join("RECORD");
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    if meta.len() > RECORD_BYTES_MAX {
        return None;
    }
    let text = std::io::read_to_string(file).ok()?;
    let doubtful = doubtful(site, dist_info, &text, &meta, matches!(care, Care::All(_)));
    if doubtful.is_empty() {
        return None;
    }
    let mut state = blake3::Hasher::new();
    for file in &doubtful {
        state.update(format!("{} {} {}\n", file.path, file.hash, file.stamp).as_bytes());
    }
    let state = state.finalize().to_hex().to_string();
    if let Some(known) = known.filter(|k| k.state == state) {
        return Some(known.clone());
    }
    let mut changed = BTreeMap::new();
    for file in &doubtful {
        if matches!(care, Care::All(cancel) if cancel.is_cancelled()) {
            break;
        }
        let path = record::unquoted(file.path);
        let found = File::open(site.join(&path)).and_then(|f| sha256_of(f, u64::MAX));
        let now = found.map_or_else(
            |_| String::new(),
            |(hash, _)| format!("sha256={}", base64url(&hash)),
        );
        if now != file.hash.trim_end_matches('=') {
            changed.insert(path, now);
        }
    }
    Some(Look {
        state,
        newest_ns: doubtful.iter().map(|f| f.newest_ns).max().unwrap_or(0),
        changed,
    })
}

/// A file that may be another than the one that was installed.
struct Doubtful<'a> {
    path: &'a str,
    hash: &'a str,
    stamp: String,
    newest_ns: i64,
}

/// The files that are to be hashed: all, or those that sizes and times do not vouch for.
fn doubtful<'a>(
    site: &'a Path,
    dist_info: &str,
    text: &'a str,
    record: &std::fs::Metadata,
    all: bool,
) -> Vec<Doubtful<'a>> {
    let mut folders = Folders::new(site);
    let (mtime, ctime) = (
        modified_ns(record),
        nanoseconds(record.ctime(), record.ctime_nsec()),
    );
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((path, hash, size)) = record::parts(line) else {
            continue;
        };
        let is_meant = hash.starts_with("sha256=") && is_of_distribution(path, hash, dist_info);
        // Stubs are for type checkers: nothing that runs reads them.
        let is_idle = path.ends_with(".pyi") && !all;
        if !is_meant || is_idle || path.starts_with('/') {
            continue;
        }
        let plain = match path.starts_with('"') {
            true => rustix::fs::stat(site.join(record::unquoted(path))),
            false => folders.stat(path),
        };
        let ns = |n| i64::try_from(n).unwrap_or(0);
        let doubt = plain.map_or(Some(("-".to_owned(), 0)), |s| {
            let modified = nanoseconds(s.st_mtime, ns(s.st_mtime_nsec));
            let mut changed = nanoseconds(s.st_ctime, ns(s.st_ctime_nsec));
            // A file with several names is changed by each new name: uv links what it keeps.
            if s.st_nlink > 1 {
                changed = 0;
            }
            let same_size = size.is_empty() || size.parse() == Ok(s.st_size);
            let since = changed.saturating_sub(ctime);
            let vouched = same_size && modified < mtime && since < LAID_OUT_NS;
            let stamp = || format!("{} {modified} {changed} {}", s.st_size, s.st_ino);
            (all || !vouched).then(|| (stamp(), modified.max(changed)))
        });
        out.extend(doubt.map(|(stamp, newest_ns)| Doubtful {
            path,
            hash,
            stamp,
            newest_ns,
        }));
    }
    out
}

/// Looks files up beside one another: rows of RECORD of one folder come one after the other, and a name in an
/// open folder is found in half the time that its whole path takes.
struct Folders<'a> {
    site: &'a Path,
    last: Option<(&'a str, File)>,
}

impl<'a> Folders<'a> {
    fn new(site: &'a Path) -> Self {
        Self { site, last: None }
    }

    fn stat(&mut self, path: &'a str) -> rustix::io::Result<rustix::fs::Stat> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.last.as_ref().is_none_or(|(last, _)| *last != folder) {
            let opened = File::open(self.site.join(folder));
            self.last = Some((folder, opened.map_err(|_| rustix::io::Errno::NOENT)?));
        }
        let Some((_, dir)) = &self.last else {
            return Err(rustix::io::Errno::NOENT);
        };
        rustix::fs::statat(dir, name, rustix::fs::AtFlags::empty())
    }
}

/// Normal name, folder and metadata folder of each distribution; the first on the path counts.
fn distributions(sites: &[PathBuf]) -> Vec<(String, PathBuf, String)> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for site in sites {
        for (name, folder) in metadata_dirs(site) {
            if seen.insert(name.clone()) {
                out.push((name, site.clone(), folder));
            }
        }
    }
    out
}

/// Distributions that an interpreter uses in place, and the folder of each.
///
/// # Errors
/// The interpreter does not answer.
pub fn in_place(python: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut out = Vec::new();
    for (name, site, dist_info) in distributions(&env::sites(python)?) {
        let direct = std::fs::read(site.join(dist_info).join("direct_url.json"));
        let direct: Option<serde_json::Value> =
            direct.ok().and_then(|b| serde_json::from_slice(&b).ok());
        let Some(direct) = direct.filter(|d| d["dir_info"]["editable"] == true) else {
            continue;
        };
        let folder = direct["url"]
            .as_str()
            .and_then(|u| u.strip_prefix("file://"));
        out.extend(folder.map(|f| (name, PathBuf::from(unescaped(f)))));
    }
    out.sort();
    Ok(out)
}

/// A path of a URL with its `%20` and the like as they are meant.
pub(crate) fn unescaped(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    std::ffi::OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "bird-1.0.dist-info";

    /// A distribution of four files as an installer leaves it: RECORD is last.
    fn installed(dir: &Path) {
        std::fs::create_dir_all(dir.join(INFO)).unwrap();
        let hash = base64url(&Sha256::digest("same"));
        let names = ["a.py", "b.py", "\"c,d.py\"", "bird-1.0.dist-info/INSTALLER"];
        let rows = names.map(|n| format!("{n},sha256={hash},4\n"));
        for name in ["a.py", "b.py", "c,d.py"] {
            std::fs::write(dir.join(name), "same").unwrap();
        }
        tick(&dir.join("c,d.py"));
        std::fs::write(dir.join(INFO).join("RECORD"), rows.concat() + "x.pyc,,\n").unwrap();
    }

    /// Waits until the clock of the file system has moved on.
    fn tick(than: &Path) {
        let before = modified_ns(&std::fs::metadata(than).unwrap());
        let probe = than.with_extension("tick");
        loop {
            std::fs::write(&probe, "").unwrap();
            if modified_ns(&std::fs::metadata(&probe).unwrap()) > before {
                return;
            }
        }
    }

    fn files(dir: &Path, care: Care<'_>) -> Vec<String> {
        let found = patched(&[dir.to_owned()], care);
        found.into_iter().flat_map(|p| p.files).collect()
    }

    #[test]
    fn what_was_changed_in_place_is_named_and_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        installed(dir.path());
        let cache = dir.path().join(CACHE);
        let quick = || files(dir.path(), Care::Quick(&cache));
        assert_eq!(quick(), [""; 0]);
        assert!(!cache.exists(), "nothing was hashed");
        tick(&dir.path().join(INFO).join("RECORD"));
        // Of the same size: the times tell.
        std::fs::write(dir.path().join("b.py"), "SAME").unwrap();
        std::fs::remove_file(dir.path().join("c,d.py")).unwrap();
        tick(&dir.path().join("b.py"));
        for _ in 0..2 {
            assert_eq!(quick(), ["b.py", "c,d.py"]);
            assert_eq!(files(dir.path(), Care::Whole), ["b.py", "c,d.py"]);
        }
        let known = Known::read(&cache);
        let look = known.looks.values().next().unwrap();
        assert_eq!(look.changed["c,d.py"], "");
        // What it remembers is believed as long as nothing has changed.
        let mut other = known.looks.clone();
        other.values_mut().for_each(|l| l.changed.clear());
        env::write_cache(&cache, &other);
        assert_eq!(quick(), [""; 0]);
        std::fs::write(dir.path().join("b.py"), "more").unwrap();
        assert_eq!(quick(), ["b.py", "c,d.py"]);
        std::fs::write(&cache, "damaged").unwrap();
        assert_eq!(quick(), ["b.py", "c,d.py"]);
    }

    #[test]
    fn another_patch_is_another_digest() {
        let dir = tempfile::tempdir().unwrap();
        installed(dir.path());
        let digest = |text: &str| {
            std::fs::write(dir.path().join("a.py"), text).unwrap();
            let found = patched(&[dir.path().to_owned()], Care::Whole);
            found.first().map(|p| p.to_patch().sha256)
        };
        let (one, two) = (digest("one"), digest("two"));
        assert!(one.is_some() && two.is_some() && one != two);
        assert_eq!(digest("one"), one);
        assert_eq!(digest("same"), None);
    }

    #[test]
    fn a_change_that_hides_its_times_is_found_when_all_is_hashed() {
        let dir = tempfile::tempdir().unwrap();
        installed(dir.path());
        let path = dir.path().join("a.py");
        std::fs::write(&path, "SAME").unwrap();
        // As if it had been installed now, with the patch in it.
        let record = dir.path().join(INFO).join("RECORD");
        let text = std::fs::read(&record).unwrap();
        tick(&path);
        std::fs::write(&record, text).unwrap();
        assert_eq!(files(dir.path(), Care::Whole), [""; 0]);
        let never = Cancel::new();
        assert_eq!(files(dir.path(), Care::All(&never)), ["a.py"]);
    }

    #[test]
    fn files_that_an_image_lays_out_after_their_list_are_not_hashed() {
        let dir = tempfile::tempdir().unwrap();
        installed(dir.path());
        tick(&dir.path().join(INFO).join("RECORD"));
        // Another content with the size and the modification time that it had: laid out as the image has it.
        let path = dir.path().join("a.py");
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "SAME").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(files(dir.path(), Care::Whole), [""; 0]);
        assert_eq!(files(dir.path(), Care::All(&Cancel::new())), ["a.py"]);
        // Of another size it would be.
        std::fs::write(&path, "longer").unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(files(dir.path(), Care::Whole), ["a.py"]);
    }

    #[test]
    fn a_distribution_without_a_list_of_files_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("none-1.dist-info")).unwrap();
        assert_eq!(files(dir.path(), Care::Whole), [""; 0]);
    }

    #[test]
    fn folders_are_read_from_urls() {
        assert_eq!(unescaped("/a%20b/%C3%BC%"), "/a b/\u{fc}%");
    }
}
