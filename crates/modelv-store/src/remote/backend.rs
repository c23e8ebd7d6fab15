//! What a remote has to be able to do. Few calls, all blocking, all safe to repeat except
//! [`Backend::put_if`], whose outcome may be unknown.

use std::ops::Range;
use std::path::Path;

use super::object::ObjectState;
use super::{RemoteError, Result, Watch};

/// What a conditional put compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) e_tag: Option<String>,
    pub(crate) version: Option<String>,
}

/// What came of a conditional put.
#[derive(Debug)]
pub(crate) enum PutIf {
    /// It was written.
    Done,
    /// The remote says that the condition does not hold.
    Refused,
    /// The answer does not say whether it was written.
    Ambiguous(RemoteError),
    /// It was not written, and will not be.
    Failed(RemoteError),
}

/// An object in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// When it was written, in seconds by the remote's clock.
    pub(crate) modified: u64,
}

/// A place for named byte strings.
pub(crate) trait Backend: Send + Sync + std::fmt::Debug {
    /// A small object and its version; `None` when it is missing.
    fn read(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, Version)>>;

    /// Writes `key` if it still has the version `expected` (`None`: if it does not exist). Never
    /// repeated by itself.
    fn put_if(&self, key: &str, bytes: &[u8], expected: Option<&Version>) -> PutIf;

    /// Writes a small immutable object.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// Bytes of an object; `None` when it is missing.
    fn size(&self, key: &str) -> Result<Option<u64>>;

    /// Writes a file as an immutable object; it appears whole or not at all. What has arrived may be
    /// written down in the file `journal`, to go on there after an interruption.
    fn upload(&self, key: &str, file: &Path, journal: &Path, watch: &dyn Watch) -> Result<()>;

    /// Streams an object.
    fn download(&self, key: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.download_version(key, None, sink)
    }

    /// What an object is, or one version of it; `None` when it is missing.
    fn state(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectState>>;

    /// Streams an object, or one version of it.
    fn download_version(
        &self,
        key: &str,
        version: Option<&str>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()>;

    /// Byte ranges of an object, in the order asked for.
    fn ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>>;

    /// One byte range of an object.
    fn range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let found = self.ranges(key, std::slice::from_ref(&range))?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// What lies in a folder.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;

    /// When an object was written, in seconds by the remote's clock; `None` when it is missing.
    fn modified(&self, key: &str) -> Result<Option<u64>>;

    /// The time by the remote's clock, in seconds.
    fn now(&self) -> Result<u64> {
        let key = format!("probe/{}", modelv_core::id::to_hex(&super::root::nonce()));
        self.put(&key, b"time")?;
        let modified = self.modified(&key);
        // Best effort: a leftover of a few bytes harms nobody.
        let _ = self.delete(&key);
        Ok(modified?.unwrap_or_default())
    }

    /// Removes an object; fine when it is missing.
    fn delete(&self, key: &str) -> Result<()>;

    /// Whether writing is impossible by the kind of the remote.
    fn is_read_only(&self) -> bool {
        false
    }
}
