//! Which new file an old one became: by the lines (or pieces of 64 bytes) both have, as Git does it.
//!
//! Never reads a file; who calls gives the content, and decides what a pair means.

use std::collections::HashMap;

use crate::path::name_of;

/// Two files are one that was renamed from so many per cent of common content on.
pub const PERCENT_MIN: u8 = 50;
/// With more pairs than this to look at, none is looked at.
pub const PAIRS_MAX: usize = 250_000;
/// A line is cut into pieces of so many bytes.
const PIECE_BYTES_MAX: usize = 64;

/// What a file is made of, small enough to keep thousands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    size: u64,
    /// Hash of a piece, and the bytes of all pieces with it; sorted.
    pieces: Vec<(u64, u64)>,
}

impl Fingerprint {
    /// Takes the pieces of a content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut found: HashMap<u64, u64> = HashMap::new();
        for line in content.split_inclusive(|b| *b == b'\n') {
            for piece in line.chunks(PIECE_BYTES_MAX) {
                *found.entry(hash(piece)).or_default() += piece.len() as u64;
            }
        }
        let mut pieces: Vec<(u64, u64)> = found.into_iter().collect();
        pieces.sort_unstable();
        Self {
            size: content.len() as u64,
            pieces,
        }
    }

    /// Common bytes over the bytes of the larger, in per cent, rounded down. Two that differ never
    /// have 100.
    #[must_use]
    pub fn percent(&self, other: &Self) -> u8 {
        if self == other {
            return 100;
        }
        let (mut i, mut j, mut common) = (0, 0, 0);
        while let (Some((x, a)), Some((y, b))) = (self.pieces.get(i), other.pieces.get(j)) {
            match x.cmp(y) {
                std::cmp::Ordering::Less => i += 1,
                std::cmp::Ordering::Greater => j += 1,
                std::cmp::Ordering::Equal => {
                    common += a.min(b);
                    (i, j) = (i + 1, j + 1);
                }
            }
        }
        let share = u128::from(common) * 100 / u128::from(self.size.max(other.size).max(1));
        u8::try_from(share).unwrap_or(99).min(99)
    }
}

/// The first bytes of BLAKE3: a merge follows what is found here, so pieces must be hard to make up.
fn hash(piece: &[u8]) -> u64 {
    let hash = blake3::hash(piece);
    let head = hash.as_bytes().first_chunk().copied();
    u64::from_le_bytes(head.unwrap_or_default())
}

/// Whether files of so many bytes can have enough in common: most pairs are told apart by that.
pub(crate) fn can_be_alike(a: u64, b: u64) -> bool {
    let (small, large) = (a.min(b), a.max(b));
    large > 0 && u128::from(small) * 100 >= u128::from(large) * u128::from(PERCENT_MIN)
}

/// A file that came or went.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// What it is made of.
    pub print: Fingerprint,
}

/// An old file and the new one it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Index among the old ones.
    pub old: usize,
    /// Index among the new ones.
    pub new: usize,
    /// Common content.
    pub percent: u8,
}

/// Pairs each old file with at most one new one: most content in common first, then equal names,
/// then by path.
#[must_use]
pub fn pair(old: &[Candidate<'_>], new: &[Candidate<'_>]) -> Vec<Pair> {
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (i, a) in old.iter().enumerate() {
        for (j, b) in new.iter().enumerate() {
            if !can_be_alike(a.print.size, b.print.size) {
                continue;
            }
            let percent = a.print.percent(&b.print);
            if percent >= PERCENT_MIN {
                let same_name = name_of(a.path) == name_of(b.path);
                all.push((
                    std::cmp::Reverse((percent, same_name)),
                    (a.path, b.path),
                    Pair {
                        old: i,
                        new: j,
                        percent,
                    },
                ));
            }
        }
    }
    all.sort_unstable_by(|x, y| (x.0, x.1).cmp(&(y.0, y.1)));
    let (mut used_old, mut used_new) = (vec![false; old.len()], vec![false; new.len()]);
    let mut out = Vec::new();
    for (_, _, pair) in all {
        if !used_old[pair.old] && !used_new[pair.new] {
            used_old[pair.old] = true;
            used_new[pair.new] = true;
            out.push(pair);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(path: &'a str, content: &str) -> Candidate<'a> {
        Candidate {
            path: path.as_bytes(),
            print: Fingerprint::of(content.as_bytes()),
        }
    }

    fn lines(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("line {n:04}\n")).collect()
    }

    #[test]
    fn likeness_is_the_share_of_common_bytes() {
        let print = |text: &str| Fingerprint::of(text.as_bytes());
        let ten = print(&lines(0..10));
        assert_eq!(ten.percent(&print(&lines(0..10))), 100);
        assert_eq!(ten.percent(&print(&lines(1..11))), 90);
        assert_eq!(print(&lines(1..11)).percent(&ten), 90);
        assert_eq!(ten.percent(&print(&lines(5..20))), 33);
        assert_eq!(ten.percent(&print("")), 0);
        // Equal pieces in another order are not the same file, only as like as can be seen.
        assert_eq!(print("a\nb\n").percent(&print("b\na\n")), 100);
        let long = "x".repeat(1 << 20);
        assert_eq!(print(&long).percent(&print(&format!("{long}y"))), 99);
    }

    #[test]
    fn the_likest_are_paired_first_and_each_once() {
        let old = [file("a.py", &lines(0..100)), file("b.py", &lines(50..150))];
        let new = [
            file("far.py", &lines(500..600)),
            file("c.py", &lines(10..110)),
            file("new/b.py", &lines(50..140)),
        ];
        // Equal names come first among equal likeness.
        let pairs: Vec<(usize, usize, u8)> = pair(&old, &new)
            .iter()
            .map(|p| (p.old, p.new, p.percent))
            .collect();
        assert_eq!(pairs, [(1, 2, 90), (0, 1, 90)]);
        assert!(pair(&old, &new[..1]).is_empty());
        assert!(pair(&[file("a", "")], &[file("b", "")]).is_empty());
    }

    #[test]
    fn of_equals_the_one_with_the_name_is_taken() {
        let old = [file("x/train.py", &lines(0..10))];
        let new = [
            file("a.py", &lines(0..10)),
            file("y/train.py", &lines(0..10)),
        ];
        assert_eq!(pair(&old, &new)[0].new, 1);
    }
}
