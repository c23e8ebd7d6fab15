//! Merging weights of commits or of files: `core::weights` does the arithmetic; here is where the
//! files come from, where the result goes, and how a commit remembers how it was made.
//!
//! Must never leave half a file, and never give a merged model out as the product of a recipe that
//! did not make it: it carries the recipe of the first model that took part.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use modelv_core::commit::{Commit, Model};
use modelv_core::driver::TensorError;
use modelv_core::id::{BlobId, CommitId, RecipeId};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_core::weights::{self, Method, Side, Sides, Tally, WeightsError};
use modelv_store::unwrap_io;

use crate::capture::{clock, git};
use crate::commit::{check_message, write_recipe};
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::merge::MergeState;
use crate::repo::Repo;
use crate::worktree::{Ingredient, SnapFile};

/// Facts of a commit that say how a file of its model was merged have such names, and the path.
const FACT: &str = "weights.";

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsSource {
    /// Of a commit.
    Committed {
        /// Which commit.
        revision: String,
        /// Which file.
        path: RepoPath,
    },
    /// On the disk.
    File(PathBuf),
}

/// What `weights merge` is asked for.
#[derive(Debug, Clone)]
pub struct WeightsOptions {
    /// What is put together.
    pub models: Vec<WeightsSource>,
    /// What a method adds to; `None`: the file of the merge base of the first two, where a base is
    /// needed.
    pub base: Option<WeightsSource>,
    /// How.
    pub method: Method,
    /// Where the result goes.
    pub output: PathBuf,
    /// Write over a file whose content is kept nowhere else.
    pub force: bool,
    /// Commits the result as the model, with this message.
    pub message: Option<String>,
    /// Who commits.
    pub author: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct WeightsDone {
    /// How the result was made, as it says itself.
    pub record: String,
    /// What was done to how much.
    pub tally: Tally,
    /// The commit that was asked for.
    pub commit: Option<CommitId>,
}

/// Models and base, open.
struct Opened<'r> {
    sides: Sides<'r>,
    record: String,
    bytes: u64,
}

impl Repo {
    /// Merges weights into a file, and commits it where a message is given.
    ///
    /// # Errors
    /// A file is missing or no safetensors, the models do not fit, or the result can't be written
    /// or is no model file. Nothing has changed then.
    pub fn merge_weights(
        &mut self,
        options: &WeightsOptions,
        ctx: &Ctx<'_>,
    ) -> Result<WeightsDone> {
        let place = match &options.message {
            Some(message) => {
                check_message(message)?;
                self.refuse_while_merging("commit merged weights")?;
                self.author(options.author.as_deref())?;
                self.get_head()?;
                Some(self.model_place(&options.output)?)
            }
            None => None,
        };
        if !options.force {
            self.refuse_to_lose(&options.output)?;
        }
        let base = self.weights_base(options)?;
        let made_by = self.recipe_behind(&options.models)?;
        let (record, tally) = {
            let opened = self.open_weights(&options.method, &options.models, base.as_ref())?;
            let record = opened.record.clone();
            let tally = write_merged(&options.method, opened, &options.output, ctx)?;
            (record, tally)
        };
        let commit = match (place, &options.message) {
            (Some(path), Some(message)) => {
                let author = options.author.as_deref();
                Some(self.commit_weights(&path, options, (&record, message, author), made_by)?)
            }
            _ => None,
        };
        Ok(WeightsDone {
            record,
            tally,
            commit,
        })
    }

    /// Refuses a place with a file that nothing could bring back: the store does not keep its
    /// content, and it is not the result of such a merge, which can be made again.
    fn refuse_to_lose(&self, output: &Path) -> Result<()> {
        let mut file = match std::fs::File::open(output) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("open", output)(e)),
        };
        if weights::record_of(&mut file).is_some() {
            return Ok(());
        }
        let id = hash(&mut file).map_err(Error::io("read", output))?;
        if self.store.keeps_blob(&id)? {
            return Ok(());
        }
        Err(Error::Exists {
            what: "output",
            name: output.display().to_string(),
        })
    }

    /// Where an output lies in the working tree, if it is a file of the model there.
    fn model_place(&self, output: &Path) -> Result<RepoPath> {
        let shown = output.display().to_string();
        let Some(relative) = self.relative(output) else {
            let reason = "it is outside of the working tree";
            return Err(Error::invalid("output", shown, reason));
        };
        let path = RepoPath::new(relative.as_os_str().as_bytes())?;
        let ingredient = self.rules()?.classify(&path).ingredient;
        if ingredient != Ingredient::Model {
            let reason = format!("it is {} here, no model", ingredient.word());
            return Err(Error::invalid("output", shown, reason));
        }
        Ok(path)
    }

    fn weights_base(&self, options: &WeightsOptions) -> Result<Option<WeightsSource>> {
        if options.base.is_some() || !options.method.kind.needs_base() {
            return Ok(options.base.clone());
        }
        let [
            WeightsSource::Committed { revision: a, path },
            WeightsSource::Committed { revision: b, .. },
            ..,
        ] = options.models.as_slice()
        else {
            return Ok(None);
        };
        let (a, b) = (self.resolve(a)?, self.resolve(b)?);
        let found = self.common_file(a, b, path)?;
        if let Some(base) = &found {
            self.refuse_own_base(options, base)?;
        }
        Ok(found)
    }

    /// Refuses a base that nobody named and that is one of the models: two files of one commit, or
    /// a side that has not moved. What a method adds to it is then the other model, not a merge.
    fn refuse_own_base(&self, options: &WeightsOptions, base: &WeightsSource) -> Result<()> {
        let blob = |source: &WeightsSource| match source {
            WeightsSource::Committed { revision, path } => {
                self.blob_at(self.resolve(revision)?, path)
            }
            WeightsSource::File(_) => Ok(None),
        };
        let base = blob(base)?;
        for model in &options.models {
            if base.is_some() && blob(model)? == base {
                let word = options.method.kind.word();
                return Err(Error::Weights(WeightsError::OwnBase(word)));
            }
        }
        Ok(())
    }

    /// The file of the merge base of two commits, where there is exactly one and it has it.
    fn common_file(
        &self,
        a: CommitId,
        b: CommitId,
        path: &RepoPath,
    ) -> Result<Option<WeightsSource>> {
        let bases = self.merge_bases(a, b)?;
        let [base] = bases.as_slice() else {
            return Ok(None);
        };
        let has = self.files(*base)?.contains_key(path);
        Ok(has.then(|| WeightsSource::Committed {
            revision: base.to_hex(),
            path: path.clone(),
        }))
    }

    /// The recipe that made the first model that takes part, as far as that is known.
    fn recipe_behind(&self, models: &[WeightsSource]) -> Result<Option<RecipeId>> {
        for source in models {
            if let WeightsSource::Committed { revision, .. } = source {
                let commit = self.commit_object(self.resolve(revision)?)?;
                return Ok(commit.model.map(|m| m.recipe));
            }
        }
        Ok(None)
    }

    fn open_weights<'r>(
        &'r self,
        method: &Method,
        models: &[WeightsSource],
        base: Option<&WeightsSource>,
    ) -> Result<Opened<'r>> {
        let mut bytes = 0;
        let mut open = |source: &WeightsSource| {
            let (side, size) = self.weights_side(source)?;
            bytes = size.max(bytes);
            Ok::<Side<'r>, Error>(side)
        };
        let models: Vec<Side<'r>> = models.iter().map(&mut open).collect::<Result<_>>()?;
        let base = base.map(open).transpose()?;
        let labels: Vec<&str> = models.iter().map(|s| s.label.as_str()).collect();
        let mut record = format!("{method} of {}", labels.join(", "));
        if let Some(base) = &base {
            record = format!("{record} over {}", base.label);
        }
        Ok(Opened {
            sides: Sides::new(models, base),
            record,
            bytes,
        })
    }

    fn weights_side<'r>(&'r self, source: &WeightsSource) -> Result<(Side<'r>, u64)> {
        match source {
            WeightsSource::Committed { revision, path } => {
                let id = self.resolve(revision)?;
                let found = self.files(id)?.remove(path);
                let missing = || Error::not_found("path", format!("{revision}:{path}"));
                let file = found.ok_or_else(missing)?;
                let side = Side {
                    label: format!("{id}:{path}"),
                    source: Box::new(self.store.open_blob(&file.blob)?),
                };
                Ok((side, file.size))
            }
            WeightsSource::File(path) => {
                let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
                let size = file.metadata().map_err(Error::io("read", path))?.len();
                let side = Side {
                    label: path.display().to_string(),
                    source: Box::new(file),
                };
                Ok((side, size))
            }
        }
    }

    fn commit_weights(
        &mut self,
        path: &RepoPath,
        options: &WeightsOptions,
        (record, message, author): (&str, &str, Option<&str>),
        made_by: Option<RecipeId>,
    ) -> Result<CommitId> {
        let author = self.author(author)?;
        let head = self.get_head()?;
        let parent = self.commit_object(head)?;
        let mut files = self.files_of_commit(&parent)?;
        let session = self.store.begin()?;
        let output = &options.output;
        let mut file = std::fs::File::open(output).map_err(Error::io("open", output))?;
        let size = file.metadata().map_err(Error::io("read", output))?.len();
        let (blob, size) = session.put_blob(&mut file, size)?;
        let merged = SnapFile {
            ingredient: Ingredient::Model,
            mode: Mode::File,
            size,
            blob,
        };
        files.insert(path.clone(), merged);
        let env = self.env_object(parent.recipe.env)?;
        let (recipe, model) = write_recipe(&files, &env, None, &session)?;
        session.finish()?;
        let model = model.map(|m| Model {
            recipe: made_by.unwrap_or(m.recipe),
            ..m
        });
        let mut extra = git::facts(self.root());
        extra.insert(format!("{FACT}{path}"), record.to_owned());
        let commit = Commit {
            recipe,
            model,
            parents: vec![head],
            author: author.clone(),
            committer: author,
            time: clock::now(),
            message: message.trim().to_owned(),
            runs: Vec::new(),
            extra,
        };
        self.publish(&commit, Vec::new(), false)
    }

    /// Merges the weights that both sides of a merge have at `item` into the working tree. What
    /// else both have alike of the model comes back with them.
    pub(crate) fn settle_weights(
        &self,
        state: &mut MergeState,
        item: &str,
        method: &Method,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let path = RepoPath::new(item.as_bytes())?;
        if !item.to_ascii_lowercase().ends_with(".safetensors") {
            let reason = "weights are put together in safetensors alone: decide with `--ours`, `--theirs` or `--base`";
            return Err(Error::invalid("decision", item, reason));
        }
        let theirs = self.theirs_of(state)?.ok_or_else(|| {
            let reason = "weights are merged where two commits are";
            Error::invalid("decision", item, reason)
        })?;
        let ours = self.get_head()?;
        let (our_files, their_files) = (self.files(ours)?, self.files(theirs)?);
        if !our_files.contains_key(&path) || !their_files.contains_key(&path) {
            let reason = "weights are merged where both sides have the file";
            return Err(Error::invalid("decision", item, reason));
        }
        let source = |id: CommitId| WeightsSource::Committed {
            revision: id.to_hex(),
            path: path.clone(),
        };
        let base = if method.kind.needs_base() {
            self.common_file(ours, theirs, &path)?
        } else {
            None
        };
        let opened = self.open_weights(method, &[source(ours), source(theirs)], base.as_ref())?;
        let record = opened.record.clone();
        let folder = self.dir().join("tmp");
        let folder = tempfile::tempdir_in(&folder).map_err(Error::io("create", &folder))?;
        let output = folder.path().join("weights");
        write_merged(method, opened, &output, ctx)?;
        let session = self.store.begin()?;
        let mut file = std::fs::File::open(&output).map_err(Error::io("open", &output))?;
        let size = file.metadata().map_err(Error::io("read", &output))?.len();
        let (blob, size) = session.put_blob(&mut file, size)?;
        session.finish()?;
        let current = self.snapshot(&self.rules()?, None, ctx)?.files;
        let mut to = current.clone();
        let mode = our_files.get(&path).map_or(Mode::File, |f| f.mode);
        let merged = SnapFile {
            ingredient: self.rules()?.classify(&path).ingredient,
            mode,
            size,
            blob,
        };
        to.insert(path, merged);
        self.check_out_files(&current, &to, "resolve", ctx)?;
        state.weights.insert(item.to_owned(), record);
        Ok(())
    }
}

impl MergeState {
    /// The model of a merge that put weights together: made by the recipe of ours.
    pub(crate) fn model_of(&self, model: Option<Model>, ours: &Commit) -> Option<Model> {
        let made_by = ours.model.filter(|_| !self.weights.is_empty());
        model.map(|m| Model {
            recipe: made_by.map_or(m.recipe, |ours| ours.recipe),
            ..m
        })
    }

    /// The facts of the commit to come, with what it is to say of merged weights.
    pub(crate) fn facts(&self, root: &Path) -> BTreeMap<String, String> {
        let fact = |(path, record): (&String, &String)| (format!("{FACT}{path}"), record.clone());
        let mut out = git::facts(root);
        out.extend(self.weights.iter().map(fact));
        out
    }
}

/// The id of all of a file's content.
fn hash(file: &mut std::fs::File) -> io::Result<BlobId> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(BlobId(*hasher.finalize().as_bytes()))
}

/// Writes the result beside its place and gives it its name when it is whole.
fn write_merged(
    method: &Method,
    mut opened: Opened<'_>,
    output: &Path,
    ctx: &Ctx<'_>,
) -> Result<Tally> {
    let folder = match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let temp = tempfile::Builder::new()
        .prefix(".mv-tmp-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(Error::io("create", folder))?;
    let mut out = BufWriter::with_capacity(1 << 20, temp.as_file());
    ctx.progress
        .start("merging weights", Unit::Bytes, Some(opened.bytes));
    let done = weights::merge(
        method,
        &mut opened.sides,
        &opened.record,
        &mut out,
        &mut |bytes| {
            ctx.progress.advance(bytes);
            ctx.cancel.check().map_err(io::Error::other)
        },
    );
    ctx.progress.finish();
    ctx.cancel.check()?;
    let tally = done.map_err(told)?;
    out.flush().map_err(Error::io("write", output))?;
    drop(out);
    temp.persist(output)
        .map_err(|e| Error::io("write", output)(e.error))?;
    Ok(tally)
}

/// What the store says when it is read through a file of weights is the store's.
fn told(error: WeightsError) -> Error {
    match error {
        WeightsError::Io(e)
        | WeightsError::File {
            source: TensorError::Io(e),
            ..
        } => unwrap_io(e).into(),
        other => Error::Weights(other),
    }
}
