//! Files that claim a format and are not, or use what we do not take apart: each falls back to text or
//! binary and says why, and merges and differences of it end without a loss.

use super::*;

const LABELS: Labels<'_> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};

/// A name, its content, by which rules it is compared, and what is said about it.
type Case<'a> = (&'a str, &'a [u8], &'a str, &'a str);

/// UTF-16 as Windows writes it.
fn wide(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

fn check(&(name, content, driver, word): &Case<'_>) {
    let found = examine(name.as_bytes(), content);
    assert_eq!(found.driver.to_string(), driver, "{name}: {found:?}");
    match &found.note {
        None => assert_eq!(word, "", "{name}"),
        Some(note) => assert!(!word.is_empty() && note.contains(word), "{name}: {note}"),
    }
    // Whoever compares or merges it all the same gets an answer that keeps both sides.
    let other = [content, b"x"].concat();
    assert!(
        !diff(found.driver, Some(content), Some(&other)).is_empty(),
        "{name}"
    );
    let merged = merge(found.driver, Some(content), &other, content, &LABELS);
    assert_eq!(
        (merged.bytes, merged.conflicts),
        (other.clone(), vec![]),
        "{name}"
    );
    let third = [content, b"y"].concat();
    let merged = merge(found.driver, Some(content), &other, &third, &LABELS);
    assert_eq!(merged.conflicts.len(), 1, "{name}");
}

#[test]
fn what_is_no_text_says_so() {
    let names = [
        "a.json",
        "a.toml",
        "a.yaml",
        "a.ini",
        ".env",
        "requirements.txt",
        "a.csv",
        "a.tsv",
        "a.jsonl",
        "a.ipynb",
        "uv.lock",
        "environment.yml",
    ];
    for name in names {
        check(&(name, &wide("{\"a\": 1}\n"), "text", "it is UTF-16"));
        check(&(name, b"\xff\xfe\xfd", "binary", "no UTF-8 text"));
    }
}

#[test]
fn what_is_not_its_format_is_text_with_a_word() {
    let cases: [Case<'_>; 20] = [
        ("a.json", b"{", "text", "JSON"),
        ("a.json", b"{\"a\": 1, \"a\": 2}\n", "text", "twice"),
        (
            "a.json",
            b"{\"a\": {\"b\": 1, \"b\": 1}}\n",
            "text",
            "twice",
        ),
        ("a.toml", b"a = 1\na = 2\n", "text", "TOML"),
        ("a.toml", b"[a]\n[a]\n", "text", "TOML"),
        ("a.yaml", b"a: 1\na: 2\n", "text", "twice"),
        ("a.yaml", b"a: &x 1\nb: *x\n", "text", "anchors"),
        (
            "a.yaml",
            b"a: !!python/object:os.system x\n",
            "text",
            "tags",
        ),
        ("a.yaml", b"a: 1\n---\nb: 2\n", "text", "several documents"),
        ("a.yaml", b"a: [1\n", "text", "YAML"),
        ("a.ini", b"[s]\na = 1\na = 2\n", "text", "twice"),
        (".env", b"A=1\nA=2\n", "text", "twice"),
        ("a.csv", b"a,b\n1,2,3\n", "text", "fields"),
        ("a.csv", b"a,b\n1\n", "text", "fields"),
        ("a.csv", b"a,b\n1,\"x\n", "text", "quote"),
        ("a.tsv", b"a\tb\n1\n", "text", "fields"),
        ("a.jsonl", b"{\"a\": 1}\n[1]\n", "text", "no JSON object"),
        (
            "a.ipynb",
            b"{\"nbformat\": 3, \"worksheets\": []}\n",
            "text",
            "nbformat 4",
        ),
        (
            "uv.lock",
            b"[[package]]\nversion = \"1\"\n",
            "text",
            "list packages",
        ),
        ("poetry.lock", b"not = = toml\n", "text", "a lock file"),
    ];
    cases.iter().for_each(check);
}

#[test]
fn what_is_no_file_of_tensors_is_binary_with_a_word() {
    let header = |json: &str, body: &[u8]| {
        let length = (json.len() as u64).to_le_bytes();
        [length.as_slice(), json.as_bytes(), body].concat()
    };
    let tensor = |a: u32, b: u32| {
        format!(
            "{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{a},{b}]}}",
            b - a
        )
    };
    let two = |x: String, y: String| format!("{{\"x\":{x},\"y\":{y}}}");
    for (json, word) in [
        (two(tensor(0, 4), tensor(2, 6)), "overlap"),
        (two(tensor(0, 2), tensor(4, 6)), "holes"),
        (two(tensor(0, 4), tensor(0, 4)), "overlap"),
        (two(tensor(0, 2), tensor(2, 4)), "fill"),
        ("{\"x\":1}".into(), "no object"),
        ("[".into(), "safetensors"),
    ] {
        check(&("a.safetensors", &header(&json, &[0; 6]), "binary", word));
    }
    for name in ["a.safetensors", "a.npy", "a.npz"] {
        check(&(name, b"", "binary", "is not valid"));
        check(&(name, b"text\n", "binary", "is not valid"));
    }
}

/// A zip whose member says that it unfolds to a thousand times its size.
#[test]
fn a_bomb_in_npz_is_not_unfolded() {
    let name = b"x.npy";
    let sizes = [1000u32.to_le_bytes(), 1_000_000u32.to_le_bytes()].concat();
    let common = [
        &[20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        sizes.as_slice(),
        &[5, 0, 0, 0],
    ]
    .concat();
    let mut file = [b"PK\x03\x04", common.as_slice(), name, &[0; 1000]].concat();
    let at = u32::try_from(file.len()).unwrap().to_le_bytes();
    let entry = [b"PK\x01\x02\x14\x00", common.as_slice(), &[0; 14], name].concat();
    let size = u32::try_from(entry.len()).unwrap().to_le_bytes();
    file.extend(entry);
    file.extend(
        [
            b"PK\x05\x06",
            [0, 0, 0, 0, 1, 0, 1, 0].as_slice(),
            &size,
            &at,
            &[0, 0],
        ]
        .concat(),
    );
    check(&("a.npz", &file, "binary", "compressed"));
}

#[test]
fn nesting_is_bounded_in_every_format() {
    let n = 100_000;
    let flow = format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let block: String = (0..2000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    for (name, text) in [
        ("a.json", format!("{{\"a\": {flow}}}")),
        ("a.toml", format!("a = {flow}")),
        ("a.yaml", format!("a: {flow}")),
        ("b.yaml", block),
        ("environment.yml", format!("dependencies: {flow}")),
        ("uv.lock", format!("a = {flow}")),
        ("a.jsonl", format!("{{\"a\": {flow}}}\n")),
        ("a.ipynb", format!("{{\"nbformat\": 4, \"cells\": {flow}}}")),
    ] {
        let found = examine(name.as_bytes(), text.as_bytes());
        assert_eq!(found.driver, Driver::Text, "{name}");
        assert!(found.note.is_some(), "{name}");
    }
}
