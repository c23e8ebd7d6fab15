//! Files that list packages among other things: lock files in TOML, and conda's `environment.yml`.
//! What stands around the packages merges by key, as its format does; the packages merge one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::config::Format;
use super::super::{Change, Conflict, Item, Labels, Merged, Refusal, Rules, SettleError, text};
use super::{conda, lock};
use crate::requirement::Version;

/// Files that list packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageFile {
    /// `uv.lock`, `poetry.lock`, `pdm.lock`: a `[[package]]` each.
    Lock,
    /// `environment.yml` of conda.
    Conda,
}

/// Stands between the names of packages that are decided together.
pub(super) const WITH: &str = " + ";

/// One package as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) version: String,
    /// All its lines, without the last line end.
    pub(super) text: String,
    /// What the lines say, without comments.
    pub(super) says: String,
}

/// A file taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// Before the packages, with its line ends.
    pub(super) head: String,
    pub(super) blocks: Vec<Block>,
    /// Behind them.
    pub(super) tail: String,
}

impl PackageFile {
    /// The kind a file name claims, in lower case and without its folder.
    pub(in super::super) fn claimed(name: &[u8]) -> Option<Self> {
        match name {
            b"uv.lock" | b"poetry.lock" | b"pdm.lock" => Some(Self::Lock),
            b"environment.yml" | b"environment.yaml" => Some(Self::Conda),
            _ => None,
        }
    }

    fn format(self) -> Format {
        match self {
            Self::Lock => Format::Toml,
            Self::Conda => Format::Yaml,
        }
    }

    fn gap(self) -> &'static str {
        match self {
            Self::Lock => "\n\n",
            Self::Conda => "\n",
        }
    }

    fn split(self, bytes: &[u8]) -> Option<Split> {
        let text = std::str::from_utf8(bytes).ok()?.replace("\r\n", "\n");
        match self {
            Self::Lock => lock::split(&text),
            Self::Conda => conda::split(&text),
        }
    }

    fn join(self, split: &Split, like: &[u8]) -> Vec<u8> {
        let gap = self.gap();
        let mut out = split.head.clone();
        if self == Self::Lock && !out.is_empty() {
            out = format!("{}{gap}", out.trim_end());
        }
        let texts: Vec<&str> = split.blocks.iter().map(|b| b.text.as_str()).collect();
        out.push_str(&texts.join(gap));
        if !texts.is_empty() {
            out.push('\n');
        }
        if self == Self::Lock && !split.tail.is_empty() {
            out.push('\n');
        }
        out.push_str(&split.tail);
        if like.windows(2).any(|w| w == b"\r\n") {
            out = out.replace('\n', "\r\n");
        }
        out.into_bytes()
    }

    /// Puts merged parts together; `None` where they do not make such a file.
    fn whole(self, split: &Split, like: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.join(split, like);
        let again = self.split(&bytes)?;
        let same = again.blocks.len() == split.blocks.len()
            && split.blocks.iter().all(|b| again.blocks.contains(b));
        (same && self.format().check(&bytes).is_ok()).then_some(bytes)
    }
}

impl Rules for PackageFile {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        self.format().check(content)?;
        // Any YAML may be called so, and merges as such.
        if *self == Self::Lock && self.split(content).is_none() {
            return Err(Refusal::Beyond("it does not list packages".into()));
        }
        Ok(())
    }

    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        let empty = || Some(Split::default());
        let b = base.map_or_else(empty, |b| self.split(b));
        let (Some(b), Some(o), Some(t)) = (b, self.split(ours), self.split(theirs)) else {
            return self.format().merge(base, ours, theirs, labels);
        };
        let by_lines = text::merge(base.unwrap_or(b""), ours, theirs, labels);
        let merged = by_package(*self, base.is_some(), [&b, &o, &t], labels);
        if let Some((split, conflicts)) = merged {
            // The lines are as good, and keep the layout, where they say the same.
            if by_lines.conflicts.is_empty()
                && conflicts.is_empty()
                && self.split(&by_lines.bytes).as_ref() == Some(&split)
            {
                return by_lines;
            }
            if let Some(bytes) = self.whole(&split, ours) {
                return Merged { bytes, conflicts };
            }
        }
        if by_lines.conflicts.is_empty() {
            return text::whole_conflict(base.unwrap_or(b""), ours, theirs, labels);
        }
        by_lines
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let read = |side: Option<&[u8]>| side.map_or(Some(Split::default()), |s| self.split(s));
        let (Some(a), Some(b)) = (read(old), read(new)) else {
            return self.format().diff(old, new);
        };
        let mut out = packages(&a, &b);
        for (x, y) in [(&a.head, &b.head), (&a.tail, &b.tail)] {
            if x != y {
                let side = |of: Option<&[u8]>, text: &str| of.map(|_| text.as_bytes().to_vec());
                let (x, y) = (side(old, x), side(new, y));
                let around = self.format().diff(x.as_deref(), y.as_deref());
                out.extend(
                    around
                        .into_iter()
                        .filter(|c| matches!(c, Change::Key { .. })),
                );
            }
        }
        if out.is_empty() {
            return text::diff(old, new);
        }
        out
    }

    fn settle(
        &self,
        current: &[u8],
        item: &Item,
        value: Option<&str>,
    ) -> Result<Vec<u8>, SettleError> {
        match (item, self.split(current)) {
            (Item::Package(names), Some(split)) => settle(*self, split, names, value, current),
            (Item::Key(_), _) => self.format().settle(current, item, value),
            _ => Err(SettleError("the file lists no packages".into())),
        }
    }
}

/// Names that any of the files lists more than once: these need their version to be told apart.
fn repeated(splits: &[&Split]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for split in splits {
        let mut seen = BTreeSet::new();
        let twice = split.blocks.iter().filter(|b| !seen.insert(&b.name));
        out.extend(twice.map(|b| b.name.clone()));
    }
    out
}

fn key_of(block: &Block, repeated: &BTreeSet<String>) -> String {
    if repeated.contains(&block.name) {
        format!("{} {}", block.name, block.version)
    } else {
        block.name.clone()
    }
}

/// Packages by key; `None` where two have the same.
fn by_key<'s>(
    split: &'s Split,
    repeated: &BTreeSet<String>,
) -> Option<BTreeMap<String, &'s Block>> {
    let mut out = BTreeMap::new();
    for block in &split.blocks {
        if out.insert(key_of(block, repeated), block).is_some() {
            return None;
        }
    }
    Some(out)
}

fn packages(old: &Split, new: &Split) -> Vec<Change> {
    let repeated = repeated(&[old, new]);
    let (Some(a), Some(b)) = (by_key(old, &repeated), by_key(new, &repeated)) else {
        return Vec::new();
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut out = Vec::new();
    for key in keys {
        let (x, y) = (a.get(key), b.get(key));
        if x.map(|b| &b.says) == y.map(|b| &b.says) {
            continue;
        }
        let mut shown = [x, y].map(|b| b.map(|b| b.version.clone()));
        if shown[0] == shown[1] {
            shown = shown.map(|v| v.map(|v| format!("{v} (other files)")));
        }
        let [old, new] = shown;
        out.push(Change::Package {
            name: key.clone(),
            old,
            new,
        });
    }
    out
}

/// What three versions of a package come to; `Err`: both sides changed it in different ways.
fn decide<'s>(
    b: Option<&'s Block>,
    o: Option<&'s Block>,
    t: Option<&'s Block>,
) -> Result<Option<&'s Block>, ()> {
    let says = |x: Option<&Block>, y: Option<&Block>| x.map(|b| &b.says) == y.map(|b| &b.says);
    if o == t || t == b {
        Ok(o)
    } else if o == b {
        Ok(t)
    } else if says(o, t) {
        Ok(o.min_by_text(t))
    } else if says(t, b) {
        Ok(o)
    } else if says(o, b) {
        Ok(t)
    } else {
        Err(())
    }
}

trait MinByText<'s> {
    fn min_by_text(self, other: Self) -> Self;
}

impl<'s> MinByText<'s> for Option<&'s Block> {
    fn min_by_text(self, other: Self) -> Self {
        if self.map(|b| &b.text) <= other.map(|b| &b.text) {
            self
        } else {
            other
        }
    }
}

/// The merged parts, and what is open in them; `None` where the file has to be merged otherwise.
fn by_package(
    kind: PackageFile,
    has_base: bool,
    [b, o, t]: [&Split; 3],
    labels: &Labels<'_>,
) -> Option<(Split, Vec<Conflict>)> {
    let mut conflicts = Vec::new();
    let mut around = |[b, o, t]: [&str; 3]| {
        if o == t || t == b && has_base {
            return Some(o.to_owned());
        }
        if o == b && has_base {
            return Some(t.to_owned());
        }
        let base = has_base.then_some(b.as_bytes());
        let merged = kind
            .format()
            .merge(base, o.as_bytes(), t.as_bytes(), labels);
        let by_key = |c: &Conflict| matches!(c.item, Item::Key(_));
        if !merged.conflicts.iter().all(by_key) {
            return None;
        }
        conflicts.extend(merged.conflicts);
        String::from_utf8(merged.bytes).ok()
    };
    let head = around([&b.head, &o.head, &t.head])?;
    let tail = around([&b.tail, &o.tail, &t.tail])?;
    let repeated = repeated(&[b, o, t]);
    let sides = [b, o, t].map(|s| by_key(s, &repeated));
    let [Some(in_base), Some(in_ours), Some(in_theirs)] = sides else {
        return None;
    };
    let of = |split: &Split| -> Vec<String> {
        split.blocks.iter().map(|b| key_of(b, &repeated)).collect()
    };
    let mut want: Vec<(String, &Block)> = Vec::new();
    for key in in_order(of(o), of(t)) {
        let [b, o, t] = [&in_base, &in_ours, &in_theirs].map(|m| m.get(&key).copied());
        let block = decide(b, o, t).unwrap_or_else(|()| {
            let [base, ours, theirs] = [b, o, t].map(|b| b.map(|b| kind.shown(b)));
            conflicts.push(Conflict {
                item: Item::Package(key.clone()),
                base,
                ours,
                theirs,
            });
            o
        });
        want.extend(block.map(|b| (key, b)));
    }
    let mut blocks: Vec<Block> = want.into_iter().map(|(_, b)| b.clone()).collect();
    if kind == PackageFile::Lock {
        lock::hold_together(&mut blocks, [b, o, t], &mut conflicts);
        sort_as([o, t], &mut blocks);
    }
    conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    Some((Split { head, blocks, tail }, conflicts))
}

impl PackageFile {
    /// A package as a decision about it is written.
    pub(super) fn shown(self, block: &Block) -> String {
        match self {
            Self::Lock => block.text.clone(),
            Self::Conda => block.says.clone(),
        }
    }
}

/// Sorted by name and version, where both sides are.
fn sort_as(sides: [&Split; 2], blocks: &mut [Block]) {
    let key = |b: &Block| {
        (
            b.name.clone(),
            Version::parse(&b.version),
            b.version.clone(),
        )
    };
    let sorted = |s: &Split| s.blocks.windows(2).all(|w| key(&w[0]) <= key(&w[1]));
    if sides.into_iter().all(sorted) {
        blocks.sort_by_key(key);
    }
}

/// Ours in our order, each of theirs alone behind the one it stands behind there.
fn in_order(ours: Vec<String>, theirs: Vec<String>) -> Vec<String> {
    let known: BTreeSet<&String> = ours.iter().collect();
    let mut behind: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    let mut anchor = None;
    for key in theirs {
        if known.contains(&key) {
            anchor = Some(key);
        } else {
            behind.entry(anchor.clone()).or_default().push(key);
        }
    }
    let mut out = behind.remove(&None).unwrap_or_default();
    for key in ours {
        let follow = behind.remove(&Some(key.clone())).unwrap_or_default();
        out.push(key);
        out.extend(follow);
    }
    out
}

/// Puts packages as they were decided in place of those of their names.
fn settle(
    kind: PackageFile,
    mut split: Split,
    names: &str,
    value: Option<&str>,
    current: &[u8],
) -> Result<Vec<u8>, SettleError> {
    let names: Vec<&str> = names.split(WITH).collect();
    let bad = || {
        SettleError(format!(
            "`{}` is no entry of {}",
            value.unwrap_or(""),
            names.join(WITH)
        ))
    };
    let new = match (kind, value) {
        (_, None) => Vec::new(),
        (PackageFile::Lock, Some(text)) => {
            let read = lock::split(&format!("{}\n", text.trim_end()));
            let read = read.filter(|s| s.head.is_empty() && s.tail.is_empty());
            read.ok_or_else(bad)?.blocks
        }
        (PackageFile::Conda, Some(text)) => {
            let at = split
                .blocks
                .iter()
                .find(|b| names.contains(&b.name.as_str()));
            vec![conda::block(text, at, names[0]).ok_or_else(bad)?]
        }
    };
    let repeated = repeated(&[&split]);
    let meant = |b: &Block| {
        let versioned = format!("{} {}", b.name, b.version);
        names
            .iter()
            .any(|n| *n == key_of(b, &repeated) || *n == b.name || *n == versioned)
    };
    if !new.iter().all(meant) {
        return Err(bad());
    }
    let at = split
        .blocks
        .iter()
        .position(meant)
        .unwrap_or(split.blocks.len());
    let sorted = split.clone();
    split.blocks.retain(|b| !meant(b));
    let at = at.min(split.blocks.len());
    split.blocks.splice(at..at, new);
    if kind == PackageFile::Lock {
        sort_as([&sorted, &sorted], &mut split.blocks);
    }
    kind.whole(&split, current).ok_or_else(bad)
}
