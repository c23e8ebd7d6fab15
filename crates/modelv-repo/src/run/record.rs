//! The record of a run in progress, of whatever kind: its folder, its lock, and what keeps `gc` from what
//! it works on. Everything a run has not recorded yet is in its folder below `.mv/tmp`, which a kernel
//! lock marks as in use; see `crash.rs`. Must never change what is recorded already.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use modelv_core::canon::Kind;
use modelv_core::commit::Recipe;
use modelv_core::id::{BlobId, RunId};
use modelv_core::run::{Determinism, Origin, Run, Status};
use modelv_core::value::Value;
use modelv_store::fs;
use modelv_store::remote::Item;

use super::RUN_VARIABLE;
use super::crash::{START_FILE, write_start};
use super::journal::SERIES_FILE;
use super::reading;
use crate::capture::{clock, params, secrets};
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::names;
use crate::oplog::{RefChange, Target, nonce};
use crate::repo::Repo;

/// What the run printed, in its folder.
pub(super) const LOG_FILE: &str = "log";
pub(super) const FOLDER_PREFIX: &str = "run-";

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The kind of end.
    pub status: Status,
    /// Exit status, if it ended by itself.
    pub exit_code: Option<i32>,
}

impl Ending {
    /// How a program ended that gave this status, or none.
    pub(crate) fn of(exit_code: Option<i32>) -> Self {
        let status = match exit_code {
            Some(0) => Status::Finished,
            Some(_) => Status::Failed,
            None => Status::Interrupted,
        };
        Self { status, exit_code }
    }
}

/// What is known of a run when it begins.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// What is executed; it is stored.
    pub(crate) recipe: Recipe,
    pub(crate) params: BTreeMap<String, Value>,
    /// Facts of the machine.
    pub(crate) host: BTreeMap<String, String>,
    /// What it is a part of. The ingredients are the recipe's; without a parent it is the run that this
    /// process belongs to.
    pub(crate) origin: Origin,
}

/// A record in progress. Dropped before it is closed, it counts as that of a crashed run.
#[derive(Debug)]
pub(crate) struct Record {
    /// What will be recorded, as far as it is known.
    pub(crate) draft: Run,
    pub(crate) folder: PathBuf,
    clock: Instant,
    /// Holds the lock.
    _start: File,
    /// Keeps what is stored and not yet named.
    _lease: Lease,
}

impl Record {
    /// Where what it prints belongs.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join(LOG_FILE)
    }

    /// Ends it without a record: nothing has been executed.
    pub(crate) fn discard(self) {
        self.forget();
    }

    /// Removes the folder of a run that is recorded, or is not to be.
    pub(crate) fn forget(&self) {
        // What stays behind would be taken for a crashed run, and is no more than that.
        let _ = fs::remove_flat_dir(&self.folder);
    }
}

impl Repo {
    /// Begins the record of a run on a recipe that is stored.
    ///
    /// # Errors
    /// Something can't be written.
    pub(crate) fn begin_record(&mut self, beginning: Beginning) -> Result<Record> {
        let Beginning {
            mut command,
            recipe,
            params,
            host,
            origin,
        } = beginning;
        secrets::mask_words(&mut command);
        let inputs = origin.stage.as_ref().map(|s| s.inputs);
        let draft = Run {
            command,
            recipe: recipe.id(),
            commit: self.head(),
            params,
            metrics: BTreeMap::new(),
            series: None,
            outputs: None,
            status: Status::Interrupted,
            exit_code: None,
            started: clock::now(),
            duration_ms: 0,
            host,
            determinism: Determinism::Unknown,
            log: None,
            nonce: nonce(),
            origin: Origin {
                ingredients: Some(recipe),
                parent: origin.parent.or_else(|| self.enclosing_run()),
                ..origin
            },
        };
        let name = format!("{FOLDER_PREFIX}{}", modelv_core::id::to_hex(&draft.nonce));
        let folder = self.dir().join("tmp").join(name);
        fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        let start = write_start(&folder, &draft)?;
        let trees = [recipe.code, recipe.data, recipe.config];
        let mut items: Vec<Item> = trees
            .into_iter()
            .chain(inputs)
            .map(|id| Item::Object(Kind::Tree, id.0))
            .collect();
        items.push(Item::Object(Kind::Env, recipe.env.0));
        let lease = self.lease(&items)?;
        Ok(Record {
            draft,
            folder,
            clock: Instant::now(),
            _start: start,
            _lease: lease,
        })
    }

    /// The nonce of the run that this process belongs to, if that is an active one of this repository.
    pub(super) fn enclosing_run(&self) -> Option<[u8; 16]> {
        let folder = PathBuf::from(std::env::var_os(RUN_VARIABLE)?);
        let tmp = self.dir().join("tmp").canonicalize().ok()?;
        let is_ours = folder.parent()?.canonicalize().ok()? == tmp;
        if !is_ours || !folder.join(START_FILE).exists() {
            return None;
        }
        let digits = folder.file_name()?.to_str()?.strip_prefix(FOLDER_PREFIX)?;
        u128::from_str_radix(digits, 16).ok().map(nonce_of)
    }

    /// The record as it is at its end, without what it made, and how many lines of its journal could not
    /// be read.
    ///
    /// # Errors
    /// Something can't be read or written.
    pub(crate) fn close_record(&self, record: &Record, ending: Ending) -> Result<(Run, u64)> {
        let mut run = record.draft.clone();
        run.duration_ms = u64::try_from(record.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        run.status = ending.status;
        run.exit_code = ending.exit_code;
        let bad_lines = self.take_journal(&record.folder, &mut run)?;
        Ok((run, bad_lines))
    }

    /// Puts what a run's folder holds into its record: parameters, metrics, series and log. Tells
    /// how many lines of the journal could not be read.
    pub(super) fn take_journal(&self, folder: &Path, run: &mut Run) -> Result<u64> {
        let (given, bad_params) = reading::read_params(folder)?;
        run.params.extend(given);
        run.params = params::bounded(std::mem::take(&mut run.params));
        secrets::mask_values(&mut run.params);
        let summary = reading::close_series(folder)?;
        run.metrics = params::bounded(summary.last);
        let log = folder.join(LOG_FILE);
        if log.exists() {
            secrets::mask_file(&log)?;
        }
        let session = self.store.begin()?;
        run.series = store_file(&session, &folder.join(SERIES_FILE))?;
        run.log = store_file(&session, &log)?;
        session.finish()?;
        Ok(summary.bad + bad_params)
    }
}

/// A nonce, of the number that its digits are.
fn nonce_of(number: u128) -> [u8; 16] {
    let mut out = [0; 16];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::try_from((number >> (8 * (15 - i))) & 0xff).unwrap_or_default();
    }
    out
}

pub(crate) fn record_of(id: RunId) -> RefChange {
    RefChange {
        name: format!("{}{id}", names::RUNS),
        old: None,
        new: Some(Target::Run(id)),
    }
}

fn store_file(session: &modelv_store::Session<'_>, path: &Path) -> Result<Option<BlobId>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if size == 0 {
        return Ok(None);
    }
    let (blob, _) = session.put_blob(&mut file, size)?;
    Ok(Some(blob))
}
