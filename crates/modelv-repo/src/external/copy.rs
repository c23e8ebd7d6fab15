//! Copies of what is at an address, which may be a secret: a signed address gives access for an hour to whoever
//! has it. Must never write down what follows `?` in one.

use modelv_core::path::RepoPath;
use modelv_store::remote::split_query;

use super::AddExternal;
use super::allow::Word;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;

/// Parts of the names of parameters that give access.
const SECRET_WORDS: [&str; 15] = [
    "sig",
    "signature",
    "token",
    "key",
    "apikey",
    "secret",
    "password",
    "passwd",
    "pwd",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "jwt",
    "session",
];
/// Names of those that go with a signature begin like this, or hold this.
const SIGNED: [&str; 4] = ["x-amz-", "x-goog-", "accesskey", "accessid"];

/// The first parameter of an address that gives access to whoever has it.
fn secret_of(url: &str) -> Option<&str> {
    let (_, query) = split_query(url);
    let names = query?
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or(pair));
    names.into_iter().find(|name| {
        let low = name.to_ascii_lowercase();
        let mut words = low.split(|c: char| !c.is_ascii_alphanumeric());
        SIGNED.iter().any(|part| low.contains(part)) || words.any(|w| SECRET_WORDS.contains(&w))
    })
}

/// Refuses an address that no commit may hold.
///
/// # Errors
/// It gives access.
pub(super) fn refuse_secret(url: &str) -> Result<()> {
    match secret_of(url).filter(|_| url.starts_with("http")) {
        None => Ok(()),
        Some(name) => Err(Error::State(format!(
            "the address has `{name}=`, which gives access to whoever has it, and a commit would hold it"
        ))),
    }
}

impl Repo {
    /// Takes a copy of what is at an address: a file like any other. Gives its size.
    ///
    /// # Errors
    /// The source is not there or can't be read, or something is at its place already.
    pub fn import_url(&mut self, url: &str, path: &RepoPath, ctx: &Ctx<'_>) -> Result<u64> {
        let _turn = self.take_turn()?;
        self.refuse_taken(path)?;
        if url.starts_with("http") && split_query(url).1.is_some() {
            // One that is signed for reading answers no other question.
            let staged = self.download(&self.source(url, Word::User)?, None, None, ctx)?;
            self.write_staged(path, &staged)?;
            return Ok(staged.size);
        }
        let add = AddExternal {
            url: url.to_owned(),
            path: path.clone(),
            unread: false,
        };
        let (pointer, staged) = self.read_source(&add, Word::User, ctx)?;
        if let Some(staged) = &staged {
            self.write_staged(path, staged)?;
        }
        Ok(pointer.state.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_gives_access_is_in_no_commit() {
        for (url, want) in [
            (
                "https://h/x?X-Amz-Algorithm=a&X-Amz-Signature=b",
                Some("X-Amz-Algorithm"),
            ),
            ("https://h/x?v=1&sig=abc", Some("sig")),
            (
                "https://h/x?AWSAccessKeyId=a&Expires=1",
                Some("AWSAccessKeyId"),
            ),
            ("https://h/x?download_token=a", Some("download_token")),
            ("https://h/x?api-key", Some("api-key")),
            ("https://h/x?version=3&design=sig", None),
            ("https://h/x?", None),
            ("https://h/sig=1", None),
        ] {
            assert_eq!(secret_of(url), want, "{url}");
            assert_eq!(refuse_secret(url).is_err(), want.is_some(), "{url}");
        }
        assert!(
            refuse_secret("s3://bucket/x?sig=1").is_ok(),
            "part of the name there"
        );
    }
}
