//! JSON, RFC 8259, with the place of every value. Keys that stand twice are refused: a parser that
//! keeps the last of two drops what somebody wrote. Numbers that fit no 64 bits are refused too.

use super::super::Refusal;
use super::doc::{DEPTH_MAX, Doc, Entry, Kind, Node, Style, refuse_twice};
use crate::value::Value;

/// Parses a file whose top level is an object.
pub(super) fn parse(text: &str) -> Result<Doc<'_>, Refusal> {
    let doc = parse_any(text)?;
    match doc.root.kind {
        Kind::Map(..) => Ok(doc),
        _ => Err(Refusal::Beyond("its top level is no object".into())),
    }
}

/// Parses a file of any one value.
pub(super) fn parse_any(text: &str) -> Result<Doc<'_>, Refusal> {
    super::check_values(text)?;
    let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader { text, at };
    reader.skip();
    let root = reader.value(0)?;
    reader.skip();
    if reader.at < text.len() {
        return Err(reader.bad("nothing more"));
    }
    Ok(Doc { text, root })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn bad(&self, wanted: &str) -> Refusal {
        let line = self.text[..self.at].matches('\n').count() + 1;
        Refusal::Invalid(format!("line {line}: expected {wanted}"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::Beyond(format!(
                "it is nested more than {DEPTH_MAX} deep"
            )));
        }
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Kind::Leaf(Value::Str(self.string()?)),
            Some(_) => Kind::Leaf(self.word()?),
            None => return Err(self.bad("a value")),
        };
        Ok(Node {
            span: start..self.at,
            kind,
        })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, Refusal> {
        self.at += 1;
        let mut entries = Vec::new();
        self.skip();
        if self.take(b'}') {
            return Ok(Kind::Map(Style::Flow, entries));
        }
        loop {
            self.skip();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.bad("a key in quotes"));
            }
            let key = self.string()?;
            self.skip();
            if !self.take(b':') {
                return Err(self.bad("`:`"));
            }
            self.skip();
            let node = self.value(depth + 1)?;
            entries.push(Entry {
                key,
                lead: start,
                start,
                node,
                tail: self.at..self.at,
                end: self.at,
            });
            self.skip();
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.bad("`,` or `}`"));
            }
        }
        refuse_twice(&entries)?;
        Ok(Kind::Map(Style::Flow, entries))
    }

    fn array(&mut self, depth: usize) -> Result<Kind, Refusal> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip();
        if self.take(b']') {
            return Ok(Kind::List(items));
        }
        loop {
            self.skip();
            items.push(self.value(depth + 1)?);
            self.skip();
            if self.take(b']') {
                return Ok(Kind::List(items));
            }
            if !self.take(b',') {
                return Err(self.bad("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Refusal> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(Refusal::Invalid("a text in quotes does not end".into())),
            }
        }
        self.at += 1;
        let raw = self.text.get(start..self.at);
        raw.and_then(|raw| serde_json::from_str(raw).ok())
            .ok_or_else(|| {
                self.at = start;
                self.bad("a text in quotes")
            })
    }

    fn word(&mut self) -> Result<Value, Refusal> {
        let rest = &self.text[self.at..];
        let end = rest.find([',', '}', ']', ' ', '\t', '\n', '\r']);
        let raw = &rest[..end.unwrap_or(rest.len())];
        let value = match raw {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => {
                let number: serde_json::Number =
                    serde_json::from_str(raw).map_err(|_| self.bad("a value"))?;
                if number.is_f64() && !raw.contains(['.', 'e', 'E']) && raw != "-0" {
                    let text = "a whole number in it fits no 64 bits";
                    return Err(Refusal::Beyond(text.into()));
                }
                Value::from_json(&number.into())
            }
        };
        self.at += raw.len();
        Ok(value)
    }
}
