//! What is in an image, from its commit: the question of a production incident. The image only says which
//! commit it is of; all else comes from the repository, and what the image says beside is compared.

use modelv_repo::core::commit::Commit;
use modelv_repo::core::env::Package;
use modelv_repo::core::id::{CommitId, RunId};
use modelv_repo::core::run::Run;
use modelv_repo::worktree::Ingredient;
use modelv_repo::{Cancel, Repo};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::pull::{Pulled, Source};

/// What an image is made of.
#[derive(Debug)]
pub struct Explanation {
    /// Digest of its manifest.
    pub digest: String,
    /// What it stands on.
    pub base: Option<String>,
    /// The commit.
    pub id: CommitId,
    /// Its content.
    pub commit: Commit,
    /// Why the image can't be the one that this commit gives, if that is plain to see.
    pub doubt: Option<String>,
    /// Runs that made the model, newest first.
    pub runs: Vec<(RunId, Run)>,
    /// Data files: path, bytes, id of the content.
    pub data: Vec<(String, u64, String)>,
    /// Files of the model, likewise.
    pub model: Vec<(String, u64, String)>,
    /// The interpreter, and how many packages there are.
    pub python: Option<String>,
    /// `name==version` of each package.
    pub packages: Vec<String>,
}

/// Finds the commit of an image, and what that is made of.
///
/// # Errors
/// The image is missing or damaged, names no commit, or the commit is not in this repository.
pub fn explain(repo: &Repo, source: &Source, cancel: &Cancel) -> Result<Explanation> {
    let image = Pulled::open(source, cancel)?;
    let bad = |detail: &str| Error::Image {
        image: image.shown.clone(),
        detail: detail.to_owned(),
    };
    let named = image.label("dev.modelv.commit");
    let named = named.ok_or_else(|| bad("it names no commit that it was made from"))?;
    if named.len() != 64 {
        return Err(bad("what it names as its commit is none"));
    }
    let id = repo.resolve(&named)?;
    let commit = repo.commit_object(id)?;
    let recipe = commit.recipe.id().to_hex();
    let says = image.label("dev.modelv.recipe");
    let doubt = (says.as_ref() != Some(&recipe)).then(|| {
        let says = says.unwrap_or_else(|| "none".into());
        format!("it says it is of recipe {says}, the commit's is {recipe}")
    });
    let env = repo.env_object(commit.recipe.env)?;
    let files = repo.files(id)?;
    let of = |wanted: Ingredient| -> Vec<(String, u64, String)> {
        let fitting = files.iter().filter(|(_, f)| f.ingredient == wanted);
        fitting
            .map(|(path, f)| {
                let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                (path, f.size, f.blob.to_hex())
            })
            .collect()
    };
    Ok(Explanation {
        digest: image.digest.clone(),
        base: image.label("dev.modelv.base"),
        id,
        doubt,
        runs: runs_of(repo, &commit)?,
        data: of(Ingredient::Data),
        model: of(Ingredient::Model),
        python: env
            .interpreter
            .map(|i| format!("{} {}", i.implementation, i.version)),
        packages: env.packages.iter().map(Package::label).collect(),
        commit,
    })
}

/// The runs that made the model of a commit: those it names before others with the same result.
pub(crate) fn runs_of(repo: &Repo, commit: &Commit) -> Result<Vec<(RunId, Run)>> {
    let Some(model) = &commit.model else {
        return Ok(Vec::new());
    };
    let made_it = |run: &Run| run.outputs == Some(model.tree);
    let mut named = Vec::new();
    for id in &commit.runs {
        named.push((*id, repo.run_object(*id)?));
    }
    named.retain(|(_, run)| made_it(run));
    if named.is_empty() {
        named = repo.runs()?;
        named.retain(|(_, run)| made_it(run));
    }
    Ok(named)
}

impl Explanation {
    /// As JSON.
    ///
    /// # Errors
    /// A part of the commit can't be read.
    pub fn to_json(&self, repo: &Repo) -> Result<Value> {
        let rows = |list: &[(String, u64, String)]| -> Vec<Value> {
            let row = |(path, size, blob): &(String, u64, String)| json!({"path": path, "size": size, "blob": blob});
            list.iter().map(row).collect()
        };
        let recipe = &self.commit.recipe;
        Ok(json!({
            "digest": self.digest,
            "base": self.base,
            "commit": modelv_repo::json::commit(repo, self.id, &self.commit)?,
            "recipe": {
                "id": recipe.id().to_hex(), "code": recipe.code.to_hex(), "data": recipe.data.to_hex(),
                "config": recipe.config.to_hex(), "env": recipe.env.to_hex(),
            },
            "is_stale": self.commit.model.is_some_and(|m| m.recipe != recipe.id()),
            "doubt": self.doubt,
            "runs": self.runs.iter().map(|(id, run)| modelv_repo::json::run(*id, run)).collect::<Vec<_>>(),
            "data": rows(&self.data),
            "model": rows(&self.model),
            "python": self.python,
            "packages": self.packages,
        }))
    }
}
