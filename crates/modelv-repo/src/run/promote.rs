//! A branch for what a run made, though nobody committed it: the record holds all that a commit needs.

use modelv_core::commit::{Commit, Model};
use modelv_core::id::{CommitId, RunId};

use crate::capture::{clock, git};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::files_of;

impl Repo {
    /// Makes a branch with one commit more than the run began from: its recipe and what it made. The
    /// working tree stays as it is.
    ///
    /// # Errors
    /// The run made nothing, is that of a stage alone, or an older version recorded it; the branch
    /// exists; nobody said who commits.
    pub fn promote_run(
        &mut self,
        id: RunId,
        branch: &str,
        author: Option<&str>,
    ) -> Result<CommitId> {
        let run = self.run_object(id)?;
        let refuse = |why: &str| Error::State(format!("run `{}` {why}", id.short()));
        let recipe = run.origin.ingredients;
        let recipe = recipe.ok_or_else(|| refuse("was recorded without its ingredients"))?;
        if !run.origin.doubts.is_empty() {
            return Err(refuse(
                "is in doubt: its files changed, or another run was under way, while it ran",
            ));
        }
        if run.origin.stage.is_some() {
            return Err(refuse("is that of a stage: it made a part of a model"));
        }
        let tree = run.outputs.ok_or_else(|| refuse("made no model"))?;
        files_of(
            &self.store,
            recipe.code,
            recipe.data,
            recipe.config,
            Some(tree),
        )?;
        let person = self.author(author)?;
        let parents = run.commit.filter(|c| self.commit_object(*c).is_ok());
        let params: Vec<String> = run
            .params
            .iter()
            .map(|(k, v)| format!("{k} = {v}"))
            .collect();
        let subject = format!("run {}: {}", id.short(), run.command.join(" "));
        let commit = Commit {
            recipe,
            model: Some(Model {
                tree,
                recipe: run.recipe,
            }),
            parents: parents.into_iter().collect(),
            author: person.clone(),
            committer: person,
            time: clock::now(),
            message: [subject, String::new(), params.join("\n")]
                .join("\n")
                .trim()
                .to_owned(),
            runs: vec![id],
            extra: git::facts(self.root()),
        };
        let session = self.store.begin()?;
        let commit = CommitId(session.put_object(&commit)?);
        session.finish()?;
        self.create_branch(branch, commit)?;
        Ok(commit)
    }
}
