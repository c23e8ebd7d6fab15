//! One file of a difference: its content read, taken apart by its driver, its lines compared.

use std::io::Read;

use modelv_core::driver::{
    self, Change, Driver, LineDiff, LineOps, Source, TableError, TensorError, TensorFile,
};
use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_core::scan::Verdict;
use modelv_core::tree::Mode;

use super::aside::Aside;
use super::{DiffSide, FileDiff, FileToDiff};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{ChangeKind, FileChange, SnapFile, place};

/// Larger files of a format that is taken apart are compared by size only, in bytes.
const CONTENT_BYTES_MAX: u64 = 8 << 20;
/// Larger texts are, in bytes.
const TEXT_BYTES_MAX: u64 = 128 << 20;
/// Texts of more lines are.
const LINES_MAX: usize = 4 << 20;
/// So many bytes tell a text from other content, as they do for Git.
const SNIFF_BYTES: usize = 8_000;

impl FileDiff {
    /// The lines that differ, where those tell more than its parts do.
    #[must_use]
    pub fn lines(&self) -> Option<LineDiff<'_>> {
        let (old, new) = (self.old.as_deref()?, self.new.as_deref()?);
        Some(LineDiff::new(old, new, self.ops.as_ref()?))
    }
}

/// Whether parts say all there is to show. Rows that no key names, or that only moved, are lines.
fn is_told(driver: Driver, inside: &[Change]) -> bool {
    match driver {
        Driver::Notebook
        | Driver::Binary
        | Driver::Image
        | Driver::Parquet
        | Driver::Tensors(_) => true,
        Driver::Table(_) | Driver::JsonLines => {
            inside.iter().any(|c| matches!(c, Change::Row { .. }))
        }
        _ => inside.iter().any(|c| !is_count(c)),
    }
}

/// Whether rows on both sides could not be told apart by a key.
fn lacks_key(inside: &[Change]) -> bool {
    let has_rows = |c: &Change| matches!(c, Change::Rows { old, new } if *old > 0 && *new > 0);
    inside.iter().any(has_rows) && !inside.iter().any(|c| matches!(c, Change::Keyed { .. }))
}

impl Repo {
    /// Compares one file of a plan.
    ///
    /// # Errors
    /// Content is missing, damaged or unreadable.
    pub fn diff_file(&self, file: FileToDiff, old: &DiffSide, new: &DiffSide) -> Result<FileDiff> {
        let FileToDiff { change, percent } = file;
        let old_path = match &change.kind {
            ChangeKind::Renamed { from } => from.clone(),
            _ => change.path.clone(),
        };
        let mut found = self.compare_file(change, (old, &old_path), new)?;
        found.percent = percent;
        found.notes.extend(self.verdict(&found.change)?);
        Ok(found)
    }

    /// Chooses how much of a file has to be in memory at once, and compares it.
    fn compare_file(
        &self,
        change: FileChange,
        old: (&DiffSide, &RepoPath),
        new: &DiffSide,
    ) -> Result<FileDiff> {
        let path = change.path.as_bytes();
        let versions = || [&change.old, &change.new].into_iter().flatten();
        let plain = versions().all(|f| matches!(f.mode, Mode::File | Mode::Executable));
        if let Some(format) = TensorFile::of_path(path)
            && plain
        {
            return self.diff_tensors(format, change, old, new);
        }
        let large = versions().any(|f| f.size > CONTENT_BYTES_MAX);
        let table = driver::table_of_path(path);
        // The rules are a file to read: only a table has something in them.
        let key = match table {
            Some(_) => self.rules()?.table_key(&change.path),
            None => None,
        };
        match table {
            // Its rows are compressed: how many they are, its size does not tell.
            Some(table) if plain && (large || table == Driver::Parquet) => {
                self.diff_table((table, key.as_deref()), change, old, new)
            }
            _ => self.diff_content(key.as_deref(), change, old, new),
        }
    }

    /// Compares a file that is read as a whole, or by its size where that is too much.
    fn diff_content(
        &self,
        key: Option<&str>,
        change: FileChange,
        (old, old_path): (&DiffSide, &RepoPath),
        new: &DiffSide,
    ) -> Result<FileDiff> {
        let max = self.content_max(&change, (old, old_path), new)?;
        let a = self.side_content(old, old_path, change.old.as_ref(), max)?;
        let b = self.side_content(new, &change.path, change.new.as_ref(), max)?;
        let has_too_many_lines = |v: &Option<Vec<u8>>| {
            let text = v.as_deref().unwrap_or_default();
            text.len() > LINES_MAX && text.iter().filter(|b| **b == b'\n').count() > LINES_MAX
        };
        Ok(match (a, b) {
            (Some(a), Some(b)) if !has_too_many_lines(&a) && !has_too_many_lines(&b) => {
                inside(key, change, a, b)
            }
            _ => as_a_whole(change, max),
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

    /// How much of this file is read.
    fn content_max(
        &self,
        change: &FileChange,
        (old, old_path): (&DiffSide, &RepoPath),
        new: &DiffSide,
    ) -> Result<u64> {
        let size = |f: &Option<SnapFile>| f.as_ref().map_or(0, |f| f.size);
        let largest = size(&change.old).max(size(&change.new));
        if largest <= CONTENT_BYTES_MAX
            || largest > TEXT_BYTES_MAX
            || driver::claims_format(change.path.as_bytes())
        {
            return Ok(CONTENT_BYTES_MAX);
        }
        for (side, path, file) in [
            (old, old_path, change.old.as_ref()),
            (new, &change.path, change.new.as_ref()),
        ] {
            let Some(source) = self.side_source(side, path, file)? else {
                continue;
            };
            let mut head = Vec::new();
            source
                .take(SNIFF_BYTES as u64)
                .read_to_end(&mut head)
                .map_err(Error::io("read", &place(self.root(), path)))?;
            if head.contains(&0) {
                return Ok(CONTENT_BYTES_MAX);
            }
        }
        Ok(TEXT_BYTES_MAX)
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
        let found = match found {
            Ok(changes) => Ok(changes),
            Err(TensorError::Refused(why)) => {
                Err(driver::tensor_note(&change.path.to_string(), format, &why))
            }
            Err(TensorError::Io(e)) => {
                let full = place(self.root(), &change.path);
                return Err(Error::io("read", &full)(e));
            }
        };
        Ok(streamed(change, Driver::Tensors(format), found))
    }

    /// Compares tables of any size, read side by side; rows that need it are put aside in files.
    fn diff_table(
        &self,
        (table, key): (Driver, Option<&str>),
        change: FileChange,
        (old, old_path): (&DiffSide, &RepoPath),
        new: &DiffSide,
    ) -> Result<FileDiff> {
        let mut a = self.side_source(old, old_path, change.old.as_ref())?;
        let mut b = self.side_source(new, &change.path, change.new.as_ref())?;
        let mut spill = Aside::default();
        let sides = [&mut a, &mut b].map(|s| s.as_mut().map(|s| &mut **s as &mut dyn Source));
        let found = driver::diff_tables(table, key, sides, &mut spill);
        let path = change.path.to_string();
        let mut notes = Vec::new();
        let found = match found {
            Ok(changes) => {
                if lacks_key(&changes) {
                    let note = "no key names every row once: too large for lines, rows are counted";
                    notes.push(format!("{path}: {note}"));
                }
                Ok(changes)
            }
            Err(TableError::Refused(why)) => Err(driver::table_note(&path, &why)),
            Err(TableError::Io(e)) => {
                let full = place(self.root(), &change.path);
                return Err(Error::io("compare", &full)(e));
            }
        };
        let mut found = streamed(change, table, found);
        found.notes.extend(notes);
        Ok(found)
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
        let open = std::fs::File::open(&full).map_err(Error::io("read", &full))?;
        Ok(Some(Box::new(std::io::BufReader::new(open))))
    }

    /// Content of one side: outer `None`: more than `max` bytes; inner `None`: absent.
    #[expect(clippy::option_option, reason = "two different absences")]
    pub(super) fn side_content(
        &self,
        side: &DiffSide,
        path: &RepoPath,
        file: Option<&SnapFile>,
        max: u64,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let Some(file) = file else {
            return Ok(Some(None));
        };
        if file.size > max {
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

fn bare(change: FileChange, driver: Driver) -> FileDiff {
    FileDiff {
        change,
        percent: None,
        driver,
        inside: Vec::new(),
        old: None,
        new: None,
        ops: None,
        notes: Vec::new(),
    }
}

fn sizes(change: &FileChange) -> Change {
    let size = |f: &Option<SnapFile>| f.as_ref().map_or(0, |f| f.size);
    Change::Bytes {
        old: size(&change.old),
        new: size(&change.new),
    }
}

/// What a comparison in pieces found; a file that is not what its name says is told by its size.
fn streamed(
    change: FileChange,
    driver: Driver,
    found: std::result::Result<Vec<Change>, String>,
) -> FileDiff {
    let sizes = sizes(&change);
    let (driver, inside, notes) = match found {
        Ok(mut inside) => {
            inside.push(sizes);
            (driver, inside, Vec::new())
        }
        Err(note) => (Driver::Binary, vec![sizes], vec![note]),
    };
    FileDiff {
        inside,
        notes,
        ..bare(change, driver)
    }
}

fn as_a_whole(change: FileChange, max: u64) -> FileDiff {
    let mib = max >> 20;
    let note = format!(
        "{} is larger than {mib} MiB: compared as a whole",
        change.path
    );
    FileDiff {
        inside: vec![sizes(&change)],
        notes: vec![note],
        ..bare(change, Driver::Binary)
    }
}

/// Takes both versions apart; rows of tables go by a declared key.
fn inside(
    key: Option<&str>,
    change: FileChange,
    a: Option<Vec<u8>>,
    b: Option<Vec<u8>>,
) -> FileDiff {
    let path = change.path.as_bytes();
    let versions: Vec<&[u8]> = [&a, &b].into_iter().filter_map(Option::as_deref).collect();
    let (driver, mut notes) = driver::examine_all(path, &versions);
    let (a, b) = match driver {
        // Lines are shown in UTF-8.
        Driver::Wide => {
            let utf8 = |v: Option<Vec<u8>>| v.map(|v| driver::as_utf8(&v).into_owned());
            (utf8(a), utf8(b))
        }
        _ => (a, b),
    };
    let both = a.as_deref().zip(b.as_deref());
    // Lines are compared once, and counted from that.
    let (inside, text_ops) = match (driver, both) {
        (Driver::Text | Driver::Wide, Some((x, y))) if x != y => {
            let ops = LineOps::of(x, y);
            let (added, removed) = ops.counts();
            (vec![Change::Lines { added, removed }], Some(ops))
        }
        _ => (
            driver::diff_by(driver, key, a.as_deref(), b.as_deref()),
            None,
        ),
    };
    if let Some((x, y)) = a.as_deref().zip(b.as_deref())
        && lacks_key(&inside)
    {
        let note = driver::unkeyed_note(&change.path.to_string(), driver, key, x, y);
        notes.push(note);
    }
    let to_show = |bytes: Option<Vec<u8>>| {
        bytes.map(|bytes| match driver::without_secrets(path, &bytes) {
            Some(clean) => (clean, true),
            None => (bytes, false),
        })
    };
    let (old, new) = (to_show(a), to_show(b));
    let cleaned = [&old, &new]
        .into_iter()
        .flatten()
        .any(|(_, cleaned)| *cleaned);
    let (old, new) = (old.map(|v| v.0), new.map(|v| v.0));
    let ops = match (&old, &new) {
        (Some(x), Some(y)) if x != y && !is_told(driver, &inside) => text_ops
            .filter(|_| !cleaned)
            .or_else(|| Some(LineOps::of(x, y))),
        _ => None,
    };
    FileDiff {
        inside,
        old,
        new,
        ops,
        notes,
        ..bare(change, driver)
    }
}

/// Whether a change is a number in the summary of a file, and no part of it.
fn is_count(change: &Change) -> bool {
    matches!(
        change,
        Change::Lines { .. } | Change::Rows { .. } | Change::Keyed { .. } | Change::Bytes { .. }
    )
}
