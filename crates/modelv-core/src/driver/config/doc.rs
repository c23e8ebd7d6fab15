//! A configuration file as a tree of typed values that knows where each part stands in the text.
//! Parsers fill it; it never changes the text itself.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use toml_edit::Key;

use super::super::{Refusal, SettleError};
use crate::value::Value;

/// Deeper nesting is refused: everything that walks the tree recurses.
pub(super) const DEPTH_MAX: usize = 128;

/// A parsed file.
#[derive(Debug)]
pub(super) struct Doc<'t> {
    pub(super) text: &'t str,
    pub(super) root: Node,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Leaf(Value),
    List(Vec<Node>),
    Map(Style, Vec<Entry>),
}

/// How the entries of a map are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// By commas between braces.
    Flow,
    /// By lines of their own.
    Lines,
}

/// A key with its value. All offsets are bytes of the text.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the comment lines above it start. In a flow map: where the key starts.
    pub(super) lead: usize,
    /// Where the key starts.
    pub(super) start: usize,
    pub(super) node: Node,
    /// What stands behind the value, or behind the key of a block, on the same line.
    pub(super) tail: Range<usize>,
    /// Behind its last line; in a flow map behind its value.
    pub(super) end: usize,
}

impl Node {
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Leaf(value) => value.clone(),
            Kind::List(items) => Value::List(items.iter().map(Node::value).collect()),
            Kind::Map(_, entries) => Value::Map(
                entries
                    .iter()
                    .map(|e| (e.key.clone(), e.node.value()))
                    .collect(),
            ),
        }
    }
}

/// Where the line of a byte starts.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |i| i + 1)
}

/// Where the line behind a byte's line starts.
pub(super) fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |i| at + i + 1)
}

/// Where the characters of a byte's line end, before its line end.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    if end > at && text.as_bytes()[end - 1] == b'\r' {
        end - 1
    } else {
        end
    }
}

/// Entries by key.
pub(super) fn by_key(entries: &[Entry]) -> HashMap<&str, &Entry> {
    entries.iter().map(|e| (e.key.as_str(), e)).collect()
}

/// Refuses keys that stand twice in a map: one of the values would be lost.
pub(super) fn refuse_twice(entries: &[Entry]) -> Result<(), Refusal> {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    match entries.iter().find(|e| !seen.insert(e.key.as_str())) {
        None => Ok(()),
        Some(e) => Err(Refusal::Invalid(format!(
            "the key `{}` stands there twice",
            e.key
        ))),
    }
}

/// Appends a key to a dotted path as TOML writes it: what is no bare key is quoted.
pub(in crate::driver) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&Key::new(key).to_string());
}

/// The leaves below a node by dotted key. Lists are single values, and so are empty maps.
pub(super) fn leaves(node: &Node, path: &mut String, out: &mut BTreeMap<String, Value>) {
    match &node.kind {
        Kind::Map(_, entries) if !entries.is_empty() || path.is_empty() => {
            for entry in entries {
                let len = path.len();
                push_key(path, &entry.key);
                leaves(&entry.node, path, out);
                path.truncate(len);
            }
        }
        _ => drop(out.insert(path.clone(), node.value())),
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Reads a dotted path such as `a."b c"[2].d`.
pub(super) fn steps(path: &str) -> Result<Vec<Step>, SettleError> {
    let bad = || SettleError(format!("`{path}` is no dotted key"));
    let mut out = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = segment_end(rest).ok_or_else(bad)?;
        let key = Key::parse(&rest[..end]).map_err(|_| bad())?;
        let [key] = key.as_slice() else {
            return Err(bad());
        };
        out.push(Step::Key(key.get().to_owned()));
        rest = &rest[end..];
        while let Some(inner) = rest.strip_prefix('[') {
            let (number, behind) = inner.split_once(']').ok_or_else(bad)?;
            out.push(Step::Index(number.parse().map_err(|_| bad())?));
            rest = behind;
        }
        if !rest.is_empty() {
            rest = rest
                .strip_prefix('.')
                .filter(|r| !r.is_empty())
                .ok_or_else(bad)?;
        }
    }
    if out.is_empty() {
        return Err(bad());
    }
    Ok(out)
}

fn segment_end(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        return Some(text.find(['.', '[']).unwrap_or(text.len()));
    };
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(i + 1),
            _ => {}
        }
    }
    None
}
