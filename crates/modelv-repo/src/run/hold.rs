//! Who executes a run in the working tree. One run at a time has it, told by a kernel lock on `run.lock`,
//! so that no run reads what another is about to write. Programs of the run inherit the lock: it ends with
//! the last of them, and what a killed `modelv` has left behind is found by whoever comes next.
//!
//! The text in the file is for people. Must never be believed without the lock.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use modelv_store::fs;
use serde::{Deserialize, Serialize};

use crate::capture::clock;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::Ingredient;

const FILE: &str = "run.lock";
/// Largest text that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// A line for every run that began beside the holder.
const BESIDE: &[u8] = b"beside\n";
/// How often one that waits looks again.
const LOOK: Duration = Duration::from_millis(100);
/// Somebody who only looks whether it is held has it for a moment.
const TRIES: usize = 20;
const MOMENT: Duration = Duration::from_millis(5);

/// The right to execute in the working tree.
#[derive(Debug)]
pub(crate) enum Hold {
    /// Nobody else has it.
    Alone(Owner),
    /// Another run has it, and this one goes on all the same.
    Beside,
    /// Not needed: nothing is executed there, or it is a part of the run that has it.
    Free,
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Owner {
    file: File,
    /// Length of its own text.
    len: u64,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A program that was started and goes on in the background is no part of the run any more.
        let _ = self.file.unlock();
    }
}

impl Hold {
    /// Whether another run was, or is, under way in the same folder.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Free => false,
            Self::Beside => true,
            Self::Alone(owner) => owner.file.metadata().is_ok_and(|m| m.len() > owner.len),
        }
    }
}

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    pid: i32,
    started: i64,
    command: String,
}

impl Repo {
    fn hold_path(&self) -> PathBuf {
        self.dir().join(FILE)
    }

    /// Takes the working tree for a run whose programs we start; waits for it where asked to.
    ///
    /// # Errors
    /// Another run has it, or programs that one left behind; the wait was cancelled.
    pub(crate) fn hold(&mut self, command: &str, wait: bool, ctx: &Ctx<'_>) -> Result<Hold> {
        if self.enclosing_run().is_some() {
            return Ok(Hold::Free);
        }
        self.refuse_part()?;
        let mut told = false;
        loop {
            if let Some(owner) = self.try_hold(command)? {
                // Only what it starts is to inherit it, and it starts programs from here on.
                rustix::io::fcntl_setfd(&owner.file, rustix::io::FdFlags::empty())
                    .map_err(|e| Error::io("open", self.hold_path())(e.into()))?;
                self.wait_for_writers()?;
                return Ok(Hold::Alone(owner));
            }
            let busy = self.busy("run");
            if !wait {
                return Err(busy);
            }
            if !told {
                ctx.progress.note(&format!("{busy}: waiting for its end"));
                told = true;
            }
            ctx.cancel.check()?;
            std::thread::sleep(LOOK);
        }
    }

    /// The same for a program that trains by itself: where another has it, it goes on beside, which is noted
    /// on both.
    pub(crate) fn hold_or_beside(&mut self, command: &str) -> Result<Hold> {
        if self.enclosing_run().is_some() {
            return Ok(Hold::Free);
        }
        self.refuse_part()?;
        let path = self.hold_path();
        match self.try_hold(command)? {
            Some(owner) => {
                self.wait_for_writers()?;
                Ok(Hold::Alone(owner))
            }
            None => {
                let mut file = fs::append_to(&path).map_err(Error::io("open", &path))?;
                fs::write_all(&mut file, BESIDE).map_err(Error::io("write", &path))?;
                Ok(Hold::Beside)
            }
        }
    }

    /// Whoever was writing into the working tree when no run had it ends first: what the run reads must not
    /// be half of a switch. From then on they are refused.
    fn wait_for_writers(&mut self) -> Result<()> {
        self.take_turn().map(drop)
    }

    /// What is trained on a part of the files would stand for the recipe of all of them.
    fn refuse_part(&self) -> Result<()> {
        let (Some(held), Some(head)) = (self.tree_part(), self.head()) else {
            return Ok(());
        };
        let files = self.files(head)?;
        let mut inputs = files
            .iter()
            .filter(|(_, file)| file.ingredient != Ingredient::Model);
        let Some((path, _)) = inputs.find(|(path, file)| !held.holds(path, file)) else {
            return Ok(());
        };
        let text = format!(
            "a run needs all files of its recipe, and this working tree holds a part of them: `{path}` is not here"
        );
        Err(Error::State(text))
    }

    fn try_hold(&self, command: &str) -> Result<Option<Owner>> {
        let path = self.hold_path();
        let file = fs::open_or_create(&path).map_err(Error::io("open", &path))?;
        for n in 0..TRIES {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
                Err(TryLockError::WouldBlock) if n + 1 == TRIES => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(MOMENT),
            }
        }
        let note = Note {
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            started: clock::now().seconds,
            command: command.chars().take(200).collect(),
        };
        let mut text = serde_json::to_vec(&note).unwrap_or_default();
        text.push(b'\n');
        fs::set_len(&file, 0)
            .and_then(|()| fs::write_all_at(&file, &text, 0))
            .map_err(Error::io("write", &path))?;
        let len = text.len() as u64;
        Ok(Some(Owner { file, len }))
    }

    /// Refuses what would write other files under the hands of a run.
    ///
    /// # Errors
    /// A run has the working tree, and this process is no part of it.
    pub(crate) fn refuse_while_running(&self, action: &str) -> Result<()> {
        let Ok(file) = File::open(self.hold_path()) else {
            return Ok(());
        };
        let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        match is_held && self.enclosing_run().is_none() {
            true => Err(self.busy(action)),
            false => Ok(()),
        }
    }

    /// Says who has the working tree.
    fn busy(&self, action: &str) -> Error {
        let path = self.hold_path();
        let note = read_note(&path);
        let holders = holders_of(&path);
        let is_there = |pid: i32| {
            let pid = rustix::process::Pid::from_raw(pid);
            pid.is_some_and(|p| rustix::process::test_kill_process(p).is_ok())
        };
        Error::State(match note {
            Some(note)
                if !holders.is_empty() && !holders.contains(&note.pid) && !is_there(note.pid) =>
            {
                let pids: Vec<String> = holders.iter().map(i32::to_string).collect();
                format!(
                    "can't {action}: the run of process {} was killed, and what it started still writes here: \
                     process {}",
                    note.pid,
                    pids.join(" ")
                )
            }
            Some(note) => format!(
                "can't {action}: a run is under way in this working tree, process {} since {} ({})",
                note.pid,
                clock::format_rfc3339(note.started),
                note.command
            ),
            None => format!("can't {action}: a run is under way in this working tree"),
        })
    }
}

fn read_note(path: &Path) -> Option<Note> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

/// The processes that have the file open, where the system tells; none elsewhere.
pub(crate) fn holders_of(path: &Path) -> Vec<i32> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = all.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has_it = |pid: &i32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        let mut targets = open.filter_map(|e| std::fs::read_link(e.ok()?.path()).ok());
        targets.any(|target| target == path)
    };
    let mut found: Vec<i32> = numbers.filter(|pid| *pid != own).filter(has_it).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommitOptions;

    #[test]
    fn a_run_begins_after_those_who_write_into_the_working_tree() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Repo::init(dir.path()).unwrap();
        let options = CommitOptions {
            message: "one".into(),
            author: Some("A <a@example.com>".into()),
            allow_empty: true,
            ..Default::default()
        };
        let id = first.commit(&options, &Ctx::quiet()).unwrap().id;
        let turn = first.take_turn().unwrap();
        let root = dir.path().to_owned();
        let run = std::thread::spawn(move || {
            let mut second = Repo::open(&root).unwrap();
            let _hold = second.hold("train", false, &Ctx::quiet()).unwrap();
            second.ref_commit("refs/heads/late")
        });
        while first.refuse_while_running("switch").is_ok() && !run.is_finished() {
            std::thread::yield_now();
        }
        first.create_branch("late", id).unwrap();
        drop(turn);
        assert_eq!(run.join().unwrap(), Some(id));
    }
}
