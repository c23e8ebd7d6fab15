//! Files of a merge that are too large for memory: merged in pieces into files that nobody else
//! sees, and stored when the merge is. Must never hold one in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Seek, SeekFrom};

use modelv_core::driver::{self, Item, Joined, Labels, Scratch, Source, TableError};
use modelv_core::id::BlobId;
use modelv_core::merge::{Large, Outcome, Side};
use modelv_core::path::RepoPath;
use modelv_store::Session;

use super::Work;
use super::state::ConflictState;
use crate::diff::aside::Aside;
use crate::error::{Error, Result};
use crate::repo::{DOCUMENT_BYTES_MAX, Repo};

/// A merged file that is not stored.
pub(super) struct Unstored {
    content: RefCell<Box<dyn Scratch>>,
    /// What it is most like.
    like: Option<BlobId>,
}

/// Contents of a merge that are not stored.
#[derive(Default)]
pub(crate) struct Contents {
    pub(super) bytes: HashMap<BlobId, Vec<u8>>,
    pub(super) files: HashMap<BlobId, Unstored>,
}

/// Decisions about parts of large files, which are put into each at once.
pub(super) type Decisions = BTreeMap<RepoPath, Vec<(Item, Option<String>)>>;

fn sized(path: &RepoPath, sides: [Option<Side>; 3], reason: &str) -> String {
    if sides.iter().flatten().all(|s| s.size <= DOCUMENT_BYTES_MAX) {
        return format!("{path}: {reason}, merged as a whole");
    }
    let mib = DOCUMENT_BYTES_MAX >> 20;
    format!("{path} is larger than {mib} MiB: {reason}, merged as a whole")
}

impl Repo {
    /// Merges base, ours and theirs; or says why not.
    pub(super) fn merge_large(
        &self,
        path: &RepoPath,
        sides: [Option<Side>; 3],
        (key, labels): (Option<&str>, &Labels<'_>),
        made: &Contents,
        new: &mut HashMap<BlobId, Unstored>,
    ) -> Result<std::result::Result<Large, String>> {
        if !driver::claims_format(path.as_bytes()) {
            return Ok(Err(sized(path, sides, "its lines are not compared")));
        }
        let like = sides[1].map(|side| side.blob);
        let found = self.join(path, sides, (key, labels), made);
        match found {
            Ok(Joined { content, conflicts }) => {
                let (blob, size, file) = unstored(content, like)?;
                new.insert(blob, file);
                Ok(Ok(Large {
                    blob,
                    size,
                    conflicts,
                }))
            }
            Err(TableError::Refused(why)) => Ok(Err(sized(path, sides, &why.to_string()))),
            Err(TableError::Io(e)) => Err(Error::io("merge", path.to_string())(e)),
        }
    }

    fn join(
        &self,
        path: &RepoPath,
        sides: [Option<Side>; 3],
        (key, labels): (Option<&str>, &Labels<'_>),
        made: &Contents,
    ) -> std::result::Result<Joined, TableError> {
        let borrowed = sides.map(|side| Some(made.files.get(&side?.blob)?.content.borrow_mut()));
        let mut opened: Vec<Option<Box<dyn Source + '_>>> = Vec::with_capacity(3);
        for (side, file) in sides.into_iter().zip(borrowed) {
            opened.push(match (side, file) {
                (None, _) => None,
                (Some(_), Some(file)) => Some(Box::new(AsSource(file))),
                (Some(side), None) => Some(match made.bytes.get(&side.blob) {
                    Some(bytes) => Box::new(Cursor::new(bytes.as_slice())),
                    None => {
                        let opened = self.store.open_blob(&side.blob);
                        Box::new(opened.map_err(std::io::Error::other)?)
                    }
                }),
            });
        }
        let mut all = opened.into_iter();
        let [mut b, mut o, mut t] = std::array::from_fn(|_| all.next().flatten());
        let sides =
            [&mut b, &mut o, &mut t].map(|s| s.as_mut().map(|s| &mut **s as &mut dyn Source));
        driver::merge_large(path.as_bytes(), key, sides, labels, &mut Aside::default())
    }

    /// Stores the contents of a base that no commit holds, as far as conflicts show them: they must
    /// be there when somebody decides.
    pub(super) fn store_bases(&self, made: &Contents, conflicts: &[ConflictState]) -> Result<()> {
        let session = self.store.begin()?;
        for stored in conflicts.iter().filter_map(|c| c.base_file.as_ref()) {
            let side = stored.side()?;
            if let Some(bytes) = made.bytes.get(&side.blob) {
                session.put_blob(&mut bytes.as_slice(), side.size)?;
            } else if let Some(file) = made.files.get(&side.blob) {
                store(file, side.size, &session)?;
            }
        }
        Ok(session.finish().map(drop)?)
    }

    /// Puts decisions about parts into the large files of a merge.
    pub(super) fn settle_large(&self, work: &mut Work, decisions: Decisions) -> Result<()> {
        for (path, decisions) in decisions {
            let Some(Outcome::Keep(side)) = work.files.get(&path) else {
                continue;
            };
            let (side, mut room) = (*side, Aside::default());
            // It stays: the same content may stand at another path.
            let Some(file) = work.large.get(&side.blob) else {
                continue;
            };
            let mut source = AsSource(file.content.borrow_mut());
            let settled = driver::settle_large(path.as_bytes(), &mut source, &decisions, &mut room);
            let settled = settled.map_err(|e| undecided(&path, e))?;
            drop(source);
            let (blob, size, file) = unstored(settled, file.like)?;
            work.large.insert(blob, file);
            work.files
                .insert(path, Outcome::Keep(Side { blob, size, ..side }));
        }
        Ok(())
    }

    /// Puts one decision into a large file of the working tree.
    pub(super) fn settle_large_part(
        &self,
        conflict: &ConflictState,
        item: Item,
        value: Option<String>,
    ) -> Result<()> {
        let path = conflict.repo_path()?;
        let full = crate::worktree::place(self.root(), &path);
        let mut file = std::fs::File::open(&full).map_err(Error::io("read", &full))?;
        let (decisions, mut room) = ([(item, value)], Aside::default());
        let settled = driver::settle_large(path.as_bytes(), &mut file, &decisions, &mut room);
        let mut settled = settled.map_err(|e| undecided(&path, e))?;
        let start = settled.seek(SeekFrom::Start(0));
        start.map_err(Error::io("read", &full))?;
        crate::worktree::replace_file_from(self.root(), &path, &mut settled)
    }
}

/// Stores one that is not stored.
pub(super) fn store(file: &Unstored, size: u64, session: &Session<'_>) -> Result<BlobId> {
    let mut content = file.content.borrow_mut();
    let start = content.seek(SeekFrom::Start(0));
    start.map_err(Error::io("read", "a merged file"))?;
    let like = file.like.as_ref();
    Ok(session.put_file(&mut AsSource(content), size, like)?.0)
}

fn unstored(
    mut content: Box<dyn Scratch>,
    like: Option<BlobId>,
) -> Result<(BlobId, u64, Unstored)> {
    let mut hasher = blake3::Hasher::new();
    let start = content.seek(SeekFrom::Start(0));
    let read = start.and_then(|_| hasher.update_reader(&mut content).map(drop));
    read.map_err(Error::io("read", "a merged file"))?;
    let content = RefCell::new(content);
    let blob = BlobId(*hasher.finalize().as_bytes());
    Ok((blob, hasher.count(), Unstored { content, like }))
}

fn undecided(path: &RepoPath, e: TableError) -> Error {
    match e {
        TableError::Refused(why) => Error::invalid("decision", path.to_string(), why.to_string()),
        TableError::Io(e) => Error::io("write", path.to_string())(e),
    }
}

/// A result, read as one side.
struct AsSource<T>(T);

impl<T: std::ops::DerefMut<Target = Box<dyn Scratch>>> std::io::Read for AsSource<T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<T: std::ops::DerefMut<Target = Box<dyn Scratch>>> Seek for AsSource<T> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}
