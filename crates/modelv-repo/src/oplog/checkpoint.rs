//! What all names point to after some operation of a long log, in the file `oplog.refs`
//! (`spec/statcache.md`): who opens the repository reads on from there. Derived: one that is damaged, or is not of
//! this log, is as good as none. Must never be ahead of what the log has synced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use modelv_core::id::{BlobId, CommitId, RunId};
use modelv_store::fs;

use super::{HASH_BYTES, Refs, Target};

const MAGIC: &[u8; 8] = b"MVREFS\x00\x01";
/// Magic, end, operations, chain, number of names.
const HEAD_BYTES: usize = 8 + 8 + 8 + HASH_BYTES + 8;
/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// So much has to be read behind the last one before the next is written.
pub(super) const STEP_BYTES: u64 = 1 << 20;

/// Where reading goes on, and what was known there.
pub(super) struct Checkpoint {
    /// Bytes of the log.
    pub(super) end: u64,
    /// Operations in them.
    pub(super) count: u64,
    /// Hash of the last one.
    pub(super) chain: [u8; HASH_BYTES],
    pub(super) refs: Refs,
}

/// The file beside a log.
pub(super) fn path(log: &Path) -> PathBuf {
    log.with_extension("refs")
}

/// Writes one; the caller holds the lock of the log, and has synced all of it.
pub(super) fn write(
    path: &Path,
    end: u64,
    count: u64,
    chain: &[u8; HASH_BYTES],
    refs: &Refs,
) -> std::io::Result<()> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&end.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(chain);
    out.extend_from_slice(&(refs.len() as u64).to_le_bytes());
    for (name, target) in refs {
        text(&mut out, name);
        match target {
            Target::Commit(id) => id_of(&mut out, 0, &id.0),
            Target::Blob(id) => id_of(&mut out, 1, &id.0),
            Target::Run(id) => id_of(&mut out, 2, &id.0),
            Target::Symbolic(other) => {
                out.push(3);
                text(&mut out, other);
            }
            Target::Text(value) => {
                out.push(4);
                text(&mut out, value);
            }
        }
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    fs::write_unsynced(path, &out)
}

fn id_of(out: &mut Vec<u8>, kind: u8, id: &[u8; 32]) {
    out.push(kind);
    out.extend_from_slice(id);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads one, if it is right in itself.
pub(super) fn read(path: &Path) -> Option<Checkpoint> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    let (head, mut rest) = body.split_at_checked(HEAD_BYTES)?;
    if blake3::hash(body).as_bytes() != hash || !head.starts_with(MAGIC) {
        return None;
    }
    let mut head = &head[MAGIC.len()..];
    let (end, count) = (number(&mut head)?, number(&mut head)?);
    let chain = take::<HASH_BYTES>(&mut head)?;
    let names = number(&mut head)?;
    let mut refs = Vec::new();
    for _ in 0..names {
        let name = text_of(&mut rest)?;
        let [kind] = take(&mut rest)?;
        let target = match kind {
            0 => Target::Commit(CommitId(take(&mut rest)?)),
            1 => Target::Blob(BlobId(take(&mut rest)?)),
            2 => Target::Run(RunId(take(&mut rest)?)),
            3 => Target::Symbolic(text_of(&mut rest)?),
            4 => Target::Text(text_of(&mut rest)?),
            _ => return None,
        };
        refs.push((name, target));
    }
    rest.is_empty().then(|| Checkpoint {
        end,
        count,
        chain,
        refs: refs.into_iter().collect(),
    })
}

impl Checkpoint {
    /// Whether it is of this log: the frame that ends there has the hash that it has noted.
    pub(super) fn is_of(&self, log: &File) -> bool {
        let mut hash = [0; HASH_BYTES];
        let at = self.end.checked_sub(HASH_BYTES as u64);
        at.is_some_and(|at| log.read_exact_at(&mut hash, at).is_ok()) && hash == self.chain
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn text_of(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(number(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    std::str::from_utf8(text).ok().map(str::to_owned)
}
