//! How differences are shown: every look of `diff` and `show`, and the pager.

use std::process::Command;

use serde_json::Value;

use crate::support::{BINARY, Done, Tree};

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

/// Two commits that differ in all ways, the second with a run.
fn two() -> Tree {
    let tree = Tree::repo();
    tree.put(
        "train.py",
        "import os\n\ndef fit(x, rate):\n    a = 1\n    return rate * x\n",
    );
    tree.put("old.py", &lines(0..40));
    tree.put("data/en.csv", "id,text\n1,a\n2,b\n");
    tree.put("params.toml", "[train]\nlr = 0.1\n");
    tree.put(
        "run.sh",
        "echo '{\"f1\": 0.5, \"loss\": 1.5}' > metrics.json\n",
    );
    tree.commit("first");
    tree.mv(&["run", "-m", "trained", "--", "sh", "run.sh"])
        .success();
    tree.put(
        "train.py",
        "import os\n\ndef fit(x, rate):\n    a = 2\n    return rate * x\n",
    );
    std::fs::rename(tree.path("old.py"), tree.path("new.py")).unwrap();
    tree.put("new.py", &lines(4..40));
    tree.put("data/en.csv", "id,text\n1,a\n2,c\n3,d\n");
    tree.put("params.toml", "[train]\nlr = 0.2\n");
    tree.put(
        "run.sh",
        "echo '{\"f1\": 0.75, \"loss\": 1.75}' > metrics.json\n",
    );
    tree.mv(&["run", "-m", "second", "--", "sh", "run.sh"])
        .success();
    tree
}

#[test]
fn numbers_have_bars_and_ingredients() {
    let tree = two();
    let shown = tree.mv(&["diff", "--stat", "HEAD~1", "HEAD"]).success();
    let want = "\
metrics:
  f1: 0.5 -> 0.75  (+0.2500, better)
  loss: 1.5 -> 1.75  (+0.2500, worse)
config: 1 file, ~1 key
  params.toml             |   1 key ~
code: 3 files, +2 -6 lines
  old.py => new.py (90 %) | 4 lines ----
  run.sh                  | 2 lines +-
  train.py                | 2 lines +-
data: 1 file, +1 ~1 rows
  data/en.csv             |  2 rows +~
model: 1 file, ~2 keys
  metrics.json            |  2 keys ~~
";
    assert_eq!(shown, want);
}

#[test]
fn what_matters_comes_first() {
    let tree = two();
    let shown = tree.mv(&["diff", "HEAD~1", "HEAD"]).success();
    let at = |text: &str| {
        shown
            .find(text)
            .unwrap_or_else(|| panic!("{text} in {shown}"))
    };
    let places = [
        at("  f1: 0.5 -> 0.75  (+0.2500, better)"),
        at("config ~ params.toml"),
        at("code > new.py (was old.py, 90 % alike)"),
        at("code ~ train.py"),
        at("    @@ -1,5 +1,5 @@"),
        at("data ~ data/en.csv"),
    ];
    assert!(places.is_sorted(), "{shown}");
}

#[test]
fn names_are_for_scripts() {
    let tree = two();
    let names = tree.mv(&["diff", "--name-only", "HEAD~1..HEAD"]).success();
    assert_eq!(
        names,
        "params.toml\nnew.py\nrun.sh\ntrain.py\ndata/en.csv\nmetrics.json\n"
    );
    let status = tree
        .mv(&["diff", "--name-status", "HEAD~1", "HEAD"])
        .success();
    assert_eq!(
        status,
        "M\tparams.toml\nR090\told.py\tnew.py\nM\trun.sh\nM\ttrain.py\nM\tdata/en.csv\nM\tmetrics.json\n"
    );
    tree.put("a\tb", "x\n");
    assert_eq!(tree.mv(&["diff", "--name-status"]).success(), "A\ta\\tb\n");
    assert_eq!(
        tree.mv(&["diff", "--name-status", "-z"]).success(),
        "A\0a\tb\0"
    );
}

#[test]
fn words_are_marked() {
    let tree = two();
    let shown = tree
        .mv(&["diff", "--word", "HEAD~1", "HEAD", "--", "train.py"])
        .success();
    assert!(
        shown.contains("        a = [-1-]{+2+}\n        return rate * x\n"),
        "{shown}"
    );
    let colored = [
        "--color", "always", "diff", "--word", "HEAD~1", "HEAD", "train.py",
    ];
    let shown = tree.mv(&colored).success();
    assert!(
        shown.contains("a = \u{1b}[31m1\u{1b}[0m\u{1b}[32m2\u{1b}[0m"),
        "{shown:?}"
    );
    // In colour, the plain look marks the words too; without, it is what Git prints.
    let shown = tree
        .mv(&["--color", "always", "diff", "HEAD~1", "HEAD", "train.py"])
        .success();
    assert!(shown.contains("\u{1b}[7;31m1\u{1b}[0m"), "{shown:?}");
    let plain = tree.mv(&["diff", "HEAD~1", "HEAD", "train.py"]).success();
    assert!(
        plain.contains("    -    a = 1\n    +    a = 2\n"),
        "{plain}"
    );
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn columns_fill_the_width() {
    let tree = two();
    let shown = |width: &str| {
        let args = ["diff", "--side-by-side", "HEAD~1", "HEAD", "train.py"];
        let mut command = tree.command(&args);
        command.env("COLUMNS", width);
        Done::new(&command.output().unwrap()).success()
    };
    let wide = shown("");
    let row = wide.lines().find(|l| l.contains("a = 1")).unwrap();
    // 80 columns where nothing says otherwise.
    assert_eq!(
        row,
        format!("{:38} | {}", "  4 -     a = 1", "  4 +     a = 2")
    );
    let narrow = shown("44");
    assert!(
        narrow.lines().skip(2).all(|l| l.chars().count() <= 44),
        "{narrow}"
    );
    assert!(
        narrow.contains("def fit(x, rat |   3   def fit(x, rat\n"),
        "{narrow}"
    );
}

#[test]
fn ingredients_and_paths_are_chosen() {
    let tree = two();
    let names = |args: &[&str]| {
        let all = [&["diff", "--name-only", "HEAD~1", "HEAD"], args].concat();
        tree.mv(&all).success()
    };
    assert_eq!(
        names(&["--ingredient", "data,config"]),
        "params.toml\ndata/en.csv\n"
    );
    assert_eq!(names(&["data"]), "data/en.csv\n");
    assert_eq!(names(&["--", "old.py"]), "new.py\n");
    let said = tree.mv(&["diff", "--ingredient", "weights"]).fails_with(2);
    assert!(
        said.contains("expected code, data, config, env or model"),
        "{said}"
    );
    let done = tree.mv(&[
        "diff",
        "--exit-code",
        "HEAD~1",
        "HEAD",
        "--ingredient",
        "env",
    ]);
    assert_eq!(done.success(), "");
    let done = tree.mv(&[
        "diff",
        "--exit-code",
        "HEAD~1",
        "HEAD",
        "--name-only",
        "data",
    ]);
    assert_eq!(done.status, Some(1));
}

#[test]
fn revisions_and_paths_are_told_apart() {
    let tree = two();
    tree.put("params.toml", "[train]\nlr = 0.3\n");
    let shown = tree.mv(&["diff", "params.toml"]).success();
    assert_eq!(shown, "config ~ params.toml\n    ~ train.lr: 0.2 -> 0.3\n");
    tree.put("main", "a file\n");
    let said = tree.mv(&["diff", "main"]).fails_with(2);
    assert!(said.contains("`main` is a revision and a file"), "{said}");
    assert_eq!(
        tree.mv(&["diff", "--name-only", "--", "main"]).success(),
        "main\n"
    );
    let said = tree.mv(&["diff", "HEAD", "nothing"]).fails_with(1);
    assert!(said.contains("revision `nothing` not found"), "{said}");
    let said = tree.mv(&["diff", "HEAD", "HEAD", "HEAD"]).fails_with(2);
    assert!(said.contains("two sides"), "{said}");
    tree.mv(&["diff", "--stat", "--word"]).fails_with(2);
}

#[test]
fn a_commit_is_shown_with_what_it_changed() {
    let tree = two();
    assert!(!tree.mv(&["show"]).success().contains("@@"));
    let shown = tree.mv(&["show", "-p", "HEAD"]).success();
    assert!(
        shown.starts_with("commit ") && shown.contains("    +    a = 2\n"),
        "{shown}"
    );
    let shown = tree
        .mv(&["show", "--name-status", "HEAD", "--", "data"])
        .success();
    assert!(shown.ends_with("\nM\tdata/en.csv\n"), "{shown}");
    let first = tree.mv(&["show", "--stat", "HEAD~2"]).success();
    assert!(first.contains("code: 4 files, "), "{first}");
    let json = tree.json(&["show", "--json", "--patch"]);
    assert_eq!(json["diff"]["files"].as_array().unwrap().len(), 6);
    assert!(tree.json(&["show", "--json"])["diff"].is_null());
}

/// Puts the hunks of a file over its old lines.
fn apply(old: &str, hunks: &Value) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let (mut out, mut at) = (String::new(), 0);
    for hunk in hunks.as_array().unwrap() {
        let start = usize::try_from(hunk["old_start"].as_u64().unwrap()).unwrap();
        out += &old[at..start].concat();
        at = start + usize::try_from(hunk["old_lines"].as_u64().unwrap()).unwrap();
        for line in hunk["lines"].as_array().unwrap() {
            if line[0] != "-" {
                out += line[1].as_str().unwrap();
            }
        }
    }
    out + &old[at..].concat()
}

#[test]
fn json_is_complete() {
    let tree = two();
    let json = tree.json(&["diff", "--json", "HEAD~1", "HEAD"]);
    assert_eq!(
        (&json["version"], &json["extent"]),
        (&1.into(), &"several".into())
    );
    assert_eq!(json["new"]["commit"], tree.id("HEAD"));
    assert_eq!(json["new"]["recipe"], tree.recipe());
    assert_eq!(json["old"]["author"], "Ada <ada@example.org>");
    assert_eq!(json["metrics"][0]["better"], true);
    assert_eq!(json["metrics"][1]["delta"], 0.25);
    for file in json["files"].as_array().unwrap() {
        if file["hunks"].is_null() {
            continue;
        }
        let path = file["path"].as_str().unwrap();
        let from = file["from"].as_str().unwrap_or(path);
        let old = tree.mv(&["cat", &format!("HEAD~1:{from}")]).success();
        assert_eq!(apply(&old, &file["hunks"]), tree.get(path), "{path}");
    }
    let renamed = &json["files"][1];
    assert_eq!(
        (&renamed["similarity"], &renamed["from"]),
        (&90.into(), &"old.py".into())
    );
    assert_eq!(renamed["new"]["mode"], "file");
    assert_eq!(renamed["tally"]["removed"], 4);
}

#[test]
fn commits_of_one_recipe_say_so() {
    let tree = Tree::repo();
    tree.commit("first");
    tree.mv(&["commit", "--allow-empty", "-m", "again"])
        .success();
    let done = tree.mv(&["diff", "HEAD~1", "HEAD", "--exit-code"]);
    assert!(
        done.err.contains("recipe, model and metrics are equal"),
        "{}",
        done.err
    );
    assert_eq!(done.success(), "");
}

/// Runs on a terminal of 24 lines of 80 columns: what is seen there.
fn on_terminal(tree: &Tree, env: &[(&str, &str)], args: &[&str]) -> String {
    let script = "import os, pty, sys\nos.environ.setdefault('TERM', 'dumb')\n\
        status = pty.spawn(sys.argv[1:])\nsys.exit(os.waitstatus_to_exitcode(status))";
    let mut command = Command::new("python3");
    command.args(["-c", script, BINARY]).args(args);
    command.current_dir(tree.root()).env_clear();
    let plain = tree.command(args);
    command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.envs(env.iter().copied());
    let output = command.output().expect("python3 is needed");
    Done::new(&output).success().replace("\r\n", "\n")
}

#[test]
fn a_pager_is_for_terminals() {
    let tree = two();
    let args = ["diff", "--name-only", "HEAD~1", "HEAD", "data"];
    let sed = [("MODELV_PAGER", "sed 's/^/paged: /'"), ("PAGER", "false")];
    assert_eq!(on_terminal(&tree, &sed, &args), "paged: data/en.csv\n");
    let git = [("PAGER", "sed 's/^/other: /'")];
    assert_eq!(on_terminal(&tree, &git, &args), "other: data/en.csv\n");
    for none in ["", "cat", "no-such-pager --x"] {
        let said = on_terminal(&tree, &[("MODELV_PAGER", none)], &args);
        assert_eq!(said, "data/en.csv\n", "{none:?}");
    }
    let without = [&args[..], &["--no-pager"]].concat();
    assert_eq!(on_terminal(&tree, &sed, &without), "data/en.csv\n");
    // One that has seen enough is no error.
    let _ = on_terminal(
        &tree,
        &[("MODELV_PAGER", "head -1")],
        &["diff", "HEAD~1", "HEAD"],
    );
    let mut command = tree.command(&args);
    command.envs(sed);
    assert_eq!(
        Done::new(&command.output().unwrap()).success(),
        "data/en.csv\n"
    );
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let tree = two();
    let args = ["diff", "--no-pager", "HEAD~1", "HEAD", "train.py"];
    assert!(on_terminal(&tree, &[], &args).contains("\u{1b}[7;31m1"));
    assert!(!on_terminal(&tree, &[("NO_COLOR", "1")], &args).contains('\u{1b}'));
}

/// A safetensors file of one tensor `w`.
fn weights(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (count, end) = (values.len(), bytes.len());
    let header =
        format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":[{count}],\"data_offsets\":[0,{end}]}}}}");
    let size = u64::try_from(header.len()).unwrap().to_le_bytes();
    [&size[..], header.as_bytes(), &bytes].concat()
}

#[test]
fn a_weight_that_is_no_number_any_more_is_seen() {
    let tree = Tree::repo();
    let mut values = vec![1f32; 4096];
    tree.put("models/.keep", "");
    std::fs::write(tree.path("models/w.safetensors"), weights(&values)).unwrap();
    tree.commit("base");
    values[65] = f32::NAN;
    std::fs::write(tree.path("models/w.safetensors"), weights(&values)).unwrap();
    let shown = tree.mv(&["diff"]).success();
    assert!(
        shown.contains("~ w F32 [4096]  1 of 4096 changed, NaN 0 -> 1, max 0.000e0"),
        "{shown}"
    );
    let json = tree.json(&["diff", "--json"]);
    let numbers = &json["files"][0]["inside"][0]["numbers"];
    assert_eq!(numbers["nan"], serde_json::json!({"old": 0, "new": 1}));
    assert_eq!(numbers["infinite"], serde_json::json!({"old": 0, "new": 0}));
}

#[test]
fn rows_that_nothing_names_are_lines() {
    let tree = Tree::repo();
    tree.put("data/dup.csv", "id,x\n1,a\n1,b\n2,c\n");
    tree.put("data/moved.csv", "id,x\n1,a\n2,b\n");
    tree.commit("base");
    tree.put("data/dup.csv", "id,x\n1,a\n1,z\n2,c\n");
    tree.put("data/moved.csv", "id,x\n2,b\n1,a\n");
    let done = tree.mv(&["diff"]);
    let note = "note: data/dup.csv: `id` does not name every row once: compared as lines";
    assert!(done.err.contains(note), "{}", done.err);
    assert_eq!(done.err.matches("note: ").count(), 1, "{}", done.err);
    let shown = done.success();
    assert!(shown.contains("    -1,b\n    +1,z\n"), "{shown}");
    assert!(shown.contains("by id: +0 -0 ~0"), "{shown}");
    assert!(shown.contains("    +2,b\n"), "{shown}");
    let words = tree.mv(&["diff", "--word", "data/dup.csv"]).success();
    assert!(words.contains("[-b-]{+z+}"), "{words}");
    let json = tree.json(&["diff", "--json", "data/dup.csv"]);
    assert_eq!(json["files"][0]["hunks"][0]["lines"][2][1], "1,b\n");
    // Without a key by name and in a table whose columns changed, lines say what the columns don't.
    tree.put("data/dup.csv", "id,x,y\n1,a,0\n1,z,1\n2,c,2\n");
    let shown = tree.mv(&["diff", "data/dup.csv"]).success();
    assert!(
        shown.contains("+ column y") && shown.contains("    +1,z,1\n"),
        "{shown}"
    );
}

#[test]
fn a_mode_that_changed_with_the_content_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::repo();
    tree.put("long.py", &lines(0..30));
    tree.put("mv.py", &lines(40..70));
    tree.put("plain.py", "a\n");
    tree.commit("base");
    tree.put("long.py", &lines(1..30));
    tree.put("plain.py", "b\n");
    std::fs::rename(tree.path("mv.py"), tree.path("moved.py")).unwrap();
    for file in ["long.py", "moved.py"] {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(tree.path(file), mode).unwrap();
    }
    for args in [&["status"][..], &["diff"]] {
        let shown = tree.mv(args).success();
        assert!(shown.contains("~ long.py (content and mode)"), "{shown}");
        assert!(shown.contains("> moved.py (was mv.py, mode)"), "{shown}");
        assert!(!shown.contains("plain.py ("), "{shown}");
    }
    let shown = tree.mv(&["diff", "--stat"]).success();
    assert!(shown.contains("  long.py (mode) "), "{shown}");
    assert!(
        shown.contains("  mv.py => moved.py (100 %, mode) "),
        "{shown}"
    );
    tree.commit("both");
    let shown = tree.mv(&["show", "-p"]).success();
    assert!(shown.contains("~ long.py (content and mode)"), "{shown}");
}

#[test]
fn text_in_utf_16_has_lines() {
    let wide = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    let tree = Tree::repo();
    let put = |text: &str| std::fs::write(tree.path("notes.txt"), wide(text)).unwrap();
    put("eins\r\nzwei\r\ndrei\r\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    put("eins\r\nzwei\r\ndreißig\r\n");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    put("EINS\r\nzwei\r\ndrei\r\n");
    let shown = tree.mv(&["diff"]).success();
    assert!(
        shown.contains("-eins") && shown.contains("+EINS"),
        "{shown}"
    );
    tree.commit("left");
    tree.mv(&["merge", "side", "-m", "both"]).success();
    let found = std::fs::read(tree.path("notes.txt")).unwrap();
    assert_eq!(found, wide("EINS\r\nzwei\r\ndreißig\r\n"));
    let blame = tree.mv(&["blame", "notes.txt"]).success();
    assert!(blame.contains("dreißig"), "{blame}");
    // A conflict carries markers in the same encoding, and is not decided while they stand.
    put("ZWEI\r\n");
    tree.commit("ours");
    tree.mv(&["switch", "side"]).success();
    put("drei\r\n");
    tree.commit("theirs");
    tree.mv(&["merge", "main"]).fails_with(3);
    let err = tree.mv(&["resolve", "notes.txt"]).fails_with(1);
    assert!(err.contains("markers"), "{err}");
    put("vier\r\n");
    tree.mv(&["resolve", "notes.txt"]).success();
    tree.mv(&["merge", "--continue", "-m", "four"]).success();
}
