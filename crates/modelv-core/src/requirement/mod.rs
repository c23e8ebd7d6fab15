//! Demands on Python packages, as PEP 440 and PEP 508 write them: versions, specifiers, markers.
//! Answers whether demands can hold together. Asks no index: it knows which versions there could
//! be, not which there are.

mod marker;
mod specifier;
mod version;

pub use marker::{Environment, Marker};
pub use specifier::{Specifiers, together, witness};
pub use version::Version;

use crate::env::normal_name;

/// A demand on one package.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// Its PEP 503 name.
    pub name: String,
    /// Extras, in normal form and sorted.
    pub extras: Vec<String>,
    /// Which versions will do.
    pub specifiers: Specifiers,
    /// Where it is taken from instead of an index.
    pub url: Option<String>,
    /// Where the demand holds; `None`: everywhere.
    pub marker: Option<Marker>,
}

impl Requirement {
    /// Reads a demand; `None` where it is none. What pip writes behind it (` --hash=…`) must be away.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if !edge(name.chars().next()) || !edge(name.chars().last()) {
            return None;
        }
        let (extras, rest) = extras(rest.trim_start())?;
        let (body, marker, url) = match rest.strip_prefix('@') {
            Some(rest) => {
                // A URL may hold a semicolon: the marker stands behind a blank.
                let rest = rest.trim_start();
                let (url, behind) =
                    rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
                if url.is_empty() {
                    return None;
                }
                let marker = match behind.trim() {
                    "" => None,
                    behind => Some(behind.strip_prefix(';')?),
                };
                ("", marker, Some(url.to_owned()))
            }
            None => match rest.split_once(';') {
                Some((body, marker)) => (body, Some(marker), None),
                None => (rest, None, None),
            },
        };
        let body = body.trim();
        let body = match body.strip_prefix('(') {
            Some(inner) => inner.strip_suffix(')')?,
            None => body,
        };
        Some(Self {
            name: normal_name(name),
            extras,
            specifiers: Specifiers::parse(body)?,
            url,
            marker: match marker {
                Some(text) => Some(Marker::parse(text)?),
                None => None,
            },
        })
    }

    /// Whether this and another demand on the same package can be met at once, or never hold at
    /// once. Says yes where it does not know: of URLs, and of versions that are none.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        if self.url.is_some() || other.url.is_some() {
            return self.url == other.url || self.url.is_none() || other.url.is_none();
        }
        if let (Some(a), Some(b)) = (&self.marker, &other.marker)
            && !a.meets(b)
        {
            return true;
        }
        let holds = |m: &Option<Marker>| m.as_ref().is_none_or(Marker::can_hold);
        !holds(&self.marker)
            || !holds(&other.marker)
            || together(&[&self.specifiers, &other.specifiers])
    }
}

fn extras(text: &str) -> Option<(Vec<String>, &str)> {
    let Some(inner) = text.strip_prefix('[') else {
        return Some((Vec::new(), text));
    };
    let (inside, rest) = inner.split_once(']')?;
    let mut names: Vec<String> = inside
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(normal_name)
        .collect();
    names.sort();
    names.dedup();
    Some((names, rest.trim_start()))
}

#[cfg(test)]
mod tests;
