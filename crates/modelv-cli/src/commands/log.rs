//! `modelv log`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::commit::Commit;
use modelv_repo::core::id::CommitId;
use modelv_repo::{
    Condition, DiffFilter, Field, KeyFilter, LogOptions, ModelState, Part, Repo, json, model_state,
};

use super::{Done, Session};
use crate::error::CommandError;
use crate::graph::Graph;
use crate::ui::{Style, Ui, plain};
use crate::view::{self, Form};

/// Show the history.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to start, also several, or `A..B`; the current commit otherwise. Then paths: only commits that
    /// change them.
    #[arg(value_name = "REVISION|PATH")]
    words: Vec<OsString>,
    /// From all branches and tags, those of remotes too.
    #[arg(long)]
    all: bool,
    /// Draw the lines of history.
    #[arg(long)]
    graph: bool,
    /// One line a commit.
    #[arg(long)]
    oneline: bool,
    /// With what each changed, against its first parent.
    #[arg(short, long, conflicts_with_all = ["graph", "json"])]
    patch: bool,
    /// The same, only counts.
    #[arg(long, conflicts_with_all = ["graph", "json", "patch"])]
    stat: bool,
    /// At most so many.
    #[arg(short = 'n', long = "max-count", value_name = "N")]
    limit: Option<usize>,
    /// Only commits that change this part of the recipe, or the model; may be given again.
    #[arg(long, value_enum, value_name = "PART")]
    ingredient: Vec<PartWord>,
    /// Only commits that change this key of the configuration, or set it to a value: `lr`, `lr=0.1`.
    #[arg(long, value_name = "KEY[=V]")]
    config: Vec<String>,
    /// Only commits whose own recipe had a run that fits, for example `f1>0.8`; may be given again.
    #[arg(long, value_name = "CONDITION")]
    metric: Vec<String>,
    /// Only commits by an author with this in name or address.
    #[arg(long, value_name = "TEXT")]
    author: Option<String>,
    /// Only commits whose message has this in it, in any case.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Not those before: `2026-11-21`, `2026-11-21 05:20`, `3 days ago`, in UTC.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not those after.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Not in a pager, even on a terminal.
    #[arg(long)]
    no_pager: bool,
    /// Only commits that change these paths.
    #[arg(last = true)]
    paths: Vec<OsString>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum PartWord {
    Code,
    Data,
    Config,
    Env,
    Model,
}

impl Args {
    /// What is asked for, without paths.
    fn filters(&self) -> Result<LogOptions, CommandError> {
        let keys = self.config.iter().map(|text| KeyFilter::parse(text));
        let metrics = self.metric.iter();
        let metrics = metrics.map(|text| Condition::parse(Field::Metric, text));
        let part = |word: &PartWord| match word {
            PartWord::Code => Part::Code,
            PartWord::Data => Part::Data,
            PartWord::Config => Part::Config,
            PartWord::Env => Part::Env,
            PartWord::Model => Part::Model,
        };
        let time = |text: &Option<String>, is_end| {
            let Some(text) = text else {
                return Ok(None);
            };
            clock::parse_time(text, is_end).map(Some).ok_or_else(|| {
                let hint = "for example `2026-11-21`, `2026-11-21 05:20`, `3 days ago`";
                CommandError::usage(format!("`{text}` is no time"), hint)
            })
        };
        Ok(LogOptions {
            limit: self.limit,
            parts: self.ingredient.iter().map(part).collect(),
            keys: keys.collect::<modelv_repo::Result<_>>()?,
            metrics: metrics.collect::<modelv_repo::Result<_>>()?,
            author: self.author.clone(),
            message: self.grep.clone(),
            since: time(&self.since, false)?,
            until: time(&self.until, true)?,
            ..LogOptions::default()
        })
    }
}

/// `-5` is `-n 5`, as in Git.
pub(crate) fn spell_counts(args: Vec<OsString>) -> Vec<OsString> {
    let verb = args.iter().position(|a| a == "log");
    let end = args.iter().position(|a| a == "--").unwrap_or(args.len());
    let spell = |(at, arg): (usize, OsString)| {
        let digits = arg.to_str().and_then(|a| a.strip_prefix('-'));
        let is_count =
            digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()) && !d.is_empty());
        match digits {
            Some(digits) if is_count && at < end && verb.is_some_and(|v| v < at) => {
                format!("-n{digits}").into()
            }
            _ => arg,
        }
    };
    args.into_iter().enumerate().map(spell).collect()
}

/// Tells where the history goes on that this clone does not hold.
pub(super) fn tell_cut(
    repo: &Repo,
    commits: &[(CommitId, Commit)],
    ui: &mut Ui,
) -> Result<(), CommandError> {
    let cut = repo.cut_off(commits.iter())?;
    if !cut.is_empty() {
        let ids: Vec<String> = cut.iter().take(5).map(CommitId::short).collect();
        ui.warn(format!(
            "this clone has no history before {}: `modelv fetch --unshallow` brings it",
            ids.join(", ")
        ));
    }
    Ok(())
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let options = options(args, &repo, &s)?;
    let commits = repo.history(&options)?;
    tell_cut(&repo, &commits, s.ui)?;
    if args.json {
        let mut list = Vec::new();
        for (id, commit) in &commits {
            list.push(json::commit(&repo, *id, commit)?);
        }
        s.ui.json(&list.into());
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.long(!args.no_pager);
    let names = repo.decorations();
    let head = repo.head();
    let mut graph = Graph::default();
    for (id, commit) in &commits {
        let mut refs = names.get(id).cloned().unwrap_or_default();
        if head == Some(*id) {
            refs.insert(0, "HEAD".into());
        }
        let refs = if refs.is_empty() {
            String::new()
        } else {
            format!(" ({})", refs.join(", "))
        };
        let note = match model_state(commit) {
            ModelState::Stale => s.ui.paint(Style::Warn, " [model stale]"),
            ModelState::None => s.ui.paint(Style::Faint, " [no model]"),
            ModelState::Current => String::new(),
        };
        let refs = s.ui.paint(Style::Added, &refs);
        let short = s.ui.paint(Style::Id, &id.short());
        let (mark, below) = if args.graph {
            graph.next(*id, &commit.parents)
        } else {
            (String::new(), vec![])
        };
        let mark = if args.graph { format!("{mark} ") } else { mark };
        if args.oneline {
            s.ui.line(format!(
                "{mark}{short}{refs} {}{note}",
                plain(commit.subject())
            ));
        } else {
            s.ui.line(format!("{mark}commit {short}{refs}{note}"));
            let margin = if args.graph {
                format!("{} ", graph.margin())
            } else {
                String::new()
            };
            tell(commit, &margin, s.ui);
            s.ui.line(margin.trim_end());
        }
        for line in below {
            s.ui.line(line);
        }
        if args.patch || args.stat {
            show_change(args, &options, &repo, (*id, commit), s.ui)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Which commits are wanted, from where on.
fn options(args: &Args, repo: &Repo, s: &Session<'_>) -> Result<LogOptions, CommandError> {
    let (mut revisions, paths) = super::words::split("log", repo, &args.words, &args.paths, s)?;
    let mut options = LogOptions {
        paths: s.paths(repo, &paths)?,
        ..args.filters()?
    };
    if args.all {
        options.start = repo.tips();
    } else if revisions.is_empty() {
        revisions.push("HEAD".into());
    }
    for revision in revisions {
        let span = repo.span(&revision)?;
        options.start.extend(span.start);
        options.exclude.extend(span.exclude);
    }
    Ok(options)
}

/// What a commit changed against its first parent.
fn show_change(
    args: &Args,
    options: &LogOptions,
    repo: &Repo,
    (id, commit): (CommitId, &Commit),
    ui: &mut Ui,
) -> Result<(), CommandError> {
    let (old, new) = super::show::sides(repo, id, commit)?;
    let filter = DiffFilter {
        paths: options.paths.clone(),
        parts: options.parts.clone(),
    };
    if args.stat {
        view::show_stat(ui, &repo.diff(&old, &new, &filter)?);
    } else {
        let plan = repo.diff_plan(&old, &new, &filter)?;
        view::show(ui, repo, plan, (&old, &new), (Form::Unified, 3))?;
    }
    ui.line("");
    Ok(())
}

/// Who, when and what for.
fn tell(commit: &Commit, margin: &str, ui: &mut Ui) {
    let author = commit.author.to_string();
    ui.line(format!("{margin}Author: {}", plain(&author)));
    let date = clock::format_time(commit.time);
    ui.line(format!("{margin}Date:   {date}"));
    for line in plain(&commit.message).lines() {
        ui.line(format!("{margin}    {line}"));
    }
}
