//! Images of a repository's commits for whoever pulls them: made when they are first asked for, and kept.
//! Every blob is there once, whatever images share it. All of it may be deleted at any time.

mod room;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use modelv_repo::core::id::{CommitId, to_hex};
use modelv_repo::{Cancel, Ctx, Repo, names};
use modelv_serve::{Images, Manifest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::attest::attached;
use crate::error::{Error, Result};
use crate::layout::{blob_path, read_bounded};
use crate::reference::as_tag;
use crate::release::{Image, ReleaseOptions, release};

/// Images of a repository.
pub struct Shelf {
    root: PathBuf,
    /// What they are made from; the output is not used.
    options: ReleaseOptions,
    /// What decides an image beside its commit.
    mark: String,
    dir: PathBuf,
    /// What all images may take.
    bytes_max: u64,
    /// One image is made at a time: who asks for the same one waits for it.
    making: Mutex<()>,
    cancel: Cancel,
    /// Told what is worth a word of an image that was made.
    log: Box<dyn Fn(String) + Send + Sync>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Shelf {
    /// A shelf in the repository's own folder.
    ///
    /// # Errors
    /// It can't be written, or the server's program can't be read.
    pub fn open(repo: &Repo, options: ReleaseOptions) -> Result<Self> {
        let dir = repo.dir().join("cache/shelf");
        for name in ["blobs/sha256", "holds", "images"] {
            let dir = dir.join(name);
            std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        let server = crate::release::sha256_of(&options.server)?;
        // What lies beside an image is kept with it.
        let beside = (options.papers, options.modelpack, &options.sign_key);
        let mark = format!(
            "{} {:?} {server} {beside:?}",
            options.base, options.compression
        );
        Ok(Self {
            root: repo.root().to_owned(),
            options,
            mark,
            dir,
            bytes_max: u64::MAX,
            making: Mutex::default(),
            cancel: Cancel::new(),
            log: Box::new(|_| {}),
        })
    }

    /// Names that are no tags, and the tags by which they are pulled.
    ///
    /// # Errors
    /// The repository can't be read.
    pub fn renamed(&self) -> Result<Vec<(String, String)>> {
        let repo = Repo::open(&self.root).or_else(|_| Repo::discover(&self.root))?;
        let refs = offers(&repo);
        let names = refs.iter().map(|(name, _)| name);
        let tags = names.map(|name| (name.clone(), as_tag(name)));
        let is_other = |(name, tag): &(String, String)| {
            name != tag && named_by(&refs, tag) == Some(name) && refs.iter().all(|(n, _)| n != tag)
        };
        Ok(tags.filter(is_other).collect())
    }

    /// The same shelf, whose images may take so many bytes: those that were made first go first.
    #[must_use]
    pub fn within(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }

    /// The same shelf; `log` is told what a release tells its user: nobody else is there to hear it.
    #[must_use]
    pub fn telling(self, log: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self {
            log: Box::new(log),
            ..self
        }
    }

    fn tell(&self, tag: &str, image: &Image) {
        for note in &image.notes {
            (self.log)(format!("warning: `{tag}`: {note}"));
        }
        match &image.replay {
            Some(replay) if replay.skipped.is_some() => {
                (self.log)(format!("warning: `{tag}`: {replay}"));
            }
            Some(replay) if replay.requests > 0 => (self.log)(format!("`{tag}`: {replay}")),
            _ => {}
        }
    }

    /// The digest of the image of what a tag names, which is made if it is not there.
    fn image(&self, tag: &str) -> Result<Option<String>> {
        // Opened anew each time: branches move.
        let repo = Repo::open(&self.root).or_else(|_| Repo::discover(&self.root))?;
        let Some(id) = offered(&repo, tag)? else {
            return Ok(None);
        };
        let key = to_hex(&Sha256::digest(format!("{} {id}", self.mark)));
        let note = self.dir.join("images").join(key);
        if let Some(digest) = self.noted(&note) {
            return Ok(Some(digest));
        }
        let _turn = self.making.lock();
        if let Some(digest) = self.noted(&note) {
            return Ok(Some(digest));
        }
        let temp = tempfile::tempdir_in(&self.dir).map_err(Error::io("create", &self.dir))?;
        let options = ReleaseOptions {
            output: temp.path().join("image"),
            ..self.options.clone()
        };
        let ctx = Ctx {
            cancel: &self.cancel,
            ..Ctx::quiet()
        };
        let image = release(&repo, id, &options, ctx, &mut |_| {})?;
        self.tell(tag, &image);
        self.keep(&options.output, &note, &image.digest)?;
        room::make_room(&self.dir, self.bytes_max)?;
        Ok(Some(image.digest))
    }

    /// The image of a note, if all its blobs are here.
    fn noted(&self, note: &Path) -> Option<String> {
        let text = std::fs::read_to_string(note).ok()?;
        let digest = text.lines().next()?.to_owned();
        let manifest = self.read(&digest)?;
        let value: Value = serde_json::from_slice(&manifest.bytes).ok()?;
        let layers = value["layers"].as_array()?.iter();
        let mut parts = layers.chain([&value["config"]]);
        // One that was cut short is made again.
        let is_here = |d: &Value| {
            let path = self.blob(d["digest"].as_str().unwrap_or_default());
            let meta = path.and_then(|path| path.metadata().ok());
            meta.is_some_and(|meta| d["size"].as_u64() == Some(meta.len()))
        };
        parts.all(is_here).then_some(digest)
    }

    /// Takes the blobs of a layout over; the note comes last.
    fn keep(&self, layout: &Path, note: &Path, digest: &str) -> Result<()> {
        let mut lines = format!("{digest}\n");
        for paper in attached(layout)? {
            lines.push_str(&paper.to_string());
            lines.push('\n');
        }
        let from = layout.join("blobs/sha256");
        let blobs = self.dir.join("blobs/sha256");
        let mut held = String::new();
        for entry in crate::base::entries(&from)? {
            let (from, to) = (entry.path(), blobs.join(entry.file_name()));
            // The name is the promise of the content: it must not outlive a power cut without that.
            let file = std::fs::File::open(&from).map_err(Error::io("read", &from))?;
            file.sync_all().map_err(Error::io("write", &from))?;
            std::fs::rename(&from, &to).map_err(Error::io("write", &to))?;
            held.push_str(&entry.file_name().to_string_lossy());
            held.push('\n');
        }
        let folder = std::fs::File::open(&blobs).map_err(Error::io("read", &blobs))?;
        folder.sync_all().map_err(Error::io("write", &blobs))?;
        let list = self
            .dir
            .join("holds")
            .join(note.file_name().unwrap_or_default());
        crate::place::write_file(&list, |out| {
            out.write_all(held.as_bytes())
                .map_err(Error::io("write", &list))
        })?;
        crate::place::write_file(note, |out| {
            out.write_all(lines.as_bytes())
                .map_err(Error::io("write", note))
        })
    }

    /// What lies beside an image, or beside what does: whatever names this as its subject.
    fn papers(&self, digest: &str) -> Vec<Value> {
        let notes = crate::base::entries(&self.dir.join("images")).unwrap_or_default();
        for note in notes {
            let text = std::fs::read_to_string(note.path()).unwrap_or_default();
            let mut lines = text.lines();
            let is_image = lines.next() == Some(digest);
            let all: Vec<Value> = lines.filter_map(|l| serde_json::from_str(l).ok()).collect();
            if is_image || all.iter().any(|d| d["digest"] == digest) {
                let is_beside = |d: &Value| self.subject_of(d).as_deref() == Some(digest);
                return all.into_iter().filter(is_beside).collect();
            }
        }
        Vec::new()
    }

    fn subject_of(&self, descriptor: &Value) -> Option<String> {
        let manifest = self.read(descriptor["digest"].as_str()?)?;
        let value: Value = serde_json::from_slice(&manifest.bytes).ok()?;
        Some(value["subject"]["digest"].as_str()?.to_owned())
    }

    fn read(&self, digest: &str) -> Option<Manifest> {
        let path = self.blob(digest)?;
        let bytes = read_bounded(&self.dir, &path).ok()?;
        if crate::layout::digest_of(&bytes) != digest {
            return None;
        }
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Manifest {
            media: value["mediaType"].as_str()?.to_owned(),
            digest: digest.to_owned(),
            bytes,
        })
    }

    /// What lies beside an image, by the tag under which cosign asks for it.
    fn paper(&self, tag: &str) -> Option<Manifest> {
        let rest = tag.strip_prefix("sha256-")?;
        let (hex, _) = rest.split_once('.')?;
        let papers = self.papers(&format!("sha256:{hex}"));
        let named = |d: &&Value| d["annotations"]["org.opencontainers.image.ref.name"] == tag;
        self.read(papers.iter().find(named)?["digest"].as_str()?)
    }
}

/// Fewer digits of an id could be a guess.
const ID_DIGITS_MIN: usize = 8;
/// Refs whose commits may be pulled.
const OFFERED: [&str; 3] = [names::HEADS, names::TAGS, names::ALIASES];

/// Names and commits of all that may be pulled by a name.
fn offers(repo: &Repo) -> Vec<(String, CommitId)> {
    let refs = OFFERED.iter().flat_map(|prefix| repo.refs_below(prefix));
    refs.collect()
}

/// The name, no tag itself, for which a tag stands; none where it could be several.
fn named_by<'a>(refs: &'a [(String, CommitId)], tag: &str) -> Option<&'a str> {
    let mut names: Vec<&str> = refs
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != tag && as_tag(name) == tag)
        .collect();
    names.dedup();
    match names.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The commit of a tag: a branch, tag or alias, HEAD for `latest` where none has that name, or the id of a commit that one of these leads to. Whatever
/// else the repository holds, such as files that were put aside and commits that were undone, is nobody's to pull.
fn offered(repo: &Repo, tag: &str) -> Result<Option<CommitId>> {
    let refs = offers(repo);
    if refs.iter().any(|(name, _)| name == tag) {
        return Ok(repo.resolve(tag).ok());
    }
    if tag == "latest" || tag == "HEAD" {
        return Ok(repo.head());
    }
    if let Some(name) = named_by(&refs, tag) {
        return Ok(repo.resolve(name).ok());
    }
    let is_id = tag.len() >= ID_DIGITS_MIN && tag.bytes().all(|b| b.is_ascii_hexdigit());
    let Some(id) = repo.resolve(tag).ok().filter(|_| is_id) else {
        return Ok(None);
    };
    for tip in refs.iter().map(|(_, tip)| *tip).chain(repo.head()) {
        if repo.merge_bases(id, tip)?.contains(&id) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

impl Images for Shelf {
    fn manifest(
        &self,
        _name: &str,
        reference: &str,
    ) -> std::result::Result<Option<Manifest>, String> {
        if reference.starts_with("sha256:") {
            return Ok(self.read(reference));
        }
        if reference.starts_with("sha256-") {
            return Ok(self.paper(reference));
        }
        let is_tag = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !reference.bytes().all(is_tag) {
            return Ok(None);
        }
        let made = self.image(reference).map_err(|e| e.to_string())?;
        Ok(made.and_then(|digest| self.read(&digest)))
    }

    fn blob(&self, digest: &str) -> Option<PathBuf> {
        let path = blob_path(&self.dir, digest).ok()?;
        path.is_file().then_some(path)
    }

    fn tags(&self) -> std::result::Result<Vec<String>, String> {
        let repo = Repo::open(&self.root).or_else(|_| Repo::discover(&self.root));
        let repo = repo.map_err(|e| e.to_string())?;
        let refs = offers(&repo);
        let all = refs.iter().map(|(name, _)| as_tag(name));
        let is_clear = |tag: &String| {
            refs.iter().any(|(name, _)| name == tag) || named_by(&refs, tag).is_some()
        };
        let mut out: Vec<String> = all.filter(is_clear).collect();
        out.sort();
        out.dedup();
        Ok(out)
    }

    fn stop(&self) {
        self.cancel.cancel();
    }

    fn referrers(&self, digest: &str) -> Vec<u8> {
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.papers(digest),
        })
        .to_string()
        .into_bytes()
    }
}
