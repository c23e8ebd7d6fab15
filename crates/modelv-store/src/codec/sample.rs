//! Choosing a codec by looking at a few pieces: the spread of byte values tells what Huffman codes
//! reach, and a trial run what repetition is worth.

use std::sync::LazyLock;

use super::Content;
use super::planes::Width;
use super::scratch::Scratch;

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choice {
    Raw,
    Zstd,
    Planes { width: Width, skip: usize },
}

/// What to do with one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaneChoice {
    Raw,
    Huffman,
    Matching,
}

/// Bytes of a piece; three are looked at. A multiple of the largest word.
const PIECE_BYTES: usize = 8 << 10;
/// Bytes of a plane's piece: less, for there are up to eight planes.
const PLANE_PIECE_BYTES: usize = 4 << 10;
/// Entries below this are not split into planes: too few words to tell anything.
const PLANES_BYTES_MIN: usize = 4 << 10;
/// Bytes that need this part of their size are noise at every width.
const NOISE: f64 = 0.99;
/// Estimates above this part of the size are not worth the work.
const WORTH: f64 = 0.96;

/// Pieces from the start, the middle and the end, each from a whole word of the largest width on.
fn pieces(bytes: &[u8], len: usize) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.len() <= 3 * len;
    let at = move |i: usize| (bytes.len() - len.min(bytes.len())) / 2 * i / 8 * 8;
    let count = if whole { 1 } else { 3 };
    (0..count).map(move |i| {
        if whole {
            bytes
        } else {
            &bytes[at(i)..at(i) + len]
        }
    })
}

type Histogram = [u32; 256];

/// `n * log2(n)` of small counts: small files are many, and have fifteen histograms each.
static WEIGHTED: LazyLock<Vec<f64>> = LazyLock::new(|| {
    (0..1024)
        .map(|n| f64::from(n) * f64::from(n.max(1)).log2())
        .collect()
});

/// Bits per byte that an order-0 code needs at least.
fn entropy(counts: &Histogram) -> f64 {
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let table = &**WEIGHTED;
    let weigh = |n: u32| match table.get(n as usize) {
        Some(weight) => *weight,
        None => f64::from(n) * f64::from(n).log2(),
    };
    let sum: f64 = counts.iter().map(|n| weigh(*n)).sum();
    let seen = counts.iter().filter(|n| **n > 0).count();
    // A sample shows too little of the tail (Miller and Madow's correction).
    let missed = (seen - 1) as f64 / 2.0 * std::f64::consts::LOG2_E;
    (weigh(total) - sum + missed) / f64::from(total)
}

/// Byte values by position in words of eight bytes.
fn histograms(plain: &[u8]) -> Box<[Histogram; 8]> {
    let mut counts = Box::new([[0; 256]; 8]);
    for piece in pieces(plain, PIECE_BYTES) {
        for word in piece.as_chunks::<8>().0 {
            for (counts, byte) in counts.iter_mut().zip(word) {
                counts[usize::from(*byte)] += 1;
            }
        }
    }
    counts
}

/// Part of the size that planes of this width would need, and the position of the lowest entropy.
/// Rotation does not matter here: it moves a bit from one plane to the next.
fn planes_estimate(counts: &[Histogram; 8], width: Width) -> (f64, usize) {
    let width = width.bytes();
    let entropies: Vec<f64> = (0..width)
        .map(|position| {
            let mut sum = [0; 256];
            for counts in counts.iter().skip(position).step_by(width) {
                for (sum, count) in sum.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            entropy(&sum)
        })
        .collect();
    let lowest = (0..width)
        .min_by(|a, b| entropies[*a].total_cmp(&entropies[*b]))
        .unwrap_or(0);
    (entropies.iter().sum::<f64>() / (8 * width) as f64, lowest)
}

/// Part of the size that zstd needs for the pieces.
fn zstd_estimate(plain: &[u8], piece_bytes: usize, scratch: &mut Scratch) -> f64 {
    let mut room = std::mem::take(&mut scratch.trial);
    room.resize(3 * PIECE_BYTES, 0);
    let (mut raw, mut packed) = (0, 0);
    for piece in pieces(plain, piece_bytes) {
        raw += piece.len();
        packed += scratch.matching(piece, &mut room).unwrap_or(piece.len());
    }
    scratch.trial = room;
    packed as f64 / raw.max(1) as f64
}

/// The best planes for an entry: part of the size that they need, width, bytes to skip.
pub(super) fn planes_of(plain: &[u8], content: Content) -> (f64, Width, usize) {
    let counts = histograms(plain);
    if let Content::Numbers(width) = content {
        return (planes_estimate(&counts, width).0, width, 0);
    }
    let mut best = (planes_estimate(&counts, Width::One).0, Width::One, 0);
    // Even one byte of eight that has a pattern would show among all of them.
    if best.0 > NOISE {
        return best;
    }
    for width in &Width::ALL[1..] {
        let width = *width;
        let (estimate, lowest) = planes_estimate(&counts, width);
        // A wider word must be clearly better: every multiple of the true width is good.
        if estimate < best.0 * 0.98 {
            best = (estimate, width, (lowest + 1) % width.bytes());
        }
    }
    best
}

/// Chooses for an entry; with the part of its size that it needs.
pub(super) fn choose(plain: &[u8], content: Content, scratch: &mut Scratch) -> (f64, Choice) {
    let zstd = zstd_estimate(plain, PIECE_BYTES, scratch);
    let (planes, width, skip) = match content {
        _ if plain.len() < PLANES_BYTES_MIN => (1.0, Width::One, 0),
        Content::Bytes => (1.0, Width::One, 0),
        Content::Numbers(_) | Content::Unknown => planes_of(plain, content),
    };
    let weighed = match content {
        // Told so: planes even where a short sample lets zstd look slightly better.
        Content::Numbers(_) => planes * 0.95,
        // zstd finds more repetition in the whole than in a sample.
        _ => planes * 1.1,
    };
    if weighed < zstd && weighed < WORTH {
        (planes, Choice::Planes { width, skip })
    } else if zstd < WORTH {
        (zstd, Choice::Zstd)
    } else {
        (1.0, Choice::Raw)
    }
}

/// Chooses for one plane.
pub(super) fn choose_plane(plane: &[u8], scratch: &mut Scratch) -> PlaneChoice {
    let mut counts = [0; 256];
    for piece in pieces(plane, PLANE_PIECE_BYTES) {
        for byte in piece {
            counts[usize::from(*byte)] += 1;
        }
    }
    // No code is shorter than a bit.
    let huffman = entropy(&counts).max(1.0) / 8.0;
    let matching = zstd_estimate(plane, PLANE_PIECE_BYTES, scratch);
    // The search for repetition takes four times as long as Huffman codes alone.
    if matching < huffman * 0.9 && matching < WORTH {
        PlaneChoice::Matching
    } else if huffman < WORTH {
        PlaneChoice::Huffman
    } else {
        PlaneChoice::Raw
    }
}
