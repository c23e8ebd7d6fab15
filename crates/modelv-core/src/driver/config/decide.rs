//! The three-way decision over parsed files, key by key. It says which version each part is taken
//! from and knows nothing of how a file is written.
//!
//! Lists merge by position when all three have the same length and what both sides changed is still in
//! its place (`places.rs`); else a list is one value.

use std::collections::HashMap;

use super::super::{Conflict, Item};
use super::doc::{Doc, Entry, Kind, Node, Style, by_key, line_start, push_key};
use super::places;
use crate::value::Value;

/// A part of one version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'d> {
    pub(super) text: &'d str,
    pub(super) node: &'d Node,
}

impl<'d> Part<'d> {
    pub(super) fn root(doc: &'d Doc<'_>) -> Self {
        Self {
            text: doc.text,
            node: &doc.root,
        }
    }

    pub(super) fn raw(self) -> &'d str {
        &self.text[self.node.span.clone()]
    }

    pub(super) fn with(self, node: &'d Node) -> Self {
        Self { node, ..self }
    }

    pub(super) fn entries(self) -> Option<&'d [Entry]> {
        match &self.node.kind {
            Kind::Map(_, entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn items(self) -> Option<&'d [Node]> {
        match &self.node.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    fn same_value(self, other: Self) -> bool {
        self.node.value().same(&other.node.value())
    }

    /// As it can be typed on one line.
    fn shown(self) -> String {
        let raw = self.raw();
        if raw.contains('\n') || raw.is_empty() {
            self.node.value().to_string()
        } else {
            raw.to_owned()
        }
    }
}

/// What a part of the result is to be.
#[derive(Debug)]
pub(super) enum Want<'d> {
    /// As it stands in one version.
    Part(Part<'d>),
    /// A map, entry by entry; `like` is a version that has one.
    Map {
        like: Part<'d>,
        slots: Vec<Slot<'d>>,
    },
    /// A list, element by element.
    List {
        like: Part<'d>,
        items: Vec<Want<'d>>,
    },
}

/// A wanted entry of a map.
#[derive(Debug)]
pub(super) struct Slot<'d> {
    /// The version it is copied from where the file has none.
    pub(super) text: &'d str,
    pub(super) entry: &'d Entry,
    /// The entry of theirs, where both have one.
    pub(super) other: Option<&'d Entry>,
    pub(super) want: Want<'d>,
    /// The comment lines above it, where it matters.
    pub(super) lead: Option<String>,
    /// The comment behind it, where it matters.
    pub(super) tail: Option<String>,
}

impl Want<'_> {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Part(part) => part.node.value(),
            Self::List { items, .. } => Value::List(items.iter().map(Want::value).collect()),
            Self::Map { slots, .. } => Value::Map(
                slots
                    .iter()
                    .map(|s| (s.entry.key.clone(), s.want.value()))
                    .collect(),
            ),
        }
    }
}

/// Entries of a version as wanted, without regard to comments.
pub(super) fn slots_of<'d>(text: &'d str, entries: &'d [Entry]) -> Vec<Slot<'d>> {
    let slot = |entry: &'d Entry| Slot {
        text,
        entry,
        other: None,
        want: Want::Part(Part {
            text,
            node: &entry.node,
        }),
        lead: None,
        tail: None,
    };
    entries.iter().map(slot).collect()
}

/// The decision, and what both sides changed in different ways; that stays as in ours.
pub(super) fn decide<'d>(
    base: Option<&'d Doc<'_>>,
    ours: &'d Doc<'_>,
    theirs: &'d Doc<'_>,
) -> (Want<'d>, Vec<Conflict>) {
    let mut decider = Decider {
        path: String::new(),
        conflicts: Vec::new(),
    };
    let want = decider.node(base.map(Part::root), Part::root(ours), Part::root(theirs));
    let mut conflicts = decider.conflicts;
    conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    (want, conflicts)
}

struct Decider {
    path: String,
    conflicts: Vec<Conflict>,
}

impl Decider {
    fn open(&mut self, base: Option<Part<'_>>, ours: Option<Part<'_>>, theirs: Option<Part<'_>>) {
        self.conflicts.push(Conflict {
            item: Item::Key(self.path.clone()),
            base: base.map(Part::shown),
            ours: ours.map(Part::shown),
            theirs: theirs.map(Part::shown),
        });
    }

    fn node<'d>(&mut self, base: Option<Part<'d>>, ours: Part<'d>, theirs: Part<'d>) -> Want<'d> {
        if let (Some(o), Some(t)) = (ours.entries(), theirs.entries()) {
            let b = base.and_then(|b| Some((b.text, b.entries()?)));
            return self.map(b, (ours, o), (theirs, t));
        }
        if let (Some(b), Some(o), Some(t)) =
            (base.and_then(Part::items), ours.items(), theirs.items())
            && b.len() == o.len()
            && o.len() == t.len()
            && stay(b, o, t)
        {
            let base = base.unwrap_or(ours);
            let len = self.path.len();
            let mut items = Vec::with_capacity(o.len());
            for (i, ((b, o), t)) in b.iter().zip(o).zip(t).enumerate() {
                self.path.push_str(&format!("[{i}]"));
                items.push(self.node(Some(base.with(b)), ours.with(o), theirs.with(t)));
                self.path.truncate(len);
            }
            return Want::List { like: ours, items };
        }
        self.leaf(base, ours, theirs)
    }

    /// First by how it is written, then by what it says: a number written anew is not lost.
    fn leaf<'d>(&mut self, base: Option<Part<'d>>, ours: Part<'d>, theirs: Part<'d>) -> Want<'d> {
        let as_base = |side: Part<'_>, f: fn(Part<'_>, Part<'_>) -> bool| {
            base.is_some_and(|base| f(side, base))
        };
        let raw = |a: Part<'_>, b: Part<'_>| a.raw() == b.raw() && a.same_value(b);
        let says = |a: Part<'_>, b: Part<'_>| a.same_value(b);
        if raw(ours, theirs) || as_base(theirs, raw) {
            Want::Part(ours)
        } else if as_base(ours, raw) {
            Want::Part(theirs)
        } else if says(ours, theirs) {
            Want::Part(if ours.raw() <= theirs.raw() {
                ours
            } else {
                theirs
            })
        } else if as_base(theirs, says) {
            Want::Part(ours)
        } else if as_base(ours, says) {
            Want::Part(theirs)
        } else {
            self.open(base, Some(ours), Some(theirs));
            Want::Part(ours)
        }
    }

    fn map<'d>(
        &mut self,
        base: Option<(&'d str, &'d [Entry])>,
        (ours, o): (Part<'d>, &'d [Entry]),
        (theirs, t): (Part<'d>, &'d [Entry]),
    ) -> Want<'d> {
        let (in_base, in_ours) = (by_key(base.map_or(&[], |b| b.1)), by_key(o));
        let in_theirs = by_key(t);
        let base_text = base.map_or("", |b| b.0);
        let mut slots = Vec::with_capacity(o.len().max(t.len()));
        for (side, entry) in in_order(o, t, &in_ours) {
            let key = entry.key.as_str();
            let b = in_base.get(key).map(|e| Side(base_text, e));
            let (o, t) = match side {
                Origin::Ours => (
                    Some(Side(ours.text, entry)),
                    in_theirs.get(key).map(|e| Side(theirs.text, e)),
                ),
                Origin::Theirs => (None, Some(Side(theirs.text, entry))),
            };
            let len = self.path.len();
            push_key(&mut self.path, key);
            slots.extend(self.entry(b, o, t));
            self.path.truncate(len);
        }
        // Lines can be put between lines, but not between braces.
        let flow = |part: Part<'_>| matches!(part.node.kind, Kind::Map(Style::Flow, _));
        let like = if flow(ours) && !flow(theirs) {
            theirs
        } else {
            ours
        };
        Want::Map { like, slots }
    }

    fn entry<'d>(
        &mut self,
        base: Option<Side<'d>>,
        ours: Option<Side<'d>>,
        theirs: Option<Side<'d>>,
    ) -> Option<Slot<'d>> {
        match (ours, theirs) {
            (Some(o), Some(t)) => {
                let want = self.node(base.map(Side::part), o.part(), t.part());
                let lead = comment(base.map(Side::lead), o.lead(), t.lead(), union_lines);
                let tail = comment(base.map(Side::tail), o.tail(), t.tail(), union_tails);
                Some(Slot {
                    text: o.0,
                    entry: o.1,
                    other: Some(t.1),
                    want,
                    lead,
                    tail,
                })
            }
            (None, None) => None,
            (Some(kept), None) | (None, Some(kept)) => {
                let mine = ours.is_some();
                match base {
                    Some(base) if base.squeezed() == kept.squeezed() => return None,
                    Some(base) => {
                        self.open(
                            Some(base.part()),
                            ours.map(Side::part),
                            theirs.map(Side::part),
                        );
                        if !mine {
                            return None;
                        }
                    }
                    None => {}
                }
                slots_of(kept.0, std::slice::from_ref(kept.1)).pop()
            }
        }
    }
}

fn stay(base: &[Node], ours: &[Node], theirs: &[Node]) -> bool {
    let [b, o, t] = [base, ours, theirs].map(|l| l.iter().map(Node::value).collect::<Vec<_>>());
    places::stay(&b, &o, &t)
}

/// An entry of one version.
#[derive(Clone, Copy)]
struct Side<'d>(&'d str, &'d Entry);

impl<'d> Side<'d> {
    fn part(self) -> Part<'d> {
        Part {
            text: self.0,
            node: &self.1.node,
        }
    }

    fn lead(self) -> &'d str {
        lead(self.0, self.1)
    }

    fn tail(self) -> &'d str {
        &self.0[self.1.tail.clone()]
    }

    /// All of it but its layout.
    fn squeezed(self) -> String {
        let text = &self.0[self.1.lead..self.1.end];
        text.split_whitespace().collect()
    }
}

/// The comment lines above an entry.
pub(super) fn lead<'d>(text: &'d str, entry: &Entry) -> &'d str {
    // The usual case first: looking for the start of a line is slow where lines are long.
    if entry.lead == entry.start {
        return "";
    }
    &text[entry.lead..line_start(text, entry.start).max(entry.lead)]
}

enum Origin {
    Ours,
    Theirs,
}

/// All keys: ours in our order, each of theirs alone behind the one it stands behind there.
fn in_order<'d>(
    ours: &'d [Entry],
    theirs: &'d [Entry],
    in_ours: &HashMap<&str, &Entry>,
) -> Vec<(Origin, &'d Entry)> {
    let mut behind: HashMap<Option<&str>, Vec<&'d Entry>> = HashMap::new();
    let mut anchor = None;
    for entry in theirs {
        if in_ours.contains_key(entry.key.as_str()) {
            anchor = Some(entry.key.as_str());
        } else {
            behind.entry(anchor).or_default().push(entry);
        }
    }
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let mut follow = |out: &mut Vec<(Origin, &'d Entry)>, key| {
        let entries = behind.remove(&key).unwrap_or_default();
        out.extend(entries.into_iter().map(|e| (Origin::Theirs, e)));
    };
    follow(&mut out, None);
    for entry in ours {
        out.push((Origin::Ours, entry));
        follow(&mut out, Some(entry.key.as_str()));
    }
    out
}

/// Merges a comment; `None` when ours is right as it is. What both changed is joined, in an order
/// that does not depend on the sides.
pub(super) fn comment(
    base: Option<&str>,
    ours: &str,
    theirs: &str,
    union: fn(&str, &str) -> String,
) -> Option<String> {
    let words = |a: &str| a.split_whitespace().collect::<String>();
    if ours == theirs || base == Some(theirs) || words(theirs).is_empty() && base.is_none() {
        return Some(ours.to_owned());
    }
    if base == Some(ours) || words(ours).is_empty() && base.is_none() {
        return Some(theirs.to_owned());
    }
    if words(ours) == words(theirs) || base.is_some_and(|b| words(b) == words(theirs)) {
        return Some(ours.to_owned());
    }
    if base.is_some_and(|b| words(b) == words(ours)) {
        return Some(theirs.to_owned());
    }
    Some(if ours <= theirs {
        union(ours, theirs)
    } else {
        union(theirs, ours)
    })
}

/// The lines of both blocks, each once.
pub(super) fn union_lines(a: &str, b: &str) -> String {
    let mut out = a.to_owned();
    for line in b.split_inclusive('\n') {
        let text = line.trim();
        if !text.is_empty() && !a.lines().any(|l| l.trim() == text) {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str(line);
        }
    }
    out
}

/// Both comments behind one value.
pub(super) fn union_tails(a: &str, b: &str) -> String {
    if a.trim().is_empty() || b.contains(a.trim()) {
        return b.to_owned();
    }
    if a.contains(b.trim()) {
        return a.to_owned();
    }
    format!("{} {}", a.trim_end(), b.trim_start())
}
