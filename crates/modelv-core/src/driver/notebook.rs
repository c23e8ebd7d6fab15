//! Notebooks, nbformat 4: compared and merged cell by cell. Cells are matched by their id, or by
//! what they say where there is none (before nbformat 4.5).
//!
//! Outputs and execution counts never conflict: they come from the side that changed the source of
//! their cell; where both changed it, they belong to neither and are cleared; where none did, and
//! both ran it, ours stay. Metadata merge by key. A source both sides changed in one place carries
//! markers, and the notebook stays a valid one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::config::Format;
use super::{Change, Conflict, Item, Labels, Merged, Refusal, Rules, SettleError, State, text};

/// Larger notebooks are merged as text, in bytes.
const BYTES_MAX: usize = 64 << 20;

/// Matching cells without ids looks at all pairs: more cells are matched by equal source only.
const PAIRS_MAX: usize = 250_000;

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
        match (parse(old), parse(ours), parse(theirs)) {
            (Ok(b), Ok(o), Ok(t)) => merge(&b, &o, &t, ours, labels),
            _ => text::merge(base.unwrap_or(b""), ours, theirs, labels),
        }
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

/// For each cell of `new`, the cell of `old` it was.
fn matched(old: &[Cell], new: &[Cell]) -> Vec<Option<usize>> {
    let mut out = vec![None; new.len()];
    let mut taken = vec![false; old.len()];
    let id = |cell: &Cell| cell.get("id").and_then(Value::as_str).map(str::to_owned);
    let ids: HashMap<String, usize> = old
        .iter()
        .enumerate()
        .filter_map(|(i, c)| Some((id(c)?, i)))
        .collect();
    for (j, cell) in new.iter().enumerate() {
        if let Some(i) = id(cell).and_then(|id| ids.get(&id).copied()) {
            (out[j], taken[i]) = (Some(i), true);
        }
    }
    // Ids are the identity where both have them.
    let free =
        |cell: &Cell, other: &[Cell]| id(cell).is_none() || other.iter().any(|c| id(c).is_none());
    let key = |cell: &Cell| (cell["cell_type"].to_string(), source(cell));
    let mut same: HashMap<(String, String), Vec<usize>> = HashMap::new();
    for (i, cell) in old.iter().enumerate().rev() {
        if !taken[i] && free(cell, new) {
            same.entry(key(cell)).or_default().push(i);
        }
    }
    let open: Vec<usize> = (0..new.len())
        .filter(|j| out[*j].is_none() && free(&new[*j], old))
        .collect();
    for j in &open {
        if let Some(i) = same.get_mut(&key(&new[*j])).and_then(Vec::pop) {
            (out[*j], taken[i]) = (Some(i), true);
        }
    }
    let open: Vec<usize> = open.into_iter().filter(|j| out[*j].is_none()).collect();
    let rest: Vec<usize> = (0..old.len())
        .filter(|i| !taken[*i] && free(&old[*i], new))
        .collect();
    if open.len().saturating_mul(rest.len()) > PAIRS_MAX {
        return out;
    }
    for j in open {
        let best = rest
            .iter()
            .filter(|i| !taken[**i] && old[**i]["cell_type"] == new[j]["cell_type"])
            .map(|i| (alike(&source(&old[*i]), &source(&new[j])), *i))
            .max_by_key(|(score, i)| (*score, std::cmp::Reverse(*i)));
        if let Some((score, i)) = best
            && score >= 500
        {
            (out[j], taken[i]) = (Some(i), true);
        }
    }
    out
}

/// How much of two texts is the same words, in thousandths.
fn alike(a: &str, b: &str) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in a.split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
    let (mut common, mut total) = (0usize, counts.values().sum::<usize>());
    for word in b.split_whitespace() {
        total += 1;
        if let Some(n) = counts.get_mut(word).filter(|n| **n > 0) {
            *n -= 1;
            common += 1;
        }
    }
    (2000 * common).checked_div(total).unwrap_or(0)
}

/// What people call a cell: its id, or its place.
fn name(cell: &Cell, at: usize) -> String {
    let id = cell.get("id").and_then(Value::as_str);
    id.map_or_else(|| format!("#{}", at + 1), str::to_owned)
}

fn diff(old: &Book, new: &Book) -> Vec<Change> {
    let was = matched(&old.cells, &new.cells);
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
            differs("metadata") || differs("attachments"),
        );
        if before.is_none() || added + removed > 0 || outputs || metadata {
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

fn merge(b: &Book, o: &Book, t: &Book, ours: &[u8], labels: &Labels<'_>) -> Merged {
    let mut work = Work {
        labels,
        conflicts: Vec::new(),
    };
    let path = String::new();
    let mut top = work.map(&path, Some(&b.top), &o.top, &t.top);
    let cells = work.cells(&b.cells, &o.cells, &t.cells);
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
    Merged {
        bytes: write(&Value::Object(top), ours),
        conflicts: work.conflicts,
    }
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

    /// Cells in our order; each of theirs alone behind the one it stands behind there.
    fn cells(&mut self, base: &[Cell], ours: &[Cell], theirs: &[Cell]) -> Vec<Cell> {
        let (o_was, t_was) = (matched(base, ours), matched(base, theirs));
        let t_of: HashMap<usize, usize> = t_was
            .iter()
            .enumerate()
            .filter_map(|(j, i)| Some(((*i)?, j)))
            .collect();
        let o_of: HashMap<usize, usize> = o_was
            .iter()
            .enumerate()
            .filter_map(|(j, i)| Some(((*i)?, j)))
            .collect();
        // Cells both added with one id, or in the same words, are one.
        let (o_new, t_new) = (alone(&o_was), alone(&t_was));
        let pick =
            |all: &[Cell], at: &[usize]| at.iter().map(|j| all[*j].clone()).collect::<Vec<_>>();
        let twins = matched(&pick(ours, &o_new), &pick(theirs, &t_new));
        let mut twin: HashMap<usize, usize> = HashMap::new();
        for (k, i) in twins.iter().enumerate() {
            if let Some(i) = i {
                let (o, t) = (o_new[*i], t_new[k]);
                if ours[o].get("id") == theirs[t].get("id") && ours[o].contains_key("id")
                    || source(&ours[o]) == source(&theirs[t])
                {
                    twin.insert(t, o);
                }
            }
        }
        let mut behind: BTreeMap<Option<usize>, Vec<Cell>> = BTreeMap::new();
        let mut anchor = None;
        for (j, cell) in theirs.iter().enumerate() {
            let in_ours = t_was[j].and_then(|i| o_of.get(&i)).or_else(|| twin.get(&j));
            match (in_ours, t_was[j]) {
                (Some(o), _) => anchor = Some(*o),
                // Ours removed it: gone, unless theirs changed it.
                (None, Some(i)) if !self.removed_cleanly(&base[i], cell, j, true) => {
                    behind.entry(anchor).or_default().push(cell.clone());
                }
                (None, Some(_)) => {}
                (None, None) => behind.entry(anchor).or_default().push(cell.clone()),
            }
        }
        let mut out = behind.remove(&None).unwrap_or_default();
        for (j, cell) in ours.iter().enumerate() {
            let base_cell = o_was[j].map(|i| &base[i]);
            let other = match o_was[j] {
                Some(i) => t_of.get(&i).copied(),
                None => twin.iter().find(|(_, o)| **o == j).map(|(t, _)| *t),
            };
            match (other, base_cell) {
                (Some(t), base_cell) => out.push(self.cell(j, base_cell, cell, &theirs[t])),
                (None, Some(b)) if self.removed_cleanly(b, cell, j, false) => {}
                (None, _) => out.push(cell.clone()),
            }
            out.extend(behind.remove(&Some(j)).unwrap_or_default());
        }
        out
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

fn alone(was: &[Option<usize>]) -> Vec<usize> {
    (0..was.len()).filter(|j| was[*j].is_none()).collect()
}

fn quoted(name: &str) -> String {
    let mut out = String::new();
    super::config::push_key(&mut out, name);
    out
}

/// Gives a cell its source, as JSON text; `None` removes the cell.
fn settle_cell(current: &[u8], id: &str, value: Option<&str>) -> Result<Vec<u8>, SettleError> {
    let mut book = parse(current)?;
    let at = book
        .cells
        .iter()
        .enumerate()
        .position(|(i, c)| name(c, i) == id);
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
