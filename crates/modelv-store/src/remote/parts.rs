//! Large files in parts. Which parts have arrived is written down here, so that an upload that was cut short
//! goes on where it was, in the next process too.
//!
//! The journal is a hint: where it is lost, or the remote has given the upload up, all parts are sent again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use futures_util::{StreamExt, TryStreamExt};
use object_store::multipart::PartId;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, PutPayload};
use serde::{Deserialize, Serialize};

use super::catalog::lock;
use super::cloud::InParts;
use super::{Result, Watch, tick};
use crate::{Error, fs};

/// Files up to this size go in one request; larger ones in parts of this size.
pub(crate) const PART_BYTES: u64 = 8 << 20;
/// Parts of one file in flight.
const PARTS_AT_ONCE: usize = 4;
/// Largest journal that is read.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;

/// A file on its way.
pub(crate) struct Upload<'a> {
    pub(crate) store: &'a dyn InParts,
    pub(crate) key: &'a Key,
    pub(crate) file: &'a Path,
    pub(crate) journal: &'a Path,
    /// Makes the remote's error of the library's.
    pub(crate) failed: &'a (dyn Fn(StoreError) -> super::RemoteError + Sync),
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    Upload { id: String, bytes: u64, part: u64 },
    Part { number: usize, content: String },
}

impl Upload<'_> {
    /// Sends what of the file has not arrived yet, and puts it together.
    pub(crate) async fn send(&self, watch: &dyn Watch) -> Result<()> {
        let io = |e| Error::io("read", self.file)(e);
        let file = File::open(self.file).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let journal = Journal::open(self.journal, size);
        let old = journal.upload.clone();
        let is_new = old.is_none();
        let mut counted = 0;
        let sent = self
            .go_on(&file, size, &journal, old, watch, &mut counted)
            .await;
        let e = match sent {
            Ok(()) => {
                journal.end();
                return Ok(());
            }
            Err(Failure::Local(e)) => return Err(e),
            Err(Failure::Remote(e)) => e,
        };
        // What an earlier process began may have been given up since.
        if is_new || !is_forgotten(&e) {
            return Err((self.failed)(e));
        }
        journal.end();
        let journal = Journal::open(self.journal, size);
        let again = self.go_on(&file, size, &journal, None, watch, &mut counted);
        again.await.map_err(|e| match e {
            Failure::Remote(e) => (self.failed)(e),
            Failure::Local(e) => e,
        })?;
        journal.end();
        Ok(())
    }

    async fn go_on(
        &self,
        file: &File,
        size: u64,
        journal: &Journal,
        old: Option<String>,
        watch: &dyn Watch,
        counted: &mut u64,
    ) -> std::result::Result<(), Failure> {
        let id = match old {
            Some(id) => id,
            None => {
                let id = self.store.create_multipart(self.key).await?;
                let (bytes, part) = (size, PART_BYTES);
                let upload = id.clone();
                journal.note(&Line::Upload {
                    id: upload,
                    bytes,
                    part,
                });
                id
            }
        };
        let count = usize::try_from(size.div_ceil(PART_BYTES)).unwrap_or(usize::MAX);
        let arrived = lock(&journal.parts).clone();
        let missing = (0..count).filter(|n| !arrived.contains_key(n));
        let there: u64 = arrived.keys().map(|n| part_of(*n, size).1 as u64).sum();
        let count_up = |bytes: u64, counted: &mut u64| -> Result<()> {
            // Of parts that are sent twice, one counts.
            let more = bytes.min(size - (*counted).min(size));
            *counted += more;
            tick(watch, more)
        };
        count_up(there, counted)?;
        let mut sending = futures_util::stream::iter(missing.map(|number| {
            let id = &id;
            async move {
                let (start, len) = part_of(number, size);
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, start)
                    .map_err(Error::io("read", self.file))
                    .map_err(|e| Failure::Local(e.into()))?;
                let part = self
                    .store
                    .put_part(self.key, id, number, PutPayload::from(bytes));
                Ok::<_, Failure>((number, len as u64, part.await?))
            }
        }))
        .buffer_unordered(PARTS_AT_ONCE);
        while let Some((number, len, part)) = sending.try_next().await? {
            let content = part.content_id.clone();
            journal.note(&Line::Part { number, content });
            count_up(len, counted)?;
        }
        drop(sending);
        let parts = lock(&journal.parts).clone().into_values();
        let parts = parts.map(|content_id| PartId { content_id }).collect();
        self.store.complete_multipart(self.key, &id, parts).await?;
        Ok(())
    }
}

/// Where a part begins, and its length.
fn part_of(number: usize, size: u64) -> (u64, usize) {
    let start = number as u64 * PART_BYTES;
    let len = PART_BYTES.min(size.saturating_sub(start));
    (start, usize::try_from(len).unwrap_or(usize::MAX))
}

enum Failure {
    Remote(StoreError),
    Local(super::RemoteError),
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self::Remote(e)
    }
}

impl From<super::RemoteError> for Failure {
    fn from(e: super::RemoteError) -> Self {
        Self::Local(e)
    }
}

/// Whether a remote does not know an upload or one of its parts.
fn is_forgotten(e: &StoreError) -> bool {
    let text = super::cloud::chain(e);
    let words = [
        "NoSuchUpload",
        "InvalidPart",
        "InvalidBlockList",
        "InvalidBlockId",
    ];
    matches!(e, StoreError::NotFound { .. }) || words.iter().any(|w| text.contains(w))
}

/// Which parts of an upload have arrived.
struct Journal {
    path: PathBuf,
    /// `None`: another process has it, or it can't be written; then nothing is written down.
    file: Option<Mutex<File>>,
    upload: Option<String>,
    parts: Mutex<BTreeMap<usize, String>>,
}

impl Journal {
    /// What is known of an upload of so many bytes.
    fn open(path: &Path, size: u64) -> Self {
        let mut journal = Self {
            path: path.to_owned(),
            file: None,
            upload: None,
            parts: Mutex::default(),
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        let opened = fs::create_dirs(dir).and_then(|()| fs::open_or_create(path));
        // A kernel lock: it dies with its holder.
        let Some(mut file) = opened.ok().filter(|file| file.try_lock().is_ok()) else {
            return journal;
        };
        let mut text = String::new();
        let mut limited = Read::by_ref(&mut file).take(JOURNAL_BYTES_MAX);
        let _ = limited.read_to_string(&mut text);
        journal.read(&text, size);
        if !text.is_empty() && !text.ends_with('\n') {
            let _ = fs::write_all(&mut file, b"\n");
        }
        journal.file = Some(Mutex::new(file));
        journal
    }

    fn read(&mut self, text: &str, size: u64) {
        let parts = lock(&self.parts);
        let mut parts = parts;
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(Line::Upload { id, bytes, part }) if (bytes, part) == (size, PART_BYTES) => {
                    self.upload = Some(id);
                    parts.clear();
                }
                Ok(Line::Part { number, content })
                    if (number as u64) < size.div_ceil(PART_BYTES) =>
                {
                    parts.insert(number, content);
                }
                // The last line may have been cut off.
                _ => {}
            }
        }
        if self.upload.is_none() {
            parts.clear();
        }
    }

    fn note(&self, line: &Line) {
        match line {
            Line::Upload { .. } => lock(&self.parts).clear(),
            Line::Part { number, content } => {
                lock(&self.parts).insert(*number, content.clone());
            }
        }
        if let (Some(file), Ok(mut text)) = (&self.file, serde_json::to_string(line)) {
            text.push('\n');
            // What is not written down is sent again.
            let _ = fs::write_all(&mut lock(file), text.as_bytes());
        }
    }

    fn end(&self) {
        if self.file.is_some() {
            let _ = fs::remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_survives_its_process_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uploads/x");
        let size = 3 * PART_BYTES + 5;
        let journal = Journal::open(&path, size);
        assert!(journal.upload.is_none());
        let (id, part) = ("an id".to_owned(), PART_BYTES);
        journal.note(&Line::Upload {
            id,
            bytes: size,
            part,
        });
        for number in [2, 0] {
            let content = format!("\"{number}\"");
            journal.note(&Line::Part { number, content });
        }
        // Nobody else writes it meanwhile.
        assert!(Journal::open(&path, size).upload.is_none());
        drop(journal);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"Part\":{\"number\":1,\"con");
        std::fs::write(&path, &text).unwrap();
        let journal = Journal::open(&path, size);
        assert_eq!(journal.upload.as_deref(), Some("an id"));
        assert_eq!(
            lock(&journal.parts).keys().copied().collect::<Vec<_>>(),
            [0, 2]
        );
        drop(journal);
        // Of another file it says nothing.
        assert!(Journal::open(&path, size + 1).upload.is_none());
        assert_eq!(part_of(3, size), (3 * PART_BYTES, 5));
    }
}
