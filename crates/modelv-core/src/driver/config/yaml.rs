//! YAML 1.2 with the place of every value, from the events of a parser. Anchors, aliases, tags,
//! several documents and keys that are no plain names are refused: nothing we put into such a file
//! could be known to mean what it says.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::super::Refusal;
use super::doc::{
    DEPTH_MAX, Doc, Entry, Kind, Node, Style, line_end, line_start, next_line, refuse_twice,
};
use crate::value::Value;

/// Parses a file whose top level is a map.
pub(super) fn parse(text: &str) -> Result<Doc<'_>, Refusal> {
    let doc = parse_any(text)?;
    match &doc.root.kind {
        Kind::Map(..) => Ok(doc),
        Kind::Leaf(Value::Null) if doc.root.span.is_empty() => Ok(Doc {
            text,
            root: Node {
                span: text.len()..text.len(),
                kind: Kind::Map(Style::Lines, Vec::new()),
            },
        }),
        _ => Err(Refusal::Beyond("its top level is no map".into())),
    }
}

/// Parses a file of one document with any one value.
pub(super) fn parse_any(text: &str) -> Result<Doc<'_>, Refusal> {
    let mut reader = Reader {
        text,
        offsets: offsets(text),
        events: Parser::new_from_str(text),
    };
    let mut root = None;
    let begin = if text.starts_with('\u{feff}') { 3 } else { 0 };
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => break,
            (Event::DocumentStart(explicit), (_, end)) => {
                if root.is_some() {
                    return Err(beyond("several documents"));
                }
                let from = if explicit {
                    next_line(text, end)
                } else {
                    begin
                };
                let first = reader.next()?;
                root = Some(reader.node(first, from, 0)?);
            }
            _ => {}
        }
    }
    let root = root.unwrap_or(Node {
        span: text.len()..text.len(),
        kind: Kind::Leaf(Value::Null),
    });
    Ok(Doc { text, root })
}

/// Byte offsets of the characters, where these are not the same.
fn offsets(text: &str) -> Option<Vec<usize>> {
    let ends = std::iter::once(text.len());
    (!text.is_ascii()).then(|| text.char_indices().map(|(i, _)| i).chain(ends).collect())
}

fn beyond(what: &str) -> Refusal {
    Refusal::Beyond(format!("it uses {what}"))
}

struct Reader<'t> {
    text: &'t str,
    offsets: Option<Vec<usize>>,
    events: Parser<'t, StrInput<'t>>,
}

type Found<'t> = (Event<'t>, (usize, usize));

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Found<'t>, Refusal> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                let bytes = self.bytes(span);
                Ok((event, bytes))
            }
            Some(Err(e)) => Err(Refusal::Invalid(e.to_string())),
            None => Ok((Event::StreamEnd, (self.text.len(), self.text.len()))),
        }
    }

    fn bytes(&self, span: Span) -> (usize, usize) {
        let at = |i: usize| match &self.offsets {
            None => i.min(self.text.len()),
            Some(offsets) => offsets.get(i).copied().unwrap_or(self.text.len()),
        };
        let (start, end) = (at(span.start.index()), at(span.end.index()));
        (start, end.max(start))
    }

    /// Builds the value an event starts. `from` is behind the `:`, `-` or line before it.
    fn node(&mut self, found: Found<'t>, from: usize, depth: usize) -> Result<Node, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::Beyond(format!(
                "it is nested more than {DEPTH_MAX} deep"
            )));
        }
        let (event, (start, end)) = found;
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err(beyond("tags")),
            Event::Alias(_) => Err(beyond("anchors")),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                Err(beyond("anchors"))
            }
            Event::Scalar(content, style, ..) => {
                let span = match style {
                    ScalarStyle::Plain if start == end => from..from,
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        self.block_scalar(from, start, end)
                    }
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                        start..quoted_end(self.text, start).unwrap_or(end)
                    }
                    ScalarStyle::Plain => start..end,
                };
                let kind = Kind::Leaf(if style == ScalarStyle::Plain {
                    plain(&content)
                } else {
                    Value::Str(content.into_owned())
                });
                Ok(Node { span, kind })
            }
            Event::SequenceStart(..) => self.list(start, end > start, depth),
            Event::MappingStart(..) if end > start => self.flow_map(start, depth),
            Event::MappingStart(..) => self.block_map(start, from, depth),
            _ => Err(Refusal::Invalid("it ends too early".into())),
        }
    }

    /// From the `|` or `>` to the last line.
    fn block_scalar(&self, from: usize, start: usize, end: usize) -> std::ops::Range<usize> {
        let behind = &self.text[from.min(start)..start];
        let blank = behind.len() - behind.trim_start().len();
        let head = from.min(start) + blank;
        let mark = self.text[head..].starts_with(['|', '>']);
        let line = line_start(self.text, end);
        let end = if end > line && self.text[line..end].trim().is_empty() {
            line
        } else {
            end
        };
        if mark {
            head..end.max(head)
        } else {
            start..end
        }
    }

    fn list(&mut self, start: usize, flow: bool, depth: usize) -> Result<Node, Refusal> {
        let mut items: Vec<Node> = Vec::new();
        let begin = if flow {
            start
        } else {
            line_start(self.text, start)
        };
        let mut last = start;
        loop {
            let found = self.next()?;
            if found.0 == Event::SequenceEnd {
                // The parser's place of a bracket goes on over the blanks behind.
                let end = if flow { found.1.0 + 1 } else { last };
                let span = begin.min(end)..end;
                return Ok(Node {
                    span,
                    kind: Kind::List(items),
                });
            }
            let from = found.1.0;
            let item = self.node(found, from, depth + 1)?;
            // In brackets this would look through the same line for every item.
            if !flow {
                last = last.max(self.end_of(&item));
            }
            items.push(item);
        }
    }

    /// Behind the last line of a block's last value.
    fn end_of(&self, node: &Node) -> usize {
        let end = node.span.end;
        if end > node.span.start && self.text[..end].ends_with('\n') {
            end
        } else {
            next_line(self.text, end)
        }
    }

    /// A key's name and its place.
    fn key(&self, found: Found<'t>) -> Result<(String, usize, usize), Refusal> {
        let (event, (start, end)) = found;
        let Event::Scalar(content, style, anchor, tag) = event else {
            return Err(beyond("keys that are no names"));
        };
        if anchor != 0 {
            return Err(beyond("anchors"));
        }
        if tag.is_some() {
            return Err(beyond("tags"));
        }
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block || start == end || self.text[start..end].contains('\n') {
            return Err(beyond("keys that are no names"));
        }
        let end = match style {
            ScalarStyle::Plain => end,
            _ => quoted_end(self.text, start).unwrap_or(end),
        };
        Ok((content.into_owned(), start, end))
    }

    fn flow_map(&mut self, start: usize, depth: usize) -> Result<Node, Refusal> {
        let mut entries = Vec::new();
        loop {
            let found = self.next()?;
            if found.0 == Event::MappingEnd {
                refuse_twice(&entries)?;
                return Ok(Node {
                    span: start..found.1.0 + 1,
                    kind: Kind::Map(Style::Flow, entries),
                });
            }
            let (key, start, end) = self.key(found)?;
            let found = self.next()?;
            let colon = self.text[end..].trim_start().starts_with(':');
            let from = if colon {
                end + self.text[end..].find(':').unwrap_or(0) + 1
            } else {
                end
            };
            let node = self.node(found, from, depth + 1)?;
            let end = node.span.end.max(from);
            entries.push(Entry {
                key,
                lead: start,
                start,
                node,
                tail: end..end,
                end,
            });
        }
    }

    fn block_map(&mut self, start: usize, from: usize, depth: usize) -> Result<Node, Refusal> {
        let mut entries = Vec::new();
        let mut free = if depth == 0 {
            from
        } else {
            next_line(self.text, from)
        };
        loop {
            let found = self.next()?;
            if found.0 == Event::MappingEnd {
                refuse_twice(&entries)?;
                return Ok(Node {
                    span: start.min(free)..free,
                    kind: Kind::Map(Style::Lines, entries),
                });
            }
            let (key, start, end) = self.key(found)?;
            let rest = &self.text[end..line_end(self.text, end)];
            if !rest.trim_start().starts_with(':') {
                return Err(beyond("keys that are no names"));
            }
            let colon = end + rest.find(':').unwrap_or(0) + 1;
            let found = self.next()?;
            let node = self.node(found, colon, depth + 1)?;
            let block = match &node.kind {
                Kind::Leaf(_) => false,
                _ => !self.text[node.span.start..].starts_with(['[', '{']),
            };
            let scalar_lines = self.text[node.span.clone()].ends_with('\n');
            let tail = if block {
                colon..line_end(self.text, colon)
            } else if scalar_lines {
                node.span.end..node.span.end
            } else {
                node.span.end..line_end(self.text, node.span.end)
            };
            let end = self.end_of(&node);
            let line = line_start(self.text, start);
            entries.push(Entry {
                key,
                lead: free.min(line),
                start,
                node,
                tail,
                end,
            });
            free = end;
        }
    }
}

/// Behind the closing quote: the parser's place of a text in quotes goes on over the blanks behind.
fn quoted_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.get(start)?;
    let mut at = start + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if quote == b'"' => at += 2,
            b if b == quote && quote == b'\'' && bytes.get(at + 1) == Some(&quote) => at += 2,
            b if b == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// What a word without quotes means. Where YAML 1.1 and 1.2 read it as different values (`yes`,
/// `010`, `1:30`), it stays the text it is.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let decimal = digits.bytes().all(|b| b.is_ascii_digit());
    if decimal && !(digits.len() > 1 && digits.starts_with('0')) {
        if let Ok(n) = text.parse::<i64>() {
            return Value::Int(n);
        }
        return text
            .parse::<u64>()
            .map_or_else(|_| Value::Str(text.into()), Value::UInt);
    }
    let number = !decimal
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse::<f64>() {
        Ok(n) if number && n.is_finite() => Value::Float(n),
        _ => Value::Str(text.into()),
    }
}
