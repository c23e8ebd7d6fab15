//! A pattern that is found leftmost, and from there as long as it goes, as RE2 finds it for the reference runtime.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta;
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};

use super::syntax::translate;
use crate::error::{Error, Result, failed};
use crate::ops::attributes::Attributes;
use crate::ops::not_so;

/// Most bytes of a pattern when it is ready to run.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(super) struct Pattern {
    /// Says where the leftmost one begins.
    begins: meta::Regex,
    /// Says how long it can be from there.
    ends: DFA,
}

impl Pattern {
    /// `name` is the attribute that it is from.
    pub(super) fn read(of: &Attributes<'_>, name: &str, text: &str) -> Result<Self> {
        let refused = |what: &str| not_so(of, &format!("`{name}` of {what}"));
        let text = translate(text).map_err(|what| refused(&what))?;
        Self::new(&text).ok_or_else(|| refused("no pattern that can be run here"))
    }

    fn new(text: &str) -> Option<Self> {
        let config = meta::Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX));
        let begins = meta::Builder::new().configure(config).build(text).ok()?;
        let limit = thompson::Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX));
        let ends = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::All))
            .thompson(limit)
            .build(text)
            .ok()?;
        Some(Self { begins, ends })
    }

    /// What one thread needs for finding it.
    pub(super) fn cache(&self) -> Cache {
        self.ends.create_cache()
    }

    /// The first one at `from` or behind it, with what stands before it in view.
    pub(super) fn find(
        &self,
        text: &str,
        from: usize,
        cache: &mut Cache,
    ) -> Result<Option<(usize, usize)>> {
        let Some(found) = self.begins.find(Input::new(text).range(from..)) else {
            return Ok(None);
        };
        let start = found.start();
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let end = self.ends.try_search_fwd(cache, &input);
        let end = end.map_err(|e| failed(format!("a pattern fails: {e}")))?;
        let end = end.map_or(found.end(), |half| half.offset());
        Ok(Some((start, end)))
    }

    /// Whether it is found where nothing is.
    pub(super) fn finds_nothing(&self) -> bool {
        self.begins.is_match("")
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pattern")
    }
}

/// A list of patterns; none of them is found where nothing is.
pub(super) fn separators(of: &Attributes<'_>, all: &[String]) -> Result<Vec<Pattern>> {
    let read = |text: &String| -> Result<Pattern, Error> {
        let pattern = Pattern::read(of, "separators", text)?;
        match pattern.finds_nothing() {
            true => Err(not_so(of, "`separators` that may be empty")),
            false => Ok(pattern),
        }
    };
    all.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leftmost_is_found_as_long_as_it_goes() {
        let check = |re2: &str, text: &str, from: usize, want: Option<&str>| {
            let pattern = Pattern::new(&translate(re2).unwrap()).unwrap();
            let found = pattern.find(text, from, &mut pattern.cache()).unwrap();
            assert_eq!(found.map(|(a, b)| &text[a..b]), want, "{re2} in {text}");
        };
        check("a|ab|abc", "xabcd", 0, Some("abc"));
        check("a+?", "aaa b", 0, Some("aaa"));
        check("a*", "baaa", 0, Some(""));
        check("[^ ]+", " naïve\nx y", 0, Some("naïve\nx"));
        check(".", "é", 0, Some("é"));
        check(".", "\n", 0, None);
        check("^ab", "ab ab", 1, None);
        check(r"\bb", "ab b", 1, Some("b"));
        check(r"\w+", "é1", 0, Some("1"));
        check("(?m)^b$", "a\nb\nc", 0, Some("b"));
    }

    #[test]
    fn a_pattern_that_would_grow_large_is_none() {
        assert!(Pattern::new("((((a{50}){50}){50}){50})").is_none());
        assert!(Pattern::new("(a").is_none());
    }
}
