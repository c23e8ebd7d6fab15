//! The rows of a table and where each stands. Reads; never writes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::Refusal;
use super::super::config::json_fields;

/// A table.
#[derive(Debug)]
pub(super) struct Sheet<'t> {
    pub(super) text: &'t str,
    separator: Option<char>,
    /// Names of the columns; of JSON Lines, the fields of the first row.
    pub(super) header: Vec<String>,
    /// Behind the header.
    pub(super) body: usize,
    pub(super) rows: Vec<Row>,
}

/// Where a row stands.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Without its line end.
    pub(super) span: Range<usize>,
    /// Behind its line end and blank lines.
    pub(super) end: usize,
}

impl<'t> Sheet<'t> {
    pub(super) fn read(content: &'t [u8], separator: Option<char>) -> Result<Self, Refusal> {
        let text =
            std::str::from_utf8(content).map_err(|_| Refusal::Invalid("it is no UTF-8".into()))?;
        let mut rows = split(text, separator == Some(','))?;
        let mut sheet = Self {
            text,
            separator,
            header: Vec::new(),
            body: if text.starts_with('\u{feff}') { 3 } else { 0 },
            rows: Vec::new(),
        };
        match separator {
            None => {
                for (i, row) in rows.iter().enumerate() {
                    let line = &text[row.span.clone()];
                    let json: Result<serde::de::IgnoredAny, _> = serde_json::from_str(line);
                    if json.is_err() || !line.trim_start().starts_with('{') {
                        return Err(Refusal::Invalid(format!("row {}: no JSON object", i + 1)));
                    }
                }
                if let Some(first) = rows.first() {
                    let fields = json_fields(&text[first.span.clone()])?;
                    sheet.header = fields.into_iter().map(|(name, _)| name).collect();
                }
            }
            Some(separator) if !rows.is_empty() => {
                let head = rows.remove(0);
                sheet.body = head.end;
                let width = fields(&text[head.span.clone()], separator).len();
                for (i, row) in rows.iter().enumerate() {
                    let n = fields(&text[row.span.clone()], separator).len();
                    if n != width {
                        let text = format!("row {} has {n} fields, the first line {width}", i + 2);
                        return Err(Refusal::Invalid(text));
                    }
                }
                let names = fields(&text[head.span.clone()], separator);
                let line = &text[head.span];
                sheet.header = names
                    .into_iter()
                    .map(|f| plain(&line[f], separator).trim().to_owned())
                    .collect();
            }
            Some(_) => {}
        }
        sheet.rows = rows;
        Ok(sheet)
    }

    /// A row as it stands.
    pub(super) fn raw(&self, at: usize) -> &'t str {
        &self.text[self.rows[at].span.clone()]
    }

    /// Everything before the first row.
    pub(super) fn head(&self) -> &'t str {
        &self.text[..self.body]
    }

    /// Everything from the first row on.
    pub(super) fn body(&self) -> &'t str {
        &self.text[self.body..]
    }

    /// Columns and values of a row.
    pub(super) fn cells(&self, at: usize) -> Vec<(String, String)> {
        let raw = self.raw(at);
        match self.separator {
            Some(separator) => {
                let values = fields(raw, separator).into_iter();
                let values = values.map(|f| plain(&raw[f], separator).into_owned());
                self.header.iter().cloned().zip(values).collect()
            }
            None => {
                let fields = json_fields(raw).unwrap_or_default().into_iter();
                fields
                    .map(|(name, span)| (name, raw[span].to_owned()))
                    .collect()
            }
        }
    }

    /// Whether there is such a column, or all columns of a list.
    pub(super) fn has(&self, key: &str) -> bool {
        let is = |name: &str| self.header.iter().any(|c| c == name);
        is(key) || key.split(',').all(is)
    }

    /// The value of a column in a row, or of several columns with commas between them.
    pub(super) fn value(&self, at: usize, key: &str) -> Option<Cow<'t, str>> {
        if !key.contains(',') || self.header.iter().any(|c| c == key) {
            return self.cell(at, key);
        }
        let cells = key.split(',').map(|column| {
            let cell = self.cell(at, column)?;
            // Quoted where a comma could stand between two values as well.
            Some(if cell.contains([',', '"']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.into_owned()
            })
        });
        Some(Cow::Owned(cells.collect::<Option<Vec<_>>>()?.join(",")))
    }

    fn cell(&self, at: usize, column: &str) -> Option<Cow<'t, str>> {
        let raw = self.raw(at);
        match self.separator {
            Some(separator) => {
                let n = self.header.iter().position(|c| c == column)?;
                let field = fields(raw, separator).into_iter().nth(n)?;
                Some(plain(&raw[field], separator))
            }
            None => {
                let (_, span) = json_fields(raw)
                    .ok()?
                    .into_iter()
                    .find(|(name, _)| name == column)?;
                let value = &raw[span];
                // A list or an object names no row.
                (!value.starts_with(['[', '{'])).then_some(Cow::Borrowed(value))
            }
        }
    }

    /// The key of every row.
    pub(super) fn keys(&self, column: &str) -> impl Iterator<Item = (Cow<'t, str>, usize)> {
        (0..self.rows.len()).filter_map(move |at| Some((self.value(at, column)?, at)))
    }

    /// Rows by key; `None` where a row has none or two have the same.
    pub(super) fn by_key(&self, column: &str) -> Option<HashMap<Cow<'t, str>, usize>> {
        let mut out = HashMap::with_capacity(self.rows.len());
        for at in 0..self.rows.len() {
            let key = self.value(at, column)?;
            if key.trim().is_empty() || key == "null" || out.insert(key, at).is_some() {
                return None;
            }
        }
        Some(out)
    }
}

/// Columns that are called as keys are, the shortest name first.
pub(super) fn named(header: &[String]) -> Vec<&String> {
    let is_key = |c: &&String| {
        let name = c.to_lowercase();
        matches!(name.as_str(), "id" | "key" | "uuid" | "index") || name.ends_with("_id")
    };
    let mut columns: Vec<&String> = header.iter().filter(is_key).collect();
    columns.sort_by_key(|c| c.len());
    columns
}

/// The column that names the rows of all versions: the declared one or none, if one is declared.
/// `strict`: by its name; else the first will do.
pub(super) fn find_key(
    sheets: &[&Sheet<'_>],
    declared: Option<&str>,
    strict: bool,
) -> Option<String> {
    let first = sheets.iter().find(|s| !s.header.is_empty())?;
    let once = |s: &&Sheet<'_>, c: &str| {
        let mut seen = HashSet::new();
        s.header.iter().all(|c| seen.insert(c)) && (s.has(c) || s.rows.is_empty())
    };
    let fits = |c: &str| {
        let by_key = |s: &&Sheet<'_>| once(s, c) && (s.rows.is_empty() || s.by_key(c).is_some());
        sheets.iter().all(by_key)
    };
    if let Some(key) = declared {
        return fits(key).then(|| key.to_owned());
    }
    let mut columns = named(&first.header);
    if !strict {
        columns.extend(first.header.first());
    }
    columns.into_iter().find(|c| fits(c)).cloned()
}

/// The rows of a text. A line end between quotes belongs to its row.
fn split(text: &str, quotes: bool) -> Result<Vec<Row>, Refusal> {
    let bytes = text.as_bytes();
    let mut rows: Vec<Row> = Vec::new();
    let mut start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut quoted = false;
    let mut add = |start: usize, end: usize, next: usize| {
        let line = text[start..end].trim_end_matches('\r');
        if line.trim().is_empty() {
            if let Some(last) = rows.last_mut() {
                last.end = next;
            }
            return;
        }
        rows.push(Row {
            span: start..start + line.len(),
            end: next,
        });
    };
    for (i, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'"' if quotes => quoted = !quoted,
            b'\n' if !quoted => {
                add(start, i, i + 1);
                start = i + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Refusal::Invalid("a quote does not end".into()));
    }
    if start < text.len() {
        add(start, text.len(), text.len());
    }
    Ok(rows)
}

/// The fields of a row.
fn fields(row: &str, separator: char) -> Vec<Range<usize>> {
    let (mut out, mut start, mut quoted) = (Vec::new(), 0, false);
    let comma = u8::try_from(separator).unwrap_or(b',');
    let quote = if separator == ',' { b'"' } else { comma };
    for i in memchr::memchr2_iter(comma, quote, row.as_bytes()) {
        if row.as_bytes()[i] != comma {
            quoted = !quoted;
        } else if !quoted {
            out.push(start..i);
            start = i + 1;
        }
    }
    out.push(start..row.len());
    out
}

/// The fields of a row as they stand.
pub(super) fn parts_of(row: &str, separator: char) -> Vec<&str> {
    fields(row, separator)
        .into_iter()
        .map(|f| &row[f])
        .collect()
}

/// A field that says this.
pub(super) fn quoted(text: &str, separator: char) -> String {
    if separator == ',' && text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// What a field says without its quotes.
pub(super) fn plain(field: &str, separator: char) -> Cow<'_, str> {
    if separator != ',' || field.len() < 2 || !field.starts_with('"') || !field.ends_with('"') {
        return Cow::Borrowed(field);
    }
    let inner = &field[1..field.len() - 1];
    if inner.contains('"') {
        Cow::Owned(inner.replace("\"\"", "\""))
    } else {
        Cow::Borrowed(inner)
    }
}
