//! Configuration: typed values by dotted key. A merge of TOML edits our file, so that its comments
//! and layout survive. Lists are single values.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{
    DocumentMut, InlineTable, Item as Node, Key, Table, TableLike, Value as TomlValue,
};

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
            let json: serde_json::Value =
                serde_json::from_str(text).map_err(|e| SettleError(e.to_string()))?;
            let serde_json::Value::Object(object) = json else {
                return Err(SettleError("the top level is no object".into()));
            };
            flatten_json(
                &mut Vec::new(),
                &serde_json::Value::Object(object),
                &mut out,
            );
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
            // An empty inline table is a value, or it would vanish.
            Some(inner) if !(inner.is_empty() && node.is_inline_table()) => {
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

/// Merges TOML by key. Where the lines merge to the same values, the lines are taken: they keep the
/// comments of both sides.
pub(super) fn merge_toml(base: &[u8], ours: &[u8], theirs: &[u8], labels: &Labels<'_>) -> Merged {
    let by_lines = text::merge(base, ours, theirs, labels);
    let Some((merged, conflicts)) = merge_keys(base, ours, theirs) else {
        return by_lines;
    };
    let values = |bytes: &[u8]| config_values(Format::Toml, bytes).ok();
    if conflicts.is_empty()
        && by_lines.conflicts.is_empty()
        && let (Some(a), Some(b)) = (values(&by_lines.bytes), values(&merged))
        && diff(&a, &b).is_empty()
    {
        return by_lines;
    }
    Merged {
        bytes: merged,
        conflicts,
    }
}

fn merge_keys(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<(Vec<u8>, Vec<Conflict>)> {
    let read = |bytes: &[u8]| parse(std::str::from_utf8(bytes).ok()?).ok();
    let (base, ours, theirs) = (read(base)?, read(ours)?, read(theirs)?);
    let by_path = |doc: &DocumentMut| -> BTreeMap<Path, (Value, Node)> {
        leaves(doc)
            .into_iter()
            .map(|(p, n)| (p, (value_of(n), n.clone())))
            .collect()
    };
    let (b, o, t) = (by_path(&base), by_path(&ours), by_path(&theirs));
    let mut out = ours.clone();
    let mut conflicts = Vec::new();
    // In the order of their file, so that new keys keep it.
    let mut paths: Vec<Path> = leaves(&theirs).into_iter().map(|(p, _)| p).collect();
    paths.extend(
        b.keys()
            .chain(o.keys())
            .filter(|p| !t.contains_key(*p))
            .cloned(),
    );
    let mut seen = BTreeSet::new();
    for path in paths.into_iter().filter(|p| seen.insert(p.clone())) {
        let value = |side: &BTreeMap<Path, (Value, Node)>| side.get(&path).map(|(v, _)| v.clone());
        let (vb, vo, vt) = (value(&b), value(&o), value(&t));
        if same(vo.as_ref(), vt.as_ref()) || same(vt.as_ref(), vb.as_ref()) {
            continue;
        }
        if same(vo.as_ref(), vb.as_ref()) {
            match t.get(&path) {
                Some((_, node)) => {
                    // A key that is now a table, or the reverse, does not fit into our file.
                    if !put(out.as_table_mut(), &path, node) {
                        return None;
                    }
                }
                None => remove(out.as_table_mut(), &path),
            }
            continue;
        }
        let text = |side: &BTreeMap<Path, (Value, Node)>| {
            side.get(&path)
                .map(|(_, n)| n.to_string().trim().to_owned())
        };
        conflicts.push(Conflict {
            item: Item::Key(dotted(&path)),
            base: text(&b),
            ours: text(&o),
            theirs: text(&t),
        });
    }
    conflicts.sort_by(|a, b| a.item.cmp(&b.item));
    let bytes = out.to_string().into_bytes();
    parse(std::str::from_utf8(&bytes).ok()?).ok()?;
    Some((bytes, conflicts))
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
            (Some(old), _) if old.is_table_like() => return false,
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
