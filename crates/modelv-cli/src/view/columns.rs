//! Old and new beside each other, in the width of the terminal. Long lines go on below.

use modelv_repo::core::driver::{In, LineDiff, Piece, opposite, words};
use unicode_width::UnicodeWidthChar;

use super::text::{clean, title};
use crate::ui::{Style, Ui};

const TAB: usize = 8;

/// A text in its style.
type Span = (Option<Style>, String);

/// One side of a row.
struct Cell {
    number: usize,
    sign: char,
    spans: Vec<Span>,
}

pub(super) fn side_by_side(ui: &mut Ui, lines: &LineDiff<'_>, context: usize) {
    for hunk in lines.hunks(context) {
        title(ui, &hunk.title());
        let digits = hunk.old.end.max(hunk.new.end).to_string().len().max(3);
        // Number, space, sign, space; text; ` | ` between both.
        let width = (ui.width().saturating_sub(3) / 2).saturating_sub(digits + 3);
        for block in &hunk.blocks {
            let rows = if block.kept {
                (0..block.old.len()).map(|i| (Some(i), Some(i))).collect()
            } else {
                opposite(block.old, block.new)
            };
            for (a, b) in rows {
                let text = |side: &[&[u8]], i: Option<usize>| {
                    i.map(|i| clean(&String::from_utf8_lossy(side[i])))
                };
                let (old, new) = (text(block.old, a), text(block.new, b));
                let (left, right) = spans(old.as_deref(), new.as_deref(), block.kept);
                let cell = |spans: Option<Vec<Span>>, at: usize, i: Option<usize>, sign: char| {
                    let sign = if block.kept { ' ' } else { sign };
                    let number = at + i.unwrap_or_default() + 1;
                    spans.map(|spans| Cell {
                        number,
                        sign,
                        spans,
                    })
                };
                row(
                    ui,
                    cell(left, block.old_at, a, '-'),
                    cell(right, block.new_at, b, '+'),
                    (digits, width),
                );
            }
        }
    }
}

/// The texts of both sides with their styles.
fn spans(
    old: Option<&str>,
    new: Option<&str>,
    kept: bool,
) -> (Option<Vec<Span>>, Option<Vec<Span>>) {
    let whole = |text: &str, style: Option<Style>| vec![(style, text.to_owned())];
    if kept {
        return (old.map(|t| whole(t, None)), new.map(|t| whole(t, None)));
    }
    let (Some(a), Some(b)) = (old, new) else {
        return (
            old.map(|t| whole(t, Some(Style::Removed))),
            new.map(|t| whole(t, Some(Style::Added))),
        );
    };
    let pieces = words(a, b);
    let of = |side: In, plain: Style, strong: Style| {
        let mine = pieces
            .iter()
            .filter(|p| p.side == side || p.side == In::Both);
        mine.map(|Piece { side, text }| {
            let style = if *side == In::Both { plain } else { strong };
            (Some(style), text.clone())
        })
        .collect()
    };
    (
        Some(of(In::Old, Style::Removed, Style::RemovedWord)),
        Some(of(In::New, Style::Added, Style::AddedWord)),
    )
}

fn row(ui: &mut Ui, left: Option<Cell>, right: Option<Cell>, (digits, width): (usize, usize)) {
    let fold = |cell: &Option<Cell>| {
        cell.as_ref()
            .map_or_else(Vec::new, |c| fold(ui, &c.spans, width))
    };
    let (a, b) = (fold(&left), fold(&right));
    let empty = (String::new(), 0);
    for i in 0..a.len().max(b.len()) {
        let (x, used) = a.get(i).unwrap_or(&empty);
        let (y, _) = b.get(i).unwrap_or(&empty);
        let gap = " ".repeat(width.saturating_sub(*used));
        let bar = ui.paint(Style::Faint, "|");
        let heads = [&left, &right].map(|c| head(ui, c.as_ref().filter(|_| i == 0), digits));
        let text = format!("{}{x}{gap} {bar} {}{y}", heads[0], heads[1]);
        ui.line(text.trim_end());
    }
}

/// Number and sign before the first piece of a line.
fn head(ui: &Ui, cell: Option<&Cell>, digits: usize) -> String {
    match cell {
        Some(c) => ui.paint(Style::Faint, &format!("{:>digits$} {} ", c.number, c.sign)),
        None => " ".repeat(digits + 3),
    }
}

/// Cuts a line into pieces of at most `width` columns, each with the columns it fills. Tabs become
/// spaces.
fn fold(ui: &Ui, spans: &[Span], width: usize) -> Vec<(String, usize)> {
    let mut out = vec![(String::new(), 0)];
    let mut column = 0;
    for (style, text) in spans {
        let mut run = String::new();
        let flush = |run: &mut String, out: &mut Vec<(String, usize)>| {
            if let Some((line, _)) = out.last_mut() {
                *line += &style.map_or_else(|| run.clone(), |s| ui.paint(s, run));
            }
            run.clear();
        };
        for c in text.chars().filter(|c| *c != '\n') {
            let (shown, wide) = match c {
                '\t' => {
                    let wide = TAB - column % TAB;
                    (" ".repeat(wide), wide)
                }
                c => (c.to_string(), c.width().unwrap_or(0)),
            };
            column += wide;
            if out.last().is_some_and(|(_, used)| used + wide > width) {
                flush(&mut run, &mut out);
                out.push((String::new(), 0));
            }
            run += &shown;
            if let Some((_, used)) = out.last_mut() {
                *used += wide;
            }
        }
        if !run.is_empty() {
            flush(&mut run, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Color;

    #[test]
    fn long_lines_are_folded_by_columns_and_not_by_bytes() {
        let ui = Ui::new(Color::Never);
        let folded = |text: &str| fold(&ui, &[(None, text.to_owned())], 4);
        assert_eq!(folded("abcdef\n"), [("abcd".into(), 4), ("ef".into(), 2)]);
        // Wide letters fill two columns, combining ones none.
        assert_eq!(folded("日本語"), [("日本".into(), 4), ("語".into(), 2)]);
        assert_eq!(folded("e\u{301}bcd"), [("e\u{301}bcd".into(), 4)]);
        assert_eq!(folded(""), [(String::new(), 0)]);
        let ui = Ui::new(Color::Always);
        let spans = [(Some(Style::Added), "ab".to_owned()), (None, "cde".into())];
        assert_eq!(
            fold(&ui, &spans, 4),
            [("\u{1b}[32mab\u{1b}[0mcd".into(), 4), ("e".into(), 1)]
        );
    }
}
