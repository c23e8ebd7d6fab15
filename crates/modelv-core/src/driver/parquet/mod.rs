//! Parquet: a table in columns, read as rows. Its rows become lines of JSON, which are compared as those
//! of any other table are, side by side and in bounded memory: one page of each column is unpacked at a
//! time, nothing is allocated because a header claims it, and decompression stops at the size that was
//! said. What is beyond these bounds, or of a codec or encoding that is not known, is refused by name.
//!
//! It is read by hand and not with the `parquet` crate, whose readers own their file and are `'static`
//! (ours borrow a store), unpack gzip and Brotli without a bound and trust the counts of a footer.
//! Nothing is ever written: two changed versions are a conflict.

mod footer;
mod page;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::io::Cursor;

use super::binary::Binary;
use super::table::{InMemory, Spill, TableError, stream_lines};
use super::tensor::Source;
use super::{Change, Refusal, Rules};
use footer::{Leaf, Logical, Node, Physical};
use rows::Lines;

/// The rules of Parquet.
pub(super) struct Parquet {
    /// The declared key of the rows.
    pub(super) key: Option<String>,
}

impl Rules for Parquet {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        match Lines::open(&mut Cursor::new(content)) {
            Ok(_) => Ok(()),
            Err(TableError::Refused(refusal)) => Err(refusal),
            Err(TableError::Io(e)) => Err(Refusal::Invalid(e.to_string())),
        }
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let (mut a, mut b) = (old.map(Cursor::new), new.map(Cursor::new));
        let sides = [&mut a, &mut b].map(|s| s.as_mut().map(|s| s as &mut dyn Source));
        let found = diff(self.key.as_deref(), sides, &mut InMemory::default());
        found.unwrap_or_else(|_| Binary.diff(old, new))
    }
}

/// Compares two files; `None` is absent. `key` is the declared one.
///
/// # Errors
/// One can't be read, or is beyond what is taken apart.
pub(super) fn diff(
    key: Option<&str>,
    [old, new]: [Option<&mut dyn Source>; 2],
    spill: &mut dyn Spill,
) -> Result<Vec<Change>, TableError> {
    let mut a = old.map(Lines::open).transpose()?;
    let mut b = new.map(Lines::open).transpose()?;
    let mut out = match (&a, &b) {
        (Some(a), Some(b)) => columns(&schema(a), &schema(b)),
        _ => Vec::new(),
    };
    let sides = [&mut a, &mut b].map(|s| s.as_mut().map(|s| s as &mut dyn Source));
    let found = stream_lines(key, sides, spill).map_err(rows::refusal_of)?;
    // The columns are known from the schema, and better than from the first row.
    out.extend(
        found
            .into_iter()
            .filter(|c| !matches!(c, Change::Column { .. })),
    );
    Ok(out)
}

type Schema = Vec<(String, String)>;

/// Names and types of the columns.
fn schema(lines: &Lines<'_>) -> Schema {
    let leaves = &lines.footer.leaves;
    let columns = lines.footer.columns.iter();
    columns.map(|c| (c.name.clone(), kind(c, leaves))).collect()
}

/// Columns that came, went, or are of another type.
fn columns(old: &Schema, new: &Schema) -> Vec<Change> {
    let only_in = |side: &Schema, other: &Schema, added: bool| -> Vec<Change> {
        let differ = side.iter().filter(|column| !other.contains(column));
        differ
            .map(|(name, kind)| Change::Column {
                name: match other.iter().any(|(n, _)| n == name) {
                    true => format!("{name}: {kind}"),
                    false => name.clone(),
                },
                added,
            })
            .collect()
    };
    let mut out = only_in(old, new, false);
    out.extend(only_in(new, old, true));
    out
}

/// The type of a column in words.
fn kind(node: &Node, leaves: &[Leaf]) -> String {
    let inside: Vec<String> = node.inside.iter().map(|n| kind(n, leaves)).collect();
    match (node.logical, inside.as_slice()) {
        (_, []) => leaf_kind(&leaves[node.leaves.start]),
        (Logical::List, [one]) => format!("list of {one}"),
        (Logical::Map, [one]) => format!("map of {one}"),
        (_, [one]) if node.repetition == footer::Repetition::Repeated => one.clone(),
        (_, all) => {
            let named = node.inside.iter().zip(all);
            let parts: Vec<String> = named
                .map(|(n, kind)| format!("{}: {kind}", n.name))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
    }
}

fn leaf_kind(leaf: &Leaf) -> String {
    match (leaf.physical, leaf.logical) {
        (_, Logical::Text) => "text".into(),
        (_, Logical::Decimal(scale)) => format!("decimal with {scale} places"),
        (_, Logical::Date) => "date".into(),
        (_, Logical::Time(_)) => "time".into(),
        (_, Logical::Timestamp(parts, utc)) => {
            let zone = if utc { ", UTC" } else { "" };
            format!("timestamp in 1/{parts} s{zone}")
        }
        (_, Logical::Uuid) => "UUID".into(),
        (_, Logical::Half) => "float16".into(),
        (Physical::Int32, Logical::Unsigned) => "uint32".into(),
        (Physical::Int64, Logical::Unsigned) => "uint64".into(),
        (Physical::Bool, _) => "bool".into(),
        (Physical::Int32, _) => "int32".into(),
        (Physical::Int64, _) => "int64".into(),
        (Physical::Int96, _) => "int96".into(),
        (Physical::Float, _) => "float32".into(),
        (Physical::Double, _) => "float64".into(),
        (Physical::Bytes, _) => "bytes".into(),
        (Physical::Fixed(n), _) => format!("{n} bytes"),
    }
}
