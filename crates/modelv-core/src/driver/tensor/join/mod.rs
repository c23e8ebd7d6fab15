//! Merging two files of tensors of any size over their base part by part: what one side alone added,
//! changed or removed is taken. A part that both changed differently is no matter for bytes. What a
//! part is, and how a file is put together, says each format. Reads in pieces; must never hold a whole
//! tensor, nor write before it is known that nothing is left to decide.

mod archive;
mod gguf;
mod onnx;
mod safetensors;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, SeekFrom, Write};

use super::super::Refusal;
use super::{Source, TensorError, TensorFile};

/// Why two files are not merged.
#[derive(Debug)]
pub(in super::super) enum Stop {
    /// Somebody must decide, for this reason.
    Open(String),
    /// One can't be read, or is not what its name claims.
    Failed(TensorError),
}

impl<E: Into<TensorError>> From<E> for Stop {
    fn from(from: E) -> Self {
        Self::Failed(from.into())
    }
}

fn open<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Open(why.into()))
}

fn bad(text: String) -> Stop {
    TensorError::from(Refusal::Invalid(text)).into()
}

/// Base, ours and theirs.
type Three<'a> = [&'a mut dyn Source; 3];

/// A part of a file that is taken from one side as it is.
#[derive(Clone)]
struct Part<T> {
    name: String,
    /// What makes it the same as another, beside its bytes.
    kind: String,
    offset: u64,
    bytes: u64,
    /// What it takes to write it.
    info: T,
}

/// Base, ours or theirs, with its parts in their order.
struct File<'a, T> {
    source: &'a mut dyn Source,
    parts: Vec<Part<T>>,
}

/// A part of the result, and the side that it comes from.
struct Taken<T> {
    part: Part<T>,
    side: usize,
}

impl<T> File<'_, T> {
    /// What makes two parts the same; `None`: there is none.
    fn content(&mut self, at: Option<usize>) -> io::Result<Option<(String, blake3::Hash)>> {
        let Some(at) = at else {
            return Ok(None);
        };
        let (offset, bytes) = (self.parts[at].offset, self.parts[at].bytes);
        let mut hasher = blake3::Hasher::new();
        self.source.seek(SeekFrom::Start(offset))?;
        hasher.update_reader((&mut *self.source).take(bytes))?;
        Ok(Some((self.parts[at].kind.clone(), hasher.finalize())))
    }
}

/// The side to take; `None`: both changed it.
fn decide<T: PartialEq>([base, ours, theirs]: [&T; 3]) -> Option<usize> {
    match () {
        () if ours == theirs || base == theirs => Some(1),
        () if base == ours => Some(2),
        () => None,
    }
}

/// So many names of parts that both changed are told.
const TOLD: usize = 3;

/// The parts of the result, in the order of the base, then what came, by name: the same from both
/// sides. `what` is what people call a part.
fn take<T: Clone>(all: &mut [File<'_, T>; 3], what: &str) -> Result<Vec<Taken<T>>, Stop> {
    let mut places: [HashMap<String, usize>; 3] = Default::default();
    for (file, places) in all.iter().zip(&mut places) {
        for (at, part) in file.parts.iter().enumerate() {
            if places.insert(part.name.clone(), at).is_some() {
                return Err(bad(format!("two {what}s are called `{}`", part.name)));
            }
        }
    }
    let mut names: Vec<String> = all[0].parts.iter().map(|p| p.name.clone()).collect();
    let come = all[1..].iter().flat_map(|f| &f.parts);
    let come: BTreeSet<&String> = come.map(|p| &p.name).collect();
    let come = come.into_iter().filter(|n| !places[0].contains_key(*n));
    names.extend(come.cloned());
    let mut out = Vec::with_capacity(names.len());
    let mut fought = Vec::new();
    for name in names {
        let at = places.each_ref().map(|p| p.get(&name).copied());
        let [b, o, t] = &mut *all;
        let found = [b.content(at[0])?, o.content(at[1])?, t.content(at[2])?];
        match decide(found.each_ref()) {
            None if fought.len() == TOLD => break,
            None => fought.push(format!("`{name}`")),
            Some(side) => out.extend(at[side].map(|at| {
                let part = all[side].parts[at].clone();
                Taken { part, side }
            })),
        }
    }
    if fought.is_empty() {
        return Ok(out);
    }
    let more = if fought.len() == TOLD { " …" } else { "" };
    open(format!(
        "both sides changed the same {what}s: {}{more}",
        fought.join(", ")
    ))
}

/// Writes the bytes of a part.
fn copy<T>(all: &mut [File<'_, T>; 3], taken: &Taken<T>, out: &mut dyn Write) -> io::Result<()> {
    let Part { offset, bytes, .. } = taken.part;
    copy_range(all[taken.side].source, (offset, bytes), out)
}

fn copy_range(
    source: &mut dyn Source,
    (offset, bytes): (u64, u64),
    out: &mut dyn Write,
) -> io::Result<()> {
    source.seek(SeekFrom::Start(offset))?;
    if io::copy(&mut (&mut *source).take(bytes), out)? != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn length(source: &mut dyn Source) -> io::Result<u64> {
    source.seek(SeekFrom::End(0))
}

/// Writes the merged file.
pub(super) fn merge(format: TensorFile, three: Three<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    match format {
        TensorFile::Safetensors => safetensors::merge(three, out),
        TensorFile::Npz => archive::merge_arrays(three, out),
        TensorFile::Torch => archive::merge_storages(three, out),
        TensorFile::Gguf => gguf::merge(three, out),
        TensorFile::Onnx => onnx::merge(three, out),
        TensorFile::Npy => open("it is one array"),
    }
}
