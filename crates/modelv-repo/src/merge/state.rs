//! The state of an unfinished merge, cherry-pick, revert or rebase, as the operation log keeps it
//! (`spec/merge-state.md`). Holds values and their bytes; decides nothing.

use std::collections::BTreeMap;

use modelv_core::id::{BlobId, CommitId, EnvId};
use modelv_core::merge::Side;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;

/// Newest version of the document.
pub(crate) const STATE_VERSION: u32 = 2;

/// What is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Another line of history is combined with HEAD.
    #[default]
    Merge,
    /// The changes of commits are made again on HEAD.
    CherryPick,
    /// The changes of commits are taken back.
    Revert,
    /// The commits of a branch are made again on another commit.
    Rebase,
}

impl Action {
    /// The verb.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::CherryPick => "cherry-pick",
            Self::Revert => "revert",
            Self::Rebase => "rebase",
        }
    }
}

/// One commit whose change is made again or taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The commit.
    pub commit: String,
    /// For a merge: which parent it is compared with, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mainline: Option<usize>,
}

impl Step {
    pub(crate) fn id(&self) -> Result<CommitId> {
        commit_id(&self.commit)
    }
}

/// The way of a cherry-pick, revert or rebase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// HEAD before the first step.
    pub start: String,
    /// Full name of the branch that a rebase moves when it is done; `None`: HEAD itself moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The step that is not finished.
    pub current: Step,
    /// Steps after it.
    pub todo: Vec<Step>,
    /// How many there are in all.
    pub total: usize,
    /// Whether messages name the commit they come from.
    #[serde(default)]
    pub note_source: bool,
}

/// One conflict as it is stored until it is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictState {
    /// Names it for `resolve`: `path`, `path:key`, `path:package` or `env:package`.
    pub item: String,
    /// `text`, `key`, `package`, `content`, `delete/modify`, `add/add`, `type`, `rename/rename`,
    /// `file/directory`, `env`.
    pub kind: String,
    /// The file; empty for the environment.
    pub path: String,
    /// Key or package inside the file or environment.
    pub part: Option<String>,
    /// Value in the merge base, as text.
    pub base: Option<String>,
    /// Our value.
    pub ours: Option<String>,
    /// Their value.
    pub theirs: Option<String>,
    /// Bytes of the path, for one that is not UTF-8.
    pub(super) path_bytes: Vec<u8>,
    pub(super) base_file: Option<StoredSide>,
    pub(super) ours_file: Option<StoredSide>,
    pub(super) theirs_file: Option<StoredSide>,
    /// Whether it has been decided.
    pub resolved: bool,
    /// Bytes of its path in the merge base, where it has another now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) was: Option<Vec<u8>>,
    /// Bytes of the path that the other side gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) twin: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredSide {
    mode: u8,
    size: u64,
    blob: String,
}

impl ConflictState {
    /// Mode and bytes of the file in the merge base, on our side and on theirs; `None`: absent.
    ///
    /// # Errors
    /// The state is damaged.
    pub fn files(&self) -> Result<[Option<(Mode, u64)>; 3]> {
        let read = |side: &Option<StoredSide>| -> Result<Option<(Mode, u64)>> {
            let side = side.as_ref().map(StoredSide::side).transpose()?;
            Ok(side.map(|s| (s.mode, s.size)))
        };
        Ok([
            read(&self.base_file)?,
            read(&self.ours_file)?,
            read(&self.theirs_file)?,
        ])
    }
}

impl ConflictState {
    /// The path of the file in the merge base, where it has another now.
    #[must_use]
    pub fn was(&self) -> Option<RepoPath> {
        RepoPath::new(self.was.clone()?).ok()
    }

    /// The path that the other side gave the file.
    #[must_use]
    pub fn twin(&self) -> Option<RepoPath> {
        RepoPath::new(self.twin.clone()?).ok()
    }

    /// Where it is in its list, by the name that `conflicts` shows or one without the quotes in it.
    ///
    /// # Errors
    /// There is no such conflict, or more than one.
    pub fn find(list: &[Self], item: &str) -> Result<usize> {
        if let Some(at) = list.iter().position(|c| c.item == item) {
            return Ok(at);
        }
        let bare = |text: &str| text.replace(['"', '\\'], "");
        let wanted = bare(item);
        let mut fits = (0..list.len()).filter(|at| bare(&list[*at].item) == wanted);
        match (fits.next(), fits.next()) {
            (Some(at), None) => Ok(at),
            (Some(a), Some(b)) => Err(Error::Ambiguous {
                name: item.to_owned(),
                candidates: [a, b].map(|at| list[at].item.clone()).to_vec(),
            }),
            _ => Err(Error::not_found("conflict", item)),
        }
    }
}

impl StoredSide {
    pub(super) fn new(side: Side) -> Self {
        let mode = match side.mode {
            Mode::File => 0,
            Mode::Executable => 1,
            Mode::Symlink => 2,
            Mode::Tree => 3,
            Mode::External => 4,
        };
        Self {
            mode,
            size: side.size,
            blob: side.blob.to_hex(),
        }
    }

    pub(super) fn side(&self) -> Result<Side> {
        let mode = match self.mode {
            0 => Mode::File,
            1 => Mode::Executable,
            2 => Mode::Symlink,
            _ => Mode::External,
        };
        Ok(Side {
            mode,
            size: self.size,
            blob: BlobId::from_hex(&self.blob).map_err(damaged)?,
        })
    }
}

/// An unfinished merge, cherry-pick, revert or rebase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeState {
    /// Version of the document.
    #[serde(default = "first_version")]
    pub(super) version: u32,
    /// What is not finished.
    #[serde(default)]
    pub action: Action,
    /// The commit that is merged into HEAD; `None` where a sequence names the commit.
    pub theirs: Option<String>,
    /// What people called it.
    pub label: String,
    /// Message of the commit to come.
    pub message: String,
    /// Environment of the commit to come.
    pub(super) env: String,
    /// Everything that was left to decide, decided or not.
    pub conflicts: Vec<ConflictState>,
    /// Paths of the result that neither side has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) made: Vec<Vec<u8>>,
    /// The way of a cherry-pick, revert or rebase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Files of the model whose weights were merged, and how.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, String>,
}

fn first_version() -> u32 {
    1
}

impl MergeState {
    /// The commits, the environment and the contents that it takes to finish it.
    ///
    /// # Errors
    /// An id is none.
    pub(crate) fn needs(&self) -> Result<(Vec<CommitId>, EnvId, Vec<BlobId>)> {
        let mut commits: Vec<&str> = self.theirs.as_deref().into_iter().collect();
        if let Some(sequence) = &self.sequence {
            commits.extend([sequence.start.as_str(), &sequence.current.commit]);
            commits.extend(sequence.todo.iter().map(|s| s.commit.as_str()));
        }
        let commits = commits.into_iter().map(commit_id).collect::<Result<_>>()?;
        let files = self
            .conflicts
            .iter()
            .flat_map(|c| [&c.base_file, &c.ours_file, &c.theirs_file]);
        let blobs = files.flatten().map(|f| f.side().map(|s| s.blob));
        Ok((commits, self.env_id()?, blobs.collect::<Result<_>>()?))
    }

    pub(crate) fn of_sequence(
        action: Action,
        (label, message): (String, String),
        env: EnvId,
        conflicts: Vec<ConflictState>,
        made: Vec<Vec<u8>>,
        sequence: Sequence,
    ) -> Self {
        Self {
            version: STATE_VERSION,
            action,
            theirs: None,
            label,
            message,
            env: env.to_hex(),
            conflicts,
            made,
            sequence: Some(sequence),
            weights: BTreeMap::new(),
        }
    }

    pub(super) fn env_id(&self) -> Result<EnvId> {
        EnvId::from_hex(&self.env).map_err(damaged)
    }

    /// Conflicts that are not decided.
    pub fn open(&self) -> impl Iterator<Item = &ConflictState> {
        self.conflicts.iter().filter(|c| !c.resolved)
    }
}

pub(crate) fn commit_id(hex: &str) -> Result<CommitId> {
    CommitId::from_hex(hex).map_err(damaged)
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn damaged(e: impl ToString) -> Error {
    Error::Corrupt {
        what: "merge state".into(),
        detail: e.to_string(),
    }
}

impl ConflictState {
    /// The path of the file.
    ///
    /// # Errors
    /// It is of the environment, or damaged.
    pub fn repo_path(&self) -> Result<RepoPath> {
        Ok(RepoPath::new(self.path_bytes.clone())?)
    }
}

impl Repo {
    /// What is not finished, if something is.
    ///
    /// # Errors
    /// Its record is missing, damaged, or from a newer program.
    pub fn merge_state(&self) -> Result<Option<MergeState>> {
        let Some(Target::Blob(blob)) = self.log.refs.get(names::MERGE) else {
            return Ok(None);
        };
        self.read_merge_state(*blob).map(Some)
    }

    /// The state of a merge as it was at some time.
    pub(crate) fn read_merge_state(&self, blob: BlobId) -> Result<MergeState> {
        parse(&self.read_blob(blob)?)
    }

    pub(super) fn save_merge_state(
        &mut self,
        state: Option<&MergeState>,
        worktree: bool,
    ) -> Result<()> {
        let change = self.merge_state_change(state)?;
        self.append(vec![change], worktree, None).map(|_| ())
    }

    pub(crate) fn merge_state_change(&self, state: Option<&MergeState>) -> Result<RefChange> {
        let new = match state {
            None => None,
            Some(state) => {
                let bytes = serde_json::to_vec(state).map_err(|e| Error::State(e.to_string()))?;
                let session = self.store.begin()?;
                let (blob, _) = session.put_blob(&mut bytes.as_slice(), bytes.len() as u64)?;
                session.finish()?;
                Some(Target::Blob(blob))
            }
        };
        Ok(self.ref_change(names::MERGE, new))
    }

    /// What is not finished, which must be this.
    pub(crate) fn unfinished(&self, action: Action) -> Result<MergeState> {
        let word = action.word();
        match self.merge_state()? {
            Some(state) if state.action == action => Ok(state),
            Some(state) => Err(Error::State(format!(
                "no {word} is under way, but a {} is not finished",
                state.action.word()
            ))),
            None => Err(Error::State(format!("no {word} is under way"))),
        }
    }

    pub(crate) fn refuse_while_merging(&self, action: &str) -> Result<()> {
        match self.merge_state()? {
            None => Ok(()),
            Some(state) => Err(Error::State(format!(
                "can't {action}: a {} is not finished",
                state.action.word()
            ))),
        }
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<MergeState> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default = "first_version")]
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(damaged)?;
    if head.version > STATE_VERSION {
        return Err(Error::Newer {
            what: "the unfinished merge".into(),
            found: u64::from(head.version),
            known: u64::from(STATE_VERSION),
        });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{self, Vector};

    #[test]
    fn the_first_version_is_still_read_and_a_newer_one_refused() {
        let old = format!(
            r#"{{"theirs":"{0}","label":"side","message":"m","env":"{0}","conflicts":[]}}"#,
            "ab".repeat(32)
        );
        let state = parse(old.as_bytes()).unwrap();
        assert_eq!((state.version, state.action), (1, Action::Merge));
        assert_eq!(state.needs().unwrap().0.len(), 1);
        let newer = old.replacen('{', r#"{"version":3,"#, 1);
        assert!(matches!(
            parse(newer.as_bytes()),
            Err(Error::Newer { found: 3, .. })
        ));
        assert!(matches!(parse(b"{"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn the_vectors_are_read_as_they_say() {
        for Vector { said, bytes } in vectors::of("merge-state") {
            let name = said["name"].as_str().unwrap();
            let found = parse(&bytes).and_then(|state| {
                let (commits, env, blobs) = state.needs()?;
                let paths = state.conflicts.iter().filter(|c| c.kind != "env");
                let paths = paths.map(ConflictState::repo_path);
                paths.collect::<Result<Vec<_>>>()?;
                Ok(serde_json::json!({
                    "version": state.version,
                    "action": state.action.word(),
                    "open": state.open().count(),
                    "conflicts": state.conflicts.len(),
                    "commits": commits.iter().map(CommitId::to_hex).collect::<Vec<_>>(),
                    "env": env.to_hex(),
                    "blobs": blobs.iter().map(BlobId::to_hex).collect::<Vec<_>>(),
                }))
            });
            match said["breaks"].as_str() {
                None => assert_eq!(found.unwrap(), said["expect"], "{name}"),
                Some("STATE-1") => assert!(matches!(found, Err(Error::Newer { .. })), "{name}"),
                Some(rule) => assert!(found.is_err(), "{name} breaks {rule}"),
            }
        }
    }

    #[test]
    fn everything_a_sequence_still_needs_is_named() {
        let step = |byte: u8| Step {
            commit: CommitId([byte; 32]).to_hex(),
            mainline: None,
        };
        let state = MergeState {
            version: STATE_VERSION,
            action: Action::Rebase,
            theirs: None,
            label: String::new(),
            message: "m".into(),
            env: EnvId([9; 32]).to_hex(),
            conflicts: vec![],
            made: vec![],
            sequence: Some(Sequence {
                start: CommitId([1; 32]).to_hex(),
                branch: None,
                current: step(2),
                todo: vec![step(3), step(4)],
                total: 3,
                note_source: false,
            }),
            weights: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&state).unwrap();
        assert_eq!(parse(&bytes).unwrap(), state);
        let wanted: Vec<_> = (1..5).map(|b| CommitId([b; 32])).collect();
        assert_eq!(state.needs().unwrap().0, wanted);
    }
}
