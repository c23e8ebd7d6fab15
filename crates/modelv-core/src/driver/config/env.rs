//! `.env`: one `NAME=value` a line, in quotes or not, `export` before it or not. Values are text.

use super::super::Refusal;
use super::doc::{Doc, Entry, Kind, Node, Style, line_end, next_line, refuse_twice};
use super::secret;
use crate::value::Value;

pub(super) fn parse(text: &str) -> Result<Doc<'_>, Refusal> {
    let begin = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut entries = Vec::new();
    let (mut at, mut free) = (begin, begin);
    while at < text.len() {
        let line = text[at..line_end(text, at)].trim();
        if line.is_empty() || line.starts_with('#') {
            at = next_line(text, at);
            continue;
        }
        let entry = entry(text, at, free).ok_or_else(|| {
            let number = text[..at].matches('\n').count() + 1;
            Refusal::Invalid(format!("line {number}: expected `NAME=value`"))
        })?;
        (at, free) = (entry.end, entry.end);
        entries.push(entry);
    }
    refuse_twice(&entries)?;
    let root = Node {
        span: begin..text.len(),
        kind: Kind::Map(Style::Lines, entries),
    };
    Ok(Doc { text, root })
}

fn entry(text: &str, at: usize, lead: usize) -> Option<Entry> {
    let line = &text[at..line_end(text, at)];
    let indent = line.len() - line.trim_start().len();
    let mut name_at = indent;
    if let Some(rest) = line[indent..].strip_prefix("export ") {
        name_at += 7 + (rest.len() - rest.trim_start().len());
    }
    let cut = name_at + line[name_at..].find('=')?;
    let key = line[name_at..cut].trim_end();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if key.is_empty() || !key.chars().all(plain) || key.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let behind = &line[cut + 1..];
    let start = at + cut + 1 + (behind.len() - behind.trim_start().len());
    let (span, value) = value(text, start.min(at + line.len()))?;
    let tail = span.end..line_end(text, span.end);
    let comment = text[tail.clone()].trim_start();
    if !(comment.is_empty() || comment.starts_with('#')) {
        return None;
    }
    Some(Entry {
        key: key.to_owned(),
        lead,
        start: at + indent,
        end: next_line(text, span.end),
        node: Node {
            span,
            kind: Kind::Leaf(Value::Str(value)),
        },
        tail,
    })
}

/// The place of a value, and what it says.
fn value(text: &str, start: usize) -> Option<(std::ops::Range<usize>, String)> {
    let rest = &text[start..];
    let quote = rest.chars().next().filter(|c| "\"'`".contains(*c));
    let Some(quote) = quote else {
        let line = &rest[..line_end(text, start) - start];
        // A `#` starts a comment only behind a blank.
        let end = line
            .char_indices()
            .zip(line.chars().skip(1))
            .find(|((_, a), b)| a.is_whitespace() && *b == '#')
            .map_or(line.len(), |((i, _), _)| i);
        let value = line[..end].trim_end();
        return Some((start..start + value.len(), value.to_owned()));
    };
    let (mut out, mut escaped) = (String::new(), false);
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => {
                escaped = false;
                match c {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    '"' | '\\' | '$' => out.push(c),
                    other => out.extend(['\\', other]),
                }
            }
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some((start..start + i + 1, out)),
            c => out.push(c),
        }
    }
    None
}

/// The text with its secrets replaced. Where it does not parse, every value is one.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let Ok(Doc { root, .. }) = parse(text) else {
        for line in text.split_inclusive('\n') {
            let end = line_end(line, 0);
            let cut = if line.trim_start().starts_with('#') {
                end
            } else {
                line.find('=').map_or(0, |i| i + 1)
            };
            out.push_str(&line[..cut.min(end)]);
            if cut < end && !line[cut..end].trim().is_empty() {
                out.push_str(secret::HIDDEN);
            }
            out.push_str(&line[end..]);
        }
        return out;
    };
    let Kind::Map(_, entries) = root.kind else {
        return out;
    };
    let mut at = 0;
    for entry in &entries {
        let span = &entry.node.span;
        let Kind::Leaf(Value::Str(value)) = &entry.node.kind else {
            continue;
        };
        if secret::is_secret(&entry.key, value) {
            out.push_str(&text[at..span.start]);
            out.push_str(secret::HIDDEN);
            at = span.end;
        }
    }
    out.push_str(&text[at..]);
    out
}
