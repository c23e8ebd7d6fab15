//! Differences on a terminal: what was found, as lines for people. Decides nothing: what is compared
//! with what, and what is worth showing, the library says.

mod columns;
mod names;
mod parts;
pub(crate) mod plot;
mod stat;
mod text;

use modelv_repo::core::value::Value;
use modelv_repo::{DiffPlan, DiffSide, Extent, FileDiff, MetricChange, Part, Repo};

use crate::error::CommandError;
use crate::ui::{Style, Ui};

pub(crate) use names::{name_only, name_status};
pub(crate) use parts::{image_words, visible};
pub(crate) use stat::show_stat;

/// How lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Removed ones, then added ones.
    Unified,
    /// Once, with the words that differ marked.
    Words,
    /// Old and new beside each other.
    Columns,
}

/// Shows a difference, file by file.
pub(crate) fn show(
    ui: &mut Ui,
    repo: &Repo,
    plan: DiffPlan,
    sides: (&DiffSide, &DiffSide),
    (form, context): (Form, usize),
) -> Result<(), CommandError> {
    headline(ui, &plan, sides);
    show_metrics(ui, &plan.metrics);
    let mut env = Some(plan.env);
    for file in plan.files {
        if Part::from(file.change.ingredient()) > Part::Env
            && let Some(env) = env.take()
        {
            crate::commands::show_env(ui, &env);
        }
        let file = repo.diff_file(file, sides.0, sides.1)?;
        show_file(ui, &file, form, context);
    }
    if let Some(env) = env {
        crate::commands::show_env(ui, &env);
    }
    Ok(())
}

/// What all of it comes to, where one sentence says it.
pub(crate) fn headline(ui: &mut Ui, plan: &DiffPlan, (old, new): (&DiffSide, &DiffSide)) {
    let text = match plan.extent {
        Extent::Environment => {
            "only the environment differs, as it was observed: code, data, config and model are equal"
        }
        Extent::Metrics => "only what the runs measured differs: recipe and model are equal",
        Extent::Model => "only the model differs: both are of one recipe",
        Extent::Equal
            if old.commit.is_some() && new.commit.is_some() && old.commit != new.commit =>
        {
            let text = "recipe, model and metrics are equal: only the commits' own record differs \
                        (message, time, author, run)";
            ui.talk(text);
            return;
        }
        _ => return,
    };
    if !plan.is_empty() {
        let text = ui.paint(Style::Strong, text);
        ui.line(text);
    }
}

fn show_file(ui: &mut Ui, file: &FileDiff, form: Form, context: usize) {
    let line = crate::commands::change_line(ui, &file.change, file.percent);
    let word = ui.paint(Style::Faint, file.change.ingredient().word());
    let counts = parts::counts(ui, file);
    ui.line(format!("{word} {line}{counts}"));
    for note in &file.notes {
        ui.talk(format!("note: {}", visible(note)));
    }
    for change in &file.inside {
        if let Some(text) = parts::part_line(ui, change) {
            ui.line(format!("    {text}"));
        }
    }
    // What came or went as a whole is a line of the summary, not a screen of pluses.
    if let Some(lines) = file.lines() {
        match form {
            Form::Unified => text::unified(ui, &lines, context),
            Form::Words => text::word_by_word(ui, &lines, context),
            Form::Columns => columns::side_by_side(ui, &lines, context),
        }
    }
}

/// Metrics, with what became better or worse where the name tells.
pub(crate) fn show_metrics(ui: &mut Ui, metrics: &[MetricChange]) {
    if !metrics.is_empty() {
        ui.line("metrics:");
    }
    for m in metrics {
        let text = |v: &Option<Value>| v.as_ref().map_or("-".into(), Value::to_string);
        let delta = m.delta().map_or_else(String::new, |delta| {
            let word = match m.is_better() {
                Some(true) => ui.paint(Style::Added, ", better"),
                Some(false) => ui.paint(Style::Removed, ", worse"),
                None => String::new(),
            };
            format!("  ({delta:+.4}{word})")
        });
        let key = visible(&m.key);
        ui.line(format!(
            "  {key}: {} -> {}{delta}",
            text(&m.old),
            text(&m.new)
        ));
    }
}
