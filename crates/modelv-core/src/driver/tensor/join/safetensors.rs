//! safetensors: tensors and the free text of the header, each by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::super::{Header, Tensor, read_safetensors};
use super::{File, Part, Stop, Three, copy, decide, open, take};
use crate::weights::write_table;

pub(super) fn merge(three: Three<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    let mut texts = Vec::with_capacity(3);
    let mut files = Vec::with_capacity(3);
    for source in three {
        let header = read_safetensors(source)?;
        let parts = parts(&header);
        texts.push(header.metadata);
        files.push(File { source, parts });
    }
    let (Ok(texts), Ok(mut all)) = (<[_; 3]>::try_from(texts), <[_; 3]>::try_from(files)) else {
        return open("it has no sides");
    };
    let metadata = metadata(&texts)?;
    let rows = take(&mut all, "tensor")?;
    let table: Vec<(&str, &Tensor)> = rows
        .iter()
        .map(|row| (row.part.name.as_str(), &row.part.info))
        .collect();
    write_table(&metadata, &table, out)?;
    for row in &rows {
        copy(&mut all, row, out)?;
    }
    Ok(())
}

fn parts(header: &Header) -> Vec<Part<Tensor>> {
    let part = |name: &String| {
        let tensor = &header.tensors[name];
        Part {
            name: name.clone(),
            kind: tensor.kind.to_string(),
            offset: tensor.offset,
            bytes: tensor.bytes,
            info: tensor.clone(),
        }
    };
    header.in_order().into_iter().map(part).collect()
}

/// The merged free text of the header.
fn metadata(all: &[BTreeMap<String, String>; 3]) -> Result<BTreeMap<String, String>, Stop> {
    let keys: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let mut out = BTreeMap::new();
    for key in keys {
        let values = all.each_ref().map(|texts| texts.get(key));
        let Some(side) = decide(values.each_ref()) else {
            return open(format!("both sides changed `{key}` of its metadata"));
        };
        out.extend(values[side].map(|v| (key.clone(), v.clone())));
    }
    Ok(out)
}
