//! Answers to the kernel. Whatever can't be read is an I/O error for who asked, and for nobody else.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, Request,
};
use modelv_repo::core::id::BlobId;
use modelv_store::{ChunkCache, Places};

use crate::OnError;
use crate::nodes::{Child, Kind, Node, Nodes};

/// How long the kernel may keep what it was told: a commit does not change.
const FOREVER: Duration = Duration::from_secs(1 << 24);
/// What `statfs` calls a block.
const BLOCK_BYTES: u32 = 4096;
/// Longest target a link can have.
const TARGET_BYTES_MAX: u64 = 4095;

/// A commit as the kernel sees it.
pub(crate) struct Commit {
    nodes: Nodes,
    cache: Arc<ChunkCache>,
    /// When the commit was made: the time of everything in it.
    time: SystemTime,
    owner: (u32, u32),
    open: Mutex<HashMap<u64, Arc<Places>>>,
    next_handle: AtomicU64,
    on_error: OnError,
}

impl Commit {
    pub(crate) fn new(
        nodes: Nodes,
        cache: Arc<ChunkCache>,
        time: SystemTime,
        on_error: OnError,
    ) -> Self {
        let owner = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        Self {
            nodes,
            cache,
            time,
            owner,
            open: Mutex::default(),
            next_handle: AtomicU64::new(1),
            on_error,
        }
    }

    fn open_files(&self) -> MutexGuard<'_, HashMap<u64, Arc<Places>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, ino: INodeNo) -> Result<Arc<Node>, Errno> {
        self.nodes.get(ino.0).ok_or(Errno::ENOENT)
    }

    /// Says what went wrong where people see it; programs get the number.
    fn fail(&self, node: &Node, error: &dyn std::error::Error) -> Errno {
        let path = node.path.as_ref();
        let path = path.map_or_else(|| "/".to_owned(), ToString::to_string);
        let mut text = format!("`{path}`: {error}");
        let mut cause = error.source();
        while let Some(e) = cause {
            text.push_str(&format!(": {e}"));
            cause = e.source();
        }
        (self.on_error)(&text);
        Errno::EIO
    }

    fn children(&self, node: &Node) -> Result<Arc<Vec<Child>>, Errno> {
        match self.nodes.children(node) {
            Ok(Some(children)) => Ok(children),
            Ok(None) => Err(Errno::ENOTDIR),
            Err(e) => Err(self.fail(node, &e)),
        }
    }

    fn attributes(&self, node: &Node) -> FileAttr {
        let (perm, size, nlink) = match &node.kind {
            Kind::Dir(_) => (0o755, 0, 2),
            Kind::Link { .. } => (0o777, node.size, 1),
            Kind::File { is_executable, .. } => {
                let perm = if *is_executable { 0o755 } else { 0o644 };
                (perm, node.size, 1)
            }
        };
        FileAttr {
            ino: INodeNo(node.ino),
            size,
            blocks: size.div_ceil(512),
            atime: self.time,
            mtime: self.time,
            ctime: self.time,
            crtime: self.time,
            kind: node.kind.file_type(),
            perm,
            nlink,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }

    /// Finds a content; packs may have been put together anew since the store was opened.
    fn places(&self, node: &Node, blob: &BlobId) -> Result<Places, Errno> {
        let store = self.nodes.repo.store();
        Places::find(store, blob)
            .or_else(|_| store.refresh().and_then(|()| Places::find(store, blob)))
            .map_err(|e| self.fail(node, &e))
    }

    fn bytes(
        &self,
        node: &Node,
        places: &Places,
        position: u64,
        size: usize,
    ) -> Result<Vec<u8>, Errno> {
        let store = self.nodes.repo.store();
        let mut buf = vec![0; size];
        let mut read = self.cache.read_at(store, places, position, &mut buf);
        if read.is_err() && store.refresh().is_ok() {
            read = self.cache.read_at(store, places, position, &mut buf);
        }
        let n = read.map_err(|e| self.fail(node, &e))?;
        buf.truncate(n);
        Ok(buf)
    }

    fn target(&self, ino: INodeNo) -> Result<Vec<u8>, Errno> {
        let node = self.node(ino)?;
        let Kind::Link { blob } = &node.kind else {
            return Err(Errno::EINVAL);
        };
        let places = self.places(&node, blob)?;
        if places.size() > TARGET_BYTES_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let size = usize::try_from(places.size()).unwrap_or(0);
        self.bytes(&node, &places, 0, size)
    }

    fn open_file(&self, ino: INodeNo) -> Result<u64, Errno> {
        let node = self.node(ino)?;
        let Kind::File { blob, .. } = &node.kind else {
            return Err(Errno::EINVAL);
        };
        let places = Arc::new(self.places(&node, blob)?);
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.open_files().insert(handle, places);
        Ok(handle)
    }
}

impl Kind {
    fn file_type(&self) -> FileType {
        match self {
            Self::Dir(_) => FileType::Directory,
            Self::Link { .. } => FileType::Symlink,
            Self::File { .. } => FileType::RegularFile,
        }
    }
}

impl Filesystem for Commit {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.node(parent).and_then(|dir| {
            let children = self.children(&dir)?;
            let at = children.binary_search_by(|c| c.name.as_slice().cmp(name.as_bytes()));
            let at = at.map_err(|_| Errno::ENOENT)?;
            Ok(self.attributes(&children[at].node))
        });
        match found {
            Ok(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
            Err(e) => reply.error(e),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(ino) {
            Ok(node) => reply.attr(&FOREVER, &self.attributes(&node)),
            Err(e) => reply.error(e),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.target(ino) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(e),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_file(ino) {
            // What the kernel has of it from an earlier open stays right.
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(e) => reply.error(e),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let open = self.open_files().get(&handle.0).map(Arc::clone);
        let read = self.node(ino).and_then(|node| {
            let places = open.ok_or(Errno::EBADF)?;
            self.bytes(&node, &places, offset, size as usize)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(e),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open_files().remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.node(ino).and_then(|dir| {
            let children = self.children(&dir)?;
            Ok((dir, children))
        });
        let (dir, children) = match listed {
            Ok(listed) => listed,
            Err(e) => return reply.error(e),
        };
        let own: [(u64, &[u8]); 2] = [(dir.ino, b"."), (dir.parent, b"..")];
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for at in start..children.len() + own.len() {
            let (ino, kind, name) = match own.get(at) {
                Some((ino, name)) => (*ino, FileType::Directory, *name),
                None => {
                    let child = &children[at - own.len()];
                    (child.node.ino, child.node.kind.file_type(), &child.name[..])
                }
            };
            if reply.add(INodeNo(ino), at as u64 + 1, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let root = self.nodes.get(crate::nodes::ROOT);
        let blocks = root.map_or(0, |r| r.size.div_ceil(u64::from(BLOCK_BYTES)));
        let known = self.nodes.len() as u64;
        reply.statfs(blocks, 0, 0, known, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
