//! Runs that crashed: told apart from active ones by a kernel lock, which dies with its holder, and
//! recorded by the next run with all they had told. Must never touch the folder of an active run.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use modelv_core::canon::{self, Kind};
use modelv_core::id::RunId;
use modelv_core::run::{Origin, Run};
use modelv_store::fs;

use super::journal::{PARAMS_FILE, SERIES_FILE};
use super::record::{FOLDER_PREFIX, LOG_FILE, record_of};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// The record as it was when the run began, in its folder; locked while the run is active.
pub(super) const START_FILE: &str = "start";
/// Largest record that is read back, in bytes.
const START_BYTES_MAX: u64 = 16 << 20;

impl Repo {
    /// Records the runs whose process died, as interrupted, with all they had told.
    pub(crate) fn record_crashed(&mut self) -> Result<()> {
        let tmp = self.dir().join("tmp");
        let entries = match std::fs::read_dir(&tmp) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("read", &tmp)(e)),
        };
        for entry in entries {
            let folder = entry.map_err(Error::io("read", &tmp))?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(FOLDER_PREFIX) || !folder.is_dir() {
                continue;
            }
            let Some((mut run, _lock)) = read_start(&folder)? else {
                continue;
            };
            let session = self.store.begin()?;
            self.take_journal(&folder, &mut run, &session)?;
            if !self.has_what_it_ran(&run) {
                run.origin = Origin::default();
            }
            run.duration_ms = last_sign(&folder, run.started.seconds);
            let id = RunId(session.put_object(&run)?);
            session.finish()?;
            self.update_refs(vec![record_of(id)])?;
            fs::remove_flat_dir(&folder).map_err(Error::io("remove", &folder))?;
        }
        Ok(())
    }

    /// Whether what a run executed is still stored: a collector of an earlier version may have taken it.
    fn has_what_it_ran(&self, run: &Run) -> bool {
        let has = |kind, id: [u8; 32]| self.store.object_bytes(kind, &id).is_ok();
        let recipe = run.origin.ingredients.iter().all(|r| {
            has(Kind::Env, r.env.0)
                && [r.code, r.data, r.config]
                    .iter()
                    .all(|t| has(Kind::Tree, t.0))
        });
        let stage = run.origin.stage.as_ref();
        recipe && stage.is_none_or(|s| has(Kind::Tree, s.inputs.0))
    }
}

/// Writes the record so far under a lock; only a locked file ever gets the final name.
pub(super) fn write_start(folder: &Path, draft: &Run) -> Result<File> {
    let (new, path) = (folder.join("start.new"), folder.join(START_FILE));
    let mut file = fs::create_new(&new).map_err(Error::io("create", &new))?;
    file.lock().map_err(Error::io("lock", &new))?;
    let bytes = canon::encode(draft)
        .map_err(|e| Error::invalid("run", draft.command.join(" "), e.to_string()))?;
    fs::write_all(&mut file, &bytes).map_err(Error::io("write", &new))?;
    fs::replace(&new, &path).map_err(Error::io("write", &path))?;
    Ok(file)
}

/// The record of a run whose owner is gone, with the lock on it; `None` for an active one, and for
/// a folder that never held a run.
fn read_start(folder: &Path) -> Result<Option<(Run, File)>> {
    let path = folder.join(START_FILE);
    let Ok(file) = File::open(&path) else {
        return Ok(None);
    };
    if file.try_lock().is_err() {
        return Ok(None);
    }
    // Its owner may have recorded it, taken the folder away and let go of the lock since it was opened.
    let is_there = match (std::fs::metadata(&path), file.metadata()) {
        (Ok(named), Ok(opened)) => named.ino() == opened.ino() && named.dev() == opened.dev(),
        _ => false,
    };
    if !is_there {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file)
        .take(START_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", &path))?;
    // A torn one can't be recorded. It stays where it is: nothing suspect is deleted.
    Ok(canon::decode(&bytes).ok().map(|run| (run, file)))
}

/// Milliseconds from the start of a crashed run to the last thing it told.
fn last_sign(folder: &Path, started: i64) -> u64 {
    [SERIES_FILE, PARAMS_FILE, LOG_FILE]
        .iter()
        .filter_map(|name| std::fs::metadata(folder.join(name)).ok()?.modified().ok())
        .filter_map(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .filter_map(|since| {
            let start = u128::try_from(started).ok()? * 1000;
            u64::try_from(since.as_millis().saturating_sub(start)).ok()
        })
        .max()
        .unwrap_or(0)
}
