//! Commits and what they are made of. See `spec/commit.md`.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::canon::{self, DecodeError, Kind, Object};
use crate::id::{CommitId, EnvId, RecipeId, RunId, TreeId};

/// Most parents of one commit that are read.
pub const PARENTS_MAX: usize = 16;

/// The four ingredients. Its id depends on nothing else: no time, author, host or path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Recipe {
    /// Source files, and everything that is none of the others.
    pub code: TreeId,
    /// Data sets.
    pub data: TreeId,
    /// Parameters.
    pub config: TreeId,
    /// Interpreter and packages.
    pub env: EnvId,
}

impl Object for Recipe {
    const KIND: Kind = Kind::Recipe;
}

impl Recipe {
    /// The recipe id.
    #[must_use]
    pub fn id(&self) -> RecipeId {
        RecipeId(canon::id_of(self))
    }
}

/// Outputs of a recipe: weights and other artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Model {
    /// The files.
    pub tree: TreeId,
    /// The recipe that produced them; when it is not the commit's own, the model is stale.
    pub recipe: RecipeId,
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Person {
    /// Full name.
    pub name: String,
    /// Mail address.
    pub email: String,
}

impl std::fmt::Display for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// Offset of the author's clock from UTC, in minutes.
    pub offset_minutes: i16,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Commit {
    /// The ingredients.
    pub recipe: Recipe,
    /// What training made of them, once it has run.
    pub model: Option<Model>,
    /// Commits this one follows; the first is the branch it was made on.
    pub parents: Vec<CommitId>,
    /// Who wrote the change.
    pub author: Person,
    /// Who made the commit.
    pub committer: Person,
    /// When it was made.
    pub time: Time,
    /// Free text; the first line is the subject. Never empty.
    pub message: String,
    /// Executions that belong to this commit.
    pub runs: Vec<RunId>,
    /// Further facts by name, for example Git's HEAD.
    pub extra: BTreeMap<String, String>,
}

impl Object for Commit {
    const KIND: Kind = Kind::Commit;

    fn check(&self) -> Result<(), DecodeError> {
        let bad = |what| Err(DecodeError::NotCanonical(what));
        canon::check_lengths(&[self.runs.len(), self.extra.len()])?;
        if self.parents.len() > PARENTS_MAX {
            return bad("more than 16 parents");
        }
        if self.message.trim().is_empty() {
            return bad("empty commit message");
        }
        if self
            .parents
            .iter()
            .enumerate()
            .any(|(i, p)| self.parents[..i].contains(p))
        {
            return bad("the same parent twice");
        }
        Ok(())
    }
}

impl Commit {
    /// The commit id.
    #[must_use]
    pub fn id(&self) -> CommitId {
        CommitId(canon::id_of(self))
    }

    /// First line of the message.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.message.trim_start().lines().next().unwrap_or("")
    }

    /// Whether the model was made by another recipe than this commit's.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.model.is_some_and(|m| m.recipe != self.recipe.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::empty_id;

    fn commit() -> Commit {
        let tree = empty_id();
        let person = Person {
            name: "Ada".into(),
            email: "ada@example.org".into(),
        };
        Commit {
            recipe: Recipe {
                code: tree,
                data: tree,
                config: tree,
                env: EnvId([1; 32]),
            },
            model: None,
            parents: vec![CommitId([2; 32])],
            author: person.clone(),
            committer: person,
            time: Time {
                seconds: 1_700_000_000,
                offset_minutes: 60,
            },
            message: "first\n\nbody".into(),
            runs: vec![],
            extra: BTreeMap::new(),
        }
    }

    #[test]
    fn only_the_ingredients_make_the_recipe_id() {
        let (a, mut b) = (commit(), commit());
        b.time.seconds += 1;
        b.author.name = "Bob".into();
        assert_eq!(a.recipe.id(), b.recipe.id());
        assert_ne!(a.id(), b.id());
        b.recipe.env = EnvId([3; 32]);
        assert_ne!(a.recipe.id(), b.recipe.id());
    }

    #[test]
    fn a_model_of_another_recipe_is_stale() {
        let mut c = commit();
        assert!(!c.is_stale());
        c.model = Some(Model {
            tree: empty_id(),
            recipe: c.recipe.id(),
        });
        assert!(!c.is_stale());
        c.recipe.env = EnvId([9; 32]);
        assert!(c.is_stale());
    }

    #[test]
    fn rules_are_checked_on_reading() {
        let refuse = |c: &Commit| canon::decode::<Commit>(&canon::encode_unchecked(c)).is_err();
        let mut c = commit();
        assert!(!refuse(&c));
        c.message = " \n".into();
        assert!(refuse(&c));
        let mut c = commit();
        c.parents.push(CommitId([2; 32]));
        assert!(refuse(&c));
    }
}
