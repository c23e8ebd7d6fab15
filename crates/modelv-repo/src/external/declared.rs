//! Data by reference that `modelv.toml` names: `[external]`, a path and the address of its data on each line. What
//! is recorded of it is a description like any other, and that one counts.

use modelv_core::path::RepoPath;
use toml_edit::Item;

use super::{AddExternal, Pointer, pointer_of, read_small};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::remote::full_url;
use crate::repo::Repo;
use crate::worktree::place;

/// Reads `[external]`; or says what is wrong with it.
pub(crate) fn parse(section: Option<&Item>) -> Result<Vec<(RepoPath, String)>, String> {
    let Some(section) = section else {
        return Ok(Vec::new());
    };
    let table = section.as_table_like();
    let table = table.ok_or("`external` is not a table")?;
    let read = |(path, item): (&str, &Item)| {
        let url = item.as_str().filter(|url| !url.is_empty());
        let url =
            url.ok_or_else(|| format!("`external.\"{path}\"` is not the text of an address"))?;
        let path = RepoPath::new(path).map_err(|e| format!("`external.\"{path}\"`: {e}"))?;
        Ok((path, url.to_owned()))
    };
    table.iter().map(read).collect()
}

impl Repo {
    /// Adds what `[external]` of `modelv.toml` names and nobody has recorded yet.
    ///
    /// # Errors
    /// It names none, or another address than the recorded one, or one that only this machine or its network
    /// reaches and that nobody allowed; and as [`Repo::add_external`].
    pub fn add_declared(
        &mut self,
        unread: bool,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<(RepoPath, Pointer)>> {
        let rules = self.rules()?;
        if rules.externals().is_empty() {
            return Err(Error::State("`modelv.toml` names no external data".into()));
        }
        let mut wanted = Vec::new();
        for (path, url) in rules.externals() {
            let url = full_url(url, self.root())?;
            if self.is_to_be_added(path, &url)? {
                wanted.push((path.clone(), url));
            }
        }
        let mut out = Vec::new();
        for (path, url) in wanted {
            let add = AddExternal { url, path, unread };
            let pointer = self.add_external(&add, ctx)?;
            out.push((add.path, pointer));
        }
        Ok(out)
    }

    /// Whether nothing is recorded of what is at `url`.
    fn is_to_be_added(&self, path: &RepoPath, url: &str) -> Result<bool> {
        let described = pointer_of(path)?;
        if let Some(bytes) = read_small(&place(self.root(), &described)) {
            let recorded = Pointer::parse(&described, &bytes)?.url;
            return match recorded == url {
                true => Ok(false),
                false => Err(Error::State(format!(
                    "`{path}` is recorded from `{recorded}`, and `[external]` names `{url}`"
                ))),
            };
        }
        // The file may have come with a clone: what it names is not what the user has typed.
        match self.allowed_externals().check(path, url) {
            Ok(()) => Ok(true),
            Err(Error::NotAllowed { why, .. }) => Err(Error::State(format!(
                "`[external]` names `{url}` for `{path}`, which is {why}"
            ))),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::worktree::Rules;

    #[test]
    fn paths_and_addresses_are_read_and_slips_are_told() {
        let read = |text: &str| Rules::parse(&format!("[external]\n{text}\n"));
        let rules = read("\"data/big.csv\" = \"s3://b/big.csv\"\nx = 'https://h/x'").unwrap();
        let found: Vec<String> = rules
            .externals()
            .iter()
            .map(|(path, url)| format!("{path} {url}"))
            .collect();
        assert_eq!(found, ["data/big.csv s3://b/big.csv", "x https://h/x"]);
        assert!(rules.unknown().is_empty());
        for (bad, why) in [
            ("x = 1", "is not the text"),
            ("x = ''", "is not the text"),
            ("\"../x\" = 's3://b/x'", "`external.\"../x\"`"),
        ] {
            let error = read(bad).unwrap_err();
            let chain = format!("{error} {error:?}");
            assert!(chain.contains(why), "{bad}: {chain}");
        }
        assert!(Rules::parse("external = 1").is_err());
    }
}
