//! The footer of a Parquet file: which columns there are, and where each of a row group stands.

use std::io::{Read, SeekFrom};

use super::super::tensor::Source;
use super::super::{Refusal, TableError};
use crate::thrift::{Compact, LIST};

const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED: &[u8] = b"PARE";
const TAIL_BYTES: u64 = 8;
/// A longer footer is refused, in bytes.
const FOOTER_BYTES_MAX: u64 = 32 << 20;
/// Columns nested deeper are refused.
const DEPTH_MAX: usize = 32;
/// Longer values of a fixed length are refused, in bytes.
const FIXED_BYTES_MAX: i64 = 1 << 20;

/// What is in a file.
#[derive(Debug)]
pub(super) struct Footer {
    /// The columns, nested.
    pub(super) columns: Vec<Node>,
    /// Those that hold values, in the order of the file.
    pub(super) leaves: Vec<Leaf>,
    pub(super) groups: Vec<Group>,
    /// Names and texts that it says of itself, as they stand in it: a list.
    pub(super) facts: Vec<u8>,
}

/// Rows that stand together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// One for each leaf.
    pub(super) chunks: Vec<Chunk>,
}

/// The values of one column in one row group.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) codec: i64,
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Physical {
    Bool,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    Bytes,
    Fixed(usize),
}

/// What values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    Plain,
    Text,
    List,
    Map,
    /// Digits behind the point.
    Decimal(u32),
    Date,
    /// Parts of a second.
    Time(u32),
    /// Parts of a second; whether the time is UTC.
    Timestamp(u32, bool),
    Unsigned,
    Uuid,
    Half,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repetition {
    Required,
    Optional,
    Repeated,
}

/// A column that holds values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) physical: Physical,
    pub(super) logical: Logical,
    pub(super) max_def: u8,
    pub(super) max_rep: u8,
}

/// A column with all that is nested in it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Its element of the schema, as it stands in the file.
    pub(super) element: Vec<u8>,
    /// The name as it stands before its value in JSON.
    pub(super) label: String,
    pub(super) repetition: Repetition,
    pub(super) logical: Logical,
    pub(super) max_def: u8,
    pub(super) max_rep: u8,
    /// The first leaf beneath, and the one behind the last.
    pub(super) leaves: std::ops::Range<usize>,
    /// Empty: it is a leaf.
    pub(super) inside: Vec<Node>,
}

pub(super) fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::Invalid(why.into())
}

pub(super) fn beyond(why: impl Into<String>) -> Refusal {
    Refusal::Beyond(why.into())
}

/// Reads the footer of a file.
pub(super) fn read(source: &mut dyn Source) -> Result<(Footer, u64), TableError> {
    let size = source.seek(SeekFrom::End(0))?;
    let bytes = bytes(source, size)?;
    let mut raw = Raw::default();
    raw.read(&mut Compact(&bytes))
        .ok_or_else(|| invalid("its footer is malformed"))?;
    let footer = raw.resolve(size)?;
    Ok((footer, size))
}

fn bytes(source: &mut dyn Source, size: u64) -> Result<Vec<u8>, TableError> {
    if size < 4 + TAIL_BYTES {
        return Err(invalid("it is too short").into());
    }
    let mut tail = [0; 8];
    source.seek(SeekFrom::Start(size - TAIL_BYTES))?;
    source.read_exact(&mut tail)?;
    let (length, magic) = tail.split_at(4);
    if magic == ENCRYPTED {
        return Err(beyond("it is encrypted").into());
    }
    if magic != MAGIC {
        return Err(invalid("it does not end with PAR1").into());
    }
    let length = u64::from(u32::from_le_bytes([
        length[0], length[1], length[2], length[3],
    ]));
    if length > size - TAIL_BYTES - 4 {
        return Err(invalid("its footer is longer than the file").into());
    }
    if length > FOOTER_BYTES_MAX {
        return Err(beyond("its footer is longer than 32 MiB").into());
    }
    source.seek(SeekFrom::Start(size - TAIL_BYTES - length))?;
    let mut out = Vec::new();
    Read::take(&mut *source, length).read_to_end(&mut out)?;
    if out.len() as u64 != length {
        return Err(invalid("it ends early").into());
    }
    Ok(out)
}

/// The footer as it stands in the file.
#[derive(Default)]
struct Raw {
    facts: Vec<u8>,
    elements: Vec<Element>,
    groups: Vec<RawGroup>,
    encrypted: bool,
}

#[derive(Default)]
struct Element {
    raw: Vec<u8>,
    physical: Option<i64>,
    length: i64,
    repetition: i64,
    name: String,
    children: i64,
    converted: Option<i64>,
    scale: i64,
    logical: Option<Logical>,
}

#[derive(Default)]
struct RawGroup {
    rows: i64,
    chunks: Vec<RawChunk>,
}

#[derive(Default)]
struct RawChunk {
    elsewhere: bool,
    codec: i64,
    compressed: i64,
    data: i64,
    dictionary: Option<i64>,
}

impl Raw {
    fn read(&mut self, c: &mut Compact<'_>) -> Option<()> {
        c.fields(|c, number, kind| match number {
            2 => c.structs(kind, |c, _| {
                let before = c.0;
                let mut found = element(c)?;
                found.raw = before[..before.len() - c.0.len()].to_vec();
                self.elements.push(found);
                Some(())
            }),
            4 => c.structs(kind, |c, _| {
                self.groups.push(group(c)?);
                Some(())
            }),
            5 if kind == LIST => {
                let before = c.0;
                c.skip(kind, 0)?;
                self.facts = before[..before.len() - c.0.len()].to_vec();
                Some(())
            }
            8 => {
                self.encrypted = true;
                c.skip(kind, 0)
            }
            _ => c.skip(kind, 0),
        })
    }

    fn resolve(self, size: u64) -> Result<Footer, Refusal> {
        if self.encrypted {
            return Err(beyond("its columns are encrypted"));
        }
        let mut elements = self.elements.into_iter();
        let root = elements.next().ok_or_else(|| invalid("it has no schema"))?;
        let mut leaves = Vec::new();
        let columns = nodes(&mut elements, &mut leaves, root.children, (0, 0, 0))?;
        if elements.next().is_some() {
            return Err(invalid("its schema does not fit together"));
        }
        let groups = self
            .groups
            .into_iter()
            .map(|g| g.resolve(leaves.len(), size));
        Ok(Footer {
            facts: self.facts,
            columns,
            groups: groups.collect::<Result<_, _>>()?,
            leaves,
        })
    }
}

impl RawGroup {
    fn resolve(self, leaves: usize, size: u64) -> Result<Group, Refusal> {
        if self.chunks.len() != leaves {
            return Err(invalid("a row group has not as many columns as the schema"));
        }
        let chunks = self.chunks.into_iter().map(|chunk| {
            if chunk.elsewhere {
                return Err(beyond("its columns are in other files"));
            }
            // A dictionary stands before the data; some writers say 0 where there is none.
            let start = match chunk.dictionary {
                Some(at) if at > 0 && at < chunk.data => at,
                _ => chunk.data,
            };
            let start = u64::try_from(start).ok();
            let length = u64::try_from(chunk.compressed).ok();
            let end = start.zip(length).and_then(|(s, l)| s.checked_add(l));
            match start.zip(end).filter(|(_, end)| *end <= size) {
                Some((start, end)) => Ok(Chunk {
                    start,
                    end,
                    codec: chunk.codec,
                }),
                None => Err(invalid("a column is not within the file")),
            }
        });
        Ok(Group {
            rows: u64::try_from(self.rows).map_err(|_| invalid("a row group has -1 rows"))?,
            chunks: chunks.collect::<Result<_, _>>()?,
        })
    }
}

fn element(c: &mut Compact<'_>) -> Option<Element> {
    let mut out = Element::default();
    c.fields(|c, number, kind| {
        match number {
            1 => out.physical = Some(c.int()?),
            2 => out.length = c.int()?,
            3 => out.repetition = c.int()?,
            4 => out.name = c.text()?,
            5 => out.children = c.int()?,
            6 => out.converted = Some(c.int()?),
            7 => out.scale = c.int()?,
            10 => out.logical = logical(c)?,
            _ => c.skip(kind, 0)?,
        }
        Some(())
    })?;
    Some(out)
}

/// The annotation of a column; inner `None`: one that changes nothing for us.
#[expect(clippy::option_option, reason = "malformed and unknown are different")]
fn logical(c: &mut Compact<'_>) -> Option<Option<Logical>> {
    let mut out = None;
    c.fields(|c, number, kind| {
        out = match number {
            1 | 4 | 12 => Some(Logical::Text),
            2 => Some(Logical::Map),
            3 => Some(Logical::List),
            6 => Some(Logical::Date),
            14 => Some(Logical::Uuid),
            15 => Some(Logical::Half),
            5 => {
                let mut scale = 0;
                c.fields(|c, number, kind| match number {
                    1 => c.int().map(|n| scale = n),
                    _ => c.skip(kind, 0),
                })?;
                out = Some(Logical::Decimal(u32::try_from(scale).ok()?));
                return Some(());
            }
            7 | 8 => {
                let (parts, utc) = time(c)?;
                out = Some(match number {
                    7 => Logical::Time(parts),
                    _ => Logical::Timestamp(parts, utc),
                });
                return Some(());
            }
            10 => {
                let mut signed = true;
                c.fields(|c, number, kind| match number {
                    2 => Compact::flag(kind).map(|yes| signed = yes),
                    _ => c.skip(kind, 0),
                })?;
                out = (!signed).then_some(Logical::Unsigned);
                return Some(());
            }
            _ => None,
        };
        c.skip(kind, 0)
    })?;
    Some(out)
}

/// Parts of a second, and whether it is UTC.
fn time(c: &mut Compact<'_>) -> Option<(u32, bool)> {
    let (mut parts, mut utc) = (1_000, false);
    c.fields(|c, number, kind| match number {
        1 => Compact::flag(kind).map(|yes| utc = yes),
        2 => c.fields(|c, unit, kind| {
            parts = match unit {
                1 => 1_000,
                2 => 1_000_000,
                _ => 1_000_000_000,
            };
            c.skip(kind, 0)
        }),
        _ => c.skip(kind, 0),
    })?;
    Some((parts, utc))
}

fn group(c: &mut Compact<'_>) -> Option<RawGroup> {
    let mut out = RawGroup::default();
    c.fields(|c, number, kind| match number {
        1 => c.structs(kind, |c, _| {
            out.chunks.push(chunk(c)?);
            Some(())
        }),
        3 => c.int().map(|n| out.rows = n),
        _ => c.skip(kind, 0),
    })?;
    Some(out)
}

fn chunk(c: &mut Compact<'_>) -> Option<RawChunk> {
    let mut out = RawChunk::default();
    c.fields(|c, number, kind| match number {
        1 => {
            out.elsewhere = true;
            c.skip(kind, 0)
        }
        3 => c.fields(|c, number, kind| {
            match number {
                4 => out.codec = c.int()?,
                7 => out.compressed = c.int()?,
                9 => out.data = c.int()?,
                11 => out.dictionary = Some(c.int()?),
                _ => c.skip(kind, 0)?,
            }
            Some(())
        }),
        _ => c.skip(kind, 0),
    })?;
    Some(out)
}

/// So many columns from the list of all, each with what is nested in it.
fn nodes(
    elements: &mut impl Iterator<Item = Element>,
    leaves: &mut Vec<Leaf>,
    count: i64,
    (depth, def, rep): (usize, u8, u8),
) -> Result<Vec<Node>, Refusal> {
    if depth > DEPTH_MAX {
        return Err(beyond("its columns are nested too deep"));
    }
    let mut out = Vec::new();
    for _ in 0..count {
        let element = elements
            .next()
            .ok_or_else(|| invalid("its schema ends early"))?;
        let (repetition, max_def, max_rep) = match element.repetition {
            0 => (Repetition::Required, def, rep),
            1 => (Repetition::Optional, def + 1, rep),
            2 => (Repetition::Repeated, def + 1, rep + 1),
            _ => return Err(invalid("a column neither has to be there nor may")),
        };
        let first = leaves.len();
        let logical = meaning(&element);
        let inside = match element.physical {
            None => nodes(
                elements,
                leaves,
                element.children,
                (depth + 1, max_def, max_rep),
            )?,
            Some(kind) => {
                leaves.push(Leaf {
                    physical: physical(kind, element.length)?,
                    logical,
                    max_def,
                    max_rep,
                });
                Vec::new()
            }
        };
        if leaves.len() == first {
            return Err(invalid("a column has nothing in it"));
        }
        out.push(Node {
            label: format!("{}:", serde_json::Value::from(element.name.as_str())),
            name: element.name,
            element: element.raw,
            repetition,
            logical,
            max_def,
            max_rep,
            leaves: first..leaves.len(),
            inside,
        });
    }
    Ok(out)
}

fn physical(kind: i64, length: i64) -> Result<Physical, Refusal> {
    Ok(match kind {
        0 => Physical::Bool,
        1 => Physical::Int32,
        2 => Physical::Int64,
        3 => Physical::Int96,
        4 => Physical::Float,
        5 => Physical::Double,
        6 => Physical::Bytes,
        7 if (1..=FIXED_BYTES_MAX).contains(&length) => {
            Physical::Fixed(usize::try_from(length).unwrap_or(1))
        }
        _ => return Err(invalid("a column is of no type")),
    })
}

/// What a column means: by its annotation, or by that of older writers.
fn meaning(element: &Element) -> Logical {
    if let Some(logical) = element.logical {
        return logical;
    }
    match element.converted {
        Some(0 | 4 | 19) => Logical::Text,
        Some(1 | 2) => Logical::Map,
        Some(3) => Logical::List,
        Some(5) => Logical::Decimal(u32::try_from(element.scale).unwrap_or(0)),
        Some(6) => Logical::Date,
        Some(7) => Logical::Time(1_000),
        Some(8) => Logical::Time(1_000_000),
        Some(9) => Logical::Timestamp(1_000, true),
        Some(10) => Logical::Timestamp(1_000_000, true),
        Some(11..=14) => Logical::Unsigned,
        _ => Logical::Plain,
    }
}
