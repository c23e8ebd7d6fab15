//! `fsck --repair`: mends the store, and brings what is missing from another repository.
//!
//! Must never delete suspect bytes, and never take over anything that does not match its id.

use std::collections::HashSet;
use std::path::Path;

use modelv_core::canon::Kind;
use modelv_store::gc::State;
use modelv_store::remote::{Catalog, Item, Remote};
use modelv_store::repair::{Look, Mended, Mender};
use modelv_store::{Error as StoreError, Store, fs};

use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::gc::start_of;
use crate::oplog::OpLog;
use crate::remote::walk::{Scope, Step, below};
use crate::remote::{CtxWatch, RemoteInfo, full_url};
use crate::repo::{DIR_NAME, Repo};

/// What a repair did.
#[derive(Debug)]
pub struct RepairReport {
    /// What became of the files of the store.
    pub mended: Mended,
    /// Objects and contents that came from the other repository.
    pub fetched: u64,
    /// What is still wrong, one line each.
    pub problems: Vec<String>,
}

/// Where missing things come from.
pub(crate) enum Donor {
    Folder(Store),
    Remote(Box<(Remote, Catalog)>),
}

impl Donor {
    fn has(&self, item: Item) -> Result<bool> {
        match self {
            Self::Folder(store) => Ok(store.has_item(item)?),
            Self::Remote(remote) => Ok(remote.1.has(item)),
        }
    }

    fn give(&self, store: &Store, items: &[Item], ctx: &Ctx<'_>) -> Result<()> {
        match self {
            Self::Folder(other) => {
                let session = store.begin()?;
                for item in items {
                    ctx.cancel.check()?;
                    session.take_from(other, *item)?;
                }
                session.finish()?;
            }
            Self::Remote(remote) => {
                let (remote, catalog) = &**remote;
                let mut incoming = remote.receive(store, catalog)?;
                incoming.load(items, &CtxWatch(ctx))?;
                incoming.finish()?;
            }
        }
        Ok(())
    }
}

impl Repo {
    /// Mends what is damaged, with the help of another repository: the name of a remote, an address,
    /// or the path of a remote or of a working tree.
    ///
    /// # Errors
    /// The other repository can't be read; a collection or another repair is at work; something can't be
    /// written. What can't be repaired is in the report.
    pub fn repair(&self, from: &str, base: &Path, ctx: &Ctx<'_>) -> Result<RepairReport> {
        let donor = self.donor(from, base, ctx)?;
        // A fresh view, with nothing of the damaged packs open.
        let store = Store::open(self.dir())?;
        let mut mender = Mender::begin(&store)?;
        self.mend(&mut mender, Look::Files, ctx)?;
        let mut fetched = HashSet::new();
        let mut looked_closely = false;
        let mut failed = None;
        loop {
            let mut wanted = Vec::new();
            for item in self.missing(&store, ctx)? {
                if !fetched.contains(&item) && donor.has(item)? {
                    wanted.push(item);
                }
            }
            if wanted.is_empty() || failed.is_some() {
                if looked_closely {
                    break;
                }
                // Entries that need what nobody has are given up, so that others can take their place.
                looked_closely = true;
                self.mend(&mut mender, Look::Entries, ctx)?;
                continue;
            }
            failed = donor.give(&store, &wanted, ctx).err();
            if failed.is_none() {
                fetched.extend(wanted);
            }
        }
        let mended = std::mem::take(&mut mender.mended);
        drop(mender);
        let fresh = Self::open(self.root())?;
        let mut problems = fresh.store.verify(&mut |_, _| {})?.problems;
        problems.extend(fresh.check_reachable()?);
        problems.extend(failed.map(|e| format!("not all could be brought: {e}")));
        // A commit believes that what the cache knows to be HEAD is stored: without it, whatever the
        // working tree still has is stored again.
        let _ = fs::remove(&self.stat_cache_path());
        Ok(RepairReport {
            mended,
            fetched: fetched.len() as u64,
            problems,
        })
    }

    pub(crate) fn donor(&self, from: &str, base: &Path, ctx: &Ctx<'_>) -> Result<Donor> {
        let path = base.join(from);
        let info = match self.remote(from) {
            Ok(info) => info,
            Err(_) if path.join(DIR_NAME).join("oplog").exists() || path.join("oplog").exists() => {
                return Ok(Donor::Folder(Store::open(Self::open(&path)?.dir())?));
            }
            Err(_) => RemoteInfo {
                name: from.to_owned(),
                url: full_url(from, base)?,
                options: Default::default(),
            },
        };
        let remote = self.open_remote(&info)?;
        let root = remote
            .root()?
            .ok_or_else(|| Error::not_found("repository", &info.url))?;
        // A store of nobody: an index of a pack here may be what is damaged.
        let nobody = tempfile::tempdir_in(self.dir().join("tmp"));
        let nobody = nobody.map_err(Error::io("create", self.dir().join("tmp")))?;
        let empty = Store::init(nobody.path())?;
        let catalog = remote.catalog(&root, &empty, &CtxWatch(ctx))?;
        Ok(Donor::Remote(Box::new((remote, catalog))))
    }

    fn mend(&self, mender: &mut Mender<'_>, look: Look, ctx: &Ctx<'_>) -> Result<()> {
        ctx.progress.start("mending", Unit::Items, None);
        // Nobody may name what lies in a damaged pack meanwhile.
        let lock = self.oplog().lock()?;
        let done = mender.mend(look, self.oplog().count());
        drop(lock);
        ctx.progress.finish();
        Ok(done?)
    }

    /// Everything that should be here and is not.
    fn missing(&self, store: &Store, ctx: &Ctx<'_>) -> Result<Vec<Item>> {
        let log = OpLog::read(&self.dir().join("oplog"))?;
        let horizon = State::read(self.dir())?.horizon;
        let scope = Scope {
            single: self.is_shallow(),
            depth: None,
            deepens: false,
            widens: false,
            under: self.filter(),
            only: self.contents_wanted(),
        };
        let targets = log.kept_targets(horizon);
        let mut stack: Vec<Step> = targets.filter_map(|(_, t)| start_of(t)).collect();
        let mut seen: HashSet<Step> = HashSet::new();
        let mut missing: Vec<Item> = Vec::new();
        while let Some(step) = stack.pop() {
            if !seen.insert(step) {
                continue;
            }
            ctx.cancel.check()?;
            if let Step::Blob(id, _) = step {
                missing.extend(store.missing_of(&id)?);
                continue;
            }
            if let Step::Env(id) = step {
                let found = store.has_object(Kind::Env, &id)?;
                missing.extend((!found).then_some(step.item()));
                continue;
            }
            match below(store, step, &scope) {
                Ok(more) => stack.extend(more),
                Err(StoreError::NotFound { .. }) => missing.push(step.item()),
                // The check at the end names it.
                Err(e) if e.is_corrupt() => {}
                Err(e) => return Err(e.into()),
            }
        }
        missing.sort_unstable_by_key(|item| match item {
            Item::Object(_, id) => *id,
            Item::Blob(id) => id.0,
        });
        missing.dedup();
        Ok(missing)
    }
}

#[cfg(test)]
mod tests {
    use modelv_core::id::BlobId;
    use tempfile::TempDir;

    use super::*;
    use crate::CommitOptions;
    use crate::remote::{CloneOptions, PushOptions, RemoteOptions};

    const QUIET: fn() -> Ctx<'static> = Ctx::quiet;

    fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut out);
        out
    }

    /// A repository that is on a remote, and a clone of it.
    fn pair() -> (TempDir, Repo, Repo) {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(&dir.path().join("a")).unwrap();
        std::fs::write(
            repo.root().join("modelv.toml"),
            "[env]\ncapture = \"none\"\n",
        )
        .unwrap();
        for seed in 0..3 {
            std::fs::write(repo.root().join("w.bin"), bytes(seed, 300_000)).unwrap();
            std::fs::write(repo.root().join("t.txt"), format!("{seed}\n").repeat(3000)).unwrap();
            let options = CommitOptions {
                message: seed.to_string(),
                author: Some("Ada <ada@example.org>".into()),
                ..CommitOptions::default()
            };
            repo.commit(&options, &QUIET()).unwrap();
        }
        let info = RemoteInfo {
            name: "origin".into(),
            url: format!("file://{}", dir.path().join("remote").display()),
            options: RemoteOptions::default(),
        };
        repo.add_remote(&info).unwrap();
        repo.push(&info, &PushOptions::default(), &QUIET()).unwrap();
        let at = dir.path().join("b");
        let clone = Repo::clone_from(&info.url, &at, &CloneOptions::default(), "clone", &QUIET());
        (dir, repo, clone.unwrap().repo)
    }

    fn files(repo: &Repo, extension: &str) -> Vec<std::path::PathBuf> {
        let found = std::fs::read_dir(repo.dir().join("packs")).unwrap();
        let mut found: Vec<_> = found.map(|e| e.unwrap().path()).collect();
        found.retain(|p| p.extension().is_some_and(|e| e == extension));
        found.sort();
        found
    }

    fn is_whole(root: &Path) -> bool {
        let repo = Repo::open(root).unwrap();
        let store = repo.store();
        let problems = store.verify(&mut |_, _| {}).unwrap().problems;
        let commits = repo.history(&repo.span("HEAD").unwrap()).unwrap();
        commits.len() == 3
            && problems.is_empty()
            && repo.check_reachable().unwrap().is_empty()
            && (0..3).all(|seed| {
                let id = BlobId::of(&bytes(seed, 300_000));
                store.read_blob(&id, u64::MAX).unwrap() == bytes(seed, 300_000)
            })
    }

    type Damage = fn(&Path);

    const DAMAGES: [(&str, &str, Damage); 6] = [
        ("a byte flipped", "pack", |p| {
            at(p, |b| {
                let n = b.len();
                b[n / 3] ^= 1;
            });
        }),
        ("the table flipped", "pack", |p| {
            at(p, |b| {
                let n = b.len();
                b[n - 60] ^= 1;
            });
        }),
        ("cut off", "pack", |p| at(p, |b| b.truncate(b.len() / 2))),
        ("4 KiB of zeros", "pack", |p| {
            at(p, |b| {
                let n = b.len().min(4200);
                b[100.min(n)..n].fill(0);
            });
        }),
        ("gone", "pack", |p| std::fs::remove_file(p).unwrap()),
        ("gone", "idx", |p| std::fs::remove_file(p).unwrap()),
    ];

    fn at(path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn every_damage_is_repaired_from_a_clone_and_from_a_remote() {
        for (what, extension, damage) in DAMAGES {
            for from in ["../b", "origin"] {
                let (_dir, repo, _clone) = pair();
                let damaged = files(&repo, extension);
                damage(&damaged[0]);
                damage(&damaged[damaged.len() - 1]);
                let repo = Repo::open(repo.root()).unwrap();
                let report = repo.repair(from, repo.root(), &QUIET()).unwrap();
                assert_eq!(report.problems, [""; 0], "{what} {from}");
                assert!(is_whole(repo.root()), "{what} {from}");
                let kept = report
                    .mended
                    .packs
                    .iter()
                    .all(|p| p.starts_with(repo.dir().join("quarantine")));
                assert!(
                    kept && (extension == "idx"
                        || what == "gone"
                        || report.mended.packs.len() == 2)
                );
                let again = repo.repair(from, repo.root(), &QUIET()).unwrap();
                assert_eq!((again.fetched, again.mended), (0, Mended::default()));
            }
        }
    }

    #[test]
    fn what_nobody_has_is_named_and_the_rest_is_kept() {
        let (_dir, repo, clone) = pair();
        let only_here = bytes(9, 400_000);
        std::fs::write(repo.root().join("w.bin"), &only_here).unwrap();
        let options = CommitOptions {
            message: "new".into(),
            author: Some("Ada <ada@example.org>".into()),
            ..CommitOptions::default()
        };
        let mut repo = Repo::open(repo.root()).unwrap();
        let id = repo.commit(&options, &QUIET()).unwrap().id;
        let newest = files(&repo, "pack")
            .into_iter()
            .max_by_key(|p| std::fs::metadata(p).unwrap().len())
            .unwrap();
        at(&newest, |b| b[5000] ^= 1);
        let from = clone.root().to_str().unwrap();
        let report = Repo::open(repo.root())
            .unwrap()
            .repair(from, repo.root(), &QUIET())
            .unwrap();
        assert!(
            report.problems.iter().any(|p| p.contains("`w.bin`")),
            "{report:?}"
        );
        assert!(
            report.mended.saved > 2 && report.mended.lost > 0,
            "{report:?}"
        );
        // Whoever still has the file stores it again, and all is well.
        let mut repo = Repo::open(repo.root()).unwrap();
        assert_eq!(repo.head(), Some(id));
        let options = CommitOptions {
            allow_empty: true,
            ..options
        };
        repo.commit(&options, &QUIET()).unwrap();
        let fresh = Repo::open(repo.root()).unwrap();
        assert_eq!(
            fresh
                .store()
                .read_blob(&BlobId::of(&only_here), u64::MAX)
                .unwrap(),
            only_here
        );
        assert!(fresh.check_reachable().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_record_of_collections_stops_writers_until_it_is_mended() {
        let (_dir, mut repo, _clone) = pair();
        let record = repo.dir().join("gc");
        std::fs::write(&record, b"MVGC damaged").unwrap();
        let head = repo.head().unwrap();
        assert_eq!(
            repo.create_branch("x", head).unwrap_err().kind(),
            crate::ErrorKind::Corrupt
        );
        assert!(
            !repo
                .store()
                .verify(&mut |_, _| {})
                .unwrap()
                .problems
                .is_empty()
        );
        let report = repo.repair("origin", repo.root(), &QUIET()).unwrap();
        assert!(report.mended.state && report.problems.is_empty());
        Repo::open(repo.root())
            .unwrap()
            .create_branch("x", head)
            .unwrap();
    }
}
