//! `modelv stats`.

use std::io::IsTerminal;
use std::process::ExitCode;

use modelv_repo::{Room, Stats};
use serde_json::{Value, json};

use super::{Done, Session};
use crate::ui::{Style, Ui, size};

/// Show what takes how much room: by ingredient, type of file and commit.
///
/// Each content and chunk counts once, where it first appears, oldest commit first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// At most so many commits and types.
    #[arg(short = 'n', value_name = "N", default_value_t = 10)]
    limit: usize,
    /// As JSON, with all of them.
    #[arg(long)]
    json: bool,
}

/// Width of a bar in characters.
const BAR_CHARS: u64 = 20;

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let stats = s.repo()?.stats(&s.ctx())?;
    if args.json {
        s.ui.json(&as_json(&stats));
        return Ok(ExitCode::SUCCESS);
    }
    let bars = std::io::stdout().is_terminal();
    show_summary(s.ui, &stats);
    let named = |rows: Vec<(String, Room)>| -> Vec<(String, Room)> {
        rows.into_iter().filter(|(_, r)| r.contents > 0).collect()
    };
    let mut parts = named(
        stats
            .ingredients
            .iter()
            .map(|(i, room)| (i.word().to_owned(), *room))
            .chain([("runs".to_owned(), stats.runs)])
            .collect(),
    );
    parts.sort_by_key(|(_, room)| std::cmp::Reverse(room.stored));
    show_table(s.ui, "ingredient", &parts, bars);
    let mut types = named(
        stats
            .types
            .iter()
            .map(|(kind, room)| (shown_type(kind), *room))
            .collect(),
    );
    types.sort_by_key(|(_, room)| std::cmp::Reverse(room.stored));
    types.truncate(args.limit);
    show_table(s.ui, "type", &types, bars);
    let commits: Vec<(String, Room)> = stats
        .commits
        .iter()
        .take(args.limit)
        .map(|c| {
            let mut room = c.room;
            room.stored += c.records;
            let subject: String = c.subject.chars().take(30).collect();
            (format!("{} {subject}", c.id.short()), room)
        })
        .collect();
    show_table(s.ui, "commit, and what it added", &commits, bars);
    Ok(ExitCode::SUCCESS)
}

fn shown_type(kind: &str) -> String {
    if kind.is_empty() {
        "none".into()
    } else {
        format!(".{kind}")
    }
}

fn show_summary(ui: &mut Ui, stats: &Stats) {
    let usage = &stats.usage;
    let commits = stats.commits.len();
    ui.line(format!(
        "{commits} commit{} of {} in {} ({} pack{})",
        if commits == 1 { "" } else { "s" },
        size(stats.total.copies),
        size(usage.bytes),
        usage.packs,
        if usage.packs == 1 { "" } else { "s" },
    ));
    ui.line(format!(
        "{} of different contents, {} of different chunks, {} stored, {} of trees and records",
        size(stats.total.bytes),
        size(stats.total.chunks),
        size(stats.total.stored),
        size(stats.records)
    ));
    if usage.condemned_bytes > 0 {
        ui.line(format!(
            "{} condemned, which `modelv gc` deletes",
            size(usage.condemned_bytes)
        ));
    }
}

/// A table; on a terminal each row has a bar for its part of what is stored.
fn show_table(ui: &mut Ui, title: &str, rows: &[(String, Room)], bars: bool) {
    if rows.is_empty() {
        return;
    }
    let width = |text: &str| text.chars().count();
    let first = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let first = first.max(width(title));
    ui.line("");
    let head = format!(
        "{title:first$} {:>8} {:>10} {:>10} {:>7} {:>10}",
        "contents", "bytes", "chunks", "packed", "stored"
    );
    let head = ui.paint(Style::Strong, &head);
    ui.line(head);
    let largest = rows.iter().map(|(_, room)| room.stored).max().unwrap_or(0);
    for (name, room) in rows {
        let bar = if bars {
            bar(room.stored, largest)
        } else {
            String::new()
        };
        let line = format!(
            "{name:first$} {:>8} {:>10} {:>10} {:>7} {:>10} {bar}",
            room.contents,
            size(room.bytes),
            size(room.chunks),
            ratio(room.stored, room.chunks),
            size(room.stored)
        );
        ui.line(line.trim_end());
    }
}

/// `67 %`, or nothing where there is nothing.
fn ratio(part: u64, whole: u64) -> String {
    match (part * 100).checked_div(whole) {
        Some(percent) if percent < 1000 => format!("{percent} %"),
        _ => "-".into(),
    }
}

/// A bar in eighths of a character.
fn bar(part: u64, largest: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(part) * u128::from(BAR_CHARS * 8) / u128::from(largest.max(1));
    let (full, rest) = (eighths / 8, eighths % 8);
    let full = usize::try_from(full).unwrap_or(0);
    let text = format!(
        "{}{}",
        "█".repeat(full),
        EIGHTHS[usize::try_from(rest).unwrap_or(0)]
    );
    if text.is_empty() && part > 0 {
        "▏".into()
    } else {
        text
    }
}

fn room(room: &Room) -> Value {
    json!({
        "contents": room.contents,
        "copies": room.copies,
        "bytes": room.bytes,
        "chunks": room.chunks,
        "stored": room.stored,
    })
}

fn as_json(stats: &Stats) -> Value {
    let usage = &stats.usage;
    let ingredients: serde_json::Map<String, Value> = stats
        .ingredients
        .iter()
        .map(|(i, r)| (i.word().to_owned(), room(r)))
        .collect();
    let types: serde_json::Map<String, Value> = stats
        .types
        .iter()
        .map(|(kind, r)| (kind.clone(), room(r)))
        .collect();
    let commits: Vec<Value> = stats
        .commits
        .iter()
        .map(|c| {
            json!({
                "id": c.id.to_hex(),
                "subject": c.subject,
                "added": room(&c.room),
                "records": c.records,
            })
        })
        .collect();
    json!({
        "packs": { "count": usage.packs, "entries": usage.entries, "bytes": usage.bytes },
        "indexes": { "bytes": usage.index_bytes },
        "condemned": { "count": usage.condemned, "bytes": usage.condemned_bytes },
        "total": room(&stats.total),
        "records": stats.records,
        "runs": room(&stats.runs),
        "ingredients": ingredients,
        "types": types,
        "commits": commits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_part() {
        assert_eq!(bar(0, 100), "");
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(50, 100), "█".repeat(10));
        assert_eq!(bar(51, 100), format!("{}▏", "█".repeat(10)));
        assert_eq!(bar(u64::MAX, u64::MAX), "█".repeat(20));
        assert_eq!((ratio(2, 3).as_str(), ratio(1, 0).as_str()), ("66 %", "-"));
    }
}
