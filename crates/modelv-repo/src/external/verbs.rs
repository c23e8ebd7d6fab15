//! What people do with external data: add it, list it, ask its sources, take what is new.

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use modelv_store::remote::ObjectState;

use super::allow::Word;
use super::fetch::{is_named, word_of};
use super::{Pointer, Staged, pointer_of};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{
    Files, Ingredient, Scope, SnapFile, StatStamp, place, replace_file, replace_file_from,
};

/// What `add-external` and `import-url` are asked for.
#[derive(Debug, Clone)]
pub struct AddExternal {
    /// Where the data is.
    pub url: String,
    /// Where it belongs in the working tree.
    pub path: RepoPath,
    /// Only ask the store what is there: nothing is read, and no content recorded.
    pub unread: bool,
}

/// How the file in the working tree stands to what is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalState {
    /// It is what is recorded.
    Here,
    /// It is not there.
    Absent,
    /// It was changed here; commits don't take that.
    Changed,
}

impl ExternalState {
    /// It in words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Absent => "not here",
            Self::Changed => "changed here",
        }
    }
}

/// External data of the working tree.
#[derive(Debug, Clone)]
pub struct External {
    /// Where it belongs.
    pub path: RepoPath,
    /// What is recorded of it.
    pub pointer: Pointer,
    /// What is there.
    pub state: ExternalState,
}

/// How a source stands to what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// It is the same object.
    Same,
    /// It is another one now. What is recorded is a version that the store still has if `kept`.
    Changed {
        /// What is there now.
        now: ObjectState,
        /// Whether the recorded version can still be had.
        kept: bool,
    },
    /// Nothing is there.
    Gone,
}

/// What `external update` did with one file.
#[derive(Debug, Clone)]
pub struct Updated {
    /// Where it belongs.
    pub path: RepoPath,
    /// What was recorded.
    pub old: Pointer,
    /// What is recorded now.
    pub new: Pointer,
}

impl Repo {
    /// Adds data by reference: its description, and (unless nothing is to be read) the data.
    ///
    /// # Errors
    /// The source is not there or can't be read, or something is at its place already.
    pub fn add_external(&mut self, add: &AddExternal, ctx: &Ctx<'_>) -> Result<Pointer> {
        let _turn = self.take_turn()?;
        super::copy::refuse_secret(&add.url)?;
        let described = pointer_of(&add.path)?;
        self.refuse_taken(&described)?;
        let (pointer, staged) = self.read_source(add, Word::User, ctx)?;
        match &staged {
            Some(staged) => self.put_in_place(&add.path, staged, None, ctx)?,
            None => self.refuse_taken(&add.path)?,
        }
        self.note_added(&add.url)?;
        replace_file(self.root(), &described, pointer.to_string().as_bytes())?;
        Ok(pointer)
    }

    /// What is at an address now.
    pub(super) fn read_source(
        &self,
        add: &AddExternal,
        word: Word,
        ctx: &Ctx<'_>,
    ) -> Result<(Pointer, Option<Staged>)> {
        let source = self.source(&add.url, word)?;
        let gone = || Error::not_found("source", &add.url);
        let state = source.state(None)?.ok_or_else(gone)?;
        let staged = match add.unread {
            true => None,
            false => {
                Some(self.download(&source, state.version.as_deref(), Some(state.size), ctx)?)
            }
        };
        // Of one that is written meanwhile, state and bytes would not belong together.
        if let Some(staged) = &staged
            && (staged.size != state.size || source.state(None)?.as_ref() != Some(&state))
        {
            return Err(Error::State(format!(
                "`{}` changed while it was read",
                add.url
            )));
        }
        let pointer = Pointer {
            url: add.url.clone(),
            state,
            content: staged.as_ref().map(|s| s.content),
        };
        Ok((pointer, staged))
    }

    pub(super) fn refuse_taken(&self, path: &RepoPath) -> Result<()> {
        match std::fs::symlink_metadata(place(self.root(), path)) {
            Ok(_) => Err(Error::Exists {
                what: "file",
                name: path.to_string(),
            }),
            Err(_) => Ok(()),
        }
    }

    /// Puts fetched data where it belongs, unless it is there; over what `old` describes, over nothing else.
    pub(super) fn put_in_place(
        &self,
        path: &RepoPath,
        staged: &Staged,
        old: Option<&Pointer>,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let mut seen = self.seen();
        let here = seen.look(self, path, ctx)?;
        seen.save();
        match here {
            Some(file) if file.blob == staged.content => return Ok(()),
            Some(file) if old.and_then(|o| o.content) != Some(file.blob) => {
                return Err(Error::WouldOverwrite {
                    action: "fetch",
                    paths: vec![path.to_string()],
                });
            }
            None => self.refuse_taken(path)?,
            Some(_) => {}
        }
        self.write_staged(path, staged)?;
        if let Some(stamp) = StatStamp::at(&place(self.root(), path)) {
            seen.insert(path, stamp, staged.content);
            seen.save();
        }
        Ok(())
    }

    pub(super) fn write_staged(&self, path: &RepoPath, staged: &Staged) -> Result<()> {
        let from = staged.path();
        let mut file = std::fs::File::open(from).map_err(Error::io("read", from))?;
        replace_file_from(self.root(), path, &mut file)
    }

    /// The external data that the working tree describes.
    ///
    /// # Errors
    /// A description is not valid, or a file can't be read.
    pub fn externals(&self, paths: &[RepoPath], ctx: &Ctx<'_>) -> Result<Vec<External>> {
        let files = self.snapshot(&self.rules()?, None, ctx)?.files;
        self.externals_of(&files, paths, ctx)
    }

    /// The same of the descriptions that a look at the working tree found.
    pub(crate) fn externals_named(
        &self,
        named: Vec<(RepoPath, BlobId)>,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<External>> {
        let file = |blob| SnapFile {
            ingredient: Ingredient::Data,
            mode: Mode::File,
            size: 0,
            blob,
        };
        let is_one = |path: &RepoPath| super::is_pointer(&place(self.root(), path));
        let files = named.into_iter().filter(|(path, _)| is_one(path));
        let files = files.map(|(path, blob)| (path, file(blob)));
        // Who only looks is not kept from it by one that is being merged.
        let found = self.described(&files.collect())?.into_iter();
        let valid = found.filter_map(|(base, ingredient, p)| Some((base, ingredient, p.ok()?)));
        self.states_of(valid.collect(), &[], ctx)
    }

    pub(crate) fn externals_of(
        &self,
        files: &Files,
        paths: &[RepoPath],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<External>> {
        let all = self.pointers(files)?;
        self.states_of(all, paths, ctx)
    }

    pub(super) fn states_of(
        &self,
        all: Vec<(RepoPath, Ingredient, Pointer)>,
        paths: &[RepoPath],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<External>> {
        let scope = Scope::new(paths);
        if all.is_empty() {
            let Some(path) = paths.first() else {
                return Ok(Vec::new());
            };
            return Err(Error::not_found("external data", path.to_string()));
        }
        let mut seen = self.seen();
        let mut out = Vec::new();
        for (path, _, pointer) in all {
            // A description stands for its data.
            if !scope.holds(&path) && !scope.holds(&pointer_of(&path)?) {
                continue;
            }
            let state = match (seen.look(self, &path, ctx)?, pointer.content) {
                (None, _) => ExternalState::Absent,
                (Some(file), Some(content)) if file.blob == content => ExternalState::Here,
                // Nobody knows better.
                (Some(file), None) if file.size == pointer.state.size => ExternalState::Here,
                _ => ExternalState::Changed,
            };
            out.push(External {
                path,
                pointer,
                state,
            });
        }
        seen.save();
        match (out.is_empty(), paths.first()) {
            (true, Some(path)) => Err(Error::not_found("external data", path.to_string())),
            _ => Ok(out),
        }
    }

    /// Asks the source of external data whether it is still what is recorded. Reads none of it. What `named`
    /// holds is asked wherever it is.
    ///
    /// # Errors
    /// The source can't be asked, or may not be ([`Error::NotAllowed`]).
    pub fn check_external(&self, external: &External, named: &[RepoPath]) -> Result<SourceState> {
        let pointer = &external.pointer;
        if !is_named(&external.path, named) {
            let allowed = self.allowed_externals();
            allowed.check(&external.path, &pointer.url)?;
        }
        let source = self.source(&pointer.url, word_of(&external.path, named))?;
        let Some(now) = source.state(None)? else {
            return Ok(SourceState::Gone);
        };
        if pointer.is_as(&now) {
            return Ok(SourceState::Same);
        }
        let kept = match &pointer.state.version {
            Some(version) => source.state(Some(version))?.is_some(),
            None => false,
        };
        Ok(SourceState::Changed { now, kept })
    }

    /// Takes what sources have now: the data, and its description as a change to commit.
    ///
    /// # Errors
    /// A source is gone or can't be read; the file was changed here.
    pub fn update_externals(&mut self, paths: &[RepoPath], ctx: &Ctx<'_>) -> Result<Vec<Updated>> {
        let _turn = self.take_turn()?;
        let mut out = Vec::new();
        for external in self.externals(paths, ctx)? {
            let old = external.pointer.clone();
            let state = self.check_external(&external, paths)?;
            if old.content.is_some() && state == SourceState::Same {
                continue;
            }
            let add = AddExternal {
                url: old.url.clone(),
                path: external.path.clone(),
                unread: false,
            };
            let word = word_of(&external.path, paths);
            let (new, staged) = self.read_source(&add, word, ctx)?;
            if let Some(staged) = &staged {
                self.put_in_place(&external.path, staged, Some(&old), ctx)?;
            }
            if new == old {
                continue;
            }
            let described = pointer_of(&external.path)?;
            replace_file(self.root(), &described, new.to_string().as_bytes())?;
            let path = external.path;
            out.push(Updated { path, old, new });
        }
        Ok(out)
    }

    /// Makes sure that a program which is to run finds the external data that is recorded: what is not
    /// there is fetched.
    ///
    /// # Errors
    /// A file was changed here, a source can't be read or has changed.
    pub(crate) fn require_externals(&self, files: &Files, ctx: &Ctx<'_>) -> Result<()> {
        let allowed = self.allowed_externals();
        for external in self.externals_of(files, &[], ctx)? {
            match external.state {
                ExternalState::Here => {}
                ExternalState::Changed => {
                    return Err(Error::State(format!(
                        "external data `{}` was changed here, and commits don't take that",
                        external.path
                    )));
                }
                ExternalState::Absent => {
                    allowed.check(&external.path, &external.pointer.url)?;
                    let staged =
                        self.fetch_external(&external.path, &external.pointer, Word::Commit, ctx)?;
                    self.put_in_place(&external.path, &staged, None, ctx)?;
                }
            }
        }
        Ok(())
    }
}
