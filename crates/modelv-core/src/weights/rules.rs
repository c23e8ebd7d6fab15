//! The arithmetic of each method over one tensor. Everything is accumulated in `f64`, which holds
//! the sum of what `f32` could tell, and rounded once, to nearest, ties to even.

use super::Tally;
use super::method::{Kind, Method};
use super::slab::Slab;

/// Vectors whose cosine is nearer to 1 or -1 have no arc worth the name.
const PARALLEL: f64 = 0.9995;

/// Puts one tensor together.
pub(super) fn apply(
    method: &Method,
    weights: &[f64],
    name: &str,
    slab: &Slab,
    tally: &mut Tally,
) -> Vec<u8> {
    match method.kind {
        Kind::Linear => {
            let sum: f64 = weights.iter().sum();
            slab.make(tally, |row| dot(weights, row.models) / sum)
        }
        Kind::Slerp { t } => {
            let (a, b) = arc(slab, t);
            slab.make(tally, |row| a * row.models[0] + b * row.models[1])
        }
        Kind::Task => slab.make(tally, |row| {
            let deltas = weights.iter().zip(row.models);
            let sum: f64 = deltas.map(|(w, v)| w * (v - row.base)).sum();
            row.base + method.scale * sum
        }),
        Kind::Ties { density } => ties(slab, weights, density, method.scale, tally),
        Kind::Dare { drop } => dare(slab, weights, drop, method, name, tally),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What both vectors are multiplied with.
fn arc(slab: &Slab, t: f64) -> (f64, f64) {
    let (mut dot, mut a, mut b) = (0.0, 0.0, 0.0);
    slab.rows(|row| {
        if slab.is_finite(row) {
            let (x, y) = (row.models[0], row.models[1]);
            dot += x * y;
            a += x * x;
            b += y * y;
        }
    });
    let norms = a.sqrt() * b.sqrt();
    let cosine = if norms > 0.0 { dot / norms } else { 1.0 };
    if !cosine.is_finite() || cosine.abs() > PARALLEL {
        return (1.0 - t, t);
    }
    let angle = cosine.acos();
    let sine = angle.sin();
    (((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine)
}

/// Which differences of one model to the base stay: those above a magnitude, and the first few of
/// exactly that magnitude.
struct Trim {
    above: u64,
    equal: u64,
}

impl Trim {
    fn keeps(&mut self, delta: f64) -> bool {
        let bits = delta.abs().to_bits();
        if bits != self.above {
            return bits > self.above;
        }
        let stays = self.equal > 0;
        self.equal -= u64::from(stays);
        stays
    }
}

/// Finds the border of the `keep` largest magnitudes without sorting or storing them: magnitudes
/// are ordered as their bits are, so that counting them by their leading bits, 16 at a time, closes in.
fn trim(slab: &Slab, model: usize, keep: u64) -> Trim {
    let mut counts = vec![0u64; 1 << 16];
    let (mut prefix, mut left) = (0u64, keep);
    for shift in [48, 32, 16, 0] {
        counts.fill(0);
        slab.rows(|row| {
            let bits = (row.models[model] - row.base).abs().to_bits();
            let is_inside = shift == 48 || bits >> (shift + 16) == prefix;
            if is_inside && slab.is_finite(row) {
                counts[usize::try_from(bits >> shift & 0xffff).unwrap_or(0)] += 1;
            }
        });
        let mut digit = 0;
        for (at, n) in counts.iter().enumerate().rev() {
            digit = at as u64;
            if left <= *n {
                break;
            }
            left -= n;
        }
        prefix = prefix << 16 | digit;
    }
    Trim {
        above: prefix,
        equal: left,
    }
}

fn ties(slab: &Slab, weights: &[f64], density: f64, scale: f64, tally: &mut Tally) -> Vec<u8> {
    let mut finite = 0u64;
    slab.rows(|row| finite += u64::from(slab.is_finite(row)));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    let keep = ((slab.count() as f64 * density) as u64).clamp(1, finite.max(1));
    let mut trims: Vec<Trim> = (0..weights.len())
        .map(|model| trim(slab, model, keep))
        .collect();
    let mut kept = vec![0.0; weights.len()];
    slab.make(tally, |row| {
        if !slab.is_finite(row) {
            return f64::NAN;
        }
        for ((kept, value), trim) in kept.iter_mut().zip(row.models).zip(&mut trims) {
            let delta = value - row.base;
            *kept = if trim.keeps(delta) { delta } else { 0.0 };
        }
        // A draw goes to plus, whichever model is called the first.
        let is_plus = dot(weights, &kept) >= 0.0;
        let (mut sum, mut all) = (0.0, 0.0);
        for (weight, delta) in weights.iter().zip(&kept) {
            if *delta != 0.0 && (*delta > 0.0) == is_plus {
                sum += weight * delta;
                all += weight;
            }
        }
        let mean = if all > 0.0 { sum / all } else { 0.0 };
        row.base + scale * mean
    })
}

/// The random numbers of one model's tensor: BLAKE3's output in the order of the numbers, four
/// bytes each. See `spec/weights.md`.
struct Dice {
    stream: blake3::OutputReader,
    buffer: [u8; 4096],
    at: usize,
}

impl Dice {
    fn new(seed: u64, model: usize, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("modelv weights dare v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(model as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        Self {
            stream: hasher.finalize_xof(),
            buffer: [0; 4096],
            at: 4096,
        }
    }

    fn roll(&mut self) -> u32 {
        if self.at == self.buffer.len() {
            self.stream.fill(&mut self.buffer);
            self.at = 0;
        }
        let word = self.buffer[self.at..].first_chunk().copied();
        self.at += 4;
        u32::from_le_bytes(word.unwrap_or_default())
    }
}

fn dare(
    slab: &Slab,
    weights: &[f64],
    drop: f64,
    method: &Method,
    name: &str,
    tally: &mut Tally,
) -> Vec<u8> {
    let mut dice: Vec<Dice> = (0..weights.len())
        .map(|model| Dice::new(method.seed, model, name))
        .collect();
    let border = drop * 2f64.powi(32);
    slab.make(tally, |row| {
        let mut sum = 0.0;
        for ((weight, value), dice) in weights.iter().zip(row.models).zip(&mut dice) {
            if f64::from(dice.roll()) >= border {
                sum += weight * (value - row.base);
            }
        }
        row.base + method.scale * sum / (1.0 - drop)
    })
}
