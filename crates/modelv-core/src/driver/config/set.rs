//! Puts a decided value into a file: in place of the one that is there, or as a new key.

use super::super::SettleError;
use super::decide::{Part, Want, slots_of};
use super::doc::{Step, steps};
use super::{Format, checked, edit};

/// Sets or removes the value of a dotted key. What is to be removed and is not there is removed.
pub(in crate::driver) fn set(
    format: Format,
    current: &[u8],
    key: &str,
    value: Option<&str>,
) -> Result<Vec<u8>, SettleError> {
    let text = checked(current)?;
    let doc = format.parse(text)?;
    let path = steps(key)?;
    let edited = match value {
        None => {
            if !exists(Part::root(&doc), &path) {
                return Ok(current.to_vec());
            }
            without(Part::root(&doc), &path).and_then(|want| applied(format, text, &want))
        }
        Some(raw) => {
            let no_value =
                || SettleError(format!("`{raw}` is no {format} value; text needs quotes"));
            let written = written(format, &path, raw).ok_or_else(no_value)?;
            let new = format.parse(&written).map_err(|_| no_value())?;
            if !is_one(Part::root(&new), &path) {
                return Err(no_value());
            }
            with(Part::root(&doc), &path, Part::root(&new))
                .and_then(|want| applied(format, text, &want))
        }
    };
    let text = edited.ok_or_else(|| {
        SettleError(format!(
            "`{key}` can't be set in place; edit the file and resolve it as edited"
        ))
    })?;
    Ok(text.into_bytes())
}

fn applied(format: Format, text: &str, want: &Want<'_>) -> Option<String> {
    let doc = format.parse(text).ok()?;
    let out = edit::apply(&doc, want, None)?;
    let now = format.parse(&out).ok()?;
    now.root.value().same(&want.value()).then_some(out)
}

fn exists(part: Part<'_>, path: &[Step]) -> bool {
    let inner = match path.first() {
        None => return true,
        Some(Step::Index(i)) => part.items().and_then(|items| items.get(*i)),
        Some(Step::Key(key)) => part
            .entries()
            .and_then(|all| all.iter().find(|e| e.key == *key))
            .map(|e| &e.node),
    };
    inner.is_some_and(|node| exists(part.with(node), &path[1..]))
}

/// Whether a written file has this path and nothing else.
fn is_one(part: Part<'_>, path: &[Step]) -> bool {
    let inner = match path.first() {
        None => return true,
        Some(Step::Index(_)) => part.items().filter(|items| items.len() == 1).map(|i| &i[0]),
        Some(Step::Key(key)) => part
            .entries()
            .filter(|all| all.len() == 1 && all[0].key == *key)
            .map(|all| &all[0].node),
    };
    inner.is_some_and(|node| is_one(part.with(node), &path[1..]))
}

fn without<'d>(part: Part<'d>, path: &[Step]) -> Option<Want<'d>> {
    let (Step::Key(key), rest) = path.split_first()? else {
        return None;
    };
    let mut slots = slots_of(part.text, part.entries()?);
    let at = slots.iter().position(|s| s.entry.key == *key)?;
    if rest.is_empty() {
        slots.remove(at);
    } else {
        slots[at].want = without(part.with(&slots[at].entry.node), rest)?;
    }
    Some(Want::Map { like: part, slots })
}

/// What a file is to be with the one value of another in it.
fn with<'d>(part: Part<'d>, path: &[Step], new: Part<'d>) -> Option<Want<'d>> {
    let Some((step, rest)) = path.split_first() else {
        return Some(Want::Part(new));
    };
    match step {
        Step::Index(i) => {
            let inner = new.with(new.items()?.first()?);
            let have = part.items()?;
            have.get(*i)?;
            let items = have.iter().enumerate().map(|(n, node)| {
                if n == *i {
                    with(part.with(node), rest, inner)
                } else {
                    Some(Want::Part(part.with(node)))
                }
            });
            Some(Want::List {
                like: part,
                items: items.collect::<Option<_>>()?,
            })
        }
        Step::Key(key) => {
            let entry = new.entries()?.first()?;
            // A value stands where the map would have to be: the value gives way.
            let Some(have) = part.entries() else {
                return Some(Want::Part(new));
            };
            let mut slots = slots_of(part.text, have);
            match slots.iter().position(|s| s.entry.key == *key) {
                Some(at) => {
                    let inner = part.with(&slots[at].entry.node);
                    slots[at].want = with(inner, rest, new.with(&entry.node))?;
                    slots[at].other = Some(entry);
                }
                None => slots.extend(slots_of(new.text, std::slice::from_ref(entry))),
            }
            Some(Want::Map { like: part, slots })
        }
    }
}

/// A file with this one value.
fn written(format: Format, path: &[Step], raw: &str) -> Option<String> {
    let flow = |path: &[Step]| {
        path.iter()
            .rev()
            .fold(raw.to_owned(), |inner, step| match step {
                Step::Key(key) => format!("{{{}: {inner}}}", quoted(key)),
                Step::Index(_) => format!("[{inner}]"),
            })
    };
    if format != Format::Json && raw.contains('\n') {
        return None;
    }
    match (format, path) {
        (Format::Json, _) => Some(flow(path)),
        (Format::Yaml, _) => {
            let block = path
                .iter()
                .position(|s| matches!(s, Step::Index(_)))
                .unwrap_or(path.len());
            let mut out = String::new();
            for (depth, step) in path[..block].iter().enumerate() {
                let Step::Key(key) = step else { return None };
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
                let bare =
                    key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(plain);
                let key = if bare { key.clone() } else { quoted(key) };
                let start = if depth == 0 { "" } else { "\n" };
                out.push_str(&format!("{start}{}{key}:", "  ".repeat(depth)));
            }
            Some(format!("{out} {}\n", flow(&path[block..])))
        }
        (Format::Ini, [Step::Key(section), Step::Key(key)]) => {
            Some(format!("[{section}]\n{key} = {raw}\n"))
        }
        (Format::Ini, [Step::Key(key)]) => Some(format!("{key} = {raw}\n")),
        (Format::Env, [Step::Key(key)]) => Some(format!("{key}={raw}\n")),
        _ => None,
    }
}

fn quoted(key: &str) -> String {
    serde_json::Value::String(key.to_owned()).to_string()
}
