//! Merging two safetensors files over their base by tensor: what one side alone added, changed or
//! removed is taken. A tensor that both changed differently is no matter for bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use super::{Header, Tensor, safetensors};
use crate::weights::write_table;

struct File<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl<'a> File<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = safetensors::read(&mut Cursor::new(bytes), bytes.len() as u64).ok()?;
        Some(Self { bytes, header })
    }

    fn get(&self, name: &str) -> Option<(&Tensor, &'a [u8])> {
        let tensor = self.header.tensors.get(name)?;
        let start = usize::try_from(tensor.offset).ok()?;
        let len = usize::try_from(tensor.bytes).ok()?;
        Some((tensor, self.bytes.get(start..start + len)?))
    }

    fn content(&self, name: &str) -> Content<'_> {
        self.get(name)
            .map(|(t, bytes)| (t.kind.dtype.as_str(), t.kind.shape.as_slice(), bytes))
    }
}

/// What makes two tensors the same.
type Content<'a> = Option<(&'a str, &'a [u64], &'a [u8])>;

/// The side to take; `None`: both changed it.
fn decide<T: PartialEq>(base: &T, ours: &T, theirs: &T) -> Option<bool> {
    match () {
        () if ours == theirs || base == theirs => Some(true),
        () if base == ours => Some(false),
        () => None,
    }
}

/// The merged file; `None` where both sides changed the same tensor or fact.
pub(super) fn by_tensor(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let [base, ours, theirs] = [base, ours, theirs].map(File::read);
    let (base, ours, theirs) = (base?, ours?, theirs?);
    let all = [&base, &ours, &theirs];
    let keys: BTreeSet<&String> = all.iter().flat_map(|f| f.header.metadata.keys()).collect();
    let mut metadata = BTreeMap::new();
    for key in keys {
        let [b, o, t] = all.map(|f| f.header.metadata.get(key));
        let value = if decide(&b, &o, &t)? { o } else { t };
        metadata.extend(value.map(|v| (key.clone(), v.clone())));
    }
    // In the order of the base, then what came, by name: the same from both sides.
    let mut names: Vec<&String> = base.header.in_order();
    let known: BTreeSet<&String> = names.iter().copied().collect();
    let come = all[1..].iter().flat_map(|f| f.header.tensors.keys());
    let come: BTreeSet<&String> = come.filter(|n| !known.contains(n)).collect();
    names.extend(come);
    let (mut rows, mut body) = (Vec::new(), Vec::new());
    for name in names {
        let [b, o, t] = all.map(|f| f.content(name));
        let side = if decide(&b, &o, &t)? { &ours } else { &theirs };
        if let Some((tensor, bytes)) = side.get(name) {
            rows.push((name.as_str(), tensor));
            body.extend_from_slice(bytes);
        }
    }
    let mut out = Vec::with_capacity(body.len() + 4096);
    write_table(&metadata, &rows, &mut out).ok()?;
    out.extend(body);
    Some(out)
}
