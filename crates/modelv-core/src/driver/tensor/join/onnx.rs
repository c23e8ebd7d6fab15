//! ONNX: the initializers of the graph by name; everything else is the graph, of which one side at most
//! may have changed anything.

use std::io::{self, Read, SeekFrom, Write};

use super::super::Source;
use super::super::onnx::{self, OnnxFacts};
use super::{File, Part, Stop, Taken, Three, copy, copy_range, decide, length, open, take};

/// The field of a model that is its graph.
const GRAPH: u64 = 7;
/// The field of a graph that is an initializer.
const INITIALIZER: u64 = 5;

/// A field with its tag, and the place of its content.
struct Span {
    start: u64,
    inside: u64,
    end: u64,
}

/// A model, as far as it is put together anew.
struct Model {
    /// Fields of the model before and behind its graph.
    around: [Vec<Span>; 2],
    /// Fields of the graph before and behind its first initializer.
    graph: [Vec<Span>; 2],
    /// Of all of these.
    hash: blake3::Hash,
}

fn read(source: &mut dyn Source) -> Result<(Model, Vec<Part<()>>), Stop> {
    let size = length(source)?;
    OnnxFacts::read(source, 0, size)?;
    let (mut around, mut graph): ([Vec<Span>; 2], [Vec<Span>; 2]) = Default::default();
    let mut found = None;
    onnx::fields(source, 0, size, &mut |field, wire, start, inside, end| {
        let span = Span { start, inside, end };
        match (field, wire, &found) {
            (GRAPH, 2, None) => found = Some(span),
            (GRAPH, ..) => return Err(super::super::fields::bad("it has two graphs")),
            _ => around[usize::from(found.is_some())].push(span),
        }
        Ok(())
    })?;
    let Some(body) = found else {
        return open("it has no graph");
    };
    let mut spans = Vec::new();
    onnx::fields(
        source,
        body.inside,
        body.end,
        &mut |field, wire, start, inside, end| {
            let span = Span { start, inside, end };
            if field == INITIALIZER && wire == 2 {
                spans.push(span);
            } else {
                graph[usize::from(!spans.is_empty())].push(span);
            }
            Ok(())
        },
    )?;
    let mut hasher = blake3::Hasher::new();
    for part in around.iter().chain(&graph) {
        for span in part {
            source.seek(SeekFrom::Start(span.start))?;
            hasher.update_reader((&mut *source).take(span.end - span.start))?;
        }
    }
    let mut parts = Vec::with_capacity(spans.len());
    for span in spans {
        parts.push(initializer(source, &span)?);
    }
    let hash = hasher.finalize();
    Ok((
        Model {
            around,
            graph,
            hash,
        },
        parts,
    ))
}

fn initializer(source: &mut dyn Source, span: &Span) -> Result<Part<()>, Stop> {
    let (mut place, mut is_external) = (None, false);
    onnx::fields(
        source,
        span.inside,
        span.end,
        &mut |field, wire, _, inside, end| {
            match (field, wire) {
                (onnx::NAME, 2) => place = Some((inside, end)),
                (onnx::EXTERNAL, 2) => is_external = true,
                _ => {}
            }
            Ok(())
        },
    )?;
    if is_external {
        return open("its tensors are in other files");
    }
    let Some((start, end)) = place.filter(|(start, end)| start < end) else {
        return open("a tensor of it has no name");
    };
    let mut name = vec![0; usize::try_from(end - start).unwrap_or(0)];
    super::super::read_at(source, start, &mut name)?;
    Ok(Part {
        name: String::from_utf8_lossy(&name).into_owned(),
        kind: String::new(),
        offset: span.start,
        bytes: span.end - span.start,
        info: (),
    })
}

pub(super) fn merge(three: Three<'_>, out: &mut dyn Write) -> Result<(), Stop> {
    let (mut models, mut files) = (Vec::with_capacity(3), Vec::with_capacity(3));
    for source in three {
        let (model, parts) = read(source)?;
        models.push(model);
        files.push(File { source, parts });
    }
    let (Ok(models), Ok(mut all)) = (<[_; 3]>::try_from(models), <[_; 3]>::try_from(files)) else {
        return open("it has no sides");
    };
    let Some(side) = decide(models.each_ref().map(|m: &Model| &m.hash)) else {
        return open("both sides changed its graph");
    };
    let rows = take(&mut all, "tensor")?;
    Ok(write(&mut all, &models[side], side, &rows, out)?)
}

fn write(
    all: &mut [File<'_, ()>; 3],
    model: &Model,
    side: usize,
    rows: &[Taken<()>],
    out: &mut dyn Write,
) -> io::Result<()> {
    let spans = |list: &[Span]| list.iter().map(|s| s.end - s.start).sum::<u64>();
    let body = model.graph.iter().map(|g| spans(g)).sum::<u64>();
    let body = body + rows.iter().map(|r| r.part.bytes).sum::<u64>();
    let put = |list: &[Span], all: &mut [File<'_, ()>; 3], out: &mut dyn Write| {
        let source = &mut *all[side].source;
        list.iter()
            .try_for_each(|s| copy_range(source, (s.start, s.end - s.start), out))
    };
    put(&model.around[0], all, out)?;
    out.write_all(&[u8::try_from(GRAPH << 3 | 2).unwrap_or(0)])?;
    out.write_all(&varint(body))?;
    put(&model.graph[0], all, out)?;
    rows.iter().try_for_each(|row| copy(all, row, out))?;
    put(&model.graph[1], all, out)?;
    put(&model.around[1], all, out)
}

/// A number, seven bits to a byte.
fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7f) as u8);
    out
}
