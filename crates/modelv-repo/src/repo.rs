//! A repository on disk: where its parts are, opening and making one, and moving refs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use modelv_core::canon::{self, Object};
use modelv_core::commit::{Commit, Person};
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId, EnvId, RunId};
use modelv_core::run::Run;
use modelv_store::{Store, fs, gc};

use crate::capture::{clock, person, system};
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{self, Draft, OpLog, RefChange, Target};
use crate::rescue;
use crate::worktree::{Files, Rules, StatCache, files_of};

/// Name of the repository's folder.
pub const DIR_NAME: &str = ".mv";
/// Branch of a new repository.
pub(crate) const FIRST_BRANCH: &str = "main";

/// Largest document (merge state, configuration file, text to compare) read into memory, in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// A turn at the working tree: a kernel lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: std::fs::File,
}

/// An open repository. Refs are as they were when it was opened or last changed through it.
#[derive(Debug)]
pub struct Repo {
    root: PathBuf,
    dir: PathBuf,
    bare: bool,
    pub(crate) store: Store,
    pub(crate) log: OpLog,
    command: String,
    /// How often packs had been taken away before anything else was looked at; `None`: unknown.
    epoch: Option<u64>,
    /// This one's turn at the working tree, while somebody holds it.
    turn: Weak<Turn>,
}

impl Repo {
    /// Makes a repository in `root`, which is created if it is missing.
    ///
    /// # Errors
    /// There is one already, or the folder can't be written.
    pub fn init(root: &Path) -> Result<Self> {
        Self::init_at(root, root.join(DIR_NAME))
    }

    /// Makes a repository without a working tree: its parts lie in `dir` itself.
    ///
    /// # Errors
    /// There is one already, or the folder can't be written.
    pub fn init_bare(dir: &Path) -> Result<Self> {
        Self::init_at(dir, dir.to_owned())
    }

    fn init_at(root: &Path, dir: PathBuf) -> Result<Self> {
        if dir.join("oplog").exists() {
            return Err(Error::Exists {
                what: "repository",
                name: root.display().to_string(),
            });
        }
        // What nothing names would be collected.
        if rescue::holds_remains(&dir) {
            return Err(rescue::log_is_gone(&dir));
        }
        drop(Store::init(&dir)?);
        let head = Target::Symbolic(format!("{}{FIRST_BRANCH}", names::HEADS));
        let first = Draft {
            time: clock::now(),
            actor: actor(),
            command: "init".into(),
            worktree: false,
            undoes: None,
            changes: vec![RefChange {
                name: names::HEAD.into(),
                old: None,
                new: Some(head),
            }],
        };
        // With the log, and all at once, there is a repository: one that a power cut left without
        // is none, and can be made again.
        oplog::create(&dir.join("oplog"), first)?;
        Self::open(root)
    }

    /// Opens the repository whose working tree is `root`, or the bare one that `root` is.
    ///
    /// # Errors
    /// None there, damaged, from a newer program, or owned by somebody else.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(Error::io("open", root))?;
        let bare = is_bare(&root);
        let dir = if bare {
            root.clone()
        } else {
            root.join(DIR_NAME)
        };
        let log_path = dir.join("oplog");
        if !log_path.exists() && !rescue::holds_remains(&dir) {
            return Err(Error::NotARepository { path: root });
        }
        check_owner(&dir)?;
        if !log_path.exists() {
            return Err(rescue::log_is_gone(&dir));
        }
        let epoch = gc::State::read(&dir).ok().map(|s| s.epoch);
        let log = OpLog::read_recent(&log_path)?;
        let store = Store::open(&dir)?;
        let repo = Self {
            root,
            dir,
            bare,
            store,
            log,
            command: String::new(),
            epoch,
            turn: Weak::new(),
        };
        repo.read_from_remotes();
        Ok(repo)
    }

    /// Opens the repository that `start` lies in.
    ///
    /// # Errors
    /// As [`Repo::open`].
    pub fn discover(start: &Path) -> Result<Self> {
        let absolute = std::path::absolute(start).map_err(Error::io("open", start))?;
        let mut at = Some(absolute.as_path());
        while let Some(dir) = at {
            let inside = dir.join(DIR_NAME);
            if inside.join("oplog").exists() || rescue::holds_remains(&inside) || is_bare(dir) {
                return Self::open(dir);
            }
            at = dir.parent();
        }
        Err(Error::NotARepository { path: absolute })
    }

    /// Whether there is no working tree.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// Root of the working tree; of a bare repository, its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The repository's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The operation log as it was read.
    #[must_use]
    pub fn oplog(&self) -> &OpLog {
        &self.log
    }

    /// Says what is to stand in the operation log as the command.
    pub fn set_command(&mut self, command: impl Into<String>) {
        self.command = command.into();
    }

    /// Waits until no other process changes the working tree, keeps others from it until the result is
    /// dropped, and looks at the refs again: who comes second decides by what the first has done, before it
    /// writes anything. A kernel lock, which dies with its holder. A turn within a turn is the same one.
    pub(crate) fn take_turn(&mut self) -> Result<Arc<Turn>> {
        if let Some(turn) = self.turn.upgrade() {
            return Ok(turn);
        }
        let path = self.dir.join("worktree.lock");
        let lock = fs::open_or_create(&path).map_err(Error::io("open", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        let turn = Arc::new(Turn { _lock: lock });
        self.turn = Arc::downgrade(&turn);
        self.log.catch_up()?;
        Ok(turn)
    }

    /// Loads an object. The log may have grown since the packs were listed, and packs come before what
    /// names them: what is not found is looked for once more.
    fn load<T: Object>(&self, id: &[u8; 32]) -> Result<T> {
        match canon::load(&self.store, id) {
            Err(modelv_store::Error::NotFound { .. }) => {
                self.store.refresh()?;
                Ok(canon::load(&self.store, id)?)
            }
            loaded => Ok(loaded?),
        }
    }

    /// Loads a commit.
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn commit_object(&self, id: CommitId) -> Result<Commit> {
        self.load(&id.0)
    }

    /// Loads an environment document.
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn env_object(&self, id: EnvId) -> Result<Env> {
        self.load(&id.0)
    }

    /// Loads a run.
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn run_object(&self, id: RunId) -> Result<Run> {
        self.load(&id.0)
    }

    /// All files of a commit by path.
    ///
    /// # Errors
    /// A tree is missing or damaged.
    pub fn files(&self, id: CommitId) -> Result<Files> {
        let commit = self.commit_object(id)?;
        self.files_of_commit(&commit)
    }

    pub(crate) fn files_of_commit(&self, commit: &Commit) -> Result<Files> {
        let recipe = commit.recipe;
        let model = commit.model.map(|m| m.tree);
        files_of(&self.store, recipe.code, recipe.data, recipe.config, model)
    }

    /// The content of a blob, if it is at most 64 MiB.
    ///
    /// # Errors
    /// Missing, damaged or too large.
    pub fn read_blob(&self, id: BlobId) -> Result<Vec<u8>> {
        Ok(self.store.read_blob(&id, DOCUMENT_BYTES_MAX)?)
    }

    /// Full name of the branch that is checked out; `None` when HEAD is detached.
    #[must_use]
    pub fn head_ref(&self) -> Option<&str> {
        match self.log.refs.get(names::HEAD) {
            Some(Target::Symbolic(name)) => Some(name),
            _ => None,
        }
    }

    /// The checked-out commit; `None` before the first one.
    #[must_use]
    pub fn head(&self) -> Option<CommitId> {
        match self.log.refs.get(names::HEAD) {
            Some(Target::Commit(id)) => Some(*id),
            Some(Target::Symbolic(name)) => self.ref_commit(name),
            _ => None,
        }
    }

    /// The checked-out commit.
    ///
    /// # Errors
    /// There is none yet.
    pub fn get_head(&self) -> Result<CommitId> {
        self.head()
            .ok_or_else(|| Error::State("there is no commit yet".into()))
    }

    /// What people call the current position: the branch, or a short id.
    #[must_use]
    pub fn head_label(&self) -> String {
        match (self.head_ref(), self.head()) {
            (Some(name), _) => names::short(name).to_owned(),
            (None, Some(id)) => id.short(),
            (None, None) => names::HEAD.into(),
        }
    }

    /// The commit a ref names.
    #[must_use]
    pub fn ref_commit(&self, full: &str) -> Option<CommitId> {
        self.log.refs.get(full).and_then(Target::commit)
    }

    /// Refs with a prefix, as (rest of the name, commit).
    #[must_use]
    pub fn refs_below(&self, prefix: &str) -> Vec<(String, CommitId)> {
        self.log
            .refs
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter_map(|(name, target)| match target {
                Target::Commit(id) => Some((name[prefix.len()..].to_owned(), *id)),
                _ => None,
            })
            .collect()
    }

    /// Names of the branches and tags that point to each commit.
    #[must_use]
    pub fn decorations(&self) -> std::collections::HashMap<CommitId, Vec<String>> {
        let mut out: std::collections::HashMap<CommitId, Vec<String>> = Default::default();
        for (name, id) in self.refs_below(names::HEADS) {
            out.entry(id).or_default().push(name);
        }
        for (name, id) in self.refs_below(names::TAGS) {
            out.entry(id).or_default().push(format!("tag: {name}"));
        }
        for (name, id) in self.refs_below(names::REMOTES) {
            out.entry(id).or_default().push(name);
        }
        out
    }

    /// The change that moves HEAD's branch, or a detached HEAD, to `new`.
    pub(crate) fn head_change(&self, new: CommitId) -> RefChange {
        let name = self.head_ref().unwrap_or(names::HEAD);
        self.ref_change(name, Some(Target::Commit(new)))
    }

    /// The change that lets HEAD lead to a branch or commit, unless it does.
    pub(crate) fn head_to(&self, target: Target) -> Option<RefChange> {
        let change = self.ref_change(names::HEAD, Some(target));
        (change.old != change.new).then_some(change)
    }

    /// The change that lets a ref lead elsewhere from where it leads now; `None` deletes it.
    pub(crate) fn ref_change(&self, name: &str, new: Option<Target>) -> RefChange {
        RefChange {
            name: name.to_owned(),
            old: self.log.refs.get(name).cloned(),
            new,
        }
    }

    pub(crate) fn update_refs(&mut self, changes: Vec<RefChange>) -> Result<u64> {
        self.append(changes, false, None)
    }

    pub(crate) fn append(
        &mut self,
        changes: Vec<RefChange>,
        worktree: bool,
        undoes: Option<u64>,
    ) -> Result<u64> {
        let draft = Draft {
            time: clock::now(),
            actor: actor(),
            command: self.command.clone(),
            worktree,
            undoes,
            changes,
        };
        let (store, epoch, partial) = (&self.store, self.epoch, self.is_partial());
        self.log.append_checked(draft, &|log, changes| {
            crate::gc::recheck(store, epoch, partial, log, changes)
        })
    }

    /// How often packs had been taken away when this repository was opened.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Whether this clone may lack what commits lead to without being damaged.
    pub(crate) fn is_partial(&self) -> bool {
        self.only().is_some() || self.is_shallow() || self.is_lazy() || self.filter().is_some()
    }

    /// The rules that say which path is which ingredient.
    ///
    /// # Errors
    /// `modelv.toml` is not valid.
    pub fn rules(&self) -> Result<Rules> {
        Rules::load(&self.root)
    }

    /// The same of a commit: its own `modelv.toml` says what to do with it.
    ///
    /// # Errors
    /// It can't be read, or is not valid.
    pub fn rules_of(&self, id: CommitId) -> Result<Rules> {
        match self.files(id)?.get(b"modelv.toml".as_slice()) {
            Some(file) => {
                let text = self.read_blob(file.blob)?;
                Rules::parse(&String::from_utf8_lossy(&text))
            }
            None => Rules::parse(""),
        }
    }

    pub(crate) fn stat_cache(&self) -> StatCache {
        StatCache::load(&self.stat_cache_path())
    }

    pub(crate) fn stat_cache_path(&self) -> PathBuf {
        self.dir.join("statcache")
    }

    /// Who commits: the given text, environment, configuration of the repository, Git's.
    ///
    /// # Errors
    /// Nobody has said.
    pub fn author(&self, explicit: Option<&str>) -> Result<Person> {
        let (name, email) = (self.config("user.name"), self.config("user.email"));
        person::find(&self.root, explicit, name.as_deref(), email.as_deref())
    }

    /// A configuration value of this repository.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<String> {
        match self.log.refs.get(&format!("{}{key}", names::CONFIG)) {
            Some(Target::Text(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// All configuration values.
    #[must_use]
    pub fn config_all(&self) -> Vec<(String, String)> {
        self.log
            .refs
            .iter()
            .filter_map(
                |(name, target)| match (name.strip_prefix(names::CONFIG), target) {
                    (Some(key), Target::Text(value)) => Some((key.to_owned(), value.clone())),
                    _ => None,
                },
            )
            .collect()
    }

    /// Sets a configuration value, or removes it.
    ///
    /// # Errors
    /// The key is not `section.name`.
    pub fn set_config(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let known = [
            "user.name",
            "user.email",
            "env.python",
            "merge.tool",
            "release.debian-mirror",
            "external.fetch",
            "external.endpoint",
            "external.region",
            crate::external::ALLOW,
            system::KEY,
        ];
        if !known.contains(&key) {
            let reason = format!("known keys are {}", known.join(", "));
            return Err(Error::invalid("configuration key", key, reason));
        }
        if let (system::KEY, Some(value)) = (key, value) {
            system::parse_every(value)?;
        }
        if let ("external.fetch", Some(value)) = (key, value)
            && !["on", "off"].contains(&value)
        {
            return Err(Error::invalid(
                "external.fetch",
                value,
                "it is `on` or `off`",
            ));
        }
        let name = format!("{}{key}", names::CONFIG);
        let old = self.log.refs.get(&name).cloned();
        let new = value.map(|v| Target::Text(v.to_owned()));
        if old == new {
            return Ok(());
        }
        self.update_refs(vec![RefChange { name, old, new }])
            .map(|_| ())
    }
}

/// Whether a folder is a repository without a working tree.
fn is_bare(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).exists();
    let has_log = has("oplog") || has("oplog.tip");
    !has(DIR_NAME) && has_log && has("packs") && has("leases")
}

/// `user@host` of this process.
pub(crate) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let host = rustix::system::uname();
    format!(
        "{}@{}",
        user.unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string()),
        host.nodename().to_string_lossy()
    )
}

/// Refuses a repository another user planted above the current folder (as Git does since
/// CVE-2022-24765). Root may open any.
fn check_owner(dir: &Path) -> Result<()> {
    let owner = std::fs::metadata(dir)
        .map_err(Error::io("open", dir))?
        .uid();
    let me = rustix::process::geteuid().as_raw();
    if owner == me || me == 0 {
        return Ok(());
    }
    let allowed = std::env::var_os("MODELV_SAFE_DIRECTORY").is_some_and(|list| {
        std::env::split_paths(&list).any(|p| Some(p.as_path()) == dir.parent())
    });
    if allowed {
        return Ok(());
    }
    Err(Error::State(format!(
        "`{}` belongs to another user; name its working tree in MODELV_SAFE_DIRECTORY to trust it",
        dir.display()
    )))
}
