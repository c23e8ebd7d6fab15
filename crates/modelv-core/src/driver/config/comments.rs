//! Comments of TOML files in a merge: each belongs to the key or table it stands above or behind,
//! and merges three ways like a value. What both sides wrote anew is kept side by side.

use std::collections::BTreeMap;

use toml_edit::{Decor, DocumentMut, Item as Node, Table};

use super::decide::{comment, union_lines, union_tails};
use super::toml::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Above,
    Behind,
}

type Comments = BTreeMap<(Path, Place), String>;

/// Gives a merged text the comments of its three versions; `None` if it is no TOML.
pub(super) fn carry(text: &str, docs: &[DocumentMut; 3]) -> Option<String> {
    let mut doc = text.parse::<DocumentMut>().ok()?;
    let [base, ours, theirs] = docs.each_ref().map(of_doc);
    let have = of_doc(&doc);
    let mut changed = false;
    for (key, now) in &have {
        let (b, o, t) = (base.get(key), ours.get(key), theirs.get(key));
        let union = if key.1 == Place::Above {
            union_lines
        } else {
            union_tails
        };
        let want = match (o, t) {
            (Some(o), Some(t)) => comment(b.map(String::as_str), o, t, union),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        };
        if let Some(want) = want
            && want.trim() != now.trim()
        {
            changed |= set(doc.as_table_mut(), &key.0, key.1, &want).is_some();
        }
    }
    let foot = |doc: &DocumentMut| doc.trailing().as_str().unwrap_or("").to_owned();
    let [b, o, t] = docs.each_ref().map(foot);
    if let Some(want) = comment(Some(&b), &o, &t, union_lines)
        && want.trim() != foot(&doc).trim()
    {
        doc.set_trailing(want);
        changed = true;
    }
    Some(if changed {
        doc.to_string()
    } else {
        text.to_owned()
    })
}

fn of_doc(doc: &DocumentMut) -> Comments {
    let mut out = Comments::new();
    collect(doc.as_table(), &mut Vec::new(), &mut out);
    out
}

fn collect(table: &Table, path: &mut Path, out: &mut Comments) {
    let text =
        |raw: Option<&toml_edit::RawString>| raw.and_then(|r| r.as_str()).unwrap_or("").to_owned();
    for (name, node) in table.iter() {
        path.push(name.to_owned());
        let mut put = |place, decor: &Decor| {
            let raw = if place == Place::Above {
                decor.prefix()
            } else {
                decor.suffix()
            };
            out.insert((path.clone(), place), text(raw));
        };
        match node {
            Node::Value(value) => {
                if let Some(key) = table.key(name) {
                    put(Place::Above, key.leaf_decor());
                }
                put(Place::Behind, value.decor());
            }
            Node::Table(inner) => {
                if !inner.is_implicit() && !inner.is_dotted() {
                    put(Place::Above, inner.decor());
                    put(Place::Behind, inner.decor());
                }
                collect(inner, path, out);
            }
            _ => {}
        }
        path.pop();
    }
}

/// Sets a comment; `None` when there is no such key.
fn set(table: &mut Table, path: &[String], place: Place, text: &str) -> Option<()> {
    let (name, rest) = path.split_first()?;
    if !rest.is_empty() {
        return set(table.get_mut(name)?.as_table_mut()?, rest, place, text);
    }
    let put = |decor: &mut Decor| match place {
        Place::Above => decor.set_prefix(text),
        Place::Behind => decor.set_suffix(text),
    };
    if place == Place::Above && table.get(name)?.is_value() {
        put(table.key_mut(name)?.leaf_decor_mut());
        return Some(());
    }
    match table.get_mut(name)? {
        Node::Value(value) => put(value.decor_mut()),
        Node::Table(inner) => put(inner.decor_mut()),
        _ => return None,
    }
    Some(())
}
