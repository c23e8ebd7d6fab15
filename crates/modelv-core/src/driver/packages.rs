//! Requirement files: one demand a package, by its PEP 503 name and marker. Order, comments and
//! continuation lines stay as they are. Demands on one package that a merge brings together must be
//! satisfiable together, or they are one conflict that names both. Lock files and conda's
//! environments are in `blocks`.

mod across;
mod blocks;
mod conda;
mod lock;

use std::collections::{BTreeMap, BTreeSet};

pub use across::{Asking, clashes, is_asking};
pub use blocks::PackageFile;

use super::{Change, Conflict, Item, Labels, Merged, Rules, SettleError, text};
use crate::env::normal_name;
use crate::requirement::Requirement;

/// Stands behind a name where all demands on it are meant, whatever their markers.
const ALL: &str = " *";

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
    hold_together(&mut want, [&b, &o, &t], &mut conflicts);
    conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    let mixed = text::merge_as_ours(base, ours, theirs);
    let bytes = [mixed.as_slice(), ours]
        .into_iter()
        .find_map(|start| edit(start, &want));
    match bytes {
        Some(bytes) => Merged { bytes, conflicts },
        None => text::whole_conflict(base, ours, theirs, labels),
    }
}

/// A demand without what pip writes behind it.
fn requirement(lines: &str) -> Option<Requirement> {
    let text = demand(lines);
    Requirement::parse(text.split(" --").next().unwrap_or(&text))
}

type Demands = BTreeMap<String, String>;

/// Finds demands on one package, for different markers, that the merge brought together and that no
/// version meets where both markers hold. The package is then as in ours, and one conflict.
fn hold_together(want: &mut Demands, [b, o, t]: [&Demands; 3], conflicts: &mut Vec<Conflict>) {
    let mut by_name: BTreeMap<String, Vec<(&String, Requirement)>> = BTreeMap::new();
    for (key, lines) in &*want {
        if let Some(r) = requirement(lines) {
            by_name.entry(r.name.clone()).or_default().push((key, r));
        }
    }
    let same = |side: &Demands, key: &String| {
        side.get(key).map(|l| demand(l)) == want.get(key).map(|l| demand(l))
    };
    let mut clashing = BTreeSet::new();
    for (name, all) in &by_name {
        let pairs = all
            .iter()
            .enumerate()
            .flat_map(|(i, x)| all[..i].iter().map(move |y| (x, y)));
        let clash = pairs.into_iter().any(|(x, y)| {
            // What a side has so is not of our making.
            let known = [o, t]
                .into_iter()
                .any(|side| same(side, x.0) && same(side, y.0));
            !known && !x.1.agrees_with(&y.1)
        });
        let open = |c: &Conflict| {
            all.iter()
                .any(|(key, _)| c.item == Item::Package((*key).clone()))
        };
        if clash && !conflicts.iter().any(open) {
            clashing.insert(name.clone());
        }
    }
    for name in clashing {
        let of = |side: &Demands| -> Demands {
            let meant = |lines: &String| requirement(lines).is_some_and(|r| r.name == name);
            side.iter()
                .filter(|(_, l)| meant(l))
                .map(|(k, l)| (k.clone(), l.clone()))
                .collect()
        };
        let shown = |side: &Demands| {
            let lines: Vec<String> = of(side).values().map(|l| demand(l)).collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        };
        conflicts.push(Conflict {
            item: Item::Package(format!("{name}{ALL}")),
            base: shown(b),
            ours: shown(o),
            theirs: shown(t),
        });
        let now = of(want);
        want.retain(|key, _| !now.contains_key(key));
        want.extend(of(o));
    }
}

/// Puts all demands on a package in place of those that are there.
fn set_all(current: &[u8], name: &str, value: Option<&str>) -> Result<Vec<u8>, SettleError> {
    let text = value.unwrap_or("");
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    if let Some(line) = lines
        .iter()
        .find(|l| requirement(l).is_none_or(|r| r.name != name))
    {
        return Err(SettleError(format!("`{line}` is no demand on `{name}`")));
    }
    let bad = || SettleError("the file is no text, or has a demand twice".into());
    let have = demands(current).ok_or_else(bad)?;
    let new: Vec<(String, String)> = lines
        .iter()
        .filter_map(|l| Some((key_of(l)?, format!("{}\n", l.trim()))))
        .collect();
    let mut changes: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (key, lines) in &have {
        if requirement(lines).is_some_and(|r| r.name == name) {
            changes.insert(key, None);
        }
    }
    changes.extend(new.iter().map(|(k, l)| (k.as_str(), Some(l.as_str()))));
    set_lines(current, &changes).ok_or_else(bad)
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
    if let Some(name) = key.strip_suffix(ALL) {
        return set_all(current, name, value);
    }
    if let Some(value) = value
        && key_of(value).as_deref() != Some(key)
    {
        return Err(SettleError(format!("`{value}` is no demand on `{key}`")));
    }
    let line = value.map(|v| format!("{}\n", v.trim_end()));
    set_lines(current, &BTreeMap::from([(key, line.as_deref())]))
        .ok_or_else(|| SettleError("the file is no text".into()))
}

/// Merges lists of demands by package, as `pyproject.toml` has them; `None` where they are no such
/// lists, or a demand is open.
pub(super) fn merge_lists(base: &[&str], ours: &[&str], theirs: &[&str]) -> Option<Vec<String>> {
    let all = [base, ours, theirs];
    let asks = |text: &&str| text.contains(['=', '<', '>', '~', '!', '@', ';', '[']);
    if !all.iter().any(|list| list.iter().any(&asks)) {
        // Words: nothing says that these are packages.
        return None;
    }
    let read = |list: &[&str]| -> Option<Demands> {
        let mut out = Demands::new();
        for text in list {
            Requirement::parse(text)?;
            if out.insert(key_of(text)?, (*text).to_owned()).is_some() {
                return None;
            }
        }
        Some(out)
    };
    let (b, o, t) = (read(base)?, read(ours)?, read(theirs)?);
    let mut want = Demands::new();
    let mut order: Vec<String> = Vec::new();
    let keys = ours.iter().chain(theirs).filter_map(|text| key_of(text));
    for key in keys {
        if order.contains(&key) {
            continue;
        }
        let (vb, vo, vt) = (b.get(&key), o.get(&key), t.get(&key));
        let value = match () {
            () if vo == vt || vt == vb => vo,
            () if vo == vb => vt,
            () => return None,
        };
        if let Some(value) = value {
            want.insert(key.clone(), value.clone());
            order.push(key);
        }
    }
    let mut open = Vec::new();
    hold_together(&mut want, [&b, &o, &t], &mut open);
    if !open.is_empty() {
        return None;
    }
    Some(
        order
            .iter()
            .filter_map(|key| want.get(key).cloned())
            .collect(),
    )
}

#[cfg(test)]
mod tests;
