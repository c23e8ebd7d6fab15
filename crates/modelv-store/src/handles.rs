//! Files that are kept open to be read: a bounded number of them in the whole process, however many
//! packs there are.
//!
//! A file that has not been read for a while is closed, and opened again when it is read the next
//! time; it may have been collected by then. Must never write, nor keep a file open whose [`Handle`] is
//! gone.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::process::{Resource, getrlimit};

/// Kept open where the limit of the process is not known, and at most.
const OPEN_MAX: u64 = 2048;
/// Kept open even under the smallest limit.
const OPEN_MIN: u64 = 16;

/// A file that can be read whenever it is asked for, and is open only now and then.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    path: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    /// Whether it was read since somebody last looked for a file to close.
    used: AtomicBool,
}

/// All files of the process that are kept open, in the order in which they are looked at to be
/// closed.
static OPEN: Mutex<VecDeque<Weak<Slot>>> = Mutex::new(VecDeque::new());

/// A third of the files that the process may have open; the rest is for those who write.
fn most() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile).current;
        let part = limit.map_or(OPEN_MAX, |limit| limit / 3);
        usize::try_from(part.clamp(OPEN_MIN, OPEN_MAX)).unwrap_or(16)
    })
}

impl Handle {
    /// Opens a file.
    ///
    /// # Errors
    /// It is missing, or can't be opened.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let handle = Self(Arc::new(Slot {
            path,
            file: Mutex::new(None),
            used: AtomicBool::new(true),
        }));
        handle.file()?;
        Ok(handle)
    }

    /// The open file. It stays open for as long as the caller keeps it.
    ///
    /// # Errors
    /// It is not there any more, or can't be opened.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        let slot = &self.0;
        slot.used.store(true, Ordering::Relaxed);
        if let Some(file) = &*slot.lock() {
            return Ok(Arc::clone(file));
        }
        // Made room for before it is opened, so that the limit holds meanwhile too.
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut open, most() - 1);
        let mut held = slot.lock();
        if let Some(file) = &*held {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(&slot.path)?);
        *held = Some(Arc::clone(&file));
        drop(held);
        open.push_back(Arc::downgrade(slot));
        Ok(file)
    }
}

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes files until at most so many are open: those first that were not read lately.
fn make_room(open: &mut VecDeque<Weak<Slot>>, most: usize) {
    if open.len() > most {
        open.retain(|slot| slot.strong_count() > 0);
    }
    // Whoever was read lately is passed over once.
    let mut passes = open.len();
    while open.len() > most {
        let Some(next) = open.pop_front() else { return };
        let Some(slot) = next.upgrade() else { continue };
        if passes > 0 && slot.used.swap(false, Ordering::Relaxed) {
            passes -= 1;
            open.push_back(next);
        } else {
            *slot.lock() = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn read(handle: &Handle) -> u8 {
        let mut byte = [0];
        handle.file().unwrap().read_exact_at(&mut byte, 0).unwrap();
        byte[0]
    }

    fn is_open(handle: &Handle) -> bool {
        handle.0.lock().is_some()
    }

    #[test]
    fn what_was_not_read_lately_is_closed_first_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let handles: Vec<Handle> = (0..8u8)
            .map(|n| {
                let path = dir.path().join(n.to_string());
                std::fs::write(&path, [n]).unwrap();
                Handle::open(path).unwrap()
            })
            .collect();
        let mut queue: VecDeque<Weak<Slot>> =
            handles.iter().map(|h| Arc::downgrade(&h.0)).collect();
        for handle in &handles[..6] {
            handle.0.used.store(false, Ordering::Relaxed);
        }
        make_room(&mut queue, 3);
        let open: Vec<bool> = handles.iter().map(is_open).collect();
        assert_eq!(open.iter().filter(|o| **o).count(), 3, "{open:?}");
        assert!(open[6] && open[7]);
        for (n, handle) in (0..).zip(&handles) {
            assert_eq!(read(handle), n);
        }
        // One that is nobody's any more takes no room.
        let mut queue: VecDeque<Weak<Slot>> =
            handles.iter().map(|h| Arc::downgrade(&h.0)).collect();
        drop(handles);
        make_room(&mut queue, 0);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_file_that_is_gone_says_so_when_it_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7]).unwrap();
        let handle = Handle::open(path.clone()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&handle), 7);
        *handle.0.lock() = None;
        assert_eq!(handle.file().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
