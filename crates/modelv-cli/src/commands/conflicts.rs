//! `modelv conflicts`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use modelv_repo::ConflictState;
use modelv_repo::core::path::RepoPath;
use modelv_repo::worktree::Rules;

use super::{Done, Session};
use crate::ui::Ui;

/// So many conflicts of an ingredient are shown, unless all are asked for.
const SHOWN: usize = 20;

/// How the others are shown.
pub(super) const HINT: &str =
    "hint: `modelv conflicts --all` shows all of them, `modelv conflicts --json` is for programs";

/// List the conflicts of the merge that is under way.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// All of them, not only the first 20 of each ingredient.
    #[arg(long)]
    all: bool,
    /// As JSON; always all.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let list = repo.merge_state()?.map(|m| m.conflicts).unwrap_or_default();
    if args.json {
        s.ui.json(&list.iter().map(super::merge::conflict_json).collect());
        return Ok(ExitCode::SUCCESS);
    }
    if args.all {
        for conflict in &list {
            super::merge::show(s.ui, conflict);
        }
    } else {
        // A file of rules that is in conflict itself says nothing of what belongs where.
        show_some(s.ui, &list, repo.rules().ok().as_ref(), HINT);
    }
    if list.is_empty() {
        s.ui.line("no conflicts");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a conflict belongs.
fn group(conflict: &ConflictState, rules: Option<&Rules>) -> &'static str {
    match (RepoPath::new(conflict.path.as_bytes()), rules) {
        (Ok(path), Some(rules)) => rules.classify(&path).ingredient.word(),
        (Ok(_), None) => "files",
        (Err(_), _) => "env",
    }
}

/// The first conflicts of each ingredient, what is open before what is decided; how many more there are, and how
/// `hint`, how they are shown.
pub(super) fn show_some(ui: &mut Ui, list: &[ConflictState], rules: Option<&Rules>, hint: &str) {
    let groups: Vec<&str> = list.iter().map(|c| group(c, rules)).collect();
    let (picked, left) = pick(&groups, |at| list[at].resolved);
    for at in picked {
        super::merge::show(ui, &list[at]);
    }
    for (name, count) in &left {
        ui.line(format!("and {count} more in {name}"));
    }
    if !left.is_empty() {
        ui.talk(hint);
    }
}

/// Which items are shown, in their order, and how many of each group are not.
fn pick<'g>(
    groups: &[&'g str],
    is_decided: impl Fn(usize) -> bool,
) -> (Vec<usize>, BTreeMap<&'g str, usize>) {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|at| is_decided(*at));
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut picked = Vec::new();
    for at in order {
        let count = count.entry(groups[at]).or_default();
        *count += 1;
        if *count <= SHOWN {
            picked.push(at);
        }
    }
    picked.sort_unstable();
    count.retain(|_, count| {
        *count = count.saturating_sub(SHOWN);
        *count > 0
    });
    (picked, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_group_are_shown_open_ones_before_decided() {
        let groups: Vec<&str> = (0..100)
            .map(|n| if n % 4 == 0 { "data" } else { "code" })
            .collect();
        let (picked, left) = pick(&groups, |at| at < 60);
        let of = |name: &str| -> Vec<usize> {
            picked
                .iter()
                .copied()
                .filter(|at| groups[*at] == name)
                .collect()
        };
        assert_eq!((of("data").len(), of("code").len()), (SHOWN, SHOWN));
        assert!(of("code").iter().all(|at| *at >= 60), "{picked:?}");
        // Ten of data are open: the rest is filled up.
        assert_eq!(of("data").iter().filter(|at| **at >= 60).count(), 10);
        assert_eq!(left, BTreeMap::from([("code", 55), ("data", 5)]));
        assert!(picked.is_sorted());
        let (all, none) = pick(&groups[..20], |_| false);
        assert_eq!((all.len(), none.len()), (20, 0));
    }
}
