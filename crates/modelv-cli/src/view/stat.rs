//! A difference in numbers: a line for each file with a bar, grouped by ingredient.

use modelv_repo::worktree::ChangeKind;
use modelv_repo::{DiffReport, FileDiff, Part, Tally};
use unicode_width::UnicodeWidthStr;

use crate::ui::{Style, Ui, size};

/// Bars are as wide as this at most, in columns.
const BAR_MAX: usize = 40;

struct Row {
    name: String,
    count: String,
    tally: Tally,
}

/// Shows all numbers of a difference.
pub(crate) fn show_stat(ui: &mut Ui, report: &DiffReport) {
    super::show_metrics(ui, &report.metrics);
    let rows: Vec<(Part, Row)> = report
        .files
        .iter()
        .map(|f| (Part::from(f.change.ingredient()), row(f)))
        .collect();
    let widest = |of: &dyn Fn(&Row) -> usize| rows.iter().map(|(_, r)| of(r)).max().unwrap_or(0);
    let (names, counts) = (widest(&|r| r.name.width()), widest(&|r| r.count.len()));
    let room = ui
        .width()
        .saturating_sub(names + counts + 6)
        .clamp(8, BAR_MAX);
    let most = rows
        .iter()
        .filter(|(_, r)| has_bar(&r.tally))
        .map(|(_, r)| r.tally.sum())
        .max();
    for part in Part::ALL {
        if part == Part::Env {
            crate::commands::show_env(ui, &report.env);
            continue;
        }
        let of: Vec<&Row> = rows
            .iter()
            .filter(|(p, _)| *p == part)
            .map(|(_, r)| r)
            .collect();
        if of.is_empty() {
            continue;
        }
        let head = format!("{}: {}", part.word(), sums(&of));
        let head = ui.paint(Style::Strong, &head);
        ui.line(head);
        for row in of {
            let gap = " ".repeat(names - row.name.width());
            let bar = bar(ui, &row.tally, most.unwrap_or(0), room);
            let text = format!("  {}{gap} | {:>counts$}{bar}", row.name, row.count);
            ui.line(text);
        }
    }
    for note in report.files.iter().flat_map(|f| &f.notes) {
        ui.talk(format!("note: {}", super::visible(note)));
    }
}

fn has_bar(tally: &Tally) -> bool {
    tally.unit != "bytes"
}

fn row(file: &FileDiff) -> Row {
    let path = &file.change.path;
    let name = match &file.change.kind {
        ChangeKind::Renamed { from } => {
            let mode = if file.change.is_mode_changed() {
                ", mode"
            } else {
                ""
            };
            format!("{from} => {path} ({} %{mode})", file.percent.unwrap_or(100))
        }
        ChangeKind::Modified if file.change.is_mode_changed() => format!("{path} (mode)"),
        ChangeKind::Moved { from } => format!("{path} (was {})", from.word()),
        ChangeKind::ModeChanged => format!("{path} (mode)"),
        ChangeKind::TypeChanged => format!("{path} (type)"),
        _ => path.to_string(),
    };
    let tally = file.tally();
    let count = match tally.unit {
        "bytes" => format!("{} -> {}", size(tally.removed), size(tally.added)),
        unit => format!("{} {}", tally.sum(), counted(unit, tally.sum())),
    };
    Row { name, count, tally }
}

/// `1 line`, `2 lines`.
fn counted(unit: &str, n: u64) -> &str {
    if n == 1 {
        unit.strip_suffix('s').unwrap_or(unit)
    } else {
        unit
    }
}

/// `3 files, +12 -5 lines, ~2 keys`.
fn sums(rows: &[&Row]) -> String {
    let files = rows.len();
    let mut out = format!("{files} {}", counted("files", files as u64));
    for unit in ["lines", "keys", "packages", "rows", "cells", "tensors"] {
        let of = rows
            .iter()
            .filter(|r| r.tally.unit == unit)
            .map(|r| r.tally);
        let [added, removed, changed] = of.fold([0; 3], |[a, r, c], t| {
            [a + t.added, r + t.removed, c + t.changed]
        });
        let parts: Vec<String> = [('+', added), ('-', removed), ('~', changed)]
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(sign, n)| format!("{sign}{n}"))
            .collect();
        if !parts.is_empty() {
            let unit = counted(unit, added + removed + changed);
            out += &format!(", {} {unit}", parts.join(" "));
        }
    }
    out
}

/// Signs in the shares of what came, changed and went; at least one for each that is there.
fn bar(ui: &Ui, tally: &Tally, most: u64, room: usize) -> String {
    if !has_bar(tally) || tally.sum() == 0 {
        return String::new();
    }
    let scaled = |n: u64| -> usize {
        let room_64 = room as u64;
        if most <= room_64 {
            return usize::try_from(n).unwrap_or(room);
        }
        let share = (u128::from(n) * u128::from(room_64)).div_ceil(u128::from(most));
        usize::try_from(share).unwrap_or(room)
    };
    let signs = [
        ("+", Style::Added, tally.added),
        ("~", Style::Changed, tally.changed),
        ("-", Style::Removed, tally.removed),
    ];
    let painted: String = signs
        .into_iter()
        .filter(|(_, _, n)| *n > 0)
        .map(|(sign, style, n)| ui.paint(style, &sign.repeat(scaled(n))))
        .collect();
    format!(" {painted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Color;

    fn tally(unit: &'static str, added: u64, removed: u64, changed: u64) -> Tally {
        Tally {
            unit,
            added,
            removed,
            changed,
        }
    }

    #[test]
    fn bars_keep_their_shares() {
        let ui = Ui::new(Color::Never);
        let shown = |t: Tally, most: u64| bar(&ui, &t, most, 10);
        assert_eq!(shown(tally("lines", 3, 2, 1), 6), " +++~--");
        assert_eq!(shown(tally("lines", 500, 500, 0), 1000), " +++++-----");
        assert_eq!(shown(tally("lines", 1, 999, 0), 1000), " +----------");
        assert_eq!(shown(tally("lines", 0, 0, 0), 0), "");
        assert_eq!(shown(tally("bytes", 9, 9, 0), 9), "");
        assert_eq!(
            shown(tally("lines", u64::MAX / 2, 0, 0), u64::MAX / 2),
            " ++++++++++"
        );
    }
}
