//! Notebooks against nbdime: what both merge cleanly has the same cells, and what only we merge
//! loses no line.

use std::collections::BTreeMap;

use modelv_core::driver::{Driver, merge};
use serde_json::{Value, json};

use crate::support::{LABELS, Random, ask, cases};

fn cell(id: &str, source: &str) -> Value {
    json!({"cell_type": "code", "id": id, "metadata": {}, "execution_count": null, "outputs": [], "source": source})
}

fn book(cells: &[Value]) -> Value {
    json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
}

fn lines(random: &mut Random, tag: &str) -> String {
    let lines: Vec<String> = (0..2 + random.below(4))
        .map(|i| format!("{tag}{i} = {}", random.next() % 4096))
        .collect();
    lines.join("\n")
}

/// A side: cells edited, added, removed.
fn edit(random: &mut Random, base: &[Value], tag: &str) -> Vec<Value> {
    let mut out = base.to_vec();
    for n in 0..=random.below(2) {
        let at = random.below(out.len().max(1));
        match random.below(4) {
            0 | 1 if !out.is_empty() => {
                let source = out[at]["source"].as_str().unwrap().to_owned();
                let mut all: Vec<&str> = source.lines().collect();
                let line = format!("{tag}{n} = {}", random.next() % 4096);
                let place = random.below(all.len());
                all[place] = &line;
                out[at]["source"] = all.join("\n").into();
            }
            2 => {
                let id = format!("{tag}{n}");
                let source = lines(random, &id);
                out.insert(at.min(out.len()), cell(&id, &source));
            }
            3 if out.len() > 1 => drop(out.remove(at)),
            _ => {}
        }
    }
    out
}

fn sources(book: &Value) -> Vec<String> {
    let text = |cell: &Value| match &cell["source"] {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or("").to_owned(),
    };
    book["cells"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn notebooks_merge_as_nbdime_merges_them() {
    let count = cases(40);
    let worlds: Vec<[Value; 3]> = (0..count)
        .map(|seed| {
            let mut random = Random(seed ^ 0xce11);
            let cells: Vec<Value> = (0..2 + random.below(4))
                .map(|i| cell(&format!("c{i}"), &lines(&mut random, &format!("b{i}_"))))
                .collect();
            let (o, t) = (
                edit(&mut random, &cells, "o"),
                edit(&mut random, &cells, "t"),
            );
            [book(&cells), book(&o), book(&t)]
        })
        .collect();
    let answers = ask("notebooks.py", &json!(worlds));
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    for (seed, (world, answer)) in worlds.iter().zip(answers.as_array().unwrap()).enumerate() {
        let [b, o, t] = world
            .each_ref()
            .map(|book| serde_json::to_vec_pretty(book).unwrap());
        let merged = merge(Driver::Notebook, Some(&b), &o, &t, &LABELS);
        let ours: Value = serde_json::from_slice(&merged.bytes).unwrap();
        let (ours, theirs) = (sources(&ours), sources(&answer["merged"]));
        let open = answer["open"].as_bool().unwrap();
        let class = match (merged.conflicts.is_empty(), open) {
            (true, false) if ours == theirs => "the same",
            (true, false) => {
                let sorted = |list: &[String]| {
                    let mut list = list.to_vec();
                    list.sort();
                    list
                };
                if sorted(&ours) == sorted(&theirs) {
                    "clean in both, cells in another order"
                } else {
                    "clean in both, other cells"
                }
            }
            (false, true) => "open in both",
            (true, true) => "clean, open in nbdime",
            (false, false) => "open, clean in nbdime",
        };
        // Every line that a side wrote stands in the result, or its cell is open.
        let text = ours.join("\n");
        let base = sources(&world[0]).join("\n");
        for side in &world[1..] {
            for line in sources(side)
                .join("\n")
                .lines()
                .filter(|l| !base.lines().any(|m| m == *l))
            {
                let shown = merged.conflicts.iter().any(|c| {
                    [&c.ours, &c.theirs]
                        .into_iter()
                        .flatten()
                        .any(|v| v.contains(line))
                });
                assert!(
                    text.lines().any(|l| l == line) || shown,
                    "seed {seed}: {line} is lost"
                );
            }
        }
        *classes.entry(class).or_default() += 1;
    }
    println!("notebooks: {classes:?}");
    assert_eq!(
        classes.get("clean in both, other cells"),
        None,
        "{classes:?}"
    );
    assert_eq!(
        classes.get("open, clean in nbdime").copied().unwrap_or(0) * 10 / count,
        0,
        "{classes:?}"
    );
}
