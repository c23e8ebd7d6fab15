//! Merging two safetensors files of any size over their base by tensor: what one side alone added,
//! changed or removed is taken. A tensor that both changed differently is no matter for bytes.
//! Reads in pieces; must never hold a whole tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, SeekFrom, Write};

use super::{Header, Source, Tensor, TensorError, safetensors};
use crate::weights::write_table;

/// Base, ours or theirs.
struct File<'a> {
    source: &'a mut dyn Source,
    header: Header,
}

impl<'a> File<'a> {
    fn read(source: &'a mut dyn Source) -> Result<Self, TensorError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let header = safetensors::read(source, length)?;
        Ok(Self { source, header })
    }

    /// The bytes of a tensor.
    fn open(&mut self, tensor: &Tensor) -> io::Result<impl Read + '_> {
        self.source.seek(SeekFrom::Start(tensor.offset))?;
        Ok(self.source.take(tensor.bytes))
    }

    /// What makes two tensors the same; `None`: there is none of this name.
    fn content(&mut self, name: &str) -> io::Result<Option<Content>> {
        let Some(tensor) = self.header.tensors.get(name).cloned() else {
            return Ok(None);
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(self.open(&tensor)?)?;
        let kind = (tensor.kind.dtype.clone(), tensor.kind.shape.clone());
        Ok(Some((kind.0, kind.1, *hasher.finalize().as_bytes())))
    }
}

type Content = (String, Vec<u64>, [u8; 32]);

/// The side to take; `None`: both changed it.
fn decide<T: PartialEq>(base: &T, ours: &T, theirs: &T) -> Option<bool> {
    match () {
        () if ours == theirs || base == theirs => Some(true),
        () if base == ours => Some(false),
        () => None,
    }
}

/// Writes the merged file; `false`: both sides changed the same tensor or fact, and nothing is
/// written.
pub(super) fn by_tensor(
    sides: [&mut dyn Source; 3],
    out: &mut dyn Write,
) -> Result<bool, TensorError> {
    let [base, ours, theirs] = sides;
    let mut all = [File::read(base)?, File::read(ours)?, File::read(theirs)?];
    let Some(metadata) = metadata(&all) else {
        return Ok(false);
    };
    // In the order of the base, then what came, by name: the same from both sides.
    let mut names: Vec<String> = all[0].header.in_order().into_iter().cloned().collect();
    let known: BTreeSet<&String> = names.iter().collect();
    let come = all[1..].iter().flat_map(|f| f.header.tensors.keys());
    let come: BTreeSet<String> = come.filter(|n| !known.contains(n)).cloned().collect();
    names.extend(come);
    let mut rows: Vec<(&str, Tensor, usize)> = Vec::new();
    for name in &names {
        let [b, o, t] = &mut all;
        let (b, o, t) = (b.content(name)?, o.content(name)?, t.content(name)?);
        let side = match decide(&b, &o, &t) {
            Some(true) => 1,
            Some(false) => 2,
            None => return Ok(false),
        };
        if let Some(tensor) = all[side].header.tensors.get(name) {
            rows.push((name, tensor.clone(), side));
        }
    }
    let table: Vec<(&str, &Tensor)> = rows.iter().map(|(name, t, _)| (*name, t)).collect();
    write_table(&metadata, &table, out)?;
    for (_, tensor, side) in &rows {
        io::copy(&mut all[*side].open(tensor)?, out)?;
    }
    Ok(true)
}

/// The merged free text of the header.
fn metadata(all: &[File<'_>; 3]) -> Option<BTreeMap<String, String>> {
    let keys: BTreeSet<&String> = all.iter().flat_map(|f| f.header.metadata.keys()).collect();
    let mut out = BTreeMap::new();
    for key in keys {
        let [b, o, t] = all.each_ref().map(|f| f.header.metadata.get(key));
        let value = if decide(&b, &o, &t)? { o } else { t };
        out.extend(value.map(|v| (key.clone(), v.clone())));
    }
    Some(out)
}
