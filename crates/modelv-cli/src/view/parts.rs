//! Parts of a file that differ, each on a line: keys, packages, columns, rows, cells, tensors.

use modelv_repo::FileDiff;
use modelv_repo::core::driver::{Change, ImageChange, Numbers, State, TensorChange};
use modelv_repo::core::value::Value;

use crate::ui::{Style, Ui, size};

/// Lines, rows and bytes of a file in brackets.
pub(super) fn counts(ui: &Ui, file: &FileDiff) -> String {
    let mut parts = Vec::new();
    for change in &file.inside {
        match change {
            Change::Lines { added, removed } => {
                parts.push(format!("+{added} -{removed} lines"));
            }
            Change::Rows { old, new } => parts.push(format!("{old} -> {new} rows")),
            Change::Keyed {
                key,
                added,
                removed,
                changed,
            } => parts.push(format!("by {key}: +{added} -{removed} ~{changed}")),
            Change::Bytes { old, new } => {
                parts.push(format!("{} -> {}", size(*old), size(*new)));
            }
            _ => {}
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    ui.paint(Style::Faint, &format!("  ({})", parts.join(", ")))
}

/// A part of a file on one line; `None`: it is in the summary of the file.
pub(super) fn part_line(ui: &Ui, change: &Change) -> Option<String> {
    let line = |name: &str, old: Option<String>, new: Option<String>| match (old, new) {
        (None, Some(new)) => ui.paint(Style::Added, &format!("+ {name} = {new}")),
        (Some(old), None) => ui.paint(Style::Removed, &format!("- {name} = {old}")),
        (old, new) => ui.paint(
            Style::Changed,
            &format!(
                "~ {name}: {} -> {}",
                old.unwrap_or_default(),
                new.unwrap_or_default()
            ),
        ),
    };
    let text = match change {
        Change::Key { key, old, new } => line(
            key,
            old.as_ref().map(Value::to_string),
            new.as_ref().map(Value::to_string),
        ),
        Change::Package { name, old, new } => line(name, old.clone(), new.clone()),
        Change::Column { name, added: true } => ui.paint(Style::Added, &format!("+ column {name}")),
        Change::Column { name, added: false } => {
            ui.paint(Style::Removed, &format!("- column {name}"))
        }
        Change::Cell {
            name, kind, state, ..
        } => signed(
            ui,
            *state,
            &format!(
                "{} cell {}{}",
                visible(kind),
                visible(name),
                cell_words(change)
            ),
        ),
        Change::Row { key, state, cells } => {
            let cells: Vec<String> = cells
                .iter()
                .map(|(column, old, new)| format!("{column}: {old} -> {new}"))
                .collect();
            let cells = cells.join(", ");
            let gap = if cells.is_empty() { "" } else { "  " };
            signed(
                ui,
                *state,
                &format!("row {}{gap}{}", visible(key), visible(&cells)),
            )
        }
        Change::Tensor(tensor) => tensor_line(ui, tensor),
        Change::Image(image) => image_line(ui, image),
        Change::Lines { .. }
        | Change::Rows { .. }
        | Change::Keyed { .. }
        | Change::Bytes { .. } => return None,
    };
    Some(text)
}

/// Text without control characters.
pub(crate) fn visible(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

fn signed(ui: &Ui, state: State, text: &str) -> String {
    let (sign, style) = match state {
        State::Added => ('+', Style::Added),
        State::Removed => ('-', Style::Removed),
        State::Changed => ('~', Style::Changed),
    };
    ui.paint(style, &format!("{sign} {text}"))
}

fn cell_words(change: &Change) -> String {
    let Change::Cell {
        added,
        removed,
        outputs,
        metadata,
        moved,
        ..
    } = change
    else {
        return String::new();
    };
    let mut words = Vec::new();
    if added + removed > 0 {
        words.push(format!("+{added} -{removed} lines"));
    }
    words.extend(moved.then(|| "moved".to_owned()));
    words.extend(outputs.then(|| "outputs".to_owned()));
    words.extend(metadata.then(|| "metadata".to_owned()));
    if words.is_empty() {
        return String::new();
    }
    format!("  ({})", words.join(", "))
}

fn image_line(ui: &Ui, image: &ImageChange) -> String {
    match (&image.old, &image.new) {
        (None, Some(new)) => signed(ui, State::Added, &new.to_string()),
        (Some(old), None) => signed(ui, State::Removed, &old.to_string()),
        _ => signed(ui, State::Changed, &image_words(image)),
    }
}

/// Sizes and looks of both versions of an image.
pub(crate) fn image_words(image: &ImageChange) -> String {
    let kinds = match (&image.old, &image.new) {
        (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
        (_, Some(kind)) | (Some(kind), None) => kind.to_string(),
        (None, None) => String::new(),
    };
    match (&image.look, &image.why) {
        (Some(look), _) => format!(
            "{kinds}, shapes {} of 63 differ, colours {:.1}%",
            look.shapes,
            100.0 * look.colours
        ),
        (None, Some(why)) => format!("{kinds}, looks not compared: {why}"),
        (None, None) => kinds,
    }
}

fn tensor_line(ui: &Ui, tensor: &TensorChange) -> String {
    let name = visible(&tensor.name);
    match (&tensor.old, &tensor.new, &tensor.numbers) {
        (None, Some(new), _) => signed(ui, State::Added, &format!("{name} {new}")),
        (Some(old), None, _) => signed(ui, State::Removed, &format!("{name} {old}")),
        (Some(old), Some(new), numbers) => {
            let kind = if old == new {
                new.to_string()
            } else {
                format!("{old} -> {new}")
            };
            let blocks = tensor
                .blocks
                .map(|(n, all)| format!("  {n} of {all} blocks changed"));
            let numbers = numbers.map_or_else(
                || blocks.unwrap_or_default(),
                |n| {
                    format!(
                        "  {} changed{}, max {:.3e}, rms {:.3e}, cosine {:.6}",
                        share(n.changed, n.count),
                        odd_words(&n),
                        n.max_abs,
                        n.rms,
                        n.cosine
                    )
                },
            );
            signed(ui, State::Changed, &format!("{name} {kind}{numbers}"))
        }
        (None, None, _) => name,
    }
}

/// A share in per cent. What is rounded to none or all of them, and is not, is told as a count.
fn share(some: u64, all: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = 100.0 * some as f64 / all.max(1) as f64;
    let text = format!("{share:.1}%");
    let is_rounded = (text == "0.0%" && some > 0) || (text == "100.0%" && some < all);
    if is_rounded {
        format!("{some} of {all}")
    } else {
        text
    }
}

/// How many are no finite numbers, where there are any: they are in none of the other figures.
fn odd_words(n: &Numbers) -> String {
    let mut out = String::new();
    for (word, [old, new]) in [("NaN", n.nan), ("infinite", n.infinite)] {
        if old + new > 0 {
            out.push_str(&format!(", {word} {old} -> {new}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_is_not_rounded_to_nothing_or_all() {
        for (some, all, want) in [
            (0, 4096, "0.0%"),
            (1, 4096, "1 of 4096"),
            (4, 4096, "0.1%"),
            (4095, 4096, "4095 of 4096"),
            (4096, 4096, "100.0%"),
            (0, 0, "0.0%"),
        ] {
            assert_eq!(share(some, all), want);
        }
    }
}
