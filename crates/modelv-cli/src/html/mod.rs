//! Reports as one page: nothing outside of it is loaded, no script runs, everything is escaped.
//!
//! Markup comes from literals alone ([`Html::raw`] takes nothing else); all that was found in a
//! repository goes through [`Html::text`]. A page that holds something unescaped can't be written.

mod chart;
mod diff;
mod lines;
mod runs;
mod tables;

use std::fmt::Write;

pub(crate) use diff::diff_page;
pub(crate) use runs::runs_page;

/// A page grows to about this and no further, in bytes; what is left out is said.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// So many characters of one cell or line are shown.
const CELL_CHARS_MAX: usize = 2_000;

/// Markup under construction.
#[derive(Debug, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Markup, as it is.
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0 += markup;
        self
    }

    /// Text of any origin.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0 += "&amp;",
                '<' => self.0 += "&lt;",
                '>' => self.0 += "&gt;",
                '"' => self.0 += "&quot;",
                '\'' => self.0 += "&#39;",
                '\t' | '\n' => self.0.push(c),
                c if c.is_control() || is_hidden(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Text of any origin and length: the rest of a long one is counted.
    fn clipped(&mut self, text: &str) -> &mut Self {
        let Some((cut, _)) = text.char_indices().nth(CELL_CHARS_MAX) else {
            return self.text(text);
        };
        let left = text[cut..].chars().count();
        self.text(&text[..cut]);
        self.element(" <em>", &format!("… and {left} more characters"), "</em>")
    }

    /// A number.
    fn number(&mut self, number: f64) -> &mut Self {
        let _ = write!(self.0, "{number:.2}");
        self
    }

    /// A whole number.
    fn count(&mut self, number: usize) -> &mut Self {
        let _ = write!(self.0, "{number}");
        self
    }

    /// An element with text in it.
    fn element(&mut self, open: &'static str, text: &str, close: &'static str) -> &mut Self {
        self.raw(open).text(text).raw(close)
    }

    /// A row of cells; the first one heads it.
    fn row(&mut self, cells: &[&str]) -> &mut Self {
        self.raw("<tr>");
        for (i, cell) in cells.iter().enumerate() {
            if i == 0 {
                self.raw("<th scope=\"row\">").clipped(cell).raw("</th>");
            } else {
                self.raw("<td>").clipped(cell).raw("</td>");
            }
        }
        self.raw("</tr>\n")
    }

    /// Opens a table that scrolls by itself where it is too wide.
    fn table(&mut self, caption: &str, heads: &[&str]) -> &mut Self {
        self.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
        self.text(caption).raw("\"><table><caption>").text(caption);
        self.raw("</caption><thead><tr>");
        for head in heads {
            self.element("<th scope=\"col\">", head, "</th>");
        }
        self.raw("</tr></thead><tbody>\n")
    }

    fn end_table(&mut self) -> &mut Self {
        self.raw("</tbody></table></div>\n")
    }

    fn note(&mut self, text: &str) -> &mut Self {
        self.element("<p class=\"note\">", text, "</p>\n")
    }

    /// Whether there is no room for more.
    fn is_full(&self) -> bool {
        self.0.len() >= PAGE_BYTES_MAX
    }
}

/// Characters that change how others are read without being seen: directions of writing.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The frame around a report.
pub(crate) fn page(title: &str, body: &Html) -> String {
    let mut out = Html::default();
    out.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"color-scheme\" content=\"light dark\">\n")
        .element("<title>", title, "</title>\n")
        .raw("<style>\n")
        .raw(include_str!("style.css"))
        .raw("</style>\n</head>\n<body>\n<main>\n")
        .element("<h1>", title, "</h1>\n");
    out.0 += &body.0;
    out.raw("</main>\n<footer>modelv ")
        .text(env!("CARGO_PKG_VERSION"))
        .raw("</footer>\n</body>\n</html>\n");
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_in_unescaped() {
        let hostile = "<script>alert('x')</script>\" onload=\"x & \u{202e}y\u{0}";
        let mut body = Html::default();
        body.table(hostile, &[hostile])
            .row(&[hostile, hostile])
            .end_table();
        let page = page(hostile, &body);
        assert!(
            !page.contains("<script") && !page.contains("\" onload"),
            "{page}"
        );
        assert!(!page.contains('\u{202e}') && !page.contains('\0'));
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count(), 7);
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn long_text_is_cut_and_counted() {
        let mut out = Html::default();
        out.row(&["a", &"ä<".repeat(5_000)]);
        assert!(out.0.len() < 3 * 3 * CELL_CHARS_MAX);
        assert!(
            out.0.contains("… and 8000 more characters</em></td>"),
            "{}",
            out.0
        );
        let mut whole = Html::default();
        whole.clipped(&"ä".repeat(CELL_CHARS_MAX));
        assert!(!whole.0.contains("more"));
    }
}
