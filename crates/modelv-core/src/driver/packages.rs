//! Requirement files: one demand a package, by its PEP 503 name and marker. Order, comments and
//! continuation lines stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Conflict, Item, Labels, Merged, Rules, SettleError, text};
use crate::env::normal_name;

/// Requirement files.
pub(super) struct Packages;

impl Rules for Packages {
    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        merge(base.unwrap_or(b""), ours, theirs, labels)
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let changes = diff(old.unwrap_or(b""), new.unwrap_or(b""));
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
        match item {
            Item::Package(name) => set(current, name, value),
            _ => Err(SettleError("a requirements file has no such part".into())),
        }
    }
}

/// A demand with the lines it stands on, or lines that are none.
struct Part {
    /// `name` or `name ; marker`, an option by its text; `None` for comments and blank lines.
    key: Option<String>,
    /// All its lines.
    lines: String,
}

/// The demand without comment, continuation and hashes laid out by hand.
fn demand(lines: &str) -> String {
    let joined = lines.replace("\\\n", " ").replace("\\\r\n", " ");
    let code = joined.split(" #").next().unwrap_or("");
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The key of a demand: its name and marker. Options, and demands without a name (URLs, paths), are
/// their own key. Comments and blank lines have none.
fn key_of(lines: &str) -> Option<String> {
    let text = demand(lines);
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.trim_start();
    let goes_on =
        rest.is_empty() || rest.starts_with(['=', '<', '>', '!', '~', ';', '@', '[', '(', '-']);
    if !(goes_on && name.starts_with(char::is_alphanumeric)) {
        return Some(text);
    }
    let marker = text
        .split_once(';')
        .map(|(_, m)| m.split(" --hash").next().unwrap_or(m).trim());
    match marker {
        Some(marker) if !marker.is_empty() => Some(format!("{} ; {marker}", normal_name(name))),
        _ => Some(normal_name(name)),
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut out = Vec::new();
    let mut lines = String::new();
    for line in text.split_inclusive('\n') {
        lines.push_str(line);
        // pip does not continue a comment.
        if line.trim_end().ends_with('\\') && !line.trim_start().starts_with('#') {
            continue;
        }
        let lines = std::mem::take(&mut lines);
        out.push(Part {
            key: key_of(&lines),
            lines,
        });
    }
    if !lines.is_empty() {
        out.push(Part {
            key: key_of(&lines),
            lines,
        });
    }
    out
}

/// Demands by key; `None` when a key stands there twice or the file is no text.
fn demands(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for part in parts(std::str::from_utf8(bytes).ok()?) {
        if let Some(key) = part.key
            && out.insert(key, part.lines).is_some()
        {
            return None;
        }
    }
    Some(out)
}

/// Demands by key, without comments and layout.
pub(super) fn listed(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let found = demands(bytes)?.into_iter();
    Some(found.map(|(key, lines)| (key, demand(&lines))).collect())
}

pub(super) fn diff(old: &[u8], new: &[u8]) -> Vec<Change> {
    let (Some(old), Some(new)) = (demands(old), demands(new)) else {
        return Vec::new();
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .map(|key| {
            (
                key,
                old.get(key).map(|l| demand(l)),
                new.get(key).map(|l| demand(l)),
            )
        })
        .filter(|(_, a, b)| a != b)
        .map(|(key, old, new)| Change::Package {
            name: key.clone(),
            old,
            new,
        })
        .collect()
}

/// Merges demand by demand. The start is the lines as far as they merge, for they carry the
/// comments of both sides; demands that are not yet as wanted are then set.
pub(super) fn merge(base: &[u8], ours: &[u8], theirs: &[u8], labels: &Labels<'_>) -> Merged {
    let by_lines = || text::merge(base, ours, theirs, labels);
    let (Some(b), Some(o), Some(t)) = (demands(base), demands(ours), demands(theirs)) else {
        return by_lines();
    };
    let mut want = o.clone();
    let mut conflicts = Vec::new();
    let keys: BTreeSet<&String> = b.keys().chain(o.keys()).chain(t.keys()).collect();
    for key in keys {
        let read = |side: &BTreeMap<String, String>| side.get(key).map(|l| demand(l));
        let (vb, vo, vt) = (read(&b), read(&o), read(&t));
        if vo == vt || vt == vb {
            continue;
        }
        if vo == vb {
            match t.get(key) {
                Some(lines) => drop(want.insert(key.clone(), lines.clone())),
                None => drop(want.remove(key)),
            }
            continue;
        }
        let item = Item::Package(key.clone());
        conflicts.push(Conflict {
            item,
            base: vb,
            ours: vo,
            theirs: vt,
        });
    }
    let mixed = text::merge_as_ours(base, ours, theirs);
    let bytes = [mixed.as_slice(), ours]
        .into_iter()
        .find_map(|start| edit(start, &want));
    match bytes {
        Some(bytes) => Merged { bytes, conflicts },
        None => text::whole_conflict(base, ours, theirs, labels),
    }
}

/// Gives `start` the wanted demands; `None` if a demand stands there twice.
fn edit(start: &[u8], want: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let have = demands(start)?;
    let mut changes: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for key in have.keys().chain(want.keys()) {
        let read = |side: &BTreeMap<String, String>| side.get(key).map(|l| demand(l));
        if read(&have) != read(want) {
            changes.insert(key, want.get(key).map(String::as_str));
        }
    }
    if changes.is_empty() {
        return Some(start.to_vec());
    }
    let out = set_lines(start, &changes)?;
    demands(&out)?;
    Some(out)
}

/// Sets or removes the lines of demands; new ones come behind the last.
fn set_lines(current: &[u8], changes: &BTreeMap<&str, Option<&str>>) -> Option<Vec<u8>> {
    let mut added = changes.clone();
    let mut out = String::new();
    for part in parts(std::str::from_utf8(current).ok()?) {
        let key = part.key.as_deref();
        match key.and_then(|key| changes.get_key_value(key)) {
            None => push(&mut out, &part.lines),
            Some((key, lines)) => {
                added.remove(key);
                if let Some(lines) = lines {
                    push(&mut out, lines);
                }
            }
        }
    }
    for lines in added.into_values().flatten() {
        push(&mut out, lines);
    }
    Some(out.into_bytes())
}

fn push(out: &mut String, lines: &str) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(lines);
}

pub(super) fn set(current: &[u8], key: &str, value: Option<&str>) -> Result<Vec<u8>, SettleError> {
    if let Some(value) = value
        && key_of(value).as_deref() != Some(key)
    {
        return Err(SettleError(format!("`{value}` is no demand on `{key}`")));
    }
    let line = value.map(|v| format!("{}\n", v.trim_end()));
    set_lines(current, &BTreeMap::from([(key, line.as_deref())]))
        .ok_or_else(|| SettleError("the file is no text".into()))
}
