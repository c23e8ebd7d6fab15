//! Revisions: what people type for a commit. `HEAD`, `@`, branches, tags, ids of four digits or
//! more, and behind any of them `~N`, `^N` and `@{N}`.

use modelv_core::canon::Kind;
use modelv_core::id::CommitId;

use crate::error::{Error, Result};
use crate::names;
use crate::oplog::Target;
use crate::repo::Repo;

const PREFIX_MIN: usize = 4;

/// What a revision argument of `diff` or `log` spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Range {
    /// One commit.
    One(CommitId),
    /// `A..B`.
    Two(CommitId, CommitId),
    /// `A...B`: from the merge base of both to B.
    FromBase(CommitId, CommitId),
}

impl Repo {
    /// Finds the commit a revision names.
    ///
    /// # Errors
    /// Unknown, ambiguous or malformed.
    pub fn resolve(&self, revision: &str) -> Result<CommitId> {
        let at = revision.find(['~', '^']).unwrap_or(revision.len());
        let at = revision.find("@{").map_or(at, |i| at.min(i));
        let (base, mut rest) = revision.split_at(at);
        let mut id = if rest.starts_with("@{") {
            let (n, after) = take_index(revision, &rest[2..])?;
            rest = after;
            self.earlier(revision, base, n)?
        } else {
            self.resolve_base(revision, base)?
        };
        while !rest.is_empty() {
            // Behind `@{N}` anything may stand, also a character of several bytes.
            let Some((sign, tail)) = rest.split_at_checked(1) else {
                return Err(malformed(revision));
            };
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = tail.split_at(digits);
            let n: usize = match number {
                "" => 1,
                text => text.parse().map_err(|_| malformed(revision))?,
            };
            if !after.is_empty() && !after.starts_with(['~', '^']) {
                return Err(malformed(revision));
            }
            id = match sign {
                "~" => self.nth_ancestor(revision, id, n)?,
                "^" => self.nth_parent(revision, id, n)?,
                _ => return Err(malformed(revision)),
            };
            rest = after;
        }
        Ok(id)
    }

    /// Reads `A`, `A..B` or `A...B`; an empty side is HEAD.
    ///
    /// # Errors
    /// As [`Repo::resolve`].
    pub fn resolve_range(&self, text: &str) -> Result<Range> {
        let side = |s: &str| self.resolve(if s.is_empty() { names::HEAD } else { s });
        if let Some((a, b)) = text.split_once("...") {
            return Ok(Range::FromBase(side(a)?, side(b)?));
        }
        match text.split_once("..") {
            Some((a, b)) => Ok(Range::Two(side(a)?, side(b)?)),
            None => Ok(Range::One(self.resolve(text)?)),
        }
    }

    fn resolve_base(&self, revision: &str, base: &str) -> Result<CommitId> {
        if base.is_empty() {
            return Err(malformed(revision));
        }
        if base == names::HEAD || base == "@" {
            return self.get_head();
        }
        let full = [
            base.to_owned(),
            names::HEADS.to_owned() + base,
            names::TAGS.to_owned() + base,
            names::REMOTES.to_owned() + base,
            names::ALIASES.to_owned() + base,
        ];
        let mut found: Vec<(String, CommitId)> = full
            .iter()
            .filter_map(|n| {
                let alias = self.alias_target(n);
                Some((n.clone(), alias.or_else(|| self.ref_commit(n))?))
            })
            .collect();
        found.dedup_by_key(|f| f.1);
        match found.as_slice() {
            [(_, id)] => return Ok(*id),
            [] => {}
            several => {
                return Err(Error::Ambiguous {
                    name: revision.into(),
                    candidates: several.iter().map(|(n, _)| n.clone()).collect(),
                });
            }
        }
        self.resolve_id(revision, base)
    }

    fn resolve_id(&self, revision: &str, base: &str) -> Result<CommitId> {
        let is_hex = base.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || base.len() < PREFIX_MIN || base.len() > 64 {
            return Err(Error::not_found("revision", revision));
        }
        let prefix = base.to_ascii_lowercase();
        let found = self.store.find_prefix(Kind::Commit, &prefix, 8)?;
        match found.as_slice() {
            [] => Err(Error::not_found("revision", revision)),
            [id] => Ok(CommitId(*id)),
            several => Err(Error::Ambiguous {
                name: revision.into(),
                candidates: several.iter().map(|id| CommitId(*id).short()).collect(),
            }),
        }
    }

    fn nth_ancestor(&self, revision: &str, id: CommitId, n: usize) -> Result<CommitId> {
        let mut id = id;
        for _ in 0..n {
            id = self.nth_parent(revision, id, 1)?;
        }
        Ok(id)
    }

    fn nth_parent(&self, revision: &str, id: CommitId, n: usize) -> Result<CommitId> {
        if n == 0 {
            return Ok(id);
        }
        let parents = self.commit_object(id)?.parents;
        parents
            .get(n - 1)
            .copied()
            .ok_or_else(|| Error::not_found("revision", revision))
    }

    /// Where a ref pointed `n` moves ago, by the operation log.
    fn earlier(&self, revision: &str, base: &str, n: usize) -> Result<CommitId> {
        let full = match base {
            "" => self.head_ref().unwrap_or(names::HEAD).to_owned(),
            "HEAD" | "@" => return self.earlier_head(revision, n),
            // What was put aside before the last time.
            names::RESTORE_BEFORE => base.to_owned(),
            name if self.is_alias_alone(name) => {
                let moves = self.alias_history(name)?;
                let found = moves.get(n).map(|m| m.commit);
                return found.ok_or_else(|| Error::not_found("revision", revision));
            }
            name => names::HEADS.to_owned() + name,
        };
        let whole = self.log.whole()?;
        let log = whole.as_ref().unwrap_or(&self.log);
        let values: Vec<CommitId> = log
            .operations
            .iter()
            .rev()
            .flat_map(|op| op.changes.iter().filter(|c| c.name == full))
            .filter_map(|c| c.new.as_ref()?.commit())
            .collect();
        values
            .get(n)
            .copied()
            .ok_or_else(|| Error::not_found("revision", revision))
    }

    /// Whether a name is that of an alias, and of no branch that was made later.
    fn is_alias_alone(&self, name: &str) -> bool {
        let has = |below: &str| self.log.refs.contains_key(&format!("{below}{name}"));
        has(names::ALIASES) && !has(names::HEADS)
    }

    /// Where HEAD was `n` moves ago: commits on its branch and switches both count.
    fn earlier_head(&self, revision: &str, n: usize) -> Result<CommitId> {
        let mut refs = crate::oplog::Refs::new();
        let mut positions: Vec<CommitId> = Vec::new();
        let whole = self.log.whole()?;
        for operation in &whole.as_ref().unwrap_or(&self.log).operations {
            for change in &operation.changes {
                match &change.new {
                    Some(t) => refs.insert(change.name.clone(), t.clone()),
                    None => refs.remove(&change.name),
                };
            }
            let head = match refs.get(names::HEAD) {
                Some(Target::Symbolic(name)) => refs.get(name),
                other => other,
            };
            if let Some(Target::Commit(id)) = head
                && positions.last() != Some(id)
            {
                positions.push(*id);
            }
        }
        let at = positions.len().checked_sub(n + 1);
        at.map(|i| positions[i])
            .ok_or_else(|| Error::not_found("revision", revision))
    }
}

fn take_index<'a>(revision: &str, text: &'a str) -> Result<(usize, &'a str)> {
    let (number, after) = text.split_once('}').ok_or_else(|| malformed(revision))?;
    Ok((number.parse().map_err(|_| malformed(revision))?, after))
}

fn malformed(revision: &str) -> Error {
    Error::invalid(
        "revision",
        revision,
        "expected a branch, tag, id or HEAD, then any of ~N, ^N, @{N}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommitOptions, Ctx};

    #[test]
    fn what_is_no_revision_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        let options = CommitOptions {
            message: "one".into(),
            author: Some("A <a@example.com>".into()),
            allow_empty: true,
            ..Default::default()
        };
        let id = repo.commit(&options, &Ctx::quiet()).unwrap().id;
        for good in [
            "main",
            "@",
            "HEAD",
            "main@{0}",
            "@{0}~0^0",
            "refs/heads/main",
        ] {
            assert_eq!(repo.resolve(good).unwrap(), id, "{good}");
        }
        for bad in [
            "",
            "~",
            "@{",
            "@{x}",
            "@{1}",
            "@{0}\u{e9}",
            "main@{0}x",
            "main~\u{e9}",
            "main^2",
            "main~1",
            "\u{e9}",
            "main~99999999999999999999",
            "..",
            "HEAD@{0}@{0}",
            "~1@{0}",
            "@{-1}",
        ] {
            assert!(repo.resolve(bad).is_err(), "{bad}");
        }
    }
}
