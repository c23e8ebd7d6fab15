//! Configuration: typed values by dotted key, in TOML, JSON, YAML, INI and .env. A merge changes the
//! bytes of what it decides and nothing else, so that layout and comments survive; its result is
//! read again and must mean what was decided, or the file is merged as text.
//!
//! Lists merge and differ by position when all versions have the same length (and see `decide.rs` on
//! lists of tables); else a list is one value. A key both sides changed in different ways is a conflict and stays as in ours.

mod comments;
mod decide;
mod doc;
mod edit;
mod env;
mod ini;
mod json;
mod places;
mod secret;
mod set;
mod toml;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub(super) use doc::push_key;
pub(super) use set::set as set_key;

use decide::{comment, decide, union_lines};
use doc::Doc;

use super::{Change, Item, Labels, Merged, Refusal, Rules, SettleError, text};
use crate::value::Value;

/// Formats whose keys are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON, RFC 8259.
    Json,
    /// YAML 1.2, one document without anchors and tags.
    Yaml,
    /// INI and .cfg, as Python's `configparser` reads them.
    Ini,
    /// `.env`: variables of an environment. What looks secret is not shown.
    Env,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toml => "TOML",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Ini => "INI",
            Self::Env => "env",
        })
    }
}

/// Larger files are merged as text, in bytes: taking them apart costs many times their size.
const BYTES_MAX: usize = 16 << 20;

impl Format {
    /// The format a file name claims, in lower case and without its folder.
    pub(super) fn claimed(name: &[u8]) -> Option<Self> {
        let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
        Some(match () {
            () if ends(".toml") => Self::Toml,
            () if ends(".json") => Self::Json,
            () if ends(".yaml") || ends(".yml") => Self::Yaml,
            () if ends(".env") || name.starts_with(b".env.") => Self::Env,
            () if ends(".ini") || ends(".cfg") => Self::Ini,
            () => return None,
        })
    }

    fn parse(self, text: &str) -> Result<Doc<'_>, Refusal> {
        match self {
            Self::Json => json::parse(text),
            Self::Yaml => yaml::parse(text),
            Self::Ini => ini::parse(text),
            Self::Env => env::parse(text),
            Self::Toml => Err(Refusal::Beyond("it has a parser of its own".into())),
        }
    }
}

impl Rules for Format {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        let text = checked(content)?;
        match self {
            Self::Toml => toml::values(text).map(drop),
            _ => self.parse(text).map(drop),
        }
    }

    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        if *self == Self::Toml {
            return toml::merge(base.unwrap_or(b""), ours, theirs, labels);
        }
        merge_docs(*self, base, ours, theirs, labels)
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let read = |bytes: Option<&[u8]>| match bytes {
            None => Some(BTreeMap::new()),
            Some(bytes) => config_values(*self, bytes).ok(),
        };
        let mut changes = match (read(old), read(new)) {
            (Some(a), Some(b)) => diff(&a, &b),
            _ => Vec::new(),
        };
        if *self == Self::Env {
            changes.iter_mut().for_each(hide);
        }
        if changes.is_empty() {
            return text::diff(old, new);
        }
        changes
    }

    fn settle(
        &self,
        current: &[u8],
        item: &Item,
        value: Option<&str>,
    ) -> Result<Vec<u8>, SettleError> {
        match (self, item) {
            (Self::Toml, Item::Key(key)) => toml::set(current, key, value),
            (_, Item::Key(key)) => set::set(*self, current, key, value),
            _ => Err(SettleError(format!("a {self} file has no such part"))),
        }
    }
}

/// More values are compared and merged as text: each takes a hundred bytes and more.
const VALUES_MAX: usize = 1 << 20;

/// Refuses text of more values than are taken apart. Counts what stands between values, in strings
/// too, so that it costs a look and no parsing.
fn check_values(text: &str) -> Result<(), Refusal> {
    let mut counts = [0usize; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let of = |byte: u8| counts[usize::from(byte)];
    // In a file that is laid out a line ends where a comma stands.
    let between = of(b',').max(of(b'\n')).max(of(b'='));
    if between + of(b'[') + of(b'{') > VALUES_MAX {
        let text = format!("it has more than {VALUES_MAX} values");
        return Err(Refusal::Beyond(text));
    }
    Ok(())
}

fn checked(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > BYTES_MAX {
        let text = format!("it is larger than {} MiB", BYTES_MAX >> 20);
        return Err(Refusal::Beyond(text));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::Invalid("it is no UTF-8".into()))?;
    check_values(text)?;
    Ok(text)
}

/// The leaves of a configuration file by dotted key.
///
/// # Errors
/// It does not parse, or its top level is no map.
pub fn config_values(format: Format, bytes: &[u8]) -> Result<BTreeMap<String, Value>, Refusal> {
    let text = checked(bytes)?;
    if format == Format::Toml {
        return toml::values(text);
    }
    let doc = format.parse(text)?;
    let mut out = BTreeMap::new();
    doc::leaves(&doc.root, &mut String::new(), &mut out);
    Ok(out)
}

/// The top level of a configuration file, its lists and maps as they are nested.
///
/// # Errors
/// It does not parse, or its top level is no map.
pub fn config_tree(format: Format, bytes: &[u8]) -> Result<BTreeMap<String, Value>, Refusal> {
    let text = checked(bytes)?;
    match format.parse(text)?.root.value() {
        Value::Map(map) => Ok(map),
        _ => Err(Refusal::Beyond("its top level is no map".into())),
    }
}

/// Refuses JSON that has a key twice, is nested too deep or has numbers that we would change.
pub(super) fn check_json(text: &str) -> Result<(), Refusal> {
    json::parse(text).map(drop)
}

/// The fields of a JSON object and their values.
pub(super) fn json_object(text: &str) -> Result<Vec<(String, Value)>, Refusal> {
    match json::parse(text)?.root.kind {
        doc::Kind::Map(_, entries) => Ok(entries
            .into_iter()
            .map(|e| (e.key, e.node.value()))
            .collect()),
        _ => Ok(Vec::new()),
    }
}

/// The fields of a JSON object and where their values stand.
pub(super) fn json_fields(text: &str) -> Result<Vec<(String, std::ops::Range<usize>)>, Refusal> {
    match json::parse(text)?.root.kind {
        doc::Kind::Map(_, entries) => {
            Ok(entries.into_iter().map(|e| (e.key, e.node.span)).collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// Text of a file with its secrets replaced, where its name says that it may have some.
#[must_use]
pub fn without_secrets(path: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let name = super::file_name(path);
    if Format::claimed(&name) != Some(Format::Env) {
        return None;
    }
    let text = std::str::from_utf8(content).ok()?;
    Some(env::masked(text).into_bytes())
}

/// Whether the value of a conflict must not be shown.
#[must_use]
pub fn is_secret(path: &[u8], key: &str, value: &str) -> bool {
    Format::claimed(&super::file_name(path)) == Some(Format::Env) && secret::is_secret(key, value)
}

fn hide(change: &mut Change) {
    if let Change::Key { key, old, new } = change {
        for value in [old, new] {
            *value = value.take().map(|v| secret::shown(key, v));
        }
    }
}

/// Keys that differ; elements of lists of one length by position.
fn diff(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut out = Vec::new();
    for key in keys {
        let (a, b) = (old.get(key), new.get(key));
        if !same(a, b) {
            compare(key.clone(), a, b, &mut out);
        }
    }
    out
}

fn compare(key: String, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Change>) {
    match (old, new) {
        (Some(Value::List(a)), Some(Value::List(b))) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate().filter(|(_, (x, y))| !x.same(y)) {
                compare(format!("{key}[{i}]"), Some(x), Some(y), out);
            }
        }
        (Some(Value::Map(a)), Some(Value::Map(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (x, y) = (a.get(name), b.get(name));
                if !same(x, y) {
                    let mut path = key.clone();
                    push_key(&mut path, name);
                    compare(path, x, y, out);
                }
            }
        }
        (old, new) => out.push(Change::Key {
            key,
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same(b),
        _ => false,
    }
}

/// Merges by key. The start is the lines as far as they merge, for they carry the layout of both
/// sides; then ours.
fn merge_docs(
    format: Format,
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    labels: &Labels<'_>,
) -> Merged {
    let old = base.unwrap_or(b"");
    let by_lines = text::merge(old, ours, theirs, labels);
    if let Some(merged) = by_key(format, base, ours, theirs, &by_lines) {
        return merged;
    }
    if by_lines.conflicts.is_empty() {
        // Lines that meet to something else than the two sides mean: nobody wrote that.
        return text::whole_conflict(old, ours, theirs, labels);
    }
    by_lines
}

fn by_key(
    format: Format,
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    by_lines: &Merged,
) -> Option<Merged> {
    let read = |bytes| format.parse(checked(bytes).ok()?).ok();
    let (o, t) = (read(ours)?, read(theirs)?);
    let b = match base {
        Some(base) => Some(read(base)?),
        None => None,
    };
    let (want, conflicts) = decide(b.as_ref(), &o, &t);
    let value = want.value();
    let means = |text: &str| {
        format
            .parse(text)
            .is_ok_and(|d| d.root.value().same(&value))
    };
    if by_lines.conflicts.is_empty() {
        let text = std::str::from_utf8(&by_lines.bytes).ok()?;
        if conflicts.is_empty() && means(text) {
            return Some(by_lines.clone());
        }
    }
    let foot = |doc: &Doc<'_>| edit::foot_of(doc).map(|r| doc.text[r].to_owned());
    let old_foot = b.as_ref().and_then(foot);
    let foot = match (foot(&o), foot(&t)) {
        (Some(o), Some(t)) => comment(old_foot.as_deref(), &o, &t, union_lines),
        _ => None,
    };
    let old = base.unwrap_or(b"");
    let mixed = text::merge_as_ours(old, ours, theirs);
    let other = text::merge_as_ours(old, theirs, ours);
    // All four, so that it does not depend on the sides whether there is a result.
    let starts = [mixed.as_slice(), ours, theirs, &other];
    let text = starts.into_iter().find_map(|start| {
        let start = format.parse(std::str::from_utf8(start).ok()?).ok()?;
        let text = edit::apply(&start, &want, foot.as_deref())?;
        means(&text).then_some(text)
    })?;
    Some(Merged {
        bytes: text.into_bytes(),
        conflicts,
    })
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
