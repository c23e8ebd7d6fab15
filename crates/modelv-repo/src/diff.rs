//! What differs between two sides: commits, or a commit and the working tree.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use modelv_core::driver::{
    self, Change, Driver, Source, Spill, TableError, TensorError, TensorFile,
};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::path::RepoPath;
use modelv_core::scan::Verdict;
use modelv_core::tree::Mode;
use modelv_core::value::Value;

use crate::ctx::Ctx;
use crate::envdiff::{EnvChange, diff_env};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{FileChange, Files, SnapFile, compare, place};

/// Larger files are compared by size only, in bytes.
const CONTENT_BYTES_MAX: u64 = 8 << 20;

/// One side of a comparison.
#[derive(Debug)]
pub struct DiffSide {
    /// What people call it.
    pub label: String,
    /// The commit; `None`: the working tree.
    pub commit: Option<CommitId>,
    files: Files,
    env: Env,
    metrics: BTreeMap<String, Value>,
}

/// One file that differs.
#[derive(Debug)]
pub struct FileDiff {
    /// The path and how it differs.
    pub change: FileChange,
    /// By which rules it was compared.
    pub driver: Driver,
    /// What differs inside; empty when it is too large to look.
    pub inside: Vec<Change>,
    /// Old content, where it was read; without secrets where the name says that it may have some.
    pub old: Option<Vec<u8>>,
    /// New content, likewise.
    pub new: Option<Vec<u8>>,
    /// What people should know: that it is not what its name claims.
    pub notes: Vec<String>,
}

/// One metric that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricChange {
    /// Dotted key.
    pub key: String,
    /// Old value.
    pub old: Option<Value>,
    /// New value.
    pub new: Option<Value>,
}

/// Everything that differs.
#[derive(Debug)]
pub struct DiffReport {
    /// Files, by path.
    pub files: Vec<FileDiff>,
    /// Environment.
    pub env: Vec<EnvChange>,
    /// Metrics of the runs behind both sides.
    pub metrics: Vec<MetricChange>,
}

impl DiffReport {
    /// Whether both sides are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.env.is_empty() && self.metrics.is_empty()
    }
}

/// Rows put aside in an unnamed file of the system's temporary folder, which ends with the process.
#[derive(Default)]
struct Aside {
    file: Option<File>,
    end: u64,
    /// Where the pieces of each part stand.
    pieces: HashMap<(usize, usize), Vec<(u64, usize)>>,
}

impl Spill for Aside {
    fn put(&mut self, side: usize, part: usize, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(bytes)?;
        let pieces = self.pieces.entry((side, part)).or_default();
        pieces.push((self.end, bytes.len()));
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn take(&mut self, side: usize, part: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let pieces = self.pieces.remove(&(side, part)).unwrap_or_default();
        if let Some(file) = &mut self.file {
            for (at, length) in pieces {
                file.seek(SeekFrom::Start(at))?;
                Read::by_ref(file)
                    .take(length as u64)
                    .read_to_end(&mut out)?;
            }
        }
        Ok(out)
    }
}

impl Repo {
    /// A commit as one side.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn diff_commit(&self, id: CommitId, label: &str) -> Result<DiffSide> {
        let commit = self.commit_object(id)?;
        Ok(DiffSide {
            label: label.to_owned(),
            commit: Some(id),
            files: self.files_of_commit(&commit)?,
            env: self.env_object(commit.recipe.env)?,
            metrics: self.metrics(&commit)?,
        })
    }

    /// Nothing, as one side.
    #[must_use]
    pub fn diff_nothing(&self) -> DiffSide {
        DiffSide {
            label: "nothing".into(),
            commit: None,
            files: Files::new(),
            env: Env::none(),
            metrics: BTreeMap::new(),
        }
    }

    /// The working tree as one side.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn diff_worktree(&self, python: Option<PathBuf>, ctx: &Ctx<'_>) -> Result<DiffSide> {
        let rules = self.rules()?;
        let files = self.snapshot(&rules, None, ctx)?.files;
        let env = self.capture_env(&files, &rules, python)?;
        let metrics = match self.head() {
            Some(id) => self.metrics(&self.commit_object(id)?)?,
            None => BTreeMap::new(),
        };
        Ok(DiffSide {
            label: "working tree".into(),
            commit: None,
            files,
            env,
            metrics,
        })
    }

    /// Metrics of a commit: those of its last run.
    ///
    /// # Errors
    /// The run is missing or damaged.
    pub fn metrics(&self, commit: &modelv_core::commit::Commit) -> Result<BTreeMap<String, Value>> {
        match commit.runs.last() {
            Some(id) => Ok(self.run_object(*id)?.metrics),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Compares two sides, at and below `paths` or as a whole.
    ///
    /// # Errors
    /// Content is missing, damaged or unreadable.
    pub fn diff(&self, old: &DiffSide, new: &DiffSide, paths: &[RepoPath]) -> Result<DiffReport> {
        let mut files = Vec::new();
        for change in compare(&old.files, &new.files) {
            let wanted = |p: &RepoPath| change.path.is_within(p.as_bytes());
            if !paths.is_empty() && !paths.iter().any(wanted) {
                continue;
            }
            let mut file = self.diff_file(change, old, new)?;
            file.notes.extend(self.verdict(&file.change)?);
            files.push(file);
        }
        if !paths.is_empty() {
            return Ok(DiffReport {
                files,
                env: Vec::new(),
                metrics: Vec::new(),
            });
        }
        let keys: std::collections::BTreeSet<&String> =
            old.metrics.keys().chain(new.metrics.keys()).collect();
        let metrics = keys
            .into_iter()
            .map(|key| MetricChange {
                key: key.clone(),
                old: old.metrics.get(key).cloned(),
                new: new.metrics.get(key).cloned(),
            })
            .filter(|m| m.old != m.new)
            .collect();
        Ok(DiffReport {
            files,
            env: diff_env(&old.env, &new.env),
            metrics,
        })
    }

    fn diff_file(&self, change: FileChange, old: &DiffSide, new: &DiffSide) -> Result<FileDiff> {
        let old_path = match &change.kind {
            crate::worktree::ChangeKind::Renamed { from } => from.clone(),
            _ => change.path.clone(),
        };
        if let Some(format) = TensorFile::of_path(change.path.as_bytes())
            && [&change.old, &change.new]
                .into_iter()
                .flatten()
                .all(|f| matches!(f.mode, Mode::File | Mode::Executable))
        {
            return self.diff_tensors(format, change, (old, &old_path), new);
        }
        let key = self.rules()?.table_key(&change.path);
        let large = [&change.old, &change.new]
            .into_iter()
            .flatten()
            .any(|f| f.size > CONTENT_BYTES_MAX);
        if large && let Some(driver) = driver::table_of_path(change.path.as_bytes()) {
            return self.diff_table((driver, key), change, (old, &old_path), new);
        }
        let a = self.side_content(old, &old_path, change.old.as_ref())?;
        let b = self.side_content(new, &change.path, change.new.as_ref())?;
        let (Some(a), Some(b)) = (a, b) else {
            let size = |f: &Option<SnapFile>| f.as_ref().map_or(0, |f| f.size);
            let inside = vec![Change::Bytes {
                old: size(&change.old),
                new: size(&change.new),
            }];
            let mib = CONTENT_BYTES_MAX >> 20;
            let note = format!(
                "{} is larger than {mib} MiB: compared as a whole",
                change.path
            );
            return Ok(FileDiff {
                change,
                driver: Driver::Binary,
                inside,
                old: None,
                new: None,
                notes: vec![note],
            });
        };
        let path = change.path.as_bytes();
        let versions: Vec<&[u8]> = [&a, &b].into_iter().filter_map(Option::as_deref).collect();
        let (driver, notes) = driver::examine_all(path, &versions);
        let inside = driver::diff_by(driver, key.as_deref(), a.as_deref(), b.as_deref());
        let to_show = |bytes: Option<Vec<u8>>| {
            bytes.map(|bytes| driver::without_secrets(path, &bytes).unwrap_or(bytes))
        };
        let (old, new) = (to_show(a), to_show(b));
        Ok(FileDiff {
            change,
            driver,
            inside,
            old,
            new,
            notes,
        })
    }

    /// What people should know before they load the new version of a file.
    fn verdict(&self, change: &FileChange) -> Result<Option<String>> {
        let Some(file) = &change.new else {
            return Ok(None);
        };
        let found = self.scan_side(&change.path, file)?;
        let found = found.filter(|f| f.scan.verdict() > Verdict::Safe);
        Ok(found.map(|f| {
            let first = f.scan.findings.first().map(ToString::to_string);
            let (verdict, first) = (f.scan.verdict(), first.unwrap_or_default());
            format!("{} is {verdict} to load: {first}", f.path)
        }))
    }

    /// Compares files of tensors of any size, read in pieces.
    fn diff_tensors(
        &self,
        format: TensorFile,
        change: FileChange,
        (old, old_path): (&DiffSide, &RepoPath),
        new: &DiffSide,
    ) -> Result<FileDiff> {
        let mut a = self.side_source(old, old_path, change.old.as_ref())?;
        let mut b = self.side_source(new, &change.path, change.new.as_ref())?;
        let found = format.diff(
            a.as_mut().map(|s| &mut **s as &mut dyn Source),
            b.as_mut().map(|s| &mut **s as &mut dyn Source),
        );
        let size = |f: &Option<SnapFile>| f.as_ref().map_or(0, |f| f.size);
        let bytes = Change::Bytes {
            old: size(&change.old),
            new: size(&change.new),
        };
        let (driver, inside, notes) = match found {
            Ok(mut changes) => {
                changes.push(bytes);
                (Driver::Tensors(format), changes, Vec::new())
            }
            Err(TensorError::Refused(why)) => {
                let note = driver::tensor_note(&change.path.to_string(), format, &why);
                (Driver::Binary, vec![bytes], vec![note])
            }
            Err(TensorError::Io(e)) => {
                let full = place(self.root(), &change.path);
                return Err(Error::io("read", &full)(e));
            }
        };
        Ok(FileDiff {
            change,
            driver,
            inside,
            old: None,
            new: None,
            notes,
        })
    }

    /// Compares tables of any size, read side by side; rows that need it are put aside in files.
    fn diff_table(
        &self,
        (table, key): (Driver, Option<String>),
        change: FileChange,
        (old, old_path): (&DiffSide, &RepoPath),
        new: &DiffSide,
    ) -> Result<FileDiff> {
        let mut a = self.side_source(old, old_path, change.old.as_ref())?;
        let mut b = self.side_source(new, &change.path, change.new.as_ref())?;
        let mut spill = Aside::default();
        let sides = [&mut a, &mut b].map(|s| s.as_mut().map(|s| &mut **s as &mut dyn Source));
        let size = |f: &Option<SnapFile>| f.as_ref().map_or(0, |f| f.size);
        let bytes = Change::Bytes {
            old: size(&change.old),
            new: size(&change.new),
        };
        let (driver, inside, notes) =
            match driver::diff_tables(table, key.as_deref(), sides, &mut spill) {
                Ok(mut changes) => {
                    changes.push(bytes);
                    (table, changes, Vec::new())
                }
                Err(TableError::Refused(why)) => {
                    let note = driver::table_note(&change.path.to_string(), &why);
                    (Driver::Binary, vec![bytes], vec![note])
                }
                Err(TableError::Io(e)) => {
                    let full = place(self.root(), &change.path);
                    return Err(Error::io("compare", &full)(e));
                }
            };
        Ok(FileDiff {
            change,
            driver,
            inside,
            old: None,
            new: None,
            notes,
        })
    }

    fn side_source<'r>(
        &'r self,
        side: &DiffSide,
        path: &RepoPath,
        file: Option<&SnapFile>,
    ) -> Result<Option<Box<dyn Source + 'r>>> {
        let Some(file) = file else {
            return Ok(None);
        };
        if side.commit.is_some() || self.store.has_blob(&file.blob)? {
            return Ok(Some(Box::new(self.store.open_blob(&file.blob)?)));
        }
        let full = place(self.root(), path);
        let open = File::open(&full).map_err(Error::io("read", &full))?;
        Ok(Some(Box::new(io::BufReader::new(open))))
    }

    /// Content of one side: outer `None`: too large; inner `None`: absent.
    #[expect(clippy::option_option, reason = "two different absences")]
    fn side_content(
        &self,
        side: &DiffSide,
        path: &RepoPath,
        file: Option<&SnapFile>,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let Some(file) = file else {
            return Ok(Some(None));
        };
        if file.size > CONTENT_BYTES_MAX {
            return Ok(None);
        }
        if side.commit.is_some() || self.store.has_blob(&file.blob)? {
            return self.read_blob(file.blob).map(|b| Some(Some(b)));
        }
        let full = place(self.root(), path);
        if file.mode == Mode::Symlink {
            use std::os::unix::ffi::OsStrExt;
            let target = std::fs::read_link(&full).map_err(Error::io("read", &full))?;
            return Ok(Some(Some(target.as_os_str().as_bytes().to_vec())));
        }
        let bytes = std::fs::read(&full).map_err(Error::io("read", &full))?;
        if BlobId::of(&bytes) != file.blob {
            return Err(Error::ChangedWhileRead { path: full });
        }
        Ok(Some(Some(bytes)))
    }
}
