//! `fsck --rescue`: a repository whose operation log is gone or damaged gets one that can be read.
//!
//! Keeps the sound beginning of the log, and names every commit in the store that nothing leads to, so
//! that none is collected. Must never delete: the log as it was found stays in `quarantine/`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use modelv_core::canon::{self, Kind};
use modelv_core::commit::Commit;
use modelv_core::id::CommitId;
use modelv_store::{Store, fs};

use crate::capture::clock;
use crate::error::{Error, Result};
use crate::merge::conclude::{GIVEN_UP, OVERWRITTEN, RESTORED};
use crate::names;
use crate::oplog::{Draft, OpLog, RefChange, Target};
use crate::repo::{DIR_NAME, FIRST_BRANCH, Repo, actor};
use crate::wheels;

/// What commands keep for `undo`, by its message.
const ASIDE: [&str; 3] = [GIVEN_UP, OVERWRITTEN, RESTORED];
/// Branches of commits that were found begin with this.
const FOUND: &str = "found/";
/// So many are named, the newest first: each is one change of one operation.
const FOUND_MAX: usize = 10_000;

/// A repository that can't be opened because of its operation log.
#[derive(Debug)]
pub struct Wreck {
    root: PathBuf,
    dir: PathBuf,
    /// What is wrong with its log.
    pub why: Error,
}

/// What a rescue did.
#[derive(Debug)]
pub struct Rescued {
    /// Operations that could be read and were kept.
    pub operations: u64,
    /// Branches for commits that nothing else leads to, newest first.
    pub found: Vec<(String, CommitId, Commit)>,
    /// Tips for which there was no room.
    pub unnamed: usize,
    /// The log as it was found, if there was one.
    pub aside: Option<PathBuf>,
}

/// Whether a folder holds what a repository without its log leaves behind.
pub(crate) fn holds_remains(dir: &Path) -> bool {
    let is_pack = |e: std::fs::DirEntry| e.path().extension().is_some_and(|x| x == "pack");
    let packs = std::fs::read_dir(dir.join("packs"));
    dir.join("oplog.tip").exists() || packs.is_ok_and(|all| all.flatten().any(is_pack))
}

/// What to say of a repository whose log is not there.
pub(crate) fn log_is_gone(dir: &Path) -> Error {
    Error::Corrupt {
        what: format!("`{}`", dir.join("oplog").display()),
        detail: "the operation log is gone; the packs beside it are there".into(),
    }
}

impl Wreck {
    /// The repository that `start` lies in, if it has a log that can't be read.
    ///
    /// # Errors
    /// There is none, or something else is wrong with it.
    pub fn find(start: &Path) -> Result<Option<Self>> {
        let absolute = std::path::absolute(start).map_err(Error::io("open", start))?;
        let why = match Repo::discover(&absolute) {
            Ok(_) => return Ok(None),
            Err(why @ Error::Corrupt { .. }) => why,
            Err(e) => return Err(e),
        };
        let place = |root: &Path| {
            let dirs = [root.join(DIR_NAME), root.to_owned()];
            let dir = dirs.into_iter().find(|dir| holds_remains(dir))?;
            Some((root.to_owned(), dir))
        };
        match absolute.ancestors().find_map(place) {
            Some((root, dir)) => Ok(Some(Self { root, dir, why })),
            None => Err(why),
        }
    }

    /// Its store, which stands for itself.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.dir)?)
    }

    /// Gives it a log again.
    ///
    /// # Errors
    /// Somebody else is at it, or something can't be read or written; the log is as it was then.
    pub fn rescue(&self, command: &str) -> Result<Rescued> {
        let store = self.store()?;
        let path = self.dir.join("oplog");
        let lock = path.with_extension("lock");
        let lock = fs::open_or_create(&lock).map_err(Error::io("open", &lock))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        let (log, sound) = OpLog::salvage(&path)?;
        let mut tips = tips(&store, &log)?;
        let unnamed = tips.len().saturating_sub(FOUND_MAX);
        tips.truncate(FOUND_MAX);
        let changes = changes(&log, &tips);
        let operations = log.operations.len() as u64;
        let draft = Draft {
            time: clock::now(),
            actor: actor(),
            command: command.to_owned(),
            worktree: false,
            undoes: None,
            changes,
        };
        let aside = self.put_aside(&path)?;
        let temp = self.dir.join("tmp").join("oplog-rescue");
        let _ = fs::remove(&temp);
        let bytes = log.followed_by(sound, draft)?;
        fs::write_new_synced(&temp, &bytes).map_err(Error::io("write", &temp))?;
        fs::replace(&temp, &path).map_err(Error::io("replace", &path))?;
        fs::sync_parent(&path).map_err(Error::io("sync", &path))?;
        // It told how long the damaged one was.
        let tip = self.dir.join("oplog.tip");
        if tip.exists() {
            fs::remove(&tip).map_err(Error::io("remove", &tip))?;
        }
        Repo::open(&self.root)?;
        Ok(Rescued {
            operations,
            found: tips
                .into_iter()
                .filter(|(_, commit)| !wheels::holds_wheels(commit))
                .map(|(id, commit)| (found_name(id), id, commit))
                .collect(),
            unnamed,
            aside,
        })
    }

    fn put_aside(&self, log: &Path) -> Result<Option<PathBuf>> {
        if !log.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(log).map_err(Error::io("read", log))?;
        let dir = self.dir.join("quarantine");
        fs::create_dirs(&dir).map_err(Error::io("create", &dir))?;
        let name = blake3::hash(&bytes).to_hex();
        let kept = dir.join(format!("oplog-{}", &name[..16]));
        if !kept.exists() {
            fs::write_new_synced(&kept, &bytes).map_err(Error::io("write", &kept))?;
        }
        Ok(Some(kept))
    }
}

fn found_name(id: CommitId) -> String {
    format!("{FOUND}{}", id.short())
}

/// Commits in the store that neither the log nor another commit leads to, newest first.
fn tips(store: &Store, log: &OpLog) -> Result<Vec<(CommitId, Commit)>> {
    let load = |id: CommitId| -> Option<Commit> { canon::load(store, &id.0).ok() };
    let ids = store.find_prefix(Kind::Commit, "", usize::MAX)?;
    let mut below = HashSet::new();
    for id in &ids {
        // One that can't be read is named by `fsck`, and leads nowhere. What was put aside is no line of
        // history: what it stood on is found for itself.
        let commit = load(CommitId(*id)).filter(|c| !ASIDE.contains(&c.message.as_str()));
        below.extend(commit.into_iter().flat_map(|c| c.parents));
    }
    let named: HashSet<CommitId> = log
        .kept_targets(0)
        .filter_map(|(_, t)| t.commit())
        .collect();
    let is_tip = |id: &CommitId| !below.contains(id) && !named.contains(id);
    let tips = ids.into_iter().map(CommitId).filter(is_tip);
    let mut tips: Vec<_> = tips.filter_map(|id| Some((id, load(id)?))).collect();
    tips.sort_by_key(|(id, c)| (std::cmp::Reverse(c.time.seconds), *id));
    Ok(tips)
}

/// A branch for each tip; where there is no HEAD left, a first branch at the newest.
fn changes(log: &OpLog, tips: &[(CommitId, Commit)]) -> Vec<RefChange> {
    let set = |name: String, new| RefChange {
        old: log.refs.get(&name).cloned(),
        name,
        new: Some(new),
    };
    // Wheels get the name back that they had: the commit says whose they are.
    let found = tips.iter().map(|(id, commit)| {
        let name = match wheels::holds_wheels(commit) {
            true => wheels::ref_of(commit.recipe.env),
            false => format!("{}{}", names::HEADS, found_name(*id)),
        };
        (name, Target::Commit(*id))
    });
    // Of two sets for one environment the first is as good as the other.
    let found: std::collections::BTreeMap<String, Target> = found.rev().collect();
    let mut changes: Vec<RefChange> = found.into_iter().map(|(n, t)| set(n, t)).collect();
    if !log.refs.contains_key(names::HEAD) {
        let first = format!("{}{FIRST_BRANCH}", names::HEADS);
        changes.extend(
            tips.iter()
                .find(|(_, commit)| !wheels::holds_wheels(commit))
                .map(|(id, _)| set(first.clone(), Target::Commit(*id))),
        );
        changes.push(set(names::HEAD.into(), Target::Symbolic(first)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::Ctx;
    use crate::{CommitOptions, SwitchTo};

    fn repository() -> (tempfile::TempDir, Vec<CommitId>) {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        std::fs::write(
            dir.path().join("modelv.toml"),
            "[env]\ncapture = \"none\"\n",
        )
        .unwrap();
        let mut ids = Vec::new();
        for (branch, text) in [("", "one"), ("", "two"), ("side", "three")] {
            if !branch.is_empty() {
                let to = SwitchTo::New(branch.into(), Some("HEAD~1".into()));
                repo.switch(&to, &Ctx::quiet()).unwrap();
            }
            std::fs::write(dir.path().join("a.txt"), text).unwrap();
            let options = CommitOptions {
                message: text.into(),
                author: Some("Ada <ada@example.org>".into()),
                ..CommitOptions::default()
            };
            ids.push(repo.commit(&options, &Ctx::quiet()).unwrap().id);
        }
        (dir, ids)
    }

    fn rescue(root: &Path) -> Rescued {
        let wreck = Wreck::find(root).unwrap().expect("a wreck");
        wreck.rescue("fsck --rescue").unwrap()
    }

    fn found(rescued: &Rescued) -> HashSet<CommitId> {
        rescued.found.iter().map(|(_, id, _)| *id).collect()
    }

    #[test]
    fn without_a_log_every_tip_gets_a_branch() {
        let (dir, ids) = repository();
        let root = dir.path();
        assert!(Wreck::find(root).unwrap().is_none());
        std::fs::remove_file(root.join(".mv/oplog")).unwrap();
        assert!(matches!(Repo::open(root), Err(Error::Corrupt { .. })));
        assert!(matches!(Repo::init(root), Err(Error::Corrupt { .. })));
        let rescued = rescue(root);
        assert_eq!(found(&rescued), HashSet::from([ids[1], ids[2]]));
        assert!(rescued.aside.is_none() && rescued.operations == 0);
        let repo = Repo::open(root).unwrap();
        assert_eq!(repo.head_label(), "main");
        assert!(repo.check_reachable().unwrap().is_empty());
        for (name, id, _) in &rescued.found {
            assert_eq!(repo.ref_commit(&format!("refs/heads/{name}")), Some(*id));
        }
        assert!(Wreck::find(root).unwrap().is_none());
    }

    #[test]
    fn the_sound_beginning_of_a_damaged_log_is_kept() {
        let (dir, ids) = repository();
        let root = dir.path();
        let path = root.join(".mv/oplog");
        let log = std::fs::read(&path).unwrap();
        let (whole, _) = OpLog::salvage(&path).unwrap();
        let mut last = (0, 0);
        // A damage in every frame and every field. The eighth byte is the version: such a log is a newer
        // program's.
        for at in (0..log.len()).step_by(3).filter(|at| *at != 7) {
            let mut bad = log.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let rescued = rescue(root);
            let repo = Repo::open(root).unwrap();
            let now = (repo.log.operations.len() as u64, rescued.operations);
            assert_eq!(now.0, now.1 + 1, "byte {at}");
            assert!(now >= last, "byte {at}");
            last = now;
            assert_eq!(
                repo.log.operations[..now.1 as usize],
                whole.operations[..now.1 as usize]
            );
            // No commit is lost, whatever byte it was.
            for id in &ids {
                let all = repo.log.kept_targets(0).filter_map(|(_, t)| t.commit());
                let reached = all.into_iter().any(|tip| repo.is_before(*id, tip).unwrap());
                assert!(reached, "byte {at}");
            }
            assert_eq!(std::fs::read(rescued.aside.unwrap()).unwrap(), bad);
        }
        assert!(last.1 >= 4, "{last:?}");
    }
}
