//! The parser for one verb alone. Making all fifty takes longer than many a command needs for its work.
//!
//! It must never decide anything: what it does not take goes to the whole parser, which knows how to say why.

use std::ffi::OsString;

use clap::{Args, Command};

use super::*;

/// The parser for the verb of a command line; `None`: the whole one is needed.
pub(crate) fn bare(args: &[OsString]) -> Option<Command> {
    let verb = one(verb_of(args)?)?;
    let whole = Everywhere::augment_args(Command::new("modelv"));
    Some(whole.subcommand(verb).subcommand_required(true))
}

/// The first word that is neither an option of every verb nor its value.
fn verb_of(args: &[OsString]) -> Option<&str> {
    let mut words = args.iter().skip(1);
    loop {
        let word = words.next()?.to_str()?;
        match word {
            "-C" | "--color" => {
                words.next();
            }
            _ if word.starts_with("-C") || word.starts_with("--color=") => {}
            _ if word.starts_with('-') => return None,
            _ => return Some(word),
        }
    }
}

/// Whether a word is a verb; `help` is one.
pub(crate) fn is_verb(word: &str) -> bool {
    VERBS.contains(&word)
}

/// Names of verbs that lie about as files at the top: `mv` would take them for files.
pub(super) fn verb_named_entries(root: &Path) -> Vec<&'static str> {
    let is_there = |name: &&str| std::fs::symlink_metadata(root.join(name)).is_ok();
    VERBS.iter().copied().filter(is_there).collect()
}

macro_rules! verbs {
    ($($name:literal => $args:ty,)*) => {
        const VERBS: &[&str] = &[$($name,)* "list-refs", "help"];

        fn one(name: &str) -> Option<Command> {
            match name {
                $($name => Some(<$args>::augment_args(Command::new($name))),)*
                _ => None,
            }
        }
    };
}

verbs! {
    "init" => init::Args,
    "status" => status::Args,
    "track" => track::Args,
    "commit" => commit::Args,
    "log" => log::Args,
    "show" => show::Args,
    "diff" => diff::Args,
    "branch" => branch::Args,
    "switch" => switch::Args,
    "restore" => restore::Args,
    "tag" => tag::Args,
    "merge" => merge::Args,
    "conflicts" => conflicts::Args,
    "resolve" => resolve::Args,
    "mergetool" => mergetool::Args,
    "cherry-pick" => cherry_pick::Args,
    "revert" => revert::Args,
    "rebase" => rebase::Args,
    "compose" => compose::Args,
    "weights" => weights::Args,
    "undo" => undo::Args,
    "blame" => blame::Args,
    "bisect" => bisect::Args,
    "clone" => clone::Args,
    "import" => import::Args,
    "add-external" => add_external::Args,
    "import-url" => add_external::CopyArgs,
    "external" => external::Args,
    "remote" => remote::Args,
    "fetch" => fetch::Args,
    "pull" => pull::Args,
    "push" => push::Args,
    "hooks" => hooks::Args,
    "sparse" => sparse::Args,
    "rev-parse" => rev_parse::Args,
    "merge-base" => merge_base::Args,
    "cat" => cat::Args,
    "export" => export::Args,
    "mount" => mount::Args,
    "run" => run::Args,
    "pipeline" => pipeline::Args,
    "reproduce" => reproduce::Args,
    "lineage" => lineage::Args,
    "runs" => runs::Args,
    "env" => env::Args,
    "release" => release::Args,
    "registry" => registry::Args,
    "ci" => ci::Args,
    "serve" => serve::Args,
    "scan" => scan::Args,
    "fsck" => fsck::Args,
    "gc" => gc::Args,
    "stats" => stats::Args,
    "config" => config::Args,
    "alias" => alias::Args,
    "completions" => completions::Args,
    "man" => man::Args,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn every_verb_parses_as_in_the_whole() {
        for whole in Cli::command().get_subcommands() {
            let name = whole.get_name();
            if whole.is_hide_set() {
                continue;
            }
            let bare = one(name).unwrap_or_else(|| panic!("{name} is not in the list"));
            let of = |c: &Command| -> Vec<String> {
                c.get_arguments().map(|a| format!("{a:?}")).collect()
            };
            assert_eq!(of(&bare), of(whole), "{name}");
            let below = |c: &Command| -> Vec<String> {
                c.get_subcommands()
                    .map(|s| s.get_name().to_owned())
                    .collect()
            };
            assert_eq!(below(&bare), below(whole), "{name}");
        }
    }

    #[test]
    fn the_list_of_verbs_is_that_of_the_whole() {
        let mut whole = Cli::command();
        whole.build();
        let mut of_whole: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
        let mut listed = VERBS.to_vec();
        of_whole.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, of_whole);
        assert!(is_verb("log") && is_verb("help") && !is_verb("logs"));
    }

    #[test]
    fn the_verb_is_found_behind_the_options_of_every_verb() {
        for line in [
            "modelv log -n 3",
            "modelv -C dir log",
            "modelv -Cdir log",
            "modelv --color never log",
            "modelv --color=never -C log log",
        ] {
            assert_eq!(verb_of(&words(line)), Some("log"), "{line}");
        }
        for line in ["modelv", "modelv --help", "modelv -V", "modelv -C"] {
            assert_eq!(verb_of(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn what_it_takes_the_command_understands() {
        let args = words("modelv -C x log --color never --oneline -n3 main..HEAD");
        let matches = bare(&args).unwrap().try_get_matches_from(&args).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        assert_eq!(cli.everywhere.work_dir.as_deref(), Some(Path::new("x")));
        assert!(matches!(cli.command, super::super::Command::Log(_)));
    }

    #[test]
    fn what_it_does_not_know_is_for_the_whole_parser() {
        assert!(bare(&words("modelv help log")).is_none());
        assert!(bare(&words("modelv nosuch")).is_none());
        let args = words("modelv log --nosuch");
        assert!(bare(&args).unwrap().try_get_matches_from(&args).is_err());
    }
}
