//! Files that are too large for memory, merged where their format can be read in pieces: tables row
//! by row, files of tensors tensor by tensor. Must never hold a file.

use std::io::{BufWriter, Write};

use super::table::{AsSource, Joined, Room, Scratch, TableError};
use super::tensor::Stop;
use super::{Item, Labels, Refusal, Source, TensorError, TensorFile, claimed, table_of_path};

fn beyond(text: impl Into<String>) -> TableError {
    Refusal::Beyond(text.into()).into()
}

/// Merges three versions of a file by the rules of what its name claims; `None`: absent. A declared
/// `key` names the rows of a table.
///
/// # Errors
/// A version can't be read or is not what the name claims, or the format is not merged in pieces.
pub fn merge_large(
    path: &[u8],
    key: Option<&str>,
    sides: [Option<&mut dyn Source>; 3],
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    if let Some(format) = TensorFile::of_path(path) {
        return tensors(format, sides, room);
    }
    match table_of_path(path).and_then(|driver| driver.table(key)) {
        Some(table) => table.join(sides, labels, room),
        None => {
            let called = claimed(path).map(|(_, called)| called);
            let called = called.unwrap_or_else(|| "this format".into());
            Err(beyond(format!("{called} is merged in memory only")))
        }
    }
}

fn tensors(
    format: TensorFile,
    sides: [Option<&mut dyn Source>; 3],
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    let [Some(base), Some(ours), Some(theirs)] = sides else {
        return Err(beyond("both sides added it"));
    };
    let mut content = room.file()?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut content);
    let merged = format.join([base, ours, theirs], &mut out);
    out.flush()?;
    drop(out);
    match merged {
        Ok(()) => {}
        Err(Stop::Open(why)) => return Err(beyond(why)),
        Err(Stop::Failed(e)) => return Err(failed(e)),
    }
    format.read(&mut AsSource(&mut *content)).map_err(failed)?;
    let conflicts = Vec::new();
    Ok(Joined { content, conflicts })
}

fn failed(e: TensorError) -> TableError {
    match e {
        TensorError::Io(e) => e.into(),
        TensorError::Refused(refusal) => refusal.into(),
    }
}

/// Puts decisions into a table of any size; `None` removes a row.
///
/// # Errors
/// It is no table, has no such rows, or can't be read.
pub fn settle_large(
    path: &[u8],
    current: &mut dyn Source,
    decisions: &[(Item, Option<String>)],
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let table = table_of_path(path).and_then(|driver| driver.table(None));
    let table = table.ok_or_else(|| beyond("only rows of a table are decided in it"))?;
    let mut rows = Vec::with_capacity(decisions.len());
    for (item, value) in decisions {
        match item {
            Item::Key(key) => rows.push((key.as_str(), value.as_deref())),
            _ => return Err(beyond("a table has no such part")),
        }
    }
    table.settle_large(current, &rows, room)
}
