//! Composing: a commit whose ingredients come from different commits.
//!
//! Parents, in this order and none twice: the tip of the branch, then the commits of code, data,
//! configuration, environment and model. An ingredient that is not named is the tip's. Must never
//! make a commit whose files its own `modelv.toml` would sort otherwise, or lay one over another.

use std::collections::BTreeMap;

use modelv_core::commit::{Commit, Model, PARENTS_MAX, Recipe};
use modelv_core::id::{CommitId, RunId};
use modelv_core::path::RepoPath;

use crate::capture::{clock, git};
use crate::commit::{ModelState, check_message, model_state};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, Rules, files_of};

/// What `compose` is asked for: revisions by ingredient.
#[derive(Debug, Clone, Default)]
pub struct ComposeOptions {
    /// Whose code.
    pub code: Option<String>,
    /// Whose data.
    pub data: Option<String>,
    /// Whose configuration.
    pub config: Option<String>,
    /// Whose environment.
    pub env: Option<String>,
    /// Whose model. `None`: one that exactly this recipe made, or else the tip's.
    pub model: Option<String>,
    /// The branch it goes onto, made at the commit of the code where it is new; `None`: the
    /// current one.
    pub branch: Option<String>,
    /// Message; made from what was asked for otherwise.
    pub message: Option<String>,
    /// Who commits.
    pub author: Option<String>,
}

/// What `compose` made.
#[derive(Debug)]
pub struct Composed {
    /// The commit.
    pub id: CommitId,
    /// The commit itself.
    pub commit: Commit,
    /// How its model stands to its recipe.
    pub model: ModelState,
    /// The branch that moved; `None`: a detached HEAD did.
    pub branch: Option<String>,
}

/// One commit that gives an ingredient, and what people called it.
struct Giver {
    label: String,
    id: CommitId,
    commit: Commit,
}

/// All five, and the tip.
struct Givers {
    tip: Giver,
    code: Giver,
    data: Giver,
    config: Giver,
    env: Giver,
    model: Option<Giver>,
}

impl Givers {
    fn all(&self) -> impl Iterator<Item = &Giver> {
        let five = [&self.tip, &self.code, &self.data, &self.config, &self.env];
        five.into_iter().chain(&self.model)
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            code: self.code.commit.recipe.code,
            data: self.data.commit.recipe.data,
            config: self.config.commit.recipe.config,
            env: self.env.commit.recipe.env,
        }
    }

    fn parents(&self) -> Vec<CommitId> {
        let mut out: Vec<CommitId> = Vec::with_capacity(PARENTS_MAX);
        for giver in self.all() {
            if !out.contains(&giver.id) {
                out.push(giver.id);
            }
        }
        out
    }

    /// The model and the runs that describe it.
    fn model(&self) -> Result<(Option<Model>, Vec<RunId>)> {
        if let Some(giver) = &self.model {
            if giver.commit.model.is_none() {
                return Err(Error::State(format!("`{}` has no model", giver.label)));
            }
            return Ok((giver.commit.model, giver.commit.runs.clone()));
        }
        let recipe = self.recipe().id();
        let fits = |g: &&Giver| g.commit.model.is_some_and(|m| m.recipe == recipe);
        let from = self.all().find(fits).unwrap_or(&self.tip);
        let model = from.commit.model;
        let runs = if model.is_some() {
            from.commit.runs.clone()
        } else {
            Vec::new()
        };
        Ok((model, runs))
    }

    /// Which commit gave what, as a fact.
    fn fact(&self, model: Option<Model>) -> String {
        let mut parts = vec![
            format!("code={}", self.code.id),
            format!("data={}", self.data.id),
            format!("config={}", self.config.id),
            format!("env={}", self.env.id),
        ];
        let holds = |g: &&Giver| model.is_some() && g.commit.model == model;
        let from = self.model.as_ref().or_else(|| self.all().find(holds));
        parts.extend(from.map(|g| format!("model={}", g.id)));
        parts.join(" ")
    }
}

impl Repo {
    /// Makes a commit of ingredients of several commits.
    ///
    /// # Errors
    /// A commit is unknown, files would lie over one another or be sorted otherwise, nothing would
    /// change, or uncommitted changes would be lost. Nothing has changed then.
    pub fn compose(&mut self, options: &ComposeOptions, ctx: &Ctx<'_>) -> Result<Composed> {
        let _turn = self.take_turn()?;
        self.refuse_while_merging("compose")?;
        let author = self.author(options.author.as_deref())?;
        let (name, old) = self.compose_branch(options)?;
        let givers = self.givers(options, old)?;
        let recipe = givers.recipe();
        let (model, runs) = givers.model()?;
        let files = self.fitting_files(&givers, model)?;
        let (tip, parents) = (&givers.tip.commit, givers.parents());
        if tip.recipe == recipe && tip.model == model && parents.len() == 1 {
            let text = format!(
                "nothing to compose: every ingredient is that of `{}`",
                givers.tip.label
            );
            return Err(Error::State(text));
        }
        let message = message(options, &givers);
        check_message(&message)?;
        let mut extra = git::facts(self.root());
        extra.insert("compose".into(), givers.fact(model));
        let commit = Commit {
            recipe,
            model,
            parents,
            author: author.clone(),
            committer: author,
            time: clock::now(),
            message: message.trim().to_owned(),
            runs,
            extra,
        };
        let is_current = name.as_deref() == self.head_ref();
        if is_current {
            self.refuse_while_running("compose")?;
            let head = self.files(self.get_head()?)?;
            self.check_out_files(&head, &files, "compose", ctx)?;
        }
        let session = self.store.begin()?;
        let id = CommitId(session.put_object(&commit)?);
        session.finish()?;
        let change = RefChange {
            name: name.clone().unwrap_or_else(|| names::HEAD.into()),
            old: old.map(Target::Commit),
            new: Some(Target::Commit(id)),
        };
        self.append(vec![change], is_current, None)?;
        Ok(Composed {
            id,
            model: model_state(&commit),
            commit,
            branch: name.map(|n| names::short(&n).to_owned()),
        })
    }

    /// Full name of the branch (`None`: detached HEAD) and where it is (`None`: it is new).
    fn compose_branch(
        &self,
        options: &ComposeOptions,
    ) -> Result<(Option<String>, Option<CommitId>)> {
        let Some(name) = &options.branch else {
            let head = self.get_head()?;
            return Ok((self.head_ref().map(str::to_owned), Some(head)));
        };
        let full = format!("{}{name}", names::HEADS);
        let old = self.ref_commit(&full);
        if old.is_none() {
            names::check_new("branch", name)?;
        }
        Ok((Some(full), old))
    }

    fn givers(&self, options: &ComposeOptions, old: Option<CommitId>) -> Result<Givers> {
        let find = |label: &str| -> Result<Giver> {
            let id = self.resolve(label)?;
            Ok(Giver {
                label: label.to_owned(),
                id,
                commit: self.commit_object(id)?,
            })
        };
        let tip = match (old, &options.branch, &options.code) {
            (Some(id), Some(name), _) => Giver {
                label: name.clone(),
                id,
                commit: self.commit_object(id)?,
            },
            (None, _, Some(code)) => find(code)?,
            _ => find(names::HEAD)?,
        };
        let give = |asked: &Option<String>| match asked {
            Some(label) => find(label),
            None => find(&tip.id.to_hex()).map(|g| Giver {
                label: tip.label.clone(),
                ..g
            }),
        };
        Ok(Givers {
            code: give(&options.code)?,
            data: give(&options.data)?,
            config: give(&options.config)?,
            env: give(&options.env)?,
            model: options.model.as_deref().map(find).transpose()?,
            tip,
        })
    }

    /// The files of the commit to come, which must lie beside one another and be sorted by its own
    /// rules as they are.
    fn fitting_files(&self, givers: &Givers, model: Option<Model>) -> Result<Files> {
        let recipe = givers.recipe();
        let tree = model.map(|m| m.tree);
        let found = files_of(&self.store, recipe.code, recipe.data, recipe.config, tree);
        let files = found.map_err(|e| match e {
            Error::Corrupt { detail, .. } => {
                Error::State(format!("these ingredients lie over one another: {detail}"))
            }
            other => other,
        })?;
        let rules = RepoPath::new(b"modelv.toml".as_slice())?;
        let text = match files.get(&rules) {
            Some(file) => self.read_blob(file.blob)?,
            None => Vec::new(),
        };
        let rules = Rules::parse(&String::from_utf8_lossy(&text))?;
        let mut labels = BTreeMap::from([
            (Ingredient::Code, &givers.code.label),
            (Ingredient::Data, &givers.data.label),
            (Ingredient::Config, &givers.config.label),
        ]);
        labels.extend(givers.model.as_ref().map(|g| (Ingredient::Model, &g.label)));
        for (path, file) in &files {
            let here = rules.classify(path).ingredient;
            if here != file.ingredient {
                let there = labels.get(&file.ingredient).copied();
                let there = there.unwrap_or(&givers.tip.label);
                return Err(Error::State(format!(
                    "`{path}` is {} in `{there}` but {} by the modelv.toml of `{}`",
                    file.ingredient.word(),
                    here.word(),
                    givers.code.label
                )));
            }
        }
        Ok(files)
    }
}

fn message(options: &ComposeOptions, givers: &Givers) -> String {
    if let Some(message) = &options.message {
        return message.clone();
    }
    let asked = [
        ("code", &options.code),
        ("data", &options.data),
        ("config", &options.config),
        ("env", &options.env),
        ("model", &options.model),
    ];
    let parts: Vec<String> = asked
        .into_iter()
        .filter_map(|(word, label)| Some(format!("{word} of {}", label.as_ref()?)))
        .collect();
    if parts.is_empty() {
        return format!("compose {}", givers.tip.label);
    }
    format!("compose {}", parts.join(", "))
}
