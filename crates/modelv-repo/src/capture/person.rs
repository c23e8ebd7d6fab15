//! Who commits.

use std::path::Path;

use modelv_core::commit::Person;

use super::git;
use crate::error::{Error, Result};

/// Looks, in this order, at: the argument `Name <mail>`, `MODELV_AUTHOR_NAME` and `_EMAIL`, the
/// repository's configuration, `GIT_AUTHOR_NAME` and `_EMAIL`, and Git's configuration.
///
/// # Errors
/// The argument has another form, or nobody has said.
pub fn find(
    root: &Path,
    explicit: Option<&str>,
    name: Option<&str>,
    email: Option<&str>,
) -> Result<Person> {
    if let Some(text) = explicit {
        return parse(text);
    }
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let own = |s: Option<&str>| s.map(str::to_owned);
    let mut found = (
        var("MODELV_AUTHOR_NAME")
            .or_else(|| own(name))
            .or_else(|| var("GIT_AUTHOR_NAME")),
        var("MODELV_AUTHOR_EMAIL")
            .or_else(|| own(email))
            .or_else(|| var("GIT_AUTHOR_EMAIL")),
    );
    if found.0.is_none() || found.1.is_none() {
        let git = git::identity(root);
        found = (found.0.or(git.0), found.1.or(git.1));
    }
    match found {
        (Some(name), Some(email)) => check(Person { name, email }),
        _ => Err(Error::State("nobody has said who commits".into())),
    }
}

fn parse(text: &str) -> Result<Person> {
    let parts = text
        .strip_suffix('>')
        .and_then(|t| t.split_once('<'))
        .map(|(n, e)| (n.trim().to_owned(), e.trim().to_owned()));
    match parts {
        Some((name, email)) if !name.is_empty() => check(Person { name, email }),
        _ => Err(Error::invalid(
            "author",
            text,
            "expected `Name <mail address>`",
        )),
    }
}

fn check(person: Person) -> Result<Person> {
    let odd = |s: &str| s.chars().any(|c| c.is_control() || c == '<' || c == '>');
    if odd(&person.name) || odd(&person.email) {
        let reason = "it holds a control character or an angle bracket";
        return Err(Error::invalid("author", person.to_string(), reason));
    }
    Ok(person)
}
