//! `modelv show`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::capture::clock;
use modelv_repo::core::commit::Commit;
use modelv_repo::core::env::Env;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::scan::Verdict;
use modelv_repo::worktree::{Files, Ingredient};
use modelv_repo::{DiffSide, ModelState, Repo, model_state, totals};

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui, plain, size};

/// Show one commit on one screen: ingredients, model, run, metrics.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit; the current one otherwise.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// What it changed, too: against its first parent. Any other look at a difference implies it.
    #[arg(short, long)]
    patch: bool,
    #[command(flatten)]
    options: super::diff::Options,
    /// What it changed at and below these paths.
    #[arg(last = true)]
    paths: Vec<OsString>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let commit = repo.commit_object(id)?;
    let patch = args.patch || args.options.is_wanted() || !args.paths.is_empty();
    let paths = s.paths(&repo, &args.paths)?;
    if args.options.is_json() {
        let mut json = modelv_repo::json::commit(&repo, id, &commit)?;
        if patch {
            let (old, new) = sides(&repo, id, &commit)?;
            let report = repo.diff(&old, &new, &args.options.filter(paths))?;
            json["diff"] = modelv_repo::json::diff(&report, &old, &new);
        }
        s.ui.json(&json);
        return Ok(ExitCode::SUCCESS);
    }
    if args.options.is_page() {
        let (old, new) = sides(&repo, id, &commit)?;
        return args.options.show(&repo, (&old, &new), paths, s);
    }
    s.ui.long(args.options.has_pager());
    s.ui.line(format!("commit {}", s.ui.paint(Style::Id, &id.to_hex())));
    s.ui.line(format!("recipe {}", commit.recipe.id()));
    let parents: Vec<String> = commit.parents.iter().map(CommitId::short).collect();
    if !parents.is_empty() {
        s.ui.line(format!("parents {}", parents.join(" ")));
    }
    s.ui.line(format!(
        "author {}, {}",
        plain(&commit.author.to_string()),
        clock::format_time(commit.time)
    ));
    s.ui.line("");
    for line in plain(&commit.message).lines() {
        s.ui.line(format!("    {line}"));
    }
    s.ui.line("");
    let files = repo.files(id)?;
    ingredients(&repo, &commit, &files, s.ui)?;
    run_and_metrics(&repo, &commit, s.ui)?;
    verdicts(&repo, &commit, &files, s.ui)?;
    for (key, value) in &commit.extra {
        s.ui.line(format!("{key:12} {value}"));
    }
    if !patch {
        return Ok(ExitCode::SUCCESS);
    }
    s.ui.line("");
    let (old, new) = sides(&repo, id, &commit)?;
    args.options.show(&repo, (&old, &new), paths, s)
}

/// The commit's first parent, or nothing, and the commit.
pub(super) fn sides(
    repo: &Repo,
    id: CommitId,
    commit: &Commit,
) -> Result<(DiffSide, DiffSide), CommandError> {
    let old = match commit.parents.first() {
        Some(parent) => repo.diff_commit(*parent, &parent.short())?,
        None => repo.diff_nothing(),
    };
    Ok((old, repo.diff_commit(id, &id.short())?))
}

fn ingredients(
    repo: &Repo,
    commit: &Commit,
    files: &Files,
    ui: &mut Ui,
) -> Result<(), CommandError> {
    let counts = totals(files);
    let roots = [
        (Ingredient::Code, commit.recipe.code.short()),
        (Ingredient::Data, commit.recipe.data.short()),
        (Ingredient::Config, commit.recipe.config.short()),
    ];
    let row = |word: &str, root: &str, (files, bytes): (u64, u64)| {
        let plural = if files == 1 { "file" } else { "files" };
        format!("{word:12} {root}  {files} {plural}, {}", size(bytes))
    };
    for (ingredient, root) in roots {
        let count = counts.get(&ingredient).copied().unwrap_or_default();
        ui.line(row(ingredient.word(), &root, count));
    }
    let env = repo.env_object(commit.recipe.env)?;
    let python = env
        .interpreter
        .as_ref()
        .map_or("no interpreter".into(), |i| {
            format!("{} {}", i.implementation, i.version)
        });
    let (root, packages) = (commit.recipe.env.short(), env.packages.len());
    let what = match env == Env::none() {
        true => "not recorded".to_owned(),
        false => format!("{python}, {packages} packages, {} {}", env.os, env.arch),
    };
    ui.line(format!("{:12} {root}  {what}", "env"));
    match commit.model {
        None => ui.line(format!("{:12} none", "model")),
        Some(model) => {
            let count = counts.get(&Ingredient::Model).copied().unwrap_or_default();
            let note = match model_state(commit) {
                ModelState::Stale => format!(", stale: made by recipe {}", model.recipe.short()),
                _ => String::new(),
            };
            ui.line(format!(
                "{}{note}",
                row("model", &model.tree.short(), count)
            ));
        }
    }
    Ok(())
}

/// Files that this commit brought and that are not safe to load.
fn verdicts(repo: &Repo, commit: &Commit, files: &Files, ui: &mut Ui) -> Result<(), CommandError> {
    let old = match commit.parents.first() {
        Some(parent) => repo.files(*parent)?,
        None => Default::default(),
    };
    for (path, file) in files {
        if old.get(path).is_some_and(|o| o.blob == file.blob) {
            continue;
        }
        let found = repo.scan_stored(path, file)?;
        if let Some(found) = found.filter(|f| f.scan.verdict() > Verdict::Safe) {
            super::scan::show(ui, &found, false);
        }
    }
    Ok(())
}

fn run_and_metrics(repo: &Repo, commit: &Commit, ui: &mut Ui) -> Result<(), CommandError> {
    for id in &commit.runs {
        let run = repo.run_object(*id)?;
        let duration = clock::format_duration(run.duration_ms);
        let host = run
            .host
            .get("host")
            .map(|h| format!(" on {h}"))
            .unwrap_or_default();
        ui.line(format!(
            "{:12} {}  {}, {duration}{host}",
            "run",
            id.short(),
            run.status
        ));
        ui.line(format!("{:12} {}", "command", run.command.join(" ")));
        for (title, values) in [("params", &run.params), ("metrics", &run.metrics)] {
            for (i, (key, value)) in values.iter().enumerate() {
                let title = if i == 0 { title } else { "" };
                ui.line(format!("{title:12} {key} = {value}"));
            }
        }
    }
    Ok(())
}
