//! How often n-grams of words stand in each row, weighed.

use std::collections::HashSet;

use super::grams::{Gram, Pool};
use super::texts;
use crate::error::{Result, failed};
use crate::ops::attributes::Attributes;
use crate::ops::linear::input;
use crate::ops::{Operator, not_so};
use crate::tensor::{Tensor, count};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// How often.
    Count,
    /// Its weight, where it is there.
    Weight,
    /// Both multiplied.
    Both,
}

pub(in crate::ops) struct TfIdfVectorizer {
    mode: Mode,
    pool: Pool,
    /// Lengths of n-grams.
    sizes: (usize, usize),
    /// Most words that are left out between two of an n-gram.
    skips: usize,
}

impl TfIdfVectorizer {
    pub(in crate::ops) fn read(of: &Attributes<'_>) -> Result<Self> {
        let mode = match of.text("mode", "").as_str() {
            "TF" => Mode::Count,
            "IDF" => Mode::Weight,
            "TFIDF" => Mode::Both,
            other => return Err(not_so(of, &format!("`mode` {other}"))),
        };
        let size = |name: &str| usize::try_from(of.int(name, 0)).unwrap_or(0);
        let sizes = (size("min_gram_length"), size("max_gram_length"));
        let known = of.ints("ngram_counts").len();
        if sizes.0 == 0 || sizes.1 < sizes.0 || sizes.1 > known {
            return Err(of.wrong("has no n-grams of the lengths that it asks for"));
        }
        let skips = usize::try_from(of.int("max_skip_count", 0));
        let indexes = of.ints("ngram_indexes");
        let columns: HashSet<&i64> = indexes.iter().collect();
        if mode == Mode::Weight && columns.len() != indexes.len() {
            return Err(not_so(of, "`mode` IDF of several n-grams in one column"));
        }
        Ok(Self {
            mode,
            pool: Pool::read(of, sizes)?,
            sizes,
            skips: skips.map_err(|_| of.wrong("leaves out less than no word"))?,
        })
    }

    fn words(&self, input: &Tensor) -> Result<Vec<Option<u32>>> {
        if self.pool.is_of_texts() {
            let all = texts(input)?.iter();
            return Ok(all.map(|text| self.pool.text(text)).collect());
        }
        let all = input.to_ints()?.into_iter();
        Ok(all.map(|n| self.pool.number(n)).collect())
    }

    fn row(&self, words: &[Option<u32>], out: &mut [f32]) {
        let mut note = |gram: Gram| {
            let to = &mut out[gram.column];
            match self.mode {
                Mode::Count => *to += 1.0,
                Mode::Weight => *to = gram.weight,
                Mode::Both => *to += gram.weight,
            }
        };
        let (least, most) = self.sizes;
        // A single word has nothing between: it counts once, whatever is left out.
        if least == 1 {
            for word in words.iter().flatten() {
                let at = self.pool.step(Pool::ROOT, *word);
                at.and_then(|at| self.pool.gram(at)).map(&mut note);
            }
        }
        let least = least.max(2);
        if most < least {
            return;
        }
        let furthest = words.len().saturating_sub(1) / (least - 1);
        for distance in 1..=furthest.min(self.skips.saturating_add(1)) {
            for start in 0..words.len() {
                let mut at = Pool::ROOT;
                let each = words[start..].iter().step_by(distance).take(most);
                for (size, word) in (1..).zip(each) {
                    let next = word.and_then(|word| self.pool.step(at, word));
                    let Some(next) = next else { break };
                    at = next;
                    if size >= least {
                        self.pool.gram(at).map(&mut note);
                    }
                }
            }
        }
    }
}

impl Operator for TfIdfVectorizer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let columns = self.pool.columns;
        let (rows, width, dims) = match input.dims[..] {
            [] => (1, 1, vec![columns]),
            [width] => (1, width, vec![columns]),
            [rows, width] => (rows, width, vec![rows, columns]),
            _ => {
                let text = format!("a shape of {:?} where a table is needed", input.dims);
                return Err(failed(text));
            }
        };
        let size = count(&[rows, columns]).ok_or_else(|| super::too_many("columns"))?;
        let words = self.words(input)?;
        let mut out = vec![0.0; size];
        if width > 0 && columns > 0 {
            let each = words.chunks_exact(width);
            for (words, out) in each.zip(out.chunks_exact_mut(columns)) {
                self.row(words, out);
            }
        }
        Ok(vec![Tensor::floats(dims, out)?])
    }
}
