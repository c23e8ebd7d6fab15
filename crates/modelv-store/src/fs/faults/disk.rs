//! A disk as a power cut may leave it: what was recorded, replayed to some call, with any part of
//! what was not synced.
//!
//! The disk is as unkind as POSIX allows, which real file systems are not: a name is lost, old or
//! new until its directory is synced, whatever else was synced; unsynced writes land in any order,
//! sector by sector; a file may have its new length without its new content, which then reads as
//! zeros. Two things are kept, as every journaling file system does: a rename is never seen half
//! done within a directory, and a file that moved to another directory is in at least one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Call;

/// What a disk writes as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir,
    /// Number of the file's content.
    File(usize),
    Link(PathBuf),
}

/// One thing that happened.
#[derive(Debug, Clone)]
enum Event {
    /// Names that change at once; a later one is not without the first.
    Names(Vec<(PathBuf, Option<Node>)>),
    Write(usize, u64, Arc<[u8]>),
    SetLen(usize, u64),
    Sync(usize, PathBuf),
    SyncDir(PathBuf),
    /// Something was promised to somebody.
    Ack(u64),
    /// The user made folders and a file, and they count as durable.
    Given(Vec<PathBuf>, PathBuf, usize),
}

/// A recording.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
    names: BTreeMap<PathBuf, Node>,
    first: Replay,
    contents: Vec<Arc<Content>>,
    lens: Vec<u64>,
    events: Vec<Event>,
}

/// Files, directories and links as they might be found after a power cut. Paths are relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    entries: BTreeMap<PathBuf, Found>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Dir,
    File(Arc<Content>),
    Link(PathBuf),
}

/// What is in a file. Shared by all states that have it, so that it is hashed once.
#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    hash: OnceLock<[u8; 32]>,
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Content {}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        let hash = OnceLock::new();
        Self { bytes, hash }
    }
}

impl Content {
    fn hash(&self) -> &[u8; 32] {
        let make = || *blake3::hash(&self.bytes).as_bytes();
        self.hash.get_or_init(make)
    }
}

impl Disk {
    /// A disk that holds durably what is in a folder.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let mut disk = Self {
            root: root.to_owned(),
            names: BTreeMap::new(),
            first: Replay::default(),
            contents: Vec::new(),
            lens: Vec::new(),
            events: Vec::new(),
        };
        for (path, found) in Image::read(root)?.entries {
            let node = match found {
                Found::Dir => Node::Dir,
                Found::Link(target) => Node::Link(target),
                Found::File(bytes) => Node::File(disk.new_file(bytes)),
            };
            disk.names.insert(path, node);
        }
        disk.first.names = disk.names.clone();
        disk.first.files = disk.contents.iter().map(Inode::of).collect();
        Ok(disk)
    }

    fn new_file(&mut self, bytes: Arc<Content>) -> usize {
        self.lens.push(bytes.bytes.len() as u64);
        self.contents.push(bytes);
        self.contents.len() - 1
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    fn file(&self, path: &Path) -> Option<usize> {
        match self.names.get(&self.inside(path)?) {
            Some(Node::File(number)) => Some(*number),
            _ => None,
        }
    }

    fn rename(&mut self, changes: Vec<(PathBuf, Option<Node>)>) {
        for (path, node) in &changes {
            match node {
                Some(node) => self.names.insert(path.clone(), node.clone()),
                None => self.names.remove(path),
            };
        }
        self.events.push(Event::Names(changes));
    }

    /// Notes a call that succeeded.
    pub(super) fn note(&mut self, call: &Call<'_>, path: &Path, wrote: usize) {
        match call {
            Call::Create(path) => self.create(path),
            Call::Open(path) if self.file(path).is_none() => self.create(path),
            Call::MakeDir(path) => self.put(path, Some(Node::Dir)),
            Call::Link(path, to) => self.put(path, Some(Node::Link((*to).to_owned()))),
            Call::Remove(path) => self.put(path, None),
            Call::Rename(from, to) => {
                let (Some(from), Some(to)) = (self.inside(from), self.inside(to)) else {
                    return;
                };
                let node = self.names.get(&from).cloned();
                assert!(
                    !matches!(node, Some(Node::Dir)),
                    "the simulated disk does not rename directories: {from:?}"
                );
                self.rename(vec![(to, node), (from, None)]);
            }
            Call::Exchange(a, b) => {
                let (Some(a), Some(b)) = (self.inside(a), self.inside(b)) else {
                    return;
                };
                let [x, y] = [&a, &b].map(|name| self.names.get(name).cloned());
                self.rename(vec![(b, x), (a, y)]);
            }
            Call::Write(file, at, bytes) => self.write(path, file, *at, &bytes[..wrote]),
            Call::SetLen(_, len) => {
                if let Some(number) = self.file(path) {
                    self.lens[number] = *len;
                    self.events.push(Event::SetLen(number, *len));
                }
            }
            Call::Sync(_) => {
                if let (Some(number), Some(path)) = (self.file(path), self.inside(path)) {
                    self.events.push(Event::Sync(number, path));
                }
            }
            Call::SyncDir(path) => {
                if let Some(path) = self.inside(path) {
                    self.events.push(Event::SyncDir(path));
                }
            }
            Call::Open(_) | Call::Other(_) => {}
        }
    }

    fn create(&mut self, path: &Path) {
        if let Some(number) = self.file(path) {
            self.lens[number] = 0;
            self.events.push(Event::SetLen(number, 0));
        } else {
            let number = self.new_file(Arc::default());
            self.put(path, Some(Node::File(number)));
        }
    }

    fn put(&mut self, path: &Path, node: Option<Node>) {
        if let Some(path) = self.inside(path) {
            self.rename(vec![(path, node)]);
        }
    }

    fn write(&mut self, path: &Path, file: &std::fs::File, at: Option<u64>, bytes: &[u8]) {
        use std::io::Seek;
        // A file without a name is in no crash state.
        let Some(number) = self.file(path) else {
            return;
        };
        let end = || (&*file).stream_position().unwrap_or_default();
        let at = at.unwrap_or_else(|| end() - bytes.len() as u64);
        let len = &mut self.lens[number];
        *len = (*len).max(at + bytes.len() as u64);
        self.events.push(Event::Write(number, at, bytes.into()));
    }

    /// Notes that something was promised: it must hold in every state from here on.
    pub fn ack(&mut self, number: u64) {
        self.events.push(Event::Ack(number));
    }

    /// Notes a file that the user made or changed by other means: it counts as durable.
    ///
    /// # Errors
    /// It can't be read.
    pub fn give(&mut self, path: &Path) -> io::Result<()> {
        let bytes = std::fs::read(path)?;
        if let Some(inside) = self.inside(path) {
            let number = self.new_file(Arc::new(bytes.into()));
            let above = inside.ancestors().skip(1);
            let new = |dir: &&Path| !dir.as_os_str().is_empty() && !self.names.contains_key(*dir);
            let dirs: Vec<PathBuf> = above.filter(new).map(Path::to_owned).collect();
            self.names
                .extend(dirs.iter().map(|d| (d.clone(), Node::Dir)));
            self.names.insert(inside.clone(), Node::File(number));
            self.events.push(Event::Given(dirs, inside, number));
        }
        Ok(())
    }

    /// Number of things that happened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Every place where something was synced: a name for it, to leave it out.
    #[must_use]
    pub fn syncs(&self) -> BTreeSet<String> {
        self.events.iter().filter_map(sync_name).collect()
    }

    /// The same recording as if the syncs with this name were not there.
    #[must_use]
    pub fn without(&self, sync: &str) -> Self {
        let mut out = self.clone();
        out.events
            .retain(|e| sync_name(e).is_none_or(|name| name != sync));
        out
    }

    /// What has been made of the disk, without a power cut.
    #[must_use]
    pub fn now(&self) -> Image {
        let mut replay = self.start();
        while replay.step() {}
        replay.image(&mut Keep::All)
    }

    /// A replay from the beginning.
    #[must_use]
    pub fn start(&self) -> Replay {
        let mut replay = self.first.clone();
        replay.disk = Some(Arc::new(self.clone()));
        replay
    }
}

/// A name for the place of a sync: what is made of hashes and random numbers is left out of it.
fn sync_name(event: &Event) -> Option<String> {
    let (what, path) = match event {
        Event::Sync(_, path) => ("file", path),
        Event::SyncDir(path) => ("folder", path),
        _ => return None,
    };
    let parts = path.iter().map(|part| {
        let part = part.to_string_lossy();
        let is_id = |s: &str| s.len() >= 32 && s.bytes().all(|b| b.is_ascii_hexdigit());
        match part.rsplit_once('.') {
            _ if part.starts_with("tmp-") => "tmp-*".to_owned(),
            Some((stem, kind)) if is_id(stem) => format!("*.{kind}"),
            None if is_id(&part) => "*".to_owned(),
            _ => part.split(".tmp-").next().unwrap_or_default().to_owned(),
        }
    });
    let path: PathBuf = parts.collect();
    Some(format!("{what} {}", path.display()))
}

/// An unsynced change of a name.
#[derive(Debug, Clone)]
struct Change {
    id: u64,
    path: PathBuf,
    node: Option<Node>,
    /// It is not seen without this one.
    needs: Option<u64>,
}

impl Change {
    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// An unsynced change of a file's content.
#[derive(Debug, Clone)]
enum Edit {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Arc<Content>,
    edits: Vec<Edit>,
}

impl Inode {
    fn of(bytes: &Arc<Content>) -> Self {
        Self {
            durable: Arc::clone(bytes),
            edits: Vec::new(),
        }
    }
}

/// A recording at some moment: what is durable by then, and what may be.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    disk: Option<Arc<Disk>>,
    at: usize,
    acked: Option<u64>,
    names: BTreeMap<PathBuf, Node>,
    changes: Vec<Change>,
    files: Vec<Inode>,
    next: u64,
}

/// What of the unsynced is kept in a state.
#[derive(Debug)]
pub enum Keep<'a> {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// All names and lengths, no content.
    Names,
    /// All content, no names.
    Contents,
    /// Everything but the last bytes of the last write, of which so many sectors are there.
    Torn(usize),
    /// Whatever chance says.
    Any(&'a mut Chance),
}

/// Numbers that look random and are the same for the same seed.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end.max(1)
    }

    fn hits(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Replay {
    /// Goes one event on; `false` at the end.
    pub fn step(&mut self) -> bool {
        let Some(event) = self
            .disk
            .as_ref()
            .and_then(|d| d.events.get(self.at))
            .cloned()
        else {
            return false;
        };
        self.at += 1;
        match event {
            Event::Names(changes) => self.change(changes),
            Event::Write(file, at, bytes) => self.inode(file).edits.push(Edit::Write(at, bytes)),
            Event::SetLen(file, len) => self.inode(file).edits.push(Edit::SetLen(len)),
            Event::Sync(file, _) => {
                let inode = self.inode(file);
                inode.durable = content(inode, &mut Keep::All, false);
                inode.edits.clear();
            }
            Event::SyncDir(dir) => self.sync_dir(&dir),
            Event::Ack(number) => self.acked = Some(number),
            Event::Given(dirs, path, file) => {
                self.names.extend(dirs.into_iter().map(|d| (d, Node::Dir)));
                let bytes = self.disk.as_ref().map(|d| Arc::clone(&d.contents[file]));
                *self.inode(file) = Inode::of(&bytes.unwrap_or_default());
                self.changes.retain(|c| c.path != path);
                self.names.insert(path, Node::File(file));
            }
        }
        true
    }

    /// The last promise that was made.
    #[must_use]
    pub fn acked(&self) -> Option<u64> {
        self.acked
    }

    /// Number of unsynced changes.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.changes.len() + self.files.iter().map(|f| f.edits.len()).sum::<usize>()
    }

    /// Sectors of the last write, if it is not synced.
    #[must_use]
    pub fn last_sectors(&self) -> usize {
        match self.last_write() {
            Some((_, len)) => len.div_ceil(SECTOR_BYTES),
            None => 0,
        }
    }

    fn last_write(&self) -> Option<(usize, usize)> {
        let last = self.at.checked_sub(1)?;
        match self.disk.as_ref()?.events.get(last)? {
            Event::Write(file, _, bytes) => Some((*file, bytes.len())),
            _ => None,
        }
    }

    fn inode(&mut self, number: usize) -> &mut Inode {
        if self.files.len() <= number {
            self.files.resize_with(number + 1, Inode::default);
        }
        &mut self.files[number]
    }

    fn change(&mut self, changes: Vec<(PathBuf, Option<Node>)>) {
        let mut needs = None;
        for (path, node) in changes {
            let id = self.next;
            self.next += 1;
            self.changes.push(Change {
                id,
                path,
                node,
                needs,
            });
            needs = Some(id);
        }
    }

    fn sync_dir(&mut self, dir: &Path) {
        let mut chosen: BTreeSet<u64> = self
            .changes
            .iter()
            .filter(|c| c.dir() == dir)
            .map(|c| c.id)
            .collect();
        complete(&self.changes, &mut chosen);
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            if chosen.contains(&change.id) {
                apply(&mut self.names, &change);
            } else {
                self.changes.push(change);
            }
        }
    }

    /// The disk after a power cut now.
    #[must_use]
    pub fn image(&self, keep: &mut Keep<'_>) -> Image {
        let mut chosen: BTreeSet<u64> = BTreeSet::new();
        for change in &self.changes {
            let take = match keep {
                Keep::All | Keep::Names | Keep::Torn(_) => true,
                Keep::None | Keep::Contents => false,
                Keep::Any(chance) => chance.hits(50),
            };
            if take {
                chosen.insert(change.id);
            }
        }
        complete(&self.changes, &mut chosen);
        let mut names = self.names.clone();
        for change in self.changes.iter().filter(|c| chosen.contains(&c.id)) {
            apply(&mut names, change);
        }
        let torn = self.last_write().map(|(file, _)| file);
        let mut entries = BTreeMap::new();
        for (path, node) in names {
            // What lies in a folder that is lost is lost with it. Parents come first.
            let parent = path.parent().unwrap_or(Path::new(""));
            let is_seen =
                parent.as_os_str().is_empty() || matches!(entries.get(parent), Some(Found::Dir));
            if !is_seen {
                continue;
            }
            let found = match node {
                Node::Dir => Found::Dir,
                Node::Link(target) => Found::Link(target),
                Node::File(number) => {
                    let empty = Inode::default();
                    let inode = self.files.get(number).unwrap_or(&empty);
                    Found::File(content(inode, keep, torn == Some(number)))
                }
            };
            entries.insert(path, found);
        }
        Image { entries }
    }
}

/// Adds to a choice what it can't be without: earlier changes of the same names, and the new name
/// of a file whose old one goes.
fn complete(changes: &[Change], chosen: &mut BTreeSet<u64>) {
    loop {
        let before = chosen.len();
        for (i, change) in changes.iter().enumerate() {
            if chosen.contains(&change.id) {
                chosen.extend(change.needs.filter(|n| changes.iter().any(|c| c.id == *n)));
                let earlier = changes[..i].iter().filter(|c| c.path == change.path);
                chosen.extend(earlier.map(|c| c.id));
            }
        }
        if chosen.len() == before {
            return;
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match &change.node {
        Some(node) => names.insert(change.path.clone(), node.clone()),
        None => names.remove(&change.path),
    };
}

/// The content of a file with some of its unsynced changes.
fn content(inode: &Inode, keep: &mut Keep<'_>, is_last: bool) -> Arc<Content> {
    if inode.edits.is_empty() || matches!(keep, Keep::None) {
        return Arc::clone(&inode.durable);
    }
    let mut out = inode.durable.bytes.clone();
    // How likely a sector is there differs from state to state: mostly, half, hardly.
    let odds = match keep {
        Keep::Any(chance) => match chance.below(3) {
            0 => 90,
            1 => 50,
            _ => 10,
        },
        _ => 100,
    };
    for (i, edit) in inode.edits.iter().enumerate() {
        match edit {
            Edit::SetLen(len) => {
                let take = match keep {
                    Keep::Any(chance) => chance.hits(50),
                    _ => true,
                };
                if take {
                    out.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0);
                }
            }
            Edit::Write(at, bytes) => {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                let is_torn = is_last && i + 1 == inode.edits.len();
                write_sectors(&mut out, at, bytes, keep, odds, is_torn);
            }
        }
    }
    Arc::new(out.into())
}

fn write_sectors(
    out: &mut Vec<u8>,
    at: usize,
    bytes: &[u8],
    keep: &mut Keep<'_>,
    odds: u64,
    is_torn: bool,
) {
    let long = match keep {
        Keep::Any(chance) => chance.hits(50),
        _ => true,
    };
    if long && out.len() < at + bytes.len() {
        out.resize(at + bytes.len(), 0);
    }
    let mut done = 0;
    let mut number = 0;
    while done < bytes.len() {
        let room = SECTOR_BYTES - (at + done) % SECTOR_BYTES;
        let n = room.min(bytes.len() - done);
        let take = match keep {
            Keep::All | Keep::Contents => true,
            Keep::None | Keep::Names => false,
            Keep::Torn(sectors) => !is_torn || number < *sectors,
            Keep::Any(chance) => chance.hits(odds),
        };
        if take {
            if out.len() < at + done + n {
                out.resize(at + done + n, 0);
            }
            out[at + done..at + done + n].copy_from_slice(&bytes[done..done + n]);
        }
        done += n;
        number += 1;
    }
}

impl Image {
    /// What is in a folder.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let path = entry?.path();
                let meta = std::fs::symlink_metadata(&path)?;
                let found = if meta.is_dir() {
                    dirs.push(path.clone());
                    Found::Dir
                } else if meta.is_symlink() {
                    Found::Link(std::fs::read_link(&path)?)
                } else {
                    Found::File(Arc::new(std::fs::read(&path)?.into()))
                };
                let inside = path.strip_prefix(root).map_err(io::Error::other)?;
                entries.insert(inside.to_owned(), found);
            }
        }
        Ok(Self { entries })
    }

    /// Makes a folder hold this and nothing else.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        if root.exists() {
            std::fs::remove_dir_all(root)?;
        }
        std::fs::create_dir_all(root)?;
        for (path, found) in &self.entries {
            let full = root.join(path);
            match found {
                Found::Dir => std::fs::create_dir(&full)?,
                Found::File(content) => std::fs::write(&full, &content.bytes)?,
                Found::Link(target) => std::os::unix::fs::symlink(target, &full)?,
            }
        }
        Ok(())
    }

    /// What is below a folder, or nothing.
    #[must_use]
    pub fn below(&self, dir: &Path) -> Self {
        let inside = |path: &PathBuf| path.strip_prefix(dir).ok().map(Path::to_owned);
        let entries = self
            .entries
            .iter()
            .filter_map(|(path, found)| Some((inside(path)?, found.clone())))
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .collect();
        Self { entries }
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Paths of all files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.entries.iter();
        files.filter_map(|(path, found)| matches!(found, Found::File(_)).then_some(path.as_path()))
    }

    /// Tells images apart.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (path, found) in &self.entries {
            hasher.update(path.as_os_str().as_encoded_bytes());
            match found {
                Found::Dir => hasher.update(b"/\0"),
                Found::Link(to) => hasher
                    .update(b"@\0")
                    .update(to.as_os_str().as_encoded_bytes()),
                Found::File(content) => hasher.update(b":\0").update(content.hash()),
            };
        }
        *hasher.finalize().as_bytes()
    }

    /// Paths at which two images differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<PathBuf> {
        let paths: BTreeSet<&PathBuf> = self.entries.keys().chain(other.entries.keys()).collect();
        paths
            .into_iter()
            .filter(|p| self.entries.get(*p) != other.entries.get(*p))
            .cloned()
            .collect()
    }

    /// The content of a file.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        match self.entries.get(path)? {
            Found::File(content) => Some(&content.bytes),
            _ => None,
        }
    }
}
