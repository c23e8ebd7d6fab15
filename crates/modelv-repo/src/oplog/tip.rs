//! How long the log once was: what tells a log whose end is gone from one that is shorter.
//!
//! Written after every append, never synced: it may lag behind the log or be missing, but it is
//! never ahead of it, because the log was synced before. One that is damaged says nothing.

use std::io;
use std::path::{Path, PathBuf};

use modelv_store::fs;

const MAGIC: &[u8; 8] = b"MVTIP\x00\x00\x01";
const HASH_BYTES: usize = 32;
const BYTES: usize = MAGIC.len() + 8 + HASH_BYTES;

/// The file beside a log.
pub(super) fn path(log: &Path) -> PathBuf {
    log.with_extension("tip")
}

/// Notes that the log has this many bytes, all synced. The caller holds the lock of the log.
pub(super) fn write(path: &Path, end: u64) -> io::Result<()> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&end.to_le_bytes());
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    // In place: it is within one sector, and a reader believes none but a whole one.
    fs::write_all_at(&fs::open_or_create(path)?, &out, 0)
}

/// How many bytes the log had; `None` when that is not known.
pub(super) fn read(path: &Path) -> Option<u64> {
    let bytes: [u8; BYTES] = std::fs::read(path).ok()?.try_into().ok()?;
    let (body, hash) = bytes.split_at(BYTES - HASH_BYTES);
    if blake3::hash(body).as_bytes() != hash || !body.starts_with(MAGIC) {
        return None;
    }
    body[MAGIC.len()..]
        .first_chunk()
        .copied()
        .map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_one_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oplog.tip");
        assert_eq!(read(&path), None);
        write(&path, 1 << 40).unwrap();
        write(&path, 77).unwrap();
        assert_eq!(read(&path), Some(77));
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(read(&path), None, "bit {bit}");
        }
        std::fs::write(&path, &whole[..40]).unwrap();
        assert_eq!(read(&path), None);
    }
}
