//! Texts of other people, who must not drive the terminal: control characters are escaped, as in
//! names of files.

use std::borrow::Cow;

/// A text without control characters but tabs and line ends: a message, say.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

/// What goes to a terminal: the same, but for our own colours.
pub(super) fn painted(text: &str) -> Cow<'_, str> {
    escape(text, true)
}

fn escape(text: &str, keeps_colors: bool) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\t' | '\n');
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '\x1b' if keeps_colors => color_bytes(rest),
            _ => None,
        };
        let (head, tail) = rest.split_at(end.unwrap_or(c.len_utf8()));
        // A line end of other systems moves nothing but to where the next line begins.
        let is_line_end = c == '\r' && matches!(tail.chars().next(), None | Some('\n' | '\x1b'));
        match end.is_some() || is_harmless(c) || is_line_end {
            true => out.push_str(head),
            false => out.extend(c.escape_default()),
        }
        rest = tail;
    }
    Cow::Owned(out)
}

/// Bytes of the colour that a text begins with: `ESC [ digits m`, no other sequence.
fn color_bytes(text: &str) -> Option<usize> {
    let code = text.strip_prefix("\x1b[")?;
    let end = code.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    code[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colors_of_our_own_pass() {
        let text = "a\tb\n\u{e9}\r\n";
        assert!(matches!(plain(text), Cow::Owned(t) if t == text));
        assert!(matches!(plain("a\tb"), Cow::Borrowed(_)));
        assert_eq!(plain("\x1b[31mred\x07"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(painted("\x1b[7;32mx\x1b[0m\r"), "\x1b[7;32mx\x1b[0m\r");
        assert_eq!(
            painted("\x1b[2J\x1b]0;t\x07"),
            "\\u{1b}[2J\\u{1b}]0;t\\u{7}"
        );
        assert_eq!(painted("ab\rcd\u{9b}1m\x1b["), "ab\\rcd\\u{9b}1m\\u{1b}[");
    }
}
