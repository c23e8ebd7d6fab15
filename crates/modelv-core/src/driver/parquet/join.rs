//! Parquet merged row by row: the rows of all versions become lines of cells, which are merged as those
//! of any large table are; what comes out is written with the columns of the versions.

use std::io::{self, BufWriter, Write};

use super::super::table::{self, AsSource, Joined, Room, Scratch, Table, TableError};
use super::super::tensor::Source;
use super::super::{Item, Labels};
use super::cells::SEPARATOR;
use super::footer::{Footer, Repetition, beyond};
use super::rows::{self, Lines};
use super::write::{Column, Writer};

/// One version, as lines of cells.
struct Version {
    footer: Footer,
    lines: Box<dyn Scratch>,
}

fn open(source: &mut dyn Source, room: &mut dyn Room) -> Result<Version, TableError> {
    let mut lines = Lines::open_cells(source)?;
    let mut file = room.file()?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut file);
    let copied = io::copy(&mut lines, &mut out).and_then(|_| out.flush());
    copied.map_err(|e| rows::refusal_of(e.into()))?;
    drop(out);
    Ok(Version {
        footer: lines.footer,
        lines: file,
    })
}

impl Version {
    fn columns(&self) -> impl Iterator<Item = Column> {
        self.footer.columns.iter().map(|node| Column {
            name: node.name.clone(),
            element: node.element.clone(),
            repetition: node.repetition,
            leaf: self.footer.leaves[node.leaves.start],
        })
    }

    fn column(&self, name: &str) -> Option<Column> {
        self.columns().find(|c| c.name == name)
    }
}

fn table(key: Option<&str>) -> Table {
    Table {
        separator: Some(SEPARATOR),
        key: key.map(str::to_owned),
    }
}

/// Merges two versions over their base.
pub(in super::super) fn merge(
    key: Option<&str>,
    sides: [Option<&mut dyn Source>; 3],
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    let mut versions = Vec::with_capacity(3);
    for source in sides {
        versions.push(match source {
            Some(source) => Some(open(source, room)?),
            None => None,
        });
    }
    same_types(&versions)?;
    let mut all = versions.iter_mut().map(|version| {
        let lines = &mut version.as_mut()?.lines;
        Some(AsSource(&mut **lines))
    });
    let [mut b, mut o, mut t] = std::array::from_fn(|_| all.next().flatten());
    let lines = [&mut b, &mut o, &mut t].map(|s| s.as_mut().map(|s| s as &mut dyn Source));
    let Joined { content, conflicts } = table(key).join(lines, labels, room)?;
    drop(all);
    let content = write(content, &versions, room)?;
    Ok(Joined { content, conflicts })
}

/// Refuses columns of one name and several types.
fn same_types(versions: &[Option<Version>]) -> Result<(), TableError> {
    for one in versions.iter().flatten() {
        for column in one.columns() {
            for other in versions.iter().flatten() {
                let other = other.column(&column.name);
                let kind = |c: &Column| (c.leaf.physical, c.leaf.logical);
                if other.is_some_and(|o| kind(&o) != kind(&column)) {
                    let name = column.name;
                    let text = format!("its column `{name}` is not of one type in all versions");
                    return Err(beyond(text).into());
                }
            }
        }
    }
    Ok(())
}

/// Puts decisions into a file.
pub(in super::super) fn settle(
    current: &mut dyn Source,
    decisions: &[(Item, Option<String>)],
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let mut version = open(current, room)?;
    let mut lines = AsSource(&mut *version.lines);
    let done = table::settle_items(&table(None), &mut lines, decisions, room)?;
    write(done, &[Some(version)], room)
}

/// Writes lines of cells with the columns of these versions: base, ours and theirs, or the only one.
fn write(
    mut lines: Box<dyn Scratch>,
    versions: &[Option<Version>],
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let mut file = room.file()?;
    let mut writer: Option<Writer<'_>> = None;
    let mut out = Some(&mut *file);
    let mut header = Vec::new();
    table::each_row(
        SEPARATOR,
        &mut AsSource(&mut *lines),
        &mut |names, cells| {
            if writer.is_none()
                && let Some(out) = out.take()
            {
                header = names.to_vec();
                writer = Some(Writer::new(out, columns(names, versions)?)?);
            }
            match (&mut writer, cells) {
                (Some(writer), Some(cells)) => writer.row(cells),
                _ => Ok(()),
            }
        },
    )?;
    let done = writer.map(|writer| writer.finish(&facts(&header, versions)));
    done.transpose()?;
    Ok(file)
}

/// The column of each name: as the side has it that changed it.
fn columns(names: &[String], versions: &[Option<Version>]) -> Result<Vec<Column>, TableError> {
    let column = |name: &String| {
        let mut found: Vec<Column> = versions
            .iter()
            .flatten()
            .filter_map(|v| v.column(name))
            .collect();
        if found.len() == 3 && found[1].element == found[0].element {
            found.swap(0, 2);
        } else if found.len() == 3 && found[2].element == found[0].element {
            found.swap(0, 1);
        } else {
            found.sort_by(|a, b| a.element.cmp(&b.element));
        }
        // Where a value may be missing in one version, it may be in the result.
        let may = |c: &Column| c.repetition == Repetition::Optional;
        let at = match found.first() {
            Some(first) if !may(first) => found.iter().position(may).unwrap_or(0),
            _ => 0,
        };
        let none = || beyond(format!("no version has the column `{name}`"));
        found.into_iter().nth(at).ok_or_else(|| none().into())
    };
    names.iter().map(column).collect()
}

/// What the file says of itself, which names its columns: that of a version with the same columns, if
/// there is one.
fn facts(names: &[String], versions: &[Option<Version>]) -> Vec<u8> {
    let has = |v: &&Version| v.columns().map(|c| c.name).eq(names.iter().cloned());
    let mut found: Vec<&Version> = versions.iter().flatten().filter(has).collect();
    let first = found.first().map(|v| v.footer.facts.clone());
    if found.len() == versions.len() {
        // What a side changed, if only one did.
        found.retain(|v| Some(&v.footer.facts) != first.as_ref());
    }
    let changed = found.iter().map(|v| v.footer.facts.clone()).min();
    changed.or(first).unwrap_or_default()
}
