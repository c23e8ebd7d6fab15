//! Lines that differ: removed ones then added ones, or once with marks around the words.

use modelv_repo::core::driver::{Block, In, LineDiff, opposite, words};

use crate::ui::{Style, Ui};

const INDENT: &str = "    ";

/// Hunks as Git shows them. In colour, the words that differ inside of a line stand out.
pub(super) fn unified(ui: &mut Ui, lines: &LineDiff<'_>, context: usize) {
    for hunk in lines.hunks(context) {
        title(ui, &hunk.title());
        for block in &hunk.blocks {
            if block.kept {
                block.old.iter().for_each(|l| put(ui, ' ', l));
            } else if ui.is_colored() {
                highlighted(ui, block);
            } else {
                block.old.iter().for_each(|l| put(ui, '-', l));
                block.new.iter().for_each(|l| put(ui, '+', l));
            }
        }
    }
}

pub(super) fn title(ui: &mut Ui, text: &str) {
    let text = ui.paint(Style::Hunk, &clean(text));
    ui.line(format!("{INDENT}{text}"));
}

fn put(ui: &mut Ui, sign: char, line: &[u8]) {
    let text = clean(&String::from_utf8_lossy(line));
    let style = match sign {
        '+' => Style::Added,
        '-' => Style::Removed,
        _ => Style::Faint,
    };
    let text = ui.paint(style, &format!("{sign}{}", text.trim_end_matches('\n')));
    ui.line(format!("{INDENT}{text}"));
    no_newline(ui, line);
}

fn no_newline(ui: &mut Ui, line: &[u8]) {
    if !line.ends_with(b"\n") {
        let text = ui.paint(Style::Faint, "\\ No newline at end of file");
        ui.line(format!("{INDENT}{text}"));
    }
}

fn highlighted(ui: &mut Ui, block: &Block<'_, '_>) {
    let pairs = opposite(block.old, block.new);
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (a, b) in pairs {
        let text =
            |side: &[&[u8]], i: Option<usize>| i.map(|i| clean(&String::from_utf8_lossy(side[i])));
        let (a, b) = (text(block.old, a), text(block.new, b));
        let paint = |side: In, plain: Style, strong: Style, whole: &str| match (&a, &b) {
            (Some(a), Some(b)) => words(a, b)
                .iter()
                .filter(|p| p.side == side || p.side == In::Both)
                .map(|p| {
                    let style = if p.side == In::Both { plain } else { strong };
                    ui.paint(style, p.text.trim_end_matches('\n'))
                })
                .collect(),
            _ => ui.paint(plain, whole.trim_end_matches('\n')),
        };
        if let Some(whole) = &a {
            old.push(paint(In::Old, Style::Removed, Style::RemovedWord, whole));
        }
        if let Some(whole) = &b {
            new.push(paint(In::New, Style::Added, Style::AddedWord, whole));
        }
    }
    for (sign, style, side, texts) in [
        ('-', Style::Removed, block.old, old),
        ('+', Style::Added, block.new, new),
    ] {
        let sign = ui.paint(style, &sign.to_string());
        for (text, line) in texts.iter().zip(side) {
            ui.line(format!("{INDENT}{sign}{text}"));
            no_newline(ui, line);
        }
    }
}

/// Each line once: `[-what went-]` and `{+what came+}`, or in colour.
pub(super) fn word_by_word(ui: &mut Ui, lines: &LineDiff<'_>, context: usize) {
    for hunk in lines.hunks(context) {
        title(ui, &hunk.title());
        for block in &hunk.blocks {
            let joined = |side: &[&[u8]]| clean(&String::from_utf8_lossy(&side.concat()));
            let (old, new) = (joined(block.old), joined(block.new));
            let mut out = String::new();
            for piece in words(&old, &new) {
                // A mark never spans lines, so that every line can be read by itself.
                for (i, text) in piece.text.split('\n').enumerate() {
                    if i > 0 {
                        out.push('\n');
                    }
                    out += &marked(ui, piece.side, text);
                }
            }
            for line in out.trim_end_matches('\n').split('\n') {
                ui.line(format!("{INDENT}{line}"));
            }
        }
    }
}

fn marked(ui: &Ui, side: In, text: &str) -> String {
    match side {
        _ if text.is_empty() => String::new(),
        In::Both => text.to_owned(),
        In::Old if ui.is_colored() => ui.paint(Style::Removed, text),
        In::New if ui.is_colored() => ui.paint(Style::Added, text),
        In::Old => format!("[-{text}-]"),
        In::New => format!("{{+{text}+}}"),
    }
}

/// A text that can't drive the terminal: control characters but tabs and line ends are replaced.
pub(super) fn clean(text: &str) -> String {
    let plain = |c: char| match c {
        '\t' | '\n' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(plain).collect()
}
