//! Snapshots: the content ids of all files, hashing only what the stat cache does not know.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::{Adapter, Session, Store};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::origin;
use super::scan::{Group, Scan, Skipped, scan};
use super::statcache::{self, Known, Stamp, StatCache};
use super::{Files, Ingredient, Rules, SnapFile};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};

/// The working tree at one moment, as the commands see it.
#[derive(Debug)]
pub struct Snapshot {
    /// Every file.
    pub files: Files,
    /// What can't be versioned.
    pub skipped: Vec<Skipped>,
}

/// The working tree at one moment, as the walk found it: in its order, paths still in pieces.
pub struct Look {
    groups: Vec<Group>,
    /// One for each file of all groups, in order.
    blobs: Vec<BlobId>,
    /// What can't be versioned.
    pub skipped: Vec<Skipped>,
    /// The trees that the stat cache says these files are, if nothing but its rows was found.
    mark: Option<[u8; 32]>,
    /// Whether the cache does not say all of this yet.
    is_news: bool,
    /// What the walk saw other than the cache says.
    news: News,
}

/// Where the walk and the stat cache differ.
#[derive(Default)]
struct News {
    /// The trees that the rows of the cache are, if that is known.
    mark: Option<[u8; 32]>,
    /// Rows whose file is gone, or had to be read again.
    old: Vec<(RepoPath, SnapStamp)>,
    /// Files that had to be read, with their number.
    new: Vec<(RepoPath, Stamp, usize)>,
    /// Bytes that were read.
    bytes: u64,
}

type SnapStamp = (Stamp, BlobId);

/// Files that differ from those of a commit: as they were there, and as they are.
pub struct Since {
    /// In the commit.
    pub old: Files,
    /// In the working tree.
    pub new: Files,
}

/// A file whose content is not known yet, or not stored.
struct Work {
    number: usize,
    path: RepoPath,
    stamp: Stamp,
    /// Known id whose content only has to be stored.
    known: Option<BlobId>,
    /// Its content in the commit before.
    before: Option<BlobId>,
}

/// Where contents go, and what they may be stored over.
#[derive(Clone, Copy)]
pub struct Keep<'a> {
    /// Contents that the store lacks are written in it.
    pub session: &'a Session<'a>,
    /// The files of the commit before; asked only when a large file is stored.
    pub head: &'a dyn Fn() -> Option<&'a Files>,
    /// What stands for the trees of that commit in the stat cache: the store surely keeps these.
    pub mark: Option<[u8; 32]>,
}

/// What a look may read again rather than write the stat cache anew without its mark: the mark saves
/// comparing all files.
const READ_AGAIN_FILES_MAX: usize = 1000;
/// The same in bytes.
const READ_AGAIN_BYTES_MAX: u64 = 16 << 20;

/// Files below this are not stored over what they were: they would be two reads for little.
const OVER_BYTES_MIN: u64 = 1 << 20;

/// Looks at every file. Told where to keep them, contents the store lacks are stored; else they are
/// only hashed.
///
/// # Errors
/// A file can't be read, or keeps changing while it is read.
pub fn look(
    root: &Path,
    cache: &StatCache,
    keep: Option<Keep<'_>>,
    store: &Store,
    ctx: &Ctx<'_>,
) -> Result<Look> {
    let session = keep.map(|k| k.session);
    let Scan { groups, skipped } = scan(root, ctx)?;
    let mut blobs = Vec::new();
    let mut work = Vec::new();
    // Adapters that the working tree holds, by the number of their file.
    let mut adapters: Vec<(usize, RepoPath)> = Vec::new();
    let mut cursor = cache.cursor();
    let is_kept = |id: &BlobId| match keep {
        Some(keep) if keep.mark.is_some() && keep.mark == cache.mark() => Ok(true),
        _ => store.keeps_blob(id),
    };
    for group in &groups {
        let dir = group.dir.as_ref();
        for (name, stamp) in &group.files {
            let name = name.to_bytes();
            let known = cursor.find(dir.map_or(b"", RepoPath::as_bytes), name, stamp);
            let is_done = match (known, session) {
                (Some(id), Some(_)) => is_kept(&id)?,
                (known, _) => known.is_some(),
            };
            let is_adapter = keep.is_some() && origin::is_adapter(name);
            if is_adapter {
                adapters.push((blobs.len(), RepoPath::below(dir, name)?));
            }
            if !is_done {
                let path = RepoPath::below(dir, name)?;
                // Adapters stand alone: what is predicted from them reads them whole.
                let over = !is_adapter && stamp.size() >= OVER_BYTES_MIN;
                let head = keep.filter(|_| over).and_then(|k| (k.head)());
                work.push(Work {
                    number: blobs.len(),
                    before: head.and_then(|h| origin::before(h, &path, stamp.size())),
                    path,
                    stamp: *stamp,
                    known,
                });
            }
            blobs.push(known.unwrap_or(BlobId([0; 32])));
        }
    }
    let is_news = work.iter().any(|w| w.known.is_none()) || blobs.len() != cache.len();
    let news = match cache.mark() {
        Some(mark) => News::of(mark, cache, cursor.others(), &work)?,
        None => News::default(),
    };
    let is_first = |w: &Work| adapters.iter().any(|(number, _)| *number == w.number);
    let (first, rest): (Vec<_>, Vec<_>) = work.into_iter().partition(is_first);
    for (number, blob) in hash_all(root, &first, &[], session, ctx)? {
        blobs[number] = blob;
    }
    let here = adapters.into_iter();
    let here: Vec<_> = here.map(|(n, path)| (path, blobs[n])).collect();
    let adapters = match keep.filter(|_| rest.iter().any(|w| w.before.is_some())) {
        Some(keep) => origin::adapters(root, keep.session, &here, (keep.head)()),
        None => Vec::new(),
    };
    for (number, blob) in hash_all(root, &rest, &adapters, session, ctx)? {
        blobs[number] = blob;
    }
    Ok(Look {
        groups,
        blobs,
        skipped,
        mark: cache.mark().filter(|_| !is_news),
        is_news,
        news,
    })
}

impl News {
    fn of(mark: [u8; 32], cache: &StatCache, others: Vec<usize>, work: &[Work]) -> Result<Self> {
        let row = |number| {
            let row = cache.known(number)?;
            let dir = match row.dir {
                b"" => None,
                dir => Some(RepoPath::new(dir)),
            };
            Some((dir.transpose(), row))
        };
        let mut old = Vec::with_capacity(others.len());
        for (dir, row) in others.into_iter().filter_map(row) {
            let path = RepoPath::below(dir?.as_ref(), row.name)?;
            old.push((path, (row.stamp, row.blob)));
        }
        let read = work.iter().filter(|w| w.known.is_none());
        Ok(Self {
            mark: Some(mark),
            old,
            bytes: read.clone().map(|w| w.stamp.size()).sum(),
            new: read.map(|w| (w.path.clone(), w.stamp, w.number)).collect(),
        })
    }
}

impl Look {
    fn rows(&self) -> impl Iterator<Item = Known<'_>> {
        let files = self.groups.iter().flat_map(|g| {
            let dir = g.dir.as_ref().map_or(b"".as_slice(), RepoPath::as_bytes);
            g.files.iter().map(move |f| (dir, f))
        });
        files
            .zip(&self.blobs)
            .map(|((dir, (name, stamp)), blob)| Known {
                dir,
                name: name.to_bytes(),
                stamp: *stamp,
                blob: *blob,
            })
    }

    /// Whether these files are known to be the trees that `mark` stands for.
    pub fn is_known_as(&self, mark: &[u8; 32]) -> bool {
        self.mark.as_ref() == Some(mark)
    }

    /// What differs from the trees that `mark` stands for, if the stat cache knows these: then
    /// nothing else needs to be looked at.
    pub fn since(&self, mark: &[u8; 32], rules: &Rules) -> Option<Since> {
        if self.news.mark.as_ref() != Some(mark) {
            return None;
        }
        let file = |path: &RepoPath, stamp: &Stamp, blob: BlobId| SnapFile {
            ingredient: rules.classify(path).ingredient,
            mode: mode_of(stamp),
            size: stamp.size(),
            blob,
        };
        let old = self.news.old.iter();
        let old = old.map(|(path, (stamp, blob))| (path.clone(), file(path, stamp, *blob)));
        let new = self.news.new.iter();
        let new = new.map(|(path, stamp, number)| {
            let blob = self.blobs[*number];
            (path.clone(), file(path, stamp, blob))
        });
        let (mut old, mut new): (Files, Files) = (old.collect(), new.collect());
        // Read again, and the same.
        old.retain(|path, file| match new.get(path) {
            Some(now) if now == file => {
                new.remove(path);
                false
            }
            _ => true,
        });
        Some(Since { old, new })
    }

    /// The flat view, each file with its ingredient.
    ///
    /// # Errors
    /// A name breaks a rule of [`RepoPath`].
    pub fn files(&self, rules: &Rules) -> Result<Files> {
        let mut files = Vec::with_capacity(self.blobs.len());
        let mut blobs = self.blobs.iter();
        for group in &self.groups {
            for ((name, stamp), blob) in group.files.iter().zip(&mut blobs) {
                let path = RepoPath::below(group.dir.as_ref(), name.to_bytes())?;
                let file = SnapFile {
                    ingredient: rules.classify(&path).ingredient,
                    mode: mode_of(stamp),
                    size: stamp.size(),
                    blob: *blob,
                };
                files.push((path, file));
            }
        }
        Ok(files.into_iter().collect())
    }

    /// Path and content of the files whose name passes.
    ///
    /// # Errors
    /// A name breaks a rule of [`RepoPath`].
    pub fn named(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<(RepoPath, BlobId)>> {
        let mut found = Vec::new();
        let mut blobs = self.blobs.iter();
        for group in &self.groups {
            for ((name, _), blob) in group.files.iter().zip(&mut blobs) {
                if is_wanted(name.to_bytes()) {
                    let path = RepoPath::below(group.dir.as_ref(), name.to_bytes())?;
                    found.push((path, *blob));
                }
            }
        }
        Ok(found)
    }

    /// Writes the stat cache, if it does not say this already.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, cache: &Path, mark: Option<[u8; 32]>) -> Result<()> {
        if !self.is_news && (mark.is_none() || mark == self.mark) {
            return Ok(());
        }
        let is_little =
            self.news.new.len() <= READ_AGAIN_FILES_MAX && self.news.bytes <= READ_AGAIN_BYTES_MAX;
        if mark.is_none() && self.news.mark.is_some() && is_little {
            return Ok(());
        }
        statcache::write(cache, mark, self.rows())
    }
}

fn mode_of(stamp: &Stamp) -> Mode {
    if FileType::from_raw_mode(stamp.mode()) == FileType::Symlink {
        Mode::Symlink
    } else if stamp.mode() & 0o100 != 0 {
        Mode::Executable
    } else {
        Mode::File
    }
}

/// Stores one file, known to hold `blob`, over what it was in an earlier commit.
///
/// # Errors
/// It can't be read, or does not hold that any more.
pub(crate) fn keep_file(
    root: &Path,
    path: &RepoPath,
    blob: BlobId,
    before: Option<BlobId>,
    session: &Session<'_>,
    ctx: &Ctx<'_>,
) -> Result<()> {
    let full = place(root, path);
    let found = std::fs::symlink_metadata(&full).map_err(Error::io("read", &full))?;
    let work = Work {
        number: 0,
        path: path.clone(),
        stamp: Stamp::of(&found),
        known: Some(blob),
        before,
    };
    hash_one(root, &work, &[], Some(session), ctx).map(drop)
}

/// The stamp of a file or link and what it holds, stored where there is a session; `None` for
/// anything else. What the cache says of it is not read again, unless it is not stored.
///
/// # Errors
/// It can't be read, or keeps changing while it is.
pub(crate) fn hash_file(
    root: &Path,
    path: &RepoPath,
    known: &dyn Fn(&Stamp) -> Option<BlobId>,
    keep: Option<(&Session<'_>, &Store)>,
    ctx: &Ctx<'_>,
) -> Result<Option<(Stamp, SnapFile)>> {
    let full = place(root, path);
    let meta = std::fs::symlink_metadata(&full).map_err(Error::io("read", &full))?;
    let stamp = Stamp::of(&meta);
    if !meta.is_file() && !meta.is_symlink() {
        return Ok(None);
    }
    let known = known(&stamp);
    let is_done = match (known, keep) {
        (Some(blob), Some((_, store))) => store.keeps_blob(&blob)?,
        (known, _) => known.is_some(),
    };
    let blob = match known.filter(|_| is_done) {
        Some(blob) => blob,
        None => {
            ctx.cancel.check()?;
            let work = Work {
                number: 0,
                path: path.clone(),
                stamp,
                known,
                before: None,
            };
            hash_one(root, &work, &[], keep.map(|k| k.0), ctx)?
        }
    };
    let file = SnapFile {
        ingredient: Ingredient::Model,
        mode: mode_of(&stamp),
        size: stamp.size(),
        blob,
    };
    Ok(Some((stamp, file)))
}

/// Hashes (and stores) files on all cores.
fn hash_all(
    root: &Path,
    work: &[Work],
    adapters: &[Adapter],
    session: Option<&Session<'_>>,
    ctx: &Ctx<'_>,
) -> Result<Vec<(usize, BlobId)>> {
    if work.is_empty() {
        return Ok(Vec::new());
    }
    let total = work.iter().map(|w| w.stamp.size()).sum();
    ctx.progress.start(
        if session.is_some() {
            "storing"
        } else {
            "hashing"
        },
        Unit::Bytes,
        Some(total),
    );
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = ctx
                .cancel
                .check()
                .and_then(|()| hash_one(root, item, adapters, session, ctx));
            match result {
                Ok(blob) => done.push((item.number, blob)),
                Err(e) => {
                    // The others stop at their next file.
                    next.store(work.len(), Ordering::Relaxed);
                    return Err(e);
                }
            }
        }
        Ok(done)
    };
    let done: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
        let hands: Vec<_> = (0..threads.min(work.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        let join = |hand: std::thread::ScopedJoinHandle<'_, _>| {
            hand.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
        };
        hands.into_iter().map(join).collect()
    });
    ctx.progress.finish();
    let mut all = Vec::with_capacity(work.len());
    for part in done {
        all.extend(part?);
    }
    Ok(all)
}

/// Absolute place of a path in the working tree.
pub fn place(root: &Path, path: &RepoPath) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn hash_one(
    root: &Path,
    work: &Work,
    adapters: &[Adapter],
    session: Option<&Session<'_>>,
    ctx: &Ctx<'_>,
) -> Result<BlobId> {
    let path = place(root, &work.path);
    // A writer may just be finishing: the second look decides.
    for _ in 0..2 {
        if let Some(blob) = read_one(&path, work, adapters, session, ctx)?
            && work.known.is_none_or(|known| known == blob)
        {
            return Ok(blob);
        }
    }
    Err(Error::ChangedWhileRead { path })
}

/// The content of a file or link; `None` when it is not, or does not stay, what the walk saw.
fn read_one(
    path: &Path,
    work: &Work,
    adapters: &[Adapter],
    session: Option<&Session<'_>>,
    ctx: &Ctx<'_>,
) -> Result<Option<BlobId>> {
    let io = |e| Error::io("read", path)(e);
    let stays = |meta: std::io::Result<std::fs::Metadata>| {
        meta.map(|m| Stamp::of(&m) == work.stamp).map_err(io)
    };
    if mode_of(&work.stamp) == Mode::Symlink {
        let target = std::fs::read_link(path).map_err(io)?;
        let bytes = target.as_os_str().as_bytes();
        let blob = match session {
            Some(session) => session.put_blob(&mut &bytes[..], bytes.len() as u64)?.0,
            None => BlobId::of(bytes),
        };
        return Ok(stays(std::fs::symlink_metadata(path))?.then_some(blob));
    }
    // A link or a pipe may have taken its place.
    let opened = File::options()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(None),
        opened => opened.map_err(io)?,
    };
    if !stays(file.metadata())? {
        return Ok(None);
    }
    let mut counted = Counted { inner: &file, ctx };
    let blob = match session {
        Some(session) => {
            let before = work.before.as_ref();
            match session.put_file_over(&mut counted, work.stamp.size(), before, adapters) {
                Ok((blob, _)) => blob,
                Err(modelv_store::Error::Input(_)) if ctx.cancel.is_cancelled() => {
                    return Err(Error::Cancelled);
                }
                Err(modelv_store::Error::Input(source)) => return Err(io(source)),
                Err(e) => return Err(e.into()),
            }
        }
        None => hash(&mut counted).map_err(|e| match e {
            _ if ctx.cancel.is_cancelled() => Error::Cancelled,
            e => io(e),
        })?,
    };
    Ok(stays(file.metadata())?.then_some(blob))
}

fn hash(input: &mut dyn Read) -> std::io::Result<BlobId> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(BlobId(*hasher.finalize().as_bytes())),
            n => hasher.update(&buffer[..n]),
        };
    }
}

/// Tells the progress how much was read, and stops when asked to.
struct Counted<'a, 'b> {
    inner: &'a File,
    ctx: &'a Ctx<'b>,
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.ctx.cancel.is_cancelled() {
            return Err(std::io::Error::other("interrupted"));
        }
        let n = self.inner.read(buf)?;
        self.ctx.progress.advance(n as u64);
        Ok(n)
    }
}

impl Seek for Counted<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}
