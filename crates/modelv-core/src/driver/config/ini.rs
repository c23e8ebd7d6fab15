//! INI and .cfg as Python's `configparser` reads them: sections of keys with text values. Comments
//! stand on lines of their own; a `#` behind a value belongs to it. A deeper indented line goes on
//! with the value above.

use super::super::Refusal;
use super::doc::{Doc, Entry, Kind, Node, Style, line_end, next_line, refuse_twice};
use crate::value::Value;

pub(super) fn parse(text: &str) -> Result<Doc<'_>, Refusal> {
    let begin = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader {
        text,
        free: begin,
        top: Vec::new(),
        section: None,
    };
    let (mut at, mut number) = (begin, 0);
    while at < text.len() {
        number += 1;
        let (end, next) = (line_end(text, at), next_line(text, at));
        reader.line(at, end, next, number)?;
        at = next;
    }
    reader.close_section();
    let entries = reader.top;
    refuse_twice(&entries)?;
    for entry in &entries {
        if let Kind::Map(_, inner) = &entry.node.kind {
            refuse_twice(inner)?;
            // What an option without a section would be called clashes with nothing.
            let lower: Vec<String> = inner.iter().map(|e| e.key.to_lowercase()).collect();
            let mut seen = std::collections::HashSet::new();
            if let Some(key) = lower.iter().find(|k| !seen.insert(k.as_str())) {
                let text = format!("the key `{key}` stands there twice, in different case");
                return Err(Refusal::Invalid(text));
            }
        }
    }
    let root = Node {
        span: begin..text.len(),
        kind: Kind::Map(Style::Lines, entries),
    };
    Ok(Doc { text, root })
}

struct Reader<'t> {
    text: &'t str,
    /// Behind the last line that belongs to something.
    free: usize,
    top: Vec<Entry>,
    /// The open section, and its keys.
    section: Option<(Entry, Vec<Entry>)>,
}

impl Reader<'_> {
    fn line(&mut self, at: usize, end: usize, next: usize, number: u64) -> Result<(), Refusal> {
        let line = &self.text[at..end];
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return Ok(());
        }
        let bad = |wanted: &str| {
            Err(Refusal::Invalid(format!(
                "line {number}: expected {wanted}"
            )))
        };
        let indent = line.len() - line.trim_start().len();
        let text = self.text;
        if indent > 0 {
            let keys = match &mut self.section {
                Some((_, keys)) => keys,
                None => &mut self.top,
            };
            let Some(last) = keys.last_mut() else {
                return bad("a section or a key");
            };
            let key_indent = last.start - super::doc::line_start(text, last.start);
            if indent <= key_indent {
                return bad("a value that goes on deeper indented than its key");
            }
            extend(last, text, end, next);
            self.free = next;
            return Ok(());
        }
        if let Some(inner) = line.strip_prefix('[') {
            let Some((name, behind)) = inner.split_once(']') else {
                return bad("`]`");
            };
            if name.trim().is_empty() {
                return bad("the name of a section");
            }
            self.close_section();
            let tail = end - behind.len()..end;
            let node = Node {
                span: next..next,
                kind: Kind::Leaf(Value::Null),
            };
            let entry = Entry {
                key: name.to_owned(),
                lead: self.free,
                start: at,
                node,
                tail,
                end: next,
            };
            self.section = Some((entry, Vec::new()));
            self.free = next;
            return Ok(());
        }
        let entry = self.key(at, end, next);
        let Some(entry) = entry else {
            return bad("a key");
        };
        match &mut self.section {
            Some((_, keys)) => keys.push(entry),
            None => self.top.push(entry),
        }
        self.free = next;
        Ok(())
    }

    fn key(&self, at: usize, end: usize, next: usize) -> Option<Entry> {
        let line = &self.text[at..end];
        let (key, span, value) = match line.find(['=', ':']) {
            None => (line.trim_end(), end..end, Value::Null),
            Some(cut) => {
                let value = line[cut + 1..].trim();
                let from = cut + 1 + (line[cut + 1..].len() - line[cut + 1..].trim_start().len());
                let start = at + from.min(line.len());
                let value_end = start + value.len();
                (
                    line[..cut].trim_end(),
                    start..value_end,
                    Value::Str(value.into()),
                )
            }
        };
        if key.is_empty() {
            return None;
        }
        let tail = span.end..span.end;
        Some(Entry {
            key: key.to_owned(),
            lead: self.free,
            start: at,
            node: Node {
                span,
                kind: Kind::Leaf(value),
            },
            tail,
            end: next,
        })
    }

    fn close_section(&mut self) {
        if let Some((mut entry, keys)) = self.section.take() {
            entry.end = keys.last().map_or(entry.end, |k| k.end);
            entry.node = Node {
                span: entry.node.span.start..entry.end,
                kind: Kind::Map(Style::Lines, keys),
            };
            self.top.push(entry);
        }
    }
}

/// Adds a line to the value above it.
fn extend(entry: &mut Entry, text: &str, end: usize, next: usize) {
    entry.node.span.end = end;
    entry.tail = end..end;
    entry.end = next;
    let lines: Vec<&str> = text[entry.node.span.clone()]
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with(['#', ';']))
        .collect();
    entry.node.kind = Kind::Leaf(Value::Str(lines.join("\n")));
}
