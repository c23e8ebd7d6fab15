//! Credentials: a commit and a run stop before them, and no record ever holds one.

use crate::support::Tree;

/// A token that never worked, in two halves so that it stands nowhere as a whole.
fn token() -> String {
    ["hf_", "QzWkVbTnRyPmLxJhGdFsCvNqUeZaKiOwYt"].concat()
}

#[test]
fn a_commit_stops_before_a_secret_and_says_how_to_go_on() {
    let tree = Tree::repo();
    tree.put("train.py", &format!("import os\nTOKEN = '{}'\n", token()));
    tree.put("data/notes.csv", &format!("a\n{}\n", token()));
    let before = std::fs::read(tree.path(".mv/oplog")).unwrap();
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert!(
        said.starts_with(
            "error: this would record 1 secret:\n  train.py:2 huggingface-token hf_Q***\n"
        ),
        "{said}"
    );
    assert!(!said.contains(&token()[5..]), "{said}");
    assert_eq!(std::fs::read(tree.path(".mv/oplog")).unwrap(), before);
    // The hint's own words, pasted.
    let key = said
        .split("allow = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    let allow = format!("[env]\ncapture = \"none\"\n[secrets]\nallow = [{key}]\n");
    tree.put("modelv.toml", &allow);
    tree.commit("allowed by name");
    // It is this value in this file that is allowed, and no other.
    tree.put("other.py", &format!("TOKEN = '{}'\n", token()));
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert!(said.contains("other.py:1 huggingface-token"), "{said}");
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[secrets]\nallow = [\"oth*.py\"]\n",
    );
    tree.commit("allowed by path");
}

#[test]
fn a_secret_is_named_once_and_only_where_something_changed() {
    let tree = Tree::repo();
    tree.put("a.py", &format!("T = '{}'\n", token()));
    tree.mv(&["commit", "-m", "this once", "--allow-secret"])
        .success();
    tree.put("b.py", "x = 1\n");
    tree.commit("another file");
    tree.put("a.py", &format!("import os\nT = '{}'\n", token()));
    tree.commit("what history holds is no news");
    tree.put(
        "a.py",
        &format!("T = '{}'\nP = 'postgres://ada:kG7vdW2m@db/x'\n", token()),
    );
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert!(
        said.contains("1 secret:\n  a.py:2 url-password ***"),
        "{said}"
    );
    tree.mv(&["commit", "-m", "x", "b.py"]).fails_with(1);
    tree.put("b.py", "x = 2\n");
    tree.mv(&["commit", "-m", "a part without it", "b.py"])
        .success();
}

#[test]
fn a_notebook_is_code_wherever_it_lies() {
    let tree = Tree::repo();
    let cell = format!(
        "{{\"cells\": [{{\"source\": [\"login(\\\"{}\\\")\\n\"]}}]}}",
        token()
    );
    tree.put("data/explore.ipynb", &cell);
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert!(
        said.contains("data/explore.ipynb:1 huggingface-token"),
        "{said}"
    );
}

#[test]
fn all_that_can_be_allowed_is_named_once() {
    let tree = Tree::repo();
    let key = |n: u8| format!("{}{}Q7ZLMNOPRSTUVWX", "AKIA", char::from(b'A' + n));
    let lines: String = (0..5)
        .map(|n| format!("k{n} = '{}'\nagain = '{}'\n", key(n), key(n)))
        .collect();
    tree.put("a.py", &lines);
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert_eq!(said.matches("\"aws-access-key@a.py:").count(), 5, "{said}");
    // As it stands there it is what modelv.toml takes.
    let from = said.find("    [secrets]").unwrap();
    let until = said.find("\n\nA pattern").unwrap();
    tree.put("modelv.toml", &said[from..until]);
    tree.mv(&["commit", "-m", "x"]).success();
}

#[test]
fn a_merge_brings_no_new_secret_in() {
    let tree = Tree::repo();
    tree.put("a.py", "x = 1\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "topic"]).success();
    tree.put("a.py", "x = 2\n");
    tree.commit("two");
    tree.mv(&["switch", "main"]).success();
    tree.put("a.py", "x = 3\n");
    tree.commit("three");
    assert_eq!(tree.mv(&["merge", "topic"]).status, Some(3));
    tree.put("a.py", &format!("x = '{}'\n", token()));
    tree.mv(&["resolve", "a.py"]).success();
    let said = tree.mv(&["merge", "--continue", "-m", "m"]).fails_with(1);
    assert!(said.contains("a.py:1 huggingface-token"), "{said}");
    tree.put("a.py", "x = 4\n");
    tree.mv(&["merge", "--continue", "-m", "m"]).success();
}

#[test]
fn a_run_starts_with_none_and_records_none() {
    let tree = Tree::repo();
    let script = "echo '{\"f1\": 0.5}' > metrics.json\ncat .env\necho done $1\n";
    tree.put("train.sh", script);
    // Ignored by name: it is read by the script and versioned by nobody.
    tree.put(".env", &format!("HF_TOKEN={}\n", token()));
    tree.put("params.toml", "user = \"ada\"\ntoken_count = 3\n");
    tree.commit("first");
    let run = ["run", "-m", "train", "--", "sh", "train.sh", &token()];
    tree.mv(&run).success();
    let runs = tree.mv(&["runs", "--json"]).success();
    assert!(
        runs.contains("hf_Q***") && !runs.contains(&token()[5..]),
        "{runs}"
    );
    let show = tree.mv(&["show", "--json"]).success();
    assert!(!show.contains(&token()[5..]), "{show}");
    let again = tree.mv(&run).success();
    assert!(again.contains("taken from the store"), "{again}");
    // Nothing in the repository holds it: not the log of the run, not the operation log.
    tree.put("params.toml", "user = \"ada\"\npassword = \"kG7vdW2m\"\n");
    let said = tree.mv(&run).fails_with(1);
    assert!(said.contains("params.toml:2 password ***"), "{said}");
    tree.mv(&["run", "--allow-secret", "-m", "t", "--", "sh", "train.sh"])
        .success();
    let runs = tree.json(&["runs", "--json"]);
    let masked = |run: &&serde_json::Value| run["params"]["password"] == "***";
    let last = runs.as_array().unwrap().iter().find(masked).unwrap();
    assert_eq!(last["params"]["user"], "ada");
    for name in ["oplog", "statcache"] {
        let bytes = std::fs::read(tree.path(&format!(".mv/{name}"))).unwrap();
        let needle = token().as_bytes()[5..].to_vec();
        assert!(!bytes.windows(needle.len()).any(|w| w == needle), "{name}");
    }
}

#[test]
fn an_env_file_is_left_out_until_it_is_named_and_then_looked_through() {
    let tree = Tree::repo();
    tree.put(".env", "PORT=8080\n");
    tree.put("conf/.env", "PORT=1\n");
    tree.put("lib/__pycache__/a.pyc", "x");
    tree.put("code.py", "pass\n");
    let tracked = |tree: &Tree| tree.mv(&["track"]).success();
    assert_eq!(tracked(&tree), "code    code.py\ncode    modelv.toml\n");
    let why = tree.mv(&[
        "track",
        "--explain",
        ".env",
        "lib/__pycache__/a.pyc",
        ".hg/hgrc",
    ]);
    assert_eq!(
        why.success(),
        "ignored .env  (left out by default; a line `!.env` in .mvignore takes it)\n\
         ignored lib/__pycache__/a.pyc  (left out by default; a line `!__pycache__` in .mvignore takes it)\n\
         ignored .hg/hgrc  (never versioned)\n"
    );
    let all = tree.mv(&["track", "--explain"]);
    assert!(
        all.err.contains("left out by default") && all.err.contains(".env, "),
        "{}",
        all.err
    );
    let json = tree.json(&["track", "--json", ".env", "code.py"]);
    assert!(
        json[0]["ignored"].is_string() && json[1]["ignored"].is_null(),
        "{json}"
    );
    // A line that does not name it, such as one for all hidden files, does not take it.
    tree.put(".mvignore", "!.*\n!*\n");
    assert!(!tracked(&tree).contains(".env"));
    // The one in the root, by its path.
    tree.put(".mvignore", "!/.env\n");
    assert!(tracked(&tree).contains("code    .env\n") && !tracked(&tree).contains("conf/.env"));
    let why = tree.mv(&["track", "--explain", ".env"]).success();
    assert_eq!(why, "code    .env  (no pattern matches)\n");
    std::fs::remove_file(tree.path(".mvignore")).unwrap();
    let rules = "[env]\ncapture = \"none\"\n[ingredients]\nconfig = [\"conf/.env\"]\n";
    tree.put("modelv.toml", rules);
    assert!(tracked(&tree).contains("config  conf/.env\n"));
    assert!(!tracked(&tree).contains("code    .env"));
    tree.commit("named");
    assert_eq!(tree.mv(&["cat", "HEAD:conf/.env"]).success(), "PORT=1\n");
    tree.put("conf/.env", &format!("HF_TOKEN={}\n", token()));
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert!(said.contains("conf/.env:1"), "{said}");
    // Folders of version control are not to be had.
    tree.put(".git/hooks/post-checkout", "echo\n");
    tree.put(".mvignore", "!.git\n!.git/**\n!.mv\n");
    assert!(!tracked(&tree).contains(".git/") && !tracked(&tree).contains(".mv/"));
    // What a rule leaves out, and by which.
    tree.put(".gitignore", "*.log\n");
    let why = tree.mv(&["track", "--explain", "deep/x.log"]).success();
    assert_eq!(why, "ignored deep/x.log  (`*.log` in .gitignore)\n");
}

#[test]
fn a_secret_in_utf_16_is_seen() {
    let tree = Tree::repo();
    let text = format!("\u{feff}# \u{e9}\r\nTOKEN = '{}'\r\n", token());
    for (name, bytes) in [
        (
            "little.py",
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>(),
        ),
        (
            "big.py",
            text.encode_utf16()
                .flat_map(|u| u.swap_bytes().to_le_bytes())
                .collect(),
        ),
    ] {
        std::fs::write(tree.path(name), bytes).unwrap();
        let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
        assert!(
            said.contains(&format!("{name}:2 huggingface-token hf_Q***")),
            "{said}"
        );
        // Known, it is no news.
        tree.mv(&["commit", "-m", "x", "--allow-secret"]).success();
        let known = std::fs::read(tree.path(name)).unwrap();
        let more: Vec<u8> = [&known[..], &known[known.len() - 4..]].concat();
        std::fs::write(tree.path(name), more).unwrap();
        tree.commit("the same secret");
    }
}
