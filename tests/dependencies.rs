//! What others wrote and we ship: licences, sources and bans of `.deny.toml`, checked with nothing
//! but `cargo metadata`, so that it holds where cargo-deny is not installed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Strings of a list in `.deny.toml`: one list, one name, no table reader needed.
fn list(policy: &str, key: &str) -> BTreeSet<String> {
    let start = policy.find(&format!("\n{key} = [")).unwrap();
    let body = &policy[start..][..policy[start..].find("]\n").unwrap()];
    let quoted = body.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Whether an SPDX expression lets us choose licences that are all allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().collect();
    words.reverse();
    let ok = any(&mut words, allowed);
    ok && words.is_empty()
}

fn any(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut ok = all(words, allowed);
    while words.pop_if(|w| *w == "OR").is_some() {
        ok |= all(words, allowed);
    }
    ok
}

fn all(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut ok = one(words, allowed);
    while words.pop_if(|w| *w == "AND").is_some() {
        ok &= one(words, allowed);
    }
    ok
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    match words.pop() {
        Some("(") => any(words, allowed) & (words.pop() == Some(")")),
        Some(name) if words.pop_if(|w| *w == "WITH").is_some() => {
            let exception = words.pop().unwrap_or("");
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        Some(name) => allowed.contains(name),
        None => false,
    }
}

#[test]
fn licence_expressions_are_read() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for (expression, want) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Apache-2.0", true),
        ("GPL-3.0 OR Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0 WITH other-exception", false),
        ("(MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), want, "{expression}");
    }
}

#[test]
fn every_dependency_is_one_we_may_ship() {
    let policy = std::fs::read_to_string(root().join(".deny.toml")).unwrap();
    let (allowed, registries) = (list(&policy, "allow"), list(&policy, "allow-registry"));
    let banned = list(&policy, "deny");
    assert!(allowed.contains("MIT") && registries.len() == 1 && banned.contains("openssl"));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
        ])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    // What the platform filter leaves is what the graph holds.
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: BTreeSet<&str> = nodes.iter().filter_map(|n| n["id"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (id, name) = (
            package["id"].as_str().unwrap(),
            package["name"].as_str().unwrap(),
        );
        if !used.contains(id) {
            continue;
        }
        let licence = package["license"].as_str().unwrap_or("");
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("{id}: licence `{licence}`"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|s| !registries.contains(s.trim_start_matches("registry+"))) {
            wrong.push(format!("{id}: source `{}`", source.unwrap_or("")));
        }
        if banned.contains(name) {
            wrong.push(format!("{id}: banned"));
        }
    }
    assert!(used.len() > 100, "{}", used.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
