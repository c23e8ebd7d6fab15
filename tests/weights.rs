//! Merged weights, through the real binary: alone, as a commit, and during a merge.

use std::path::Path;

use crate::support::Tree;

/// A safetensors file with one tensor of numbers, and one that both sides have alike.
fn put(tree: &Tree, path: &str, numbers: &[f32]) {
    let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let n = body.len();
    let header = format!(
        "{{\"__metadata__\":{{\"format\":\"pt\"}},\"w\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,{n}]}},\
         \"ids\":{{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[{n},{}]}}}}",
        numbers.len(),
        n + 2
    );
    let header = header.as_bytes();
    let bytes = [
        &(header.len() as u64).to_le_bytes(),
        header,
        &body,
        b"\x01\x02",
    ]
    .concat();
    tree.put(path, "");
    std::fs::write(tree.path(path), bytes).unwrap();
}

/// The numbers of the tensor, and the header.
fn get(path: &Path) -> (Vec<f32>, String) {
    let bytes = std::fs::read(path).unwrap();
    let at = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let body = &bytes[at..bytes.len() - 2];
    let numbers = body.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    let header = String::from_utf8(bytes[8..at].to_vec()).unwrap();
    (numbers.collect(), header)
}

const FILE: &str = "models/w.safetensors";

/// `main` and `other`, each trained from the same base.
fn trained() -> Tree {
    let tree = Tree::repo();
    tree.put("params.toml", "lr = 1.0\n");
    put(&tree, FILE, &[1.0, 1.0, 1.0, 1.0]);
    tree.put("models/tokens.json", "{}\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "other"]).success();
    tree.put("params.toml", "lr = 2.0\n");
    put(&tree, FILE, &[1.0, 4.0, 0.0, 1.0]);
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    tree.put("train.py", "pass\n");
    put(&tree, FILE, &[3.0, 2.0, 2.0, 1.0]);
    tree.commit("ours");
    tree
}

fn merge(tree: &Tree, method: &str, more: &[&str]) -> String {
    let (ours, theirs) = (format!("main:{FILE}"), format!("other:{FILE}"));
    let args = ["weights", "merge", &ours, &theirs, "--method", method];
    tree.mv(&[&args[..], more].concat()).success()
}

#[test]
fn weights_of_commits_become_a_file_that_says_how() {
    let tree = trained();
    let said = merge(&tree, "linear=0.25", &["-o", "out.safetensors"]);
    assert!(
        said.contains("merged 2 tensors into out.safetensors (1 alike)"),
        "{said}"
    );
    let (numbers, header) = get(&tree.path("out.safetensors"));
    assert_eq!(numbers, [2.5, 2.5, 1.5, 1.0]);
    let how = format!(
        "linear=0.75:0.25 of {}:{FILE}, {}:{FILE}",
        tree.id("main"),
        tree.id("other")
    );
    assert!(
        header.contains(&how) && header.contains("\"format\":\"pt\""),
        "{header}"
    );
    // The base is that of the merge.
    merge(&tree, "task=0.5", &["-o", "out.safetensors"]);
    assert_eq!(get(&tree.path("out.safetensors")).0, [2.0, 3.0, 1.0, 1.0]);
    merge(&tree, "ties=1", &["-o", "out.safetensors"]);
    assert_eq!(get(&tree.path("out.safetensors")).0, [3.0, 3.0, 2.0, 1.0]);
    // Files, and a base by name.
    put(&tree, "zero.safetensors", &[0.0; 4]);
    let args = [
        "weights",
        "merge",
        "out.safetensors",
        "--method",
        "task=2",
        "--base",
    ];
    let more = ["zero.safetensors", "-o", "twice.safetensors"];
    tree.mv(&[&args[..], &more].concat()).success();
    assert_eq!(get(&tree.path("twice.safetensors")).0, [6.0, 6.0, 4.0, 2.0]);
    // The same seed, the same bytes.
    for out in ["a.safetensors", "b.safetensors"] {
        merge(&tree, "dare=0.5,seed=3", &["-o", out]);
    }
    let bytes = |name: &str| std::fs::read(tree.path(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
    let left: Vec<_> = std::fs::read_dir(tree.root()).unwrap().flatten().collect();
    let names = left.iter().map(|e| e.file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|n| n.starts_with(".mv-tmp")));
}

#[test]
fn a_commit_of_merged_weights_remembers_how_and_whose_recipe() {
    let tree = trained();
    let recipe = tree.json(&["show", "--json", "main"])["model"]["recipe"].clone();
    let said = merge(&tree, "slerp=0.5", &["-o", FILE, "-m", "a soup"]);
    assert!(
        said.contains("[main ") && said.contains("] a soup"),
        "{said}"
    );
    let shown = tree.json(&["show", "--json"]);
    assert_eq!(shown["model"]["recipe"], recipe, "{shown}");
    let fact = shown["extra"][format!("weights.{FILE}")].as_str().unwrap();
    assert!(fact.starts_with("slerp=0.5 of "), "{fact}");
    let differs = tree.mv(&["diff", "--json"]).success();
    assert!(!differs.contains("w.safetensors"), "{differs}");
    tree.mv(&["fsck"]).success();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.json(&["show", "--json"])["message"], "ours");
}

#[test]
fn weights_are_decided_during_a_merge() {
    let tree = trained();
    let said = tree.mv(&["merge", "other"]).fails_with(3);
    assert!(said.contains("--weights"), "{said}");
    // Both trained: somebody decides, and until then it is ours.
    assert_eq!(get(&tree.path(FILE)).0, [3.0, 2.0, 2.0, 1.0]);
    tree.mv(&["resolve", FILE, "--weights", "task=1"]).success();
    assert_eq!(get(&tree.path(FILE)).0, [3.0, 5.0, 1.0, 1.0]);
    assert_eq!(tree.get("models/tokens.json"), "{}\n");
    tree.mv(&["resolve", FILE, "--weights", "linear=0.5"])
        .success();
    assert_eq!(get(&tree.path(FILE)).0, [2.0, 3.0, 1.0, 1.0]);
    tree.mv(&["merge", "--continue", "-m", "both"]).success();
    let shown = tree.json(&["show", "--json"]);
    let fact = shown["extra"][format!("weights.{FILE}")].as_str().unwrap();
    assert!(fact.starts_with("linear=0.5:0.5 of "), "{fact}");
    let log = tree.mv(&["log", "--oneline"]).success();
    assert!(
        log.lines().next().unwrap().contains("[model stale]"),
        "{log}"
    );
    tree.mv(&["fsck"]).success();
}

#[test]
fn what_cannot_be_merged_is_said_and_leaves_nothing() {
    let tree = trained();
    put(&tree, "short.safetensors", &[1.0]);
    tree.put("text.safetensors", "no weights");
    let model = format!("main:{FILE}");
    let refuse = |args: &[&str], status: i32, part: &str| {
        let all = [
            &["weights", "merge", &model],
            args,
            &["-o", "out.safetensors"],
        ]
        .concat();
        let said = tree.mv(&all).fails_with(status);
        assert!(said.contains(part), "{args:?}: {said}");
        assert!(!tree.path("out.safetensors").exists());
    };
    refuse(
        &["short.safetensors", "--method", "linear"],
        1,
        "`w` is F32 [1] in ",
    );
    refuse(
        &["text.safetensors", "--method", "linear"],
        1,
        "merged from safetensors files",
    );
    refuse(&["missing", "--method", "linear"], 1, "missing");
    refuse(
        &["nope:x", "--method", "linear"],
        1,
        "revision `nope` not found",
    );
    refuse(
        &["other:x", "--method", "linear"],
        1,
        "path `other:x` not found",
    );
    refuse(&["--method", "ties"], 1, "name it with `--base REV:PATH`");
    refuse(&["--method", "slerp"], 1, "slerp can't take 1 models");
    refuse(&[&model, "--method", "mean"], 2, "`mean` is none of linear");
    let all = [
        "weights", "merge", &model, &model, "--method", "linear", "-m", "x", "-o", "x.py",
    ];
    let said = tree.mv(&all).fails_with(1);
    assert!(said.contains("it is code here, no model"), "{said}");
    let said = tree
        .mv(&["resolve", FILE, "--weights", "linear"])
        .fails_with(1);
    assert!(said.contains("no merge is under way"), "{said}");
}
