//! `modelv diff`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::{DiffFilter, DiffSide, Part, Range, Repo, json};

use super::{Done, Session};
use crate::error::CommandError;
use crate::html::diff_page;
use crate::view::{self, Form};

/// Show what differs: metrics, configuration keys, lines, packages, rows, tensors.
///
/// Without a revision: the current commit against the working tree. `A`: A against the working
/// tree. `A B` or `A..B`: A against B. `A...B`: their merge base against B. What follows and is no
/// revision is a path; `--` tells them apart.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Revisions, then paths.
    #[arg(value_name = "REVISION|PATH")]
    words: Vec<OsString>,
    #[command(flatten)]
    options: Options,
    /// The interpreter whose packages are compared.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Only these paths.
    #[arg(last = true)]
    paths: Vec<OsString>,
}

/// What `diff` and `show` have in common.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    view: View,
    /// Only these ingredients: code, data, config, env, model.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    ingredient: Vec<Part>,
    /// Equal lines shown around what differs.
    #[arg(short = 'U', long, value_name = "LINES", default_value_t = 3)]
    context: usize,
    /// End names with NUL bytes, not escaped (with --name-only and --name-status).
    #[arg(short = 'z', long)]
    null: bool,
    /// Exit with 1 when something differs.
    #[arg(long)]
    exit_code: bool,
    /// Don't start a pager (`MODELV_PAGER`, `PAGER` or `less`, on a terminal only).
    #[arg(long)]
    no_pager: bool,
}

/// One of several looks.
#[derive(clap::Args)]
#[group(multiple = false)]
struct View {
    /// Only counts, with bars.
    #[arg(long)]
    stat: bool,
    /// Lines once, with the words that differ marked.
    #[arg(long)]
    word: bool,
    /// Old and new beside each other, in the width of the terminal.
    #[arg(long)]
    side_by_side: bool,
    /// Only paths.
    #[arg(long)]
    name_only: bool,
    /// Paths behind a letter: A added, D deleted, M modified, R and the likeness in per cent
    /// renamed, T another type, I another ingredient.
    #[arg(long)]
    name_status: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// As one page for a browser, with everything in it; `-` writes it to standard output.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let (revisions, paths) = super::words::split("diff", &repo, &args.words, &args.paths, &s)?;
    if revisions.len() > 2 {
        return Err(CommandError::usage(
            "a difference has two sides",
            "`modelv diff A B`; paths go behind `--`",
        ));
    }
    let (old, new) = sides(&repo, &revisions, &args, &s)?;
    let paths = s.paths(&repo, &paths)?;
    args.options.show(&repo, (&old, &new), paths, s)
}

impl Options {
    /// Whether a difference is asked for where it is not the point of the command.
    pub(super) fn is_wanted(&self) -> bool {
        let View {
            stat,
            word,
            side_by_side,
            name_only,
            name_status,
            json: _,
            ref html,
        } = self.view;
        html.is_some()
            || stat
            || word
            || side_by_side
            || name_only
            || name_status
            || !self.ingredient.is_empty()
    }

    /// Whether a page is asked for, which has everything in it.
    pub(super) fn is_page(&self) -> bool {
        self.view.html.is_some()
    }

    pub(super) fn is_json(&self) -> bool {
        self.view.json
    }

    pub(super) fn has_pager(&self) -> bool {
        !self.no_pager
    }

    pub(super) fn filter(&self, paths: Vec<modelv_repo::core::path::RepoPath>) -> DiffFilter {
        DiffFilter {
            paths,
            parts: self.ingredient.clone(),
        }
    }

    /// Shows the difference of two sides.
    pub(super) fn show(
        &self,
        repo: &Repo,
        (old, new): (&DiffSide, &DiffSide),
        paths: Vec<modelv_repo::core::path::RepoPath>,
        s: Session<'_>,
    ) -> Done {
        let filter = self.filter(paths);
        let view = &self.view;
        if let Some(file) = &view.html {
            let plan = repo.diff_plan(old, new, &filter)?;
            let differs = !plan.is_empty();
            let page = diff_page(repo, plan, (old, new))?;
            super::write_page(s.ui, &s.dir, file, &page)?;
            return Ok(ExitCode::from(u8::from(self.exit_code && differs)));
        }
        s.ui.long(self.has_pager());
        let differs = if view.json || view.stat {
            let report = repo.diff(old, new, &filter)?;
            if view.json {
                s.ui.json(&json::diff(&report, old, new));
            } else {
                view::show_stat(s.ui, &report);
            }
            !report.is_empty()
        } else {
            let plan = repo.diff_plan(old, new, &filter)?;
            let differs = !plan.is_empty();
            let form = match () {
                () if view.word => Form::Words,
                () if view.side_by_side => Form::Columns,
                () => Form::Unified,
            };
            if view.name_only {
                view::name_only(s.ui, &plan.files, self.null);
            } else if view.name_status {
                view::name_status(s.ui, &plan.files, self.null);
            } else {
                view::show(s.ui, repo, plan, (old, new), (form, self.context))?;
            }
            differs
        };
        Ok(ExitCode::from(u8::from(self.exit_code && differs)))
    }
}

fn sides(
    repo: &Repo,
    revisions: &[String],
    args: &Args,
    s: &Session<'_>,
) -> Result<(DiffSide, DiffSide), CommandError> {
    let worktree = || repo.diff_worktree(args.python.clone(), &s.ctx());
    let commit = |id, label: &str| repo.diff_commit(id, label);
    Ok(match revisions {
        [] => match repo.head() {
            Some(head) => (commit(head, "HEAD")?, worktree()?),
            None => (repo.diff_nothing(), worktree()?),
        },
        [a, b, ..] => (commit(repo.resolve(a)?, a)?, commit(repo.resolve(b)?, b)?),
        [one] => match repo.resolve_range(one)? {
            Range::One(id) => (commit(id, one)?, worktree()?),
            Range::Two(a, b) => {
                let (x, y) = one.split_once("..").unwrap_or((one, ""));
                (commit(a, name(x))?, commit(b, name(y))?)
            }
            Range::FromBase(a, b) => {
                let bases = repo.merge_bases(a, b)?;
                let (_, y) = one.split_once("...").unwrap_or((one, ""));
                let old = match bases.first() {
                    Some(base) => commit(*base, &base.short())?,
                    None => repo.diff_nothing(),
                };
                (old, commit(b, name(y))?)
            }
        },
    })
}

/// An empty side of a range is HEAD.
fn name(side: &str) -> &str {
    if side.is_empty() { "HEAD" } else { side }
}
