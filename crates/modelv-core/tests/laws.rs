//! What a difference lists is all there is: put on the old version, it makes the new one. For drivers
//! whose differences carry values: keys of configurations, demands on packages, rows of tables.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use modelv_core::driver::{self, Change, Driver, Format, State, config_values};
use modelv_core::value::Value;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

type Values = BTreeMap<String, Value>;

/// A section's keys with their values, as they are written.
type Sections = BTreeMap<String, BTreeMap<String, Written>>;

#[derive(Debug, Clone)]
enum Written {
    Number(i64),
    Fraction(i32),
    Flag(bool),
    Word(String),
    List(Vec<i64>),
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        (-9i64..9).prop_map(Written::Number),
        (-9i32..9).prop_map(Written::Fraction),
        any::<bool>().prop_map(Written::Flag),
        "[a-z]{1,3}( [a-z]{1,2})?".prop_map(Written::Word),
        vec(-3i64..3, 0..4).prop_map(Written::List),
    ]
}

fn sections() -> impl Strategy<Value = Sections> {
    btree_map("[a-c]", btree_map("[k-p]", written(), 0..5), 0..4)
}

impl Written {
    /// The same text means this value in JSON, TOML and YAML.
    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Fraction(n) => format!("{n}.5"),
            Self::Flag(b) => b.to_string(),
            Self::Word(w) => format!("{w:?}"),
            Self::List(l) => format!("{l:?}"),
        }
    }
}

fn json(sections: &Sections) -> String {
    let inside = |keys: &BTreeMap<String, Written>| {
        let pairs: Vec<String> = keys
            .iter()
            .map(|(k, v)| format!("    \"{k}\": {}", v.text()))
            .collect();
        format!("{{\n{}\n  }}", pairs.join(",\n"))
    };
    let all: Vec<String> = sections
        .iter()
        .map(|(name, keys)| format!("  \"{name}\": {}", inside(keys)))
        .collect();
    format!("{{\n{}\n}}\n", all.join(",\n"))
}

fn toml(sections: &Sections) -> String {
    let mut out = String::from("# written\n");
    for (name, keys) in sections {
        writeln!(out, "[{name}]").unwrap();
        for (key, value) in keys {
            writeln!(out, "{key} = {}", value.text()).unwrap();
        }
    }
    out
}

fn yaml(sections: &Sections) -> String {
    let mut out = String::from("# written\n");
    for (name, keys) in sections {
        let end = if keys.is_empty() { " {}" } else { "" };
        writeln!(out, "{name}:{end}").unwrap();
        for (key, value) in keys {
            writeln!(out, "  {key}: {}", value.text()).unwrap();
        }
    }
    out
}

fn ini(sections: &Sections) -> String {
    toml(sections)
}

/// Puts a value where a key names it: an element of a list is `key[0]`.
fn put(values: &mut Values, key: &str, old: Option<&Value>, new: Option<Value>) {
    let element = key.strip_suffix(']').and_then(|k| k.rsplit_once('['));
    if let Some((list, at)) = element
        && let Some(Value::List(items)) = values.get_mut(list)
    {
        let at: usize = at.parse().unwrap();
        assert_eq!(Some(&items[at]), old, "{key}");
        items[at] = new.unwrap();
        return;
    }
    assert_eq!(values.get(key), old, "{key}");
    match new {
        Some(value) => drop(values.insert(key.to_owned(), value)),
        None => drop(values.remove(key)),
    }
}

fn apply_keys(format: Format, old: &str, new: &str) -> Values {
    let changes = driver::diff(
        Driver::Config(format),
        Some(old.as_bytes()),
        Some(new.as_bytes()),
    );
    let mut values = config_values(format, old.as_bytes()).unwrap();
    for change in changes {
        match change {
            Change::Key { key, old, new } => put(&mut values, &key, old.as_ref(), new),
            // The layout differs, and no value.
            Change::Lines { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    values
}

/// Demands by name, as a file that is new is told.
fn demands(path: &[u8], text: &str) -> BTreeMap<String, String> {
    let driver = driver::choose(path, text.as_bytes());
    let mut out = BTreeMap::new();
    for change in driver::diff(driver, None, Some(text.as_bytes())) {
        match change {
            Change::Package { name, old, new } => {
                assert_eq!(old, None);
                out.insert(name, new.unwrap());
            }
            // The head of a lock file, the same in all of them here.
            Change::Lines { .. } | Change::Key { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    out
}

fn apply_demands(path: &[u8], old: &str, new: &str) -> BTreeMap<String, String> {
    let (driver, _) = driver::examine_all(path, &[old.as_bytes(), new.as_bytes()]);
    let mut all = demands(path, old);
    for change in driver::diff(driver, Some(old.as_bytes()), Some(new.as_bytes())) {
        match change {
            Change::Package { name, old, new } => {
                assert_eq!(all.get(&name), old.as_ref(), "{name}");
                match new {
                    Some(demand) => drop(all.insert(name, demand)),
                    None => drop(all.remove(&name)),
                }
            }
            Change::Lines { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

/// Rows by key; each has a cell for every column but the key's.
type Rows = BTreeMap<u8, [u8; 2]>;

fn csv(rows: &Rows) -> String {
    let mut out = String::from("id,x,y\n");
    for (key, [x, y]) in rows {
        writeln!(out, "r{key},{x},{y}").unwrap();
    }
    out
}

fn jsonl(rows: &Rows) -> String {
    let line = |(key, [x, y]): (&u8, &[u8; 2])| {
        format!("{{\"id\": \"r{key}\", \"x\": {x}, \"y\": {y}}}\n")
    };
    rows.iter().map(line).collect()
}

/// What the old rows become. Of a new row a difference says that it came, not what is in it.
fn apply_rows(driver: Driver, texts: [&str; 2], old: &Rows, new: &Rows) -> Rows {
    let [a, b] = texts.map(|t| Some(t.as_bytes()));
    let mut rows = old.clone();
    for change in driver::diff_by(driver, Some("id"), a, b) {
        let Change::Row { key, state, cells } = change else {
            continue;
        };
        // A table shows a key as it is written: in JSON with its quotes.
        let key: u8 = key
            .trim_matches('"')
            .trim_start_matches('r')
            .parse()
            .unwrap();
        match state {
            State::Added => drop(rows.insert(key, new[&key])),
            State::Removed => drop(rows.remove(&key)),
            State::Changed => {
                let row = rows.get_mut(&key).unwrap();
                for (column, was, is) in cells {
                    let cell = &mut row[usize::from(column == "y")];
                    assert_eq!(cell.to_string(), was);
                    *cell = is.parse().unwrap();
                }
            }
        }
    }
    rows
}

fn rows() -> impl Strategy<Value = Rows> {
    btree_map(0u8..20, [0u8..3, 0u8..3], 1..12)
}

fn packages() -> impl Strategy<Value = BTreeMap<String, String>> {
    let demand = prop_oneof![
        Just(String::new()),
        (0u8..3, 0u8..9).prop_map(|(a, b)| format!("=={a}.{b}")),
        (0u8..3).prop_map(|a| format!(">={a}")),
        Just("~=1.2 ; python_version < \"3.12\"".to_owned()),
    ];
    btree_map("[a-d]{1,2}", demand, 0..6)
}

proptest! {
    #[test]
    fn keys_that_differ_make_the_other_configuration(a in sections(), b in sections()) {
        type Write = fn(&Sections) -> String;
        let all: [(Format, Write); 4] = [
            (Format::Json, json),
            (Format::Toml, toml),
            (Format::Yaml, yaml),
            (Format::Ini, ini),
        ];
        for (format, write) in all {
            let (old, new) = (write(&a), write(&b));
            let want = config_values(format, new.as_bytes()).unwrap();
            prop_assert_eq!(apply_keys(format, &old, &new), want, "{} {} {}", format, old, new);
        }
    }

    #[test]
    fn demands_that_differ_make_the_other_list(a in packages(), b in packages()) {
        let path = b"requirements.txt";
        let write = |all: &BTreeMap<String, String>| {
            all.iter().fold("# demands\n".to_owned(), |text, (name, demand)| {
                format!("{text}{name}{demand}\n")
            })
        };
        let (old, new) = (write(&a), write(&b));
        prop_assert_eq!(apply_demands(path, &old, &new), demands(path, &new), "{} {}", old, new);
    }

    #[test]
    fn packages_that_differ_make_the_other_lock(a in packages(), b in packages()) {
        let path = b"uv.lock";
        let write = |all: &BTreeMap<String, String>| {
            let head = "version = 1\nrequires-python = \">=3.9\"\n".to_owned();
            all.iter().fold(head, |text, (name, demand)| {
                let version = 1 + demand.len();
                format!("{text}\n[[package]]\nname = \"{name}\"\nversion = \"{version}.0\"\n")
            })
        };
        let (old, new) = (write(&a), write(&b));
        prop_assert_eq!(apply_demands(path, &old, &new), demands(path, &new), "{} {}", old, new);
    }

    #[test]
    fn rows_that_differ_make_the_other_table(a in rows(), b in rows()) {
        for (driver, write) in [
            (Driver::Table(','), csv as fn(&Rows) -> String),
            (Driver::JsonLines, jsonl),
        ] {
            let (old, new) = (write(&a), write(&b));
            let got = apply_rows(driver, [&old, &new], &a, &b);
            prop_assert_eq!(&got, &b, "{} {}", old, new);
        }
    }
}
