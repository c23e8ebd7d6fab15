//! Two texts side by side: which lines came and went, in hunks, and which words inside of them.
//!
//! For looking at only. Merging lines is the business of `text`.

use std::collections::HashMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp};

/// More words than this in one place are shown as one that was replaced.
const WORDS_MAX: usize = 20_000;
/// Lines are put opposite each other by likeness where so many pairs or fewer are to look at.
const PAIRS_MAX: usize = 10_000;
/// Longer headings of hunks are cut, in bytes.
const HEADING_BYTES_MAX: usize = 80;

/// Which lines came and went. Belongs to the two texts it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineOps(Vec<DiffOp>);

impl LineOps {
    /// Compares two texts.
    #[must_use]
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        let (a, b) = (split(old), split(new));
        Self(similar::capture_diff_slices(Algorithm::Myers, &a, &b))
    }

    /// Lines added and removed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let changed = self.0.iter().filter(|op| !is_kept(op));
        changed.fold((0, 0), |(added, removed), op| {
            (
                added + op.new_range().len() as u64,
                removed + op.old_range().len() as u64,
            )
        })
    }
}

fn is_kept(op: &DiffOp) -> bool {
    matches!(op, DiffOp::Equal { .. })
}

/// Lines with their ends.
fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|b| *b == b'\n').collect()
}

/// The lines of two texts, and how they differ.
#[derive(Debug)]
pub struct LineDiff<'a> {
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
    ops: &'a LineOps,
}

/// Lines that differ, with some that don't around them.
#[derive(Debug)]
pub struct Hunk<'d, 'a> {
    /// Its lines in the old text, counted from 0.
    pub old: Range<usize>,
    /// Its lines in the new text, counted from 0.
    pub new: Range<usize>,
    /// The last line above it that starts with a letter: mostly the function or section it is in.
    pub heading: Option<&'a [u8]>,
    /// What it holds, in order.
    pub blocks: Vec<Block<'d, 'a>>,
}

/// Lines of both texts that stand opposite each other.
#[derive(Debug, Clone, Copy)]
pub struct Block<'d, 'a> {
    /// Whether both are equal.
    pub kept: bool,
    /// Number of the first old line, from 0.
    pub old_at: usize,
    /// Number of the first new line, from 0.
    pub new_at: usize,
    /// Old lines, with their ends.
    pub old: &'d [&'a [u8]],
    /// New lines, with their ends.
    pub new: &'d [&'a [u8]],
}

impl<'a> LineDiff<'a> {
    /// The lines of the two texts `ops` was made of.
    #[must_use]
    pub fn new(old: &'a [u8], new: &'a [u8], ops: &'a LineOps) -> Self {
        Self {
            old: split(old),
            new: split(new),
            ops,
        }
    }

    /// The hunks, each with so many equal lines around what differs.
    pub fn hunks(&self, context: usize) -> impl Iterator<Item = Hunk<'_, 'a>> {
        let mut seen = 0;
        let mut heading = None;
        similar::group_diff_ops(self.ops.0.clone(), context)
            .into_iter()
            .filter_map(move |group| {
                let (first, last) = (group.first()?, group.last()?);
                let old = first.old_range().start..last.old_range().end;
                let new = first.new_range().start..last.new_range().end;
                let above = self.old.get(seen..old.start).unwrap_or_default();
                let found = above.iter().rev().find(|line| is_heading(line));
                heading = found.map(|line| cut(line)).or(heading);
                seen = old.start;
                let blocks = group.iter().map(|op| self.block(op));
                // Without context, what is equal around it has no lines.
                let blocks = blocks
                    .filter(|b| !(b.old.is_empty() && b.new.is_empty()))
                    .collect();
                Some(Hunk {
                    old,
                    new,
                    heading,
                    blocks,
                })
            })
    }

    fn block(&self, op: &DiffOp) -> Block<'_, 'a> {
        let (old, new) = (op.old_range(), op.new_range());
        Block {
            kept: is_kept(op),
            old_at: old.start,
            new_at: new.start,
            old: self.old.get(old).unwrap_or_default(),
            new: self.new.get(new).unwrap_or_default(),
        }
    }
}

impl Hunk<'_, '_> {
    /// `@@ -1,3 +1,4 @@`, and behind it the heading, as Git writes it.
    #[must_use]
    pub fn title(&self) -> String {
        let span = |r: &Range<usize>| match r.len() {
            0 => format!("{},0", r.start),
            1 => format!("{}", r.start + 1),
            n => format!("{},{n}", r.start + 1),
        };
        let heading = self.heading.map(String::from_utf8_lossy);
        let heading = heading.map_or_else(String::new, |h| format!(" {}", h.trim_end()));
        format!("@@ -{} +{} @@{heading}", span(&self.old), span(&self.new))
    }
}

fn is_heading(line: &[u8]) -> bool {
    line.first()
        .is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'['))
}

fn cut(line: &[u8]) -> &[u8] {
    &line[..line.len().min(HEADING_BYTES_MAX)]
}

/// Which of two texts a piece is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    /// Both.
    Both,
    /// The old one.
    Old,
    /// The new one.
    New,
}

/// Words of a text that stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it is.
    pub side: In,
    /// What it says.
    pub text: String,
}

/// Which words of a text became which. The pieces of one side, in order, are that text.
#[must_use]
pub fn words(old: &str, new: &str) -> Vec<Piece> {
    let (a, b) = (tokens(old), tokens(new));
    let mut out = Pieces::default();
    if a.len() + b.len() > WORDS_MAX {
        out.change(old, new);
        return out.done();
    }
    let ops = similar::capture_diff_slices(Algorithm::Myers, &a, &b);
    let last = ops.len().saturating_sub(1);
    for (i, op) in ops.iter().enumerate() {
        let (gone, come) = (a[op.old_range()].concat(), b[op.new_range()].concat());
        // A space alone between two changes makes no two changes of them.
        let inner = i > 0 && i < last;
        let joins = inner && gone.chars().all(|c| c == ' ' || c == '\t');
        if is_kept(op) && !joins {
            out.keep(&gone);
        } else {
            out.change(&gone, &come);
        }
    }
    out.done()
}

#[derive(Default)]
struct Pieces {
    out: Vec<Piece>,
    gone: String,
    come: String,
}

impl Pieces {
    fn change(&mut self, gone: &str, come: &str) {
        self.gone += gone;
        self.come += come;
    }

    fn keep(&mut self, text: &str) {
        self.flush();
        self.push(In::Both, text.to_owned());
    }

    fn flush(&mut self) {
        let (gone, come) = (
            std::mem::take(&mut self.gone),
            std::mem::take(&mut self.come),
        );
        self.push(In::Old, gone);
        self.push(In::New, come);
    }

    fn push(&mut self, side: In, text: String) {
        if !text.is_empty() {
            self.out.push(Piece { side, text });
        }
    }

    fn done(mut self) -> Vec<Piece> {
        self.flush();
        self.out
    }
}

/// Runs of letters and digits, runs of spaces, and every other character by itself.
fn tokens(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        '_' => 1,
        c if c.is_alphanumeric() => 1,
        ' ' | '\t' => 2,
        _ => 0,
    };
    let mut out = Vec::new();
    let (mut start, mut last) = (0, 0);
    for (at, c) in text.char_indices() {
        let now = class(c);
        if at > start && (now == 0 || now != last) {
            out.push(&text[start..at]);
            start = at;
        }
        last = now;
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// Puts old and new lines opposite each other by likeness, in order; what has no partner stands
/// alone.
#[must_use]
pub fn opposite(old: &[&[u8]], new: &[&[u8]]) -> Vec<(Option<usize>, Option<usize>)> {
    let (n, m) = (old.len(), new.len());
    let one_by_one = |i| ((i < n).then_some(i), (i < m).then_some(i));
    if n == 0 || m == 0 || n.saturating_mul(m) > PAIRS_MAX {
        return (0..n.max(m)).map(one_by_one).collect();
    }
    let (a, b) = (bags(old), bags(new));
    // best[i][j]: the most likeness that lines from i and j on can have.
    let mut best = vec![vec![0_u64; m + 1]; n + 1];
    let like: Vec<Vec<u64>> = a
        .iter()
        .map(|x| b.iter().map(|y| likeness(x, y)).collect())
        .collect();
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            let paired = match like[i][j] {
                0 => 0,
                score => score + best[i + 1][j + 1],
            };
            best[i][j] = paired.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < n && j < m {
        if like[i][j] > 0 && best[i][j] == like[i][j] + best[i + 1][j + 1] {
            out.push((Some(i), Some(j)));
            (i, j) = (i + 1, j + 1);
        } else if best[i][j] == best[i + 1][j] {
            out.push((Some(i), None));
            i += 1;
        } else {
            out.push((None, Some(j)));
            j += 1;
        }
    }
    out.extend((i..n).map(|i| (Some(i), None)));
    out.extend((j..m).map(|j| (None, Some(j))));
    out
}

type Bag = (HashMap<String, u64>, u64);

/// How often each word is in each line, and how many bytes they have.
fn bags(lines: &[&[u8]]) -> Vec<Bag> {
    let bag = |line: &&[u8]| {
        let text = String::from_utf8_lossy(cut_long(line)).into_owned();
        let mut out = HashMap::new();
        let mut sum = 0;
        for word in tokens(&text).into_iter().filter(|w| !w.trim().is_empty()) {
            sum += word.len() as u64;
            *out.entry(word.to_owned()).or_default() += word.len() as u64;
        }
        (out, sum)
    };
    lines.iter().map(bag).collect()
}

fn cut_long(line: &[u8]) -> &[u8] {
    &line[..line.len().min(2_000)]
}

/// Share of bytes in common words, in per mille; 0 below four in ten.
fn likeness((a, a_sum): &Bag, (b, b_sum): &Bag) -> u64 {
    let common: u64 = a
        .iter()
        .filter_map(|(word, n)| Some((*n).min(*b.get(word)?)))
        .sum();
    match 2_000 * common / (a_sum + b_sum).max(1) {
        0..400 => 0,
        share => share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        let mut out = String::new();
        for Piece { side, text } in words(old, new) {
            out += &match side {
                In::Both => text,
                In::Old => format!("[-{text}-]"),
                In::New => format!("{{+{text}+}}"),
            };
        }
        out
    }

    #[test]
    fn words_that_differ_are_found() {
        for (old, new, want) in [
            ("lr = 0.1", "lr = 0.2", "lr = 0.[-1-]{+2+}"),
            ("f(a, b)", "f(a, b, c)", "f(a, b{+, c+})"),
            ("one two", "three four", "[-one two-]{+three four+}"),
            ("", "x", "{+x+}"),
            ("größe = 1\n", "größe = 2\n", "größe = [-1-]{+2+}\n"),
            ("a\nb\n", "a\nc\n", "a\n[-b-]{+c+}\n"),
        ] {
            assert_eq!(shown(old, new), want);
        }
    }

    #[test]
    fn the_pieces_of_one_side_are_its_text() {
        let long = "x ".repeat(WORDS_MAX);
        for (old, new) in [
            ("a b  c", "a  b d"),
            ("", ""),
            ("\t x", " x"),
            ("é=1", "è=1"),
            (&long, "y"),
        ] {
            let pieces = words(old, new);
            let of = |side: In| -> String {
                let mine = |p: &&Piece| p.side == side || p.side == In::Both;
                pieces
                    .iter()
                    .filter(mine)
                    .map(|p| p.text.as_str())
                    .collect()
            };
            assert_eq!((of(In::Old), of(In::New)), (old.into(), new.into()));
        }
    }

    #[test]
    fn hunks_have_their_numbers_and_heading() {
        let mut old = String::from("def first():\n");
        (0..20).for_each(|n| old += &format!("    {n}\n"));
        old += "def second():\n";
        (0..20).for_each(|n| old += &format!("    {n}\n"));
        let new = old
            .replacen("    10\n", "    ten\n", 1)
            .replace("19\n", "19");
        let (a, b) = (old.as_bytes(), new.as_bytes());
        let ops = LineOps::of(a, b);
        assert_eq!(ops.counts(), (3, 4));
        let diff = LineDiff::new(a, b, &ops);
        let titles: Vec<String> = diff.hunks(1).map(|h| h.title()).collect();
        assert_eq!(
            titles,
            [
                "@@ -11,3 +11,3 @@ def first():",
                "@@ -20,4 +20,3 @@ def first():",
                "@@ -41,2 +40,2 @@ def second():"
            ]
        );
        let hunk = diff.hunks(0).next().unwrap();
        assert_eq!(hunk.blocks.len(), 1);
        let block = hunk.blocks[0];
        assert_eq!(
            (block.kept, block.old_at, block.old, block.new),
            (false, 11, &[&b"    10\n"[..]][..], &[&b"    ten\n"[..]][..])
        );
        assert_eq!(diff.hunks(0).count(), 3);
    }

    #[test]
    fn lines_stand_opposite_those_they_are_like() {
        let rows = |old: &[&str], new: &[&str]| {
            let bytes = |lines: &[&str]| -> Vec<Vec<u8>> {
                lines.iter().map(|l| l.as_bytes().to_vec()).collect()
            };
            let (a, b) = (bytes(old), bytes(new));
            let a: Vec<&[u8]> = a.iter().map(Vec::as_slice).collect();
            let b: Vec<&[u8]> = b.iter().map(Vec::as_slice).collect();
            opposite(&a, &b)
        };
        assert_eq!(
            rows(
                &["import os", "rate = 0.1"],
                &["rate = 0.2", "print(rate)", "import sys"]
            ),
            [
                (Some(0), None),
                (Some(1), Some(0)),
                (None, Some(1)),
                (None, Some(2))
            ]
        );
        assert_eq!(rows(&[], &["x"]), [(None, Some(0))]);
        let many = vec!["x"; 101];
        assert_eq!(rows(&many, &many).len(), 101);
    }
}
