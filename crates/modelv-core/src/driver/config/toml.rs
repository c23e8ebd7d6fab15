//! TOML by dotted key. A merge edits the lines as far as they merge, so that layout and the comments
//! of both sides survive. Lists of equal length merge by position, and are one value elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{
    DocumentMut, InlineTable, Item as Node, Key, Table, TableLike, Value as TomlValue,
};

use super::super::{Conflict, Item, Labels, Merged, Refusal, SettleError, text};
use super::comments;
use super::{diff, same};
use crate::value::Value;

/// The leaves of a file by dotted key.
pub(super) fn values(text: &str) -> Result<BTreeMap<String, Value>, Refusal> {
    let doc = parse(text)?;
    let values = leaves(&doc).into_iter();
    Ok(values
        .map(|(path, node)| (dotted(&path), value_of(node)))
        .collect())
}

fn parse(text: &str) -> Result<DocumentMut, Refusal> {
    text.parse::<DocumentMut>().map_err(|e| {
        let line = e.span().map_or(1, |s| {
            text[..s.start.min(text.len())].matches('\n').count() + 1
        });
        Refusal::Invalid(format!("line {line}: {}", e.message().replace('\n', ", ")))
    })
}

pub(super) type Path = Vec<String>;

/// A dotted key as TOML writes it: parts that are no bare key are quoted.
fn dotted(path: &[String]) -> String {
    let parts: Vec<String> = path.iter().map(|p| Key::new(p).to_string()).collect();
    parts.join(".")
}

pub(super) fn leaves(doc: &DocumentMut) -> Vec<(Path, &Node)> {
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
            match by_position(b, o, t).or_else(|| by_demand(b, o, t)) {
                Some(list) => drop(want.insert(key.clone(), list)),
                None => open.push(key.clone()),
            }
            continue;
        }
        match t {
            Some(value) => drop(want.insert(key.clone(), value.clone())),
            None => drop(want.remove(key)),
        }
    }
    (want, open)
}

/// Merges lists of one length element by element.
fn by_position(
    base: Option<&Value>,
    ours: Option<&Value>,
    theirs: Option<&Value>,
) -> Option<Value> {
    let (Value::List(b), Value::List(o), Value::List(t)) = (base?, ours?, theirs?) else {
        return None;
    };
    if b.len() != o.len() || o.len() != t.len() || !super::places::stay(b, o, t) {
        return None;
    }
    let items = b.iter().zip(o).zip(t).map(|((b, o), t)| {
        if o.same(t) || t.same(b) {
            Some(o.clone())
        } else if o.same(b) {
            Some(t.clone())
        } else {
            by_position(Some(b), Some(o), Some(t))
        }
    });
    items.collect::<Option<Vec<Value>>>().map(Value::List)
}

/// Merges lists of demands on packages by package.
fn by_demand(base: Option<&Value>, ours: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    let texts = |value: Option<&'_ Value>| -> Option<Vec<String>> {
        let Some(Value::List(items)) = value else {
            return None;
        };
        let text = |item: &Value| match item {
            Value::Str(text) => Some(text.clone()),
            _ => None,
        };
        items.iter().map(text).collect()
    };
    let (b, o, t) = (
        base.map_or(Some(Vec::new()), |b| texts(Some(b)))?,
        texts(ours)?,
        texts(theirs)?,
    );
    let [b, o, t] = [&b, &o, &t].map(|l| l.iter().map(String::as_str).collect::<Vec<_>>());
    let merged = super::super::packages::merge_lists(&b, &o, &t)?;
    Some(Value::List(merged.into_iter().map(Value::Str).collect()))
}

/// Whether merged lines mean what the three versions mean together. Lines can meet to a file that
/// does not parse, or that has a key twice and so loses one side's value.
fn agrees([base, ours, theirs]: [&[u8]; 3], merged: &[u8]) -> bool {
    let read = |bytes: &[u8]| values(std::str::from_utf8(bytes).ok()?).ok();
    let (Some(b), Some(o), Some(t), Some(m)) = (read(base), read(ours), read(theirs), read(merged))
    else {
        return false;
    };
    let (want, open) = decide(&b, &o, &t);
    open.is_empty() && diff(&want, &m).is_empty()
}

/// Merges TOML by key. The start is the lines as far as they merge, for they carry the comments of
/// both sides; keys that do not yet have their value are then set.
pub(super) fn merge(base: &[u8], ours: &[u8], theirs: &[u8], labels: &Labels<'_>) -> Merged {
    let by_lines = text::merge(base, ours, theirs, labels);
    if by_lines.conflicts.is_empty() && agrees([base, ours, theirs], &by_lines.bytes) {
        return by_lines;
    }
    if let Some(merged) = merge_keys(base, ours, theirs) {
        return merged;
    }
    if by_lines.conflicts.is_empty() {
        return text::whole_conflict(base, ours, theirs, labels);
    }
    by_lines
}

fn read_toml(bytes: &[u8]) -> Option<DocumentMut> {
    parse(std::str::from_utf8(bytes).ok()?).ok()
}

pub(super) fn values_by_path(doc: &DocumentMut) -> BTreeMap<Path, Value> {
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
    // A comment behind a value has no place in an inline table: the second try is without it.
    let text = if equal(&values_by_path(&doc), want) {
        doc.to_string()
    } else {
        [false, true]
            .into_iter()
            .find_map(|bare| place(doc.clone(), want, docs, bare))?
    };
    let text = comments::carry(&text, docs)
        .filter(|t| parse(t).is_ok_and(|doc| equal(&values_by_path(&doc), want)))
        .unwrap_or(text);
    let text = marked(start, text);
    let ends = start.iter().filter(|b| **b == b'\n').count();
    if ends > 0 && ends == start.windows(2).filter(|w| w == b"\r\n").count() {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        return equal(&values_by_path(&parse(&text).ok()?), want).then(|| text.into_bytes());
    }
    Some(text.into_bytes())
}

/// The parser takes a byte order mark away and ends the last line: a file keeps its ways.
fn marked(like: &[u8], mut text: String) -> String {
    if !like.is_empty() && !like.ends_with(b"\n") && text.ends_with('\n') {
        text.pop();
    }
    if like.starts_with("\u{feff}".as_bytes()) && !text.starts_with('\u{feff}') {
        return format!("\u{feff}{text}");
    }
    text
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
    for (path, value) in want.iter().filter(|(p, v)| !same(have.get(*p), Some(v))) {
        let find = |doc: &DocumentMut| {
            leaves(doc)
                .into_iter()
                .find(|(p, _)| p == path)
                .map(|(_, n)| n.clone())
        };
        let (Some(Node::Value(o)), Some(Node::Value(t))) = (find(ours), find(theirs)) else {
            continue;
        };
        if matches!(value, Value::List(_))
            && let Some(list) = blend(&o, &t, value)
            && !put(doc.as_table_mut(), path, &Node::Value(list))
        {
            return None;
        }
    }
    let text = doc.to_string();
    equal(&values_by_path(&parse(&text).ok()?), want).then_some(text)
}

/// A list with each element from the side that has it.
fn blend(ours: &TomlValue, theirs: &TomlValue, want: &Value) -> Option<TomlValue> {
    if scalar(ours).same(want) {
        return Some(ours.clone());
    }
    if scalar(theirs).same(want) {
        let mut value = theirs.clone();
        *value.decor_mut() = ours.decor().clone();
        return Some(value);
    }
    let (TomlValue::Array(o), TomlValue::Array(t), Value::List(items)) = (ours, theirs, want)
    else {
        return None;
    };
    if o.len() != items.len() || t.len() != items.len() {
        return gather(o, t, items).map(TomlValue::Array);
    }
    let mut out = o.clone();
    for (i, want) in items.iter().enumerate() {
        let item = blend(o.get(i)?, t.get(i)?, want)?;
        out.replace_formatted(i, item);
    }
    Some(TomlValue::Array(out))
}

/// A list of elements that either side has, laid out as ours.
fn gather(
    ours: &toml_edit::Array,
    theirs: &toml_edit::Array,
    want: &[Value],
) -> Option<toml_edit::Array> {
    let mut out = ours.clone();
    out.clear();
    let apart = ours
        .iter()
        .find_map(|v| v.decor().prefix()?.as_str().filter(|p| p.contains('\n')));
    for (i, item) in want.iter().enumerate() {
        let found = ours.iter().chain(theirs).find(|v| scalar(v).same(item))?;
        let mut value = found.clone();
        let prefix = value
            .decor()
            .prefix()
            .and_then(|p| p.as_str())
            .unwrap_or("")
            .to_owned();
        match apart {
            Some(line) if !prefix.contains('\n') => value.decor_mut().set_prefix(line),
            None => value.decor_mut().set_prefix(if i == 0 { "" } else { " " }),
            Some(_) => {}
        }
        out.push_formatted(value);
    }
    Some(out)
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
pub(super) fn set(current: &[u8], key: &str, value: Option<&str>) -> Result<Vec<u8>, SettleError> {
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
    Ok(marked(current, doc.to_string()).into_bytes())
}
