//! Letters from one case to the other, each by itself, as a locale of the C library does it.

use crate::error::Result;
use crate::ops::attributes::Attributes;
use crate::ops::not_so;

/// Languages with rules of their own for the letter `i`.
const OTHER: [&str; 5] = ["az", "crh", "ku", "tr", "tt"];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Case {
    Lower,
    Upper,
}

/// Which letters have cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Locale {
    Ascii,
    Unicode,
}

impl Locale {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let name = of.text("locale", "en_US.UTF-8");
        if name == "C" || name == "POSIX" {
            return Ok(Self::Ascii);
        }
        let (language, set) = name.split_once('.').unwrap_or((&name, ""));
        let language = language.split(['_', '-']).next().unwrap_or_default();
        let is_unicode = matches!(set.to_lowercase().as_str(), "utf-8" | "utf8");
        // Of Windows: `en-US`, always of Unicode.
        let is_known = is_unicode || (set.is_empty() && name == "en-US");
        match is_known && !OTHER.contains(&language) {
            true => Ok(Self::Unicode),
            false => Err(not_so(of, &format!("`locale` {name}"))),
        }
    }

    /// A text in one case.
    pub(super) fn change(self, case: Case, text: &str) -> String {
        match (self, case) {
            (Self::Ascii, Case::Lower) => text.to_ascii_lowercase(),
            (Self::Ascii, Case::Upper) => text.to_ascii_uppercase(),
            (Self::Unicode, Case::Lower) => text.chars().map(lower).collect(),
            (Self::Unicode, Case::Upper) => text.chars().map(upper).collect(),
        }
    }
}

fn lower(c: char) -> char {
    let mut all = c.to_lowercase();
    // The only one that becomes two: `İ`.
    all.next().unwrap_or(c)
}

/// One letter stays one: what would become several has a letter of its own for that, or stays as it is.
fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => {
            let number = u32::from(c);
            let to = match number {
                0x1F80..=0x1F87 | 0x1F90..=0x1F97 | 0x1FA0..=0x1FA7 => number + 8,
                0x1FB3 | 0x1FC3 | 0x1FF3 => number + 9,
                _ => number,
            };
            char::from_u32(to).unwrap_or(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_is_changed_by_itself() {
        let lower = |text| Locale::Unicode.change(Case::Lower, text);
        let upper = |text| Locale::Unicode.change(Case::Upper, text);
        assert_eq!(
            lower("ÀÉ Straße İI ǅ ΣΑΣ ẞ 😀A𐐀"),
            "àé straße ii ǆ σασ ß 😀a𐐨"
        );
        assert_eq!(
            upper("àé straße ıi ǆ σας ŉ ﬁ ᾀ ᾳ"),
            "ÀÉ STRAßE II Ǆ ΣΑΣ ŉ ﬁ ᾈ ᾼ"
        );
        assert_eq!(Locale::Ascii.change(Case::Lower, "IÉ"), "iÉ");
        assert_eq!(Locale::Ascii.change(Case::Upper, "ié"), "Ié");
    }

    #[test]
    fn letters_stay_as_many_as_they_were() {
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            for case in [Case::Lower, Case::Upper] {
                assert_eq!(
                    Locale::Unicode.change(case, &text).chars().count(),
                    1,
                    "{c}"
                );
            }
        }
    }
}
