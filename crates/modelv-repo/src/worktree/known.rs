//! Which sections and keys of a `modelv.toml` mean something to this version.

use toml_edit::DocumentMut;

/// What a `modelv.toml` may say. Below `ingredients`, `tables`, `external` and `stage` other rules hold;
/// the command of `evaluate` runs in `ci run` and `alias set --evaluate` alone.
const KNOWN: &[(&str, &[&str])] = &[
    ("ingredients", &[]),
    ("tables", &[]),
    ("external", &[]),
    ("stage", &[]),
    ("env", &["capture", "python", "variables"]),
    ("train", &["command"]),
    ("evaluate", &["command", "require", "no-worse", "tolerance"]),
    (
        "serve",
        &[
            "entry",
            "model",
            "batch",
            "batch-wait-ms",
            "data-frame",
            "spare",
            "warm",
            "golden",
            "golden-tolerance",
            "body-bytes-max",
            "timeout-ms",
            "queue",
        ],
    ),
    ("secrets", &["allow"]),
    (
        "hooks",
        &["pre-commit", "post-commit", "pre-merge", "pre-push"],
    ),
];

/// Sections and keys that are none of these.
pub(super) fn unknown(doc: &DocumentMut) -> Vec<String> {
    let mut out = Vec::new();
    for (section, item) in doc.iter() {
        let Some((_, keys)) = KNOWN.iter().find(|(name, _)| *name == section) else {
            out.push(section.to_owned());
            continue;
        };
        let inside = item.as_table_like().filter(|_| !keys.is_empty());
        let inside = inside.into_iter().flat_map(|table| table.iter());
        let wrong = inside.filter(|(key, _)| !keys.contains(key));
        out.extend(wrong.map(|(key, _)| format!("{section}.{key}")));
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::worktree::Rules;

    #[test]
    fn what_is_not_known_is_named_and_changes_nothing() {
        let text = "top = 1\n[ingredientz]\ndata = [\"d/**\"]\n[env]\ncapture = \"none\"\npyton = \"x\"\n\
                    [evaluate]\ncommand = \"e\"\n[tables]\n\"x.csv\" = { key = \"a\" }\n";
        let rules = Rules::parse(text).unwrap();
        assert_eq!(rules.unknown(), ["top", "ingredientz", "env.pyton"]);
        assert_eq!(rules.env_capture(), "none");
        assert!(Rules::parse("").unwrap().unknown().is_empty());
    }
}
