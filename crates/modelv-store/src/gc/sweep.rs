//! The short step under the lock of the operation log: packs are moved to `condemned/`, and old
//! condemned ones out of sight. What is out of sight is deleted after the lock is free again.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Collector, State, file_bytes, omit};
use crate::error::{Error, Result};
use crate::fs;
use crate::listing::{self, CONDEMNED};

/// Where packs wait to be deleted; nobody reads them any more.
const TRASH: &str = "trash";
/// What a writer left behind is removed when it is as old as this.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
/// The same for a pack that its writer would hold a lock on: time enough to take it.
const UNLOCKED: Duration = Duration::from_secs(10);

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Packs that were condemned.
    pub condemned: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Packs that were condemned before and are deleted now.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

impl Collector<'_> {
    /// Condemns what was planned, and takes away what was condemned at or before `until`, both in
    /// seconds since 1970. [`empty_trash`] deletes it.
    ///
    /// The caller holds the lock of the operation log, and has marked and copied everything that it
    /// leads to now.
    ///
    /// # Errors
    /// A file can't be moved. Everything that is alive is there in any case.
    pub fn condemn(&mut self, horizon: u64, now: i64, until: i64) -> Result<Done> {
        let dir = self.store.dir();
        let old: Vec<_> = listing::generations(dir)?
            .into_iter()
            .filter(|(since, _)| *since <= until)
            .collect();
        // A new pack may be the very one that was to go.
        let goes = |p: &&super::Listed| p.dirty && !self.made.contains(&p.found.name);
        let mut going: Vec<PathBuf> = self.packs.iter().filter(goes).map(path_of).collect();
        let sweeps = !old.is_empty() || (!going.is_empty() && now <= until);
        if sweeps && !omit("newcomers") {
            going.extend(self.newcomers()?);
        }
        if !sweeps && going.is_empty() {
            return Ok(Done::default());
        }
        let state = State::read(dir)?;
        let next = State {
            epoch: state.epoch + 1,
            horizon: state.horizon.max(horizon),
        };
        next.write(dir)?;
        let mut done = Done::default();
        for path in &going {
            done.condemned += 1;
            done.condemned_bytes += file_bytes(path)?;
        }
        move_packs(dir, &going, now)?;
        let mut old = old;
        if now <= until && !going.is_empty() {
            old.push((now, dir.join(CONDEMNED).join(now.to_string())));
            old.dedup();
        }
        for (_, generation) in &old {
            for found in listing::list_dir(generation, None)? {
                done.deleted += 1;
                done.deleted_bytes += file_bytes(&found.path)?;
            }
        }
        throw_away(dir, &old)?;
        self.store.refresh()?;
        Ok(done)
    }

    /// Packs that came after everything was listed. Nobody has looked at what they lead to, which may
    /// be in packs that go now: they are condemned too, and what comes alive of them is copied.
    fn newcomers(&self) -> Result<Vec<PathBuf>> {
        let found = listing::list_dir(&self.store.packs_dir(), None)?;
        let new = found.into_iter().filter(|f| !self.knows(f));
        Ok(new.map(|f| f.path).collect())
    }
}

fn path_of(pack: &super::Listed) -> PathBuf {
    pack.found.path.clone()
}

fn move_packs(dir: &Path, packs: &[PathBuf], now: i64) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    let condemned = dir.join(CONDEMNED);
    let to = condemned.join(now.to_string());
    fs::create_dirs(&to).map_err(Error::io("create", &to))?;
    for synced in [dir, &condemned] {
        fs::sync_dir(synced).map_err(Error::io("sync", synced))?;
    }
    for path in packs {
        let target = to.join(path.file_name().unwrap_or_default());
        // An index is derived: it may stay behind.
        let _ = fs::replace(&path.with_extension("idx"), &target.with_extension("idx"));
        fs::replace(path, &target).map_err(Error::io("rename", path))?;
    }
    for synced in [&to, &dir.join("packs")] {
        fs::sync_dir(synced).map_err(Error::io("sync", synced))?;
    }
    Ok(())
}

/// Takes whole folders of condemned packs out of sight.
fn throw_away(dir: &Path, generations: &[(i64, PathBuf)]) -> Result<()> {
    if generations.is_empty() {
        return Ok(());
    }
    let trash = dir.join(TRASH);
    fs::create_dirs(&trash).map_err(Error::io("create", &trash))?;
    for (since, path) in generations {
        let to = (0..)
            .map(|n| trash.join(format!("{since}-{n}")))
            .find(|p| !p.exists());
        let to = to.unwrap_or_else(|| trash.join("last"));
        fs::replace(path, &to).map_err(Error::io("rename", path))?;
    }
    for synced in [&trash, &dir.join(CONDEMNED)] {
        fs::sync_dir(synced).map_err(Error::io("sync", synced))?;
    }
    Ok(())
}

/// Deletes what collections have taken out of sight, and what writers that died left behind. What
/// can't be deleted now is deleted the next time.
pub fn empty_trash(dir: &Path) {
    for generation in entries(&dir.join(TRASH)) {
        for file in entries(&generation) {
            let _ = fs::remove(&file);
        }
        let _ = fs::remove_dir(&generation);
    }
    let now = SystemTime::now();
    let is_older = |path: &Path, than: Duration| {
        let time = std::fs::metadata(path).and_then(|m| m.modified());
        time.is_ok_and(|t| now.duration_since(t).is_ok_and(|age| age > than))
    };
    let is_old = |path: &PathBuf| is_older(path, LEFT_BEHIND);
    for file in entries(&dir.join("tmp")) {
        if !is_older(&file, UNLOCKED) {
            continue;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // A writer holds a lock on its pack until it has another name.
        let is_free = || std::fs::File::open(&file).is_ok_and(|f| f.try_lock().is_ok());
        if name.starts_with("tmp-") && file.is_file() && is_free() {
            let _ = fs::remove(&file);
        }
    }
    for file in entries(&dir.join("packs")).into_iter().filter(is_old) {
        let is_index = file.extension().is_some_and(|e| e == "idx");
        if is_index && !file.with_extension("pack").exists() || is_part(&file) {
            let _ = fs::remove(&file);
        }
    }
}

/// An index that was never finished.
fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".idx.tmp-")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir);
    found.map_or(Vec::new(), |d| d.flatten().map(|e| e.path()).collect())
}
