//! A pool of n-grams: sequences of words, and the columns that count them.

use std::collections::HashMap;

use crate::error::Result;
use crate::ops::attributes::Attributes;
use crate::tensor::Data;

/// Most columns of an output.
const COLUMNS_MAX: usize = 1 << 24;

/// What is counted for an n-gram: in which column, and what it weighs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gram {
    pub(super) column: usize,
    pub(super) weight: f32,
}

/// Words have numbers here; an n-gram is a way down from [`Pool::ROOT`].
pub(super) struct Pool {
    texts: HashMap<String, u32>,
    numbers: HashMap<i64, u32>,
    ways: HashMap<(u32, u32), u32>,
    grams: Vec<Option<Gram>>,
    pub(super) columns: usize,
}

impl Pool {
    pub(super) const ROOT: u32 = 0;

    /// N-grams of `sizes` alone.
    pub(super) fn read(of: &Attributes<'_>, sizes: (usize, usize)) -> Result<Self> {
        let texts = of.texts("pool_strings");
        let words = match texts.is_empty() {
            false => Data::Text(texts),
            true => Data::Int64(of.ints("pool_int64s").to_vec()),
        };
        let mut pool = Self {
            texts: HashMap::new(),
            numbers: HashMap::new(),
            ways: HashMap::new(),
            grams: vec![None],
            columns: 0,
        };
        let columns = pool.columns(of)?;
        let weights = of.floats("weights");
        if !weights.is_empty() && weights.len() != columns.len() {
            return Err(of.wrong("has other numbers of weights and n-grams"));
        }
        let words = pool.numbered(&words);
        let mut known = 0;
        for (at, part) in parts(of, &words)?.into_iter().enumerate() {
            for gram in part.chunks_exact(at + 1) {
                let column = columns.get(known);
                let column = *column.ok_or_else(|| of.wrong("has n-grams without a column"))?;
                let weight = weights.get(known).copied().unwrap_or(1.0);
                known += 1;
                let is_wanted = (sizes.0..=sizes.1).contains(&(at + 1));
                if is_wanted && !pool.insert(gram, Gram { column, weight }) {
                    return Err(of.wrong("has one n-gram twice"));
                }
            }
        }
        match known == columns.len() {
            true => Ok(pool),
            false => Err(of.wrong("has columns without an n-gram")),
        }
    }

    /// The column of each n-gram.
    fn columns(&mut self, of: &Attributes<'_>) -> Result<Vec<usize>> {
        let columns = of.ints("ngram_indexes").iter();
        let columns = columns.map(|n| usize::try_from(*n).ok().filter(|n| *n < COLUMNS_MAX));
        let columns: Vec<usize> = columns
            .collect::<Option<_>>()
            .ok_or_else(|| of.wrong("has a column of no number, or of one above 2^24"))?;
        self.columns = columns.iter().max().map_or(0, |n| n + 1);
        Ok(columns)
    }

    fn numbered(&mut self, words: &Data) -> Vec<u32> {
        match words {
            Data::Text(all) => {
                let number = |text: &String| {
                    let next = self.texts.len() as u32;
                    *self.texts.entry(text.clone()).or_insert(next)
                };
                all.iter().map(number).collect()
            }
            Data::Int64(all) => {
                let number = |n: &i64| {
                    let next = self.numbers.len() as u32;
                    *self.numbers.entry(*n).or_insert(next)
                };
                all.iter().map(number).collect()
            }
            _ => vec![],
        }
    }

    /// Whether it is new.
    fn insert(&mut self, words: &[u32], gram: Gram) -> bool {
        let mut at = Self::ROOT;
        for word in words {
            let next = self.grams.len() as u32;
            at = *self.ways.entry((at, *word)).or_insert(next);
            if at == next {
                self.grams.push(None);
            }
        }
        self.grams[at as usize].replace(gram).is_none()
    }

    pub(super) fn text(&self, word: &str) -> Option<u32> {
        self.texts.get(word).copied()
    }

    pub(super) fn number(&self, word: i64) -> Option<u32> {
        self.numbers.get(&word).copied()
    }

    /// Whether words are texts.
    pub(super) fn is_of_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    /// One word further.
    pub(super) fn step(&self, at: u32, word: u32) -> Option<u32> {
        self.ways.get(&(at, word)).copied()
    }

    pub(super) fn gram(&self, at: u32) -> Option<Gram> {
        self.grams.get(at as usize).copied().flatten()
    }
}

/// The words of the n-grams of each size.
fn parts<'a>(of: &Attributes<'_>, words: &'a [u32]) -> Result<Vec<&'a [u32]>> {
    let starts = of.ints("ngram_counts").iter();
    let starts = starts.map(|n| usize::try_from(*n).ok());
    let starts: Option<Vec<usize>> = starts.collect();
    let mut ends: Vec<usize> = starts.iter().flatten().skip(1).copied().collect();
    ends.push(words.len());
    let pairs = starts.iter().flatten().zip(ends).enumerate();
    let parts = pairs.map(|(at, (start, end))| {
        let part = words.get(*start..end);
        part.filter(|part| part.len().is_multiple_of(at + 1))
    });
    let parts: Option<Vec<&[u32]>> = parts.collect();
    let parts = parts.filter(|all| !all.is_empty() && starts.is_some());
    parts.ok_or_else(|| of.wrong("has n-grams of other lengths than it says"))
}
