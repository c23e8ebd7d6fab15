//! The report of a difference: who and when, what matters first, then file by file. What is cut is
//! counted, beside the command that shows it.

use modelv_repo::capture::clock;
use modelv_repo::core::value::Value;
use modelv_repo::worktree::ChangeKind;
use modelv_repo::{
    DiffPlan, DiffSide, EnvChange, Extent, FileDiff, MetricChange, Part, Repo, Tally,
};

use super::tables::Named;
use super::{Html, lines, page, tables};
use crate::error::CommandError;
use crate::ui::size;

/// So many files are shown one by one.
const FILES_MAX: usize = 500;
/// A file with more parts or lines that differ is folded.
const UNFOLDED_MAX: u64 = 200;
const NOT_SHOWN: &str = "not shown";

/// The whole page.
pub(crate) fn diff_page(
    repo: &Repo,
    plan: DiffPlan,
    (old, new): (&DiffSide, &DiffSide),
) -> Result<String, CommandError> {
    let mut body = Html::default();
    sides(&mut body, old, new);
    verdict(&mut body, plan.extent);
    let mut details = Html::default();
    let mut summary: Vec<[String; 4]> = Vec::new();
    let command = command(old, new);
    let (mut part, mut env) = (None, Some(&plan.env));
    for (i, file) in plan.files.into_iter().enumerate() {
        let now = Part::from(file.change.ingredient());
        if now > Part::Env
            && let Some(env) = env.take()
        {
            environment(&mut details, env);
        }
        let cut = i >= FILES_MAX || details.is_full();
        if part.replace(now) != Some(now) && !cut {
            details.element("<h2>", title(now), "</h2>\n");
        }
        if cut {
            let change = &file.change;
            summary.push([
                now.word().into(),
                change.path.to_string(),
                change.kind.word().into(),
                NOT_SHOWN.into(),
            ]);
            continue;
        }
        let file = repo.diff_file(file, old, new)?;
        summary.push(summary_row(now, &file));
        one_file(&mut details, &file, &command);
    }
    if let Some(env) = env {
        environment(&mut details, env);
    }
    metrics(&mut body, &plan.metrics);
    summarise(&mut body, &summary, &command);
    body.0 += &details.0;
    let name = format!("{} → {}", old.label, new.label);
    Ok(page(&name, &body))
}

/// The command that shows the same without a limit, but for the path that follows it.
fn command(old: &DiffSide, new: &DiffSide) -> String {
    match (old.commit, new.commit) {
        (Some(a), Some(b)) => format!("modelv diff {} {}", a.short(), b.short()),
        (Some(a), None) => format!("modelv diff {}", a.short()),
        (None, Some(b)) => format!("modelv show -p {}", b.short()),
        (None, None) => "modelv diff".to_owned(),
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=,@%".contains(c);
    match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Config => "Configuration",
        Part::Code => "Code",
        Part::Env => "Environment",
        Part::Data => "Data",
        Part::Model => "Model",
    }
}

/// Who, when, which ids.
fn sides(out: &mut Html, old: &DiffSide, new: &DiffSide) {
    let row = |out: &mut Html, head: &str, of: &dyn Fn(&DiffSide) -> Option<String>| {
        let cells = [of(old), of(new)].map(|c| c.unwrap_or_else(|| "–".into()));
        out.row(&[head, &cells[0], &cells[1]]);
    };
    out.table("The two sides", &["", "before", "after"]);
    row(out, "name", &|s| Some(s.label.clone()));
    let ids = |out: &mut Html, head: &'static str, of: &dyn Fn(&DiffSide) -> Option<String>| {
        out.raw("<tr><th scope=\"row\">").raw(head).raw("</th>");
        for id in [of(old), of(new)] {
            out.element("<td class=\"id\">", id.as_deref().unwrap_or("–"), "</td>");
        }
        out.raw("</tr>\n");
    };
    ids(out, "commit", &|s| s.commit.map(|id| id.to_hex()));
    ids(out, "recipe", &|s| {
        s.object.as_ref().map(|c| c.recipe.id().to_hex())
    });
    row(out, "author", &|s| {
        s.object.as_ref().map(|c| c.author.to_string())
    });
    row(out, "time", &|s| {
        s.object.as_ref().map(|c| clock::format_time(c.time))
    });
    row(out, "message", &|s| {
        s.object.as_ref().map(|c| c.message.trim().to_owned())
    });
    row(out, "model", &|s| {
        s.object
            .as_ref()
            .map(|c| match modelv_repo::model_state(c) {
                modelv_repo::ModelState::None => "none".to_owned(),
                modelv_repo::ModelState::Current => "of this recipe".to_owned(),
                modelv_repo::ModelState::Stale => "stale: of another recipe".to_owned(),
            })
    });
    out.end_table();
}

fn verdict(out: &mut Html, extent: Extent) {
    let text = match extent {
        Extent::Equal => "Recipe, model and metrics are equal.",
        Extent::Environment => {
            "Only the environment differs, as it was observed: code, data, config and model are equal."
        }
        Extent::Metrics => "Only what the runs measured differs: recipe and model are equal.",
        Extent::Model => "Only the model differs: both are of one recipe.",
        Extent::Several => return,
    };
    out.element("<p class=\"verdict\">", text, "</p>\n");
}

fn metrics(out: &mut Html, metrics: &[MetricChange]) {
    if metrics.is_empty() {
        return;
    }
    out.raw("<h2>Metrics</h2>\n");
    let heads = ["metric", "change", "before", "after"];
    out.table("Metrics of the runs", &heads);
    for m in metrics {
        let text = |v: &Option<Value>| {
            v.as_ref()
                .map_or_else(|| "absent".to_owned(), Value::to_string)
        };
        let delta = m.delta().map_or_else(String::new, |d| {
            let old = m.old.as_ref().and_then(Value::as_f64).filter(|o| *o != 0.0);
            let percent =
                old.map_or_else(String::new, |o| format!(" ({:+.1} %)", 100.0 * d / o.abs()));
            format!("{d:+.4}{percent}")
        });
        out.raw("<tr><th scope=\"row\">").clipped(&m.key);
        out.raw("</th>");
        let (open, word) = match m.is_better() {
            Some(true) => ("<td class=\"good\">", ", better"),
            Some(false) => ("<td class=\"bad\">", ", worse"),
            None => ("<td>", ""),
        };
        out.raw(open).text(&delta).raw(word).raw("</td>");
        for cell in [text(&m.old), text(&m.new)] {
            out.raw("<td>").clipped(&cell).raw("</td>");
        }
        out.raw("</tr>\n");
    }
    out.end_table();
}

fn summary_row(part: Part, file: &FileDiff) -> [String; 4] {
    let tally = file.tally();
    [
        part.word().into(),
        file.change.path.to_string(),
        change_words(file),
        tally_words(&tally),
    ]
}

fn change_words(file: &FileDiff) -> String {
    match &file.change.kind {
        ChangeKind::Renamed { from } => {
            format!(
                "renamed from {from}, {} % alike",
                file.percent.unwrap_or(100)
            )
        }
        ChangeKind::Moved { from } => format!("was {}", from.word()),
        kind => kind.word().to_owned(),
    }
}

fn tally_words(tally: &Tally) -> String {
    if tally.unit == "bytes" {
        return format!(
            "{} before, {} after",
            size(tally.removed),
            size(tally.added)
        );
    }
    let words: Vec<String> = [
        ("added", tally.added),
        ("removed", tally.removed),
        ("changed", tally.changed),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .map(|(word, n)| format!("{n} {word}"))
    .collect();
    match words.is_empty() {
        true => "content is equal".into(),
        false => format!("{}: {}", tally.unit, words.join(", ")),
    }
}

fn summarise(out: &mut Html, rows: &[[String; 4]], command: &str) {
    out.raw("<h2>Summary</h2>\n");
    if rows.is_empty() {
        out.note("No file differs.");
        return;
    }
    let left = rows.iter().filter(|r| r[3] == NOT_SHOWN).count();
    if left > 0 {
        out.note(&format!(
            "This difference is too large for one page: {left} of {} files are named and not \
             shown. `{command} -- PATH` shows one of them.",
            rows.len()
        ));
    }
    let heads = ["file", "ingredient", "change", "how much"];
    out.table("Files that differ", &heads);
    let mut named = 0;
    for [part, path, change, much] in rows {
        if out.is_full() {
            break;
        }
        named += 1;
        out.row(&[path, part, change, much]);
    }
    out.end_table();
    if named < rows.len() {
        let left = rows.len() - named;
        out.note(&format!(
            "Cut here: {left} more files differ. `{command} --name-status` names all."
        ));
    }
}

fn environment(out: &mut Html, changes: &[EnvChange]) {
    if changes.is_empty() {
        return;
    }
    out.raw("<h2>Environment</h2>\n");
    out.table(
        "Packages and interpreter",
        &["item", "change", "before", "after"],
    );
    for change in changes {
        tables::change_row(
            out,
            &change.item,
            change.old.as_deref(),
            change.new.as_deref(),
        );
    }
    out.end_table();
}

fn one_file(out: &mut Html, file: &FileDiff, command: &str) {
    let path = file.change.path.to_string();
    let command = format!("{command} -- {}", quoted(&path));
    let tally = file.tally();
    let is_long = tally.unit != "bytes" && tally.sum() > UNFOLDED_MAX;
    out.raw(match is_long {
        true => "<details><summary>",
        false => "<details open><summary>",
    });
    out.text(&path).raw(" <span>").text(&change_words(file));
    out.raw(", ").text(&tally_words(&tally));
    out.raw("</span></summary>\n");
    for note in &file.notes {
        out.note(note);
    }
    let name = Named {
        path: &path,
        command: &command,
    };
    tables::parts(out, name, file);
    if let Some(found) = file.lines() {
        lines::side_by_side(out, &path, &found, &command);
    }
    out.raw("</details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(quoted("data/a-1.csv"), "data/a-1.csv");
        assert_eq!(quoted("a b;$(x)"), "'a b;$(x)'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
