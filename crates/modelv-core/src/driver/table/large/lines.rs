//! Lines of three large files, merged window by window: a window ends where all three agree for some
//! lines. Where lines conflict, or do not meet again within a window, nothing comes out.

use std::io::{self, BufWriter, SeekFrom, Write};

use super::super::super::{Labels, text};
use super::super::TableError;
use super::super::reader::{Rows, common};
use super::{Room, Scratch, Sides, lend};

/// Lines of the first window; it grows four times as long until it ends.
const WINDOW_LINES: usize = 64;

/// No window is longer: comparing what has nothing in common takes the square of it.
const WINDOW_LINES_MAX: usize = 8192;

/// So many lines that stand in all three end a window.
const AGREED: usize = 8;

/// The lines of all three, merged; `None`: they conflict, or are too far apart.
pub(super) fn merge(
    sides: &mut Sides<'_>,
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Option<Box<dyn Scratch>>, TableError> {
    let mut content = room.file()?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut content);
    let [b, o, t] = sides;
    let mut three = [b, o, t].map(lend);
    for side in three.iter_mut().flatten() {
        side.seek(SeekFrom::Start(0))?;
    }
    let mut three = three.map(|side| Rows::new(side, false));
    loop {
        for side in &mut three {
            if side.is_low() {
                side.fill()?;
            }
        }
        if pass(&mut three, &mut out)? > 0 {
            continue;
        }
        if let Some(rest) = alone(&three) {
            drain(&mut three[rest], &mut out)?;
            break;
        }
        let Some(window) = window(&three, labels) else {
            return Ok(None);
        };
        out.write_all(&window.merged)?;
        for (side, length) in three.iter_mut().zip(window.lengths) {
            side.at += length;
        }
        if window.is_last {
            break;
        }
    }
    out.flush()?;
    drop(out);
    Ok(Some(content))
}

/// Takes the whole lines that stand in all three at the same place.
fn pass(three: &mut [Rows<'_>; 3], out: &mut dyn Write) -> io::Result<usize> {
    let [b, o, t] = &mut *three;
    let same = common(b.rest(), o.rest()).min(common(b.rest(), t.rest()));
    let length = memchr::memrchr(b'\n', &b.rest()[..same]).map_or(0, |at| at + 1);
    out.write_all(&b.rest()[..length])?;
    three.iter_mut().for_each(|side| side.at += length);
    Ok(length)
}

/// The side that alone has something left, the base and the other being at their end.
fn alone(three: &[Rows<'_>; 3]) -> Option<usize> {
    let [b, o, t] = three
        .each_ref()
        .map(|s| s.source.is_none() && s.rest().is_empty());
    match (b, o, t) {
        (true, true, _) => Some(2),
        (true, false, true) => Some(1),
        _ => None,
    }
}

fn drain(side: &mut Rows<'_>, out: &mut dyn Write) -> io::Result<()> {
    loop {
        out.write_all(side.rest())?;
        side.at = side.buffer.len();
        if side.source.is_none() {
            return Ok(());
        }
        side.fill()?;
    }
}

/// Some lines of all three, up to where they agree.
struct Window {
    merged: Vec<u8>,
    lengths: [usize; 3],
    is_last: bool,
}

fn window(three: &[Rows<'_>; 3], labels: &Labels<'_>) -> Option<Window> {
    let mut count = WINDOW_LINES;
    loop {
        let lines = three.each_ref().map(|side| head(side, count));
        let ends = |(side, lines): (&Rows<'_>, &Vec<&[u8]>)| {
            side.source.is_none() && length(lines) == side.rest().len()
        };
        let is_last = three.iter().zip(&lines).all(ends);
        let cut = match is_last {
            true => Some(lines.each_ref().map(Vec::len)),
            false => agreed(&lines, count),
        };
        if let Some(cut) = cut {
            let lengths = [0, 1, 2].map(|i| length(&lines[i][..cut[i]]));
            let [b, o, t] = [0, 1, 2].map(|i| &three[i].rest()[..lengths[i]]);
            let merged = text::merge(b, o, t, labels);
            return merged.conflicts.is_empty().then_some(Window {
                merged: merged.bytes,
                lengths,
                is_last,
            });
        }
        count *= 4;
        if count > WINDOW_LINES_MAX {
            return None;
        }
    }
}

fn length(lines: &[&[u8]]) -> usize {
    lines.iter().map(|l| l.len()).sum()
}

/// The next lines of a side.
fn head<'r>(side: &'r Rows<'_>, count: usize) -> Vec<&'r [u8]> {
    let whole = |line: &&[u8]| line.ends_with(b"\n") || side.source.is_none();
    let lines = side.rest().split_inclusive(|b| *b == b'\n');
    lines.take(count).take_while(whole).collect()
}

/// How many lines of each stand before the end of the first run that all three have. What stands in
/// the second half of a window may belong to lines behind it.
fn agreed([b, o, t]: &[Vec<&[u8]>; 3], count: usize) -> Option<[usize; 3]> {
    let (to_ours, to_theirs) = (text::matches(b, o), text::matches(b, t));
    let mut run = 0;
    for at in 0..b.len().min(count / 2) {
        let follows = |to: &[Option<usize>]| {
            let here = to[at]?;
            (run == 0 || to[at - 1].is_some_and(|last| last + 1 == here)).then_some(here)
        };
        match (follows(&to_ours), follows(&to_theirs)) {
            (Some(x), Some(y)) => {
                run += 1;
                if run == AGREED {
                    return Some([at + 1, x + 1, y + 1]);
                }
            }
            _ => run = usize::from(to_ours[at].is_some() && to_theirs[at].is_some()),
        }
    }
    None
}
