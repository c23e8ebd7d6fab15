//! Parts of a file as tables: keys, packages, rows, cells of notebooks, tensors; images as pictures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use modelv_repo::FileDiff;
use modelv_repo::core::driver::{
    Change, Driver, ImageFormat, ImageKind, Numbers, TensorChange, TensorKind, image_kind,
};
use modelv_repo::core::value::Value;

use super::Html;
use crate::ui::size;
use crate::view::image_words;

/// So many parts of one kind are listed for a file.
const PARTS_MAX: usize = 1_000;
/// Larger images are named and not shown, in bytes.
const IMAGE_BYTES_MAX: usize = 1 << 20;
/// So are those with more pixels on a side: a browser would take their memory unasked.
const IMAGE_SIDE_MAX: u32 = 8_192;
/// Bars of tensors end at a relative change of one; this is their least that is drawn, as a power
/// of ten.
const BAR_DECADES: f64 = 6.0;

/// A file, as the heads of its tables name it, and the command that lists what is cut from them.
#[derive(Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) path: &'n str,
    pub(super) command: &'n str,
}

/// Everything a file has but its lines.
pub(super) fn parts(out: &mut Html, name: Named<'_>, file: &FileDiff) {
    keys(out, name, &file.inside);
    packages(out, name, &file.inside);
    table(out, name, &file.inside);
    cells(out, name, &file.inside);
    tensors(out, name, &file.inside);
    images(out, file);
}

/// Writes the rows of one kind, and says where the rest was cut.
fn list<'c, T>(
    out: &mut Html,
    (caption, name): (&str, Named<'_>),
    heads: &[&str],
    found: impl Iterator<Item = &'c Change>,
    pick: impl Fn(&'c Change) -> Option<T>,
    write: impl Fn(&mut Html, T),
) {
    let mut found = found.filter_map(pick).peekable();
    if found.peek().is_none() {
        return;
    }
    out.table(&format!("{caption} of {}", name.path), heads);
    let mut shown = 0;
    while shown < PARTS_MAX && !out.is_full() {
        let Some(part) = found.next() else { break };
        write(out, part);
        shown += 1;
    }
    out.end_table();
    let left = found.count();
    if left > 0 {
        out.note(&format!(
            "Cut here: {left} more. `{} --json` lists all.",
            name.command
        ));
    }
}

fn keys(out: &mut Html, name: Named<'_>, changes: &[Change]) {
    let text = |v: &Option<Value>| {
        v.as_ref()
            .map_or_else(|| "absent".to_owned(), Value::to_string)
    };
    let pick = |c: &Change| match c {
        Change::Key { key, old, new } => Some([key.clone(), text(old), text(new)]),
        _ => None,
    };
    list(
        out,
        ("Keys", name),
        &["key", "before", "after"],
        changes.iter(),
        pick,
        |out, row| {
            out.row(&row.each_ref().map(String::as_str));
        },
    );
}

fn packages(out: &mut Html, name: Named<'_>, changes: &[Change]) {
    let pick = |c: &Change| match c {
        Change::Package { name, old, new } => Some((name.clone(), old.clone(), new.clone())),
        _ => None,
    };
    let heads = ["package", "change", "before", "after"];
    list(
        out,
        ("Packages", name),
        &heads,
        changes.iter(),
        pick,
        |out, (name, old, new)| {
            change_row(out, &name, old.as_deref(), new.as_deref());
        },
    );
}

/// A row of what was added, removed or changed.
pub(super) fn change_row(out: &mut Html, name: &str, old: Option<&str>, new: Option<&str>) {
    let word = match (old, new) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    out.row(&[name, word, old.unwrap_or("absent"), new.unwrap_or("absent")]);
}

/// What a table came to: rows, columns, and rows one by one.
fn table(out: &mut Html, name: Named<'_>, changes: &[Change]) {
    let mut facts: Vec<[String; 2]> = Vec::new();
    for change in changes {
        match change {
            Change::Rows { old, new } => {
                facts.push(["rows".into(), format!("{old} before, {new} after")]);
            }
            Change::Keyed {
                key,
                added,
                removed,
                changed,
            } => facts.push([
                format!("rows by {key}"),
                format!("{added} added, {removed} removed, {changed} changed"),
            ]),
            Change::Column { name, added } => {
                let word = if *added {
                    "column added"
                } else {
                    "column removed"
                };
                facts.push([word.into(), name.clone()]);
            }
            _ => {}
        }
    }
    if !facts.is_empty() {
        let caption = format!("Rows and columns of {}", name.path);
        out.table(&caption, &["what", "value"]);
        for [what, value] in &facts {
            out.row(&[what, value]);
        }
        out.end_table();
    }
    let pick = |c: &Change| match c {
        Change::Row { key, state, cells } => {
            let cells: Vec<String> = cells
                .iter()
                .map(|(c, a, b)| format!("{c}: {a} → {b}"))
                .collect();
            Some([key.clone(), state.to_string(), cells.join("; ")])
        }
        _ => None,
    };
    list(
        out,
        ("Rows", name),
        &["row", "change", "cells"],
        changes.iter(),
        pick,
        |out, row| {
            out.row(&row.each_ref().map(String::as_str));
        },
    );
}

fn cells(out: &mut Html, name: Named<'_>, changes: &[Change]) {
    let pick = |c: &Change| match c {
        Change::Cell {
            name,
            kind,
            state,
            added,
            removed,
            outputs,
            metadata,
            moved,
        } => {
            let yes = |b: &bool| if *b { "changed" } else { "" };
            Some([
                name.clone(),
                kind.clone(),
                if *moved {
                    format!("{state}, moved")
                } else {
                    state.to_string()
                },
                format!("+{added} -{removed}"),
                yes(outputs).to_owned(),
                yes(metadata).to_owned(),
            ])
        }
        _ => None,
    };
    let heads = ["cell", "type", "change", "lines", "outputs", "metadata"];
    list(
        out,
        ("Cells", name),
        &heads,
        changes.iter(),
        pick,
        |out, row| {
            out.row(&row.each_ref().map(String::as_str));
        },
    );
}

fn tensors(out: &mut Html, name: Named<'_>, changes: &[Change]) {
    let pick = |c: &'_ Change| match c {
        Change::Tensor(tensor) => Some(tensor.as_ref().clone()),
        _ => None,
    };
    let heads = [
        "tensor",
        "type and shape",
        "relative change (rms)",
        "cosine",
        "largest change",
        "share changed",
    ];
    list(
        out,
        ("Tensors", name),
        &heads,
        changes.iter(),
        pick,
        |out, tensor| tensor_row(out, &tensor),
    );
}

fn tensor_row(out: &mut Html, tensor: &TensorChange) {
    let kind = |k: &Option<TensorKind>| {
        k.as_ref()
            .map_or_else(|| "absent".to_owned(), ToString::to_string)
    };
    let (old, new) = (kind(&tensor.old), kind(&tensor.new));
    let kinds = match (&tensor.old, &tensor.new) {
        (None, _) => format!("added: {new}"),
        (_, None) => format!("removed: {old}"),
        _ if old == new => new,
        _ => format!("{old} → {new}"),
    };
    out.raw("<tr><th scope=\"row\">").clipped(&tensor.name);
    out.raw("</th><td>").clipped(&kinds).raw("</td>");
    match &tensor.numbers {
        None => {
            let blocks = tensor.blocks.map(|(n, all)| format!("{n} of {all} blocks"));
            out.raw("<td></td><td></td><td></td>");
            out.element("<td>", &blocks.unwrap_or_default(), "</td>");
        }
        Some(n) => numbers(out, n),
    }
    out.raw("</tr>\n");
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn numbers(out: &mut Html, n: &Numbers) {
    let relative = n.relative_rms();
    let text = relative.map_or_else(|| "from zero".to_owned(), |r| format!("{r:.2e}"));
    // Six decades to the left of one: small changes can still be told apart.
    let share = relative.map_or(1.0, |r| {
        (1.0 + r.max(1e-12).log10() / BAR_DECADES).clamp(0.0, 1.0)
    });
    out.raw("<td class=\"heat\"><svg width=\"122\" height=\"12\" aria-hidden=\"true\"><rect class=\"track\" x=\"0\" y=\"5\" width=\"120\" height=\"2\"/>");
    out.raw("<rect class=\"bar\" x=\"0\" y=\"1\" height=\"10\" width=\"")
        .number(share * 120.0);
    out.raw("\"/></svg> ").text(&text).raw("</td>");
    let changed = 100.0 * n.changed as f64 / n.count.max(1) as f64;
    out.element("<td>", &format!("{:.6}", n.cosine), "</td>");
    out.element("<td>", &format!("{:.3e}", n.max_abs), "</td>");
    out.element("<td>", &format!("{changed:.1} %"), "</td>");
}

/// Both versions beside each other, where they are images that browsers know: by what their first bytes
/// say, for a name proves nothing. SVG is text, and shown as such.
fn images(out: &mut Html, file: &FileDiff) {
    for change in &file.inside {
        if let Change::Image(image) = change {
            out.raw("<p>").clipped(&image_words(image)).raw("</p>\n");
        }
    }
    let sides = [("before", &file.old), ("after", &file.new)];
    let found: Vec<(&str, ImageKind, &[u8])> = sides
        .into_iter()
        .filter_map(|(word, bytes)| {
            let bytes = bytes.as_deref()?;
            Some((word, image_kind(bytes)?, bytes))
        })
        .collect();
    if found.is_empty() || file.driver != Driver::Image {
        return;
    }
    out.raw("<div class=\"pair\">");
    for (word, kind, bytes) in found {
        let size = size(bytes.len() as u64);
        out.raw("<figure>");
        if bytes.len() > IMAGE_BYTES_MAX {
            out.note("Images of more than 1 MiB are not shown here.");
        } else if kind.width.max(kind.height) > IMAGE_SIDE_MAX {
            out.note("Images of more than 8192 pixels on a side are not shown here.");
        } else if out.is_full() {
            out.note("There is no more room for images here.");
        } else {
            out.raw("<img alt=\"").text(word).raw("\" src=\"data:");
            out.raw(mime(kind.format)).raw(";base64,");
            out.text(&STANDARD.encode(bytes)).raw("\">");
        }
        let caption = format!("{word}: {kind}, {size}");
        out.element("<figcaption>", &caption, "</figcaption></figure>");
    }
    out.raw("</div>\n");
}

fn mime(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "image/png",
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::Gif => "image/gif",
        ImageFormat::WebP => "image/webp",
        ImageFormat::Bmp => "image/bmp",
    }
}
