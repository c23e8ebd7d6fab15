//! Configuration: typed values by dotted key. A merge of TOML edits our file, so that its comments
//! and layout survive. Lists are single values.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{
    DocumentMut, InlineTable, Item as Node, Key, Table, TableLike, Value as TomlValue,
};

use super::json::Json;
use super::{Change, Conflict, Item, Labels, Merged, SettleError, text};
use crate::value::Value;

/// Formats whose keys are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON, RFC 8259.
    Json,
}

/// Larger files are merged as text, in bytes: taking them apart costs many times their size.
const BYTES_MAX: usize = 16 << 20;

/// The leaves of a configuration file by dotted key.
///
/// # Errors
/// It does not parse, or its top level is no table.
pub fn config_values(format: Format, bytes: &[u8]) -> Result<BTreeMap<String, Value>, SettleError> {
    let text = std::str::from_utf8(bytes).map_err(|e| SettleError(e.to_string()))?;
    if bytes.len() > BYTES_MAX {
        return Err(SettleError("the file is too large".into()));
    }
    let mut out = BTreeMap::new();
    match format {
        Format::Toml => {
            let doc = parse(text)?;
            for (path, node) in leaves(&doc) {
                out.insert(dotted(&path), value_of(node));
            }
        }
        Format::Json => {
            let Json(json) = serde_json::from_str(text).map_err(|e| SettleError(e.to_string()))?;
            if !json.is_object() {
                return Err(SettleError("the top level is no object".into()));
            }
            flatten_json(&mut Vec::new(), &json, &mut out);
        }
    }
    Ok(out)
}

fn flatten_json(
    path: &mut Vec<String>,
    json: &serde_json::Value,
    out: &mut BTreeMap<String, Value>,
) {
    match json {
        serde_json::Value::Object(object) if !object.is_empty() || path.is_empty() => {
            for (key, value) in object {
                path.push(key.clone());
                flatten_json(path, value, out);
                path.pop();
            }
        }
        leaf => {
            out.insert(dotted(path), Value::from_json(leaf));
        }
    }
}

fn parse(text: &str) -> Result<DocumentMut, SettleError> {
    text.parse::<DocumentMut>()
        .map_err(|e| SettleError(e.to_string()))
}

type Path = Vec<String>;

/// A dotted key as TOML writes it: parts that are no bare key are quoted.
fn dotted(path: &[String]) -> String {
    let parts: Vec<String> = path.iter().map(|p| Key::new(p).to_string()).collect();
    parts.join(".")
}

fn leaves(doc: &DocumentMut) -> Vec<(Path, &Node)> {
    let mut out = Vec::new();
    collect(doc.as_table(), &mut Vec::new(), &mut out);
    out
}

fn collect<'a>(table: &'a dyn TableLike, path: &mut Path, out: &mut Vec<(Path, &'a Node)>) {
    for (key, node) in table.iter() {
        path.push(key.to_owned());
        match node.as_table_like() {
            // An empty table is a value, or it would vanish.
            Some(inner) if !inner.is_empty() => {
                collect(inner, path, out);
            }
            _ if node.is_none() => {}
            _ => out.push((path.clone(), node)),
        }
        path.pop();
    }
}

fn value_of(node: &Node) -> Value {
    match node {
        Node::Value(v) => scalar(v),
        Node::ArrayOfTables(tables) => Value::List(tables.iter().map(table_value).collect()),
        Node::Table(table) => table_value(table),
        Node::None => Value::Null,
    }
}

fn table_value(table: &Table) -> Value {
    Value::Map(
        table
            .iter()
            .map(|(k, v)| (k.to_owned(), value_of(v)))
            .collect(),
    )
}

fn inline_value(table: &InlineTable) -> Value {
    Value::Map(
        table
            .iter()
            .map(|(k, v)| (k.to_owned(), scalar(v)))
            .collect(),
    )
}

fn scalar(value: &TomlValue) -> Value {
    match value {
        TomlValue::String(s) => Value::Str(s.value().clone()),
        TomlValue::Integer(n) => Value::Int(*n.value()),
        TomlValue::Float(n) => Value::Float(*n.value()),
        TomlValue::Boolean(b) => Value::Bool(*b.value()),
        // Kept apart from a string of the same characters.
        TomlValue::Datetime(d) => Value::Map(BTreeMap::from([(
            "datetime".into(),
            Value::Str(d.value().to_string()),
        )])),
        TomlValue::Array(a) => Value::List(a.iter().map(scalar).collect()),
        TomlValue::InlineTable(t) => inline_value(t),
    }
}

/// Keys that differ.
pub(super) fn diff(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|k| !same(old.get(*k), new.get(*k)))
        .map(|k| Change::Key {
            key: k.clone(),
            old: old.get(k).cloned(),
            new: new.get(k).cloned(),
        })
        .collect()
}

fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same(b),
        _ => false,
    }
}

/// The values of a merge, and the keys both sides changed in different ways, which stay as ours.
fn decide<K: Ord + Clone>(
    base: &BTreeMap<K, Value>,
    ours: &BTreeMap<K, Value>,
    theirs: &BTreeMap<K, Value>,
) -> (BTreeMap<K, Value>, Vec<K>) {
    let (mut want, mut open) = (ours.clone(), Vec::new());
    let keys: BTreeSet<&K> = base
        .keys()
        .chain(ours.keys())
        .chain(theirs.keys())
        .collect();
    for key in keys {
        let (b, o, t) = (base.get(key), ours.get(key), theirs.get(key));
        if same(o, t) || same(t, b) {
            continue;
        }
        if !same(o, b) {
            open.push(key.clone());
            continue;
        }
        match t {
            Some(value) => drop(want.insert(key.clone(), value.clone())),
            None => drop(want.remove(key)),
        }
    }
    (want, open)
}

/// Whether merged lines mean what the three versions mean together. Lines can meet to a file that
/// does not parse, or that has a key twice and so loses one side's value.
pub(super) fn agrees(
    format: Format,
    [base, ours, theirs]: [&[u8]; 3],
    merged: &[u8],
    added: bool,
) -> bool {
    let read = |bytes: &[u8]| config_values(format, bytes).ok();
    let old = if added {
        Some(BTreeMap::new())
    } else {
        read(base)
    };
    let (Some(b), Some(o), Some(t), Some(m)) = (old, read(ours), read(theirs), read(merged)) else {
        return false;
    };
    let (want, open) = decide(&b, &o, &t);
    open.is_empty() && diff(&want, &m).is_empty()
}

/// Merges TOML by key. The start is the lines as far as they merge, for they carry the comments of
/// both sides; keys that do not yet have their value are then set.
pub(super) fn merge_toml(base: &[u8], ours: &[u8], theirs: &[u8], labels: &Labels<'_>) -> Merged {
    if let Some(merged) = merge_keys(base, ours, theirs) {
        return merged;
    }
    let by_lines = text::merge(base, ours, theirs, labels);
    let sides = [base, ours, theirs];
    if !by_lines.conflicts.is_empty() || agrees(Format::Toml, sides, &by_lines.bytes, false) {
        return by_lines;
    }
    text::whole_conflict(base, ours, theirs, labels)
}

fn read_toml(bytes: &[u8]) -> Option<DocumentMut> {
    parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn values_by_path(doc: &DocumentMut) -> BTreeMap<Path, Value> {
    let values = leaves(doc).into_iter().map(|(p, n)| (p, value_of(n)));
    values.collect()
}

fn merge_keys(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Merged> {
    let docs = [read_toml(base)?, read_toml(ours)?, read_toml(theirs)?];
    let [b, o, t] = docs.each_ref().map(values_by_path);
    let (want, open) = decide(&b, &o, &t);
    // A name that is a value here and a table there: no file can have both.
    let paths: BTreeSet<&Path> = want.keys().chain(&open).collect();
    let below = |path: &&Path| (1..path.len()).any(|n| paths.contains(&path[..n].to_vec()));
    if paths.iter().any(below) {
        return None;
    }
    let mixed = text::merge_as_ours(base, ours, theirs);
    let bytes = [mixed.as_slice(), ours]
        .into_iter()
        .find_map(|start| edit(start, &want, &docs))?;
    let [b, o, t] = docs.each_ref().map(|doc| -> BTreeMap<Path, String> {
        let texts = leaves(doc).into_iter().map(|(p, n)| (p, shown(n)));
        texts.collect()
    });
    let mut conflicts: Vec<Conflict> = open
        .iter()
        .map(|path| Conflict {
            item: Item::Key(dotted(path)),
            base: b.get(path).cloned(),
            ours: o.get(path).cloned(),
            theirs: t.get(path).cloned(),
        })
        .collect();
    conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    Some(Merged { bytes, conflicts })
}

/// A value as it can be typed; comments around it are left out.
fn shown(node: &Node) -> String {
    match node.clone().into_value() {
        Ok(value) => value.decorated("", "").to_string(),
        Err(node) => value_of(&node).to_string(),
    }
}

/// Gives `start` the wanted values, taking nodes from their file or ours; `None` if they do not fit.
fn edit(start: &[u8], want: &BTreeMap<Path, Value>, docs: &[DocumentMut; 3]) -> Option<Vec<u8>> {
    let doc = read_toml(start)?;
    if equal(&values_by_path(&doc), want) {
        return Some(start.to_vec());
    }
    // A comment behind a value has no place in an inline table: the second try is without it.
    let text = [false, true]
        .into_iter()
        .find_map(|bare| place(doc.clone(), want, docs, bare))?;
    let ends = start.iter().filter(|b| **b == b'\n').count();
    if ends > 0 && ends == start.windows(2).filter(|w| w == b"\r\n").count() {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        return equal(&values_by_path(&parse(&text).ok()?), want).then(|| text.into_bytes());
    }
    Some(text.into_bytes())
}

fn equal(a: &BTreeMap<Path, Value>, b: &BTreeMap<Path, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(path, value)| same(Some(value), b.get(path)))
}

fn place(
    mut doc: DocumentMut,
    want: &BTreeMap<Path, Value>,
    [_, ours, theirs]: &[DocumentMut; 3],
    bare: bool,
) -> Option<String> {
    let have = values_by_path(&doc);
    for path in have.keys().filter(|p| !want.contains_key(*p)) {
        remove(doc.as_table_mut(), path);
    }
    // In the order of their file, so that new keys keep it.
    for (path, node) in leaves(theirs).into_iter().chain(leaves(ours)) {
        let value = value_of(node);
        if !same(want.get(&path), Some(&value)) || same(have.get(&path), Some(&value)) {
            continue;
        }
        let node = match node {
            Node::Value(v) if bare => Node::Value(v.clone().decorated(" ", "")),
            other => other.clone(),
        };
        if !put(doc.as_table_mut(), &path, &node) {
            return None;
        }
    }
    let text = doc.to_string();
    equal(&values_by_path(&parse(&text).ok()?), want).then_some(text)
}

/// Sets a leaf, making tables on the way; `false` when a value is where a table is needed.
fn put(table: &mut dyn TableLike, path: &[String], node: &Node) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    if rest.is_empty() {
        match (table.get_mut(key), node) {
            (Some(Node::Value(old)), Node::Value(new)) => {
                let decor = old.decor().clone();
                *old = new.clone();
                *old.decor_mut() = decor;
            }
            (Some(old), _) if old.as_table_like().is_some_and(|t| !t.is_empty()) => return false,
            (Some(old), _) => *old = node.clone(),
            (None, _) => {
                table.insert(key, node.clone());
            }
        }
        return true;
    }
    if !table.contains_key(key) {
        let mut inner = Table::new();
        inner.set_implicit(true);
        table.insert(key, Node::Table(inner));
    }
    match table.get_mut(key).and_then(Node::as_table_like_mut) {
        Some(inner) => {
            let done = put(inner, rest, node);
            if rest.len() == 1
                && let Some(Node::Table(inner)) = table.get_mut(key)
            {
                inner.set_implicit(false);
            }
            done
        }
        None => false,
    }
}

/// Removes a leaf, and tables it leaves empty.
fn remove(table: &mut dyn TableLike, path: &[String]) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.remove(key);
        return;
    }
    let Some(inner) = table.get_mut(key).and_then(Node::as_table_like_mut) else {
        return;
    };
    remove(inner, rest);
    if inner.is_empty() {
        table.remove(key);
    }
}

/// Sets or removes the value of a dotted key.
pub(super) fn set_toml(
    current: &[u8],
    key: &str,
    value: Option<&str>,
) -> Result<Vec<u8>, SettleError> {
    let text = std::str::from_utf8(current).map_err(|e| SettleError(e.to_string()))?;
    let mut doc = parse(text)?;
    let path: Path = Key::parse(key)
        .map_err(|e| SettleError(e.to_string()))?
        .iter()
        .map(|k| k.get().to_owned())
        .collect();
    match value {
        None => remove(doc.as_table_mut(), &path),
        Some(text) => {
            let node: TomlValue = text.parse().map_err(|_| {
                SettleError(format!("`{text}` is no TOML value; text needs quotes"))
            })?;
            if !put(doc.as_table_mut(), &path, &Node::Value(node)) {
                return Err(SettleError(format!("`{key}` is a table")));
            }
        }
    }
    Ok(doc.to_string().into_bytes())
}
