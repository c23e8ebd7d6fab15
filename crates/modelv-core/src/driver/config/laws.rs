//! All formats under the same laws, over files made from the same random values.

use proptest::prelude::*;

use super::super::{choose, examine, settle};
use super::tests::merged;
use super::*;

/// A value of the random files.
#[derive(Debug, Clone)]
enum V {
    Scalar(u8),
    List(Vec<u8>),
    Map(Vec<E>),
}

/// An entry with a comment above and one behind.
#[derive(Debug, Clone)]
struct E {
    key: char,
    above: u8,
    behind: u8,
    value: V,
}

fn values() -> impl Strategy<Value = Vec<E>> {
    fn entry(value: impl Strategy<Value = V>) -> impl Strategy<Value = Vec<E>> {
        let parts = (0u8..3, 0u8..3, value);
        proptest::collection::btree_map(prop::char::range('p', 't'), parts, 0..4).prop_map(|m| {
            m.into_iter()
                .map(|(key, (above, behind, value))| E {
                    key,
                    above,
                    behind,
                    value,
                })
                .collect()
        })
    }
    let leaf = || {
        prop_oneof![
            4 => (0u8..5).prop_map(V::Scalar),
            1 => proptest::collection::vec(0u8..5, 2..4).prop_map(V::List),
        ]
    };
    let inner = entry(leaf()).prop_map(V::Map);
    let deep = entry(prop_oneof![2 => leaf(), 1 => inner]).prop_map(V::Map);
    entry(prop_oneof![2 => leaf(), 1 => deep])
}

const SCALARS: [&str; 5] = ["1", "2", "1.0", "\"1\"", "true"];

/// Writes a file; comments of a side carry its name, so that each can be found again.
fn write(format: Format, entries: &[E], side: char) -> String {
    let mut out = String::new();
    match format {
        Format::Json => {
            json(entries, 0, &mut out);
            out.push('\n');
        }
        _ => lines(format, entries, side, 0, &mut out),
    }
    out
}

fn json(entries: &[E], depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth + 1);
    out.push_str("{\n");
    for (i, e) in entries.iter().enumerate() {
        out.push_str(&format!("{pad}\"{}\": ", e.key));
        match &e.value {
            V::Scalar(n) => out.push_str(SCALARS[usize::from(*n)]),
            V::List(l) => out.push_str(&flow(l)),
            V::Map(inner) => json(inner, depth + 1, out),
        }
        out.push_str(if i + 1 < entries.len() { ",\n" } else { "\n" });
    }
    out.push_str(&"  ".repeat(depth));
    out.push('}');
}

fn flow(list: &[u8]) -> String {
    let items: Vec<&str> = list.iter().map(|n| SCALARS[usize::from(*n)]).collect();
    format!("[{}]", items.join(", "))
}

fn lines(format: Format, entries: &[E], side: char, depth: usize, out: &mut String) {
    let pad = "  ".repeat(if format == Format::Yaml { depth } else { 0 });
    for e in entries {
        let note = |n: u8| match n {
            0 => String::new(),
            1 => format!("# note on {}", e.key),
            n => format!("# {side}{n} on {}", e.key),
        };
        if e.above > 0 {
            out.push_str(&format!("{pad}{}\n", note(e.above)));
        }
        let behind = if e.behind > 0 && format != Format::Ini {
            format!("  {}", note(e.behind))
        } else {
            String::new()
        };
        match (&e.value, format) {
            (V::Map(inner), Format::Yaml) if inner.is_empty() => {
                out.push_str(&format!("{pad}{}: {{}}{behind}\n", e.key));
            }
            (V::Map(inner), Format::Yaml) => {
                out.push_str(&format!("{pad}{}:{behind}\n", e.key));
                lines(format, inner, side, depth + 1, out);
            }
            (V::Map(inner), Format::Ini) if depth == 0 => {
                out.push_str(&format!("[{}]\n", e.key));
                lines(format, inner, side, 1, out);
            }
            (V::List(l), Format::Yaml) if l.len() == 2 => {
                out.push_str(&format!("{pad}{}:{behind}\n", e.key));
                for n in l {
                    out.push_str(&format!("{pad}  - {}\n", SCALARS[usize::from(*n)]));
                }
            }
            (V::Map(_), _) => out.push_str(&format!("{}={}{behind}\n", e.key, "map")),
            (V::List(l), Format::Yaml) => {
                out.push_str(&format!("{pad}{}: {}{behind}\n", e.key, flow(l)));
            }
            (V::List(l), _) => out.push_str(&format!("{}='{l:?}'{behind}\n", e.key)),
            (V::Scalar(n), Format::Yaml) => {
                out.push_str(&format!(
                    "{pad}{}: {}{behind}\n",
                    e.key,
                    SCALARS[usize::from(*n)]
                ));
            }
            (V::Scalar(n), _) => {
                out.push_str(&format!("{}={}{behind}\n", e.key, SCALARS[usize::from(*n)]));
            }
        }
    }
}

/// INI keeps keys before sections, and sections flat.
fn for_ini(mut entries: Vec<E>) -> Vec<E> {
    entries.sort_by_key(|e| matches!(e.value, V::Map(_)));
    entries
}

/// What three values come to, told in the simplest way; `None`: a conflict.
fn oracle(b: Option<&Value>, o: Option<&Value>, t: Option<&Value>) -> Option<Option<Value>> {
    if same(o, t) || same(t, b) {
        return Some(o.cloned());
    }
    if same(o, b) {
        return Some(t.cloned());
    }
    match (b, o, t) {
        (Some(Value::List(b)), Some(Value::List(o)), Some(Value::List(t)))
            if b.len() == o.len() && o.len() == t.len() =>
        {
            let items =
                (0..b.len()).map(|i| oracle(Some(&b[i]), Some(&o[i]), Some(&t[i])).flatten());
            items
                .collect::<Option<Vec<_>>>()
                .map(|l| Some(Value::List(l)))
        }
        (b, Some(Value::Map(o)), Some(Value::Map(t))) => {
            let empty = BTreeMap::new();
            let b = match b {
                Some(Value::Map(b)) => b,
                _ => &empty,
            };
            let keys: BTreeSet<&String> = b.keys().chain(o.keys()).chain(t.keys()).collect();
            let mut out = BTreeMap::new();
            for key in keys {
                if let Some(value) = oracle(b.get(key), o.get(key), t.get(key))? {
                    out.insert(key.clone(), value);
                }
            }
            Some(Some(Value::Map(out)))
        }
        _ => None,
    }
}

fn laws(format: Format, name: &str, [b, x, y]: [&[E]; 3]) {
    let [bt, xt, yt] = [(b, 'b'), (x, 'x'), (y, 'y')].map(|(e, side)| write(format, e, side));
    let read = |text: &str| format.parse(text).map(|d| d.root.value());
    for (ours, theirs, want) in [(&xt, &xt, &xt), (&bt, &xt, &xt), (&xt, &bt, &xt)] {
        assert_eq!(merged(name, &bt, ours, theirs), (want.clone(), vec![]));
    }
    let (forward, items) = merged(name, &bt, &xt, &yt);
    let (backward, back) = merged(name, &bt, &yt, &xt);
    assert_eq!(items, back);
    let whole = items.iter().any(|i| i.starts_with("Lines"));
    let [bv, xv, yv] = [&bt, &xt, &yt].map(|t| read(t).unwrap());
    let want = oracle(Some(&bv), Some(&xv), Some(&yv)).flatten();
    match want {
        // The text fallback is right too, as long as it says so.
        _ if whole => assert!(super::super::has_markers(forward.as_bytes())),
        Some(want) => {
            if items.is_empty() {
                assert!(
                    read(&forward).unwrap().same(&want),
                    "{bt}\n{xt}\n{yt}\n{forward}"
                );
                assert!(read(&backward).unwrap().same(&want));
            } else {
                // A comment against a removal.
                assert_ne!(format, Format::Json, "{items:?}\n{bt}\n{xt}\n{yt}");
            }
        }
        None => {
            assert!(!items.is_empty(), "{bt}\n{xt}\n{yt}\n{forward}");
            read(&forward).unwrap();
        }
    }
    if items.is_empty() {
        for (side, text) in [('x', &xt), ('y', &yt)] {
            let mark = format!("# {side}2");
            for line in text.lines().filter_map(|l| Some(&l[l.find(&mark)?..])) {
                assert!(
                    forward.contains(line),
                    "{line}:\n{bt}\n{xt}\n{yt}\n{forward}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn json_laws(b in values(), x in values(), y in values()) {
        laws(Format::Json, "a.json", [&b, &x, &y]);
    }

    #[test]
    fn yaml_laws(b in values(), x in values(), y in values()) {
        laws(Format::Yaml, "a.yaml", [&b, &x, &y]);
    }

    #[test]
    fn ini_laws(b in values(), x in values(), y in values()) {
        let [b, x, y] = [b, x, y].map(for_ini);
        laws(Format::Ini, "a.ini", [&b, &x, &y]);
    }

    #[test]
    fn env_laws(b in values(), x in values(), y in values()) {
        laws(Format::Env, ".env", [&b, &x, &y]);
    }

    #[test]
    fn what_was_settled_is_there(entries in values(), n in 0u8..5, at in 0usize..20) {
        for (format, name) in [(Format::Json, "a.json"), (Format::Yaml, "a.yaml")] {
            let text = write(format, &entries, 'b');
            let before = config_values(format, text.as_bytes()).unwrap();
            if before.is_empty() {
                continue;
            }
            let key = before.keys().nth(at % before.len()).unwrap().clone();
            let driver = choose(name.as_bytes(), text.as_bytes());
            let item = Item::Key(key.clone());
            let raw = SCALARS[usize::from(n)];
            let set = settle(driver, text.as_bytes(), &item, Some(raw)).unwrap();
            let after = config_values(format, &set).unwrap();
            let single = config_values(format, match format {
                Format::Json => format!("{{\"v\": {raw}}}"),
                _ => format!("v: {raw}"),
            }.as_bytes()).unwrap();
            for (k, v) in &after {
                let want = if *k == key { &single["v"] } else { &before[k] };
                prop_assert!(v.same(want), "{k}");
            }
            prop_assert_eq!(after.len(), before.len());
        }
    }

    #[test]
    fn nothing_panics(name in "(a.toml|a.json|a.yaml|a.ini|.env)", b in "[a-c:=\\[\\]{}\"'#|>\\-&*!,\n\r\t \u{e9}]{0,30}", x in "[a-c:=\\[\\]{}\"'#|>\\-,\n ]{0,30}", y in "[a-c:=\n \\-]{0,30}") {
        for t in [&b, &x, &y] {
            let found = examine(name.as_bytes(), t.as_bytes());
            let _ = settle(found.driver, t.as_bytes(), &Item::Key("a".into()), Some("1"));
            let _ = settle(found.driver, t.as_bytes(), &Item::Key("a.b".into()), None);
            let _ = without_secrets(b".env", t.as_bytes());
        }
        let _ = merged(&name, &b, &x, &y);
        let _ = merged(&name, &x, &b, &y);
    }
}
