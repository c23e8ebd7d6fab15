//! The operation log: the truth about refs, configuration and merge state. See `spec/oplog.md`.
//!
//! Append-only frames, each chained to the one before by its hash. Appending and syncing a frame
//! under the lock is the commit point of every change. Must never delete or rewrite a whole frame.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use modelv_core::canon::{self, DecodeError, Kind, Object};
use modelv_core::commit::Time;
use modelv_core::id::{BlobId, CommitId, RunId};
use modelv_store::fs;

use crate::error::{Error, Result};

mod checkpoint;
mod tip;

/// Magic and format version at the start of the file.
const MAGIC: &[u8; 7] = b"MVOPLOG";
/// Newest format version of the log and of the repository as a whole.
pub const FORMAT_VERSION: u8 = 1;
const HEADER_BYTES: u64 = 8;
/// Length and its complement before the body, hash behind it.
const FRAME_HEAD_BYTES: usize = 8;
const HASH_BYTES: usize = 32;
/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What a name points to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Target {
    /// A commit.
    Commit(CommitId),
    /// Another ref, by full name.
    Symbolic(String),
    /// A stored document, such as the state of a merge.
    Blob(BlobId),
    /// A run.
    Run(RunId),
    /// A configuration value.
    Text(String),
}

impl Target {
    /// The commit, if it is one.
    #[must_use]
    pub fn commit(&self) -> Option<CommitId> {
        match self {
            Self::Commit(id) => Some(*id),
            _ => None,
        }
    }
}

/// One ref that moves.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RefChange {
    /// Full name, for example `refs/heads/main`.
    pub name: String,
    /// What it must be before, `None`: absent.
    pub old: Option<Target>,
    /// What it is after, `None`: absent.
    pub new: Option<Target>,
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Operation {
    /// 0 for the first.
    pub seq: u64,
    /// When.
    pub time: Time,
    /// Who: `user@host`.
    pub actor: String,
    /// What the user typed, in short.
    pub command: String,
    /// Differs for every attempt.
    pub nonce: [u8; 16],
    /// Whether files of the working tree were written for it.
    pub worktree: bool,
    /// The operation this one takes back.
    pub undoes: Option<u64>,
    /// All refs that moved.
    pub changes: Vec<RefChange>,
}

impl Object for Operation {
    const KIND: Kind = Kind::Operation;

    fn check(&self) -> Result<(), DecodeError> {
        canon::check_lengths(&[self.changes.len()])?;
        let mut names = HashSet::new();
        if self.changes.iter().all(|c| names.insert(c.name.as_str())) {
            return Ok(());
        }
        Err(DecodeError::NotCanonical("a name that changes twice"))
    }
}

/// All names and what they point to.
pub type Refs = BTreeMap<String, Target>;

/// The log as it was read.
#[derive(Debug)]
pub struct OpLog {
    path: PathBuf,
    /// Refs after the last operation.
    pub refs: Refs,
    /// Operations, in order: all of them, or those from number `skipped` on.
    pub operations: Vec<Operation>,
    /// So many operations at the beginning were not read; see [`OpLog::whole`].
    pub skipped: u64,
    /// Bytes behind the last operation: an append that never finished, so nobody was told that it
    /// did. The next append keeps a copy in `quarantine/` and cuts them off.
    pub unfinished_bytes: u64,
    chain: [u8; 32],
    end: u64,
    /// Bytes up to which all names are noted beside the log.
    noted: u64,
}

/// Makes a log of one operation, durable as a whole.
///
/// # Errors
/// There is one already, or it can't be written.
pub(crate) fn create(path: &Path, first: Draft) -> Result<()> {
    let (_, frame, _) = encode(first, 0, &[0; 32])?;
    let bytes = [header().as_slice(), &frame].concat();
    fs::write_new_synced(path, &bytes).map_err(Error::io("create", path))
}

fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.push(FORMAT_VERSION);
    header
}

/// An operation, its frame and its hash.
fn encode(draft: Draft, seq: u64, chain: &[u8; 32]) -> Result<(Operation, Vec<u8>, [u8; 32])> {
    let operation = Operation {
        seq,
        time: draft.time,
        actor: draft.actor,
        command: draft.command,
        nonce: nonce(),
        worktree: draft.worktree,
        undoes: draft.undoes,
        changes: draft.changes,
    };
    let body = canon::encode(&operation).map_err(modelv_store::Error::from)?;
    let hash = chain_hash(chain, &body);
    Ok((operation, frame(&body, &hash)?, hash))
}

impl OpLog {
    /// A log of which nothing was read yet.
    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            refs: Refs::new(),
            operations: Vec::new(),
            unfinished_bytes: 0,
            skipped: 0,
            chain: [0; 32],
            end: HEADER_BYTES,
            noted: HEADER_BYTES,
        }
    }

    /// How many operations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.skipped + self.operations.len() as u64
    }

    /// The same with every operation, read and checked from the first on; `None`: this is it already.
    ///
    /// # Errors
    /// As [`OpLog::read`].
    pub fn whole(&self) -> Result<Option<Self>> {
        match self.skipped {
            0 => Ok(None),
            _ => Self::read(&self.path).map(Some),
        }
    }

    /// Reads the whole log. Bytes of an append that never finished are left out.
    ///
    /// # Errors
    /// Missing, from a newer program, or damaged anywhere but in an unfinished tail.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_from(path, None)
    }

    /// The same without most of the operations of a long log: all names are as they are noted beside it, and
    /// read on from there. Damage before that is found by [`OpLog::whole`] alone.
    ///
    /// # Errors
    /// As [`OpLog::read`].
    pub fn read_recent(path: &Path) -> Result<Self> {
        Self::read_from(path, checkpoint::read(&checkpoint::path(path)))
    }

    fn read_from(path: &Path, known: Option<checkpoint::Checkpoint>) -> Result<Self> {
        // Before the log: it never is ahead of a log that is read after it.
        let tip = tip::read(&tip::path(path));
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let mut log = Self::empty(path);
        let mut header = [0u8; 8];
        file.read_exact(&mut header)
            .map_err(|_| log.damaged("the header is cut off"))?;
        if header[..7] != *MAGIC {
            return Err(log.damaged("the header is wrong"));
        }
        if header[7] != FORMAT_VERSION {
            return Err(Error::Newer {
                what: "this repository".into(),
                found: u64::from(header[7]),
                known: u64::from(FORMAT_VERSION),
            });
        }
        if let Some(known) = known.filter(|known| known.is_of(&file)) {
            log.refs = known.refs;
            log.skipped = known.count;
            log.chain = known.chain;
            log.end = known.end;
            log.noted = known.end;
        }
        log.read_new_frames(&mut file)?;
        if tip.is_some_and(|tip| tip > log.end) {
            return Err(log.damaged(
                "operations at its end are missing that were once acknowledged. Put a copy of the \
                 file in its place; to go on without them, delete `oplog.tip` beside it",
            ));
        }
        Ok(log)
    }

    /// What of a log can be read, up to the first damage, and the bytes of that; nothing where the
    /// header is damaged or there is no log. Only for a rescue: what follows is not in it.
    ///
    /// # Errors
    /// The file can't be read, or a newer program wrote it.
    pub(crate) fn salvage(path: &Path) -> Result<(Self, Vec<u8>)> {
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(Error::io("read", path))?,
        };
        let mut log = Self::empty(path);
        if !bytes.starts_with(&header()) {
            return Ok((log, header()));
        }
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        match log.read_new_frames(&mut file) {
            Ok(()) | Err(Error::Corrupt { .. }) => {}
            Err(e) => return Err(e),
        }
        let end = usize::try_from(log.end).unwrap_or(usize::MAX);
        Ok((log, bytes[..end.min(bytes.len())].to_vec()))
    }

    /// The bytes of a log: the sound ones it was read from, and one operation behind them.
    pub(crate) fn followed_by(&self, sound: Vec<u8>, draft: Draft) -> Result<Vec<u8>> {
        let (_, frame, _) = encode(draft, self.count(), &self.chain)?;
        Ok([sound, frame].concat())
    }

    /// Whether what was kept beside the log about its length can still be read, if it is there.
    pub(crate) fn is_tip_sound(&self) -> bool {
        let path = tip::path(&self.path);
        !path.exists() || tip::read(&path).is_some()
    }

    /// Whether what is noted beside the log can still be read, if it is there.
    pub(crate) fn is_checkpoint_sound(&self) -> bool {
        let path = checkpoint::path(&self.path);
        !path.exists() || checkpoint::read(&path).is_some()
    }

    fn damaged(&self, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            what: format!("`{}`", self.path.display()),
            detail: detail.into(),
        }
    }

    /// Reads what others have appended since.
    fn read_new_frames(&mut self, file: &mut File) -> Result<()> {
        let path = self.path.clone();
        file.seek(SeekFrom::Start(self.end))
            .map_err(Error::io("read", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        let mut rest = bytes.as_slice();
        while let Some((body, hash, after)) = self.split_frame(rest)? {
            let operation: Operation =
                canon::decode(body).map_err(|e| self.damaged(e.to_string()))?;
            if operation.seq != self.count() {
                return Err(self.damaged(format!("operation {} is out of order", operation.seq)));
            }
            for change in &operation.changes {
                if self.refs.get(&change.name) != change.old.as_ref() {
                    return Err(self.damaged(format!(
                        "operation {} moves `{}` from where it was not",
                        operation.seq, change.name
                    )));
                }
                apply(&mut self.refs, change);
            }
            self.operations.push(operation);
            self.chain = hash;
            self.end += (rest.len() - after.len()) as u64;
            rest = after;
        }
        self.unfinished_bytes = rest.len() as u64;
        Ok(())
    }

    /// Takes the first whole frame off `rest`; `None` at the end or at an unfinished append.
    #[expect(
        clippy::type_complexity,
        reason = "three slices of one frame, used once"
    )]
    fn split_frame<'a>(&self, rest: &'a [u8]) -> Result<Option<(&'a [u8], [u8; 32], &'a [u8])>> {
        let reason = match cut_frame(rest) {
            Cut::Frame { body, hash, after } if hash == chain_hash(&self.chain, body) => {
                return Ok(Some((body, hash, after)));
            }
            Cut::Frame { .. } => "does not match its hash",
            Cut::Short => return Ok(None),
            Cut::NoLength => "has no valid length",
        };
        if is_torn(rest, self.end) && !holds_operation(rest, self.count()) {
            return Ok(None);
        }
        Err(self.damaged(format!("frame at byte {} {reason}", self.end)))
    }

    /// Appends one operation if every ref still is what `changes` expect, and syncs it: after this
    /// returns, the operation survives a power cut.
    ///
    /// # Errors
    /// [`Error::RefMoved`] when another process was faster; otherwise I/O. Nothing has changed then.
    pub fn append(&mut self, draft: Draft) -> Result<u64> {
        self.append_checked(draft, &|_, _| Ok(()))
    }

    /// The same, if `check` agrees: it sees the log as it is and the changes, under the lock.
    pub(crate) fn append_checked(
        &mut self,
        draft: Draft,
        check: &dyn Fn(&Self, &[RefChange]) -> Result<()>,
    ) -> Result<u64> {
        let path = self.path.clone();
        let _lock = self.lock()?;
        let mut file = fs::open_rw(&path).map_err(Error::io("open", &path))?;
        self.read_new_frames(&mut file)?;
        for change in &draft.changes {
            if self.refs.get(&change.name) != change.old.as_ref() {
                return Err(Error::RefMoved {
                    name: change.name.clone(),
                });
            }
        }
        check(self, &draft.changes)?;
        self.drop_unfinished_tail(&file)?;
        let (operation, frame, hash) = encode(draft, self.count(), &self.chain)?;
        self.write_frame(&file, &frame)?;
        for change in &operation.changes {
            apply(&mut self.refs, change);
        }
        let seq = operation.seq;
        self.operations.push(operation);
        self.chain = hash;
        self.end += frame.len() as u64;
        self.unfinished_bytes = 0;
        // What it guards against is damage later on; without it, nothing is wrong.
        let _ = tip::write(&tip::path(&path), self.end);
        if self.end - self.noted >= checkpoint::STEP_BYTES {
            // Without it the next one reads more, nothing else.
            let (end, count) = (self.end, self.count());
            let path = checkpoint::path(&path);
            let _ = checkpoint::write(&path, end, count, &self.chain, &self.refs);
            self.noted = self.end;
        }
        Ok(seq)
    }

    /// All names and targets of now, and those that operations from `horizon` on came from or went to.
    pub(crate) fn kept_targets(&self, horizon: u64) -> impl Iterator<Item = (&str, &Target)> {
        let recent = self.operations.iter().filter(move |o| o.seq >= horizon);
        let changes = recent.flat_map(|o| &o.changes);
        let named = changes.flat_map(|c| {
            let targets = [&c.old, &c.new].into_iter().flatten();
            targets.map(|t| (c.name.as_str(), t))
        });
        self.refs
            .iter()
            .map(|(name, t)| (name.as_str(), t))
            .chain(named)
    }

    /// Keeps everybody from appending as long as it is held. A kernel lock: it dies with its holder,
    /// so there is never a stale one.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.path.with_extension("lock");
        let lock = fs::open_or_create(&path).map_err(Error::io("open", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        Ok(lock)
    }

    /// Reads what others have appended since.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        self.read_new_frames(&mut file)
    }

    fn write_frame(&self, file: &File, frame: &[u8]) -> Result<()> {
        let written = fs::write_all_at(file, frame, self.end)
            .map_err(Error::io("write", &self.path))
            .and_then(|()| fs::sync(file).map_err(Error::io("sync", &self.path)));
        if written.is_err() {
            // What could not be synced can still be read, yet may never reach the disk: the next
            // append must not build on it.
            let _ = fs::set_len(file, self.end);
        }
        written
    }

    /// Keeps a copy of an append that never finished, then cuts it off.
    fn drop_unfinished_tail(&self, file: &File) -> Result<()> {
        let len = file
            .metadata()
            .map_err(Error::io("read", &self.path))?
            .len();
        if len <= self.end {
            return Ok(());
        }
        let dir = self.path.with_file_name("quarantine");
        fs::create_dirs(&dir).map_err(Error::io("create", &dir))?;
        let kept = dir.join(format!("oplog-tail-{}", self.end));
        let copy = || -> std::io::Result<()> {
            let mut from = file;
            from.seek(SeekFrom::Start(self.end))?;
            let mut tail = Vec::new();
            from.read_to_end(&mut tail)?;
            let mut to = fs::create(&kept)?;
            fs::write_all(&mut to, &tail)
        };
        copy().map_err(Error::io("write", &kept))?;
        // Synced at once: else a power cut could leave the next frame with this rest behind it.
        fs::set_len(file, self.end)
            .and_then(|()| fs::sync(file))
            .map_err(Error::io("write", &self.path))
    }
}

/// An operation that is to be appended.
#[derive(Debug, Clone)]
pub struct Draft {
    /// When.
    pub time: Time,
    /// Who.
    pub actor: String,
    /// What the user typed, in short.
    pub command: String,
    /// Whether files of the working tree are written for it.
    pub worktree: bool,
    /// The operation this one takes back.
    pub undoes: Option<u64>,
    /// Refs to move.
    pub changes: Vec<RefChange>,
}

/// What stands at the beginning of some bytes.
enum Cut<'a> {
    /// A whole frame; the hash is as stored.
    Frame {
        body: &'a [u8],
        hash: [u8; HASH_BYTES],
        after: &'a [u8],
    },
    /// Nothing, or a frame that the end of the file cuts off.
    Short,
    /// The length does not match its complement.
    NoLength,
}

fn cut_frame(rest: &[u8]) -> Cut<'_> {
    let Some((head, tail)) = rest.split_at_checked(FRAME_HEAD_BYTES) else {
        return Cut::Short;
    };
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let complement = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    // No append writes a longer body: such a length is not one that the end of the file cut off.
    if len != !complement || len as usize > canon::OBJECT_BYTES_MAX {
        return Cut::NoLength;
    }
    let whole = tail
        .split_at_checked(len as usize)
        .and_then(|(body, tail)| {
            let (hash, after) = tail.split_first_chunk::<HASH_BYTES>()?;
            Some(Cut::Frame {
                body,
                hash: *hash,
                after,
            })
        });
    whole.unwrap_or(Cut::Short)
}

/// Whether bytes that begin at `offset` of the file look like an append that a power cut tore: a
/// disk writes whole sectors in any order, and a sector it never wrote reads as zeros.
fn is_torn(bytes: &[u8], offset: u64) -> bool {
    let into = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let first = (SECTOR_BYTES - into).min(bytes.len());
    let (first, rest) = bytes.split_at(first);
    std::iter::once(first)
        .chain(rest.chunks(SECTOR_BYTES))
        .any(|sector| !sector.is_empty() && sector.iter().all(|b| *b == 0))
}

/// Whether a whole operation with number `seq` or above stands anywhere behind the first byte. An
/// append writes one frame; what follows a damaged frame was acknowledged and is never given up.
fn holds_operation(bytes: &[u8], seq: u64) -> bool {
    (1..bytes.len()).any(|at| match cut_frame(&bytes[at..]) {
        Cut::Frame { body, .. } => {
            canon::decode::<Operation>(body).is_ok_and(|later| later.seq > seq)
        }
        Cut::Short | Cut::NoLength => false,
    })
}

fn apply(refs: &mut Refs, change: &RefChange) {
    match &change.new {
        Some(target) => refs.insert(change.name.clone(), target.clone()),
        None => refs.remove(&change.name),
    };
}

fn chain_hash(previous: &[u8; 32], body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key(Kind::Operation.context())
        .update(previous)
        .update(body)
        .finalize()
        .as_bytes()
}

fn frame(body: &[u8], hash: &[u8; 32]) -> Result<Vec<u8>> {
    let len = u32::try_from(body.len())
        .map_err(|_| Error::invalid("operation", "log record", "larger than 4 GiB"))?;
    let mut out = Vec::with_capacity(FRAME_HEAD_BYTES + body.len() + HASH_BYTES);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(hash);
    Ok(out)
}

/// Random bytes from the kernel.
pub(crate) fn nonce() -> [u8; 16] {
    let mut out = [0u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut out));
    if read.is_err() {
        // Without a random device: process, time and a counter differ for every attempt as well.
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&now.to_le_bytes());
        hasher.update(&std::process::id().to_le_bytes());
        hasher.update(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    }
    out
}

#[cfg(test)]
mod tests;
