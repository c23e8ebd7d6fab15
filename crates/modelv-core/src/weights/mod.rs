//! Merging weights: several safetensors files of one architecture become one, tensor by tensor.
//!
//! Owns the methods ([`Kind`]), their arithmetic and the file they make. One tensor of every side is
//! in memory at a time, never a file. The result has the types, shapes, order and metadata of the
//! first model, and says in its metadata how it was made ([`RECORD_KEY`]). Models that do not fit
//! are reported by the names of their tensors ([`WeightsError::Conflicts`]); nothing is guessed.
//!
//! Numbers that are not finite: where all sides have the same bits they stay (a mask of -inf is no
//! accident); anywhere else a NaN or an infinity on any side makes NaN, takes no part in norms, angles
//! and rankings, and is counted. What is too large for its type becomes infinite and is counted.
//! Whole numbers, booleans and 8-bit floats are no subject of arithmetic: they must be the same.

mod method;
mod rules;
mod slab;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

pub use method::{Kind, Method, MethodError};

use crate::driver::tensor::{Header, Source, Tensor, TensorError, read_at, read_safetensors};
use slab::Slab;

/// Under this key the metadata of a result says how it was made.
pub const RECORD_KEY: &str = "modelv.merge";

/// Conflicts that are told by name; the others are counted.
const CONFLICTS_SHOWN: usize = 20;

/// One file that takes part.
pub struct Side<'a> {
    /// What people call it.
    pub label: String,
    /// Its content.
    pub source: Box<dyn Source + 'a>,
}

/// The files that take part: models in their order, then the base where there is one.
pub struct Sides<'a> {
    all: Vec<Side<'a>>,
    models: usize,
}

impl<'a> Sides<'a> {
    /// Puts them together.
    #[must_use]
    pub fn new(models: Vec<Side<'a>>, base: Option<Side<'a>>) -> Self {
        let (count, mut all) = (models.len(), models);
        all.extend(base);
        Self { all, models: count }
    }

    fn has_base(&self) -> bool {
        self.all.len() > self.models
    }
}

/// What came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tensors of the result.
    pub tensors: u64,
    /// Those that all sides had alike.
    pub same: u64,
    /// Numbers of the result that are NaN because a side had no finite one there.
    pub not_finite: u64,
    /// Numbers that were too large for their type.
    pub overflows: u64,
}

/// Why weights were not merged.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file is no safetensors, or can't be read.
    #[error("`{label}`: {source}")]
    File {
        /// Which.
        label: String,
        /// Why not.
        source: TensorError,
    },
    /// The models do not fit.
    #[error("the models do not fit: {}", told(.0))]
    Conflicts(Vec<String>),
    /// The method can't be used on these.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The method adds to a base, and there is none.
    #[error("{0} adds to a base, and none is given")]
    NoBase(&'static str),
    /// The base that was found is one of the models: nothing would be added to it.
    #[error("{0} adds to a base, and the file of the merge base is one of the models")]
    OwnBase(&'static str),
    /// There is a base, and the method knows none.
    #[error("{0} takes no base")]
    Base(&'static str),
    /// The result can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn told(conflicts: &[String]) -> String {
    let mut out = String::new();
    for text in conflicts.iter().take(CONFLICTS_SHOWN) {
        let _ = write!(out, "\n  {text}");
    }
    if conflicts.len() > CONFLICTS_SHOWN {
        let _ = write!(out, "\n  and {} more", conflicts.len() - CONFLICTS_SHOWN);
    }
    out
}

/// Merges files into `out`. `record` is how the result says it was made; `tick` is called with the
/// bytes of every tensor that is done, and may stop the work.
///
/// # Errors
/// A side is no safetensors file, they do not fit, or the disk. What was written then is no file.
pub fn merge(
    method: &Method,
    sides: &mut Sides<'_>,
    record: &str,
    out: &mut dyn Write,
    tick: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<Tally, WeightsError> {
    let weights = method.weights_of(sides.models)?;
    match (method.kind.needs_base(), sides.has_base()) {
        (true, false) => return Err(WeightsError::NoBase(method.kind.word())),
        (false, true) => return Err(WeightsError::Base(method.kind.word())),
        _ => {}
    }
    let headers = headers(sides)?;
    let misfits = misfits(&headers, sides);
    if !misfits.is_empty() {
        return Err(WeightsError::Conflicts(misfits));
    }
    write_header(&headers[0], record, out)?;
    let mut tally = Tally::default();
    let mut conflicts = Vec::new();
    for name in headers[0].in_order() {
        let places: Vec<&Tensor> = headers.iter().map(|h| &h.tensors[name]).collect();
        match one(method, &weights, name, sides, &places, &mut tally)? {
            Some(bytes) if conflicts.is_empty() => out.write_all(&bytes)?,
            Some(_) => {}
            None => conflicts.push(format!(
                "`{name}`: {} can't be averaged, and differs",
                places[0].kind
            )),
        }
        tally.tensors += 1;
        tick(places[0].bytes)?;
    }
    if !conflicts.is_empty() {
        return Err(WeightsError::Conflicts(conflicts));
    }
    out.flush()?;
    Ok(tally)
}

/// How a file says that it was merged, if it is one that [`merge`] wrote.
pub fn record_of(source: &mut dyn Source) -> Option<String> {
    read_safetensors(source).ok()?.metadata.remove(RECORD_KEY)
}

fn headers(sides: &mut Sides<'_>) -> Result<Vec<Header>, WeightsError> {
    let read = |side: &mut Side<'_>| {
        read_safetensors(&mut *side.source).map_err(|source| WeightsError::File {
            label: side.label.clone(),
            source,
        })
    };
    sides.all.iter_mut().map(read).collect()
}

/// The bytes of one tensor of the result; `None`: it differs and can't be merged.
fn one(
    method: &Method,
    weights: &[f64],
    name: &str,
    sides: &mut Sides<'_>,
    places: &[&Tensor],
    tally: &mut Tally,
) -> io::Result<Option<Vec<u8>>> {
    let Some(number) = places[0].number.filter(|n| !n.is_whole()) else {
        let bytes = untouched(sides, places)?;
        tally.same += u64::from(bytes.is_some());
        return Ok(bytes);
    };
    let slab = Slab::read(number, sides, places)?;
    Ok(Some(match slab.same() {
        Some(same) => {
            tally.same += 1;
            same.to_vec()
        }
        None => rules::apply(method, weights, name, &slab, tally),
    }))
}

/// The bytes of a tensor that is no subject of arithmetic, if all models have the same; what the
/// base has does not matter then.
fn untouched(sides: &mut Sides<'_>, places: &[&Tensor]) -> io::Result<Option<Vec<u8>>> {
    let mut first: Option<Vec<u8>> = None;
    let models = sides.models;
    for (side, tensor) in sides.all.iter_mut().take(models).zip(places) {
        let bytes = raw(side, tensor)?;
        match &first {
            Some(first) if *first != bytes => return Ok(None),
            Some(_) => {}
            None => first = Some(bytes),
        }
    }
    Ok(first)
}

/// A tensor as its file holds it.
fn raw(side: &mut Side<'_>, tensor: &Tensor) -> io::Result<Vec<u8>> {
    // A header is checked against the size of its file: there are so many bytes.
    let mut bytes = vec![0; usize::try_from(tensor.bytes).unwrap_or(usize::MAX)];
    read_at(&mut *side.source, tensor.offset, &mut bytes)?;
    Ok(bytes)
}

/// What keeps files from being merged, by the names of tensors. The base may have more.
fn misfits(headers: &[Header], sides: &Sides<'_>) -> Vec<String> {
    let mut names: Vec<&String> = headers[..sides.models]
        .iter()
        .flat_map(|h| h.tensors.keys())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let mut lacks = Vec::new();
        let mut kinds = BTreeMap::new();
        for (header, side) in headers.iter().zip(&sides.all) {
            match header.tensors.get(name) {
                Some(tensor) => {
                    kinds.entry(tensor.kind.to_string()).or_insert(&side.label);
                }
                None => lacks.push(side.label.as_str()),
            }
        }
        if !lacks.is_empty() {
            out.push(format!("`{name}` is missing in {}", lacks.join(", ")));
        } else if kinds.len() > 1 {
            let kinds: Vec<String> = kinds.iter().map(|(k, l)| format!("{k} in {l}")).collect();
            out.push(format!("`{name}` is {}", kinds.join(", ")));
        }
    }
    out
}

/// Writes the header of the first model, with the record in its metadata.
fn write_header(first: &Header, record: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut metadata = first.metadata.clone();
    metadata.insert(RECORD_KEY.to_owned(), record.to_owned());
    let rows = first.in_order().into_iter();
    let rows: Vec<(&str, &Tensor)> = rows.map(|n| (n.as_str(), &first.tensors[n])).collect();
    write_table(&metadata, &rows, out)
}

/// Writes the header of a file with these tensors, one after the other, padded so that numbers begin
/// at a multiple of eight.
pub(crate) fn write_table(
    metadata: &BTreeMap<String, String>,
    rows: &[(&str, &Tensor)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let quoted = |text: &str| serde_json::to_string(text).map_err(io::Error::from);
    let pairs: Vec<String> = metadata
        .iter()
        .map(|(k, v)| Ok(format!("{}:{}", quoted(k)?, quoted(v)?)))
        .collect::<io::Result<_>>()?;
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        entries.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut at = 0;
    for (name, tensor) in rows {
        let shape: Vec<String> = tensor.kind.shape.iter().map(u64::to_string).collect();
        entries.push(format!(
            "{}:{{\"dtype\":{},\"shape\":[{}],\"data_offsets\":[{at},{}]}}",
            quoted(name)?,
            quoted(&tensor.kind.dtype)?,
            shape.join(","),
            at + tensor.bytes
        ));
        at += tensor.bytes;
    }
    let text = format!("{{{}}}", entries.join(","));
    let padded = text.len().next_multiple_of(8);
    let text = format!("{text:padded$}");
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())
}
