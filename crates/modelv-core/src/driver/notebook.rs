//! Notebooks, nbformat 4: compared and merged cell by cell. Cells are matched by their id, or by
//! what they say where there is none (before nbformat 4.5).
//!
//! Outputs and execution counts never conflict: they come from the side that changed the source of
//! their cell; where both changed it, they belong to neither and are cleared; where none did, and
//! both ran it, ours stay. Metadata merge by key. A source both sides changed in one place carries
//! markers, and the notebook stays a valid one.

mod matching;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::config::Format;
use super::{
    Change, Conflict, Item, Labels, Merged, Refusal, Rules, SettleError, State, order, text,
};
use matching::{matched, numbered};

/// Larger notebooks are merged as text, in bytes.
const BYTES_MAX: usize = 64 << 20;

pub(super) struct Notebook;

impl Rules for Notebook {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        parse(content).map(drop)
    }

    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        let old = base.unwrap_or(
            b"{\"cells\": [], \"metadata\": {}, \"nbformat\": 4, \"nbformat_minor\": 5}",
        );
        let base = base.unwrap_or(b"");
        let (Ok(b), Ok(o), Ok(t)) = (parse(old), parse(ours), parse(theirs)) else {
            return text::merge(base, ours, theirs, labels);
        };
        merge(&b, &o, &t, ours, labels).unwrap_or_else(|| {
            // Two orders of the cells: lines may meet, but to an order that nobody wrote.
            let lines = text::merge(base, ours, theirs, labels);
            if lines.conflicts.is_empty() {
                text::whole_conflict(base, ours, theirs, labels)
            } else {
                lines
            }
        })
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let read = |bytes: Option<&[u8]>| match bytes {
            None => Some(Book::default()),
            Some(bytes) => parse(bytes).ok(),
        };
        match (read(old), read(new)) {
            (Some(a), Some(b)) => diff(&a, &b),
            _ => text::diff(old, new),
        }
    }

    fn settle(
        &self,
        current: &[u8],
        item: &Item,
        value: Option<&str>,
    ) -> Result<Vec<u8>, SettleError> {
        let Item::Key(key) = item else {
            return Err(SettleError("a notebook has no such part".into()));
        };
        if let Some(id) = key.strip_prefix("cell ") {
            return settle_cell(current, id, value);
        }
        // Metadata of a cell are named by its id, and stand at its place.
        let Some(rest) = key.strip_prefix("cells.") else {
            return super::config::set_key(Format::Json, current, key, value);
        };
        let book = parse(current)?;
        let found = book.cells.iter().enumerate().find_map(|(i, cell)| {
            let below = rest.strip_prefix(&quoted(&name(cell, i)))?;
            below.starts_with('.').then(|| format!("cells[{i}]{below}"))
        });
        let key = found.ok_or_else(|| SettleError(format!("the notebook has no `{key}`")))?;
        super::config::set_key(Format::Json, current, &key, value)
    }
}

/// A parsed notebook.
#[derive(Debug, Default)]
struct Book {
    /// Everything but the cells.
    top: Map<String, Value>,
    cells: Vec<Map<String, Value>>,
}

fn parse(content: &[u8]) -> Result<Book, Refusal> {
    if content.len() > BYTES_MAX {
        let text = format!("it is larger than {} MiB", BYTES_MAX >> 20);
        return Err(Refusal::Beyond(text));
    }
    let text =
        std::str::from_utf8(content).map_err(|_| Refusal::Invalid("it is no UTF-8".into()))?;
    // Refuses keys that stand twice, deep nesting and numbers we would change.
    super::config::check_json(text)?;
    let parsed: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|e| Refusal::Invalid(e.to_string()))?;
    let Value::Object(mut top) = parsed else {
        return Err(Refusal::Invalid("its top level is no object".into()));
    };
    if top.get("nbformat").and_then(Value::as_u64) != Some(4) {
        return Err(Refusal::Beyond("it is no nbformat 4".into()));
    }
    let Some(Value::Array(cells)) = top.remove("cells") else {
        return Err(Refusal::Invalid("it has no list of cells".into()));
    };
    let mut ids = HashSet::new();
    let cells = cells.into_iter().map(|cell| match cell {
        Value::Object(cell) if is_cell(&cell) => {
            if cell.get("id").is_some_and(|id| !ids.insert(id.to_string())) {
                return Err(Refusal::Invalid("two cells have one id".into()));
            }
            Ok(cell)
        }
        _ => Err(Refusal::Invalid("a cell has no type or no source".into())),
    });
    let cells = cells.collect::<Result<_, _>>()?;
    Ok(Book { top, cells })
}

fn is_cell(cell: &Map<String, Value>) -> bool {
    let source = match cell.get("source") {
        Some(Value::String(_)) => true,
        Some(Value::Array(lines)) => lines.iter().all(Value::is_string),
        _ => false,
    };
    source && cell.get("cell_type").is_some_and(Value::is_string)
}

type Cell = Map<String, Value>;

fn source(cell: &Cell) -> String {
    match cell.get("source") {
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

fn set_source(cell: &mut Cell, text: &str) {
    let as_list = !matches!(cell.get("source"), Some(Value::String(_)));
    let value = if as_list {
        Value::Array(text.split_inclusive('\n').map(Value::from).collect())
    } else {
        Value::from(text)
    };
    cell.insert("source".into(), value);
}

/// What people call a cell: its id, or its place.
fn name(cell: &Cell, at: usize) -> String {
    let id = cell.get("id").and_then(Value::as_str);
    id.map_or_else(|| format!("#{}", at + 1), str::to_owned)
}

fn diff(old: &Book, new: &Book) -> Vec<Change> {
    let was = matched(&old.cells, &new.cells);
    let moved = order::moved(&was);
    let mut out = Vec::new();
    for (j, cell) in new.cells.iter().enumerate() {
        let kind = cell["cell_type"].as_str().unwrap_or("").to_owned();
        let before = was[j].map(|i| &old.cells[i]);
        let (added, removed) = match before {
            None => text::count(b"", source(cell).as_bytes()),
            Some(before) => text::count(source(before).as_bytes(), source(cell).as_bytes()),
        };
        let differs = |key: &str| before.is_some_and(|b| b.get(key) != cell.get(key));
        let (outputs, metadata) = (
            differs("outputs"),
            differs("metadata") || differs("attachments") || differs("cell_type"),
        );
        if before.is_none() || added + removed > 0 || outputs || metadata || moved[j] {
            out.push(Change::Cell {
                name: name(cell, j),
                kind,
                state: if before.is_some() {
                    State::Changed
                } else {
                    State::Added
                },
                added,
                removed,
                outputs,
                metadata,
                moved: moved[j],
            });
        }
    }
    for (i, cell) in old
        .cells
        .iter()
        .enumerate()
        .filter(|(i, _)| !was.contains(&Some(*i)))
    {
        out.push(Change::Cell {
            name: name(cell, i),
            kind: cell["cell_type"].as_str().unwrap_or("").to_owned(),
            state: State::Removed,
            added: 0,
            removed: text::count(source(cell).as_bytes(), b"").1,
            outputs: false,
            metadata: false,
            moved: false,
        });
    }
    let keys: BTreeSet<&String> = old.top.keys().chain(new.top.keys()).collect();
    for key in keys {
        let (a, b) = (old.top.get(key), new.top.get(key));
        if a != b {
            let value = |v: Option<&Value>| v.map(crate::value::Value::from_json);
            out.push(Change::Key {
                key: key.clone(),
                old: value(a),
                new: value(b),
            });
        }
    }
    out
}

/// `None`: both sides put the cells into another order, and not the same.
fn merge(b: &Book, o: &Book, t: &Book, ours: &[u8], labels: &Labels<'_>) -> Option<Merged> {
    let mut work = Work {
        labels,
        conflicts: Vec::new(),
    };
    let path = String::new();
    let mut top = work.map(&path, Some(&b.top), &o.top, &t.top);
    let minor = |book: &Book| {
        book.top
            .get("nbformat_minor")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let newest = minor(o).max(minor(t));
    top.insert("nbformat_minor".into(), newest.into());
    work.conflicts
        .retain(|c| c.item != Item::Key("nbformat_minor".into()));
    // Ids came with 4.5: an older notebook must not have them.
    let ids = newest >= 5;
    let cells = work.cells([&b.cells, &o.cells, &t.cells])?;
    let cells = cells.into_iter().enumerate().map(|(i, mut cell)| {
        if ids && !cell.contains_key("id") {
            cell.insert("id".into(), json!(format!("cell-{}", i + 1)));
        } else if !ids {
            cell.remove("id");
        }
        Value::Object(cell)
    });
    top.insert("cells".into(), Value::Array(unique(cells.collect())));
    work.conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    Some(Merged {
        bytes: write(&Value::Object(top), ours),
        conflicts: work.conflicts,
    })
}

/// Gives cells that came to one id different ones.
fn unique(mut cells: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    for cell in &mut cells {
        let Some(id) = cell.get("id").and_then(Value::as_str).map(str::to_owned) else {
            continue;
        };
        let mut fresh = id.clone();
        let mut n = 2;
        while !seen.insert(fresh.clone()) {
            fresh = format!("{id}-{n}");
            n += 1;
        }
        if fresh != id {
            cell["id"] = fresh.into();
        }
    }
    cells
}

/// Written as Jupyter does: keys sorted, in the indent of ours, text as it is.
fn write(book: &Value, like: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(like).unwrap_or("");
    let indent: String = text
        .split_once('\n')
        .map(|(_, rest)| {
            rest.chars()
                .take_while(|c| *c == ' ' || *c == '\t')
                .collect()
        })
        .unwrap_or_default();
    let indent = if indent.is_empty() { " " } else { &indent };
    let mut out = Vec::new();
    if text.starts_with('\u{feff}') {
        out.extend("\u{feff}".as_bytes());
    }
    let style = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut writer = serde_json::Serializer::with_formatter(&mut out, style);
    if serde::Serialize::serialize(book, &mut writer).is_err() {
        return like.to_vec();
    }
    if text.ends_with('\n') {
        out.push(b'\n');
    }
    if text.contains("\r\n") {
        return String::from_utf8_lossy(&out)
            .replace('\n', "\r\n")
            .into_bytes();
    }
    out
}

struct Work<'a> {
    labels: &'a Labels<'a>,
    conflicts: Vec<Conflict>,
}

impl Work<'_> {
    fn open(&mut self, path: String, [base, ours, theirs]: [Option<&Value>; 3]) {
        let shown = |v: Option<&Value>| v.map(Value::to_string);
        self.conflicts.push(Conflict {
            item: Item::Key(path),
            base: shown(base),
            ours: shown(ours),
            theirs: shown(theirs),
        });
    }

    /// Merges objects by key, to any depth.
    fn map(&mut self, path: &str, base: Option<&Cell>, ours: &Cell, theirs: &Cell) -> Cell {
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let mut out = Map::new();
        for key in keys {
            let (b, o, t) = (
                base.and_then(|b| b.get(key)),
                ours.get(key),
                theirs.get(key),
            );
            let mut inner = path.to_owned();
            super::config::push_key(&mut inner, key);
            let merged = match (o, t) {
                _ if o == t || t == b => o.cloned(),
                _ if o == b => t.cloned(),
                (Some(Value::Object(o)), Some(Value::Object(t))) => {
                    let merged = self.map(&inner, b.and_then(Value::as_object), o, t);
                    Some(Value::Object(merged))
                }
                _ => {
                    self.open(inner, [b, o, t]);
                    o.cloned()
                }
            };
            out.extend(merged.map(|v| (key.clone(), v)));
        }
        out
    }

    /// Cells in the order of the side that moved some; `None`: both did, in different ways.
    fn cells(&mut self, [base, ours, theirs]: [&[Cell]; 3]) -> Option<Vec<Cell>> {
        let numbers = numbered(base, ours, theirs);
        let list = order::merged(base.len(), &numbers[0], &numbers[1])?;
        let [in_ours, in_theirs] = numbers.map(|side| -> HashMap<usize, usize> {
            side.into_iter().enumerate().map(|(j, n)| (n, j)).collect()
        });
        let mut out = Vec::with_capacity(list.len());
        for n in list {
            // A cell without an id is named by its place in the result: it is the same one
            // whichever side is ours, and the one that a decision looks for.
            let at = out.len();
            let find = |side: &'_ HashMap<usize, usize>| side.get(&n).copied();
            let (o, t) = (find(&in_ours), find(&in_theirs));
            out.extend(match (base.get(n), o, t) {
                (b, Some(o), Some(t)) => Some(self.cell(at, b, &ours[o], &theirs[t])),
                (b, Some(o), None) => self.one_sided(at, b, &ours[o], false),
                (b, None, Some(t)) => self.one_sided(at, b, &theirs[t], true),
                (_, None, None) => None,
            });
        }
        Some(out)
    }

    /// A cell only one side has: gone if the other removed it and this one left it as it was.
    fn one_sided(
        &mut self,
        at: usize,
        base: Option<&Cell>,
        kept: &Cell,
        by_ours: bool,
    ) -> Option<Cell> {
        let gone = base.is_some_and(|base| self.removed_cleanly(base, kept, at, by_ours));
        (!gone).then(|| kept.clone())
    }

    /// Whether the side that kept a cell left it as it was; else it stays, and is a conflict.
    fn removed_cleanly(&mut self, base: &Cell, kept: &Cell, at: usize, by_ours: bool) -> bool {
        let differs = |key: &str| base.get(key) != kept.get(key);
        if source(base) == source(kept)
            && !differs("metadata")
            && !differs("attachments")
            && !differs("cell_type")
        {
            return true;
        }
        let (b, k) = (Value::from(source(base)), Value::from(source(kept)));
        let sides = if by_ours {
            [Some(&b), None, Some(&k)]
        } else {
            [Some(&b), Some(&k), None]
        };
        self.open(format!("cell {}", name(kept, at)), sides);
        false
    }

    fn cell(&mut self, at: usize, base: Option<&Cell>, ours: &Cell, theirs: &Cell) -> Cell {
        if ours == theirs {
            return ours.clone();
        }
        let called = name(ours, at);
        let run = ["outputs", "execution_count"];
        let bare = |cell: &Cell| -> Cell {
            let keep = |key: &str| key != "source" && !run.contains(&key);
            cell.iter()
                .filter(|(k, _)| keep(k))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        };
        let base_bare = base.map(bare);
        let mut out = self.map(
            &format!("cells.{}", quoted(&called)),
            base_bare.as_ref(),
            &bare(ours),
            &bare(theirs),
        );
        let (o, t) = (source(ours), source(theirs));
        let b = base.map_or_else(String::new, source);
        let merged = if o == t || base.is_some() && t == b {
            o.clone()
        } else if base.is_some() && o == b {
            t.clone()
        } else {
            self.source(&called, [&b, &o, &t])
        };
        let list = ours.get("source").is_none_or(Value::is_array);
        out.insert("source".into(), if list { json!([]) } else { json!("") });
        set_source(&mut out, &merged);
        if out.get("cell_type").and_then(Value::as_str) == Some("code") {
            let from = |cell: &Cell, key: &str| cell.get(key).cloned();
            for (key, empty) in [("outputs", json!([])), ("execution_count", Value::Null)] {
                let (mine, yours) = (from(ours, key), from(theirs, key));
                let was = base.and_then(|b| from(b, key));
                let value = if mine == yours {
                    mine
                } else if merged == o && merged == t {
                    // Neither changed the source: whoever ran it anew, ours if both did.
                    if mine == was { yours } else { mine }
                } else if merged == o {
                    mine
                } else if merged == t {
                    yours
                } else {
                    None
                };
                out.insert(key.into(), value.unwrap_or(empty));
            }
        }
        out
    }

    fn source(&mut self, called: &str, [base, ours, theirs]: [&str; 3]) -> String {
        let merged = text::merge(
            base.as_bytes(),
            ours.as_bytes(),
            theirs.as_bytes(),
            self.labels,
        );
        if !merged.conflicts.is_empty() {
            let values = [base, ours, theirs].map(Value::from);
            self.open(format!("cell {called}"), values.each_ref().map(Some));
        }
        String::from_utf8(merged.bytes).unwrap_or_else(|_| ours.to_owned())
    }
}

fn quoted(name: &str) -> String {
    let mut out = String::new();
    super::config::push_key(&mut out, name);
    out
}

/// Gives a cell its source, as JSON text; `None` removes the cell.
fn settle_cell(current: &[u8], id: &str, value: Option<&str>) -> Result<Vec<u8>, SettleError> {
    let mut book = parse(current)?;
    let find = |is: &dyn Fn(usize, &Cell) -> bool| {
        let mut cells = book.cells.iter().enumerate();
        cells.position(|(i, c)| is(i, c))
    };
    // A cell without an id may have got one with the merge.
    let at = find(&|i, c| name(c, i) == id).or_else(|| find(&|i, _| format!("#{}", i + 1) == id));
    match (value, at) {
        (None, Some(at)) => drop(book.cells.remove(at)),
        (None, None) => return Ok(current.to_vec()),
        (Some(text), Some(at)) => {
            let source: String = serde_json::from_str(text).unwrap_or_else(|_| text.to_owned());
            set_source(&mut book.cells[at], &source);
        }
        (Some(_), None) => {
            let text = format!("the notebook has no cell `{id}`; edit it and resolve it as edited");
            return Err(SettleError(text));
        }
    }
    let cells = book.cells.into_iter().map(Value::Object).collect();
    book.top.insert("cells".into(), Value::Array(cells));
    Ok(write(&Value::Object(book.top), current))
}

#[cfg(test)]
#[path = "notebook_tests.rs"]
mod tests;
