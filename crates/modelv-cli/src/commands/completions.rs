//! `modelv completions`: what a shell needs to complete verbs, flags, branches and tags.

use std::process::ExitCode;

use clap_complete::Shell;

use super::{Done, Session};

/// Print completions for a shell; put them into its start-up file.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Word,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Word {
    Bash,
    Zsh,
    Fish,
}

/// Verbs that take a branch, a tag or a commit.
const REF_VERBS: &[&str] = &[
    "branch",
    "diff",
    "env",
    "export",
    "log",
    "merge",
    "release",
    "restore",
    "rev-parse",
    "runs",
    "serve",
    "show",
    "switch",
    "tag",
];

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let shell = match args.shell {
        Word::Bash => Shell::Bash,
        Word::Zsh => Shell::Zsh,
        Word::Fish => Shell::Fish,
    };
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut super::help::command(), "modelv", &mut bytes);
    let made = String::from_utf8_lossy(&bytes).into_owned();
    s.ui.line(match args.shell {
        Word::Bash => bash(&made),
        Word::Fish => fish(&made),
        Word::Zsh => made,
    });
    Ok(ExitCode::SUCCESS)
}

/// The generated function, wrapped: names of branches and tags where a verb takes them, and no
/// `[PLACEHOLDER]` among the words.
fn bash(made: &str) -> String {
    let verbs = REF_VERBS.join("|");
    format!(
        r#"{made}
_modelv_with_refs() {{
    local word verb="" skip="" i kept=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${{COMP_WORDS[i]}}"
        if [[ -n "$skip" ]]; then skip=""; continue; fi
        case "$word" in
            -C | --color) skip=1 ;;
            -*) ;;
            *) verb="$word"; break ;;
        esac
    done
    _modelv "$@"
    for word in "${{COMPREPLY[@]}}"; do
        case "$word" in "["* | "<"*) ;; *) kept+=("$word") ;; esac
    done
    word="${{COMP_WORDS[COMP_CWORD]}}"
    if [[ "$word" != -* && "$verb" =~ ^({verbs})$ ]]; then
        kept+=($(compgen -W "$("${{COMP_WORDS[0]}}" list-refs 2>/dev/null)" -- "$word"))
    fi
    COMPREPLY=("${{kept[@]}}")
}}
complete -F _modelv_with_refs -o bashdefault -o default modelv"#
    )
}

fn fish(made: &str) -> String {
    let verbs = REF_VERBS.join(" ");
    format!(
        "{made}\ncomplete -c modelv -n \"__fish_seen_subcommand_from {verbs}\" -a \"(modelv list-refs 2>/dev/null)\""
    )
}

/// Names of branches, tags and aliases, for completion; nothing where there is no repository.
pub(super) fn list_refs(s: Session<'_>) -> Done {
    if let Ok(repo) = s.repo() {
        for prefix in [
            modelv_repo::names::HEADS,
            modelv_repo::names::TAGS,
            modelv_repo::names::ALIASES,
        ] {
            for (name, _) in repo.refs_below(prefix) {
                s.ui.line(name);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
