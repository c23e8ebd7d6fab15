//! The file `runindex` (`spec/statcache.md`): every run in short, so that many are found without loading
//! one. Derived from the runs that refs name: whoever finds one missing adds it, in a block of its own behind the
//! others. Must never give what a block says before its hash was checked, nor a run that no ref names.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::PathBuf;

use modelv_core::id::RunId;
use modelv_store::fs;

use super::condition::Place;
use super::entry::{self, Entry};
use super::{Field, RunQuery};
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::Target;
use crate::repo::Repo;

const MAGIC: &[u8; 8] = b"MVRUNS\x00\x01";
/// Length of a block and its complement.
const HEAD_BYTES: usize = 8;
const HASH_BYTES: usize = 32;
/// Of a run, behind the length of its row.
const ID_BYTES: usize = 32;
/// A larger file is made anew.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Rows of runs that are gone are left in the file up to so many.
const DEAD_MAX: usize = 1000;
/// A block is closed when it has so many bytes: a reader that finds one damaged loses no more.
const BLOCK_BYTES: usize = 4 << 20;

/// All runs in short.
pub(crate) struct RunIndex {
    bytes: Vec<u8>,
    /// Where the rows of runs begin, newest first.
    rows: Vec<usize>,
}

/// Ids are as good as hashes.
#[derive(Default)]
struct Digits(u64);

impl Hasher for Digits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }
}

type Places = HashMap<[u8; 32], usize, BuildHasherDefault<Digits>>;

/// The file as it was read: what of it is right, and where it ends.
struct Read {
    bytes: Vec<u8>,
    /// Where its rows begin, in order.
    places: Vec<usize>,
    /// Whether nothing in it was damaged or cut off.
    is_whole: bool,
}

impl RunIndex {
    /// Every run, newest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.rows.iter().filter_map(|at| self.entry(*at))
    }

    /// The run whose row begins at a place.
    pub(super) fn entry(&self, at: usize) -> Option<Entry<'_>> {
        row(&self.bytes, at)
    }

    /// Where the rows of those begin that fit, in the order asked for.
    pub(super) fn find(&self, repo: &Repo, query: &RunQuery) -> Result<Vec<usize>> {
        let limit = query.limit.unwrap_or(usize::MAX);
        let is_any = query.status.is_none() && query.conditions.is_empty();
        if is_any && query.order.is_none() {
            return Ok(self.rows.iter().copied().take(limit).collect());
        }
        let mut found: Vec<(Place, usize)> = Vec::new();
        for (at, entry) in self
            .rows
            .iter()
            .filter_map(|at| Some((*at, self.entry(*at)?)))
        {
            if query.status.is_some_and(|s| s != entry.status) || !fits(repo, query, &entry)? {
                continue;
            }
            let Some(order) = &query.order else {
                if found.len() >= limit {
                    break;
                }
                found.push((Place::None, at));
                continue;
            };
            let place = place_of(repo, order.key(), &entry)?;
            found.push((place, at));
        }
        if let Some(order) = &query.order {
            let has_none = found.iter().all(|(place, _)| *place == Place::None);
            if has_none && !found.is_empty() {
                return Err(Error::not_found("metric", order.key()));
            }
            found.sort_by(|(a, _), (b, _)| order.compare(a, b));
        }
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, at)| at).collect())
    }
}

fn fits(repo: &Repo, query: &RunQuery, entry: &Entry<'_>) -> Result<bool> {
    for condition in &query.conditions {
        let (field, key) = condition.about();
        let value = entry.value(repo, field, key)?;
        if !value.is_some_and(|v| condition.holds_for(&v)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[expect(clippy::cast_precision_loss, reason = "for comparison only")]
fn place_of(repo: &Repo, key: &str, entry: &Entry<'_>) -> Result<Place> {
    Ok(match key {
        "started" => Place::Number(entry.started as f64),
        "duration" => Place::Number(entry.duration_ms as f64),
        key => {
            let metric = entry.value(repo, Field::Metric, key)?;
            match metric {
                Some(value) => Place::of(Some(&value)),
                None => Place::of(entry.value(repo, Field::Param, key)?.as_ref()),
            }
        }
    })
}

fn row(bytes: &[u8], at: usize) -> Option<Entry<'_>> {
    let (len, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    Entry::read(rest.get(..len)?)
}

/// Takes the first whole block off the front: its body, and what follows.
fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [len, complement] = [&head[..4], &head[4..]].map(|b| {
        let b: [u8; 4] = b.try_into().unwrap_or_default();
        u32::from_le_bytes(b)
    });
    let (body, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let (hash, rest) = rest.split_first_chunk::<HASH_BYTES>()?;
    let is_right = len == !complement && blake3::hash(body).as_bytes() == hash;
    is_right.then_some((body, rest))
}

/// Where the rows of some bytes begin that stand at `offset`; `None` when they are no rows.
fn rows_of(body: &[u8], offset: usize, places: &mut Vec<usize>) -> Option<()> {
    let mut at = 0;
    while at < body.len() {
        let (len, rest) = body[at..].split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        rest.get(..len)?.first_chunk::<ID_BYTES>()?;
        places.push(offset + at);
        at += 4 + len;
    }
    Some(())
}

/// The run that the row at a place is of.
fn id_at(bytes: &[u8], at: usize) -> Option<&[u8; ID_BYTES]> {
    bytes.get(at + 4..)?.first_chunk()
}

fn read(bytes: Vec<u8>) -> Read {
    let mut places = Vec::new();
    let mut is_whole = bytes.starts_with(MAGIC);
    let mut end = MAGIC.len();
    while is_whole && end < bytes.len() {
        let block = split_block(&bytes[end..]);
        let Some((body, rest)) = block else {
            is_whole = false;
            break;
        };
        is_whole = rows_of(body, end + HEAD_BYTES, &mut places).is_some();
        end = bytes.len() - rest.len();
    }
    Read {
        bytes,
        places,
        is_whole,
    }
}

/// Whether a file is one that can be read to its end.
pub(crate) fn is_sound(bytes: &[u8]) -> bool {
    read(bytes.to_vec()).is_whole
}

/// Sorts rows by when their runs began, then by which operation recorded them.
fn newest_first(bytes: &[u8], rows: &mut [usize]) {
    let age = |at: usize| bytes.get(at + 4..).and_then(entry::age);
    let mut aged: Vec<_> = rows.iter().map(|at| (age(*at), *at)).collect();
    // A stable sort is fast where much is in order already.
    aged.sort();
    for (row, (_, at)) in rows.iter_mut().zip(aged.into_iter().rev()) {
        *row = at;
    }
}

fn close_block(out: &mut Vec<u8>, body: &[u8]) {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(blake3::hash(body).as_bytes());
}

impl Repo {
    fn run_index_path(&self) -> PathBuf {
        self.dir().join("runindex")
    }

    /// All runs that refs name, in short. What the file lacks is added to it.
    ///
    /// # Errors
    /// A run is missing or damaged.
    pub(crate) fn run_index(&self) -> Result<RunIndex> {
        let path = self.run_index_path();
        let is_small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= FILE_BYTES_MAX);
        let bytes = match is_small {
            true => std::fs::read(&path).unwrap_or_default(),
            false => Vec::new(),
        };
        let mut found = read(bytes);
        let (mut rows, missing) = self.named_rows(&found);
        let dead = found.places.len() - rows.len();
        let known = found.bytes.len();
        let is_new = !found.is_whole || dead > rows.len().saturating_add(DEAD_MAX);
        if !missing.is_empty() {
            self.append_rows(&mut found.bytes, &mut rows, &missing)?;
        }
        if is_new {
            self.rewrite_index(&found.bytes, &rows);
        } else if !missing.is_empty() {
            self.extend_index(known, &found.bytes);
        }
        newest_first(&found.bytes, &mut rows);
        Ok(RunIndex {
            bytes: found.bytes,
            rows,
        })
    }

    /// Where the rows of the runs stand that refs name, and the runs that have none.
    fn named_rows(&self, found: &Read) -> (Vec<usize>, Vec<RunId>) {
        let below = self.log.refs.range(names::RUNS.to_owned()..);
        let named: Vec<RunId> = below
            .take_while(|(name, _)| name.starts_with(names::RUNS))
            .filter_map(|(_, target)| match target {
                Target::Run(id) => Some(*id),
                _ => None,
            })
            .collect();
        let mut left = Places::with_capacity_and_hasher(named.len(), Default::default());
        left.extend(named.iter().enumerate().map(|(n, id)| (id.0, n)));
        let mut is_there = vec![false; named.len()];
        let mut rows = Vec::with_capacity(named.len());
        // In the order of the file, which is nearly that of time, and how memory is read fastest.
        for at in &found.places {
            let run = id_at(&found.bytes, *at).and_then(|id| left.get(id));
            if let Some(n) = run
                && !std::mem::replace(&mut is_there[*n], true)
            {
                rows.push(*at);
            }
        }
        let missing = named.iter().zip(is_there).filter(|(_, is)| !is);
        (rows, missing.map(|(id, _)| *id).collect())
    }

    /// Appends blocks with runs that are not in the file yet.
    fn append_rows(
        &self,
        bytes: &mut Vec<u8>,
        rows: &mut Vec<usize>,
        missing: &[RunId],
    ) -> Result<()> {
        if bytes.is_empty() {
            bytes.extend_from_slice(MAGIC);
        }
        let seqs = self.seqs_of(missing)?;
        let mut missing: Vec<(u64, RunId)> = missing
            .iter()
            .map(|id| (seqs.get(&id.0).copied().unwrap_or(0) as u64, *id))
            .collect();
        missing.sort_unstable();
        let mut body = Vec::new();
        for (seq, id) in missing {
            rows.push(bytes.len() + HEAD_BYTES + body.len());
            entry::write(&mut body, id, &self.run_object(id)?, seq);
            if body.len() >= BLOCK_BYTES {
                close_block(bytes, &body);
                body.clear();
            }
        }
        if !body.is_empty() {
            close_block(bytes, &body);
        }
        Ok(())
    }

    /// By which operation runs were recorded.
    fn seqs_of(&self, wanted: &[RunId]) -> Result<Places> {
        let mut seqs = Places::default();
        let mut left: Places = wanted.iter().map(|id| (id.0, 0)).collect();
        let recent = self.log.operations.iter().flat_map(|o| &o.changes);
        let recorded = recent
            .filter(|c| matches!(c.new, Some(Target::Run(_))))
            .count();
        // Where those that were read can't have recorded them all, the whole log has.
        let whole = match recorded < wanted.len() {
            true => self.log.whole()?,
            false => None,
        };
        let log = whole.as_ref().unwrap_or(&self.log);
        for operation in log.operations.iter().rev() {
            if left.is_empty() {
                break;
            }
            for change in &operation.changes {
                if let Some(Target::Run(id)) = &change.new
                    && left.remove(&id.0).is_some()
                {
                    seqs.insert(id.0, usize::try_from(operation.seq).unwrap_or(usize::MAX));
                }
            }
        }
        Ok(seqs)
    }

    /// Writes blocks behind what was read, unless another process does so, or did. A file that can't be
    /// written makes the next call slower, nothing else.
    fn extend_index(&self, known: usize, bytes: &[u8]) {
        let _ = self.with_index_lock(|path| {
            let is_same = match std::fs::metadata(path) {
                Ok(meta) => meta.len() == known as u64,
                Err(_) => known == 0,
            };
            if is_same {
                let mut file = fs::append_to(path)?;
                fs::write_all(&mut file, &bytes[known..])?;
            }
            Ok(())
        });
    }

    /// Writes the file anew, with the rows of these runs alone.
    fn rewrite_index(&self, bytes: &[u8], rows: &[usize]) {
        let mut out = MAGIC.to_vec();
        let mut body = Vec::new();
        for at in rows {
            let len = bytes.get(*at..).and_then(<[u8]>::first_chunk::<4>);
            let len = len.map_or(0, |len| u32::from_le_bytes(*len) as usize);
            body.extend_from_slice(&bytes[*at..at + 4 + len]);
            if body.len() >= BLOCK_BYTES {
                close_block(&mut out, &body);
                body.clear();
            }
        }
        if !body.is_empty() {
            close_block(&mut out, &body);
        }
        let _ = self.with_index_lock(|path| fs::write_unsynced(path, &out));
    }

    fn with_index_lock(
        &self,
        write: impl FnOnce(&std::path::Path) -> std::io::Result<()>,
    ) -> Result<()> {
        let path = self.run_index_path();
        let lock_path = path.with_extension("lock");
        let lock = fs::open_or_create(&lock_path).map_err(Error::io("open", &lock_path))?;
        if lock.try_lock().is_ok() {
            write(&path).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }
}
