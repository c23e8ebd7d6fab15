//! Archives: npz by its arrays, checkpoints of PyTorch by their storages. Members are copied as they
//! are; of a checkpoint only the numbers are merged, never what its pickle says.

use std::io::Write;

use super::super::zip::{Archive, Member, member_place, zip_members};
use super::super::{Source, npz, torch};
use super::{File, Part, Stop, Three, copy, length, open, take};

/// Names all that PyTorch wrote at one time; not needed to read it.
const SERIAL: &str = ".data/serialization_id";
/// Where the numbers of a storage begin, so that they can be mapped.
const STORAGE_ALIGNMENT: u64 = 64;

fn read(source: &mut dyn Source) -> Result<File<'_, Member>, Stop> {
    let size = length(source)?;
    let mut parts = Vec::new();
    for member in zip_members(source, size)? {
        if member.is_encrypted() {
            return open("its members are encrypted");
        }
        let (offset, end) = member_place(source, size, &member)?;
        parts.push(Part {
            name: member.name.clone(),
            kind: format!("{} {}", member.method, member.plain),
            offset,
            bytes: end - offset,
            info: member,
        });
    }
    parts.sort_by_key(|p| p.offset);
    Ok(File { source, parts })
}

fn three(three: Three<'_>) -> Result<[File<'_, Member>; 3], Stop> {
    let [b, o, t] = three;
    Ok([read(b)?, read(o)?, read(t)?])
}

fn write(
    all: &mut [File<'_, Member>; 3],
    alignment: u64,
    what: &str,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let rows = take(all, what)?;
    let mut archive = Archive::new(out, alignment);
    for row in &rows {
        archive.member(&row.part.info, row.part.bytes)?;
        copy(all, row, archive.body())?;
    }
    Ok(archive.finish()?)
}

pub(super) fn merge_arrays(mut sides: Three<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    for source in &mut sides {
        let size = length(*source)?;
        npz::read(*source, size)?;
    }
    write(&mut three(sides)?, 1, "array", out)
}

pub(super) fn merge_storages(mut sides: Three<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    for source in &mut sides {
        let size = length(*source)?;
        torch::read(*source, size)?;
    }
    let mut all = three(sides)?;
    let pickles = all.each_mut().map(|file| {
        let at = file.parts.iter().position(|p| p.name.ends_with("data.pkl"));
        let name = at.map(|at| file.parts[at].name.clone());
        file.content(at).map(|content| (name, content))
    });
    let [b, o, t] = pickles;
    let (b, o, t) = (b?, o?, t?);
    if b != o || o != t {
        return open("what its pickle says differs");
    }
    let folder = o.0.unwrap_or_default();
    let serial = format!("{}{SERIAL}", folder.trim_end_matches("data.pkl"));
    for file in &mut all {
        file.parts.retain(|p| p.name != serial);
    }
    write(&mut all, STORAGE_ALIGNMENT, "storage", out)
}
