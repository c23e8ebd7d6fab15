//! Tensors in files of several formats: compared one by one; files that were changed in different
//! tensors are merged (`join/`). Reads
//! through [`Source`] in pieces of a fixed size; headers are bounded and checked before anything
//! in them is believed. Nothing in such a file is ever executed or unpickled.

mod fields;
mod gguf;
mod join;
mod npy;
mod npz;
mod numbers;
mod onnx;
mod safetensors;
mod torch;
mod zip;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

pub(crate) use gguf::GgufHeader;
pub(super) use join::Stop;
pub(crate) use numbers::Number;
pub(crate) use onnx::OnnxFacts;
pub(crate) use zip::{Member, member_place, zip_members};

use super::{Change, Labels, Merged, Refusal, Rules, TensorChange, TensorKind, binary::Binary};

/// Files of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorFile {
    /// safetensors.
    Safetensors,
    /// One array of NumPy.
    Npy,
    /// Several arrays of NumPy, in a zip without compression.
    Npz,
    /// GGUF.
    Gguf,
    /// ONNX: the initializers of its graph.
    Onnx,
    /// A checkpoint of PyTorch, in a zip.
    Torch,
}

impl fmt::Display for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Gguf => "GGUF",
            Self::Onnx => "ONNX",
            Self::Torch => "a checkpoint of PyTorch",
        })
    }
}

/// Content that is read in pieces.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// A safetensors file, as far as its header tells.
pub(crate) struct Header {
    pub(crate) tensors: Tensors,
    /// Free text by name; empty where it is none.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Header {
    /// Names of the tensors in the order of the file.
    pub(crate) fn in_order(&self) -> Vec<&String> {
        let mut names: Vec<_> = self.tensors.keys().collect();
        names.sort_by_key(|name| (self.tensors[*name].offset, self.tensors[*name].bytes));
        names
    }
}

/// Reads the header of a safetensors file.
pub(crate) fn read_safetensors(source: &mut dyn Source) -> Result<Header, TensorError> {
    let size = source.seek(SeekFrom::End(0))?;
    safetensors::read(source, size)
}

/// A header of more bytes is refused.
const HEADER_BYTES_MAX: u64 = 8 << 20;

/// More tensors in one file are refused.
const TENSORS_MAX: usize = 1 << 20;

/// Why a file could not be compared by tensor.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// It is not what its name claims, or uses what we do not read.
    #[error("{0}")]
    Refused(Refusal),
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Refusal> for TensorError {
    fn from(from: Refusal) -> Self {
        Self::Refused(from)
    }
}

/// One tensor and where its numbers stand.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) kind: TensorKind,
    /// `None`: of a type whose numbers we do not read.
    pub(crate) number: Option<Number>,
    /// Whether columns are next to each other instead of rows.
    fortran: bool,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Bytes of a block, for a type whose numbers are quantised together.
    pub(crate) block: Option<u64>,
}

type Tensors = BTreeMap<String, Tensor>;

impl TensorFile {
    /// Merges files of any size by tensor. Nothing is written where somebody must decide.
    pub(super) fn join(
        self,
        sides: [&mut dyn Source; 3],
        out: &mut dyn io::Write,
    ) -> Result<(), Stop> {
        join::merge(self, sides, out)
    }

    /// Whether a file is what its name claims.
    pub(super) fn read(self, source: &mut dyn Source) -> Result<(), TensorError> {
        self.tensors(source).map(drop)
    }

    pub(super) fn claimed(name: &[u8]) -> Option<Self> {
        let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
        Some(match () {
            () if ends(".safetensors") => Self::Safetensors,
            () if ends(".npy") => Self::Npy,
            () if ends(".npz") => Self::Npz,
            () if ends(".gguf") => Self::Gguf,
            () if ends(".onnx") => Self::Onnx,
            () if [".pt", ".pth", ".ckpt"].into_iter().any(ends) => Self::Torch,
            () if name.starts_with(b"pytorch_model") && ends(".bin") => Self::Torch,
            () => return None,
        })
    }

    /// The format that the name of a file claims, if it is one of these.
    #[must_use]
    pub fn of_path(path: &[u8]) -> Option<Self> {
        Self::claimed(&super::file_name(path))
    }

    fn tensors(self, source: &mut dyn Source) -> Result<Tensors, TensorError> {
        let size = source.seek(SeekFrom::End(0))?;
        match self {
            Self::Safetensors => Ok(safetensors::read(source, size)?.tensors),
            Self::Npy => {
                let tensor = npy::read(source, 0, size)?;
                Ok(BTreeMap::from([("array".to_owned(), tensor)]))
            }
            Self::Npz => npz::read(source, size),
            Self::Gguf => Ok(GgufHeader::read(source, size)?.tensors),
            Self::Onnx => Ok(OnnxFacts::read(source, 0, size)?.tensors),
            Self::Torch => torch::read(source, size),
        }
    }

    /// Lists the tensors that differ; `None` is an absent file.
    ///
    /// # Errors
    /// A file can't be read, or is not what its name claims.
    pub fn diff<'s>(
        self,
        old: Option<&'s mut (dyn Source + 's)>,
        new: Option<&'s mut (dyn Source + 's)>,
    ) -> Result<Vec<Change>, TensorError> {
        let mut sides = [old, new];
        let [mut a, mut b] = [Tensors::new(), Tensors::new()];
        for (side, tensors) in sides.iter_mut().zip([&mut a, &mut b]) {
            if let Some(source) = side {
                *tensors = self.tensors(*source)?;
            }
        }
        let mut out = Vec::new();
        let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (x, y) = (a.get(name), b.get(name));
            let (mut numbers, mut blocks) = (None, None);
            if let (Some(x), Some(y)) = (x, y)
                && let [Some(old), Some(new)] = &mut sides
            {
                match compare(*old, x, *new, y)? {
                    Compared::Same => continue,
                    Compared::Numbers(found) => numbers = Some(found),
                    Compared::Blocks(changed, all) => blocks = Some((changed, all)),
                    Compared::Other => {}
                }
            }
            out.push(Change::Tensor(Box::new(TensorChange {
                name: name.clone(),
                old: x.map(|t| t.kind.clone()),
                new: y.map(|t| t.kind.clone()),
                numbers,
                blocks,
            })));
        }
        Ok(out)
    }
}

enum Compared {
    Same,
    Numbers(super::Numbers),
    Blocks(u64, u64),
    Other,
}

/// Numbers of two tensors are read in pieces of so many.
const PIECE: usize = 1 << 16;

fn compare(
    old: &mut dyn Source,
    x: &Tensor,
    new: &mut dyn Source,
    y: &Tensor,
) -> Result<Compared, TensorError> {
    if x.kind == y.kind && x.fortran == y.fortran && same_bytes(old, x, new, y)? {
        return Ok(Compared::Same);
    }
    if x.kind == y.kind
        && let Some(width) = x.block
    {
        return blocks(old, x, new, y, width);
    }
    let (Some(p), Some(q)) = (x.number, y.number) else {
        return Ok(Compared::Other);
    };
    if x.kind.shape != y.kind.shape || x.fortran != y.fortran {
        return Ok(Compared::Other);
    }
    let count = x.bytes / p.width() as u64;
    let mut sum = numbers::Sum::default();
    let (mut a, mut b) = (vec![0; PIECE * p.width()], vec![0; PIECE * q.width()]);
    let (mut u, mut v) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    let mut done = 0;
    while done < count {
        let n = usize::try_from(count - done).unwrap_or(PIECE).min(PIECE);
        let (a, b) = (&mut a[..n * p.width()], &mut b[..n * q.width()]);
        read_at(old, x.offset + done * p.width() as u64, a)?;
        read_at(new, y.offset + done * q.width() as u64, b)?;
        sum.add(
            p.decode(a, &mut u),
            q.decode(b, &mut v),
            p.is_whole() && p == q,
        );
        if p.is_whole() && p == q {
            sum.changed_raw(a, b, p.width());
        }
        done += n as u64;
    }
    Ok(Compared::Numbers(sum.finish(count)))
}

/// Counts the blocks that differ.
fn blocks(
    old: &mut dyn Source,
    x: &Tensor,
    new: &mut dyn Source,
    y: &Tensor,
    width: u64,
) -> Result<Compared, TensorError> {
    let step = (1 << 16) * width;
    let (mut changed, mut done) = (0u64, 0);
    let bytes = usize::try_from(step.min(x.bytes)).unwrap_or(0);
    let (mut a, mut b) = (vec![0; bytes], vec![0; bytes]);
    while done < x.bytes {
        let n = usize::try_from(x.bytes - done).unwrap_or(bytes).min(bytes);
        read_at(old, x.offset + done, &mut a[..n])?;
        read_at(new, y.offset + done, &mut b[..n])?;
        let width = usize::try_from(width).unwrap_or(1);
        let pairs = a[..n].chunks(width).zip(b[..n].chunks(width));
        changed += pairs.filter(|(a, b)| a != b).count() as u64;
        done += n as u64;
    }
    Ok(Compared::Blocks(changed, x.bytes / width))
}

fn same_bytes(
    old: &mut dyn Source,
    x: &Tensor,
    new: &mut dyn Source,
    y: &Tensor,
) -> Result<bool, TensorError> {
    if x.bytes != y.bytes {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut done = 0;
    while done < x.bytes {
        let n = usize::try_from(x.bytes - done)
            .unwrap_or(a.len())
            .min(a.len());
        read_at(old, x.offset + done, &mut a[..n])?;
        read_at(new, y.offset + done, &mut b[..n])?;
        if a[..n] != b[..n] {
            return Ok(false);
        }
        done += n as u64;
    }
    Ok(true)
}

pub(crate) fn read_at(source: &mut dyn Source, at: u64, into: &mut [u8]) -> io::Result<()> {
    source.seek(SeekFrom::Start(at))?;
    source.read_exact(into)?;
    Ok(())
}

/// Bytes that a tensor of this shape needs.
fn bytes_of(shape: &[u64], width: u64) -> Option<u64> {
    shape.iter().try_fold(width, |all, n| all.checked_mul(*n))
}

impl Rules for TensorFile {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        match self.tensors(&mut Cursor::new(content)) {
            Ok(_) => Ok(()),
            Err(TensorError::Refused(refusal)) => Err(refusal),
            Err(TensorError::Io(e)) => Err(Refusal::Invalid(e.to_string())),
        }
    }

    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        if let Some(base) = base {
            let mut bytes = Vec::new();
            let [mut b, mut o, mut t] = [base, ours, theirs].map(Cursor::new);
            let done = self.join([&mut b, &mut o, &mut t], &mut bytes);
            if done.is_ok() && self.check(&bytes).is_ok() {
                return Merged::clean(&bytes);
            }
        }
        Binary.merge(base, ours, theirs, labels)
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let (mut a, mut b) = (old.map(Cursor::new), new.map(Cursor::new));
        let changes = TensorFile::diff(
            *self,
            a.as_mut().map(|c| c as &mut dyn Source),
            b.as_mut().map(|c| c as &mut dyn Source),
        );
        match changes {
            Ok(changes) if !changes.is_empty() => changes,
            _ => Binary.diff(old, new),
        }
    }
}

#[cfg(test)]
mod tests;
