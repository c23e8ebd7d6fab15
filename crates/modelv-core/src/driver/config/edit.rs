//! Puts a decision into the text of a file by replacing, adding and removing the bytes of single
//! parts. Everything else of the text stays as it is. Where a part can't be set in place there is
//! no result: a caller never gets a file it did not ask for.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::decide::{Part, Slot, Want, lead, slots_of};
use super::doc::{Doc, Entry, Kind, Node, Style, line_start, next_line};

/// The text of `start` with everything as wanted; `None` where that can't be done in place.
pub(super) fn apply(start: &Doc<'_>, want: &Want<'_>, foot: Option<&str>) -> Option<String> {
    let mut edits = Edits::new(start.text);
    edits.node(&start.root, want, None)?;
    if let (Some(foot), Some(range)) = (foot, foot_of(start))
        && start.text[range.clone()] != *foot
    {
        edits.put(range, foot.to_owned());
    }
    edits.finish(0..start.text.len())
}

/// What stands behind the last entry of a file of lines.
pub(super) fn foot_of(doc: &Doc<'_>) -> Option<Range<usize>> {
    match &doc.root.kind {
        Kind::Map(Style::Lines, entries) => Some(entries.last()?.end..doc.text.len()),
        _ => None,
    }
}

struct Edits<'t> {
    text: &'t str,
    crlf: bool,
    list: Vec<(Range<usize>, String)>,
}

impl<'t> Edits<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            crlf: text.contains("\r\n"),
            list: Vec::new(),
        }
    }

    fn put(&mut self, range: Range<usize>, text: String) {
        let text = text.replace("\r\n", "\n");
        let text = if self.crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        };
        self.list.push((range, text));
    }

    /// The text of a range with its edits; `None` if two of them overlap.
    fn finish(mut self, range: Range<usize>) -> Option<String> {
        self.list.sort_by_key(|(r, _)| (r.start, r.end));
        let mut out = String::with_capacity(range.len());
        let mut at = range.start;
        for (range, text) in &self.list {
            if range.start < at {
                return None;
            }
            out.push_str(&self.text[at..range.start]);
            out.push_str(text);
            at = range.end;
        }
        out.push_str(self.text.get(at..range.end)?);
        Some(out)
    }

    fn node(
        &mut self,
        at: &Node,
        want: &Want<'_>,
        slot: Option<(&Entry, &Slot<'_>)>,
    ) -> Option<()> {
        match (want, &at.kind) {
            (Want::Part(part), _) if self.text[at.span.clone()] == *part.raw() => Some(()),
            (Want::Part(part), Kind::Map(style, entries)) => match &part.node.kind {
                Kind::Map(other, wanted) if other == style => {
                    self.map(at, (*style, entries), &slots_of(part.text, wanted))
                }
                _ => self.replace(at, want, slot),
            },
            (Want::Part(part), Kind::List(items)) => match &part.node.kind {
                Kind::List(wanted) if wanted.len() == items.len() => {
                    for (at, node) in items.iter().zip(wanted) {
                        let text = part.text;
                        self.node(at, &Want::Part(Part { text, node }), None)?;
                    }
                    Some(())
                }
                _ => self.replace(at, want, slot),
            },
            (Want::Map { slots: none, .. }, Kind::Map(Style::Lines, entries))
                if none.is_empty() && !entries.is_empty() =>
            {
                self.clear(at, entries, slot)
            }
            (Want::Map { like, slots }, Kind::Map(style, entries)) if matches!(&like.node.kind, Kind::Map(other, _) if other == style) => {
                self.map(at, (*style, entries), slots)
            }
            (Want::List { items, .. }, Kind::List(have)) if items.len() == have.len() => {
                for (at, want) in have.iter().zip(items) {
                    self.node(at, want, None)?;
                }
                Some(())
            }
            _ => self.replace(at, want, slot),
        }
    }

    /// Takes all entries out of a map of lines, which then is an empty one.
    fn clear(
        &mut self,
        at: &Node,
        entries: &[Entry],
        slot: Option<(&Entry, &Slot<'_>)>,
    ) -> Option<()> {
        let Some((entry, _)) = slot.filter(|(e, _)| !is_section(self.text, e)) else {
            return self.map(at, (Style::Lines, entries), &[]);
        };
        self.put(entry.tail.start..entry.tail.start, " {}".to_owned());
        let block = next_line(self.text, entry.tail.end)..entry.end;
        self.put(block, String::new());
        Some(())
    }

    /// Puts another value in place of one.
    fn replace(
        &mut self,
        at: &Node,
        want: &Want<'_>,
        slot: Option<(&Entry, &Slot<'_>)>,
    ) -> Option<()> {
        let part = match want {
            Want::Part(part) => *part,
            Want::Map { like, .. } | Want::List { like, .. } => *like,
        };
        let old = &self.text[at.span.clone()];
        let new = render(part, want, part.node.span.clone())?;
        let block = |text: &str| text.contains('\n');
        if let Some((entry, slot)) = slot
            && (block(old) || block(&new))
        {
            // The entry with its key, for where a block starts depends on what it is.
            let source = find(part, slot)?;
            let mut edits = Edits::new(part.text);
            if !matches!(want, Want::Part(_)) {
                edits.node(part.node, want, None)?;
            }
            if let Some(tail) = &slot.tail
                && part.text[source.tail.clone()] != **tail
            {
                edits.put(source.tail.clone(), tail.clone());
            }
            let new = edits.finish(source.start..source.end)?;
            let (from, to) = (
                column(part.text, source.start),
                column(self.text, entry.start),
            );
            let new = reindent(&new, from, to);
            let whole = self.text[..entry.end].ends_with('\n');
            let new = new.trim_end_matches(['\r', '\n']);
            self.drop_edits(entry.start..entry.end);
            self.put(
                entry.start..entry.end,
                format!("{new}{}", if whole { "\n" } else { "" }),
            );
            return Some(());
        }
        let new = reindent(
            &new,
            indent(part.text, part.node.span.start),
            indent(self.text, at.span.start),
        );
        // Behind a bare `key:` a value needs its blank.
        let before = self.text[..at.span.start].ends_with(':') && at.span.is_empty();
        self.put(
            at.span.clone(),
            if before { format!(" {new}") } else { new },
        );
        Some(())
    }

    fn drop_edits(&mut self, range: Range<usize>) {
        self.list
            .retain(|(r, _)| r.end <= range.start || r.start >= range.end);
    }

    fn map(
        &mut self,
        at: &Node,
        (style, entries): (Style, &[Entry]),
        slots: &[Slot<'_>],
    ) -> Option<()> {
        let wanted: HashMap<&str, &Slot<'_>> =
            slots.iter().map(|s| (s.entry.key.as_str(), s)).collect();
        // A key can't become a section where it stands, nor a section a key.
        let stays = |entry: &Entry| {
            let slot = wanted.get(entry.key.as_str())?;
            let (text, source) = source(slot);
            (is_section(self.text, entry) == is_section(text, source)).then_some(*slot)
        };
        let kept: Vec<Option<&Slot<'_>>> = entries.iter().map(stays).collect();
        for (entry, slot) in entries.iter().zip(&kept) {
            if let Some(slot) = slot {
                if style == Style::Lines {
                    self.comments(entry, slot);
                }
                let lines = (style == Style::Lines).then_some((entry, *slot));
                self.node(&entry.node, &slot.want, lines)?;
            }
        }
        // New entries by the one they come behind; `usize::MAX`: before the first.
        let place: HashMap<&str, usize> = entries
            .iter()
            .enumerate()
            .filter(|(i, _)| kept[*i].is_some())
            .map(|(i, e)| (e.key.as_str(), i))
            .collect();
        let mut added: HashMap<usize, Vec<&Slot<'_>>> = HashMap::new();
        let mut last = usize::MAX;
        for slot in slots {
            match place.get(slot.entry.key.as_str()) {
                Some(i) => last = *i,
                None => added.entry(last).or_default().push(slot),
            }
        }
        let kept: Vec<bool> = kept.iter().map(Option::is_some).collect();
        match style {
            Style::Lines => self.lines(at, entries, &kept, &added),
            Style::Flow => self.flow(at, entries, &kept, &added),
        }
    }

    fn comments(&mut self, entry: &Entry, slot: &Slot<'_>) {
        let above = entry.lead..line_start(self.text, entry.start).max(entry.lead);
        if let Some(want) = &slot.lead
            && self.text[above.clone()] != **want
        {
            self.put(above, want.clone());
        }
        if let Some(want) = &slot.tail
            && self.text[entry.tail.clone()] != **want
        {
            self.put(entry.tail.clone(), want.clone());
        }
    }

    fn lines(
        &mut self,
        at: &Node,
        entries: &[Entry],
        kept: &[bool],
        added: &HashMap<usize, Vec<&Slot<'_>>>,
    ) -> Option<()> {
        for (entry, _) in entries.iter().zip(kept).filter(|(_, kept)| !**kept) {
            let line = line_start(self.text, entry.start);
            if !self.text[line..entry.start].trim().is_empty() {
                return None;
            }
            self.put(entry.lead..entry.end, String::new());
        }
        let margin = entries.first().map_or("", |e| column(self.text, e.start));
        // Keys without a section end where the first section starts.
        let sections = entries
            .iter()
            .find(|e| is_section(self.text, e))
            .map(|e| e.lead);
        let mut blocks: BTreeMap<usize, String> = BTreeMap::new();
        for behind in std::iter::once(usize::MAX).chain(0..entries.len()) {
            for slot in added.get(&behind).into_iter().flatten() {
                let mut pos = match (entries.get(behind), entries.first()) {
                    (Some(entry), _) => entry.end,
                    (None, Some(first)) => first.lead,
                    (None, None) => at.span.start,
                };
                let (text, source) = source(slot);
                if is_section(text, source) {
                    let last = entries.last().map_or(pos, |e| e.end);
                    pos = pos.max(sections.unwrap_or(last));
                } else if let Some(sections) = sections {
                    pos = pos.min(sections);
                }
                let block = blocks.entry(pos).or_default();
                block.push_str(&new_lines(slot, margin)?);
                if !block.ends_with('\n') {
                    block.push('\n');
                }
            }
        }
        for (pos, mut block) in blocks {
            if pos > 0 && !self.text[..pos].ends_with(['\n', '\u{feff}']) {
                block = format!("\n{}", block.trim_end_matches('\n'));
            }
            self.put(pos..pos, block);
        }
        Some(())
    }

    fn flow(
        &mut self,
        at: &Node,
        entries: &[Entry],
        kept: &[bool],
        added: &HashMap<usize, Vec<&Slot<'_>>>,
    ) -> Option<()> {
        if added.is_empty() && kept.iter().all(|k| *k) {
            return Some(());
        }
        let inner = at.span.start + 1..at.span.end - 1;
        let open = entries.first().map(|e| &self.text[inner.start..e.start]);
        let between = match (entries, open) {
            ([a, b, ..], _) => self.text[a.end..b.start].to_owned(),
            (_, Some(open)) if open.contains('\n') => format!(",{open}"),
            _ => ", ".to_owned(),
        };
        let margin = entries
            .first()
            .map(|e| indent(self.text, e.start).to_owned());
        let mut pending: Vec<String> = Vec::new();
        let mut last: Option<usize> = None;
        for i in std::iter::once(usize::MAX).chain(0..entries.len()) {
            if kept.get(i) == Some(&true) {
                let new = std::mem::take(&mut pending);
                self.gap(entries, last, Some(i), &new, &between);
                last = Some(i);
            }
            for slot in added.get(&i).into_iter().flatten() {
                pending.push(written(slot, margin.as_deref())?);
            }
        }
        if last.is_some() {
            self.gap(entries, last, None, &pending, &between);
        } else if pending.is_empty() {
            self.put(inner, String::new());
        } else if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.put(first.start..last.end, pending.join(&between));
        } else {
            self.fill_empty(inner, added, &pending);
        }
        Some(())
    }

    /// What stands between two entries that stay: removed ones go, new ones come.
    fn gap(
        &mut self,
        entries: &[Entry],
        before: Option<usize>,
        behind: Option<usize>,
        new: &[String],
        between: &str,
    ) {
        let (range, text) = match (before, behind) {
            (None, Some(i)) => {
                let text: String = new.iter().map(|n| format!("{n}{between}")).collect();
                (entries[0].start..entries[i].start, text)
            }
            (Some(p), behind) => {
                let text: String = new.iter().map(|n| format!("{between}{n}")).collect();
                let end = behind.unwrap_or(entries.len()) - 1;
                (entries[p].end..entries[end].end, text)
            }
            (None, None) => return,
        };
        if !(range.is_empty() && text.is_empty()) {
            self.put(range, text);
        }
    }

    /// Entries into a map that had none, laid out as where they come from.
    fn fill_empty(
        &mut self,
        inner: Range<usize>,
        added: &HashMap<usize, Vec<&Slot<'_>>>,
        parts: &[String],
    ) {
        let slot = added.values().flatten().next();
        let (from, to) = match slot {
            Some(slot) => (
                indent(slot.text, slot.entry.start),
                indent(self.text, inner.start),
            ),
            None => ("", ""),
        };
        // On lines of their own there, on lines of their own here, one step deeper.
        let own = slot.is_some_and(|s| {
            column(s.text, s.entry.start).len() == indent(s.text, s.entry.start).len()
                && line_start(s.text, s.entry.start) > 0
        });
        let text = if own {
            let margin = format!("{to}{}", if from.starts_with('\t') { "\t" } else { "  " });
            let body: Vec<String> = parts.iter().map(|p| reindent(p, from, &margin)).collect();
            format!("\n{margin}{}\n{to}", body.join(&format!(",\n{margin}")))
        } else {
            parts.join(", ")
        };
        self.put(inner, text);
    }
}

/// The version a new entry is copied from.
fn source<'d>(slot: &Slot<'d>) -> (&'d str, &'d Entry) {
    match slot.want {
        Want::Part(part) => find(part, slot).map_or((slot.text, slot.entry), |e| (part.text, e)),
        _ => (slot.text, slot.entry),
    }
}

/// Whether an entry is a section of an INI file.
fn is_section(text: &str, entry: &Entry) -> bool {
    matches!(entry.node.kind, Kind::Map(Style::Lines, _)) && text[entry.start..].starts_with('[')
}

/// The text of a new entry, with its key.
fn body(slot: &Slot<'_>) -> Option<String> {
    let (text, entry) = source(slot);
    let node = &entry.node;
    render(Part { text, node }, &slot.want, entry.start..entry.end)
}

/// A new entry of a map of lines, with the comments above it.
fn new_lines(slot: &Slot<'_>, margin: &str) -> Option<String> {
    let (text, entry) = source(slot);
    let from = column(text, entry.start);
    let above = slot.lead.as_deref().unwrap_or(lead(text, entry));
    let above = reindent_all(above, from, margin);
    Some(format!(
        "{above}{margin}{}",
        reindent(&body(slot)?, from, margin)
    ))
}

/// A new entry of a flow map.
fn written(slot: &Slot<'_>, margin: Option<&str>) -> Option<String> {
    let (text, entry) = source(slot);
    let body = body(slot)?.trim_end().to_owned();
    Some(match margin {
        Some(margin) => reindent(&body, indent(text, entry.start), margin),
        None => body,
    })
}

/// A range of a version's text with what is wanted inside its part.
fn render(part: Part<'_>, want: &Want<'_>, range: Range<usize>) -> Option<String> {
    let mut edits = Edits::new(part.text);
    if !matches!(want, Want::Part(_)) {
        edits.node(part.node, want, None)?;
    }
    edits.finish(range)
}

/// The entry that holds a part, on whichever side it is.
fn find<'d>(part: Part<'d>, slot: &Slot<'d>) -> Option<&'d Entry> {
    [Some(slot.entry), slot.other]
        .into_iter()
        .flatten()
        .find(|e| std::ptr::eq(&raw const e.node, part.node))
}

/// The blanks a byte's line starts with.
fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..at];
    &line[..line.len() - line.trim_start().len()]
}

/// What stands before a byte on its line, as blanks; nothing if there is more than blanks.
fn column(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..at];
    if line.trim().is_empty() { line } else { "" }
}

/// Moves all lines but the first from one indent to another.
fn reindent(text: &str, from: &str, to: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) if from != to => {
            format!("{first}\n{}", reindent_all(rest, from, to))
        }
        _ => text.to_owned(),
    }
}

fn reindent_all(text: &str, from: &str, to: &str) -> String {
    if from == to {
        return text.to_owned();
    }
    text.split_inclusive('\n')
        .map(|line| {
            if line.trim().is_empty() {
                return line.to_owned();
            }
            format!("{to}{}", line.strip_prefix(from).unwrap_or(line))
        })
        .collect()
}
