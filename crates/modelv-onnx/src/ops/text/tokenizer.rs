//! Texts to words: what a pattern finds, what stands between others, or each character.
//!
//! All texts get as many words as the one with the most of them; what is missing is filled up.

use super::pattern::{Pattern, separators};
use super::{TEXTS_MAX, texts, too_many};
use crate::error::{Result, failed};
use crate::ops::attributes::Attributes;
use crate::ops::linear::input;
use crate::ops::{Operator, not_so};
use crate::tensor::{Data, Tensor};

const START: &str = "\x02";
const END: &str = "\x03";

enum By {
    Characters,
    Words(Box<Pattern>),
    Between(Vec<Pattern>),
}

pub(in crate::ops) struct Tokenizer {
    /// Whether the start and the end of a text are words too.
    marks: bool,
    filling: String,
    /// Fewest characters of a word.
    least: usize,
    by: By,
}

impl Tokenizer {
    pub(in crate::ops) fn read(of: &Attributes<'_>) -> Result<Self> {
        let least = usize::try_from(of.int("mincharnum", 1)).unwrap_or(0);
        if least == 0 {
            return Err(of.wrong("has words of no character"));
        }
        let (between, words) = (of.texts("separators"), of.text("tokenexp", ""));
        let is_characters = match &between[..] {
            [] => words == ".",
            [one] => one.is_empty(),
            _ => false,
        };
        let by = match (is_characters, between.is_empty()) {
            (true, _) if least > 1 => return Err(not_so(of, "`mincharnum` above one character")),
            (true, _) => By::Characters,
            (_, false) => By::Between(separators(of, &between)?),
            _ if words.is_empty() => {
                return Err(of.wrong("has neither `separators` nor `tokenexp`"));
            }
            _ => By::Words(Box::new(Pattern::read(of, "tokenexp", &words)?)),
        };
        Ok(Self {
            marks: of.int("mark", 0) != 0,
            filling: of.text("pad_value", ""),
            least,
            by,
        })
    }

    /// Whether a word is long enough.
    fn is_word(&self, text: &str) -> bool {
        text.chars().nth(self.least - 1).is_some()
    }

    /// The words of each text, and how many there are at most.
    fn words<'a>(&self, all: &'a [String]) -> Result<(Vec<Vec<&'a str>>, usize)> {
        let (mut rows, mut most, mut total) = (Vec::with_capacity(all.len()), 0, 0);
        let mut caches = match &self.by {
            By::Characters => vec![],
            By::Words(pattern) => vec![pattern.cache()],
            By::Between(all) => all.iter().map(Pattern::cache).collect(),
        };
        for text in all {
            let words = match &self.by {
                By::Characters => characters(text),
                By::Words(pattern) => self.found(pattern, text, &mut caches[0])?,
                By::Between(patterns) => {
                    let mut row = vec![text.as_str()];
                    for (pattern, cache) in patterns.iter().zip(&mut caches) {
                        row = self.between(pattern, &row, cache)?;
                    }
                    row
                }
            };
            most = most.max(words.len());
            total += words.len();
            if total > TEXTS_MAX {
                return Err(too_many("words"));
            }
            rows.push(words);
        }
        Ok((rows, most))
    }

    /// What a pattern finds. What is too short is looked at again without its first character.
    fn found<'a>(
        &self,
        pattern: &Pattern,
        text: &'a str,
        cache: &mut regex_automata::hybrid::dfa::Cache,
    ) -> Result<Vec<&'a str>> {
        let (mut words, mut from) = (Vec::new(), 0);
        while from <= text.len()
            && let Some((start, end)) = pattern.find(text, from, cache)?
        {
            let word = &text[start..end];
            if self.is_word(word) {
                words.push(word);
                from = end;
            } else {
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        Ok(words)
    }

    /// What stands between the separators in each of some parts.
    fn between<'a>(
        &self,
        separator: &Pattern,
        parts: &[&'a str],
        cache: &mut regex_automata::hybrid::dfa::Cache,
    ) -> Result<Vec<&'a str>> {
        let mut words = Vec::new();
        for part in parts {
            let mut from = 0;
            while let Some((start, end)) = separator.find(part, from, cache)? {
                words.push(&part[from..start]);
                from = end;
            }
            words.push(&part[from..]);
        }
        words.retain(|word| self.is_word(word));
        Ok(words)
    }
}

fn characters(text: &str) -> Vec<&str> {
    let starts = text.char_indices();
    starts.map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
}

impl Operator for Tokenizer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        if ![1, 2].contains(&input.dims.len()) {
            let text = format!(
                "a shape of {:?} where a table of texts is needed",
                input.dims
            );
            return Err(failed(text));
        }
        let (rows, most) = self.words(texts(input)?)?;
        let mut dims = input.dims.clone();
        if rows.is_empty() {
            dims.truncate(dims.len() - 1);
            dims.push(0);
            return Ok(vec![Tensor::new(dims, Data::Text(vec![]))?]);
        }
        let marks = if self.marks && most > 0 { 2 } else { 0 };
        let width = if most == 0 { 0 } else { most + marks };
        let size = rows.len().checked_mul(width);
        let size = size.filter(|n| *n <= TEXTS_MAX);
        let mut out = Vec::with_capacity(size.ok_or_else(|| too_many("words"))?);
        for row in rows {
            let missing = most - row.len();
            let words = row.into_iter();
            match marks {
                0 => out.extend(words.map(str::to_owned)),
                _ => {
                    out.push(START.to_owned());
                    out.extend(words.map(str::to_owned));
                    out.push(END.to_owned());
                }
            }
            out.extend(std::iter::repeat_n(self.filling.clone(), missing));
        }
        dims.push(width);
        Ok(vec![Tensor::new(dims, Data::Text(out))?])
    }
}
