//! Texts in one case, without those of a list.

use std::collections::HashSet;

use super::locale::{Case, Locale};
use super::texts;
use crate::error::{Result, failed};
use crate::ops::attributes::Attributes;
use crate::ops::linear::input;
use crate::ops::{Operator, not_so};
use crate::tensor::{Data, Tensor};

pub(in crate::ops) struct StringNormalizer {
    change: Option<Case>,
    locale: Locale,
    /// In the case that texts are compared in.
    stop: HashSet<String>,
    compare: Option<Case>,
}

impl StringNormalizer {
    pub(in crate::ops) fn read(of: &Attributes<'_>) -> Result<Self> {
        let change = match of.text("case_change_action", "NONE").as_str() {
            "NONE" => None,
            "LOWER" => Some(Case::Lower),
            "UPPER" => Some(Case::Upper),
            other => return Err(not_so(of, &format!("`case_change_action` {other}"))),
        };
        let stop = of.texts("stopwords");
        let compare = match of.int("is_case_sensitive", 0) {
            0 => Some(change.unwrap_or(Case::Lower)),
            _ => None,
        };
        let locale = match change.or(compare.filter(|_| !stop.is_empty())) {
            Some(_) => Locale::read(of)?,
            None => Locale::Unicode,
        };
        let stop = stop.into_iter();
        Ok(Self {
            change,
            locale,
            stop: stop.map(|t| changed(locale, compare, &t)).collect(),
            compare,
        })
    }
}

fn changed(locale: Locale, case: Option<Case>, text: &str) -> String {
    case.map_or_else(|| text.to_owned(), |case| locale.change(case, text))
}

impl Operator for StringNormalizer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let outer = match input.dims[..] {
            [texts] if texts > 0 => vec![],
            [1, texts] if texts > 0 => vec![1],
            _ => {
                let text = format!(
                    "a shape of {:?} where a list of texts is needed",
                    input.dims
                );
                return Err(failed(text));
            }
        };
        let is_stopped = |text: &String| {
            let stop = &self.stop;
            !stop.is_empty() && stop.contains(&changed(self.locale, self.compare, text))
        };
        let left = texts(input)?.iter().filter(|text| !is_stopped(text));
        let mut left: Vec<String> = left
            .map(|text| changed(self.locale, self.change, text))
            .collect();
        // ONNX says so: a list is never empty.
        if left.is_empty() {
            left.push(String::new());
        }
        let dims = [&outer[..], &[left.len()]].concat();
        Ok(vec![Tensor::new(dims, Data::Text(left))?])
    }
}
