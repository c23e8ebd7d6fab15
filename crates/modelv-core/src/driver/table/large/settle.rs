//! Decisions about rows, put into a large table.

use std::collections::HashMap;

use super::super::super::{Refusal, Source};
use super::super::TableError;
use super::super::columns::{Decision, named_row};
use super::super::rows::Sheet;
use super::scan::{Writer, alone, batches};
use super::{AsSource, Room, Scratch};

/// Puts decisions into a table: about rows first, then about columns.
pub(in super::super) fn settle(
    separator: Option<char>,
    current: &mut dyn Source,
    decisions: &[(&str, Option<&str>)],
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let is_column = |(item, _): &(&str, Option<&str>)| item.starts_with("column ");
    let (columns, rows): (Vec<_>, Vec<_>) = decisions.iter().copied().partition(is_column);
    let mut file = match rows.is_empty() && !columns.is_empty() {
        true => None,
        false => Some(settle_rows(separator, current, &rows, room)?),
    };
    for decision in columns {
        file = Some(match &mut file {
            None => settle_column(separator, current, decision, room)?,
            Some(file) => settle_column(separator, &mut AsSource(&mut **file), decision, room)?,
        });
    }
    file.ok_or_else(|| super::beyond("nothing is decided"))
}

/// Has one column go, or puts cells into it.
fn settle_column(
    separator: Option<char>,
    current: &mut dyn Source,
    (item, value): (&str, Option<&str>),
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let mut facts = batches(Some(&mut *current), separator, &mut |_| Ok(true))?;
    let decision = Decision::read(separator, &facts.header, item, value);
    let decision = decision.ok_or_else(|| super::beyond("a table has no such part"))??;
    facts.head = decision.head(&facts.head);
    let mut content = room.file()?;
    let mut out = Writer::new(&mut *content, &facts)?;
    batches(Some(&mut *current), separator, &mut |sheet| {
        for at in 0..sheet.rows.len() {
            out.row(&decision.row(sheet, at))?;
        }
        Ok(true)
    })?;
    decision.is_used_up()?;
    out.finish()?;
    Ok(content)
}

/// Puts whole rows in place of those with their keys, behind all others, or away; items are
/// `row COLUMN=KEY`.
fn settle_rows(
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
            let named = named_row(row, &facts.header, None, separator);
            let text = alone(&facts.head, named.as_deref().unwrap_or(row));
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
                    let named = named_row(row, &facts.header, Some(sheet.raw(at)), separator);
                    out.row(named.as_deref().unwrap_or(row))?;
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
            let named = named_row(row, &facts.header, None, separator);
            out.row(named.as_deref().unwrap_or(row))?;
        }
    }
    out.finish()?;
    Ok(content)
}
