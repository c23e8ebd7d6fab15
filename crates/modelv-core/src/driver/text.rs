//! Lines: three-way merge in the manner of diff3 (Khanna, Kunal, Pierce, "A Formal Investigation of
//! Diff3", FSTTCS 2007), unified differences, conflict markers.

use std::fmt::Write;

use similar::{Algorithm, DiffOp};

use super::lines::{LineDiff, LineOps};
use super::{Change, Conflict, Item, Labels, Merged, Rules};

/// Lines of text.
pub(super) struct Text;

impl Rules for Text {
    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        merge(base.unwrap_or(b""), ours, theirs, labels)
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        diff(old, new)
    }
}

/// Lines that came and went.
pub(super) fn diff(old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
    let (added, removed) = count(old.unwrap_or(b""), new.unwrap_or(b""));
    vec![Change::Lines { added, removed }]
}

/// UTF-8 without NUL. Anything else has no lines for us.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|b| *b == b'\n').collect()
}

/// For each line of `old`, the line of `new` it is matched with.
pub(super) fn matches(old: &[&[u8]], new: &[&[u8]]) -> Vec<Option<usize>> {
    let mut out = vec![None; old.len()];
    for op in similar::capture_diff_slices(Algorithm::Myers, old, new) {
        if let DiffOp::Equal {
            old_index,
            new_index,
            len,
        } = op
        {
            for i in 0..len {
                out[old_index + i] = Some(new_index + i);
            }
        }
    }
    out
}

/// Lines added and removed.
pub(super) fn count(old: &[u8], new: &[u8]) -> (u64, u64) {
    let (a, b) = (lines(old), lines(new));
    let kept = matches(&a, &b).iter().filter(|m| m.is_some()).count();
    ((b.len() - kept) as u64, (a.len() - kept) as u64)
}

/// Merges lines; what both sides changed in different ways stands between markers.
pub(super) fn merge(base: &[u8], ours: &[u8], theirs: &[u8], labels: &Labels<'_>) -> Merged {
    walk(base, ours, theirs, Some(labels))
}

/// Merges lines; what both sides changed in different ways stays as it is in ours.
pub(super) fn merge_as_ours(base: &[u8], ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    walk(base, ours, theirs, None).bytes
}

fn walk(base: &[u8], ours: &[u8], theirs: &[u8], labels: Option<&Labels<'_>>) -> Merged {
    let (b, o, t) = (lines(base), lines(ours), lines(theirs));
    let (to_ours, to_theirs) = (matches(&b, &o), matches(&b, &t));
    let mut out = Vec::with_capacity(ours.len().max(theirs.len()));
    let mut hunks = 0;
    let (mut ib, mut io, mut it) = (0, 0, 0);
    loop {
        // The next base line that both sides still have, at or behind where we are.
        let stable = (ib..b.len()).find_map(|j| match (to_ours[j], to_theirs[j]) {
            (Some(x), Some(y)) if x >= io && y >= it => Some((j, x, y)),
            _ => None,
        });
        let (jb, jo, jt) = stable.unwrap_or((b.len(), o.len(), t.len()));
        let (rb, ro, rt) = (&b[ib..jb], &o[io..jo], &t[it..jt]);
        if ro == rt || rt == rb {
            out.extend(ro.concat());
        } else if ro == rb {
            out.extend(rt.concat());
        } else {
            hunks += 1;
            match labels {
                Some(l) => {
                    write_conflict(&mut out, &rb.concat(), &ro.concat(), &rt.concat(), l);
                }
                None => out.extend(ro.concat()),
            }
        }
        if stable.is_none() {
            break;
        }
        out.extend_from_slice(b[jb]);
        (ib, io, it) = (jb + 1, jo + 1, jt + 1);
    }
    let conflict = Conflict::bare(Item::Lines { hunks });
    Merged {
        bytes: out,
        conflicts: if hunks == 0 { vec![] } else { vec![conflict] },
    }
}

/// The three versions as one conflict.
pub(super) fn whole_conflict(
    base: &[u8],
    ours: &[u8],
    theirs: &[u8],
    labels: &Labels<'_>,
) -> Merged {
    let mut bytes = Vec::new();
    write_conflict(&mut bytes, base, ours, theirs, labels);
    Merged {
        bytes,
        conflicts: vec![Conflict::bare(Item::Lines { hunks: 1 })],
    }
}

fn write_conflict(out: &mut Vec<u8>, base: &[u8], ours: &[u8], theirs: &[u8], labels: &Labels<'_>) {
    let mut part = |head: String, text: &[u8]| {
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(text);
        if !text.is_empty() && !text.ends_with(b"\n") {
            out.push(b'\n');
        }
    };
    part(format!("<<<<<<< {}\n", labels.ours), ours);
    part(format!("||||||| {}\n", labels.base), base);
    part("=======\n".into(), theirs);
    part(format!(">>>>>>> {}\n", labels.theirs), b"");
}

/// Whether a file still carries conflict markers.
#[must_use]
pub fn has_markers(bytes: &[u8]) -> bool {
    let starts = |line: &[u8], mark: u8| {
        line.len() >= 7
            && line[..7].iter().all(|b| *b == mark)
            && line.get(7).is_none_or(|b| b" \r\n".contains(b))
    };
    let bytes = super::as_utf8(bytes);
    let all = lines(&bytes);
    all.iter().any(|l| starts(l, b'<')) && all.iter().any(|l| starts(l, b'>'))
}

/// The hunks of a unified difference as Git prints them, without the header that names the files.
#[must_use]
pub fn unified(old: &[u8], new: &[u8], context: usize) -> String {
    let ops = LineOps::of(old, new);
    let mut out = String::new();
    for hunk in LineDiff::new(old, new, &ops).hunks(context) {
        let _ = writeln!(out, "{}", hunk.title());
        for block in &hunk.blocks {
            if block.kept {
                put(&mut out, ' ', block.old);
            } else {
                put(&mut out, '-', block.old);
                put(&mut out, '+', block.new);
            }
        }
    }
    out
}

fn put(out: &mut String, sign: char, lines: &[&[u8]]) {
    for line in lines {
        let text = String::from_utf8_lossy(line);
        out.push(sign);
        out.push_str(&text);
        if !text.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}
