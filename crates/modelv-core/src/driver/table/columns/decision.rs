//! What somebody decides about columns, and about rows by the names of their cells. Knows no merge.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use super::super::super::Refusal;
use super::super::rows::{Sheet, parts_of, plain, quoted};

/// Names and texts as a JSON object, in this order.
pub(super) fn object(pairs: impl Iterator<Item = (String, String)>) -> String {
    let text = |s: String| serde_json::Value::from(s).to_string();
    let pairs: Vec<String> = pairs
        .map(|(k, v)| format!("{}:{}", text(k), text(v)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// A JSON object of texts; numbers and truth values are texts of what they are.
fn texts(value: &str) -> Option<HashMap<String, String>> {
    let object: HashMap<String, serde_json::Value> = value
        .trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str(value).ok())??;
    let text = |(name, value): (String, serde_json::Value)| match value {
        serde_json::Value::String(text) => Some((name, text)),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => {
            Some((name, value.to_string()))
        }
        _ => None,
    };
    object.into_iter().map(text).collect()
}

/// A row that was given by the names of its cells, as it stands in a table; a cell that was not
/// named stays as it is. `None`: it was not given so.
pub(in super::super) fn named_row(
    value: &str,
    header: &[String],
    current: Option<&str>,
    separator: Option<char>,
) -> Option<String> {
    let separator = separator?;
    let mut cells = texts(value)?;
    if !header.iter().any(|name| cells.contains_key(name)) {
        return None;
    }
    let parts = current
        .map(|row| parts_of(row, separator))
        .unwrap_or_default();
    let of = |(at, name): (usize, &String)| match cells.remove(name) {
        Some(cell) => quoted(&cell, separator),
        None => parts.get(at).copied().unwrap_or("").to_owned(),
    };
    let row: Vec<String> = header.iter().enumerate().map(of).collect();
    Some(row.join(separator.encode_utf8(&mut [0; 4])))
}

/// What somebody decided about a column.
pub(in super::super) struct Decision {
    separator: char,
    at: usize,
    /// Cells by the column of a key and the key; `None`: the column goes.
    cells: Option<HashMap<String, HashMap<String, String>>>,
    /// Rows that were named and not seen yet, as `COLUMN=KEY`.
    unseen: RefCell<BTreeSet<String>>,
}

impl Decision {
    /// Reads a decision about the item `column NAME`; `None`: the item is no column.
    pub(in super::super) fn read(
        separator: Option<char>,
        header: &[String],
        item: &str,
        value: Option<&str>,
    ) -> Option<Result<Self, Refusal>> {
        let name = item.strip_prefix("column ")?;
        let bad = |text: String| Some(Err(Refusal::Invalid(text)));
        let at = header.iter().position(|c| c == name);
        let (Some(separator), Some(at)) = (separator, at) else {
            return bad(format!("the table has no column `{name}`"));
        };
        let mut cells: HashMap<String, HashMap<String, String>> = HashMap::new();
        let Some(value) = value else {
            return Some(Ok(Self {
                separator,
                at,
                cells: None,
                unseen: RefCell::default(),
            }));
        };
        let given = texts(value).unwrap_or_default();
        if given.is_empty() && value.trim() != "{}" {
            return bad(format!("`{value}` is no object of cells by row"));
        }
        let unseen = given.keys().cloned().collect();
        for (row, cell) in given {
            let Some((column, key)) = row.split_once('=') else {
                return bad(format!("`{row}` names no row"));
            };
            let rows = cells.entry(column.to_owned()).or_default();
            rows.insert(key.to_owned(), cell);
        }
        Some(Ok(Self {
            separator,
            at,
            cells: Some(cells),
            unseen: RefCell::new(unseen),
        }))
    }

    /// Refuses what was said of a row that the table does not have. Asked once all rows were given.
    pub(in super::super) fn is_used_up(&self) -> Result<(), Refusal> {
        match self.unseen.borrow().first() {
            Some(row) => Err(Refusal::Invalid(format!("the table has no row `{row}`"))),
            None => Ok(()),
        }
    }

    fn without(&self, row: &str) -> String {
        let mut parts = parts_of(row, self.separator);
        if self.at < parts.len() {
            parts.remove(self.at);
        }
        parts.join(self.separator.encode_utf8(&mut [0; 4]))
    }

    /// The first line.
    pub(in super::super) fn head(&self, head: &str) -> String {
        if self.cells.is_some() {
            return head.to_owned();
        }
        let bare = head.trim_start_matches('\u{feff}');
        let line = bare.trim_matches(['\r', '\n']);
        head.replacen(line, &self.without(line), 1)
    }

    /// A row of a table.
    pub(in super::super) fn row(&self, sheet: &Sheet<'_>, at: usize) -> String {
        let row = sheet.raw(at);
        let Some(cells) = &self.cells else {
            return self.without(row);
        };
        let found = |(column, keys): (&String, &HashMap<String, String>)| {
            let key = sheet.value(at, column)?;
            let cell = keys.get(&*key)?;
            let mut unseen = self.unseen.borrow_mut();
            unseen.remove(&format!("{column}={key}"));
            Some(cell.clone())
        };
        let Some(cell) = cells.iter().find_map(found) else {
            return row.to_owned();
        };
        let mut parts = parts_of(row, self.separator);
        let cell = quoted(&cell, self.separator);
        match parts.get_mut(self.at) {
            Some(part) if plain(part, self.separator) != plain(&cell, self.separator) => {
                *part = &cell;
            }
            _ => {}
        }
        parts.join(self.separator.encode_utf8(&mut [0; 4]))
    }
}
