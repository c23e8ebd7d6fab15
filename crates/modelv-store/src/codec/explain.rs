//! Finding the prediction that leaves least of a chunk: which factors, with which scale, rounded
//! where. Merging tools differ in that; a sample of the chunk tells.
//!
//! Nothing here has to be right: what is found is written down, and decides about size alone.

use super::floats::Format;
use super::planes::Width;
use super::predict::{self, Factor, Header, Place, Update};
use super::product::{self, Rule, Sum};
use super::{Base, Guess, residual};

/// A pair of factors that may explain a chunk.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) columns: usize,
    pub(crate) rank: usize,
    /// What the scale is made of, if the adapter says so.
    pub(crate) alpha: Option<f64>,
    /// The rows that the chunk touches.
    pub(crate) left: Factor,
    pub(crate) right: Factor,
    pub(crate) left_values: Vec<f32>,
    pub(crate) right_values: Vec<f32>,
}

/// Numbers of a run of the sample, and runs.
const RUN: usize = 256;
const RUNS: usize = 16;
/// Updates must leave this part of the bits that are left without them, and each this part of what
/// the others leave.
const WORTH: f64 = 0.9;
const WORTH_EACH: f64 = 0.98;
/// A scale that is less simple must leave this part of the bits.
const WORTH_SCALE: f64 = 0.99;

/// A run of the sample: where it is in the chunk, and in the matrix.
struct Run {
    /// First number and count in the chunk.
    at: usize,
    len: usize,
    /// Row from the first one of the chunk on, and first column.
    row: usize,
    column: usize,
}

fn sample(place: Place, count: usize) -> Vec<Run> {
    let starts = (0..RUNS).map(|i| count.saturating_sub(RUN) / (RUNS - 1) * i);
    let mut last = None;
    let runs = starts
        .filter(|at| last.replace(*at) != Some(*at))
        .map(|at| {
            let (row, column) = (
                (place.first + at) / place.columns,
                (place.first + at) % place.columns,
            );
            let len = RUN.min(count - at).min(place.columns - column);
            Run {
                at,
                len,
                row,
                column,
            }
        });
    runs.collect()
}

/// The numbers of a chunk at the runs of the sample, one behind the other.
fn gather(bytes: &[u8], size: usize, runs: &[Run]) -> Vec<u8> {
    let of = |run: &Run| &bytes[run.at * size..(run.at + run.len) * size];
    runs.iter().flat_map(of).copied().collect()
}

/// Bits that are left of `plain` over `guess`, about.
fn cost(width: Width, plain: &[u8], guess: &[u8]) -> u32 {
    let mut left = vec![0; plain.len()];
    residual::take(width, plain, guess, &mut left);
    // The sign is the top bit; a number that is there at all counts twice, for it must be found.
    let bits = |size: u32| u32::from(size > 0) + u32::BITS - size.leading_zeros();
    if width == Width::Two {
        let words = left.as_chunks::<2>().0.iter();
        words
            .map(|w| bits(u16::from_le_bytes(*w).rotate_left(1).into()))
            .sum()
    } else {
        let words = left.as_chunks::<4>().0.iter();
        words
            .map(|w| bits(u32::from_le_bytes(*w).rotate_left(1)))
            .sum()
    }
}

/// The scale with which sums come nearest to what changed. Right where changes are large.
fn fit_by_squares(plain: &[f32], guess: &[f32], sums: &[f32]) -> Option<f64> {
    let (mut both, mut own) = (0.0, 0.0);
    for ((plain, guess), sum) in plain.iter().zip(guess).zip(sums) {
        let (change, sum) = (f64::from(*plain) - f64::from(*guess), f64::from(*sum));
        if change.is_finite() && sum.is_finite() {
            both += change * sum;
            own += sum * sum;
        }
    }
    Some(both / own).filter(|scale| scale.is_finite())
}

/// The middle of the scales with which most numbers round to what is there. Right where most
/// changes are lost in rounding, which makes squares prefer too small a scale.
fn fit_by_ranges(format: Format, plain: &[f32], guess: &[f32], sums: &[f32]) -> Option<f64> {
    // Where a range begins or ends, and which.
    let mut ends: Vec<(f64, i32)> = Vec::with_capacity(2 * plain.len());
    for ((plain, guess), sum) in plain.iter().zip(guess).zip(sums) {
        let (change, sum) = (f64::from(*plain) - f64::from(*guess), f64::from(*sum));
        // Half a step of the format, and what a sum may lose by rounding on the way.
        let step = f64::from(plain.abs()) * 2f64.powi(-i32::from(format.precision()));
        let slack = step + change.abs() / 256.0;
        let (a, b) = ((change - slack) / sum, (change + slack) / sum);
        if a.is_finite() && b.is_finite() {
            ends.extend([(a.min(b), 1), (a.max(b), -1)]);
        }
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut open, mut most, mut best) = (0, 0, None);
    for (number, (at, step)) in ends.iter().enumerate() {
        open += step;
        if open > most {
            most = open;
            best = ends.get(number + 1).map(|next| f64::midpoint(*at, next.0));
        }
    }
    best
}

/// A chunk under examination.
struct Case<'a> {
    place: Place,
    runs: Vec<Run>,
    /// The sample of the chunk.
    plain: Vec<u8>,
    pairs: &'a [Pair],
}

/// An update that was found, and what is left with it.
struct Found {
    pair: usize,
    rule: Rule,
    cost: u32,
    guess: Vec<u8>,
}

impl Case<'_> {
    /// Sums over the sample.
    fn sums(&self, pair: &Pair, rule: &Rule) -> Vec<f32> {
        let mut out = Vec::with_capacity(RUN * RUNS);
        for run in &self.runs {
            let line = rule.scaled_row(&pair.left_values[run.row * pair.rank..][..pair.rank]);
            let mut sums = vec![0.0; run.len];
            let right = &pair.right_values;
            product::sums(rule.sum, &line, right, pair.columns, run.column, &mut sums);
            out.extend(sums);
        }
        out
    }

    /// Scales that are worth a try: what the rank and alpha suggest, and what fits best, as simple
    /// numbers and as it is.
    fn scales(&self, pair: &Pair, sums: &[f32], guess: &[u8]) -> Vec<f32> {
        let rank = pair.rank as f64;
        let mut scales: Vec<f64> = Vec::new();
        if let Some(alpha) = pair.alpha {
            scales.extend([alpha / rank, alpha / rank.sqrt()]);
        }
        let plain = self.place.format.values(&self.plain);
        let guess = self.place.format.values(guess);
        let fits = [
            fit_by_squares(&plain, &guess, sums),
            fit_by_ranges(self.place.format, &plain, &guess, sums),
        ];
        for best in fits.into_iter().flatten() {
            let simple = [rank, rank.sqrt(), 10.0, 100.0].map(|unit| (best * unit).round() / unit);
            scales.extend(simple);
            scales.push(best);
        }
        let mut out: Vec<f32> = Vec::new();
        for scale in scales.into_iter().map(|s| s as f32) {
            if scale.is_finite() && scale != 0.0 && !out.contains(&scale) {
                out.push(scale);
            }
        }
        out
    }

    /// What is left with a rule; `sums` are those of its way to sum.
    fn attempt(&self, rule: &Rule, mut sums: Vec<f32>, guess: &[u8]) -> (u32, Vec<u8>) {
        rule.finish(&mut sums);
        let mut guess = guess.to_vec();
        product::add(self.place.format, &mut guess, &sums);
        (cost(self.place.format.width(), &self.plain, &guess), guess)
    }

    /// The best way to use a pair on top of `guess`.
    fn best(&self, number: usize, guess: &[u8]) -> Option<Found> {
        let pair = &self.pairs[number];
        let plain = |sum| Rule {
            sum,
            scale_first: false,
            first: Format::F32,
            second: Format::F32,
            scale: 1.0,
        };
        let sums = Sum::ALL.map(|sum| self.sums(pair, &plain(sum)));
        let mut best: Option<Found> = None;
        let attempt = |rule: Rule, sums: &[f32], worth: f64, best: &mut Option<Found>| {
            if best.as_ref().is_some_and(|b| b.cost == 0) {
                return;
            }
            let (cost, guess) = if rule.scale_first {
                self.attempt(&rule, self.sums(pair, &rule), guess)
            } else {
                self.attempt(&rule, sums.to_vec(), guess)
            };
            if best
                .as_ref()
                .is_none_or(|b| f64::from(cost) < worth * f64::from(b.cost))
            {
                *best = Some(Found {
                    pair: number,
                    rule,
                    cost,
                    guess,
                });
            }
        };
        // Scale and rounding hang together: a scale that is nearly right may look better with the
        // wrong rounding than the right one does. How sums are made matters least.
        let roundings = self.roundings(pair);
        for scale in self.scales(pair, &sums[2], guess) {
            for (first, second) in &roundings {
                let rule = Rule {
                    first: *first,
                    second: *second,
                    scale,
                    ..plain(Sum::Single)
                };
                attempt(rule, &sums[0], WORTH_SCALE, &mut best);
            }
        }
        let scale = best.as_ref()?.rule.scale;
        for (first, second) in roundings {
            for scale_first in [false, true] {
                for (sum, sums) in Sum::ALL.into_iter().zip(&sums) {
                    let rule = Rule {
                        sum,
                        scale_first,
                        first,
                        second,
                        scale,
                    };
                    attempt(rule, sums, 1.0, &mut best);
                }
            }
        }
        best
    }

    /// What tools round to on the way: nothing, or to the format of the factors or the weights.
    fn roundings(&self, pair: &Pair) -> Vec<(Format, Format)> {
        let mut out = vec![(Format::F32, Format::F32)];
        for format in [pair.left.format, self.place.format] {
            if format != Format::F32 && !out.contains(&(format, format)) {
                out.extend([(Format::F32, format), (format, format)]);
            }
        }
        out
    }

    /// Takes the pair that explains most, then the next, as long as that is worth it.
    fn greedy(&self, base: &[u8]) -> (u32, Vec<Found>) {
        let mut guess = gather(base, self.place.format.bytes(), &self.runs);
        let mut left = cost(self.place.format.width(), &self.plain, &guess);
        let at_first = left;
        let mut chosen: Vec<Found> = Vec::new();
        let mut ranks = 0;
        while chosen.len() < predict::UPDATES_MAX && left > 0 {
            let fits = |n: &usize| {
                ranks + self.pairs[*n].rank <= predict::RANKS_MAX
                    && chosen.iter().all(|c| c.pair != *n)
            };
            let numbers = (0..self.pairs.len()).filter(fits);
            let best = numbers
                .filter_map(|n| self.best(n, &guess))
                .min_by_key(|found| found.cost);
            let Some(best) = best.filter(|b| f64::from(b.cost) < WORTH_EACH * f64::from(left))
            else {
                break;
            };
            ranks += self.pairs[best.pair].rank;
            left = best.cost;
            guess.clone_from(&best.guess);
            chosen.push(best);
        }
        if f64::from(left) > WORTH * f64::from(at_first) {
            return (at_first, Vec::new());
        }
        (left, chosen)
    }
}

/// The prediction of a chunk over one of `bases` with the factors of `pairs`; `None` when they don't
/// help. `first` is the column of the first number.
pub(super) fn explain(
    plain: &[u8],
    width: Width,
    first: usize,
    bases: &[Base],
    pairs: &[Pair],
) -> Option<Guess> {
    let columns = pairs.first()?.columns;
    let formats: &[Format] = match width {
        Width::Two => &[Format::Bf16, Format::F16],
        Width::Four => &[Format::F32],
        Width::One | Width::Eight => return None,
    };
    if !plain.len().is_multiple_of(width.bytes()) || pairs.iter().any(|p| p.columns != columns) {
        return None;
    }
    let mut best: Option<(u32, Place, &Base, Vec<Found>)> = None;
    for format in formats {
        let place = Place {
            format: *format,
            columns,
            first,
        };
        let runs = sample(place, plain.len() / width.bytes());
        let case = Case {
            place,
            plain: gather(plain, width.bytes(), &runs),
            runs,
            pairs,
        };
        for base in bases.iter().filter(|b| b.plain.len() == plain.len()) {
            let (cost, found) = case.greedy(&base.plain);
            let is_better = best.as_ref().is_none_or(|(best, ..)| cost < *best);
            if is_better && !found.is_empty() {
                best = Some((cost, place, base, found));
            }
        }
    }
    let (_, place, base, found) = best?;
    let mut bytes = base.plain.clone();
    let mut updates = Vec::with_capacity(found.len());
    for Found { pair, rule, .. } in found {
        let pair = &pairs[pair];
        predict::apply(
            &mut bytes,
            place,
            &rule,
            &pair.left_values,
            &pair.right_values,
        );
        updates.push(Update {
            rank: pair.rank,
            rule,
            left: pair.left.clone(),
            right: pair.right.clone(),
        });
    }
    let header = Header {
        base: base.id,
        place: Some(place),
        updates,
    };
    Some(Guess {
        header: header.to_bytes(),
        bytes,
    })
}
