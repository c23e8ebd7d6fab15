//! Files too large for memory, merged through the real binary: rows of tables, tensors of weights.

use std::io::Write;

use crate::support::Tree;

/// More than a merge reads into memory.
const BYTES: usize = (64 << 20) + 1000;

/// A table of long rows, of which some are others.
fn table(tree: &Tree, edits: &[(usize, &str)], tail: &str) {
    let pad = "x".repeat(16 << 10);
    let file = std::fs::File::create(tree.path("data.csv")).unwrap();
    let mut out = std::io::BufWriter::new(file);
    out.write_all(b"id,v,pad\n").unwrap();
    for i in 0..BYTES / pad.len() + 1 {
        let value = edits.iter().find(|(row, _)| *row == i);
        writeln!(out, "{i},{},{pad}", value.map_or("same", |(_, v)| v)).unwrap();
    }
    out.write_all(tail.as_bytes()).unwrap();
}

/// The rows without what pads them.
fn rows(tree: &Tree) -> Vec<String> {
    let all = tree.get("data.csv");
    let all = all.lines().map(|line| line.trim_end_matches('x'));
    all.map(str::to_owned).collect()
}

#[test]
fn rows_of_large_tables_merge_and_are_decided_one_by_one() {
    let tree = Tree::repo();
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[ingredients]\ndata = [\"*.csv\"]\n",
    );
    table(&tree, &[], "");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    table(&tree, &[(3, "theirs"), (50, "theirs")], "a,theirs,\n");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    table(&tree, &[(3, "ours"), (90, "ours")], "b,ours,\n");
    tree.commit("left");
    let done = tree.mv(&["merge", "side", "--strategy", "ours"]);
    done.success();
    let want = |third: &str| {
        let mut all: Vec<String> = (0..BYTES / (16 << 10) + 1)
            .map(|i| format!("{i},same,"))
            .collect();
        (all[3], all[50], all[90]) = (
            format!("3,{third},"),
            "50,theirs,".into(),
            "90,ours,".into(),
        );
        all.insert(0, "id,v,pad".into());
        all.extend(["a,theirs,".into(), "b,ours,".into()]);
        all
    };
    let same = |third: &str| assert!(rows(&tree) == want(third), "{:?}", &rows(&tree)[..6]);
    same("ours");
    tree.mv(&["undo"]).success();
    let done = tree.mv(&["merge", "side"]);
    assert!(
        done.out.contains("conflict data.csv:row id=3 (key)"),
        "{}",
        done.out
    );
    done.fails_with(3);
    tree.mv(&["resolve", "data.csv:row id=3", "--theirs"])
        .success();
    same("theirs");
    tree.mv(&["merge", "--continue", "-m", "both"]).success();
    tree.mv(&["fsck"]).success();
    same("theirs");
}

/// Makes another table of the one that is there, line by line.
fn rewrite(tree: &Tree, line: impl Fn(usize, &str) -> String) {
    let text = tree.get("data.csv");
    let lines: String = text
        .lines()
        .enumerate()
        .map(|(i, l)| line(i, l) + "\n")
        .collect();
    tree.put("data.csv", &lines);
}

#[test]
fn columns_of_large_tables_meet_the_rows_of_the_other_side() {
    let tree = Tree::repo();
    table(&tree, &[], "");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    table(&tree, &[(3, "theirs")], "a,theirs,\n");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    rewrite(&tree, |i, l| {
        format!("{l},{}", if i == 0 { "n".into() } else { i.to_string() })
    });
    tree.commit("a column");
    tree.mv(&["merge", "side", "-m", "both"]).success();
    let all = tree.get("data.csv");
    let line = |n: usize| all.lines().nth(n).unwrap().replace('x', "");
    let last = BYTES / (16 << 10) + 2;
    assert_eq!(
        (line(0).as_str(), line(4).as_str()),
        ("id,v,pad,n", "3,theirs,,4")
    );
    assert_eq!(
        (line(5).as_str(), line(last).as_str()),
        ("4,same,,5", "a,theirs,,")
    );
    // Dropped here, edited there.
    tree.mv(&["switch", "-c", "drop"]).success();
    rewrite(&tree, |_, l| {
        let cells: Vec<&str> = l.split(',').collect();
        [cells[0], cells[2], cells[3]].join(",")
    });
    tree.commit("without v");
    tree.mv(&["switch", "main"]).success();
    rewrite(&tree, |i, l| {
        if i == 9 {
            l.replace("same", "other")
        } else {
            l.to_owned()
        }
    });
    tree.commit("a cell of v");
    let done = tree.mv(&["merge", "drop"]);
    assert!(
        done.out.contains("conflict data.csv:column v (key)"),
        "{}",
        done.out
    );
    assert!(done.out.contains("{\"id=8\":\"other\"}"), "{}", done.out);
    done.fails_with(3);
    tree.mv(&["resolve", "data.csv:column v", "--theirs"])
        .success();
    assert!(tree.get("data.csv").starts_with("id,pad,n\n0,x"));
    tree.mv(&["merge", "--continue", "-m", "without v"])
        .success();
}

#[test]
fn a_large_file_that_is_not_merged_says_why() {
    let tree = Tree::repo();
    let write = |value: &str| {
        let text = format!(
            "{{\"v\": \"{value}\", \"pad\": \"{}\"}}\n",
            "x".repeat(BYTES)
        );
        std::fs::write(tree.path("big.json"), text).unwrap();
    };
    write("base");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    write("theirs");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    write("ours");
    tree.commit("left");
    let done = tree.mv(&["merge", "side"]);
    assert!(
        done.out.contains("conflict big.json (content)"),
        "{}",
        done.out
    );
    let err = done.fails_with(3);
    assert!(
        err.contains("big.json is larger than 64 MiB: JSON is merged in memory only"),
        "{err}"
    );
}

/// A safetensors file of two tensors, each filled with one byte.
fn weights(tree: &Tree, [a, b]: [u8; 2]) {
    let half = BYTES / 8 * 4;
    let entry = |name, from: usize| {
        format!(
            "\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{from},{}]}}",
            half / 4,
            from + half
        )
    };
    let header = format!("{{{},{}}}", entry("a", 0), entry("b", half));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(std::iter::repeat_n(a, half));
    bytes.extend(std::iter::repeat_n(b, half));
    std::fs::create_dir_all(tree.path("models")).unwrap();
    std::fs::write(tree.path("models/w.safetensors"), bytes).unwrap();
}

#[test]
fn large_weights_merge_by_tensor() {
    let tree = Tree::repo();
    weights(&tree, [1, 1]);
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    weights(&tree, [2, 1]);
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    weights(&tree, [1, 3]);
    tree.commit("left");
    tree.mv(&["merge", "side"]).success();
    let bytes = std::fs::read(tree.path("models/w.safetensors")).unwrap();
    let half = BYTES / 8 * 4;
    let body = &bytes[bytes.len() - 2 * half..];
    assert!(body[..half].iter().all(|b| *b == 2) && body[half..].iter().all(|b| *b == 3));
    weights(&tree, [5, 3]);
    tree.commit("again");
    tree.mv(&["switch", "side"]).success();
    weights(&tree, [6, 1]);
    tree.commit("too");
    let err = tree.mv(&["merge", "main"]).fails_with(3);
    assert!(
        err.contains("both sides changed the same tensors: `a`"),
        "{err}"
    );
}
