//! Lines of a file beside each other, with the words that differ marked.

use modelv_repo::core::driver::{Block, In, LineDiff, opposite, words};

use super::{CELL_CHARS_MAX, Html};

/// So many rows of one file are shown.
const ROWS_MAX: usize = 2_000;

/// Old lines on the left, new ones on the right; on a narrow screen below each other. `command` shows
/// what is cut.
pub(super) fn side_by_side(out: &mut Html, name: &str, lines: &LineDiff<'_>, command: &str) {
    out.raw("<table class=\"lines\"><caption>Lines of ")
        .text(name);
    out.raw("</caption><thead><tr><th>old</th><td>before</td><th>new</th><td>after</td></tr>")
        .raw("</thead><tbody>\n");
    let mut rows = 0;
    let mut is_cut = false;
    for hunk in lines.hunks(3) {
        is_cut = rows >= ROWS_MAX || out.is_full();
        if is_cut {
            break;
        }
        let title = hunk.title();
        out.element(
            "<tr><td class=\"hunk\" colspan=\"4\">",
            &title,
            "</td></tr>\n",
        );
        for block in &hunk.blocks {
            rows += self::block(out, block, ROWS_MAX.saturating_sub(rows));
        }
    }
    out.raw("</tbody></table>\n");
    if is_cut || rows > ROWS_MAX {
        out.note(&format!(
            "Cut here: the rest of this file differs too and is not shown. `{command}` shows all."
        ));
    }
}

fn block(out: &mut Html, block: &Block<'_, '_>, room: usize) -> usize {
    let rows: Vec<(Option<usize>, Option<usize>)> = if block.kept {
        (0..block.old.len()).map(|i| (Some(i), Some(i))).collect()
    } else {
        opposite(block.old, block.new)
    };
    let count = rows.len();
    for (a, b) in rows.into_iter().take(room) {
        let text = |side: &[&[u8]], i: Option<usize>| {
            let line = i.map(|i| String::from_utf8_lossy(side[i]).into_owned());
            line.map(|l| l.trim_end_matches(['\n', '\r']).to_owned())
        };
        let (old, new) = (text(block.old, a), text(block.new, b));
        let pair = old.as_deref().zip(new.as_deref()).filter(|_| !block.kept);
        out.raw("<tr>");
        cell(
            out,
            In::Old,
            a.map(|i| block.old_at + i + 1),
            old.as_deref(),
            pair,
            block.kept,
        );
        cell(
            out,
            In::New,
            b.map(|i| block.new_at + i + 1),
            new.as_deref(),
            pair,
            block.kept,
        );
        out.raw("</tr>\n");
    }
    count
}

/// Number and text of one side of a row.
fn cell(
    out: &mut Html,
    side: In,
    number: Option<usize>,
    text: Option<&str>,
    pair: Option<(&str, &str)>,
    kept: bool,
) {
    let (Some(number), Some(text)) = (number, text) else {
        out.raw("<th class=\"none\"></th><td class=\"none\"></td>");
        return;
    };
    // What is the same on both sides need not be there twice on a narrow screen.
    out.raw(match side {
        In::New if kept => "<th scope=\"row\" class=\"same\">",
        _ => "<th scope=\"row\">",
    });
    out.count(number).raw("</th>");
    out.raw(match side {
        In::New if kept => "<td class=\"same\">",
        _ if kept => "<td>",
        In::Old => "<td class=\"del\">",
        _ => "<td class=\"ins\">",
    });
    let is_short = |(old, new): &(&str, &str)| old.len().max(new.len()) <= CELL_CHARS_MAX;
    match pair.filter(is_short) {
        None => {
            out.clipped(text);
        }
        Some(pair) => marked(out, side, pair),
    }
    out.raw("</td>");
}

/// One side of a pair of lines, with the words that the other does not have.
fn marked(out: &mut Html, side: In, (old, new): (&str, &str)) {
    for piece in words(old, new) {
        match piece.side {
            In::Both => {
                out.text(&piece.text);
            }
            In::Old if side == In::Old => {
                out.element("<del>", &piece.text, "</del>");
            }
            In::New if side == In::New => {
                out.element("<ins>", &piece.text, "</ins>");
            }
            _ => {}
        }
    }
}
