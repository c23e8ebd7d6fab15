//! Decisions about rows, put into a large table.

use std::collections::HashMap;

use super::super::super::{Refusal, Source};
use super::super::TableError;
use super::super::rows::Sheet;
use super::scan::{Writer, batches};
use super::{Room, Scratch};

/// Puts whole rows in place of those with their keys, behind all others, or away; items are
/// `row COLUMN=KEY`.
pub(in super::super) fn settle(
    separator: Option<char>,
    current: &mut dyn Source,
    decisions: &[(&str, Option<&str>)],
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let invalid = |text: String| TableError::from(Refusal::Invalid(text));
    // Of each item: what to put, and whether its row is there.
    let mut wanted: HashMap<&str, HashMap<&str, (Option<&str>, bool)>> = HashMap::new();
    for (item, value) in decisions {
        let named = item.strip_prefix("row ").and_then(|i| i.split_once('='));
        let (column, key) = named.ok_or_else(|| invalid(format!("the table has no `{item}`")))?;
        wanted
            .entry(column)
            .or_default()
            .insert(key, (*value, false));
    }
    let facts = batches(Some(&mut *current), separator, &mut |_| Ok(true))?;
    for (column, keys) in &wanted {
        for (key, (value, _)) in keys {
            let Some(row) = value else { continue };
            let text = [&facts.head, *row].concat();
            let sheet = Sheet::read(text.as_bytes(), separator)?;
            let found = (sheet.rows.len() == 1)
                .then(|| sheet.value(0, column))
                .flatten();
            if found.as_deref() != Some(*key) {
                return Err(invalid(format!("`{row}` is no row of key `{key}`")));
            }
        }
    }
    let mut content = room.file()?;
    let mut out = Writer::new(&mut *content, &facts)?;
    batches(Some(&mut *current), separator, &mut |sheet| {
        'rows: for at in 0..sheet.rows.len() {
            for (column, keys) in &mut wanted {
                let found = sheet.value(at, column);
                let Some((value, seen)) = found.and_then(|key| keys.get_mut(&*key)) else {
                    continue;
                };
                if std::mem::replace(seen, true) {
                    let text = format!("`{column}` does not name every row once");
                    return Err(Refusal::Invalid(text).into());
                }
                if let Some(row) = value {
                    out.row(row)?;
                }
                continue 'rows;
            }
            out.row(sheet.raw(at))?;
        }
        Ok(true)
    })?;
    // In the order they were asked for.
    for (item, value) in decisions {
        let seen = item
            .strip_prefix("row ")
            .and_then(|i| i.split_once('='))
            .and_then(|(column, key)| wanted.get(column)?.get(key))
            .is_some_and(|(_, seen)| *seen);
        if let (Some(row), false) = (value, seen) {
            out.row(row)?;
        }
    }
    out.finish()?;
    Ok(content)
}
