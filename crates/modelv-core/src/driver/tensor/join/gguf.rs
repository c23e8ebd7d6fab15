//! GGUF: tensors and the values before them, each by name; tensors stand at new offsets, aligned as the
//! merged values say.

use std::io::{self, Write};

use super::super::gguf::{DEFAULT_ALIGNMENT, GgufHeader, Value, kind_number};
use super::super::{Tensor, read_at};
use super::{File, Part, Stop, Taken, Three, copy, decide, length, open, take};

const ALIGNMENT: &str = "general.alignment";

pub(super) fn merge(mut three: Three<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    let mut headers = Vec::with_capacity(3);
    for source in &mut three {
        let size = length(*source)?;
        headers.push(GgufHeader::read(*source, size)?);
    }
    let Ok(headers) = <[_; 3]>::try_from(headers) else {
        return open("it has no sides");
    };
    let Some(side) = decide(headers.each_ref().map(|h: &GgufHeader| &h.version)) else {
        return open("both sides changed its version");
    };
    // Both are decided before anything is written.
    let rows = take(
        &mut files(&mut three, headers.each_ref().map(tensors)),
        "tensor",
    )?;
    let mut all = files(&mut three, headers.each_ref().map(values));
    let facts = take(&mut all, "value")?;
    let alignment = alignment(&mut all, &facts)?;
    let mut head = Head(b"GGUF".to_vec());
    head.0.extend(headers[side].version.to_le_bytes());
    head.0.extend((rows.len() as u64).to_le_bytes());
    head.0.extend((facts.len() as u64).to_le_bytes());
    for fact in &facts {
        head.text(&fact.part.name);
        head.0.extend(fact.part.info.kind.to_le_bytes());
        copy(&mut all, fact, &mut head.0)?;
    }
    let mut at = 0u64;
    for Taken { part, .. } in &rows {
        head.tensor(part, at)?;
        at += part.bytes.next_multiple_of(alignment);
    }
    let whole = (head.0.len() as u64).next_multiple_of(alignment);
    head.0.resize(usize::try_from(whole).unwrap_or(0), 0);
    out.write_all(&head.0)?;
    let mut all = files(&mut three, headers.each_ref().map(tensors));
    for row in &rows {
        copy(&mut all, row, out)?;
        let gap = row.part.bytes.next_multiple_of(alignment) - row.part.bytes;
        io::copy(&mut io::Read::take(io::repeat(0), gap), out)?;
    }
    Ok(())
}

fn files<'x, T>([b, o, t]: &'x mut Three<'_>, [x, y, z]: [Vec<Part<T>>; 3]) -> [File<'x, T>; 3] {
    let file = |source, parts| File { source, parts };
    [file(&mut **b, x), file(&mut **o, y), file(&mut **t, z)]
}

/// What stands before the tensors.
struct Head(Vec<u8>);

impl Head {
    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn tensor(&mut self, part: &Part<Tensor>, at: u64) -> Result<(), Stop> {
        let kind = &part.info.kind;
        let number = kind_number(&kind.dtype);
        let number = number.ok_or_else(|| super::bad("a tensor is of an unknown type".into()))?;
        self.text(&part.name);
        self.0.extend((kind.shape.len() as u32).to_le_bytes());
        kind.shape
            .iter()
            .for_each(|n| self.0.extend(n.to_le_bytes()));
        self.0.extend(number.to_le_bytes());
        self.0.extend(at.to_le_bytes());
        Ok(())
    }
}

/// How the merged values have tensors aligned.
fn alignment(all: &mut [File<'_, Value>; 3], facts: &[Taken<Value>]) -> Result<u64, Stop> {
    let Some(fact) = facts.iter().find(|f| f.part.name == ALIGNMENT) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    if !fact.part.info.is_u32() {
        return Ok(DEFAULT_ALIGNMENT);
    }
    let mut bytes = [0; 4];
    read_at(all[fact.side].source, fact.part.offset, &mut bytes)?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

fn values(header: &GgufHeader) -> Vec<Part<Value>> {
    let part = |value: &Value| Part {
        name: value.key.clone(),
        kind: value.kind.to_string(),
        offset: value.start,
        bytes: value.end - value.start,
        info: value.clone(),
    };
    header.values.iter().map(part).collect()
}

fn tensors(header: &GgufHeader) -> Vec<Part<Tensor>> {
    let part = |(name, tensor): (&String, &Tensor)| Part {
        name: name.clone(),
        kind: tensor.kind.to_string(),
        offset: tensor.offset,
        bytes: tensor.bytes,
        info: tensor.clone(),
    };
    let mut out: Vec<_> = header.tensors.iter().map(part).collect();
    out.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    out
}
