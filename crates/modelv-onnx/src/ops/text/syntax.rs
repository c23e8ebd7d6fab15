//! Patterns of RE2 as patterns of the library here.
//!
//! Both mean the same by most of what is written; classes like `\w` are of ASCII in RE2, and sets of characters
//! are read otherwise. So all is written anew, and what is not known to mean the same is refused.

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;
const WORD: &str = "0-9A-Za-z_";
const DIGIT: &str = "0-9";
const SPACE: &str = r"\t\n\x0C\r ";
/// Classes that are written `[:name:]` inside of a set.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// # Errors
/// What of it is not run here.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("more than {PATTERN_BYTES_MAX} bytes"));
    }
    let mut reader = Reader {
        left: pattern,
        out: String::new(),
    };
    while let Some(c) = reader.next() {
        reader.item(c)?;
    }
    Ok(reader.out)
}

struct Reader<'a> {
    left: &'a str,
    out: String,
}

/// What an escape stands for.
enum Escaped {
    One(char),
    /// Characters of a set, or all others.
    Class(&'static str, bool),
    Place(&'static str),
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.left.chars().next()?;
        self.left = &self.left[c.len_utf8()..];
        Some(c)
    }

    fn takes(&mut self, start: &str) -> bool {
        let rest = self.left.strip_prefix(start);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    }

    fn item(&mut self, c: char) -> Result<(), String> {
        match c {
            '\\' => match self.escape()? {
                Escaped::One(c) => self.literal(c),
                Escaped::Class(set, false) => self.out.push_str(&format!("[{set}]")),
                Escaped::Class(set, true) => self.out.push_str(&format!("[^{set}]")),
                Escaped::Place(text) => self.out.push_str(text),
            },
            '[' => self.set()?,
            '(' => self.group()?,
            '{' => {
                let count = self.count();
                self.out.push_str(&count);
            }
            '.' | '|' | ')' | '*' | '+' | '?' | '^' | '$' => self.out.push(c),
            _ => self.literal(c),
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<Escaped, String> {
        let c = self.next().ok_or("`\\` at its end")?;
        Ok(match c {
            'w' => Escaped::Class(WORD, false),
            'W' => Escaped::Class(WORD, true),
            'd' => Escaped::Class(DIGIT, false),
            'D' => Escaped::Class(DIGIT, true),
            's' => Escaped::Class(SPACE, false),
            'S' => Escaped::Class(SPACE, true),
            'b' => Escaped::Place(r"(?-u:\b)"),
            'A' => Escaped::Place(r"\A"),
            'z' => Escaped::Place(r"\z"),
            'a' => Escaped::One('\x07'),
            'f' => Escaped::One('\x0C'),
            'n' => Escaped::One('\n'),
            'r' => Escaped::One('\r'),
            't' => Escaped::One('\t'),
            'v' => Escaped::One('\x0B'),
            'x' => Escaped::One(self.number()?),
            _ if c.is_ascii_punctuation() => Escaped::One(c),
            _ => return Err(format!("`\\{c}`")),
        })
    }

    /// The character of `\x41` or `\x{1F600}`.
    fn number(&mut self) -> Result<char, String> {
        let wrong = || "`\\x` of no character".to_owned();
        let digits = match self.takes("{") {
            true => {
                let (digits, rest) = self.left.split_once('}').ok_or_else(wrong)?;
                self.left = rest;
                digits
            }
            false => {
                let (digits, rest) = self.left.split_at_checked(2).ok_or_else(wrong)?;
                self.left = rest;
                digits
            }
        };
        let is_number = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_number);
        number.and_then(char::from_u32).ok_or_else(wrong)
    }

    /// How often, or the brace alone where it says nothing like that.
    fn count(&mut self) -> String {
        let said = self.left.split_once('}').filter(|(inner, _)| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
            let is_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
            !least.is_empty() && is_digits(least) && is_digits(most)
        });
        match said {
            Some((inner, rest)) => {
                self.left = rest;
                format!("{{{inner}}}")
            }
            None => r"\{".to_owned(),
        }
    }

    /// A group; what it is called does not matter.
    fn group(&mut self) -> Result<(), String> {
        if !self.takes("?") {
            self.out.push_str("(?:");
            return Ok(());
        }
        if self.takes("P<") || self.takes("<") {
            let (_, rest) = self.left.split_once('>').ok_or("`(?P<`")?;
            self.left = rest;
            self.out.push_str("(?:");
            return Ok(());
        }
        let end = self.left.find([':', ')']).ok_or("`(?`")?;
        let flags = &self.left[..end];
        if flags.bytes().any(|b| !b"sm".contains(&b)) {
            return Err(format!("`(?{flags}`"));
        }
        self.out.push_str("(?");
        self.out.push_str(&self.left[..=end]);
        self.left = &self.left[end + 1..];
        Ok(())
    }

    /// `[...]`.
    fn set(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.takes("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.next().ok_or("`[` without an end")?;
            if c == ']' && !is_first {
                self.out.push(']');
                return Ok(());
            }
            is_first = false;
            if c == '[' && self.left.starts_with(':') {
                self.posix()?;
                continue;
            }
            let Some(from) = self.member(c)? else {
                continue;
            };
            self.literal(from);
            let is_range = self.left.starts_with('-') && !self.left.starts_with("-]");
            if is_range && self.takes("-") {
                let c = self.next().ok_or("`[` without an end")?;
                let to = match c {
                    '\\' => match self.escape()? {
                        Escaped::One(c) => c,
                        _ => return Err("a range to no character".into()),
                    },
                    c => c,
                };
                self.out.push('-');
                self.literal(to);
            }
        }
    }

    /// A character of a set; `None`: it was a class.
    fn member(&mut self, c: char) -> Result<Option<char>, String> {
        if c != '\\' {
            return Ok(Some(c));
        }
        match self.escape()? {
            Escaped::One(c) => return Ok(Some(c)),
            Escaped::Class(set, false) => self.out.push_str(set),
            Escaped::Class(set, true) => self.out.push_str(&format!("[^{set}]")),
            Escaped::Place(_) => return Err("a place inside of `[`".into()),
        }
        Ok(None)
    }

    fn posix(&mut self) -> Result<(), String> {
        let (inner, rest) = self.left[1..].split_once(":]").ok_or("`[[:`")?;
        if !POSIX.contains(&inner.trim_start_matches('^')) {
            return Err(format!("`[:{inner}:]`"));
        }
        self.out.push_str(&format!("[:{inner}:]"));
        self.left = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn what_means_the_same_is_written_anew() {
        for (re2, want) in [
            (
                "[a-zA-Z0-9_]+",
                r"[\x{61}-\x{7A}\x{41}-\x{5A}\x{30}-\x{39}\x{5F}]+",
            ),
            (r"\b\w\w+\b", r"(?-u:\b)[0-9A-Za-z_][0-9A-Za-z_]+(?-u:\b)"),
            (r"[^\W_]", r"[^[^0-9A-Za-z_]\x{5F}]"),
            ("[[&-]", r"[\x{5B}\x{26}\x{2D}]"),
            ("[]a]", r"[\x{5D}\x{61}]"),
            (r"[\]\-]", r"[\x{5D}\x{2D}]"),
            ("[[:alpha:]-]", r"[[:alpha:]\x{2D}]"),
            (
                "a{2,}|b{x}|c{1,2}",
                r"\x{61}{2,}|\x{62}\{\x{78}\x{7D}|\x{63}{1,2}",
            ),
            ("(?P<n>é)(b)(?s:.)", r"(?:\x{E9})(?:\x{62})(?s:.)"),
            (r"\x41\x{1F600}\.", r"\x{41}\x{1F600}\x{2E}"),
        ] {
            assert_eq!(translate(re2).as_deref(), Ok(want), "{re2}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_refused() {
        for (re2, want) in [
            (r"\p{L}+", "`\\p`"),
            (r"\Bx", "`\\B`"),
            ("(?i)a", "`(?i`"),
            ("(?u)a", "`(?u`"),
            ("[a", "without an end"),
            (r"[\b]", "a place"),
            (r"[a-\d]", "a range"),
            ("[[:wörd:]]", "`[:wörd:]`"),
            (r"\x{110000}", "no character"),
            (r"\xé", "no character"),
            ("a\\", "at its end"),
            ("(?", "`(?`"),
        ] {
            let said = translate(re2).unwrap_err();
            assert!(said.contains(want), "{re2}: {said}");
        }
        assert!(translate(&"a".repeat(5000)).is_err());
    }
}
