//! Lock files in TOML: a `[[package]]` each. After a merge what a package demands of another must
//! still be met by the version that is locked, or both are one conflict.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item as Node, Value};

use super::super::{Conflict, Item};
use super::blocks::{Block, Split, WITH};
use crate::env::normal_name;
use crate::requirement::{Specifiers, Version};

/// Takes a file apart by its lines; `None` where packages do not stand in one run.
pub(super) fn split(text: &str) -> Option<Split> {
    let mut parts: [String; 3] = Default::default();
    let mut blocks: Vec<String> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = line.trim_end();
        if start == "[[package]]" {
            if at == 2 {
                return None;
            }
            at = 1;
            blocks.push(line.to_owned());
            continue;
        }
        let below = start.starts_with("[package.") || start.starts_with("[[package.");
        if at == 1 && start.starts_with('[') && !below {
            at = 2;
        }
        match (at, blocks.last_mut()) {
            (1, Some(block)) => block.push_str(line),
            _ => parts[at].push_str(line),
        }
    }
    let blocks = blocks
        .iter()
        .map(|b| block(b))
        .collect::<Option<Vec<_>>>()?;
    let [head, _, tail] = parts;
    Some(Split { head, blocks, tail })
}

fn block(text: &str) -> Option<Block> {
    let text = text.trim_end();
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.trim_start().strip_prefix('='))?;
        let value = line.trim().strip_prefix('"')?;
        Some(value[..value.find('"')?].to_owned())
    };
    Some(Block {
        name: normal_name(&field("name")?),
        version: field("version").unwrap_or_default(),
        text: text.to_owned(),
        says: text.to_owned(),
    })
}

/// What a package demands of others; `None`: any version.
fn demands(block: &Block) -> Vec<(String, Option<Specifiers>)> {
    let Ok(doc) = block.text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    let package = doc.get("package").and_then(Node::as_array_of_tables);
    let Some(table) = package.and_then(|p| p.get(0)) else {
        return Vec::new();
    };
    match table.get("dependencies") {
        // poetry: a table of specifiers.
        Some(Node::Table(table)) => table
            .iter()
            .map(|(name, demand)| {
                (
                    normal_name(name),
                    demand.as_str().and_then(Specifiers::parse),
                )
            })
            .collect(),
        // uv: a list of names, with a version where there are several.
        Some(Node::Value(Value::Array(list))) => list
            .iter()
            .filter_map(|v| {
                let table = v.as_inline_table()?;
                let version = table.get("version").and_then(Value::as_str);
                let exact = version.and_then(|v| Specifiers::parse(&format!("=={v}")));
                Some((normal_name(table.get("name")?.as_str()?), exact))
            })
            .collect(),
        _ => Vec::new(),
    }
}

type ByName<'s> = BTreeMap<&'s str, Vec<&'s Block>>;

fn by_name(blocks: &[Block]) -> ByName<'_> {
    let mut out = ByName::new();
    for block in blocks {
        out.entry(block.name.as_str()).or_default().push(block);
    }
    out
}

/// Whether what is locked meets a demand. A package that is not locked at all may not be needed.
fn met(locked: Option<&Vec<&Block>>, demand: Option<&Specifiers>) -> bool {
    let Some(locked) = locked else {
        return false;
    };
    let fits = |block: &&Block| match (demand, Version::parse(&block.version)) {
        (Some(demand), Some(version)) => demand.contains(&version),
        _ => true,
    };
    locked.iter().any(fits)
}

/// Finds demands of one side that what the other side locked does not meet; both packages are then
/// as in ours, and one conflict.
pub(super) fn hold_together(
    blocks: &mut Vec<Block>,
    [base, ours, theirs]: [&Split; 3],
    conflicts: &mut Vec<Conflict>,
) {
    let [in_base, in_ours, in_theirs] = [base, ours, theirs].map(|s| by_name(&s.blocks));
    let now = by_name(blocks);
    let mut found: Vec<(String, String)> = Vec::new();
    for block in &*blocks {
        for (name, demand) in demands(block) {
            if met(now.get(name.as_str()), demand.as_ref()) {
                continue;
            }
            // Only what the merge brought together: a side that has it so had its reasons.
            let known = [&in_ours, &in_theirs].into_iter().any(|side| {
                side.get(block.name.as_str())
                    .is_some_and(|b| b.contains(&block))
                    && side.get(name.as_str()) == now.get(name.as_str())
            });
            if !known {
                found.push((block.name.clone(), name));
            }
        }
    }
    found.sort();
    found.dedup();
    for (package, on) in found {
        let item = Item::Package(format!("{package}{WITH}{on}"));
        let shown = |side: &ByName<'_>| {
            let of = |name: &str| side.get(name).into_iter().flatten().map(|b| b.text.clone());
            let texts: Vec<String> = of(&package).chain(of(&on)).collect();
            (!texts.is_empty()).then(|| texts.join("\n\n"))
        };
        conflicts.push(Conflict {
            item,
            base: shown(&in_base),
            ours: shown(&in_ours),
            theirs: shown(&in_theirs),
        });
        blocks.retain(|b| b.name != package && b.name != on);
        let mine = |b: &&Block| b.name == package || b.name == on;
        blocks.extend(ours.blocks.iter().filter(mine).cloned());
    }
}
