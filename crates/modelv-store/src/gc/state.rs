//! `.mv/gc`: how often packs were taken away, and from which operation on everything is kept.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs;

/// Magic and format version.
const MAGIC: &[u8; 8] = b"MVGC\x00\x00\x00\x01";
const FILE: &str = "gc";
const BODY_BYTES: usize = 24;

/// What `gc` has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Rises before packs are moved or deleted. Whoever looked at the store at another epoch must look
    /// again before something depends on what it saw.
    pub epoch: u64,
    /// What older operations of the log name may be gone.
    pub horizon: u64,
}

impl State {
    /// Reads it from the repository's folder; all zeros when nothing was ever collected.
    ///
    /// # Errors
    /// Damaged, or from a newer program.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.map_err(Error::io("read", &path))?,
        };
        let what = || format!("`{}`", path.display());
        if bytes.len() > 8 && bytes[..7] == MAGIC[..7] && bytes[7] > MAGIC[7] {
            let (found, known) = (bytes[7], MAGIC[7]);
            return Err(Error::Newer {
                what: what(),
                found,
                known,
            });
        }
        Self::decode(&bytes).ok_or_else(|| Error::corrupt(what(), "it does not match its hash"))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_at_checked(BODY_BYTES)?;
        let (magic, rest) = body.split_first_chunk::<8>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (horizon, _) = rest.split_first_chunk::<8>()?;
        let is_right = magic == MAGIC && hash == blake3::hash(body).as_bytes();
        is_right.then(|| Self {
            epoch: u64::from_le_bytes(*epoch),
            horizon: u64::from_le_bytes(*horizon),
        })
    }

    fn encode(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.horizon.to_le_bytes());
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// Replaces it, durably. The caller holds the lock of the operation log.
    pub(crate) fn write(self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let temp = dir.join("tmp").join(format!("gc-{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = fs::create(&temp)?;
            fs::write_all(&mut file, &self.encode())?;
            fs::sync(&file)?;
            fs::replace(&temp, &path)?;
            fs::sync_dir(dir)
        };
        write().map_err(Error::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_flipped_bit_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), State::default());
        let state = State {
            epoch: 3,
            horizon: 1 << 40,
        };
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), state);
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(dir.path().join(FILE), bytes).unwrap();
            assert!(State::read(dir.path()).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            std::fs::write(dir.path().join(FILE), &bytes[..len]).unwrap();
            assert!(State::read(dir.path()).is_err(), "{len} bytes");
        }
    }
}
