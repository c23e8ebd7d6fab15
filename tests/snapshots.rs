//! What people see, kept as files: `tests/snapshots/`. Ids, paths and durations are replaced; all
//! else is compared word for word. `INSTA_UPDATE=always cargo test -p modelv-cli --test e2e` takes
//! the new words over, and the diff shows whether they are better.

use std::collections::HashMap;

use crate::support::Tree;

/// Ids in order of their first use, the folder, and durations.
fn normal(tree: &Tree, text: &str) -> String {
    let real = tree.root().canonicalize().unwrap();
    let text = text.replace(&real.display().to_string(), "<DIR>");
    let text = text.replace(&tree.root().display().to_string(), "<DIR>");
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let ends_word = !out.ends_with(|c: char| c.is_alphanumeric())
            && !rest[digits..].starts_with(|c: char| c.is_alphanumeric());
        if ends_word && matches!(digits, 12 | 64) {
            let next = known.len() + 1;
            let number = *known.entry(rest[..12].to_owned()).or_insert(next);
            out.push_str(&format!("<id {number}>"));
            rest = &rest[digits..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    durations(&out)
}

/// `34 ms` and `1.2 s` become `<time>`, with the spaces that align them.
fn durations(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let mut i = 1;
    while i < words.len() {
        let unit = words[i].trim_end_matches(['\n', ':']);
        let is_number =
            |w: &str| w.starts_with(|c: char| c.is_ascii_digit()) && w.parse::<f64>().is_ok();
        let is_time =
            unit.lines().next().is_some_and(|u| u == "ms" || u == "s") && is_number(words[i - 1]);
        if is_time {
            words[i - 1] = "<time>";
            words[i] = words[i]
                .strip_prefix("ms")
                .or_else(|| words[i].strip_prefix('s'))
                .unwrap_or("");
            while i >= 2 && words[i - 2].is_empty() {
                words.remove(i - 2);
                i -= 1;
            }
        }
        i += 1;
    }
    words.join(" ")
}

/// What a command says on both streams and its status, as a file.
fn snapshot(tree: &Tree, name: &str, args: &[&str]) {
    let done = tree.mv(args);
    let mut text = format!("$ modelv {}\n{}", args.join(" "), done.out);
    if !done.err.is_empty() {
        text.push_str(&format!("--- stderr\n{}", done.err));
    }
    if done.status != Some(0) {
        text.push_str(&format!("--- status {}\n", done.status.unwrap_or(-1)));
    }
    let text = normal(tree, &text);
    insta::with_settings!({
        snapshot_path => "snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

/// A history with all ingredients, a run, and a working tree that differs.
fn worked_on() -> Tree {
    let tree = Tree::repo();
    tree.put("train.sh", "echo '{\"f1\": 0.5}' > metrics.json\n");
    tree.put("data/en.tsv", "id\ttext\n1\thello\n2\tyes\n");
    tree.put("params.toml", "[train]\nc = 1.0 # strength\nseed = 7\n");
    tree.put("requirements.txt", "numpy==1.26.4\nscipy==1.13.0\n");
    tree.commit("English data, one parameter\n\nThe body of the message.");
    tree.mv(&["run", "-m", "train it", "--", "sh", "train.sh"])
        .success();
    tree.put(
        "params.toml",
        "[train]\nc = 2.0 # strength\nseed = 7\nwarm = true\n",
    );
    tree.put("requirements.txt", "numpy==2.0.0\nscipy==1.13.0\n");
    tree.put("data/en.tsv", "id\ttext\tlang\n1\thello\ten\n");
    tree.put("serve.py", "def predict(x):\n    return x\n");
    std::fs::rename(tree.path("train.sh"), tree.path("fit.sh")).unwrap();
    tree
}

#[test]
fn the_state_of_a_tree() {
    let empty = Tree::repo();
    snapshot(&empty, "status-new", &["status"]);
    let tree = worked_on();
    snapshot(&tree, "status", &["status"]);
    snapshot(&tree, "track-explain", &["track", "--explain"]);
    snapshot(&tree, "diff", &["diff"]);
    snapshot(&tree, "diff-stat", &["diff", "--stat"]);
    tree.commit("more");
    snapshot(&tree, "status-stale", &["status"]);
}

#[test]
fn the_history() {
    let tree = worked_on();
    tree.mv(&["tag", "v1"]).success();
    snapshot(&tree, "log", &["log"]);
    snapshot(&tree, "log-oneline", &["log", "--graph", "--oneline"]);
    snapshot(&tree, "runs", &["runs"]);
    snapshot(&tree, "show-first", &["show", "HEAD~1"]);
    let shown = tree.mv(&["show"]).success();
    // The host is that of the machine.
    let line = shown.lines().find(|l| l.starts_with("run ")).unwrap();
    assert!(line.contains(" on "), "{line}");
    tree.commit("more");
    snapshot(&tree, "show-stale", &["show", "--json"]);
}

#[test]
fn a_conflict() {
    let tree = Tree::repo();
    tree.put("params.toml", "[train]\nc = 1.0\nseed = 7\n");
    tree.put("train.py", "a = 1\nb = 2\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "colleague"]).success();
    tree.put("params.toml", "[train]\nc = 4.0\nseed = 7\n");
    tree.put("train.py", "a = 1\nb = 4\n");
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    tree.put("params.toml", "[train]\nc = 2.0\nseed = 8\n");
    tree.put("train.py", "a = 1\nb = 3\n");
    tree.commit("ours");
    snapshot(&tree, "merge-conflict", &["merge", "colleague"]);
    snapshot(&tree, "merge-status", &["status"]);
    snapshot(&tree, "merge-conflicts", &["conflicts"]);
    snapshot(&tree, "merge-early", &["merge", "--continue", "-m", "m"]);
    snapshot(
        &tree,
        "merge-resolve",
        &["resolve", "params.toml:train.c", "--value", "3.0"],
    );
    snapshot(&tree, "merge-text", &["resolve", "train.py", "--theirs"]);
    snapshot(&tree, "merge-done", &["merge", "--continue", "-m", "both"]);
    snapshot(&tree, "log-merge", &["log", "--graph", "--oneline"]);
}

#[test]
fn the_help_of_every_verb() {
    let tree = Tree::empty();
    snapshot(&tree, "help", &["--help"]);
    let verbs = |args: &[&str]| -> Vec<String> {
        let help = tree.mv(args).success();
        help.lines()
            .skip_while(|l| *l != "Commands:")
            .skip(1)
            .take_while(|l| !l.is_empty())
            // What is folded stands further in.
            .filter_map(|l| l.strip_prefix("  ").filter(|l| !l.starts_with(' ')))
            .filter_map(|l| l.split_whitespace().next().map(str::to_owned))
            .filter(|v| v != "help" && v.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect()
    };
    for verb in verbs(&["--help"]) {
        snapshot(&tree, &format!("help-{verb}"), &[&verb, "--help"]);
        for sub in verbs(&[&verb, "--help"]) {
            snapshot(
                &tree,
                &format!("help-{verb}-{sub}"),
                &[&verb, &sub, "--help"],
            );
        }
    }
}
