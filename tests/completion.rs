//! Completions as a real bash runs them, and manual pages as a real formatter reads them.

use std::process::Command;

use crate::support::{BINARY, Tree};

/// What bash offers for the last word of a line.
fn complete(tree: &Tree, line: &str) -> Vec<String> {
    let script = format!(
        "eval \"$('{BINARY}' completions bash)\"\n\
         modelv() {{ '{BINARY}' \"$@\"; }}\n\
         COMP_LINE=$1; COMP_POINT=${{#1}}; read -ra COMP_WORDS <<< \"$1\"\n\
         [[ $1 == *' ' ]] && COMP_WORDS+=('')\n\
         COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))\n\
         how=$(complete -p modelv); how=${{how#*-F }}\n\
         ${{how%% *}} modelv \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script, "bash", line])
        .current_dir(tree.root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_verbs_flags_and_branches() {
    let tree = Tree::repo();
    tree.put("a", "1");
    tree.commit("one");
    tree.mv(&["branch", "topic/german"]).success();
    tree.mv(&["tag", "v1"]).success();
    assert_eq!(complete(&tree, "modelv comm"), ["commit"]);
    assert_eq!(complete(&tree, "modelv switch top"), ["topic/german"]);
    assert_eq!(complete(&tree, "modelv --color never show v"), ["v1"]);
    let flags = complete(&tree, "modelv commit --allow");
    assert_eq!(flags, ["--allow-empty", "--allow-secret"]);
    let all = complete(&tree, "modelv merge ");
    for name in ["main", "topic/german", "v1"] {
        assert!(all.iter().any(|w| w == name), "{name} in {all:?}");
    }
    assert!(all.iter().all(|w| !w.starts_with(['[', '<'])), "{all:?}");
    assert_eq!(complete(&tree, "modelv runs comp"), ["compare"]);
    // Outside of a repository there is nothing to name, and nothing is said.
    let empty = Tree::empty();
    assert_eq!(complete(&empty, "modelv switch top"), [""; 0]);
}

#[test]
fn other_shells_get_the_same_verbs() {
    let tree = Tree::empty();
    for (shell, marks) in [
        ("zsh", ["#compdef modelv", "'recreate:"]),
        ("fish", ["complete -c modelv", "(modelv list-refs"]),
    ] {
        let script = tree.mv(&["completions", shell]).success();
        for mark in marks {
            assert!(script.contains(mark), "{mark} in {shell}");
        }
    }
    let said = tree.mv(&["completions", "tcsh"]).fails_with(2);
    assert!(said.contains("possible values: bash, zsh, fish"), "{said}");
}

#[test]
fn every_verb_has_a_manual_page() {
    let tree = Tree::empty();
    tree.mv(&["man", "man1"]).success();
    let help = tree.mv(&["--help"]).success();
    let verbs = help
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        // What a verb does goes on in a line that is farther in.
        .filter(|l| !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next());
    let mut count = 0;
    for verb in verbs.filter(|v| *v != "help") {
        let page = tree.get(&format!("man1/modelv-{verb}.1"));
        for part in [".SH NAME", ".SH SYNOPSIS", "Exit status:", "Example:"] {
            assert!(page.contains(part), "{part} in {verb}");
        }
        count += 1;
    }
    assert!(count > 25, "{count}");
    let names: Vec<String> = std::fs::read_dir(tree.path("man1"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|n| n.ends_with(".1")), "{names:?}");
    assert!(
        names.contains(&"modelv-env-recreate.1".to_owned()),
        "{names:?}"
    );
    // A formatter, where there is one, has nothing to complain about.
    for name in names {
        let checked = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(tree.path("man1").join(&name))
            .output();
        let Ok(done) = checked else { return };
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{name}: {said}");
    }
}
