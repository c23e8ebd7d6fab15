//! A model or data set of the Hugging Face Hub, from the cache that its tools keep on this machine: one
//! commit with the files of a snapshot. Files are checked against the hashes that the cache names them by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_core::commit::Commit;
use modelv_core::env::Env;
use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::Session;

use super::places::files_below;
use super::pointers::Place;
use crate::capture::clock;
use crate::commit::write_recipe;
use crate::ctx::{Ctx, Unit};
use crate::dirs::{set, user_cache};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, SnapFile};

/// The fact of a commit that names the repository on the Hub.
const HUB_REPO: &str = "hf.repo";
/// The fact of a commit that names the commit there.
const HUB_COMMIT: &str = "hf.commit";
/// Kinds of repositories, as folders of a cache begin.
const KINDS: [&str; 3] = ["models--", "datasets--", "spaces--"];

/// What `import hf` is asked for.
#[derive(Debug, Clone, Default)]
pub struct HubImport {
    /// `OWNER/NAME`, a folder `models--OWNER--NAME` of a cache, or a snapshot in it.
    pub source: String,
    /// A branch, tag or commit of the Hub; `main` where none is named.
    pub revision: Option<String>,
    /// The folder that the files come into; otherwise `models/NAME`, of data sets `data/NAME`.
    pub into: Option<RepoPath>,
    /// `Name <mail>`, before all other sources.
    pub author: Option<String>,
}

/// What was taken.
#[derive(Debug)]
pub struct HubImported {
    /// The new commit.
    pub id: CommitId,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The commit on the Hub.
    pub revision: String,
    /// How many files came.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A snapshot in a cache.
struct Snapshot {
    dir: PathBuf,
    repo: String,
    revision: String,
}

impl Repo {
    /// Commits a snapshot of the Hub's cache, and writes its files into the working tree.
    ///
    /// # Errors
    /// It is not there, a file is not what the cache says, or files that no commit has are in the way.
    /// Nothing has changed then.
    pub fn import_hub(&mut self, options: &HubImport, ctx: &Ctx<'_>) -> Result<HubImported> {
        let _turn = self.take_turn()?;
        self.refuse_while_merging("import")?;
        let author = self.author(options.author.as_deref())?;
        let snapshot = find(&options.source, options.revision.as_deref())?;
        let head = self.head();
        let parent = head.map(|id| self.commit_object(id)).transpose()?;
        let before = self.files_or_none(head)?;
        let session = self.store.begin()?;
        let listed = list(&snapshot.dir)?;
        let mut to = before.clone();
        let into = match &options.into {
            Some(into) => into.clone(),
            None => RepoPath::new(snapshot.default_folder())?,
        };
        to.retain(|path, _| !path.is_within(into.as_bytes()));
        let mut out = HubImported {
            id: CommitId([0; 32]),
            repo: snapshot.repo.clone(),
            revision: snapshot.revision.clone(),
            files: listed.len(),
            bytes: 0,
        };
        let (taken, bytes) = self.take_snapshot(listed, &into, &session, ctx)?;
        out.bytes = bytes;
        to.extend(taken);
        let env = match &parent {
            Some(parent) => self.env_object(parent.recipe.env)?,
            None => Env::none(),
        };
        let (recipe, model) = write_recipe(&to, &env, parent.as_ref(), &session)?;
        session.finish()?;
        if parent
            .as_ref()
            .is_some_and(|p| p.recipe == recipe && p.model == model)
        {
            let head = self.head_label();
            return Err(Error::NothingToCommit { head });
        }
        if !self.is_bare() {
            self.check_out_files(&before, &to, "import", ctx)?;
        }
        let commit = Commit {
            recipe,
            model,
            parents: head.into_iter().collect(),
            author: author.clone(),
            committer: author,
            time: clock::now(),
            message: format!("{} from the Hugging Face Hub", snapshot.repo),
            runs: Vec::new(),
            extra: BTreeMap::from([
                (HUB_REPO.to_owned(), snapshot.repo),
                (HUB_COMMIT.to_owned(), snapshot.revision),
            ]),
        };
        out.id = self.publish(&commit, Vec::new(), !self.is_bare())?;
        Ok(out)
    }

    /// Stores the files of a snapshot; gives them as they are in a folder here, and their bytes.
    fn take_snapshot(
        &self,
        listed: Vec<(Vec<u8>, PathBuf)>,
        into: &RepoPath,
        session: &Session<'_>,
        ctx: &Ctx<'_>,
    ) -> Result<(Files, u64)> {
        let (mut files, mut bytes) = (Files::new(), 0);
        let rules = self.rules()?;
        ctx.progress
            .start("importing files", Unit::Items, Some(listed.len() as u64));
        for (inside, content) in listed {
            ctx.cancel.check()?;
            let path = [into.as_bytes(), b"/", &inside].concat();
            let path = RepoPath::new(path)?;
            check(&content)?;
            let mut file = std::fs::File::open(&content).map_err(Error::io("open", &content))?;
            let size = file.metadata().map_err(Error::io("read", &content))?.len();
            let (blob, size) = session.put_file(&mut file, size, None)?;
            bytes += size;
            let file = SnapFile {
                ingredient: rules.classify(&path).ingredient,
                mode: Mode::File,
                size,
                blob,
            };
            files.insert(path, file);
            ctx.progress.advance(1);
        }
        ctx.progress.finish();
        Ok((files, bytes))
    }
}

impl Snapshot {
    fn default_folder(&self) -> String {
        let name = self.repo.rsplit('/').next().unwrap_or(&self.repo);
        let is_data = self.dir.ancestors().nth(2).and_then(Path::file_name);
        let is_data = is_data.is_some_and(|n| n.to_string_lossy().starts_with("datasets--"));
        format!("{}/{name}", if is_data { "data" } else { "models" })
    }
}

/// The cache of this user, as the Hub's tools find it.
fn cache() -> PathBuf {
    if let Some(dir) = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")) {
        return dir;
    }
    set("HF_HOME")
        .unwrap_or_else(|| user_cache().join("huggingface"))
        .join("hub")
}

/// The snapshot that a source and a revision name.
fn find(source: &str, revision: Option<&str>) -> Result<Snapshot> {
    let missing = || Error::not_found("snapshot of the Hub", source);
    let given = Path::new(source);
    let folder = if given.is_dir() {
        let full = std::fs::canonicalize(given).map_err(Error::io("read", given))?;
        let is_snapshot = full.parent().is_some_and(|p| p.ends_with("snapshots"));
        if is_snapshot {
            let folder = full.ancestors().nth(2).unwrap_or(&full);
            let name = full.file_name().unwrap_or_default().to_string_lossy();
            return Ok(Snapshot {
                repo: repo_of(folder).ok_or_else(missing)?,
                revision: name.into_owned(),
                dir: full,
            });
        }
        full
    } else {
        let name = source.replace('/', "--");
        let mut found = KINDS
            .iter()
            .map(|kind| cache().join(format!("{kind}{name}")));
        found.find(|dir| dir.is_dir()).ok_or_else(missing)?
    };
    let repo = repo_of(&folder).ok_or_else(missing)?;
    let name = revision.unwrap_or("main");
    let is_plain = Path::new(name)
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_)));
    if !is_plain {
        return Err(Error::not_found("snapshot of the Hub", name));
    }
    let named = std::fs::read_to_string(folder.join("refs").join(name));
    let commit = named.map_or_else(|_| name.to_owned(), |text| text.trim().to_owned());
    let dir = folder.join("snapshots").join(&commit);
    if !dir.is_dir() {
        return Err(Error::not_found(
            "snapshot of the Hub",
            format!("{source} at {name}"),
        ));
    }
    Ok(Snapshot {
        dir,
        repo,
        revision: commit,
    })
}

/// `OWNER/NAME` of a folder `models--OWNER--NAME`.
fn repo_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    let name = KINDS.iter().find_map(|kind| name.strip_prefix(kind))?;
    Some(name.replacen("--", "/", 1))
}

/// Files of a snapshot by their paths in it, and where their contents are.
fn list(dir: &Path) -> Result<Vec<(Vec<u8>, PathBuf)>> {
    let real = |(inside, path): (Vec<u8>, PathBuf)| {
        let content = std::fs::canonicalize(&path).map_err(Error::io("read", path))?;
        Ok((inside, content))
    };
    files_below(dir)?.into_iter().map(real).collect()
}

/// Contents are named by their SHA-256, or by the id that Git gives them. Where the cache could make no
/// links, a snapshot holds the files themselves, and nothing proves them.
fn check(content: &Path) -> Result<()> {
    let is_blob = content.parent().is_some_and(|p| p.ends_with("blobs"));
    let named = is_blob.then(|| Place::named(content.to_owned())).flatten();
    named.map_or(Ok(()), |place| place.check())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_cache_is_a_repository() {
        let of = |name: &str| repo_of(Path::new(name));
        assert_eq!(of("/c/models--a--b--c"), Some("a/b--c".into()));
        assert_eq!(of("models--gpt2"), Some("gpt2".into()));
        assert_eq!(of("/c/snapshots"), None);
    }

    #[test]
    fn a_revision_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models--a--b");
        std::fs::create_dir_all(folder.join("snapshots")).unwrap();
        let found = find(folder.to_str().unwrap(), Some("../../x"));
        assert!(matches!(found, Err(Error::NotFound { .. })));
    }
}
