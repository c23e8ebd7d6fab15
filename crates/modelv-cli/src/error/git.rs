//! What to type here instead of what one types in Git. Words that mean the same are accepted where
//! they are parsed; this is about those that do not, or that have another name.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::CommandError;

/// Verb, argument (empty: the verb itself), and what to do.
type Row = (&'static str, &'static str, &'static str);

const STAGED: &str = "nothing is staged here: `modelv commit` takes all changes, `modelv commit PATH` some, \
                      and `modelv diff` compares with the last commit";

const WORDS: &[Row] = &[
    (
        "add",
        "",
        "nothing is staged here: `modelv commit` takes all changes, `modelv commit PATH` some; \
         `.mvignore` names what is left out",
    ),
    (
        "checkout",
        "",
        "`modelv switch BRANCH` checks a branch out, `modelv switch -c NEW` makes one, `modelv switch \
         --detach REV` takes any commit, `modelv restore PATH` brings files back",
    ),
    (
        "reset",
        "",
        "`modelv undo` takes the last command back, `modelv restore PATH` brings files back, `modelv \
         revert REV` takes a commit's change back",
    ),
    (
        "stash",
        "",
        "keep it on a branch: `modelv switch -c wip`, then `modelv commit -m wip`",
    ),
    (
        "reflog",
        "",
        "`main@{1}` is where `main` was before its last move; `modelv undo` takes the last command back",
    ),
    (
        "rm",
        "",
        "delete the file; the next `modelv commit` sees it",
    ),
    ("mv", "", "move the file; the next `modelv commit` sees it"),
    (
        "clean",
        "",
        "`modelv status` lists what no commit has; delete what you don't need",
    ),
    (
        "ls-files",
        "",
        "`modelv track` lists files and what they belong to",
    ),
    ("ls-tree", "", "`modelv show REV` tells what a commit holds"),
    (
        "cat-file",
        "",
        "`modelv cat REV:PATH` prints a file, `modelv show REV` a commit",
    ),
    (
        "shortlog",
        "",
        "`modelv log --author NAME` lists somebody's commits",
    ),
    (
        "describe",
        "",
        "`modelv tag` lists tags, `modelv log --oneline` shows where they are",
    ),
    (
        "worktree",
        "",
        "`modelv clone` makes another one, `modelv mount REV DIR` shows a commit without a copy",
    ),
    (
        "submodule",
        "",
        "take what you need with `modelv clone`, or `modelv compose` ingredients of commits",
    ),
    (
        "archive",
        "",
        "`modelv export REV DIR` writes a commit's files",
    ),
    (
        "apply",
        "",
        "`modelv cherry-pick REV` makes a commit's change again",
    ),
    (
        "am",
        "",
        "`modelv cherry-pick REV` makes a commit's change again",
    ),
    (
        "grep",
        "",
        "search the working tree with `grep -r`, or a commit after `modelv mount REV DIR`",
    ),
    (
        "filter-branch",
        "",
        "commits stay as they are; `modelv rebase` makes them again on another one",
    ),
    ("version", "", "`modelv --version` says it"),
    (
        "commit",
        "--amend",
        "`modelv undo` takes the last commit back and leaves its files; then commit again",
    ),
    ("commit", "-p", "name paths: `modelv commit PATH`"),
    ("diff", "--cached", STAGED),
    ("diff", "--staged", STAGED),
    ("restore", "--staged", STAGED),
    ("diff", "--word-diff", "`modelv diff --word` marks words"),
    ("diff", "--color-words", "`modelv diff --word` marks words"),
    (
        "diff",
        "--shortstat",
        "`modelv diff --stat` lists files and counts",
    ),
    (
        "log",
        "--follow",
        "name the paths: `modelv log -- PATH`; `modelv blame PATH` follows renames",
    ),
    (
        "log",
        "--pretty",
        "`--oneline` is short, `--json` is for programs",
    ),
    (
        "log",
        "--format",
        "`--oneline` is short, `--json` is for programs",
    ),
    (
        "status",
        "-s",
        "`modelv status` is short already; `--json` is for programs",
    ),
    (
        "status",
        "--short",
        "`modelv status` is short already; `--json` is for programs",
    ),
    (
        "status",
        "--porcelain",
        "`modelv status --json` is for programs",
    ),
    (
        "branch",
        "-m",
        "`modelv branch NEW OLD`, then `modelv branch -d OLD`",
    ),
    (
        "branch",
        "-M",
        "`modelv branch NEW OLD`, then `modelv branch -d OLD`",
    ),
    (
        "branch",
        "--move",
        "`modelv branch NEW OLD`, then `modelv branch -d OLD`",
    ),
    (
        "branch",
        "-a",
        "`modelv branch` lists yours; `modelv log REMOTE/BRANCH` shows one of a remote",
    ),
    (
        "branch",
        "-r",
        "`modelv log REMOTE/BRANCH` shows the branch of a remote",
    ),
    (
        "init",
        "-b",
        "the first branch is `main`; `modelv switch -c NAME` makes another",
    ),
    (
        "init",
        "--initial-branch",
        "the first branch is `main`; `modelv switch -c NAME` makes another",
    ),
    (
        "merge",
        "--squash",
        "a merge keeps both parents; `modelv cherry-pick HEAD..BRANCH` makes their changes again",
    ),
    (
        "rebase",
        "-i",
        "a rebase asks nothing here: `modelv cherry-pick A B C` takes commits in the order you want",
    ),
    (
        "rebase",
        "--interactive",
        "a rebase asks nothing here: `modelv cherry-pick A B C` takes commits in the order you want",
    ),
    (
        "pull",
        "--rebase",
        "`modelv fetch`, then `modelv rebase REMOTE/BRANCH`",
    ),
    (
        "push",
        "--force",
        "`--force-with-lease` replaces what you have seen, and nothing newer",
    ),
    (
        "push",
        "-f",
        "`--force-with-lease` replaces what you have seen, and nothing newer",
    ),
    (
        "tag",
        "-a",
        "a tag is a name: `modelv tag NAME [REV]`; what there is to say goes into the commit",
    ),
    (
        "tag",
        "-m",
        "a tag is a name: `modelv tag NAME [REV]`; what there is to say goes into the commit",
    ),
    (
        "blame",
        "-L",
        "`modelv blame PATH` shows all lines; `modelv blame --json` is for programs",
    ),
    (
        "config",
        "--global",
        "each repository has its own: `modelv config KEY VALUE`",
    ),
    ("config", "--list", "`modelv config` lists all keys"),
    ("config", "-l", "`modelv config` lists all keys"),
    ("config", "--get", "`modelv config KEY` prints one"),
    (
        "rev-parse",
        "--abbrev-ref",
        "`modelv branch --show-current` prints the branch",
    ),
];

/// The error of a command line that is right in Git; `None`: it is just wrong.
pub(crate) fn hint(error: &clap::Error, args: &[std::ffi::OsString]) -> Option<CommandError> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (verb, word) = match error.kind() {
        ErrorKind::InvalidSubcommand => (text(ContextKind::InvalidSubcommand)?, ""),
        ErrorKind::UnknownArgument => {
            let is_verb = |word: &&str| WORDS.iter().any(|(verb, ..)| verb == word);
            let mut words = args.iter().skip(1).filter_map(|a| a.to_str());
            (words.find(is_verb)?, text(ContextKind::InvalidArg)?)
        }
        _ => return None,
    };
    let word = word.split(['=', ' ']).next().unwrap_or(word);
    let row = WORDS.iter().find(|(v, w, _)| (*v, *w) == (verb, word))?;
    let message = match word {
        "" => format!("no command `{verb}`"),
        word => format!("`{verb}` takes no `{word}`"),
    };
    Some(CommandError::usage(message, row.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is accepted one day needs no row any more, and a row for a verb of ours is of an argument.
    #[test]
    fn no_row_is_about_what_is_accepted() {
        for (verb, word, _) in WORDS {
            let line = ["modelv", verb, word];
            let line = line.into_iter().filter(|w| !w.is_empty());
            let args: Vec<std::ffi::OsString> = line.map(Into::into).collect();
            let error = crate::commands::command().try_get_matches_from(&args);
            let error = error.expect_err(verb);
            assert!(hint(&error, &args).is_some(), "{verb} {word}: {error}");
        }
    }
}
